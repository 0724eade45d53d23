"""NIfTI files: their bytes to header and voxels, and back to the same bytes.

The only package that knows NIfTI, nibabel or gzip.
"""

from ctspine_zarr.nifti.files import Volume, ending, join, read, read_header, write
from ctspine_zarr.nifti.header import EXACT_INTEGERS, Header, parse_header
from ctspine_zarr.nifti.images import canonical_image, encode, source_image

__all__ = [
    "EXACT_INTEGERS",
    "Header",
    "Volume",
    "canonical_image",
    "encode",
    "ending",
    "join",
    "parse_header",
    "read",
    "read_header",
    "source_image",
    "write",
]
