"""Links of the pages outside the site lead somewhere, and every page of the site is in its navigation.

The site itself checks its own links when it is built (`make check`).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
OUTSIDE = [*sorted(ROOT.glob("*.md")), ROOT / "benches" / "README.md"]


def headings(page: Path) -> set[str]:
    """Return the anchors that the headings of a page get on GitHub."""
    titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", OUTSIDE, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_pages_outside_the_site_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    for target in targets:
        if not target.startswith(("http", "mailto:")):
            name, _, anchor = target.partition("#")
            found = page.parent / name if name else page
            assert found.exists(), target
            assert not anchor or anchor in headings(found), target


def test_the_files_that_contributors_are_sent_to_exist() -> None:
    page = (ROOT / "docs" / "contributing.md").read_text("utf-8")
    named = re.findall(r"`((?:python|rust|tests|docs|examples|benches)/[\w./-]*)`", page)
    assert len(named) > 20
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []
    assert [name for name in named if not (ROOT / name).parent.exists()] == []


def pages_of(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for inner in nav.values() if isinstance(nav, dict) else nav:
            yield from pages_of(inner)


def test_every_page_is_in_the_navigation_once() -> None:
    nav = tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]["nav"]
    listed = sorted(page for page in pages_of(nav) if not page.startswith("http"))
    found = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert listed == sorted(found)
