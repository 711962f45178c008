"""The reference of the C interface: a page for each header, from its declarations and the comments above them.

The headers' conventions are what is parsed. The first comment is about the whole header. A comment is about the
declarations below it up to the next empty line; one that an empty line follows is about the section. A function without
a comment is a warning, and so is what is not understood. Macros with parameters that stand for declarations are
expanded.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from generated import indent, index, title, write_pages
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

HEADERS = Path(__file__).parents[2] / "src" / "_core" / "include" / "kexue"

INTRODUCTION = """``#include <kexue/kexue.h>`` has all of it. :doc:`../c_api` is the guide: how to compile and link,
what holds for every function, a program. Functions whose names end in ``_f32`` and ``_f64`` are one function for two
precisions."""

TOKEN = re.compile(
    r"""(?P<comment>/\*.*?\*/)
      | (?P<directive>^[ \t]*\#(?:[^\n\\]|\\.)*)
      | (?P<blank>\n[ \t]*(?=\n))
      | (?P<space>\s+)
      | (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<word>\w+)
      | (?P<mark>.)""",
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
CPLUSPLUS = re.compile(r"#ifdef __cplusplus\n.*?#endif", re.DOTALL)
DEFINE = re.compile(r"#\s*define\s+(\w+)(\(([^)]*)\))?\s*(.*)", re.DOTALL)
TYPEDEF = re.compile(r"typedef\s+(struct|union|enum)\s+(\w+)\s*\{(.*)\}\s*(\w+)", re.DOTALL)
ANONYMOUS_ENUM = re.compile(r"enum\s*\{(.*)\}", re.DOTALL)


@dataclass
class Declaration:
    text: str  # with the comments of its members
    line: int


@dataclass
class Group:
    """A comment and the declarations that it is about; or neither is more than a section's text."""

    comment: str
    line: int
    declarations: list[Declaration] = field(default_factory=list)
    macros: list[tuple[str, str]] = field(default_factory=list)


class Problem(Exception):
    """What a header says and this module does not understand."""


# ---- reading ----


def comment_text(comment: str) -> str:
    """Without the stars, and without the three spaces by which the lines after the first stand under the text."""
    first, _, rest = comment[2:-2].partition("\n")
    return f"{first.strip()}\n{textwrap.dedent(rest)}".strip("\n").rstrip()


def expand(body: str, parameters: list[str], arguments: list[str]) -> str:
    values = dict(zip(parameters, arguments, strict=True))
    body = re.sub(r"\b\w+\b", lambda match: values.get(match[0], match[0]), body)
    return re.sub(r"\s*##\s*", "", body)


class Reader:
    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.functions: dict[str, tuple[list[str], str]] = {}  # macros with parameters
        self.empty: set[str] = set()  # macros that stand for attributes
        self.groups: list[Group] = []
        self.group: Group | None = None
        self.undefined = set(re.findall(r"#\s*undef\s+(\w+)", text))
        self.read(text)

    def current(self, line: int) -> Group:
        if self.group is None:
            self.group = Group("", line)
            self.groups.append(self.group)
        return self.group

    def directive(self, text: str, line: int) -> None:
        text = text.replace("\\\n", "\n").strip()
        define = DEFINE.match(text)
        if define is None:
            return  # the guard, includes, #undef; what a condition excludes for C++ is no declaration
        name, has_parameters, parameters, body = define.groups()
        body = body.strip()
        if has_parameters:
            self.functions[name] = ([part.strip() for part in parameters.split(",")], body)
            if name not in self.undefined:
                self.current(line).macros.append((f"{name}({parameters})", ""))
        elif not body:
            self.empty.add(name)
        elif re.fullmatch(r'-?[\w.+]+|".*"', body) and not body.startswith("__"):
            self.current(line).macros.append((name, body))
        else:
            self.empty.add(name)

    def read(self, text: str) -> None:
        pieces: list[str] = []  # of the declaration at work
        start, depth, guard_seen = 1, 0, False
        # What C++ alone sees opens and closes a block around the declarations; line numbers stay.
        text = CPLUSPLUS.sub(lambda match: "\n" * match[0].count("\n"), text)
        tokens = list(TOKEN.finditer(text))
        index = 0
        while index < len(tokens):
            token = tokens[index]
            index += 1
            kind, value = token.lastgroup, token[0]
            line = 1 + text.count("\n", 0, token.start())
            at_work = any(piece.strip() for piece in pieces)
            if kind == "comment":
                if at_work:
                    pieces.append(value)
                else:
                    self.group = Group(comment_text(value), line)
                    self.groups.append(self.group)
            elif kind == "directive":
                if at_work:
                    pieces.append(f"\n{value}\n")
                elif not guard_seen and "#ifndef" in value:
                    guard_seen = True
                else:
                    self.directive(value, line)
            elif kind == "blank":
                if not at_work:
                    self.group = None
            elif kind == "space":
                pieces.append(value)
            elif kind == "word" and not at_work and value in self.functions:
                # An invocation that stands for declarations.
                end = token.end()
                while text[end - 1] != ")":
                    end += 1
                parameters, body = self.functions[value]
                arguments = [part.strip() for part in text[text.index("(", token.start()) + 1 : end - 1].split(",")]
                for declaration in expand(body, parameters, arguments).split(";"):
                    if declaration.strip():
                        self.declare(declaration, line)
                while index < len(tokens) and tokens[index].start() < end:
                    index += 1
            else:
                if not at_work:
                    start = line
                depth += (value in "{(") - (value in "})") if kind == "mark" else 0
                if value == ";" and depth == 0:
                    self.declare("".join(pieces), start)
                    pieces = []
                else:
                    pieces.append(value)
        if any(piece.strip() for piece in pieces):
            raise Problem(f"{self.name}:{start}: this does not end: {''.join(pieces).strip()[:60]}")

    def declare(self, text: str, line: int) -> None:
        if self.empty:
            text = re.sub(rf"\b(?:{'|'.join(self.empty)})\b", "", text)
        self.current(line).declarations.append(Declaration(text.strip(), line))

    def enumerators(self, body: str) -> Iterator[tuple[str, str]]:
        """Name with value, and comment, of each; a table of a macro that is given a macro is expanded."""
        local = {
            match[1]: ([part.strip() for part in match[2].split(",")], match[3].strip())
            for match in re.finditer(r"#\s*define\s+(\w+)\(([^)]*)\)\s*(.*)", body)
        }
        body = re.sub(r"^\s*#.*$", "", body, flags=re.MULTILINE)
        for name, (parameters, rows) in self.functions.items():
            match = re.search(rf"\b{name}\((\w+)\)", body)
            if match and match[1] in local:
                inner = local[match[1]]
                table = ""
                for row in re.finditer(rf'\b{parameters[0]}\((\w+),\s*([^,]+),\s*"([^"]*)"\)', rows):
                    table += expand(inner[1], inner[0], [row[1], row[2], row[3]]) + f" /* {row[3]} */\n"
                body = body.replace(match[0], table)
        for match in re.finditer(r"(\w+)(?:\s*=\s*([^,/]+?))?\s*(?:,|$|(?=/\*))\s*(?:/\*(.*?)\*/)?", body, re.DOTALL):
            name, value, comment = match.groups()
            yield (f"{name} = {value.strip()}" if value else name), clean(comment or "")


def clean(comment: str) -> str:
    return re.sub(r"\s+", " ", comment).strip()


def read_header(path: Path) -> Reader:
    return Reader(path.name, path.read_text(encoding="utf-8"))


# ---- writing ----


def marked_up(line: str, roles: dict[str, str]) -> str:
    """Formulas are not markup: |x| is no substitution, x_ no link, * no emphasis. Public names are links."""

    def replace(match: re.Match[str]) -> str:
        literal, name, mark = match.groups()
        if mark or (literal and literal not in roles):
            return f"\\{mark}" if mark else f"``{literal}``"
        name = literal or name
        for full in (name, f"{name}_f64"):
            if full in roles:
                return f":c:{roles[full]}:`{name} <{full}>`"
        return name.replace("_", "\\_")

    return re.sub(r"`([^`]+)`|(\b[kK][xX]_\w+)|([\\*`|_])", replace, line)


def prose(comment: str, roles: dict[str, str]) -> str:
    """Paragraphs as they are; what is indented, or has columns, is a formula or a table and stays as it is laid out."""
    out = []
    for block in re.split(r"\n[ \t]*\n", comment):
        lines = block.split("\n")
        rows = sum(1 for line in lines if re.search(r"\S {2,}\S", line))
        if lines[0].startswith(" ") or (rows >= 2 and rows >= len(lines) - 1):
            out.append("::\n\n" + indent(textwrap.dedent(block)))
        else:
            out.append("\n".join(marked_up(line.strip(), roles) for line in lines))
    return "\n\n".join(out) + "\n" if out else ""


def signature(declaration: str) -> str:
    """On one line, and what is no part of a declaration removed."""
    text = re.sub(r"/\*.*?\*/", "", declaration, flags=re.DOTALL)
    text = re.sub(r"\b(?:extern|static|inline)\b", "", text)
    return re.sub(r"\s+", " ", text).strip().replace("( ", "(")


def function_name(declaration: str) -> str | None:
    is_type = declaration.startswith("typedef") or re.search(r"\(\s*\*", declaration)
    match = re.search(r"(\w+)\s*\(", declaration)
    return match[1] if match and not is_type else None


def members(body: str) -> Iterator[tuple[list[str], str]]:
    """Members of a struct that share a declaration, and their comment: above them, or behind them on their line."""
    above, comments = "", re.compile(r"/\*(.*?)\*/", re.DOTALL)
    position = 0
    while match := re.compile(r"\s*(?:/\*(.*?)\*/|([^;/]+);(?:[ \t]*/\*(.*?)\*/)?)", re.DOTALL).match(body, position):
        position = match.end()
        if match[1] is not None:
            above = clean(match[1])
            continue
        declaration = clean(comments.sub("", match[2]))
        yield split_members(declaration), clean(" ".join(filter(None, (above, match[3]))))
        above = ""
    if body[position:].strip():
        raise Problem(body[position:].strip()[:80])


def split_members(declaration: str) -> list[str]:
    """`double *u, *v` is two members."""
    if "(" in declaration or "," not in declaration:
        return [declaration]
    base, names = re.match(r"((?:(?:const|struct|unsigned)\s+)*\w+)\s+(.*)", declaration).groups()
    return [f"{base} {name.strip()}" for name in names.split(",")]


def directive(kind: str, signatures: list[str], text: str) -> str:
    """Several signatures share what is said about them."""
    head = f".. c:{kind}:: "
    return head + f"\n{' ' * len(head)}".join(signatures) + f"\n\n{indent(text)}\n"


class Writer:
    def __init__(self, reader: Reader, roles: dict[str, str] | None = None) -> None:
        self.reader = reader
        self.roles = roles or {}
        self.is_silent = False
        self.names: dict[str, str] = {}  # of what this header declares, and the role that links to it

    def prose(self, comment: str) -> str:
        return prose(comment, self.roles)

    def warn(self, line: int, message: str) -> None:
        if not self.is_silent:
            logger.warning(message, location=f"{HEADERS / self.reader.name}:{line}")

    def page(self) -> str:
        name = self.reader.name
        out = [title(name)]
        groups = self.reader.groups
        if not groups or groups[0].declarations or not groups[0].comment.startswith("kexue: "):
            self.warn(1, "a header begins with a comment about it, '/* kexue: ...'")
        for number, group in enumerate(groups):
            comment = group.comment.removeprefix("kexue: ") if number == 0 else group.comment
            comment = comment[:1].upper() + comment[1:] if number == 0 else comment
            out.append(self.group_text(group, comment))
        return "".join(out)

    def group_text(self, group: Group, comment: str) -> str:
        if not group.declarations and not group.macros:
            return self.prose(comment) + "\n"
        text = self.prose(comment)
        functions = [d for d in group.declarations if function_name(signature(d.text))]
        others = [d for d in group.declarations if d not in functions]
        documented = bool(comment)
        out = []
        if group.macros:
            if not documented and not all(name.startswith("KX_VERSION_") for name, _ in group.macros):
                self.warn(group.line, f"no comment about {group.macros[0][0]}")
            out += [directive("macro", [name], f"``{value}``\n" if value else "") for name, value in group.macros]
            self.names |= {name.partition("(")[0]: "macro" for name, _ in group.macros}
            if text:
                out.insert(0, text + "\n")
                text = ""
        for declaration in others:  # the types that a function takes are told with it
            out.append(self.type_text(declaration, "" if functions else text))
            text = text if functions else ""
        for declaration in functions:
            name = function_name(signature(declaration.text))
            self.names[name] = "func"
            if not documented:
                self.warn(declaration.line, f"no comment about {name}")
        if functions:
            out.append(directive("function", [signature(declaration.text) for declaration in functions], text))
        return "".join(out)

    def type_text(self, declaration: Declaration, text: str) -> str:
        whole = declaration.text
        typedef = TYPEDEF.match(whole)
        anonymous = ANONYMOUS_ENUM.match(whole)
        if typedef:
            kind, tag, body, name = typedef.groups()
            self.names[name] = "type"
            whole_name = f"{kind} {tag} {name}"
            if kind == "enum":
                return directive("type", [whole_name], text) + directive("enum", [tag], self.enumerators_text(body))
            inner = "".join(directive("member", names, self.prose(comment)) for names, comment in members(body))
            return directive("type", [whole_name], f"{text}\n{inner}")
        if anonymous:
            return f"{text}\n" + self.enumerators_text(anonymous[1])
        flat = signature(whole)
        if flat.startswith("typedef"):
            name = re.search(r"\(\s*\*\s*(\w+)\s*\)|(\w+)$", flat)
            self.names[name[1] or name[2]] = "type"
            return directive("type", [flat.removeprefix("typedef ")], text)
        raise Problem(f"{self.reader.name}:{declaration.line}: {flat[:80]}")

    def enumerators_text(self, body: str) -> str:
        out = ""
        for name, comment in self.reader.enumerators(body):
            if name.startswith("KX_STATUS_FORCE_INT"):  # there for the size of the type alone
                continue
            self.names[name.partition(" ")[0]] = "enumerator"
            out += directive("enumerator", [name], self.prose(comment))
        return out


def names_and_pages(folder: Path = HEADERS) -> tuple[dict[str, str], dict[str, str]]:
    """Everything that the headers declare with its role, and a page of text for each header that declares something."""
    readers = []
    for path in sorted(folder.glob("*.h")):
        try:
            readers.append(read_header(path))
        except Problem as problem:
            logger.warning("not understood: %s", problem)
    roles: dict[str, str] = {}
    pages: dict[str, str] = {}
    for is_last in (False, True):  # a comment may name what a later header declares
        for reader in readers:
            writer = Writer(reader, roles if is_last else None)
            writer.is_silent = not is_last
            text = writer.page()
            if is_last and writer.names:
                pages[Path(reader.name).stem] = text
            roles = roles if is_last else roles | writer.names
    return roles, pages


def generate(app: Sphinx) -> None:
    pages = names_and_pages()[1]
    # What every other header uses comes first.
    order = sorted(pages, key=lambda name: (name not in ("kx_base", "kx_ctx"), name))
    pages["index"] = index("C reference", INTRODUCTION, order)
    write_pages(Path(app.srcdir) / "c_reference", pages)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
