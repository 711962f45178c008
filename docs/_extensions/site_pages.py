"""What is particular to single pages: the language that a page says it is written in."""

from __future__ import annotations

import logging
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

import kexue

LANGUAGES = {"zh": "zh-CN"}


def set_language(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Front matter `language: zh-CN`, or the folder, decides `<html lang>`: fonts and hyphenation go by it."""
    own = (context.get("meta") or {}).get("language")
    context["language"] = own or LANGUAGES.get(page.partition("/")[0], app.config.language)


class LinkNames(SphinxPostTransform):
    """Public names in code spans of the Markdown pages lead to the reference."""

    default_priority = 5  # before references are resolved

    def run(self, **options: Any) -> None:
        page = self.env.docname
        if not str(self.env.doc2path(page)).endswith(".md"):
            return
        for node in list(self.document.findall(nodes.literal)):
            name = public_name(node.astext(), page == "index")
            if name and not isinstance(node.parent, (nodes.reference, nodes.title, addnodes.pending_xref)):
                link = addnodes.pending_xref(
                    "", refdomain="py", reftype="obj", reftarget=name, refdoc=page, refexplicit=True, refwarn=True
                )
                node.replace_self(link)
                link += node


def public_name(text: str, is_table_of_names: bool) -> str | None:
    """kexue.emd2 of `emd2(a, b, M)`, `kx.emd2` or `emd2`; None for what may be a parameter, as `scale` is."""
    head, call, _ = text.partition("(")
    name = head.removeprefix("kexue.").removeprefix("kx.")
    if name in kexue._HOME and (call or name != head or is_table_of_names or name != name.lower().replace("_", "")):
        return f"kexue.{name}"
    return None


def is_worth_telling(record: logging.LogRecord) -> bool:
    """A pattern of a toctree without a page is a page that is yet to be written."""
    return "toctree glob pattern" not in str(record.msg)


def setup(app: Sphinx) -> dict[str, bool]:
    logging.getLogger("sphinx.sphinx.directives.other").addFilter(is_worth_telling)
    app.add_post_transform(LinkNames)
    app.connect("html-page-context", set_language)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
