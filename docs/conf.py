"""How Sphinx builds the site: `make docs`. Nothing is fetched, by the build or by its pages."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

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
autodoc_default_options = {"members": True, "show-inheritance": False}
# What is large and optional is not installed to build pages.
autodoc_mock_imports = ["datasets", "monai", "nnunetv2", "tensorflow", "torch", "torchio"]
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
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


def _examples_are_code(_: Sphinx, *told: Any) -> None:
    """What a docstring indents after a paragraph is code, without a mark that says so."""
    lines: list[str] = told[-1]
    marked: list[str] = []
    for number, line in enumerate(lines):
        before = next((one for one in reversed(lines[:number]) if one.strip()), "")
        begins = line.startswith("    ") and number and not lines[number - 1].strip()
        if begins and not before.startswith(" ") and not before.startswith(_SECTIONS):
            marked += ["::", ""]
        marked.append(line)
    lines[:] = marked


_SECTIONS = ("Args:", "Attributes:", "Raises:", "Returns:", "Yields:")


def setup(app: Sphinx) -> None:
    """The handlers of this site."""
    # Before napoleon, which moves what sections have.
    app.connect("autodoc-process-docstring", _examples_are_code, priority=400)
    app.connect("missing-reference", _public)
