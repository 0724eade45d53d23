"""What many cases cost: bytes of the catalog, seconds to open a store and to select from it.

The cases are copies of one real record under other names; their voxels are read by nobody. Each
figure is CPU time of a fresh process, imports not counted.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from msgspec import structs

import ctspine_zarr as cz
from ctspine_zarr.digest import sha256
from ctspine_zarr.format.catalog import CatalogFile, Entry, Root, counted, encode_catalog
from ctspine_zarr.manifest.inventory import documents_above

COUNTS = (1_005, 100_000)

MEASURED = """
import json, resource, sys, time
import ctspine_zarr as cz
cz.open_store, cz.Store
begun = time.process_time()
store = cz.open_store(sys.argv[1])
opened = time.process_time()
chosen = store.select(split="train", min_slices=1, has_label=next(iter(store.spec.values)))
selected = time.process_time()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"open": opened - begun, "select": selected - opened, "peak_bytes": peak}))
"""


def run(source: Path, scratch: Path) -> list[dict[str, Any]]:
    """Measure, print a table, return the figures."""
    cz.build_store(cz.plan_build(source, scratch / "one.zarr", workers=1))
    store = cz.open_store(scratch / "one.zarr")
    fullest = max(store.entries.values(), key=lambda entry: len(entry.record.labels))
    rows = [measured(store, fullest, count, scratch / f"{count}.zarr") for count in COUNTS]
    print(f"\ncopies of {fullest.record.id}, {len(fullest.record.labels)} labels")
    print(f"{'cases':>9}{'catalog, MB':>13}{'open, s':>9}{'select, s':>11}{'peak, MB':>10}")
    for row in rows:
        print(
            f"{row['cases']:>9,}{row['catalog_bytes'] / 1e6:>13.1f}{row['open']:>9.2f}"
            f"{row['select']:>11.3f}{row['peak_bytes'] / 1e6:>10.0f}"
        )
    return rows


def measured(store: cz.Store, entry: Entry, count: int, folder: Path) -> dict[str, Any]:
    write(store.root, entry, count, folder)
    command = [sys.executable, "-c", MEASURED, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own
    catalog = next(folder.glob("catalog-*.jsonl")).stat().st_size
    found: dict[str, Any] = json.loads(done.stdout)
    return {"cases": count, "catalog_bytes": catalog} | found


def write(about: Root, entry: Entry, count: int, folder: Path) -> None:
    """Root and catalog of a store of so many cases."""
    entries = [
        Entry(
            structs.replace(entry.record, id=f"case_{number:06}", split="train"), entry.receipt, entry.group
        )
        for number in range(count)
    ]
    catalog = encode_catalog(about.dataset, entries)
    root = structs.replace(
        about,
        catalog=CatalogFile(sha256(catalog), len(catalog), count),
        cases=counted(about.dataset, (one.record for one in entries)),
        tables={},
    )
    for key, data in documents_above(root, entries, {}).items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(data)
