"""Licences: what a dataset's licence is called by SPDX and by the Hub, its text, and what it asks. Pure.

Identifiers are those of https://spdx.org/licenses; the texts in `publishing/licences` are SPDX's, as the npm
package `spdx-license-list` 6.12.0 has them, without blanks at the ends of lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Final

from ctspine_zarr.format.spec import UNKNOWN

_TEXTS: Final = files("ctspine_zarr.publishing") / "licences"
# Those that data may have and the Hub knows, by SPDX's names.
_SPDX: Final = """
AFL-3.0 AGPL-3.0 Apache-2.0 Artistic-2.0 BSD-2-Clause BSD-3-Clause BSL-1.0 C-UDA-1.0 CC0-1.0 CC-BY-2.0
CC-BY-2.5 CC-BY-3.0 CC-BY-4.0 CC-BY-NC-2.0 CC-BY-NC-3.0 CC-BY-NC-4.0 CC-BY-NC-ND-3.0 CC-BY-NC-ND-4.0
CC-BY-NC-SA-2.0 CC-BY-NC-SA-3.0 CC-BY-NC-SA-4.0 CC-BY-ND-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0
CDLA-Permissive-1.0 CDLA-Permissive-2.0 CDLA-Sharing-1.0 ECL-2.0 etalab-2.0 EUPL-1.1 EUPL-1.2 GPL-2.0 GPL-3.0
ISC LGPL-2.1 LGPL-3.0 MIT MPL-2.0 ODbL-1.0 ODC-By-1.0 PDDL-1.0 Unlicense WTFPL Zlib
"""
_KNOWN: Final = MappingProxyType({name.lower(): name for name in _SPDX.split()})
# The Hub's own names of some, and its names of families of which SPDX has only members.
_ON_HUB: Final = MappingProxyType(
    {"c-uda-1.0": "c-uda", "odbl-1.0": "odbl", "odc-by-1.0": "odc-by", "pddl-1.0": "pddl"}
)
_FAMILIES: Final = frozenset({"bsd", "cc", "gfdl", "gpl", "lgpl", UNKNOWN})
_ALIASES: Final = MappingProxyType({"cc0": "cc0-1.0"} | {short: name for name, short in _ON_HUB.items()})
_LONGEST_NAME: Final = 96
_VERSIONS: Final = re.compile(r"(?<=\d)-(only|or-later)\Z")
_CREATIVE_COMMONS: Final = re.compile(r"CC-(BY(?:-[A-Z]{2})*)-([0-9.]+)")
_DEMANDS: Final = MappingProxyType(
    {
        "BY": "attribution",
        "NC": "no commercial use",
        "SA": "what is made from it is under the same licence",
        "ND": "what is made from it is not passed on",
    }
)
_OTHER_DEMANDS: Final = MappingProxyType(
    {
        "CC0-1.0": "nothing",
        "PDDL-1.0": "nothing",
        "ODC-By-1.0": "attribution",
        "ODbL-1.0": "attribution; a database made from it is under the same licence",
        "MIT": "its notice goes along",
        "Apache-2.0": "its notice goes along; changes are told",
    }
)


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence as a dataset states it.

    Attributes:
        name: what it states, or `unknown`.
        spdx: its identifier; empty of one that is not known here.
    """

    name: str
    spdx: str

    @classmethod
    def of(cls, name: str) -> Licence:
        """The licence of a name, such as `CC-BY-SA 4.0`."""
        known, later = _KNOWN.get(_identifier(name), ""), _VERSIONS.search("-".join(name.lower().split()))
        return cls(name, f"{known}{later[0] if known and later else ''}")

    @property
    def is_unknown(self) -> bool:
        """Whether the dataset states none."""
        return not self.name.strip() or self.name.strip().lower() == UNKNOWN

    @property
    def hub(self) -> str:
        """The Hub's name of it: `other` where it has none, `unknown` where the dataset states none."""
        if self.is_unknown:
            return UNKNOWN
        identifier = _identifier(self.name)
        if identifier in _KNOWN:
            return _ON_HUB.get(identifier, identifier)
        return identifier if identifier in _FAMILIES else "other"

    @property
    def slug(self) -> str:
        """The name in the form that the Hub asks for with `other`; may be empty."""
        words = "-".join(self.name.lower().split())
        return re.sub(r"[^a-z0-9.]+", "-", words)[:_LONGEST_NAME].strip("-.")

    @property
    def url(self) -> str:
        """Of the licence; empty where it is not known."""
        if self.spdx == "CC0-1.0":
            return "https://creativecommons.org/publicdomain/zero/1.0/"
        if found := _CREATIVE_COMMONS.fullmatch(self.spdx):
            return f"https://creativecommons.org/licenses/{found[1].lower()}/{found[2]}/"
        return f"https://spdx.org/licenses/{self.spdx}.html" if self.spdx else ""

    @property
    def demands(self) -> str:
        """What it asks of who uses the data, in short; its text holds."""
        if self.is_unknown:
            return "none is stated: ask its authors"
        if found := _CREATIVE_COMMONS.fullmatch(self.spdx):
            return "; ".join(_DEMANDS[part] for part in found[1].split("-"))
        return _OTHER_DEMANDS.get(self.spdx, "see its text")

    @property
    def text(self) -> str | None:
        """The licence in full; None where it is not carried along."""
        path = _TEXTS / f"{self.spdx}.txt"
        return path.read_text(encoding="utf-8") if self.spdx and path.is_file() else None


def _identifier(name: str) -> str:
    identifier = _VERSIONS.sub("", "-".join(name.lower().split()))
    return _ALIASES.get(identifier, identifier)
