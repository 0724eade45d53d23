"""Whether a wheel and a source distribution have all that they should, and a description that shows alone."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGE = "ctspine_zarr"
# What must be there, and git does not know: `make page` has bundled it.
ARTIFACTS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["artifacts"]
LINK = re.compile(r"\]\((?!https://|#)([^)]*)\)")


def one(folder: Path, pattern: str) -> Path:
    [found] = folder.glob(pattern)
    return found


def names_of_sources(path: Path) -> set[str]:
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def names_and_description(path: Path) -> tuple[set[str], str]:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        [metadata] = (name for name in names if name.endswith(".dist-info/METADATA"))
        return names, str(message_from_bytes(archive.read(metadata)).get_payload())


def known_files() -> set[str]:
    """What git knows here, and what was bundled; without git, what the package has."""
    bundled = {str(path.relative_to(REPOSITORY)) for one in ARTIFACTS for path in REPOSITORY.glob(one)}
    if not (REPOSITORY / ".git").exists():
        package = (path for path in (REPOSITORY / PACKAGE).rglob("*") if "__pycache__" not in path.parts)
        return {str(path.relative_to(REPOSITORY)) for path in package if path.is_file()}
    listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=REPOSITORY, text=True)  # noqa: S607 - whichever git
    return bundled | {name for name in listed.split("\0") if name}


def faults(dist: Path, direct: Path) -> list[str]:
    """What is wrong, a line each."""
    sources, wheel = one(dist, f"{PACKAGE}-*.tar.gz"), one(dist, f"{PACKAGE}-*.whl")
    known = known_files()
    names, description = names_and_description(wheel)
    found = [f"{sources.name} lacks {name}" for name in sorted(known - names_of_sources(sources))]
    package = {name for name in known if name.startswith(f"{PACKAGE}/")}
    found += [f"{wheel.name} lacks {name}" for name in sorted(package - names)]
    more = {name for name in names if ".dist-info/" not in name} - package
    found += [f"{wheel.name} has {name}, which is not of the package" for name in sorted(more)]
    found += [f"the description links to {link}, which is not there" for link in LINK.findall(description)]
    if wheel.read_bytes() != one(direct, f"{PACKAGE}-*.whl").read_bytes():
        found.append(f"{wheel.name} from the sources differs from that of the repository")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dist", type=Path, help="with the sources and the wheel that was built from them")
    parser.add_argument("direct", type=Path, help="with the wheel that was built from the repository")
    arguments = parser.parse_args()
    found = faults(arguments.dist, arguments.direct)
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
