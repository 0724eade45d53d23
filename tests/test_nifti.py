from __future__ import annotations

import contextlib
import gzip
import hashlib
import logging
import os
import re
import socket
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hostile import many
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import AFFINE, edited, labels, load, packed, scaled, unpacked, voxels

from ctspine_zarr import nifti
from ctspine_zarr.errors import CaseRefused

KINDS: tuple[Any, ...] = (nibabel.Nifti1Image, nibabel.Nifti2Image)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "case.nii.gz"


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i2", ">f4"])
@pytest.mark.parametrize("kind", KINDS)
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
    **{
        f"offset {offset:g}": (
            packed(edited(voxels(), vox_offset=offset)),
            rf"said to start at byte {re.escape(f'{offset:.10g}')}; legal: a whole number from 352 to 16",
        )
        for offset in (np.nan, np.inf, 1e9, 0, 348, 352.5, -1)
    },
    "offset of NIfTI-2": (
        packed(edited(voxels(), nibabel.Nifti2Image, vox_offset=540)),
        r"voxels are said to start at byte 540; legal: a whole number from 544 to",
    ),
    "long quaternion": (
        packed(edited(voxels(), sform_code=0, qform_code=1, quatern_b=2)),
        r"qform of quaternion \(b, c, d\) = \(2, 0, 0\) and no sform; legal: a length of at most 1",
    ),
    "no quaternion": (
        packed(edited(voxels(), sform_code=0, qform_code=1, quatern_c=np.nan)),
        r"qform of quaternion \(b, c, d\) = \(0, nan, 0\) and no sform; legal",
    ),
    "unknown type": (packed(edited(voxels(), datatype=9999)), r"unusable NIfTI header: data code 9999"),
    "not compressed": (unpacked(voxels()), r"not gzip: a NIfTI file that is not compressed; legal: 1f8b"),
    "NIfTI-2 not compressed": (
        nibabel.Nifti2Image(voxels(), AFFINE).to_bytes(),
        r"not gzip: a NIfTI file that is not compressed; legal: 1f8b",
    ),
    "LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        r"not gzip: a Git LFS pointer, its file was not fetched; legal: 1f8b",
    ),
    "HTML": (
        b"\n <!DOCTYPE html><html>",
        r"not gzip: an HTML page, as servers send in place of a file; legal",
    ),
    "more after the gzip": (
        packed(voxels()) + b"one more thing",
        r": other bytes follow its gzip: 14; legal",
    ),
    "more after zeros": (
        packed(voxels()) + bytes(9) + b"one more",
        r": other bytes follow its gzip: 8; legal",
    ),
    "more after two": (packed(voxels()) + packed(b"x") + b"abc", r": other bytes follow its gzip: 3; legal"),
    "wrong checksum": (
        packed(voxels())[:-8] + bytes(8),
        r"truncated or corrupt gzip \(CRC check failed.*; legal: a whole .nii.gz and no more",
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


def a_socket(path: Path) -> None:
    # A socket's path is short, and a test's folder's is not.
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)


OTHER_THAN_FILES: dict[str, Callable[[Path], Any]] = {
    "a folder": Path.mkdir,
    "a FIFO": os.mkfifo,
    "a socket": a_socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", OTHER_THAN_FILES)
@pytest.mark.parametrize("reader", [nifti.read, nifti.read_header, nifti.size_and_ending])
def test_what_is_no_file_is_refused_at_once(path: Path, kind: str, reader: Callable[[Path], Any]) -> None:
    OTHER_THAN_FILES[kind](path)
    message = f"case.nii.gz: cannot be read: {kind}; legal: a regular file"
    with pytest.raises(CaseRefused, match=message):
        reader(path)


@pytest.mark.timeout(20)
def test_a_terminal_is_refused_at_once(path: Path) -> None:
    ours, theirs = os.openpty()
    path.symlink_to(os.ttyname(theirs))
    with pytest.raises(CaseRefused, match="cannot be read: a device; legal: a regular file"):
        nifti.read(path)
    os.close(ours)
    os.close(theirs)


@pytest.mark.timeout(20)
def test_a_fifo_put_in_a_files_place_at_the_last_moment_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(packed(voxels()))
    opened = os.open

    def late(name: str, flags: int) -> int:
        path.unlink()
        os.mkfifo(path)
        return opened(name, flags)

    monkeypatch.setattr(os, "open", late)
    with pytest.raises(CaseRefused, match="cannot be read: a FIFO"):
        nifti.read_header(path)


def test_a_link_to_a_file_is_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "stored").write_bytes(packed(voxels()))
    path.symlink_to("stored")
    assert np.array_equal(nifti.read(path).stored, voxels())


def test_a_name_cannot_write_over_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "one\nline \u202etxet.nii.gz"
    path.write_bytes(b"text")
    with pytest.raises(CaseRefused) as caught:
        nifti.read(path)
    assert str(caught.value).startswith(r"one\nline \u202etxet.nii.gz: not gzip")


UNITS = [("mm", 2, 1.0), ("metre", 1, 1000.0), ("micron", 3, 0.001), ("unknown", 0, 1.0), ("unknown", 5, 1.0)]


@pytest.mark.parametrize(("unit", "code", "scale"), UNITS)
@pytest.mark.parametrize("seconds", [0, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_affines_are_in_millimetres_whatever_the_files_unit(
    unit: str, code: int, scale: float, seconds: int, kind: Any
) -> None:
    image = kind(voxels(), AFFINE)
    image.set_sform(AFFINE, code=1)
    image.set_qform(np.diag([2.0, 3, 4, 1]), code=1)
    image.header["xyzt_units"] = code + seconds
    header = nifti.parse_header(image.to_bytes()[:544])
    in_millimetres = np.diag([scale, scale, scale, 1])
    assert header.unit == unit
    assert header.affine == pytest.approx(in_millimetres @ image.affine)
    assert header.sform == pytest.approx(in_millimetres @ image.get_sform())
    assert header.qform == pytest.approx(in_millimetres @ image.get_qform())
    told = [f"xyzt_units {code + seconds} taken as no unit"] if code == 5 else []
    assert list(header.repairs) == told


def test_a_file_in_metres_comes_back_as_it_was(path: Path) -> None:
    inflated = edited(voxels(), xyzt_units=1)
    path.write_bytes(packed(inflated))
    volume = nifti.read(path)
    assert b"".join(nifti.join(volume.header, [volume.stored], volume.trailer)) == inflated
    assert np.array_equal(nifti.source_image(inflated).affine, load(path).affine)


REPAIRS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "sform code": ({"sform_code": 99, "qform_code": 1}, ["sform_code 99 taken as 0"]),
    "qform code": ({"qform_code": -3}, ["qform_code -3 taken as 0"]),
    "negative pixdim": ({"pixdim": [1, -0.8, 0.8, 2.5, 0, 0, 0, 0]}, ["pixdim[1] -0.8 taken as 0.8"]),
    "zero pixdim": (
        {"pixdim": [1, 0, 0.8, 0, 0, 0, 0, 0]},
        ["pixdim[1] 0.0 taken as 1.0", "pixdim[3] 0.0 taken as 1.0"],
    ),
    "qfac": ({"pixdim": [0, 0.8, 0.8, 2.5, 0, 0, 0, 0]}, ["pixdim[0] 0.0 taken as 1.0"]),
    "bitpix": ({"bitpix": 7}, ["bitpix 7 taken as 16"]),
    "slope": ({"scl_slope": np.inf}, ["scl_slope inf taken as none"]),
    "unit": ({"xyzt_units": 7}, ["xyzt_units 7 taken as no unit"]),
    "none": ({}, []),
    "no slope, as nibabel writes it": ({"scl_slope": np.nan, "scl_inter": np.nan}, []),
}


@pytest.mark.parametrize("fault", REPAIRS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_repair_is_told(path: Path, fault: str, kind: Any) -> None:
    fields, told = REPAIRS[fault]
    path.write_bytes(packed(edited(voxels(), kind, **fields)))
    header = nifti.read_header(path)
    assert list(header.repairs) == told
    assert not header.spacing_made_up
    assert np.array_equal(header.affine, quietly_loaded(path).affine)


def test_a_freesurfer_shape_is_told(path: Path) -> None:
    surface = np.zeros((27307, 1, 6), "u1")
    path.write_bytes(packed(surface))
    header = nifti.read_header(path)
    assert header.shape == (163842, 1, 1)
    assert header.repairs == ("dim [3, 27307, 1, 6, 1, 1, 1, 1] taken as FreeSurfer's, shape (163842, 1, 1)",)


def test_every_problem_that_nibabel_reports_is_a_repair_told_or_a_refusal(path: Path) -> None:
    """By nibabel's own report, over headers with one field after the other spoilt."""
    fields = nibabel.Nifti1Header.template_dtype
    for name in fields.names or ():
        for value in (-1, 0, 77):
            if fields[name].base.kind not in "if" or name == "sizeof_hdr":
                continue
            inflated = edited(voxels(), **{name: value})
            report = nibabel.Nifti1Header.diagnose_binaryblock(inflated[:348])
            path.write_bytes(packed(inflated))
            try:
                told = nifti.read_header(path).repairs
            except CaseRefused:
                continue
            harmless = "not divisible by 16"
            assert bool(report) <= bool(told) or harmless in report, (name, value, report)


@pytest.mark.parametrize("codes", [(0, 1), (0, 0), (99, 1), (99, 99)])
def test_a_spacing_of_zero_is_made_up_without_a_sform(path: Path, codes: tuple[int, int]) -> None:
    fields = {"pixdim": [1, 0.8, 0, 2.5, 0, 0, 0, 0], "sform_code": codes[0], "qform_code": codes[1]}
    path.write_bytes(packed(edited(voxels(), **fields)))
    header = nifti.read_header(path)
    assert header.spacing_made_up
    assert np.linalg.norm(header.affine[:3, 1]) == 1
    assert "pixdim[2] 0.0 taken as 1.0" in header.repairs


def quietly_loaded(path: Path) -> Any:
    logging.disable()
    try:
        return load(path)
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("setting", ["", "import logging; logging.basicConfig(level=1);"])
def test_repairs_print_nothing(path: Path, setting: str) -> None:
    inflated = edited(voxels(), sform_code=99, qform_code=1, bitpix=7, pixdim=[0, -1, 0, 1, 0, 0, 0, 0])
    path.write_bytes(packed(inflated))
    code = (
        f"{setting}import gzip, sys; from pathlib import Path; from ctspine_zarr import nifti;"
        "path = Path(sys.argv[1]); assert nifti.read(path).header.repairs;"
        "nifti.source_image(gzip.decompress(path.read_bytes())); import nibabel; nibabel.load(path)"
    )
    # nibabel's own lines, for its own user, show that its settings are as they were.
    alone = f"{setting}import sys, nibabel; nibabel.load(sys.argv[1])"
    done, expected = (
        subprocess.run([sys.executable, "-c", run, path], capture_output=True, text=True, check=True)
        for run in (code, alone)
    )
    assert expected.stderr
    assert (done.stdout, done.stderr) == ("", expected.stderr)


def with_extensions(*extensions: tuple[int, bytes], order: str = "<", padding: int = 0) -> bytes:
    """A `.nii` with these extensions, each of the size it says."""
    parts = b"".join(struct.pack(f"{order}2i", size, 6) + content for size, content in extensions)
    inflated = edited(voxels().astype(f"{order}i2"), vox_offset=352 + len(parts) + padding)
    return inflated[:348] + b"\1\0\0\0" + parts + bytes(padding) + inflated[352:]


def test_an_image_of_the_source_is_nibabels() -> None:
    for inflated in (
        with_extensions((32, b"a note".ljust(24, b"\0")), (16, b"another!")),
        with_extensions((32, b"a note".ljust(24, b"\0")), order=">"),
        nibabel.Nifti2Image(voxels(), AFFINE).to_bytes(),
        scaled(voxels(), 2, -1000),
    ):
        second = inflated[:2] == (540).to_bytes(2, "little")
        expected = (nibabel.Nifti2Image if second else nibabel.Nifti1Image).from_bytes(inflated)
        image = nifti.source_image(inflated)
        assert type(image) is type(expected)
        assert image.header.binaryblock == expected.header.binaryblock
        assert image.header.extensions == expected.header.extensions
        assert np.array_equal(image.affine, expected.affine)
        assert np.array_equal(np.asarray(image.dataobj), np.asarray(expected.dataobj))
        assert image.to_bytes() == expected.to_bytes()


@pytest.mark.parametrize("size", [2**31 - 16, 0, -1, 7, 48, -(2**31)])
def test_an_extension_of_impossible_size_is_kept_and_told(path: Path, size: int) -> None:
    inflated = with_extensions((16, b"first..."), (size, b"second..".ljust(24, b".")))
    path.write_bytes(packed(inflated))
    volume = nifti.read(path)
    assert b"".join(nifti.join(volume.header, [volume.stored], volume.trailer)) == inflated
    assert volume.header.repairs == (
        f"extension at byte 368 of {size} bytes, where 32 are left: kept unread",
    )
    image = nifti.source_image(inflated)
    assert np.array_equal(np.asarray(image.dataobj), voxels())
    assert [extension.get_content() for extension in image.header.extensions] == [b"first..."]


def test_zeros_between_extensions_and_voxels_are_padding(path: Path) -> None:
    inflated = with_extensions((16, b"first..."), padding=64)
    path.write_bytes(packed(inflated))
    assert nifti.read(path).header.repairs == ()
    assert np.array_equal(np.asarray(nifti.source_image(inflated).dataobj), voxels())


def test_a_new_file_is_what_nibabel_reads(path: Path) -> None:
    nifti.write(path, [nifti.encode(voxels(dtype="u2"), AFFINE, -1024)])
    image = load(path)
    assert np.array_equal(np.asarray(image.dataobj), voxels(dtype="u2") - 1024.0)
    assert np.allclose(image.affine, AFFINE)


@pytest.mark.parametrize(
    ("dtype", "slope", "inter", "size"),
    [
        ("u1", 1, 0, 2),
        ("i2", 1, 0, 2),
        ("i2", 1, -1024, 4),
        ("i2", 1, 1, 4),
        ("u2", 1, -32768, 2),
        ("u2", 1, 0, 4),
        ("u1", 2, -1000, 2),
        ("u1", 0.3, 0, 8),
        ("u1", -1, 0, 8),
        ("i4", 1, 0, 4),
        ("i4", 1, -1, 8),
        ("u4", 1, 0, 8),
        ("u4", 1, -(2.0**31), 4),
        ("i8", 1, 0, 8),
        ("f4", 1, 0, 4),
        ("f4", 2, 0, 8),
        ("f8", 1, 0, 8),
    ],
)
def test_values_take_no_more_than_the_header_says(dtype: str, slope: float, inter: float, size: int) -> None:
    """By the smallest of the dtypes that holds the extremes of what can be on disk, which are there."""
    kind = np.dtype(dtype)
    extremes = (
        np.array([np.iinfo(kind).min, np.iinfo(kind).max])
        if kind.kind != "f"
        else np.array([0.1, -np.finfo(kind).max])
    )
    stored = np.resize(extremes.astype(kind), (2, 3, 4))
    header = nifti.parse_header(scaled(stored, slope, inter)[:352])
    assert header.decoded_bytes == 24 * size
    values = header.scale(stored)
    if kind.itemsize < 8:
        assert held_by(values.astype(np.float64)) <= size


def held_by(values: Any) -> int:
    """Bytes of a value in the smallest of the dtypes that hold these all, by trying."""
    with np.errstate(all="ignore"):
        return next(
            np.dtype(name).itemsize
            for name in ("int16", "int32", "float32", "float64")
            if np.array_equal(values.astype(name).astype(np.float64), values)
        )


HEADERS = [
    kind(labels().astype(f"{order}u2"), AFFINE, kind.header_class(endianness=order)).to_bytes()
    for kind in KINDS
    for order in "<>"
]
# Fields whose spoiling changes what is done, more often than a byte anywhere.
HOT = st.one_of(st.integers(0, 147), st.integers(252, 347), st.integers(0, 560))


def spoilt(data: st.DataObject) -> bytes:
    inflated = bytearray(data.draw(st.sampled_from(HEADERS)))
    for at, new in data.draw(st.lists(st.tuples(HOT, st.binary(min_size=1, max_size=8)), max_size=6)):
        inflated[at : at + len(new)] = new
    return bytes(inflated[: data.draw(st.sampled_from([len(inflated)] * 9 + [0, 3, 348, 360, 540, 600]))])


@contextlib.contextmanager
def memory_below(limit: int) -> Iterator[None]:
    """Of what is allocated meanwhile; only then traced, for that takes all else three times as long."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < limit


def require_a_refusal_or_a_file(path: Path, inflated: bytes) -> None:
    """Nothing but CaseRefused comes of a header, and no memory beyond what a file of its size may hold."""
    path.write_bytes(gzip.compress(inflated, 1))
    with memory_below(32 << 20), contextlib.suppress(CaseRefused):
        header = nifti.read_header(path)
        volume = nifti.read(path)
        assert np.isfinite(header.affine).all()
        assert sorted(header.reorientation.axes) == [0, 1, 2]
        assert volume.header.nbytes == volume.stored.nbytes <= len(inflated)
        assert b"".join([header.prefix, volume.stored.tobytes(order="F"), volume.trailer]) == inflated
        assert np.asarray(nifti.source_image(inflated).dataobj).size == volume.stored.size


FUZZ = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@settings(FUZZ, max_examples=150)
@given(st.data())
def test_any_header_is_read_or_refused(path: Path, data: st.DataObject) -> None:
    require_a_refusal_or_a_file(path, spoilt(data))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(FUZZ, max_examples=many(20_000))
@given(st.data())
def test_many_headers_are_read_or_refused(path: Path, data: st.DataObject) -> None:
    require_a_refusal_or_a_file(path, spoilt(data))


@pytest.mark.parametrize("shape", [[3, 32767, 32767, 32767], [3, 512, 512, 32767], [7, 30000] + [1] * 6])
def test_a_header_that_promises_what_its_file_lacks_takes_no_memory(path: Path, shape: list[int]) -> None:
    dim = shape + [1] * (8 - len(shape))
    path.write_bytes(packed(edited(voxels(), dim=dim, datatype=64, bitpix=64)))
    with memory_below(8 << 20), pytest.raises(CaseRefused):
        nifti.read(path)
