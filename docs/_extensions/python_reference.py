"""The reference of the Python names: a page for each family, from what the package itself says is public."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
from generated import indent, index, title, write_pages
from sphinx.application import Sphinx
from sphinx.util import logging

import kexue

logger = logging.getLogger(__name__)

INTRODUCTION = """Names are reached from ``kexue``, whatever page they are on, unless the page says otherwise:
``kexue.emd2``. What holds for every function (types, errors, threads) stands on the :doc:`first page <../index>`."""

PACKAGE_PAGE = "package"  # for the names whose module is private: configuration, errors, threads
# Literals as they are; of the rest, bars, and underscores and stars that docutils would read as markup.
PLAIN = re.compile(r"(`+[^`]*`+)|(\||(?<=\w)_(?!\w)|(?<![\w*])\*(?=[\w(]))")
ATTRIBUTE = re.compile(r"^(\w+) : \w+\n((?: {4}.*\n?)+)", re.MULTILINE)


def names_by_page() -> dict[str, list[tuple[str, list[str]]]]:
    """page -> [(module that the names are reached by, names)]; the first name of an object is the one with the text."""
    pages: dict[str, list[tuple[str, list[str]]]] = {}
    for home, names in kexue._NAMES.items():
        if home == "sklearn":  # the module's own page has all of its estimators
            continue
        page = PACKAGE_PAGE if home.startswith("_") else home
        if page in pages:
            pages[page][0][1].extend(names)
        else:
            pages[page] = [("kexue", list(names))]
    for module in kexue._MODULES:
        if module not in pages:
            pages[module] = list(public_names(f"kexue.{module}"))
    pages["sklearn"].append(("kexue", list(kexue._NAMES["sklearn"])))
    return pages


def public_names(module: str) -> Iterator[tuple[str, list[str]]]:
    try:
        names = importlib.import_module(module).__all__
    except (ImportError, AttributeError) as error:
        logger.warning("%s has no reference: %s", module, error)
        return
    inner = [name for name in names if inspect.ismodule(getattr(importlib.import_module(module), name))]
    own = [name for name in names if name not in inner]
    if own:
        yield module, own
    for name in inner:
        yield from public_names(f"{module}.{name}")


def module_of(page: str) -> ModuleType:
    return kexue if page == PACKAGE_PAGE else importlib.import_module(f"kexue.{page}")


def constants(module: ModuleType) -> dict[str, str]:
    """What the section Attributes of a module's docstring says."""
    return {name: plain(inspect.cleandoc(text)) for name, text in ATTRIBUTE.findall(inspect.getdoc(module) or "")}


def summary(value: object) -> str:
    paragraphs = inspect.getdoc(value).split("\n\n")
    first = paragraphs[1] if isinstance(value, np.ufunc) else paragraphs[0]  # NumPy begins with a signature
    return plain(" ".join(first.split()))


def entry(name: str, value: object, texts: dict[str, str]) -> str:
    if inspect.isclass(value):
        kind = "autoexception" if issubclass(value, BaseException) else "autoclass"
        return f".. {kind}:: {name}\n   :members:\n\n"
    if callable(value):
        arguments = f"({', '.join(operands(value))}, /, out=None, **kwargs)" if isinstance(value, np.ufunc) else ""
        return f".. autofunction:: {name}{arguments}\n\n"
    text = texts.get(name)
    if text is None:
        logger.warning("%s is neither callable nor described in its module's docstring", name)
        text = ""
    return f".. py:data:: {name}\n   :value: {value!r}\n\n{indent(text)}\n\n"


def page_text(page: str, groups: list[tuple[str, list[str]]], documented: dict[int, str]) -> str:
    module = module_of(page)
    texts = constants(module)
    if page == PACKAGE_PAGE:
        out = [title("Configuration, errors and threads")]
    else:
        about = (inspect.getdoc(module) or "").partition("\nAttributes\n---")[0].strip()
        out = [title(f"kexue.{page}"), f"{plain(about)}\n\n"]
    for path, names in groups:
        holder = importlib.import_module(path)
        if len(groups) > 1 and path != "kexue":
            out.append(title(path, "-"))
        out.append(f".. currentmodule:: {path}\n\n")
        first, again = [], []
        for name in names:
            value = getattr(holder, name)
            known = documented.setdefault(id(value), f"{path}.{name}") if callable(value) else f"{path}.{name}"
            (first if known == f"{path}.{name}" else again).append((name, value, known))
        if first:
            out.append(".. list-table::\n   :widths: auto\n\n")
            listed = [(name, value) for name, value, _ in first if callable(value)]
            out += [f"   * - :py:obj:`{name}`\n     - {summary(value)}\n" for name, value in listed]
            out.append("\n")
        if again:
            # The object has its text elsewhere; the name can be found all the same.
            out.append(f"The same under the name of ``{path}``:\n\n")
            out += [f".. py:function:: {name}()\n   :no-typesetting:\n\n" for name, _, _ in again]
            out += [f"* ``{path}.{name}``: :py:obj:`{known}`\n" for name, _, known in again]
            out.append("\n")
        out += [entry(name, value, texts) for name, value, _ in first]
    return "".join(out)


def pages() -> dict[str, str]:
    documented: dict[int, str] = {}
    texts = {page: page_text(page, groups, documented) for page, groups in names_by_page().items()}
    texts["index"] = index("Python reference", INTRODUCTION, texts)
    return texts


def generate(app: Sphinx) -> None:
    write_pages(Path(app.srcdir) / "reference", pages())


def skip_member(app: Sphinx, what: str, name: str, value: object, skip: bool, options: object) -> bool | None:
    """Fields of a result are described in the section Attributes, not one by one; set_*_request is scikit-learn's."""
    is_field = type(value).__name__ in ("_tuplegetter", "member_descriptor", "getset_descriptor")
    is_request = re.fullmatch(r"set_\w+_request", name) is not None
    return True if is_field or is_request else None


def operands(ufunc: np.ufunc) -> list[str]:
    """As the docstring names them, where NumPy says x1, x2."""
    section = re.search(r"\nParameters\n-+\n(.*?)(?:\n\n[A-Z]|\Z)", ufunc.__doc__, re.DOTALL)
    names = [
        name.strip()
        for line in re.findall(r"^(\S.*?) : ", section[1] if section else "", re.MULTILINE)
        for name in line.split(",")
        if name.strip() not in ("out", "axis", "axes", "keepdims")
    ]
    return names if len(names) == ufunc.nin else [f"x{number + 1}" for number in range(ufunc.nin)]


def keep_signature(
    app: Sphinx, what: str, name: str, value: object, options: object, arguments: str | None, result: str | None
) -> tuple[str, str] | None:
    """The signature of a ufunc is the one that its entry gives, not the first line of its docstring."""
    return (arguments, "") if isinstance(value, np.ufunc) and arguments else None


def plain(text: str) -> str:
    """Formulas of docstrings are plain text: |x| is no substitution and n_ no link."""
    return PLAIN.sub(lambda match: linked(match[1]) if match[1] else f"\\{match[2]}", text)


def linked(literal: str) -> str:
    """A public name in single backticks is a link, unless it may be a parameter of the same name."""
    name = literal.strip("`")
    plain_name = name.removeprefix("kexue.")
    if literal.startswith("``") or plain_name not in kexue._HOME or plain_name == name == name.lower().replace("_", ""):
        return literal
    return f":py:obj:`{name} <kexue.{plain_name}>`"


def escape(app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    in_examples = False
    for number, line in enumerate(lines):
        if re.fullmatch(r"-{3,}", line.strip()):
            in_examples = lines[number - 1].strip() == "Examples"
        if not in_examples:
            lines[number] = plain(line)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", generate)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("autodoc-process-signature", keep_signature, priority=400)  # before numpydoc
    app.connect("autodoc-process-docstring", escape, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
