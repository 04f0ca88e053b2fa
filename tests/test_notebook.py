"""The notebook runs from its first cell to its last, and its page on the site shows what it gives."""

from __future__ import annotations

import runpy
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]


# The kernel is another process, which nbclient talks to.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::RuntimeWarning")
def test_the_notebook_runs_and_its_page_shows_it():
    script = runpy.run_path(str(ROOT / "scripts" / "notebook_page.py"))
    notebook = nbformat.read(ROOT / "examples" / "tour.ipynb", as_version=4)
    page = (ROOT / "docs" / "notebook.md").read_text("utf-8")
    assert script["page"](notebook) == page
    assert "stderr" not in nbformat.writes(notebook)
    for cell in script["run"](notebook).cells:
        assert cell.source in page
