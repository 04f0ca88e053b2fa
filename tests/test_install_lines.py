"""Lines that install a missing package: one place makes them, and every shell takes them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import packsort
from packsort._install import pip_install

PACKAGE = Path(packsort.__file__).parent
ROOT = Path(__file__).parents[1]


def test_one_place_makes_the_line() -> None:
    # A line of the package that holds the words, and is no pattern that finds them in the message of another library.
    lines = [
        f"{path.relative_to(PACKAGE)}:{number}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "pip install" in line and "re.search" not in line and path.name != "_install.py"
    ]
    assert lines == []


def test_it_is_quoted_as_every_shell_reads_it() -> None:
    for requirement in ("gcsfs", "packsort[hf]", "trl>=1.10", "ray[data]>=2.60"):
        line = pip_install(requirement)
        assert shlex.split(line) == ["pip", "install", requirement]
        # cmd.exe knows double quotes only, and PowerShell replaces `$` and backticks inside of them.
        assert not set("'$`%!^") & set(line)


def test_pages_quote_it_in_the_same_way() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.py")]
    lines = [line for page in pages for line in re.findall(r"pip install (?:-\S+ )*[^\s`]*[\[<>=].*", page.read_text())]
    assert lines
    assert [line for line in lines if not re.search(r'"[^"\']*[\[<>=][^"\']*"', line)] == []
