"""NIfTI files: their bytes to header and voxels, and back to the same bytes.

The only package that knows NIfTI, nibabel or gzip.
"""

from ctspine_zarr.nifti.dtypes import smallest_dtype
from ctspine_zarr.nifti.files import Volume, join, read, read_header, size_and_ending, write
from ctspine_zarr.nifti.header import EXACT_INTEGERS, Header, parse_header
from ctspine_zarr.nifti.images import canonical_image, encode, new_prefix, retyped, source_image

__all__ = [
    "EXACT_INTEGERS",
    "Header",
    "Volume",
    "canonical_image",
    "encode",
    "join",
    "new_prefix",
    "parse_header",
    "read",
    "read_header",
    "retyped",
    "size_and_ending",
    "smallest_dtype",
    "source_image",
    "write",
]
