"""Draw the rooms of the package in layers, from its imports: docs/images/rooms.svg.

    python scripts/draw_rooms.py [FILE]

A room's layer is one above the highest of those that it imports from. Colours are such that the drawing
reads on white and on black.
"""

import ast
import sys
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "ctspine_zarr"
DRAWING = REPOSITORY / "docs" / "images" / "rooms.svg"

# Modules at the top: what all rooms share has one box together, each other one its own.
COMMON = ("digest", "errors", "geometry", "kernel", "outputs", "scaling", "text")
SHARED = "shared ground"

WIDTH, MARGIN, LABEL = 900, 16, 8
BOX, GAP, ROW = 34, 12, 62
CHARACTER = 8.2
FILL, STROKE, INK, PALE = "#dce9f5", "#4a7fb0", "#16324a", "#7d8590"


def rooms() -> dict[str, set[str]]:
    """Each room, and the rooms that it imports from."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        room = room_of(path.relative_to(PACKAGE).with_suffix("").parts)
        if room:
            found.setdefault(room, set()).update(other for other in imports(path) if other and other != room)
    return found


def room_of(parts: tuple[str, ...]) -> str:
    """The room of a module, by the parts of its name; empty for the face of the package and its entry."""
    if not parts or parts[0].startswith("__"):
        return ""
    if (PACKAGE / parts[0]).is_dir():
        return parts[0]
    return SHARED if parts[0] in COMMON else parts[0]


def imports(path: Path) -> set[str]:
    """The rooms that a module imports from; whoever imports the face, from those that it names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import) and any(alias.name == "ctspine_zarr" for alias in node.names):
            names |= imports(PACKAGE / "__init__.py")
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ctspine_zarr."):
            names.add(room_of(tuple(node.module.split(".")[1:])))
        elif isinstance(node, ast.ImportFrom) and node.module == "ctspine_zarr":
            names |= {room_of((alias.name,)) for alias in node.names}
    return names


def layers(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Rooms by layer, the lowest first.

    Rooms that import from each other lie in one layer: their modules have no cycle, as a test shows.
    """
    reach = {room: reached(graph, room) for room in graph}
    height: dict[str, int] = {}

    def of(room: str) -> int:
        if room not in height:
            below = {other for other in reach[room] if room not in reach[other]}
            height[room] = 1 + max((of(other) for other in below), default=-1)
        return height[room]

    top = max(of(room) for room in graph)
    return [sorted(room for room in graph if of(room) == level) for level in range(top + 1)]


def reached(graph: Mapping[str, set[str]], room: str) -> set[str]:
    """All rooms that one imports from, directly or not."""
    found: set[str] = set()
    unseen = set(graph[room])
    while unseen:
        one = unseen.pop()
        found.add(one)
        unseen |= graph[one] - found
    return found


def drawing() -> str:
    """The SVG."""
    rows = layers(rooms())[::-1]
    height = MARGIN * 2 + ROW * (len(rows) - 1) + BOX
    boxes = "".join(row_of(row, MARGIN + ROW * number) for number, row in enumerate(rows))
    middle = WIDTH / 2
    arrows = "".join(
        f'<path d="M{middle} {MARGIN + ROW * number + BOX + 4}v{ROW - BOX - 13}"/>'
        for number in range(len(rows) - 1)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" font-family="system-ui, sans-serif" font-size="15">\n'
        "<title>The rooms of the package; each imports from layers below it alone</title>\n"
        f'<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="3" refY="4" orient="auto">'
        f'<path d="M0 1l5 3-5 3z" fill="{PALE}"/></marker></defs>\n'
        f'<g stroke="{PALE}" stroke-width="1.5" marker-end="url(#tip)">{arrows}</g>\n'
        f"{boxes}</svg>\n"
    )


def row_of(names: list[str], top: int) -> str:
    widths = [len(name) * CHARACTER + 26 for name in names]
    left = (WIDTH - sum(widths) - GAP * (len(names) - 1)) / 2
    parts = []
    for name, width in zip(names, widths, strict=True):
        parts.append(
            f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{BOX}" rx="6" fill="{FILL}" '
            f'stroke="{STROKE}"/><text x="{left + width / 2:.1f}" y="{top + BOX / 2 + 5:.1f}" '
            f'text-anchor="middle" fill="{INK}">{name}</text>\n'
        )
        left += width + GAP
    return "".join(parts)


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else DRAWING).write_text(drawing())
