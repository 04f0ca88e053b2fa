"""Pack tokenized sequences for supervised fine-tuning.

- `plan` decides which sequences share a pack, on the histogram of their lengths; `load_plan` reads a saved `Plan`.
- `plan_counts` does so for billions of sequences, from the counts of their lengths alone.
- `tokenize` and `write_tokens` turn conversations and text into tokens and labels.
- `pack` and `write_shards` put the tokens of each pack together, in memory or in files.
- `open_shards` reads packed files, `verify` proves that they hold their source, `export` writes for other trainers.
- `compare` puts padding, random packing and greedy packing side by side; `schedule` gives every rank the same work.
- `packsort.torch` makes batches for a training loop; `packsort.hf` packs Hugging Face datasets.
- `packsort.errors`, `packsort.options` and `packsort.schema` hold the exceptions, option types and names.
"""

__all__ = [
    "Comparison",
    "CostModel",
    "CountedPlan",
    "DamagedError",
    "IsolationError",
    "LengthError",
    "LengthTypeError",
    "Manifest",
    "OptionError",
    "OutputError",
    "OutputExistsError",
    "PacksortError",
    "Plan",
    "Schedule",
    "Shards",
    "SourceError",
    "SourceNotFoundError",
    "Tokenization",
    "TokenizedFiles",
    "TokenizerError",
    "Verification",
    "__version__",
    "compare",
    "errors",
    "export",
    "load_plan",
    "open_shards",
    "options",
    "pack",
    "plan",
    "plan_counts",
    "schedule",
    "schema",
    "tokenize",
    "verify",
    "write_shards",
    "write_tokens",
]

# Names are imported when they are first asked for. `__init__.pyi` declares them for editors and type checkers.
_MODULES = {"errors", "options", "schema"}
_LAZY = {
    "DamagedError": "packsort.errors",
    "IsolationError": "packsort.errors",
    "LengthError": "packsort.errors",
    "LengthTypeError": "packsort.errors",
    "OptionError": "packsort.errors",
    "OutputError": "packsort.errors",
    "OutputExistsError": "packsort.errors",
    "PacksortError": "packsort.errors",
    "SourceError": "packsort.errors",
    "SourceNotFoundError": "packsort.errors",
    "TokenizerError": "packsort.errors",
    "CountedPlan": "packsort.planning.counted",
    "Plan": "packsort.planning.plan",
    "__version__": "packsort._core",
    "load_plan": "packsort.planning.plan",
    "plan": "packsort.planning.build",
    "plan_counts": "packsort.planning.counted",
    "Comparison": "packsort.comparison.compare",
    "CostModel": "packsort.balance.costs",
    "Manifest": "packsort.shards.manifest",
    "Schedule": "packsort.balance.schedule",
    "Shards": "packsort.shards.reader",
    "Tokenization": "packsort.tokenization.tokenize",
    "TokenizedFiles": "packsort.tokenization.files",
    "Verification": "packsort.shards.verify",
    "compare": "packsort.comparison.compare",
    "export": "packsort.shards.export",
    "open_shards": "packsort.shards.reader",
    "pack": "packsort.gathering.pack",
    "schedule": "packsort.balance.schedule",
    "tokenize": "packsort.tokenization.tokenize",
    "verify": "packsort.shards.verify",
    "write_shards": "packsort.shards.writer",
    "write_tokens": "packsort.tokenization.files",
}


def __getattr__(name):
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module 'packsort' has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


def _is_command() -> bool:
    """Return whether this process is the command line, from what it was started with."""
    from sys import orig_argv

    return any(argument.replace("\\", "/").rpartition("/")[2] == "packsort" for argument in orig_argv[1:3])


# A program plans once, so its first plan should not wait for imports. The command line handles signals first.
if not _is_command():
    from packsort.planning.build import plan
    from packsort.planning.plan import Plan, load_plan
