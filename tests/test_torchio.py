"""TorchIO: subjects of a store are those of its NIfTI files, and read no more than is asked for."""

from __future__ import annotations

import pickle
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

import ctspine_zarr as cz

with warnings.catch_warnings():
    # Its own imports, not ours.
    warnings.simplefilter("ignore")
    tio = pytest.importorskip("torchio", reason="needs TorchIO: pip install 'ctspine-zarr[torchio]'")
    import torch

    from ctspine_zarr import torchio as ct

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
    # TorchIO's own, of numpy's, PyTorch's and its own changes.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
first = pytest.mark.skipif(not ct._IS_FIRST, reason="of TorchIO 1: that of 2 has another form")
second = pytest.mark.skipif(ct._IS_FIRST, reason="needs TorchIO 2")

BOTH = ["image", "segmentation"]
PAGE = (Path(__file__).parents[1] / "docs" / "frameworks.md").read_text()


@pytest.fixture(scope="module")
def store(phantom_store: cz.Store) -> cz.Store:
    """LPS, PIR and RAS in their files."""
    return phantom_store[["1.3.6.1.4.1.9328.50.4.0001", "HN_P001", "liver_12"]]


def from_files(store: cz.Store, place: Path) -> Any:
    """The subjects of the exported files, in RAS."""
    for case in store.values():
        images: dict[str, Any] = {}
        for name, kind in zip(BOTH, (tio.ScalarImage, tio.LabelMap), strict=True):
            nibabel.save(case.to_nibabel(name), place / f"{case.id}_{name}.nii.gz")  # type: ignore[arg-type]
            images[name] = kind(place / f"{case.id}_{name}.nii.gz")
        yield tio.ToCanonical()(tio.Subject(**images)) if ct._IS_FIRST else tio.Subject(**images)


@first
@pytest.mark.parametrize("step", [None, "resampled", "LPS"])
def test_subjects_are_those_of_the_files(store: cz.Store, tmp_path: Path, step: str | None) -> None:
    transforms = {"resampled": tio.Resample(3), "LPS": tio.ToOrientation("LPS"), None: tio.Compose([])}
    for subject, other in zip(ct.subjects(store), from_files(store, tmp_path), strict=True):
        found, expected = transforms[step](subject), transforms[step](other)
        for name in BOTH:
            assert torch.equal(found[name].data.double(), expected[name].data.double())
            assert np.allclose(found[name].affine, expected[name].affine, atol=1e-5)
        assert isinstance(found["segmentation"], tio.LabelMap)
        assert isinstance(found["image"], tio.ScalarImage)
        assert subject.case in store


@first
def test_nothing_is_read_before_it_is_asked_for(store: cz.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctspine_zarr.arrays.voxels.Voxels.__getitem__", lambda *_: pytest.fail("read"))
    for subject, case in zip(ct.subjects(store), store.values(), strict=True):
        assert subject.spatial_shape == case.shape[::-1]
        assert subject.spacing == pytest.approx(case.spacing[::-1])
        assert np.array_equal(subject.image.affine, case.affine)
        assert len(pickle.dumps(subject)) < 50_000


@first
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("sampler", ["uniform", "label"])
def test_a_queue_trains_from_them(store: cz.Store, sampler: str, workers: int) -> None:
    samplers = {"uniform": tio.UniformSampler, "label": tio.LabelSampler}
    queue = tio.Queue(
        tio.SubjectsDataset(ct.subjects(store), transform=tio.RandomFlip()),
        max_length=6,
        samples_per_volume=2,
        sampler=samplers[sampler]((16, 16, 8)),
        num_workers=workers,
    )
    loader = tio.SubjectsLoader(queue, batch_size=2, num_workers=0)
    net = torch.nn.Conv3d(1, 1, 3, padding=1)
    optimizer = torch.optim.SGD(net.parameters(), 1e-3)
    batches = 0
    for batch in loader:
        image, mask = batch["image"]["data"].float() / 1000, batch["segmentation"]["data"].float()
        assert image.shape == mask.shape == (2, 1, 16, 16, 8)
        if sampler == "label":
            assert (mask[:, 0, 8, 8, 4] > 0).all()
        loss = (net(image) - mask.clamp(max=1)).square().mean()
        loss.backward()
        optimizer.step()
        batches += 1
    assert batches == len(store)


@first
def test_a_patch_knows_where_it_is(store: cz.Store) -> None:
    [subject] = ct.subjects(store[["HN_P001"]])
    [patch] = tio.UniformSampler((16, 12, 8))(subject, num_patches=1)
    start = np.linalg.solve(subject.image.affine, patch.image.affine)[:3, 3].round().astype(int)
    x, y, z = (slice(begin, begin + size) for begin, size in zip(start, (16, 12, 8), strict=True))
    assert torch.equal(patch.image.data, subject.image.data[:, x, y, z])


def test_a_case_without_a_mask_has_an_image_alone(store: cz.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    case = store["liver_12"]
    monkeypatch.setattr(type(case), "names", ("image",))
    assert "segmentation" not in ct.subject(case)


@second
def test_the_second_torchio_reads_parts_alone(store: cz.Store, tmp_path: Path) -> None:
    for subject, other in zip(ct.subjects(store), from_files(store, tmp_path), strict=True):
        case = store[subject.case]
        assert tuple(subject.image.shape) == (1, *case.shape[::-1])
        assert np.allclose(np.asarray(subject.image.affine.data), case.affine)
        part = subject.image.dataobj[:, 3:20, 5, -4:]
        assert np.array_equal(part, case.image[-4:, 5:6, 3:20].compute().T[None])
        assert np.array_equal(subject.segmentation.data[0], case.segmentation.compute().T)
        found, expected = (tio.Reorient("LPS")(one) for one in (subject, other))
        for name in BOTH:
            assert torch.equal(found[name].data.double(), expected[name].data.double())


@first
def test_the_page_runs(phantom_store: cz.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(phantom_store.location, tmp_path / "spine.zarr")
    monkeypatch.chdir(tmp_path)
    section = PAGE.split("## TorchIO")[1].split("\n## ")[0]
    [block] = re.findall(r"```python torchio\n(.*?)```", section, re.DOTALL)
    names: dict[str, Any] = {"store": cz.open_store("spine.zarr")}
    exec(compile(block, "docs/frameworks.md", "exec"), names)  # noqa: S102 - our own
    assert next(iter(names["loader"]))["image"]["data"].shape == (2, 1, 32, 32, 16)
