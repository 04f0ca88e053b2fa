"""`packsort completion`: scripts that complete commands and options in a shell, by the library argcomplete."""

from __future__ import annotations

import argparse

from packsort.cli.options import add_json
from packsort.cli.parser import REQUIRED, Subparsers, add_command, group
from packsort.cli.results import say_result


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "completion",
        usage="SHELL",
        help="print a script that completes commands and options in a shell",
        description="Print a script that completes commands, options, choices and names of files. The shell runs it as "
        "it starts: write one of the lines below into ~/.bashrc, or into ~/.zshrc behind `compinit`; for fish, into "
        "~/.config/fish/config.fish.",
        examples=(
            'eval "$(packsort completion bash)"',
            'eval "$(packsort completion zsh)"',
            "packsort completion fish | source",
        ),
    )
    group(parser, REQUIRED).add_argument(
        "shell", choices=("bash", "zsh", "fish"), metavar="SHELL", help="bash, zsh or fish"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from argcomplete.shell_integration import shellcode

    script = shellcode(["packsort"], shell=args.shell, use_defaults=False)
    if args.json:
        say_result(args, {"shell": args.shell, "script": script})
    else:
        print(script)
    return 0


def complete(parser: argparse.ArgumentParser) -> None:
    """Tell the shell what may come next, and end the process.

    Args:
        parser: Parser of all commands.
    """
    import argcomplete

    for commands in parser._actions:
        for command in (commands.choices or {}).values() if isinstance(commands.choices, dict) else ():
            for action in command._actions:
                if action.type is not None and action.choices is None:  # a number, or a text that names no file
                    action.completer = lambda **_: ()
    argcomplete.autocomplete(parser)
