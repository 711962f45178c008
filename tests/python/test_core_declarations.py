"""core.pxd says what the headers say: every function, type, field and constant, const and all."""

from __future__ import annotations

import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEADERS = sorted((ROOT / "src/_core/include/kexue").glob("kx_*.h"))
PXD = ROOT / "src/_core/cython/kexue/core.pxd"


def declarator(text: str) -> tuple[str, str]:
    """Type and name of `const double *x`, of `double x[2]`, or of a pointer to a function."""
    text = re.sub(r"\bKX_RESTRICT\b|\brestrict\b|\b(?:struct|enum) ", "", text).strip()
    pointer = re.fullmatch(r"(.*?)\(\s*\*\s*(\w+)\s*\)\s*\((.*)\)", text, re.DOTALL)
    if pointer:
        return f"{words(pointer[1])}(*)({parameters(pointer[3])})", pointer[2]
    match = re.fullmatch(r"(.*?)(\w+)?\s*(\[\w*\])?", text, re.DOTALL)
    kind, name = words(match[1]), match[2] or ""
    if not kind or kind in ("const", "unsigned", "unsigned const"):
        kind, name = words(text), ""
    return kind + (" *" if match[3] else ""), name


def words(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("*", " * ")).strip()


def split(text: str, separator: str = ",") -> list[str]:
    """At the separators that are outside of parentheses and braces."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "({") - (character in ")}")
        if character == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part.strip()]


def parameters(text: str) -> str:
    return "" if text.strip() in ("", "void") else ", ".join(declarator(part)[0] for part in split(text))


def preprocessed(header: Path) -> str:
    """The header's own lines, after the preprocessor: some declarations are made by macros."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("stddef.h", "stdint.h"):
            Path(folder, name).touch()
        command = ["cc", "-E", "-nostdinc", "-I", folder, str(header)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines, own = [], False
    for line in output.splitlines():
        marker = re.match(r'# \d+ "(.*)"', line)
        if marker:
            own = marker[1] == str(header)
        elif own:
            lines.append(line)
    return "\n".join(lines)


@cache
def in_headers() -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {"functions": {}, "structs": {}, "constants": {}, "types": {}}
    for header in HEADERS:
        text = preprocessed(header)
        for statement in split(text, ";"):
            statement = statement.strip().lstrip("}").strip()
            aggregate = re.fullmatch(r"(typedef )?(struct|enum)\s*(\w+)?\s*\{(.*)\}\s*(\w+)?", statement, re.DOTALL)
            if aggregate and aggregate[2] == "enum":
                for item in split(aggregate[4]):
                    name = item.split("=")[0].strip()
                    if re.fullmatch(r"KX_[A-Z0-9_]+", name) and name not in ("KX_STATUS_FORCE_INT",):
                        found["constants"][name] = header.name
                if aggregate[5]:
                    found["types"][aggregate[5]] = header.name
            elif aggregate:
                found["structs"][aggregate[5]] = fields(split(aggregate[4], ";"))
                found["types"][aggregate[5]] = header.name
            elif statement.startswith("typedef"):
                kind, name = declarator(statement.removeprefix("typedef"))
                found["types"][name] = header.name if kind.split()[-1] == name.removesuffix("_t") else kind
            else:
                function = re.fullmatch(r"([\w\s*]+?)(\w+)\s*\((.*)\)", statement, re.DOTALL)
                constant = re.fullmatch(r"(?:extern|static) const \w+ (\w+)(?:\s*=.*)?", statement, re.DOTALL)
                if function:
                    found["functions"][function[2]] = (words(function[1]), parameters(function[3]), header.name)
                elif constant:
                    found["constants"][constant[1]] = header.name
                elif statement:
                    raise AssertionError(f"{header.name}: not understood: {statement}")
    for header in HEADERS:
        for name in re.findall(r"^#define (KX_\w+) [-(0-9.]", header.read_text(), re.MULTILINE):
            if not name.startswith("KX_VERSION_"):
                found["constants"][name] = header.name
    return found


def fields(lines: list[str]) -> dict[str, str]:
    result = {}
    for line in lines:
        line = re.sub(r"\s+noexcept nogil$", "", line.strip())
        if re.search(r"\(\s*\*", line):
            kind, name = declarator(line)
            result[name] = kind
            continue
        first, *others = split(line)
        kind, name = declarator(first)
        result[name] = kind
        base = re.sub(r"[\s*]+$", "", kind)
        for other in others:
            extra, name = declarator(f"{base} {other}")
            result[name] = extra
    return result


@cache
def in_pxd() -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {"functions": {}, "structs": {}, "constants": {}, "types": {}}
    text = re.sub(r"#.*", "", PXD.read_text())
    while True:  # one declaration a line
        joined = re.sub(r"(\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*)\n\s*", r"\1 ", text)
        if joined == text:
            break
        text = joined
    header, block, name = "", "", ""
    for line in text.splitlines():
        depth, line = (len(line) - len(line.lstrip())) // 4, line.strip()
        extern = re.fullmatch(r'cdef extern from "kexue/(\w+\.h)" nogil:', line)
        if extern:
            header, block = extern[1], ""
        elif line.startswith("cdef extern"):
            raise AssertionError(f"not nogil, or not of kexue: {line}")
        elif not header or not line or line == "pass":
            continue
        elif match := re.fullmatch(r"(?:ctypedef|cdef) (struct|enum)(?: (\w+))?:", line):
            block, name = match[1], match[2]
            found["types"][name] = header
            if block == "struct":
                found["structs"][name] = {}
        elif match := re.fullmatch(r"(?:struct|enum)(?: \w+)?:", line):
            block = line.split()[0].rstrip(":")
        elif depth == 2 and block == "struct":
            found["structs"][name].update(fields([line]))
        elif depth == 2 and block == "enum":
            found["constants"][line.split("=")[0].strip()] = header
        elif line.startswith("ctypedef"):
            kind, name = declarator(line.removeprefix("ctypedef").removesuffix(" noexcept nogil"))
            found["types"][name] = kind
        elif "(" in line:
            match = re.fullmatch(r"([\w\s*]+?)(\w+)\s*\((.*)\)", line)
            assert match, line
            found["functions"][match[2]] = (words(match[1]), parameters(match[3]), header)
        else:
            found["constants"][declarator(line)[1]] = header
    return found


def without_nogil(kind: object) -> object:
    return kind.replace(" noexcept nogil", "") if isinstance(kind, str) else kind


def test_the_parsers_find_what_is_there():
    functions = in_headers()["functions"]
    assert len(functions) > 300
    assert functions["kx_version"] == ("const char *", "", "kx_base.h")
    assert functions["kx_edit_distance"] == (
        "kx_status_t",
        "const kx_ctx_t *, const uint32_t *, int64_t, const uint32_t *, int64_t, int64_t *",
        "kx_alignment.h",
    )
    assert in_headers()["structs"]["kx_emd_result_t"] == {
        "cost": "double",
        "gap": "double",
        "iterations": "int64_t",
        "status": "kx_status_t",
    }


def test_functions():
    headers, pxd = in_headers()["functions"], in_pxd()["functions"]
    assert sorted(set(headers) - set(pxd)) == []
    assert sorted(set(pxd) - set(headers)) == []
    assert {name: pxd[name] for name in headers if pxd[name] != headers[name]} == {}


def test_structs():
    headers, pxd = in_headers()["structs"], in_pxd()["structs"]
    assert sorted(set(headers) - set(pxd)) == []
    for name, expected in headers.items():
        # A struct that the headers leave open is declared without fields.
        assert {key: without_nogil(kind) for key, kind in pxd[name].items()} == expected, name


def test_constants_and_types():
    for kind in ("constants", "types"):
        headers, pxd = in_headers()[kind], in_pxd()[kind]
        assert sorted(set(headers) - set(pxd)) == []
        assert sorted(set(pxd) - set(headers)) == []


def test_the_umbrella_header_has_every_header():
    umbrella = (ROOT / "src/_core/include/kexue/kexue.h").read_text()
    assert re.findall(r'#include "(kx_\w+\.h)"', umbrella)[2:] == [
        path.name for path in HEADERS if path.name not in ("kx_base.h", "kx_ctx.h")
    ]
