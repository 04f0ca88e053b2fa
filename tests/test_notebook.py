"""The tutorial runs from its first cell to its last, and its page on the site shows what it gives."""

from __future__ import annotations

import re
import runpy
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from matplotlib import pyplot

ROOT = Path(__file__).parents[1]
NOTEBOOK = nbformat.read(ROOT / "examples" / "tutorial.ipynb", as_version=4)
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "notebook_page.py"))


def test_the_page_shows_the_notebook():
    markdown, plots = SCRIPT["page"](NOTEBOOK, "tutorial")
    assert markdown == (ROOT / "docs" / "tutorial.md").read_text("utf-8")
    assert plots == {path.name: path.read_text("utf-8") for path in (ROOT / "docs").glob("tutorial-*.svg")}
    assert "stderr" not in nbformat.writes(NOTEBOOK)


# In this process, because a kernel of its own takes ten seconds to import what is imported here.
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive:UserWarning")
def test_the_tutorial_runs(tmp_path, monkeypatch):
    shutil.copy(ROOT / "examples" / "make_chats.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    pyplot.switch_backend("agg")
    shell = InteractiveShell()
    for cell in NOTEBOOK.cells:
        if cell.cell_type == "code":
            with redirect_stdout(StringIO()) as printed:
                shell.run_cell(cell.source).raise_error()
            # Packs and tokens are the same on any machine; losses and times are not.
            if "varies" not in cell.metadata.get("tags", []):
                shown = re.sub(r"^Out\[\d+\]: \n?", "", printed.getvalue())
                assert shown.rstrip() == SCRIPT["text"](cell)
    assert len(pyplot.get_fignums()) == len(SCRIPT["page"](NOTEBOOK, "tutorial")[1])
    pyplot.close("all")
