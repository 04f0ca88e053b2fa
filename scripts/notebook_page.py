"""Run a notebook, store its outputs, and write it as a page of the site, with a file for each plot beside it.

python scripts/notebook_page.py examples/tutorial.ipynb docs/tutorial.md
"""

import re
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PROLOG = re.compile(r"^.*?(?=<svg)|<metadata>.*?</metadata>\s*", re.DOTALL)
_SVG = "image/svg+xml"
_CHATS = Path(__file__).parents[1] / "examples" / "make_chats.py"


def run(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Run all cells in a fresh kernel, in a folder that holds `make_chats.py` alone.

    Plots are SVG. Neither warnings of this machine nor the date is kept.
    """
    with TemporaryDirectory() as folder:
        shutil.copy(_CHATS, folder)
        options = {"resources": {"metadata": {"path": folder}}, "timeout": 300, "kernel_name": "python3"}
        NotebookClient(notebook, extra_arguments=["--InlineBackend.figure_format=svg"], **options).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                if _SVG in output.get("data", {}):
                    output.data[_SVG] = _PROLOG.sub("", output.data[_SVG])
    return notebook


def text(cell: nbformat.NotebookNode) -> str:
    """Return what the code of a cell printed or returned, without its plots."""
    shown = [
        output.get("text") or output.get("data", {}).get("text/plain", "") + "\n"
        for output in cell.outputs
        if _SVG not in output.get("data", {})
    ]
    return _COLOUR.sub("", "".join(shown)).rstrip()


def page(notebook: nbformat.NotebookNode, name: str) -> tuple[str, dict[str, str]]:
    """Return a notebook that ran as Markdown, and its plots by the names of their files.

    Links of the notebook lead from `examples` to `docs`, those of the page from `docs`. The metadata of a cell has the
    text `alt` of its plot.

    Args:
        notebook: The notebook.
        name: Name of the page without its suffix.
    """
    parts, plots = [], {}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            parts.append(cell.source.replace("](../docs/", "]("))
            continue
        parts.append(f"```python\n{cell.source}\n```")
        if shown := text(cell):
            parts.append(f"```text\n{shown}\n```")
        for output in cell.outputs:
            if _SVG in output.get("data", {}):
                file = f"{name}-{len(plots) + 1}.svg"
                plots[file] = output.data[_SVG]
                parts.append(f"![{cell.metadata['alt']}]({file})")
    return "\n\n".join(parts) + "\n", plots


if __name__ == "__main__":
    path, target = map(Path, sys.argv[1:3])
    done = run(nbformat.read(path, as_version=4))
    nbformat.write(done, path)
    markdown, plots = page(done, target.stem)
    target.write_text(markdown, "utf-8")
    for file, plot in plots.items():
        (target.parent / file).write_text(plot, "utf-8")
