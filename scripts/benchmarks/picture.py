"""The table of reads as a picture."""

from pathlib import Path
from typing import Any

OURS, OTHERS = "#c2410c", "#94a3b8"


def draw(found: dict[str, Any], path: Path) -> None:
    """One panel an access: wall time a read on a logarithmic axis and its range, CPU time as a mark.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl  # noqa: PLC0415 - not everyone has it

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    accesses = list(dict.fromkeys(figure["access"] for figure in found["figures"]))
    peers = list(found["bytes_per_nii_gz_byte"])
    drawing, panels = plt.subplots(2, 4, figsize=(17, 8.5), sharey=True, layout="constrained")
    colours = [OURS if peer.startswith("ctspine_zarr") else OTHERS for peer in peers]
    for panel, access in zip(panels.flat, accesses, strict=False):
        rows = {figure["peer"]: figure for figure in found["figures"] if figure["access"] == access}
        bars(panel, [rows[peer]["wall"] for peer in peers], colours)
        panel.plot([rows[peer]["cpu"] for peer in peers], range(len(peers)), "k|", markersize=10)
        ends = [[rows[peer][f"wall_{end}"] for peer in peers] for end in ("low", "high")]
        panel.hlines(range(len(peers)), *ends, colors="black", linewidth=0.8)
        panel.set_xscale("log")
        panel.set_xlim(0.05, 2000)
        panel.set_title(f"{access}, ms a read")
    last = panels.flat[len(accesses)]
    bars(last, list(found["bytes_per_nii_gz_byte"].values()), colours)
    last.axvline(1, color="black", linewidth=0.8)
    last.set_title("bytes on disk, .nii.gz = 1")
    for panel in panels.flat[len(accesses) + 1 :]:
        panel.axis("off")
    panels[0, 0].set_yticks(range(len(peers)), peers)
    panels[0, 0].invert_yaxis()
    shape = "x".join(map(str, found["shape"]))
    drawing.suptitle(
        f"One {shape} CT volume, warm: bars are wall time, lines its range over runs, marks CPU time"
    )
    drawing.savefig(path, dpi=110)
    print(f"picture: {path}")


def bars(panel: Any, values: list[float], colours: list[str]) -> None:
    panel.barh(range(len(values)), values, color=colours)
    for row, value in enumerate(values):
        text = f"{value:.0f}" if value >= 100 else f"{value:.2f}"
        panel.text(1.01, row, text, transform=panel.get_yaxis_transform(), va="center")
    panel.spines[["top", "right"]].set_visible(False)
