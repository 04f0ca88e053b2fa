"""Check what is in a wheel: `python wheels/check.py TARGET WHEEL`, in the root of the repository.

TARGET is the platform that it was built for, as Rust names it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

# Unpacked 7 MB in 0.1; a wheel with debug information has 40.
MOST_BYTES = 16 * 2**20
LICENCES = "THIRD-PARTY-LICENSES.txt"
NEEDED = ("packsort/py.typed", "packsort/_core.pyi", "packsort/__init__.pyi", "packsort/cli/__init__.py")
NEEDED_INFO = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", f"licenses/{LICENCES}")


def crates(target: str, edges: str = "normal") -> set[tuple[str, str]]:
    """Return names and versions of the crates that a wheel is compiled from."""
    tree = ["cargo", "tree", "--locked", "--package", "packsort-py", "--target", target, "--edges", edges]
    done = subprocess.run([*tree, "--prefix", "none", "--format", "{p}"], capture_output=True, text=True, check=True)
    parts = [line.split() for line in done.stdout.splitlines() if line]
    return {(part[0], part[1].removeprefix("v")) for part in parts}


def faults(path: Path, target: str) -> list[str]:
    """Return what is wrong with a wheel, one sentence each."""
    with zipfile.ZipFile(path) as wheel:
        sizes = {info.filename: info.file_size for info in wheel.infolist()}
        info = next(name.partition("/")[0] for name in sizes if ".dist-info/" in name)
        wanted = (*NEEDED, *(f"{info}/{name}" for name in NEEDED_INFO))
        found = [f"{name} is missing" for name in wanted if name not in sizes]
        libraries = [name for name in sizes if name.endswith((".so", ".pyd", ".dylib"))]
        if len(libraries) != 1:
            found.append(f"one compiled module is expected, got {libraries}")
        if sum(sizes.values()) > MOST_BYTES:
            found.append(f"it unpacks to {sum(sizes.values()):,} bytes, more than {MOST_BYTES:,}")
        tags = [line[5:] for line in wheel.read(f"{info}/WHEEL").decode().splitlines() if line.startswith("Tag: ")]
        if any(not path.stem.endswith(tag.split("-")[-1]) for tag in tags):
            found.append(f"its tags {tags} are not those of its name")
        licences = wheel.read(f"{info}/licenses/{LICENCES}").decode() if f"{info}/licenses/{LICENCES}" in sizes else ""
        bills = [name for name in sizes if name.startswith(f"{info}/sboms/") and name.endswith(".json")]
        found += [
            f"crate {name} {version} is not in {LICENCES}: run `python wheels/licences.py`"
            for name, version in sorted(crates(target, "normal,no-proc-macro"))
            if not name.startswith("packsort-") and f"\n{name} {version}: " not in licences
        ]
        if not bills:
            return [*found, "it has no software bill of materials"]
        bill = json.loads(wheel.read(bills[0]))
    parts = [bill["metadata"]["component"], *bill["components"]]
    listed = {(part["name"], part["version"]) for part in parts}
    found += [f"crate {name} {version} is not in {bills[0]}" for name, version in sorted(crates(target) - listed)]
    found += [f"crate {part['name']} has no licence in {bills[0]}" for part in parts if not part.get("licenses")]
    return found


def main() -> int:
    """Check the wheel that is named."""
    target, name = sys.argv[1:]
    found = faults(Path(name), target)
    print(
        "\n".join(f"{name}: {fault}" for fault in found)
        or f"{name}: complete, with a bill of its crates and their licences"
    )
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
