"""Run a notebook, store its outputs, and write it as a page of the site.

python scripts/notebook_page.py examples/tour.ipynb docs/notebook.md
"""

import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def run(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Run all cells in a fresh kernel, and keep neither warnings of this machine nor the time they ran."""
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def page(notebook: nbformat.NotebookNode) -> str:
    """Return a notebook that ran as Markdown: text, code, and what the code printed or returned."""
    parts = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        shown = "".join(
            output.get("text") or output.get("data", {}).get("text/plain", "") + "\n" for output in cell.outputs
        )
        if shown.strip():
            parts.append(f"```text\n{_COLOUR.sub('', shown).rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    path, target = map(Path, sys.argv[1:3])
    done = run(nbformat.read(path, as_version=4))
    nbformat.write(done, path)
    target.write_text(page(done), "utf-8")
