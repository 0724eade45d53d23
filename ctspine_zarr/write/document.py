"""The plan as a document: what a store is to hold, made once, by which any number of builders agree."""

from __future__ import annotations

import heapq
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from msgspec import Struct, structs

from ctspine_zarr.datasets.cases import Refusal, SourceCase
from ctspine_zarr.errors import Malformed, OtherFormat, SourceError, StoreMismatch, UnknownValue
from ctspine_zarr.format.encoding import UNSEALED, Sha256, decode, encode, sealed, validated
from ctspine_zarr.format.layout import DEFAULT_CHUNK, FORMAT_VERSION, plan_key
from ctspine_zarr.format.profiles import PROFILES
from ctspine_zarr.format.record import Sizes
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.geometry import Shape
from ctspine_zarr.write.case_objects import WRITER, version

MOST_PLAN_BYTES: Final = 1 << 30

# By whose versions the bytes of a store may differ.
_LIBRARIES: Final = ("numcodecs", "numpy", "pillow", "pyarrow", "zstandard")
_PART: Final = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})")
_ARRAY: Final = "SLURM_ARRAY_TASK_"


@dataclass(frozen=True, slots=True)
class PlannedCase:
    """A case to build.

    Attributes:
        case: its files.
        working_bytes: memory that they take at the most, inflated and encoded; an estimate where they
            are not here yet, and 0 where a header cannot be read, which the build will say.
        widening: bytes of the image's values per byte on disk, at the most, where scaling makes wider ones.
    """

    case: SourceCase
    working_bytes: int
    widening: float = 1


class PlanDocument(Struct, frozen=True, kw_only=True):
    """All that decides what a build writes, but for what its store has already.

    Attributes:
        format: of the store.
        writer, libraries: what encodes: of other versions the bytes may differ.
        source: where the files are, at one commit where it has commits.
        codec: name of the profile.
        chunk: (z, y, x) voxels of a chunk.
        dataset: the dataset's description.
        cases: to build, in the order of their ids.
        refused: cases that cannot be tried.
        elsewhere: ids that the source has beyond the selection.
        seal: see `encoding`.
    """

    format: int = FORMAT_VERSION
    writer: str
    libraries: Mapping[str, str]
    source: str
    codec: str
    chunk: Sizes
    dataset: Spec
    cases: tuple[PlannedCase, ...]
    refused: tuple[Refusal, ...]
    elsewhere: tuple[str, ...]
    seal: Sha256 = UNSEALED

    def __post_init__(self) -> None:
        if self.codec not in PROFILES:
            message = f"codec {self.codec!r}; legal: {', '.join(PROFILES)}"
            raise ValueError(message)

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the cases to build."""
        return tuple(planned.case.id for planned in self.cases)

    @property
    def purpose(self) -> str:
        """The plan in a line, for those who ask to write something else."""
        chunk = "" if self.chunk == DEFAULT_CHUNK else f" and chunks of {self.chunk}"
        return f"a build of {len(self.cases)} cases of {self.dataset.name} with codec {self.codec}{chunk}"


@dataclass(frozen=True, slots=True)
class Part:
    """One of so many parts of a plan, from 1."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            message = f"part {self.number} of {self.count}; legal: 1/N to N/N"
            raise UnknownValue(message)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str] = os.environ) -> Self:
        """A part as a user writes it: `3/100`, or `slurm` for that of a task of a job array.

        Raises:
            UnknownValue: it is neither, or there is no job array.
        """
        if text == "slurm":
            return cls(*_of_array(environment))
        found = _PART.fullmatch(text)
        if found is None:
            message = f"part {text!r}; legal: I/N, such as 3/100, or slurm in a job array"
            raise UnknownValue(message)
        return cls(int(found[1]), int(found[2]))


def _of_array(environment: Mapping[str, str]) -> tuple[int, int]:
    """Number and count of a task, whatever numbers its array has, as long as they are evenly spaced."""
    names = [f"{_ARRAY}{name}" for name in ("ID", "MIN", "STEP", "COUNT")]
    try:
        task, first, step, count = (int(environment.get(name, "")) for name in names)
    except ValueError as error:
        seen = ", ".join(f"{name}={environment.get(name)}" for name in names)
        message = f"part slurm, and {seen}; legal: a task of a job array (sbatch --array=1-100)"
        raise UnknownValue(message) from error
    number, rest = divmod(task - first, max(step, 1))
    if rest or not 0 <= number < count:
        message = f"part slurm of a task {task} among {count} from {first} on; legal: an array of even steps"
        raise UnknownValue(message)
    return number + 1, count


def new_document(
    source: str,
    codec: str,
    chunk: Shape,
    dataset: Spec,
    *,
    cases: Iterable[PlannedCase],
    refused: Iterable[Refusal],
    elsewhere: Iterable[str],
) -> PlanDocument:
    """A plan of these, sealed."""
    document = PlanDocument(
        writer=WRITER,
        libraries=_libraries(),
        source=source,
        codec=codec,
        chunk=chunk,
        dataset=dataset,
        cases=tuple(sorted(cases, key=lambda planned: planned.case.id)),
        refused=tuple(sorted(refused, key=lambda refusal: refusal.case)),
        elsewhere=tuple(sorted(elsewhere)),
    )
    # Its numbers as they are read again: 1 is 1.0 where a float belongs, or another seal would follow.
    return decode_plan(encode_plan(validated(document)))


def encode_plan(document: PlanDocument) -> bytes:
    """A plan as it is kept."""
    return sealed(encode(structs.replace(document, seal=UNSEALED)))


def decode_plan(data: bytes | None, key: str | None = None) -> PlanDocument:
    """The inverse of `encode_plan`.

    Args:
        data: the document; None where there is none.
        key: where it was found in a store.

    Raises:
        OtherFormat, Malformed: as `encoding.decode`; or it is the plan of another key.
    """
    document = decode(data, PlanDocument, is_sealed=True)
    if key not in {None, plan_key(document.seal)}:
        message = f"it is the plan {plan_key(document.seal)}, at {key}"
        raise Malformed(message)
    return document


def read_plan(path: Path) -> PlanDocument | None:
    """A plan from a file; None where there is none yet.

    Raises:
        SourceError: it cannot be read, or is none.
        StoreMismatch: it was made for another version of this package or its libraries.
    """
    try:
        document = decode_plan(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, Malformed, OtherFormat) as error:
        message = f"plan {path}: {getattr(error, 'strerror', None) or error}; legal: one that --plan wrote"
        raise SourceError(message) from error
    require_own_version(document, str(path))
    return document


def require_own_version(document: PlanDocument, place: str) -> None:
    """Do nothing where a plan was made by the versions that would carry it out here.

    Raises:
        StoreMismatch: it was not.
    """
    made = {"writer": document.writer, **document.libraries}
    here = {"writer": WRITER, **_libraries()}
    differing = [name for name in here | made if made.get(name) != here.get(name)]
    if differing:
        seen = "; ".join(f"{name} {made.get(name)}, here {here.get(name)}" for name in differing)
        message = f"plan {place} was made with {seen}; legal: the same versions, for bytes may differ"
        raise StoreMismatch(message)


def write_plan(path: Path, document: PlanDocument) -> PlanDocument:
    """Keep a plan in a file, unless another process has just done so.

    Returns:
        The one that the file has.

    Raises:
        SourceError: it cannot be written.
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
    try:
        partial.write_bytes(encode_plan(document))
        try:
            # Whole or not at all, and never in another's place.
            path.hardlink_to(partial)
        finally:
            partial.unlink()
    except FileExistsError:
        return read_plan(path) or document
    except OSError as error:
        message = (
            f"plan {path}: {error.strerror}; legal: a file on a disk that can be written and has hard links"
        )
        raise SourceError(message) from error
    return document


def ids_of(part: Part, document: PlanDocument) -> frozenset[str]:
    """The cases of a part: each is in one, and parts have about the same bytes to read.

    They follow from the plan alone: the largest case goes to the part that has least so far.
    """
    # Beyond the cases, parts are empty.
    parts = [(0, number) for number in range(1, min(part.count, len(document.cases)) + 1)]
    own = set()
    for planned in sorted(document.cases, key=lambda planned: (-planned.case.bytes, planned.case.id)):
        size, number = heapq.heappop(parts)
        if number == part.number:
            own.add(planned.case.id)
        heapq.heappush(parts, (size + planned.case.bytes, number))
    return frozenset(own)


def _libraries() -> dict[str, str]:
    return {name: version(name) for name in _LIBRARIES}
