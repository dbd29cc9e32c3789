"""Sphinx builds the documentation offline: `./run docs`. The reference is written from the code first."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import importlib.metadata  # noqa: E402
import importlib.util  # noqa: E402

import reference  # noqa: E402
from docutils import nodes  # noqa: E402
from docutils.utils.math.latex2mathml import tex2mathml  # noqa: E402

project = "spo"
author = "the authors of spo"
release = importlib.metadata.version("spo")
# myst_nb reads what myst_parser does, and notebooks; their stored outputs are shown (docs/notebook.py).
NOTEBOOKS = importlib.util.find_spec("myst_nb") is not None
extensions = ["myst_nb" if NOTEBOOKS else "myst_parser", "sphinx.ext.autodoc"]
nb_execution_mode = "off"
html_math_renderer = "mathml"  # shown by browsers themselves: MathJax would come from the network
exclude_patterns = ["_build", *([] if NOTEBOOKS else ["tutorial/notebook.ipynb"])]
html_theme = "furo"
html_copy_source = False
default_role = "code"  # docstrings quote names in single backquotes
html_title = f"spo {release}"
myst_enable_extensions = ["deflist", "dollarmath", "colon_fence"]
myst_heading_anchors = 4
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True

suppress_warnings = ["misc.highlighting_failure"]  # Pygments knows no $name in SQL
if not NOTEBOOKS:
    suppress_warnings += ["toc.excluded", "toc.not_readable"]

reference.write_all(HERE / "_reference")


def write_formula(translator, node):
    """A formula as MathML."""
    translator.body.append(tex2mathml(node.astext(), as_block=isinstance(node, nodes.math_block)))
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (write_formula, None), (write_formula, None))
