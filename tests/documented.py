"""Files of `examples/`, whose code the pages of the site include."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> dict[str, Any]:
    """Return the names of an example, which runs only what follows `if __name__ == "__main__"`."""
    return runpy.run_path(str(EXAMPLES / name))
