"""The site builds without a warning, holds every public name, and its links lead somewhere.

Needs the extra `docs`; without it the tests are skipped. The examples of the gallery are run by test_gallery.py.
"""

import html
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import kexue

ROOT = Path(__file__).parents[2]
EXTENSIONS = ROOT / "docs" / "_extensions"
MADE_BY_BUILDS = ("reference", "c_reference", "gallery", "programs", "__pycache__")

for package in ("sphinx", "numpydoc", "myst_parser", "sphinx_gallery", "furo"):
    pytest.importorskip(package)
for adapter in kexue._MODULES:
    pytest.importorskip(f"kexue.{adapter}", exc_type=ImportError)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder with the pages, built from a copy, as a build writes pages beside its sources."""
    copy = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", copy / "docs", ignore=shutil.ignore_patterns(*MADE_BY_BUILDS))
    for folder in ("examples", "src/_core/include"):
        shutil.copytree(ROOT / folder, copy / folder)
    for file in ("CONTRIBUTING.md", "bench/README.md"):
        (copy / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, copy / file)
    package = Path(kexue.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-D", "plot_gallery=False", "docs", "out"],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=550,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return copy / "out"


@pytest.fixture(scope="module")
def inventory(site):
    """What can be linked to: (domain, name) -> page."""
    data = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    rows = re.findall(r"^(\S+) (\w+):\w+ \S+ (\S+) .*$", zlib.decompress(data).decode(), re.MULTILINE)
    return {(domain, name): page for name, domain, page in rows}


def adapter_names(module):
    value = importlib.import_module(module)
    for name in value.__all__:
        inner = f"{module}.{name}"
        yield from adapter_names(inner) if inspect.ismodule(getattr(value, name)) else [inner]


def test_every_python_name_has_an_entry(inventory):
    names = {f"kexue.{name}" for name in kexue._HOME}
    for module in set(kexue._MODULES) - (set(kexue._NAMES) - {"sklearn"}):
        names |= set(adapter_names(f"kexue.{module}"))
    assert len(names) > 400
    assert names - {name for domain, name in inventory if domain == "py"} == set()
    assert inventory["py", "kexue.WordVectors.fit"].startswith("reference/documents.html")


def test_every_c_function_has_an_entry(inventory):
    declared = (ROOT / "src/_core/cython/kexue/core.pxd").read_text()
    functions = set(re.findall(r"\b(kx_\w+)\(", declared))
    assert len(functions) > 100
    assert functions - {name for domain, name in inventory if domain == "c"} == set()


def ids_and_links(page):
    text = page.read_text(encoding="utf-8")
    ids = set(re.findall(r'\bid="([^"]+)"', text))
    return {html.unescape(name) for name in ids}, {
        html.unescape(link) for link in re.findall(r'\b(?:href|src)="([^"]+)"', text)
    }


def test_internal_links(site):
    pages = {page: ids_and_links(page) for page in site.rglob("*.html")}
    assert len(pages) > 100
    broken = []
    for page, (_, links) in pages.items():
        for link in links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and target in pages and anchor not in pages[target][0]):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert broken == []


def test_pages_say_their_language(site):
    assert '<html class="no-js" lang="zh-CN"' in (site / "zh/index.html").read_text(encoding="utf-8")
    assert '<html class="no-js" lang="en"' in (site / "transport.html").read_text(encoding="utf-8")


def test_programs_and_files_beside_the_pages(site):
    for program in (ROOT / "examples").glob("*.py"):
        assert (site / f"programs/{program.stem}.html").exists()
    assert "The four places of a function" in (site / "contributing.html").read_text(encoding="utf-8")


def test_both_precisions_stand_together(site):
    page = (site / "c_reference/kx_vector_math.html").read_text(encoding="utf-8")
    first = page.index('id="c.kx_vector_exp_f32"')
    second = page.index('id="c.kx_vector_exp_f64"')
    assert first < second < page.index("the natural logarithm")
    assert "<dd>" not in page[first:second]


# ---- the reader of headers ----


@pytest.fixture
def headers(monkeypatch):
    monkeypatch.syspath_prepend(EXTENSIONS)
    return importlib.import_module("c_headers")


HEADER = """/* kexue: a test.

   More about it. */
#ifndef KX_TEST_H
#define KX_TEST_H
#include "kx_base.h"
#ifdef __cplusplus
extern "C" {
#endif
/* How many. */
#define KX_TEST_SIZE 3

/* A pair. */
typedef struct kx_pair {
    /* Of the first
       kind. */
    double *u, *v;  /* also |v| */
    void (*call)(void *state);
} kx_pair_t;

typedef enum kx_kind { KX_A, KX_B = 1 << 2 /* the second */ } kx_kind_t;

#define KX_TEST_BOTH(name)  \\
    int name##_f32(float x); \\
    int name##_f64(double x);
/* What kx_first does to x_. */
KX_TEST_BOTH(kx_first)
#undef KX_TEST_BOTH
%sint kx_second(const kx_pair_t *pair,
              int64_t n);
#ifdef __cplusplus
}
#endif
#endif
"""


@pytest.mark.parametrize("comment", ["\n/* The second. */\n", "\n"])
def test_reading_a_header(headers, comment, monkeypatch):
    told = []
    monkeypatch.setattr(headers.logger, "warning", lambda message, **options: told.append(message))
    writer = headers.Writer(headers.Reader("kx_test.h", HEADER % comment), {"kx_first_f64": "func"})
    text = writer.page()
    assert writer.names == {
        "KX_TEST_SIZE": "macro",
        "kx_pair_t": "type",
        "kx_kind_t": "type",
        "KX_A": "enumerator",
        "KX_B": "enumerator",
        "kx_first_f32": "func",
        "kx_first_f64": "func",
        "kx_second": "func",
    }
    assert ".. c:function:: int kx_first_f32(float x)\n                int kx_first_f64(double x)\n" in text
    assert "What :c:func:`kx_first <kx_first_f64>` does to x\\_." in text
    assert ".. c:member:: double *u\n                 double *v\n" in text
    assert "Of the first kind. also \\|v\\|" in text
    assert ".. c:member:: void (*call)(void *state)\n" in text
    assert ".. c:enumerator:: KX_B = 1 << 2\n" in text
    assert ".. c:function:: int kx_second(const kx_pair_t *pair, int64_t n)\n" in text
    assert told == ([] if "second" in comment else ["no comment about kx_second"])
