"""How Sphinx builds the site: `make docs`. Nothing is fetched, by the build or by its pages."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docstrings import prepare_docstring

import ctspine_zarr

HERE = Path(__file__).parent
# The kernels of notebooks find what this process found.
sys.path.insert(0, str(HERE.parent))

project = "ctspine_zarr"
author = "the authors of ctspine_zarr"
copyright = "the authors of ctspine_zarr; MIT"  # noqa: A001 - Sphinx reads this name
version = release = importlib.metadata.version("ctspine-zarr")
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
templates_path = ["_templates"]
nitpicky = True
# Without the net there are no inventories of other libraries: only references to this one are checked.
nitpick_ignore_regex = [("py:.*", r"(?!ctspine_zarr\.).*")]
# Blocks without a language are trees and formulas; in docstrings single backquotes are code.
highlight_language = "text"
default_role = "literal"

# Pages in Markdown, with links to the headings of each other.
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline", "colon_fence"]

# Notebooks are run anew by each build, and end it where a cell fails.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
# Each begins in a folder of its own, as for a user who has just got it.
nb_execution_in_temp = True
nb_execution_timeout = 120
nb_execution_show_tb = True
# Widgets would bring scripts from elsewhere.
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
# Progress and logs of processes are no part of a page.
nb_merge_streams = True

# The reference, from docstrings.
autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# What is large and optional is not installed to build pages.
autodoc_mock_imports = ["datasets", "monai", "nnunetv2", "tensorflow", "torch", "torchio"]
napoleon_numpy_docstring = False
napoleon_use_rtype = False
# Shown by that name, and no targets of links: many classes have an attribute `bytes`.
napoleon_custom_sections = [("Attributes", "params_style")]
add_module_names = False
python_use_unqualified_type_names = True
python_display_short_literal_types = True
maximum_signature_line_length = 90

html_theme = "furo"
html_title = "ctspine_zarr"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}


def _public(
    app: Sphinx, environment: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.Node | None:
    """A reference to where a public name is defined leads to where it is documented."""
    target = str(node.get("reftarget", ""))
    name = target.rpartition(".")[2]
    if not target.startswith("ctspine_zarr.") or name not in ctspine_zarr.__all__:
        return content if target.startswith("ctspine_zarr.") and node.get("refdomain") == "py" else None
    domain: Any = environment.get_domain("py")
    found: list[tuple[str, nodes.Node]] = domain.resolve_any_xref(
        environment, node["refdoc"], app.builder, f"ctspine_zarr.{name}", node, content
    )
    return found[0][1] if found else content


_SECTIONS = ("Args:", "Attributes:", "Raises:", "Returns:", "Yields:")


def _prepared(_: Sphinx, what: str, __: str, documented: Any, ___: Any, lines: list[str]) -> None:
    """A docstring's lines, as napoleon takes them."""
    found = _each_attribute_alone(lines)
    if what == "class":
        bases: tuple[type, ...] = documented.__mro__[1:]
        for base in bases:
            if base.__module__.startswith("ctspine_zarr.") and dataclasses.is_dataclass(base):
                found = _with_attributes_of(base, found)
    if what == "property":
        # Else what comes before a colon would be taken for its type.
        found = ["", *found]
    lines[:] = _examples_are_code(found)


def _with_attributes_of(base: type, lines: list[str]) -> list[str]:
    """The lines with a base's attributes at their end: it is not public, and they are."""
    inherited = _each_attribute_alone(prepare_docstring(base.__doc__ or ""))
    if "Attributes:" not in inherited:
        return lines
    more = [line for line in inherited[inherited.index("Attributes:") + 1 :] if line.strip()]
    if "Attributes:" not in lines:
        return [*lines, "", "Attributes:", *more]
    own = lines.index("Attributes:") + 1
    end = own
    while end < len(lines) and lines[end].startswith(" "):
        end += 1
    return [*lines[:end], *more, *lines[end:]]


def _examples_are_code(lines: list[str]) -> list[str]:
    """What is indented after a paragraph is code, without a mark that says so."""
    marked: list[str] = []
    for number, line in enumerate(lines):
        before = next((one for one in reversed(lines[:number]) if one.strip()), "")
        begins = line.startswith("    ") and number and not lines[number - 1].strip()
        if begins and not before.startswith((" ", *_SECTIONS)):
            marked += ["::", ""]
        marked.append(line)
    return marked


def _each_attribute_alone(lines: list[str]) -> list[str]:
    """Attributes that are described together, `a, b: text`, one by one; napoleon does so with arguments."""
    found: list[str] = []
    names: list[str] = []
    entry: list[str] = []
    section = ""

    def end() -> None:
        for name in names:
            found.extend([f"    {name}:{entry[0]}", *entry[1:]])
        names.clear()

    for line in lines:
        if line and not line.startswith(" "):
            section = line.strip()
        head = re.fullmatch(r"    (\w+(?:, \w+)*):(.*)", line) if section == "Attributes:" else None
        if head:
            end()
            names, entry = head[1].split(", "), [head[2]]
        elif names and line.startswith("     "):
            entry.append(line)
        else:
            end()
            found.append(line)
    end()
    return found


def setup(app: Sphinx) -> None:
    """The handlers of this site."""
    # Before napoleon, which moves what sections have.
    app.connect("autodoc-process-docstring", _prepared, priority=400)
    app.connect("missing-reference", _public)
