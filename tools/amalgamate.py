"""Write the C core as two files, kexue.h and kexue.c:  python tools/amalgamate.py DIRECTORY

kexue.c needs kexue.h, the C library and threads, nothing else; it is C11 and C++17. Compiled once, it has one
instruction set, which is what the flags say; in several passes it has all of them: docs/vendoring_amalgamation.md.

A preprocessor that knows only the core's own idioms does it. Includes of the core's files are replaced by their text;
a template, a file that includes itself, is there once for each type. The macros that steer this are known here and
their conditions are decided; all others (processor, compiler, system) stay for the compiler. What is private to a file
gets the file's name behind its own: several files have a `weigh_row`.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

CORE = Path(__file__).resolve().parent.parent / "src" / "_core"
LICENSE = Path(__file__).resolve().parent.parent / "LICENSE"

# Files that include windows.h come last, so that its macros (near, far, small ...) meet no kernel.
FOLDERS = ("kernels", "isa", "runtime")

_GUARD = re.compile(r"KX\w*_H|KEXUE_H")
_STEERING = {"KX_REAL", "KX_FORM", "KX_TEMPLATE"}
_DIRECTIVE = re.compile(r"\s*#\s*(\w+)\s*(.*)", re.DOTALL)
_TOKEN = re.compile(
    r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*'   # comments and literals
      | [A-Za-z_]\w* | \.?\d(?:[eEpP][+-]|[\w.])*                     # names and numbers
      | -> | \.\.\. | \#\# | [^\sA-Za-z_0-9] | \s+""",
    re.DOTALL | re.VERBOSE,
)
_NAME = re.compile(r"[A-Za-z_]\w*")
_WORDS = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if inline int long register"
    " restrict return short signed sizeof static struct switch typedef union unsigned void volatile while".split()
)
KERNELS, COMMON = "KX_KERNELS_PASS", "KX_COMMON_PASS"
_DECORATION = frozenset({"__attribute__", "__declspec"})


class AmalgamationError(Exception):
    """A construct in the sources that this script does not know."""


def _logical_lines(text: str) -> list[str]:
    """The lines; a directive with its continuations, and a comment, are in one piece with what is beside them."""
    lines, pending = [], ""
    for line in text.split("\n"):
        pending = f"{pending}\n{line}" if pending else line
        if "/*" in pending and "/*" in re.sub(r'/\*.*?\*/|"(?:\\.|[^"\\])*"', "", pending, flags=re.DOTALL):
            continue
        if line.endswith("\\") and pending.lstrip().startswith("#"):
            continue
        lines.append(pending)
        pending = ""
    if pending:
        raise AmalgamationError("a file ends inside a comment or a directive")
    return lines


class _Condition:
    """An #if that is open: decided here (a branch is live or not), or left to the compiler."""

    def __init__(self, decided: bool, live: bool, guard: bool = False, dead: bool = False, of_pass: str = "") -> None:
        self.decided, self.live, self.guard = decided, live, guard
        self.dead = dead  # all branches: it is inside one that is not live
        self.of_pass = of_pass  # the macro of the pass that the open branch belongs to
        self.suspended = False
        self.taken = live

    def next_branch(self) -> None:
        if self.decided and not self.dead:
            self.live, self.taken = not self.taken, True


class _Expansion:
    """Expands files in order; what has been included once is not included again."""

    def __init__(self, core: Path, public: bool) -> None:
        self.core, self.public = core, public
        self.defined: dict[str, str] = {}
        self.seen_system: set[str] = set()
        self.pieces: list[tuple[str, bool, str]] = []  # text, whether it is shared between files, where it comes from
        self.conditions: list[_Condition] = []
        self.macros: list[str] = []  # that the file's own text has defined and not undefined

    def _live(self) -> bool:
        return all(c.live for c in self.conditions)

    def _emit(self, text: str, where: str) -> None:
        shared = any(c.guard for c in self.conditions)
        if self.pieces and self.pieces[-1][1] == shared and self.pieces[-1][2] == where:
            text = f"{self.pieces.pop()[0]}\n{text}"
        self.pieces.append((text, shared, where))

    def _find(self, name: str, beside: Path) -> Path:
        for folder in (beside, self.core, self.core / "include"):
            if (folder / name).is_file():
                return (folder / name).resolve()
        raise AmalgamationError(f"{name} is included and not found")

    def file(self, path: Path) -> None:
        depth, where = len(self.conditions), path.relative_to(self.core).as_posix()
        if depth == 0 and not self.public and not where.startswith("kernels/"):
            self._open_pass(COMMON, where)
        for line in _logical_lines(path.read_text(encoding="utf-8").rstrip("\n")):
            match = _DIRECTIVE.fullmatch(line)
            if match:
                self._directive(match[1], match[2].strip(), line, path, where)
            elif self._live():
                self._emit(line, where)
        if len(self.conditions) > depth and self.conditions[-1].of_pass and depth == 0:
            self._directive("endif", "", "#endif", path, where)
        if len(self.conditions) != depth:
            raise AmalgamationError(f"{where}: a condition is not closed")

    def _directive(self, word: str, rest: str, line: str, path: Path, where: str) -> None:
        name = rest.split("(")[0].split()[0] if rest else ""
        if word in ("if", "ifdef", "ifndef"):
            self._open(word, rest, name, line, where)
        elif word in ("else", "elif"):
            condition = self.conditions[-1]
            if condition.of_pass:
                if self._live():
                    self._other_pass(condition, where)
            elif not condition.decided:
                if self._live():
                    self._emit(line, where)
            elif word == "elif" and not (condition.dead or condition.taken):
                raise AmalgamationError(f"{where}: #elif {rest} after a condition that was decided as false")
            else:
                condition.next_branch()
        elif word == "endif":
            condition = self.conditions[-1]
            keep = not condition.decided and self._live()
            self.conditions.pop()
            if keep:
                self._emit(line, where)
        elif not self._live():
            return
        elif word == "include":
            self._include(rest, line, path, where)
        else:
            if word == "define":
                self._define(name, rest, line, where)
            elif word == "undef":
                self.defined.pop(name, None)
                if name in self.macros:
                    self.macros.remove(name)
                if name != "KX_TEMPLATE":
                    self._emit(line, where)
            else:
                self._emit(line, where)

    def _open(self, word: str, rest: str, name: str, line: str, where: str) -> None:
        if not self._live():
            self.conditions.append(_Condition(True, False, dead=True))
        elif word != "if" and name == "KX_DISPATCH_PASS":
            self._open_pass(COMMON if word == "ifdef" else KERNELS, where)
        elif word != "if" and (name in _STEERING or _GUARD.fullmatch(name)):
            live = (name in self.defined) == (word == "ifdef")
            self.conditions.append(_Condition(True, live, guard=bool(_GUARD.fullmatch(name))))
        else:
            self._emit(line, where)
            self.conditions.append(_Condition(False, True))

    def _open_pass(self, of_pass: str, where: str) -> None:
        self._emit(f"#if {of_pass}", where)
        self.conditions.append(_Condition(False, True, of_pass=of_pass))

    def _other_pass(self, condition: _Condition, where: str) -> None:
        """#else: one pass may be both, and what the dispatcher has instead of something is not needed there."""
        if condition.of_pass == KERNELS:
            self._emit("#else", where)
            condition.of_pass = f"!{KERNELS}"
        else:
            self._emit("#endif", where)
            self._emit(f"#if {KERNELS}", where)
            condition.of_pass = KERNELS

    def _define(self, name: str, rest: str, line: str, where: str) -> None:
        if name == "_GNU_SOURCE":
            return  # at the top of kexue.c
        self.defined[name] = rest[len(name) :].strip()
        if _GUARD.fullmatch(name) and any(not c.decided and not c.of_pass for c in self.conditions):
            raise AmalgamationError(f"{where} is included for the first time under a condition of the compiler's")
        if _GUARD.fullmatch(name) or name == "KX_TEMPLATE":
            return
        if not any(c.guard for c in self.conditions) and name not in self.macros:
            self.macros.append(name)
        self._emit(line, where)

    def _include(self, rest: str, line: str, path: Path, where: str) -> None:
        if rest.startswith("<"):
            conditional = any(not c.decided for c in self.conditions)
            name = rest.split(">")[0]
            if name not in self.seen_system:
                self._emit(line, where)
                if not conditional:
                    self.seen_system.add(name)
            return
        name = self.defined["KX_TEMPLATE"] if rest == "KX_TEMPLATE" else rest
        target = self._find(name.split('"')[1], path.parent)
        inside = target.relative_to(self.core).as_posix()
        if not self.public and inside.startswith("include/"):
            return  # kexue.h
        passes = [c for c in self.conditions if c.of_pass and not c.suspended]
        text = target.read_text(encoding="utf-8")
        tested = re.findall(r"^#ifndef (\w+)$", text, re.MULTILINE)
        guard = next((name for name in tested if _GUARD.fullmatch(name)), None)
        if not passes or guard is None or guard in self.defined:
            self.file(target)
            return
        # Every pass has all headers, whichever file is the first to include one; but for those that declare kernels.
        for condition in passes:
            self._emit("#endif", where)
            condition.suspended = True
        if "KX_KERNEL(" in text:
            self._open_pass(KERNELS, where)
            self.file(target)
            self.conditions.pop()
            self._emit("#endif", where)
        else:
            self.file(target)
        for condition in passes:
            self._emit(f"#if {condition.of_pass}", where)
            condition.suspended = False

    def take(self) -> list[tuple[str, bool, str]]:
        pieces, self.pieces = self.pieces, []
        return pieces

    def end_of_unit(self) -> str:
        """What undoes a file's own macros."""
        for name in self.macros:
            self.defined.pop(name, None)
        lines = "".join(f"#undef {name}\n" for name in self.macros)
        self.macros = []
        return lines


class _Names:
    """The names that a file's own text declares at file scope: plain ones, and those of KX_TYPED(name)."""

    def __init__(self, text: str) -> None:
        self.plain: set[str] = set()
        self.typed: set[str] = set()
        for declaration in _declarations(text):
            self._read(declaration)
        for name in [n for n in self.plain if n.endswith(("_f32", "_f64"))]:
            self.plain.remove(name)
            self.typed.add(name[:-4])

    def _read(self, tokens: list[str]) -> None:
        words = [t for t in tokens if t not in _DECORATION]
        for i, word in enumerate(words):
            if word in ("struct", "union", "enum"):
                if words[i + 1] == "KX_TYPED" and words[i + 5 : i + 6] in (["{"], [";"]):
                    self.typed.add(words[i + 3])
                elif _NAME.fullmatch(words[i + 1]) and words[i + 2 : i + 3] in (["{"], [";"]):
                    self.plain.add(words[i + 1])
            if word == "enum":
                self._enumerators(words, i + 1)
        flat = _without_groups(words, "{", "}")
        if "typedef" in flat:
            self._typedef(flat)
        elif "static" in flat:
            self._static(flat)

    def _enumerators(self, words: list[str], i: int) -> None:
        while i < len(words) and words[i] not in ("{", ";", ")", "*", ","):
            i += 1
        if i == len(words) or words[i] != "{":
            return
        depth, expected = 0, True
        for k in range(i, len(words)):
            word = words[k]
            if word in ("{", "("):
                depth += 1
            elif word in ("}", ")"):
                depth -= 1
                if depth == 0:
                    return
            elif depth == 1 and word == ",":
                expected = True
            elif depth == 1 and expected:
                expected = False
                if word == "KX_TYPED":
                    self.typed.add(words[k + 2])
                else:
                    self.plain.add(word)

    def _typedef(self, flat: list[str]) -> None:
        pointer = next((flat[i + 2] for i in range(len(flat) - 3) if flat[i : i + 2] == ["(", "*"]), None)
        if pointer:
            self.plain.add(pointer)
        elif flat[-5:-3] == ["KX_TYPED", "("]:
            self.typed.add(flat[-3])
        else:
            names = [t for t in _without_groups(flat, "[", "]") if _NAME.fullmatch(t)]
            self.plain.add(names[-1])

    def _static(self, flat: list[str]) -> None:
        flat = _without_groups(_without_groups(flat, "[", "]"), "(", ")", keep_typed=True)
        ends = {"=", ";", ",", "("}
        for i, word in enumerate(flat):
            if word == "KX_TYPED":
                if flat[i + 4] in ends:
                    self.typed.add(flat[i + 2])
                    if flat[i + 4] != ",":
                        return
            elif word in ("KX_PASTE", "KX_KERNEL"):
                return
            elif _NAME.fullmatch(word) and word not in _WORDS and i + 1 < len(flat) and flat[i + 1] in ends:
                self.plain.add(word)
                if flat[i + 1] != ",":
                    return


def _without_groups(tokens: list[str], left: str, right: str, keep_typed: bool = False) -> list[str]:
    """The tokens without what is between brackets, but for KX_TYPED's if it is to stay. Of (...) the ( stays."""
    out, depth, i = [], 0, 0
    while i < len(tokens):
        token = tokens[i]
        if keep_typed and depth == 0 and token == "KX_TYPED":
            out += tokens[i : i + 4]
            i += 4
            continue
        if token == left:
            if depth == 0 and left == "(":
                out.append(token)
            depth += 1
        elif token == right:
            depth -= 1
        elif depth == 0:
            out.append(token)
        i += 1
    return out


def _declarations(text: str) -> Iterator[list[str]]:
    """Each declaration at file scope as its tokens; a function's without its body."""
    current: list[str] = []
    depth, parens, in_body = 0, 0, False
    saved: list[tuple] = []
    for line in _logical_lines(text):
        match = _DIRECTIVE.fullmatch(line)
        if match:
            # Branches begin alike: #if A  void f(int a) {  #else  void f(int b) {  #endif
            if match[1] in ("if", "ifdef", "ifndef"):
                saved.append((list(current), depth, parens, in_body))
            elif match[1] in ("else", "elif"):
                current, depth, parens, in_body = list(saved[-1][0]), *saved[-1][1:]
            elif match[1] == "endif":
                saved.pop()
            continue
        for token in _TOKEN.findall(line):
            if token.isspace() or token.startswith(("/*", "//")):
                continue
            if token == "(":
                parens += 1
            elif token == ")":
                parens -= 1
            if token == "{":
                if depth == 0 and current and (current[-1] == ")" or current[-1].endswith(("PARAMETERS",))):
                    is_tag = current[-4:-2] == ["KX_TYPED", "("] and current[-5] in ("struct", "union", "enum")
                    in_body = "=" not in current and not is_tag
                    if in_body:
                        yield [*current, ";"]
                depth += 1
            if depth == 0 or not in_body:
                current.append(token)
            is_call = token == ")" and depth == parens == 0 and current[1] == "("
            if is_call and re.fullmatch(r"[A-Z][A-Z0-9_]*", current[0]):
                current = []  # KX_DISPATCH(...) and the like need no semicolon
                continue
            if token == "}":
                depth -= 1
                if depth == 0 and in_body:
                    current, in_body = [], False
            elif token == ";" and depth == 0:
                yield current
                current = []


def _rename(text: str, names: _Names, suffix: str) -> str:
    """The text with names that are private to it made unique. Members of structures keep theirs."""
    plain = {name: name + suffix for name in names.plain}
    typed = {name: name + suffix for name in names.typed}
    for name in names.typed:
        for real in ("f64", "f32"):
            plain[f"{name}_{real}"] = f"{name}{suffix}_{real}"
    out = []
    structures: list[bool] = []  # for each open brace: whether it is a structure's
    brackets = 0
    is_structure = False
    significant = ["", "", ""]
    for line in _logical_lines(text):
        directive = _DIRECTIVE.fullmatch(line)
        if directive and directive[1] == "include":
            out.append(f"{line}\n")
            continue
        tokens = _TOKEN.findall(line)
        for i, token in enumerate(tokens):
            if token.isspace() or token.startswith(("/*", "//")):
                out.append(token)
                continue
            replaced = token
            if _NAME.fullmatch(token):
                if significant[-1] == "(" and significant[-2] == "KX_TYPED":
                    replaced = typed.get(token, token)
                elif token[:-1] in typed and tokens[i + 1 : i + 2] == ["##"]:
                    replaced = f"{typed[token[:-1]]}_"
                elif token in plain and significant[-1] not in (".", "->"):
                    following = next((t for t in tokens[i + 1 :] if not t.isspace() and not t.startswith("/*")), "")
                    member = not directive and structures and structures[-1] and brackets == 0
                    if not (member and following in (";", ",", "[", ")", ":")):
                        replaced = plain[token]
            if not directive:
                if token in ("struct", "union"):
                    is_structure = True
                elif token in (";", ")", "=", ","):
                    is_structure = False
                elif token == "{":
                    structures.append(is_structure)
                    is_structure = False
                elif token == "}":
                    structures.pop()
                elif token == "[":
                    brackets += 1
                elif token == "]":
                    brackets -= 1
            out.append(replaced)
            significant = [*significant[1:], token]
        out.append("\n")
    return "".join(out[:-1])


def _banner(title: str, core: Path) -> str:
    version = re.search(r'KX_VERSION_STRING "([^"]+)"', (core / "include/kexue/kx_base.h").read_text(encoding="utf-8"))
    if not version:
        raise AmalgamationError("kx_base.h has no KX_VERSION_STRING")
    text = LICENSE.read_text(encoding="utf-8").strip()
    indented = "\n".join(f"   {line}".rstrip() for line in text.split("\n"))
    return (
        f"/* kexue {version[1]}: {title}\n\n"
        f"   Made by tools/amalgamate.py; change the sources, not this file.\n\n{indented} */\n"
    )


def _header(core: Path) -> str:
    expansion = _Expansion(core, public=True)
    expansion.file((core / "include/kexue/kexue.h").resolve())
    pieces = [(text.strip(), where) for text, _, where in expansion.take() if text.strip()]
    body = "".join(f"\n/* ---- {where} ---- */\n{text}\n" for text, where in pieces)
    return f"{_banner('the whole public C interface.', core)}#ifndef KEXUE_H\n#define KEXUE_H\n{body}\n#endif\n"


def _source(core: Path, header: str) -> str:
    expansion = _Expansion(core, public=False)
    public = set(re.findall(r"struct (\w+)", header))
    units = [path for folder in FOLDERS for path in sorted((core / folder).glob("*.c"))]
    pieces, names, endings = [], [], []
    for path in units:
        expansion.file(path.resolve())
        pieces.append(expansion.take())
        endings.append(expansion.end_of_unit())
        names.append(_Names("\n".join(text for text, shared, _ in pieces[-1] if not shared)))
    seen = Counter(name for unit in names for name in unit.plain)
    out = []
    for path, unit_pieces, unit, ending in zip(units, pieces, names, endings, strict=True):
        # Names with the library's prefix are few, and some are put together by macros.
        unit.plain = {n for n in unit.plain - public if seen[n] > 1 or not n.lower().startswith("kx_")}
        out.append(f"\n/* ==== {path.relative_to(core).as_posix()} ==== */\n")
        for text, shared, where in unit_pieces:
            if shared and text.strip():
                out.append(f"\n/* ---- {where} ---- */\n{text.strip()}\n")
            elif text.strip():
                out.append(f"\n{_rename(text, unit, f'__{path.stem}').strip()}\n")
        out.append(ending)
    return f"{_banner('the whole C core.', core)}{_PREAMBLE}{''.join(out)}"


_PREAMBLE = """
#if !defined(_WIN32) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* sched_getaffinity, CLOCK_MONOTONIC */
#endif

/* An FMA is written where it is meant; compilers' own would make results depend on them. gcc's ISO C has none. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__) && (defined(__cplusplus) || !defined(__STRICT_ANSI__))
#pragma GCC optimize("fp-contract=off")
#elif defined(_MSC_VER)
#pragma fp_contract(off)
#endif

/* A file uses what it needs of a template that several share. */
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
/* -Wextra has more for C++: enumerators as limits of sizes, structures that are begun and the rest is 0. */
#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wextra"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wenum-compare"
#if __cplusplus >= 202002L
#pragma GCC diagnostic ignored "-Wdeprecated-enum-enum-conversion"
#pragma GCC diagnostic ignored "-Wdeprecated-enum-float-conversion"
#endif
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wc99-designator"
#if __cplusplus >= 202002L
#pragma clang diagnostic ignored "-Wdeprecated-anon-enum-enum-conversion"
#endif
#endif
#endif

/* Compiled as it is, this file is the core for one instruction set, the one of the compiler's flags. Compiled with
   -DKX_ISA=v3 (or baseline, v4) it is the kernels for one of several, and with -DKX_HAVE_BASELINE, and -DKX_HAVE_V3 and
   -DKX_HAVE_V4 as the case may be, all but kernels. */
#if defined(KX_ISA)
#define KX_KERNELS_PASS 1
#define KX_COMMON_PASS 0
#elif defined(KX_HAVE_BASELINE)
#define KX_KERNELS_PASS 0
#define KX_COMMON_PASS 1
#else
#define KX_AMALGAMATION 1
#define KX_KERNELS_PASS 1
#define KX_COMMON_PASS 1
#endif
#include "kexue.h"
"""


def amalgamate(directory: str | Path, core: str | Path = CORE) -> tuple[Path, Path]:
    """Write kexue.h and kexue.c into the directory, which is made if it is not there, and return their paths."""
    core, directory = Path(core).resolve(), Path(directory)
    header = _header(core)
    source = _source(core, header)
    directory.mkdir(parents=True, exist_ok=True)
    paths = directory / "kexue.h", directory / "kexue.c"
    for path, text in zip(paths, (header, source), strict=True):
        path.write_text(re.sub(r"\n{3,}", "\n\n", text), encoding="utf-8", newline="\n")
    return paths


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print("usage: python tools/amalgamate.py DIRECTORY", file=sys.stderr)
        return 2
    for path in amalgamate(sys.argv[1]):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
