"""Runs all benchmarks, each in a process of its own; exits 1 if a figure is not as required."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

BENCHES = (
    "plan",
    "first_plan",
    "counts",
    "gather",
    "read",
    "tokenize_rows",
    "read_json",
    "layouts",
    "loader",
    "index_only",
    "checks",
    "streaming",
    "strategies",
    "in_order",
    "optimal",
    "schedule",
    "compare",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    args = parser.parse_args()
    figures, failed = [], False
    with tempfile.TemporaryDirectory() as folder:
        for name in BENCHES:
            found = Path(folder, f"{name}.json")
            script = Path(__file__).with_name(f"{name}.py")
            failed |= subprocess.run([sys.executable, script, "--json", found]).returncode != 0
            figures += json.loads(found.read_text()) if found.exists() else []
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
