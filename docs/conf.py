"""The site: `sphinx-build -W --keep-going -b html docs build/docs`, with kexue and its extra `docs` installed.

KEXUE_DOCS_INTERSPHINX=1 links the names of NumPy, SciPy and others to their sites, for which it needs a network.
"""

import os
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_extensions"))

import kexue  # noqa: E402

project = "kexue"
author = "The kexue developers"
copyright = author  # noqa: A001
version = release = kexue.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "c_headers",
    "python_reference",
    "site_pages",
]
exclude_patterns = ["_extensions", "gallery/*.ipynb", "gallery/*.py", "gallery/*.zip"]
suppress_warnings = ["config.cache"]
nitpicky = True
nitpick_ignore_regex = [
    # What C names itself, and the tags of structs, which have their text under the names of the types.
    ("c:identifier", r"u?int(8|16|32|64)_t|size_t|ptrdiff_t|kx_(?!\w*_(t|fn)$)\w+"),
    # Names of other packages are no links.
    ("py:.*", r"(?!kexue\.)\w+\..*"),
]

myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence"]
myst_heading_anchors = 4
smartquotes = False  # h' is no quotation

autodoc_typehints = "none"
autodoc_docstring_signature = False
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
# What a reader would miss: a docstring, a summary, a parameter, a result; a section misspelt or in the wrong place.
numpydoc_validation_checks = set(
    "GL01 GL03 GL05 GL06 GL07 GL08 GL10 SS01 SS03 SS04 PR01 PR02 PR05 PR06 PR10 RT01".split()
)

# The parameters of a ufunc are NumPy's, x1 and x2; fields of a result are described as its attributes.
_FIELDS = r"(?s)\A(?!.*\n *Parameters\n *---).*\n *Attributes\n *---"
_UFUNC = r"\*\*kwargs|>>> kexue\.ufuncs\."
numpydoc_validation_overrides = {"PR01": [_FIELDS, _UFUNC], "PR02": [_UFUNC], "RT01": [_FIELDS, _UFUNC]}

# Methods that have SciPy's names for frozen distributions, and say what they give in a line.
numpydoc_validation_exclude = {r"kexue\.RandomAngle\."}

c_maximum_signature_line_length = 100
python_maximum_signature_line_length = 100

if os.environ.get("KEXUE_DOCS_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "scipy": ("https://docs.scipy.org/doc/scipy", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "matplotlib": ("https://matplotlib.org/stable", None),
        "dask": ("https://docs.dask.org/en/stable", None),
    }

sphinx_gallery_conf = {
    "examples_dirs": ["../examples/gallery"],
    "gallery_dirs": ["gallery"],
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "min_reported_time": 5,
    "capture_repr": (),  # what an example says it prints; the last expression of a block is mostly a legend
    "reset_modules": ("matplotlib", "gallery_style.apply"),
}

html_theme = "furo"
html_title = f"kexue {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f4e79", "color-brand-content": "#1f4e79"},
    "dark_css_variables": {"color-brand-primary": "#8fb8de", "color-brand-content": "#8fb8de"},
}
