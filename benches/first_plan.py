"""Time `import packsort` and the first plan of a process, each in fresh processes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from bench import Figure, arguments, lognormal, show, write_json

import packsort

COUNT = 10**6
# Milliseconds that each may take.
MOST = {"import packsort": 100, "first plan": 15}
# A program that has its lengths already, so NumPy is imported before the clock starts.
PROGRAM = f"""
import json, sys, time
from bench import lognormal
lengths = lognormal({COUNT}, 350)
start = time.perf_counter()
import packsort
imported = time.perf_counter()
plan = packsort.plan(lengths, 8192)
ids = plan.sequence_ids
first = time.perf_counter()
again = packsort.plan(lengths, 8192)
again.sequence_ids
second = time.perf_counter()
assert again == plan
times = {{"first plan": first - imported, "second plan": second - first}}
print(json.dumps({{"times": times, "plan": plan.fingerprint, "pandas": "pandas" in sys.modules}}))
"""
IMPORT = "import time; start = time.perf_counter(); import packsort; print(time.perf_counter() - start)"


def python(program: str) -> str:
    here = __file__.rpartition("/")[0]
    done = subprocess.run([sys.executable, "-c", program], cwd=here, capture_output=True, text=True, check=True)
    return done.stdout


def run(rounds: int) -> list[Figure]:
    plan = packsort.plan(lognormal(COUNT, 350), 8192)
    times: dict[str, list[float]] = {}
    python(PROGRAM)  # fills the file cache
    for _ in range(rounds):
        times.setdefault("import packsort", []).append(1e3 * float(python(IMPORT)))
        found = json.loads(python(PROGRAM))
        assert found["plan"] == plan.fingerprint
        assert not found["pandas"]
        for way, seconds in found["times"].items():
            times.setdefault(way, []).append(1e3 * seconds)
    medians = {way: statistics.median(each) for way, each in times.items()}
    return [
        Figure(
            case="first_plan/1e6/lognormal",
            way=way,
            milliseconds=median,
            fastest=min(times[way]),
            per_second=COUNT / median / 1e3,
            ratio=median / medians["second plan"],
            note=f"{MOST[way]} ms allowed" if way in MOST else "",
        )
        for way, median in medians.items()
    ]


def main() -> int:
    args = arguments(__doc__).parse_args()
    figures = run(args.rounds or 15)
    show(figures, "sequences")
    write_json(figures, args.json)
    return int(any(figure.milliseconds > MOST.get(figure.way, float("inf")) for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
