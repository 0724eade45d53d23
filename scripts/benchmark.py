"""What building, reading and sampling cost, beside the field, in one run on the same volumes.

    python scripts/benchmark.py [build|read|train|remote|afar|chunks|scale|derive|nnunet|hands|help]
                                [--source DIR] [--case ID] [--repeats N] [--json FILE] [--picture FILE]
                                [--latency MS] [--facts DIR]

The first three by default, on a synthetic dataset unless --source names a copy of the real one; `remote`
reads over HTTP from a server that is a round trip away, `afar` many cases at once, of 5, 30 and 100 ms,
`chunks` compares chunk shapes, `scale` opens a store of 100,000 cases, `derive` makes a store of 1 mm of
one of all cases, `nnunet` loads by nnU-Net from its copy and from the store, `hands` builds 1,005 tiny
cases in parts, finalizes and verifies them, `help` waits for the help of each command. In all but `scale`
and `hands` each peer has a fresh process in each of the --repeats runs, and figures are medians with
their range over runs. Machines are noisy: ratios between the rows of one run are worth more than any
figure.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arguments import positive
from benchmarks import (
    afar,
    build,
    chunks,
    commands,
    derive,
    hands,
    machine,
    nnunet,
    picture,
    read,
    remote,
    scale,
    train,
)

from ctspine_zarr.datasets.phantom import write_phantom
from ctspine_zarr.errors import CtspineError

USUAL = ("build", "read", "train")


def main() -> None:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as scratch:
        found = measured(arguments, Path(scratch))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


type Part = Callable[[argparse.Namespace, Path, Path], Any]
"""From arguments, source and a folder to write in to figures."""

PARTS: dict[str, Part] = {
    "build": lambda asked, source, _: build.run(source, asked.case, asked.repeats),
    "read": lambda asked, source, scratch: read.run(source, scratch, asked.case, asked.repeats),
    "train": lambda asked, source, scratch: train.run(source, scratch, asked.case, asked.repeats),
    "remote": lambda asked, source, scratch: remote.run(
        source, scratch, asked.case, asked.repeats, asked.latency / 1000
    ),
    "afar": lambda asked, source, scratch: afar.run(source, scratch, asked.case, asked.repeats),
    "chunks": lambda asked, source, scratch: chunks.run(
        source, scratch, asked.case, asked.repeats, asked.latency / 1000
    ),
    "scale": lambda _, source, scratch: scale.run(source, scratch),
    "derive": lambda asked, source, scratch: derive.run(source, scratch, asked.case, asked.repeats),
    "nnunet": lambda asked, source, scratch: nnunet.run(source, scratch, asked.case, asked.repeats),
    "hands": lambda asked, _, scratch: hands.run(scratch, asked.facts, asked.repeats),
    "help": lambda asked, *_: commands.run(asked.repeats),
}


def measured(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Figures of each part that is asked for; `hands` makes a source of its own, `help` needs none."""
    about = machine.described()
    machine.report(about)
    source = arguments.source or scratch / "phantom"
    if arguments.source is None and arguments.parts not in {("hands",), ("help",)}:
        write_phantom(source)
    found = {part: PARTS[part](arguments, source, scratch) for part in arguments.parts}
    if arguments.picture and "read" in found:
        picture.draw(found["read"], arguments.picture)
    return {"machine": about, **found}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "part",
        nargs="?",
        choices=PARTS,
        help="default: build, read, train",
    )
    parser.add_argument("--remote", action="store_true", help="the same as the part remote")
    parser.add_argument("--source", type=Path, help="a copy of the dataset; default: a synthetic one")
    parser.add_argument("--case", help="this alone; default: all, to read from the one with most voxels")
    parser.add_argument("--repeats", type=positive, default=3, help="runs, of fresh processes; default: 3")
    parser.add_argument(
        "--latency", type=milliseconds, default=30.0, help="of remote and chunks, in ms; default: 30"
    )
    parser.add_argument(
        "--facts", type=Path, default=hands.FACTS, help="of hands: the folder of the authors' split list"
    )
    parser.add_argument("--json", type=new_file, help="also write the figures here")
    parser.add_argument("--picture", type=new_file, help="also draw the reads here; needs matplotlib")
    arguments = parser.parse_args()
    if arguments.remote and arguments.part not in {None, "remote"}:
        parser.error(f"--remote with the part {arguments.part}; legal: one of them")
    part = "remote" if arguments.remote else arguments.part
    arguments.parts = USUAL if part is None else (part,)
    return arguments


def milliseconds(text: str) -> float:
    """A number from 0, for argparse."""
    if not text.replace(".", "", 1).isdecimal():
        message = f"{text}; legal: a number from 0"
        raise argparse.ArgumentTypeError(message)
    return float(text)


def new_file(text: str) -> Path:
    """Refused before the work, not after it."""
    path = Path(text)
    if not path.absolute().parent.is_dir():
        message = f"{text}: there is no folder {path.parent}"
        raise argparse.ArgumentTypeError(message)
    return path


if __name__ == "__main__":
    try:
        main()
    except CtspineError as error:
        sys.exit(f"error: {error}")
