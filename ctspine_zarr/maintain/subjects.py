"""Names of cases as BIDS allows them: of letters and digits, each subject a patient. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from ctspine_zarr.digest import sha256
from ctspine_zarr.format.record import Record

# A subject, and entities such as `dir-iso`.
_LEGAL: Final = re.compile(r"sub-[A-Za-z0-9]+(_[A-Za-z0-9]+-[A-Za-z0-9]+)*")
_OTHERS: Final = re.compile(r"[^A-Za-z0-9]")
_LEAST_DIGITS: Final = 8


def subject_names(records: Collection[Record]) -> dict[str, str]:
    """The name of each case of a store, by its id; no two are one where upper and lower case are.

    An id that is legal stays. Others become `sub-` and their letters and digits; of a patient with several
    cases, `sub-<patient>_split-<case>`, as VerSe names parts. Where two come to the same, each that was
    changed has digits of a digest added. A name depends on all cases of the store.
    """
    kept = {record.id: record.id for record in records if _LEGAL.fullmatch(record.id)}
    others = [record for record in records if record.id not in kept]
    scans = Counter(record.patient_id for record in others)
    lone = [record for record in others if scans[record.patient_id] == 1]
    several = [record for record in others if scans[record.patient_id] > 1]
    subjects = _distinct(
        [*(record.id for record in lone), *(f"patient {record.patient_id}" for record in several)],
        {name.partition("_")[0].removeprefix("sub-") for name in kept},
        {f"patient {record.patient_id}": record.patient_id for record in several},
    )
    parts = _distinct([record.id for record in several], ())
    names = {record.id: f"sub-{subjects[record.id]}" for record in lone}
    for record in several:
        names[record.id] = f"sub-{subjects[f'patient {record.patient_id}']}_split-{parts[record.id]}"
    return kept | names


def _distinct(
    keys: Iterable[str], taken: Collection[str], texts: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Letters and digits for each key, all different from one another and from those that are taken.

    Args:
        keys: what is named.
        taken: names of others.
        texts: what the names of some keys come from; others come from the key.
    """
    plain = {key: _OTHERS.sub("", (texts or {}).get(key, key)) for key in keys}
    shared = Counter(name.lower() for name in plain.values())
    used = {name.lower() for name in taken}
    found = {}
    # Those that need no digits first, so that they have none.
    for key, name in sorted(plain.items(), key=lambda item: (shared[item[1].lower()] > 1, item[0])):
        is_free = bool(name) and shared[name.lower()] == 1 and name.lower() not in used
        found[key] = name if is_free else _with_digits(name, key, used)
        used.add(found[key].lower())
    return found


def _with_digits(name: str, key: str, used: Collection[str]) -> str:
    digest = sha256(key.encode())
    lengths = range(_LEAST_DIGITS, len(digest) + 1)
    return next(name + digest[:length] for length in lengths if (name + digest[:length]).lower() not in used)
