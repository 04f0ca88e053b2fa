"""Write THIRD-PARTY-LICENSES.txt, the licences of the crates in the wheels: `python wheels/licences.py`, in the root.

Apache-2.0, the licence of packsort, is chosen wherever a crate offers it. It asks for its own text, which LICENSE has,
and for the notices of a crate. Other licences ask for their text with the names of the copyright holders. Texts are
those that cargo downloaded with the crates. `wheels/check.py` compares the crates of a wheel with this file.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FILE = "THIRD-PARTY-LICENSES.txt"
# A phrase that the text of a licence has, in the order in which licences are chosen.
PHRASES = {
    "Apache-2.0": "Apache License",
    "MIT": "Permission is hereby granted, free of charge",
    "BSD-2-Clause": "Redistribution and use in source and binary forms",
    "BSD-3-Clause": "may be used to endorse or promote",
}
HEAD = """\
Licences of the code of others that is compiled into the wheels of packsort
Made by wheels/licences.py

The crates below are in the compiled module, `packsort/_core`. Where a crate offers a choice of licences, the one named
here is chosen. The text of Apache-2.0 is in LICENSE, the licence of packsort itself. The Rust standard library is in
it too, under Apache-2.0, with tables of Unicode under Unicode-3.0. Packages of Python are not in the wheel.
"""


@dataclass(frozen=True)
class Crate:
    """A crate that is compiled in: name, version, licences chosen, and where its files are."""

    name: str
    version: str
    licences: tuple[str, ...]
    folder: Path

    def texts(self) -> Iterator[str]:
        """Yield the texts that have to go with the crate: notices, and licences other than Apache-2.0."""
        for path in sorted(self.folder.rglob("*")):
            if re.match(r"(licen[cs]e|copying|notice)", path.name, re.IGNORECASE) and path.is_file():
                text = path.read_text("utf-8")
                licence = next((name for name, phrase in reversed(PHRASES.items()) if phrase in text), "")
                if path.name.lower().startswith("notice") or licence in set(self.licences) - {"Apache-2.0"}:
                    yield tidy(text)


def main() -> int:
    """Write the file."""
    crates = compiled_in()
    texts: dict[str, list[str]] = {}
    for crate in crates:
        found = set(crate.texts())
        if set(crate.licences) != {"Apache-2.0"} and not found:
            print(f"{crate.name} {crate.version} has no text of {' and '.join(crate.licences)}", file=sys.stderr)
            return 1
        for text in sorted(found):
            texts.setdefault(text, []).append(crate.name)
    unicode = next(Path(package["manifest_path"]) for package in metadata() if package["name"] == "unicode-ident")
    texts[tidy(unicode.with_name("LICENSE-UNICODE").read_text("utf-8"))] = ["the Rust standard library"]
    listed = "".join(f"{crate.name} {crate.version}: {' and '.join(crate.licences)}\n" for crate in crates)
    parts = [f"{HEAD}\n{listed}", *(f"{', '.join(names)}\n\n{text}" for text, names in texts.items())]
    Path(FILE).write_text(f"\n{'-' * 80}\n\n".join(parts), "utf-8", newline="\n")
    return 0


def compiled_in() -> list[Crate]:
    """Return the crates in the wheels of the platforms that deny.toml names, without those that run at build time."""
    targets = tomllib.loads(Path("deny.toml").read_text("utf-8"))["graph"]["targets"]
    tree = ["cargo", "tree", "--locked", "--package", "packsort-py", "--edges", "normal,no-proc-macro"]
    tree += ["--prefix", "none", "--format", "{p}"]
    lines = [line for target in targets for line in run(*tree, "--target", target).splitlines() if line]
    names = {(line.split()[0], line.split()[1].removeprefix("v")) for line in lines}
    packages = {(package["name"], package["version"]): package for package in metadata()}
    found = [packages[name] for name in sorted(names) if packages[name]["source"]]
    return [Crate(p["name"], p["version"], chosen(p["license"]), Path(p["manifest_path"]).parent) for p in found]


def chosen(expression: str) -> tuple[str, ...]:
    """Return the licences that are chosen of an SPDX expression.

    Example:
        >>> chosen("MIT OR Apache-2.0"), chosen("Apache-2.0 AND MIT"), chosen("Unlicense/MIT")
        (('Apache-2.0',), ('Apache-2.0', 'MIT'), ('MIT',))
    """
    parts = [set(re.split(r" OR |/", part.strip("()"))) for part in expression.split(" AND ")]
    return tuple(next(name for name in PHRASES if name in part) for part in parts)


def metadata() -> list[dict[str, str]]:
    """Return what cargo knows of each package."""
    found: list[dict[str, str]] = json.loads(run("cargo", "metadata", "--locked", "--format-version", "1"))["packages"]
    return found


def tidy(text: str) -> str:
    """Return a text without blanks at the ends of its lines, and with one line break at its end."""
    return "\n".join(line.rstrip() for line in text.strip("\r\n").splitlines()) + "\n"


def run(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
