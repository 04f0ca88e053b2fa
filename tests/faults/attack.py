"""`make faults`: every fault at every system call of every command, and one line for each command.

With `--without-exchange`, as on a file system that cannot exchange two names.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.commits import COMMANDS, FAULTS, Server, Trial, memory


def main() -> int:
    arguments = sys.argv[1:]
    exchange = "--without-exchange" not in arguments
    wanted = [one for one in arguments if one != "--without-exchange"] or list(COMMANDS)
    total = 0
    with tempfile.TemporaryDirectory(dir=memory()) as name, Server(Path(name), exchange=exchange) as server:
        for index, command in enumerate(wanted):
            (folder := Path(name, str(index))).mkdir()
            trial = Trial(server, COMMANDS[command], folder)
            found: list[str] = []
            counts = dict.fromkeys(FAULTS, 0)
            for fault in FAULTS:
                for at in range(1, trial.calls + 1):
                    wrong = trial.broken(fault, at)
                    counts[fault] += trial.reached
                    if wrong:
                        found.append(wrong)
                        print(f"BROKEN {wrong}", file=sys.stderr)
            each = ", ".join(f"{number} {fault}" for fault, number in counts.items())
            print(f"{command}: {trial.calls} calls, {each}: {len(found)} broken", flush=True)
            total += len(found)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
