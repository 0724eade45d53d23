"""Cases to files: the source's bytes again in its layout, or in that of other programs."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ctspine_zarr.concurrency.choice import AnyExecutor, runner_of
from ctspine_zarr.concurrency.runners import DIED, Finished
from ctspine_zarr.errors import CtspineError, UnknownValue, require_known
from ctspine_zarr.format.label_map import AnyMap
from ctspine_zarr.maintain.content import Content
from ctspine_zarr.maintain.layouts import Layout, Slices, Source, Subjects
from ctspine_zarr.maintain.subjects import subject_names
from ctspine_zarr.outputs import require_free
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.opening import open_store
from ctspine_zarr.read.store import Store
from ctspine_zarr.storage import Location, require_shared
from ctspine_zarr.training.kinds import Crop, Millimetres, Volumes

LAYOUTS: Final = ("source", "verse", "bids", "npz")
"""Of exported files."""

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CaseExported:
    """What became of a case that was to be exported.

    Attributes:
        case: its id.
        name: that it has in the layout: its id, but where the layout does not allow that.
        paths: of the files that were written, the volume's first; none where its worker died.
        reason: why one was not; None where the case is there as a whole.
    """

    case: str
    name: str
    paths: tuple[Path, ...]
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    """The result of exporting many cases.

    Attributes:
        cases: in the order in which they were asked for.
    """

    cases: tuple[CaseExported, ...]

    @property
    def failed(self) -> tuple[CaseExported, ...]:
        """Those of which a file was not written."""
        return tuple(case for case in self.cases if case.reason is not None)


def export(case: Case, output: str | Path, *, overwrite: bool = False) -> tuple[Path, ...]:
    """Write a case's volume and mask below `output`, named and laid out as their dataset is.

    Each file is proven against the sha256 of the inflated source, and appears under its name
    only when it is whole and proven. The gzip layer itself is our own. A file that is not
    restorable (the case has the finding `not_restorable`) has the source's values instead, which the
    checksums of chunks alone prove.

    Args:
        case: from an open store.
        output: made where it does not exist.
        overwrite: replace files that are there.

    Returns:
        The paths: the volume's, and that of the mask where the case has one.

    Raises:
        StorageError: a file exists, or cannot be written; no file is ever there in part.
        DamagedStore: the rebuilt bytes are not those of the source, or its header is of another grid.
        UnknownValue: the store's layout is none that this version knows, or has no such split.
    """
    layout = Source()
    if not overwrite:
        _require_all_free(case, Path(output), layout)
    return tuple(Path(output) / path for path in layout.written(case, Path(output)))


def export_cases(
    store: Location,
    output: str | Path,
    cases: str | Collection[str] | None = None,
    *,
    layout: str = "source",
    label_set: str | None = None,
    labels: AnyMap | Path | None = None,
    crop: Crop | None = None,
    margin_mm: Millimetres = 20.0,
    overwrite: bool = False,
    workers: int = 1,
    executor: AnyExecutor | None = None,
    on_case: Callable[[CaseExported], None] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Exported:
    """Write cases below `output`; one that fails never stops the others.

    The layout `source` is that of the dataset, each case as `export` writes it. `verse` and `bids` have

        [dataset-01training/]rawdata/sub-X/sub-X_ct.nii.gz, and sub-X_ct.json, which says of what case
        [dataset-01training/]derivatives/sub-X/sub-X_seg-vert_msk.nii.gz, and sub-X_seg-vert_ctd.json

    with the source's bytes again, once inflated, or, where voxels are cropped or labels mapped, canonical;
    and centroids as VerSe and TPTBox have them. `npz` has an axial slice a file,
    `<split>/<case>/<number>.npz`: `image` int16 HU (y, x), rounded; `label` uint8; `spacing` in mm
    (z, y, x); `affine` (4, 4), indices (z, y, x) of the slice as a box -> RAS+ mm.

    The files are the same, whoever writes them. A worker that is killed leaves no file under its name
    in part, but may leave one that ends with `.partial`.

    Args:
        store: any that opens.
        output: made where it does not exist; on other machines it must be the same folder.
        cases: ids, such as those of a selection; all by default. One that is named twice is written once.
        layout: `source`, `verse`, `bids` or `npz`. `verse` and `bids` allow letters and digits in a
            subject: other ids are made legal (`CaseExported.name`), and a patient is one subject.
        label_set: whose labels are written in place of the masks', of the cases that have it.
        labels: what labels become, as `Store.label_map` takes it; themselves by default.
        crop: `spine` or `labels`, as for `Volumes`; by default nothing is cropped.
        margin_mm: around the labels, one number or (z, y, x), as far as the volume goes.
        overwrite: replace files that are there.
        workers: processes, each of which holds a case.
        executor: what exports cases in their place; see `build_store`.
        on_case: told of each case as it is done, in this thread.
        storage_options: see `open_store`.

    Raises:
        NotAStore, DamagedStore: there is no store.
        UnknownCase: an id that it does not have; nothing was written.
        UnknownValue: a layout, label set, map or crop that is not legal; workers for a store that other
            processes do not see, or no legal number of them.
        NoWorkers: processes cannot start, or the executor broke; what is written is whole.
        StorageError: the store cannot be opened.
    """
    runner = runner_of(workers, executor)
    opened = open_store(store, storage_options=storage_options)
    if label_set is not None:
        opened = opened.select(labels=label_set)
    require_shared(opened.storage, runner)
    names = opened if cases is None else [cases] if isinstance(cases, str) else cases
    chosen = {name: opened[name] for name in names}
    # A worker may have another working folder.
    place = Path(output) if runner.is_alone else Path(output).absolute()
    done: dict[str, CaseExported] = {}
    laid = _layout_of(layout, opened, crop, margin_mm, labels)
    asked = (_Asked(case, None if overwrite else _obstacle(case, place, laid)) for case in chosen.values())
    for step in runner.run(_Task(place, laid), asked):
        if isinstance(step, Finished):
            found = _exported(step.item.case.id, step.result, Path(output), laid)
            done[found.case] = found
            if on_case is not None:
                on_case(found)
    return Exported(tuple(done[name] for name in chosen))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A case to export.

    Attributes:
        case: from the open store.
        reason: why it is not written. A worker does not look: one whose neighbour died may have written
            the files before, and what it finds there is its own.
    """

    case: Case
    reason: str | None


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a worker sends back: the paths below the output, and why they are not all.

    Whoever set up logging did it in the first process alone: a traceback travels there as text.
    """

    paths: tuple[str, ...]
    reason: str | None = None
    trace: str = ""


@dataclass(frozen=True, slots=True)
class _Task:
    """The export of one case, in which every way in which it can fail becomes a reason.

    Attributes:
        output: the folder, in which files that are there are replaced.
        layout: of the files.
    """

    output: Path
    layout: Layout

    def __call__(self, asked: _Asked) -> _Outcome:
        case, paths = asked.case, list[str]()
        if asked.reason is not None:
            return _Outcome((), asked.reason)
        try:
            for path in self.layout.written(case, self.output):
                # One by one: what was written before a fault is told.
                paths.append(path)
        except CtspineError as error:
            return _Outcome(tuple(paths), str(error), traceback.format_exc())
        except MemoryError:
            return _Outcome(tuple(paths), f"{case.id}: out of memory; use fewer --workers")
        except Exception as error:  # noqa: BLE001 - a fault met in one case must not stop the others
            reason = f"{case.id}: {type(error).__name__}: {error}"
            return _Outcome(tuple(paths), reason, traceback.format_exc())
        return _Outcome(tuple(paths))


def _exported(case: str, outcome: _Outcome | None, output: Path, layout: Layout) -> CaseExported:
    if outcome is None:
        reason = f"{case}: {DIED}, perhaps out of memory; use fewer --workers"
        return CaseExported(case, layout.name(case), (), reason)
    if outcome.reason is not None:
        _LOG.debug("not exported %s: %s\n%s", case, outcome.reason, outcome.trace)
    paths = tuple(output / path for path in outcome.paths)
    return CaseExported(case, layout.name(case), paths, outcome.reason)


def _obstacle(case: Case, output: Path, layout: Layout) -> str | None:
    """Why a case cannot be written without replacing a file; None where it can."""
    try:
        _require_all_free(case, output, layout)
    except CtspineError as error:
        return str(error)
    return None


def _require_all_free(case: Case, output: Path, layout: Layout) -> None:
    for path in layout.paths(case):
        require_free(output / path)


def _layout_of(
    asked: str, store: Store, crop: Crop | None, margin_mm: Millimetres, labels: AnyMap | Path | None
) -> Layout:
    """The layout that is asked for, of the cases of a store."""
    require_known("layout", [asked], LAYOUTS)
    frame = Volumes(crop=crop, margin_mm=margin_mm).frame([], store.spec)
    content = Content(frame, None if labels is None else store.label_map(labels))
    if asked == "npz":
        return Slices(content)
    if asked != "source":
        return Subjects(content, subject_names(store.records.values()), has_splits=asked == "verse")
    if not content.is_source:
        message = f"crop {crop!r} and labels {labels!r} of the layout source; legal: verse, bids or npz"
        raise UnknownValue(message)
    return Source()
