"""Pages that a build makes of what is not written for Sphinx: headers, docstrings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

NOTICE = ".. Made by the build of the site.\n\n"


def write_pages(folder: Path, pages: Mapping[str, str]) -> None:
    """Make `folder` hold these pages and no others. One that has not changed is not written, so not read again."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.rst"):
        if path.stem not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.rst"
        text = NOTICE + text
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def index(heading: str, text: str, names: Iterable[str]) -> str:
    """The page that leads to the others."""
    return title(heading) + text + "\n\n.. toctree::\n   :maxdepth: 1\n\n" + "".join(f"   {name}\n" for name in names)


def title(text: str, underline: str = "=") -> str:
    return f"{text}\n{underline * max(4, len(text))}\n\n"


def indent(text: str, spaces: int = 3) -> str:
    return "".join(" " * spaces + line if line.strip() else line for line in text.splitlines(keepends=True))
