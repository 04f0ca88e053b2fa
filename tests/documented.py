"""Code of the documentation, to be run as it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"


def code_of(page: str, heading: str) -> str:
    """Return the first Python block below a heading."""
    text = (DOCS / page).read_text().split(f"\n## {heading}\n", 1)[1]
    return text.split("```python\n", 1)[1].split("```", 1)[0]


def run(page: str, heading: str, packed: Path | str, model: Any) -> dict[str, Any]:
    """Run that block with a packed directory and a model, and return its names."""
    names = {"model": model, "__name__": "documented"}
    exec(compile(code_of(page, heading).replace('"packed/"', repr(str(packed))), page, "exec"), names)
    return names
