from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from trees import AFFINE, edited, labels, load, packed, scaled, unpacked, voxels

from ctspine_zarr import nifti
from ctspine_zarr.errors import CaseRefused


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "case.nii.gz"


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i2", ">f4"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_a_file_is_read_as_nibabel_reads_it(path: Path, dtype: str, kind: Any) -> None:
    order = np.dtype(dtype).newbyteorder("<") if dtype[0] != ">" else np.dtype(dtype)
    header = kind.header_class(endianness=">" if dtype[0] == ">" else "<")
    image = kind(voxels().astype(order).clip(0, 100), AFFINE, header, dtype=order)
    inflated = image.to_bytes()
    path.write_bytes(gzip.compress(inflated))
    volume = nifti.read(path)
    assert volume.header.dtype == order
    assert np.array_equal(volume.stored, np.asarray(load(path).dataobj.get_unscaled()))
    assert (
        b"".join(nifti.join(volume.header, [volume.header.scale(volume.stored)], volume.trailer)) == inflated
    )
    assert volume.file_bytes == path.stat().st_size
    assert volume.inflated_sha256 == hashlib.sha256(inflated).hexdigest()
    assert volume.file_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("slope", "inter"), [(1, -1024), (2, 0), (0.5, -10.5), (1 / 3, 7), (1, 0.25)])
@pytest.mark.parametrize("dtype", ["i2", "u1", "i4", "f4"])
def test_scaling_is_nibabels(path: Path, slope: float, inter: float, dtype: str) -> None:
    path.write_bytes(packed(scaled(voxels().clip(0, 200).astype(dtype), slope, inter)))
    volume = nifti.read(path)
    expected = np.asarray(load(path).dataobj)
    assert expected.dtype == np.float64
    assert np.array_equal(volume.header.scale(volume.stored), expected)


def test_header_extensions_and_trailing_bytes_are_kept(path: Path) -> None:
    image = nibabel.Nifti1Image(voxels(), AFFINE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"a note" * 40))
    inflated = unpacked(image) + b"after the voxels"
    path.write_bytes(gzip.compress(inflated))
    volume = nifti.read(path)
    assert volume.trailer == b"after the voxels"
    assert b"".join(nifti.join(volume.header, [volume.stored], volume.trailer)) == inflated


def test_axes_of_length_one_are_dropped_and_told(path: Path) -> None:
    path.write_bytes(packed(voxels()[..., None, None]))
    header = nifti.read_header(path)
    assert (header.shape, header.disk_shape) == ((20, 24, 18), (20, 24, 18, 1, 1))


REFUSED = {
    "text": (b"not a gzip at all", r"case.nii.gz: not gzip: starts with bytes 6e6f; legal: 1f8b"),
    "empty": (b"", r"not gzip: starts with bytes none"),
    "empty stream": (gzip.compress(b""), r"not NIfTI: starts with bytes none"),
    "not NIfTI": (gzip.compress(b"a letter to a friend" * 50), r"not NIfTI: starts with bytes 61206c65"),
    "a pair's header": (
        packed(edited(voxels(), magic=b"ni1")),
        r"not a single-file NIfTI: magic b'ni1\\x00'; legal: b'n\+1",
    ),
    "header only": (gzip.compress(unpacked(voxels())[:300]), r"ends after 300 bytes; its header takes 348"),
    "2-D": (packed(voxels()[:, :, 0]), r"shape \(20, 24\); legal: three axes"),
    "4-D": (packed(np.stack([voxels()] * 2, -1)), r"shape \(20, 24, 18, 2\); legal: three axes"),
    "complex": (packed(voxels().astype("c8")), r"voxels of type complex64; legal: integers and floats"),
    "colours": (
        packed(nibabel.Nifti1Image(np.zeros((2, 2, 2), [(c, "u1") for c in "RGB"]), AFFINE)),
        r"voxels of type \[\('R', 'u1'\).*; legal",
    ),
    "short": (gzip.compress(unpacked(voxels())[:-5]), r"ends after 17275 bytes of voxels; .* promises 17280"),
    "huge": (
        packed(edited(voxels(), dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])),
        r"more than \d+ bytes of gzip can hold",
    ),
    "no offset": (packed(edited(voxels(), vox_offset=np.nan)), r"unusable NIfTI header"),
    "endless offset": (packed(edited(voxels(), vox_offset=np.inf)), r"unusable NIfTI header"),
    "offset": (
        packed(edited(voxels(), vox_offset=1e9)),
        r"voxels are said to start at byte 1000000000; legal: 348 to",
    ),
    "flat affine": (
        packed(edited(voxels(), srow_z=[0, 0, 0, 0])),
        r"cannot be inverted; legal: three independent",
    ),
    "infinite scaling": (packed(scaled(voxels(), 1, np.inf)), r"unusable NIfTI header"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_file_that_cannot_be_is_refused_by_name(path: Path, fault: str) -> None:
    content, message = REFUSED[fault]
    path.write_bytes(content)
    with pytest.raises(CaseRefused, match=message) as caught:
        nifti.read(path)
    assert str(caught.value).startswith("case.nii.gz: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_gzip_is_refused_wherever_it_ends(path: Path, share: float) -> None:
    whole = packed(voxels())
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CaseRefused):
        nifti.read(path)


def test_every_flipped_byte_of_a_gzip_body_is_refused_or_harmless(path: Path) -> None:
    """The checksum is read to the end: no flipped byte gives other voxels."""
    whole = packed(labels())
    expected = nifti_of(path, whole)
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x40
        try:
            assert nifti_of(path, bytes(damaged)) == expected
        except CaseRefused:
            continue


def nifti_of(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return nifti.read(path).inflated_sha256


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.nii.gz").mkdir()
    for name in ("folder.nii.gz", "nowhere.nii.gz"):
        with pytest.raises(CaseRefused, match="cannot be read"):
            nifti.read_header(tmp_path / name)


def test_a_new_file_is_what_nibabel_reads(path: Path) -> None:
    nifti.write(path, [nifti.encode(voxels(dtype="u2"), AFFINE, -1024)])
    image = load(path)
    assert np.array_equal(np.asarray(image.dataobj), voxels(dtype="u2") - 1024.0)
    assert np.allclose(image.affine, AFFINE)
