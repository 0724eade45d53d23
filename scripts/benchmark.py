"""What building, reading and sampling cost, beside the field, in one run on the same volumes.

    python scripts/benchmark.py [build|read|train] [--source DIR] [--repeats N] [--json FILE] [--picture FILE]

All three by default, on a synthetic dataset unless --source names a copy of the real one. Every
figure is a median and comes with its spread. Machines are noisy: ratios between the rows of one
run are worth more than any figure.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from arguments import positive
from benchmarks import build, picture, read, train

from ctspine_zarr.errors import CtspineError
from ctspine_zarr.phantom import write_phantom


def main() -> None:
    arguments = parse_arguments()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        source = arguments.source or write_phantom(Path(scratch) / "phantom")
        if arguments.part in (None, "build"):
            found["build"] = build.run(source, arguments.repeats)
        if arguments.part in (None, "read"):
            found["read"] = read.run(source, Path(scratch), arguments.case, arguments.repeats)
            if arguments.picture:
                picture.draw(found["read"], arguments.picture)
        if arguments.part in (None, "train"):
            found["train"] = train.run(source, Path(scratch), arguments.repeats)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=("build", "read", "train"), help="default: all")
    parser.add_argument("--source", type=Path, help="a copy of the dataset; default: a synthetic one")
    parser.add_argument("--case", help="the volume to read from; default: the one with most slices")
    parser.add_argument("--repeats", type=positive, default=5, help="default: 5")
    parser.add_argument("--json", type=new_file, help="also write the figures here")
    parser.add_argument("--picture", type=new_file, help="also draw the reads here; needs matplotlib")
    return parser.parse_args()


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
