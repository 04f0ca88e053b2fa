"""The command line: `packsort <command>`.

- `entry`, `interrupts`: signals, from the first moment on.
- `frame`: the frame that commands share: arguments in, exit status out, errors and hints on stderr.
- `parser`: what parsers of commands share: groups, examples, errors. `options`: arguments of several commands,
  `plan_options` those of plans, `tokenizer` those that choose a tokenizer. `sizes`: numbers such as 8k.
- `hints`: the command-line option for each Python option that an error names.
- `output`: printing, in which nothing that comes from elsewhere commands the terminal. `console`: tables.
- `results`: results and errors as JSON, in the form of docs/schema-1.json. `config`: options from a TOML file;
  `config_text`: those of a packed directory as such a file.
- `stopwatch`, `progress`, `bar`: the time of each stage, and its progress. `logs`: the logger `packsort` on stderr.
- `text`: numbers and pairs as a person reads them.
- `decoded`: text of tokens, with marks around what carries loss.
- `pack`, `tokenize`, `plan`, `compare`, `inspect`, `verify`, `check`, `export`, `experiment`, `completion`: one module
  per command; `inspect_packs` and `inspect_rows` show what `inspect` was asked for.
"""

from packsort.cli.entry import main

__all__ = ["main"]
