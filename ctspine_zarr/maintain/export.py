"""Cases back to `.nii.gz` files whose inflated bytes are those of the source."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ctspine_zarr import nifti
from ctspine_zarr.concurrency.choice import AnyExecutor, runner_of
from ctspine_zarr.concurrency.runners import DIED, Finished
from ctspine_zarr.datasets import DATASETS
from ctspine_zarr.errors import CtspineError, choose
from ctspine_zarr.outputs import require_free
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.original import inflated_source
from ctspine_zarr.read.sample import Name
from ctspine_zarr.read.store import open_store
from ctspine_zarr.storage import Location, require_shared

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CaseExported:
    """What became of a case that was to be exported.

    Attributes:
        case: its id.
        paths: of the files that were written, the volume's first; none where its worker died.
        reason: why one was not; None where the case is there as a whole.
    """

    case: str
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
    if not overwrite:
        _require_all_free(case, Path(output))
    return tuple(Path(output) / path for path in _written(case, Path(output)))


def export_cases(
    store: Location,
    output: str | Path,
    cases: str | Collection[str] | None = None,
    *,
    overwrite: bool = False,
    workers: int = 1,
    executor: AnyExecutor | None = None,
    on_case: Callable[[CaseExported], None] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Exported:
    """Write cases below `output`, each as `export` does; one that fails never stops the others.

    The files are the same, whoever writes them. A worker that is killed leaves no file under its name
    in part, but may leave one that ends with `.partial`.

    Args:
        store: any that opens.
        output: made where it does not exist; on other machines it must be the same folder.
        cases: ids, such as those of a selection; all by default. One that is named twice is written once.
        overwrite: replace files that are there.
        workers: processes, each of which holds a case.
        executor: what exports cases in their place; see `build_store`.
        on_case: told of each case as it is done, in this thread.
        storage_options: see `open_store`.

    Raises:
        NotAStore, DamagedStore: there is no store.
        UnknownCase: an id that it does not have; nothing was written.
        UnknownValue: workers for a store that other processes do not see, or no legal number of them.
        NoWorkers: processes cannot start, or the executor broke; what is written is whole.
        StorageError: the store cannot be opened.
    """
    runner = runner_of(workers, executor)
    opened = open_store(store, storage_options=storage_options)
    require_shared(opened.storage, runner)
    names = opened if cases is None else [cases] if isinstance(cases, str) else cases
    chosen = {name: opened[name] for name in names}
    # A worker may have another working folder.
    place = Path(output) if runner.is_alone else Path(output).absolute()
    done: dict[str, CaseExported] = {}
    asked = (_Asked(case, None if overwrite else _obstacle(case, place)) for case in chosen.values())
    for step in runner.run(_Task(place), asked):
        if isinstance(step, Finished):
            found = _exported(step.item.case.id, step.result, Path(output))
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
    """

    output: Path

    def __call__(self, asked: _Asked) -> _Outcome:
        case, paths = asked.case, list[str]()
        if asked.reason is not None:
            return _Outcome((), asked.reason)
        try:
            for path in _written(case, self.output):
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


def _exported(case: str, outcome: _Outcome | None, output: Path) -> CaseExported:
    if outcome is None:
        reason = f"{case}: {DIED}, perhaps out of memory; use fewer --workers"
        return CaseExported(case, (), reason)
    if outcome.reason is not None:
        _LOG.debug("not exported %s: %s\n%s", case, outcome.reason, outcome.trace)
    return CaseExported(case, tuple(output / path for path in outcome.paths), outcome.reason)


def _obstacle(case: Case, output: Path) -> str | None:
    """Why a case cannot be written without replacing a file; None where it can."""
    try:
        _require_all_free(case, output)
    except CtspineError as error:
        return str(error)
    return None


def _written(case: Case, output: Path) -> Iterator[str]:
    """The paths of a case's files below a folder, each once it is written; as `export`."""
    for which, path in _paths(case).items():
        source = case.nifti_source(which)
        digest = source.inflated_sha256 if source.restorable else None
        inflated = inflated_source(case.voxels(which), source, case.record, which)
        nifti.write(output / path, inflated, digest)
        yield path


def _require_all_free(case: Case, output: Path) -> None:
    for path in _paths(case).values():
        require_free(output / path)


def _paths(case: Case) -> dict[Name, str]:
    """Where files lie in their dataset: it follows from names that were checked, not from what was kept."""
    layout, record = choose("layout", case.spec.layout, DATASETS), case.record
    of: dict[Name, Callable[[str, str, str], str]] = {
        "image": layout.image_path,
        "segmentation": layout.mask_path,
    }
    return {which: of[which](record.split, record.source, record.id) for which in case.names}
