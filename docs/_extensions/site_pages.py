"""What is particular to single pages: their language, links to names and to files beside docs/, whole programs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from generated import index, title, write_pages
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


# Files that are read where they stand in the repository, and that a page of the site includes.
INCLUDED = re.compile(r"\]\((?:\.\./)+(CONTRIBUTING|bench/README)\.md")
PAGES = {"CONTRIBUTING": "contributing", "bench/README": "bench"}
LANGUAGES_OF_CODE = {".py": "python", ".c": "c"}


def link_to_pages(app: Sphinx, page: str, source: list[str]) -> None:
    source[0] = INCLUDED.sub(lambda match: f"](/{PAGES[match[1]]}.md", source[0])


def write_programs(app: Sphinx) -> None:
    """A page with the text of each program of examples/; those of the gallery have pages of their own."""
    folder = Path(app.srcdir).parent / "examples"
    pages = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.suffix in LANGUAGES_OF_CODE and name.parts[0] != "gallery":
            code = (
                f".. literalinclude:: /../examples/{name.as_posix()}\n   :language: {LANGUAGES_OF_CODE[path.suffix]}\n"
            )
            pages["_".join(name.with_suffix("").parts)] = title(name.as_posix()) + code
    text = "Programs that do a whole task. The build of this site does not run them, the tests do."
    write_pages(Path(app.srcdir) / "programs", pages | {"index": index("Programs", text, pages)})


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


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_post_transform(LinkNames)
    app.connect("builder-inited", write_programs)
    app.connect("source-read", link_to_pages)
    app.connect("html-page-context", set_language)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
