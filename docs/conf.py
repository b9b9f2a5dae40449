"""The documentation site: `make docs` builds it into build/docs."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

# The reference imports `mf.Loader`, which imports Keras, whose own default is TensorFlow.
os.environ.setdefault("KERAS_BACKEND", "jax")

import multifeed

DOCS = Path(__file__).parent
ROOT = DOCS.parent
# Pages that stand here for a file of the repository: GitHub shows a link to the file, the site the file.
STAND_INS = {
    "readme": ROOT / "README.md",
    "changes": ROOT / "CHANGELOG.md",
    "contributing": ROOT / "CONTRIBUTING.md",
}

project = "multifeed"
release = version = multifeed.__version__
copyright = "the authors of multifeed"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["pictures"]
myst_heading_anchors = 3

# In docstrings, `align` is a link where it names one of our objects, and code where it does not.
default_role = "py:obj"
nitpick_ignore_regex = [
    # The site is built without a network, so what belongs to other packages cannot be looked up.
    (r"py:.*", r"(?!multifeed\b).*"),
    # Types in signatures that nobody names: the base of all fields, and what `lookup` returns.
    (r"py:class", r"multifeed\.fields\.base\.Field|multifeed\.align\.Lookup"),
]
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
maximum_signature_line_length = 80

html_theme = "furo"
html_title = "multifeed"
html_copy_source = False


def setup(app: Any) -> None:
    """Let relative links lead to the same place on the site as on GitHub."""
    app.connect("source-read", _read)


def _read(app: Any, page: str, source: list[str]) -> None:
    text, folder = source[0], (DOCS / page).parent
    file = STAND_INS.get(page)
    if file is not None:
        text, folder = file.read_text(), file.parent
        app.env.note_dependency(file)

    def follow(link: re.Match[str]) -> str:
        target = (folder / link["target"]).resolve()
        place = next((page for page, file in STAND_INS.items() if file == target), None)
        if place is not None:
            return f"[{link['text']}](/{place}.md{link['rest'] or ''})"
        if target.is_relative_to(DOCS):
            there = f"/{target.relative_to(DOCS)}{link['rest'] or ''}"
            return f"{link['image']}[{link['text']}]({there})"
        # Tests and the like are not on the site: their names remain, without a link.
        return link["text"] if target.exists() else link[0]

    source[0] = _LINK.sub(follow, text)


_LINK = re.compile(
    r"(?P<image>!?)\[(?P<text>[^][]+)\]\((?!\w+:|#)(?P<target>[^)#\s]+)(?P<rest>#[^)\s]*)?\)"
)
