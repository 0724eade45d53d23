"""On what was measured: the processor, and the versions of all that takes part."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Final

KERNEL: Final = "ctspine-zarr-native"

_LIBRARIES: Final = (
    "ctspine-zarr",
    KERNEL,
    "numpy",
    "zarr",
    "numcodecs",
    "zstandard",
    "nibabel",
    "zarrs",
    "tensorstore",
    "blosc2",
    "datasets",
    "torch",
)
_FLAGS: Final = ("sse4_2", "avx2", "bmi2", "avx512bw", "avx512vbmi", "vpclmulqdq", "asimd", "sve")


def described() -> dict[str, Any]:
    """What a reader of the figures needs to know."""
    about = _processor()
    present = about.get("flags", about.get("Features", "")).split()
    return {
        "processor": about.get("model name") or platform.processor() or platform.machine(),
        "flags": [flag for flag in _FLAGS if flag in present],
        "cores": os.cpu_count(),
        "usable_cores": os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: version for name in _LIBRARIES if (version := _version(name))},
    }


def report(about: dict[str, Any]) -> None:
    flags = f" ({', '.join(about['flags'])})" if about["flags"] else ""
    print(f"{about['processor']}{flags}, {about['usable_cores']} of {about['cores']} cores")
    print(f"{about['platform']}, Python {about['python']}")
    print(", ".join(f"{name} {version}" for name, version in about["libraries"].items()))
    if KERNEL not in about["libraries"]:
        print("the kernel is not installed: with and without it are the same")


def _processor() -> dict[str, str]:
    """Of the first core, as Linux has it."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
