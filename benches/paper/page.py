"""Write the figures of docs/paper.md from the raw results in docs/paper.

    packsort tokenize CHATS... -o tokens --tokenizer DIR --keep source
    packsort experiment tokens --study docs/paper/batch.toml -o paper/batch    # and so on
    python benches/paper/page.py --collect paper    # docs/paper/batch.jsonl and so on
    python benches/paper/page.py                    # tables and plots

Studies may be unfinished: the page says how many of their runs there are.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sections import SECTIONS

from packsort.experiment.groups import group_runs
from packsort.experiment.records import Run
from packsort.experiment.studies import load_study

DOCS = Path(__file__).parents[2] / "docs"
RAW = DOCS / "paper"


def main() -> None:
    """Collect raw results, or write the page."""
    if sys.argv[1:2] == ["--collect"]:
        for name in SECTIONS:
            path = Path(sys.argv[2]) / name / "results.jsonl"
            if path.exists():
                (RAW / f"{name}.jsonl").write_bytes(path.read_bytes())
        return
    page = (DOCS / "paper.md").read_text()
    for name, section in SECTIONS.items():
        before, _, rest = page.partition(f"<!-- {name} -->\n")
        _, _, after = rest.partition("<!-- end -->")
        page = f"{before}<!-- {name} -->\n{text_of(name, section)}<!-- end -->{after}"
    (DOCS / "paper.md").write_text(page)


def text_of(name: str, section: object) -> str:
    """Return what a study comes to, and how much of it is there."""
    planned = load_study(RAW / f"{name}.toml").runs
    path = RAW / f"{name}.jsonl"
    runs = [Run.from_line(line) for line in path.read_text().splitlines()] if path.exists() else []
    by_key = {run.settings.key: run for run in runs}
    found = group_runs([by_key[one.key] for one in planned if one.key in by_key])
    seeds = {len(group.runs) for group in found}
    note = f"{len(by_key):,} of {len(planned):,} runs are finished"
    if seeds:
        count = f"{min(seeds)} to {max(seeds)}" if len(seeds) > 1 else f"{max(seeds)}"
        note += f", with {count} seed{'s' if max(seeds) > 1 else ''} each"
    body = section(found, RAW) if found else ""  # type: ignore[operator]
    return f"\n{note}.\n\n{body}\n\n" if body else f"\n{note}.\n\n"


if __name__ == "__main__":
    main()
