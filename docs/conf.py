"""Sphinx configuration: ``make -C docs html``."""

import re
import sys
from pathlib import Path

import matplotlib

import lstmfast

matplotlib.use("agg")
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "lstmfast"
author = "The lstmfast developers"
copyright = "The lstmfast developers"
version = release = lstmfast.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "figures",
]
exclude_patterns = ["_build", "sg_execution_times.rst"]
templates_path = ["_templates"]
default_role = "literal"  # single backquotes in docstrings name arguments and functions
smartquotes = False  # "lstm" in a docstring is code
toc_object_entries_show_parents = "hide"
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(sklearn|str|unicodedata|matplotlib)\..*")]  # their pages are not linked

# ---- pages in Markdown ----
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

# ---- API ----
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False  # the template lists them
_FROM_SCIKIT_LEARN = re.compile(r"set_\w+_request|get_metadata_routing|set_output|[gs]et_params")

# ---- gallery: the quick examples run, the others are shown ----
_QUICK = ["explanations", "forecast_co2", "japanese_vowels", "names_gender", "sunspots"]
sphinx_gallery_conf = {
    "examples_dirs": "../examples",  # a folder with a README.md would be a section: service/ has a README.markdown
    "gallery_dirs": "examples",
    "filename_pattern": rf"/({'|'.join(_QUICK)})\.py$",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("matplotlib",),
    "matplotlib_animations": False,
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1e9,
    "remove_config_comments": True,
    "plot_gallery": True,
    "abort_on_example_error": True,
    "default_thumb_file": str(Path(__file__).parent / "_static" / "example.svg"),
}

# ---- HTML ----
html_theme = "pydata_sphinx_theme"
html_title = "lstmfast"
html_show_sourcelink = False
html_sidebars = {page: [] for page in ("index", "installation", "tour")}  # these have no pages below them
html_static_path = ["_static"]
html_css_files = ["lstmfast.css"]
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
    "navigation_with_keys": False,
}
html_context = {"default_mode": "auto"}


def _skip(app, what, name, member, skip, options):
    return True if _FROM_SCIKIT_LEARN.fullmatch(name) else None


def _unlink(app, what, name, member, options, lines):
    """Labels of scikit-learn's user guide, in docstrings that are inherited from it, as plain words."""
    lines[:] = [re.sub(r":ref:`([^<`]+?) *(<[^>`]*>)?`", r"\1", line) for line in lines]


def setup(app):
    """Leave out of the API pages what every scikit-learn estimator has."""
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-docstring", _unlink)
