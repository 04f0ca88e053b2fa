"""The command line: `packsort <command>`.

- `entry`, `interrupts`: signals, from the first moment on.
- `frame`: the frame that commands share: arguments in, exit status out, errors and hints on stderr.
- `parser`: what parsers of commands share: groups, examples, errors. `options`: arguments of several commands,
  `plan_options` those of plans, `tokenizer` those that choose a tokenizer. `sizes`: numbers such as 8k.
- `hints`: the command-line option for each Python option that an error names.
- `output`: printing, in which nothing that comes from elsewhere commands the terminal. `console`: tables.
- `stopwatch`, `progress`: the time of each stage, and its progress bar.
- `text`: numbers and pairs as a person reads them.
- `decoded`: text of tokens, with marks around what carries loss.
- `pack`, `tokenize`, `plan`, `compare`, `inspect`, `verify`, `check`, `export`, `completion`: one module per command;
  `inspect_rows` is `inspect --rows`.
"""

from packsort.cli.entry import main

__all__ = ["main"]
