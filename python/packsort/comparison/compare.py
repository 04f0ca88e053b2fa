"""`compare`: padding, random packing and greedy packing of the same sequences, side by side."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from packsort import _checks
from packsort._options.choices import ComparedMethod, OnError, OverlongInComparison
from packsort._options.input import InputConfig
from packsort._options.keywords import InputOptions, names
from packsort._options.memory import find_memory_limit
from packsort._progress import Stage, log_stage
from packsort.comparison.advice import LEARNING_RATE, choose_limit
from packsort.comparison.at_length import Counter
from packsort.comparison.config import ComparisonConfig, comparison_config
from packsort.comparison.histograms import length_histogram
from packsort.comparison.inputs import Sequences, given_lengths, is_source, read_sequences
from packsort.comparison.results import ComparisonFigures
from packsort.comparison.tokenized import check_folder
from packsort.sources.files.skipped import count_skipped
from packsort.sources.source import Source, open_source
from packsort.sources.unreadable import open_readable, without_unreadable
from packsort.tokenization.choice import as_choice

_MOST_PACKS_A_SEQUENCE = 2**16


@dataclass(frozen=True, repr=False)
class Comparison(ComparisonFigures):
    """Comparison of padding, random packing and greedy packing. `packsort.compare` returns it.

    `comparison[max_length][method]` has the figures of a method. `print(comparison)` prints its table, as wide as the
    terminal; a notebook shows it with bars.

    Attributes:
        num_sequences: Sequences compared, those that are dropped as too long included.
        num_tokens: Their tokens.
        longest: Tokens of the longest sequence.
        lengths: Histogram of the lengths.
        multi_turn: Number of multi-turn conversations; None where turns are not known.
        batch_size: Packs of one rank in a step.
        world_size: Number of ranks.
        overlong: Treatment of sequences longer than `max_length`.
        seed: Seed of the shuffle.
        model: Model whose costs estimate time.
        at: Figures at each `max_length`, in the order given.
        summary: Which `max_length` to choose, in words; empty where there is one.
        learning_rate: What is known about the learning rate, in words.
        best_length: The `max_length` that `summary` recommends.
        epochs: Epochs of the run.
        num_empty: Sequences left out because they have no tokens.
        window: Window of packing in input order, or None where it was not compared.
        rows_by_split: Rows of each split that was read; empty for lengths.
        skipped: Files of the source that were not read, by reason.
    """

    def __str__(self) -> str:
        """Return the answer, bars and a table, as wide as the terminal."""
        from packsort.comparison.text import render_text

        return render_text(self)

    def _repr_html_(self) -> str:
        """Return the answer, bars and tables as HTML for a notebook."""
        from packsort.comparison.fragment import render_fragment

        return render_fragment(self)

    def to_html(self) -> str:
        """Return a report with plots as one HTML page without references to anything outside itself.

        Raises:
            OptionError: matplotlib or jinja2 is not installed; `packsort[report]` installs both.
        """
        from packsort.comparison.page import render

        return render(self)


def compare(
    source: Any,
    max_length: int | Sequence[int],
    *,
    methods: Sequence[ComparedMethod] | None = None,
    tokenizer: Any = None,
    batch_size: int = 4,
    world_size: int = 8,
    epochs: int = 1,
    turns: Any = None,
    model: Any = "8B",
    seed: int = 0,
    window: int | None = None,
    overlong: OverlongInComparison = "truncate",
    on_error: OnError = "error",
    memory_limit: int | str | None = None,
    tokens: str | os.PathLike[str] | None = None,
    stage: Stage = log_stage,
    **options: Unpack[InputOptions],
) -> Comparison:
    """Compare ways to make training rows of the same sequences, and recommend one (Wang et al., arXiv 2410.08081).

    Time is estimated by `packsort.CostModel`: a sequence of L tokens costs linear * L + quadratic * L**2, padding costs
    as much as tokens, and a step lasts as long as its slowest rank. The estimate leaves out communication, and how well
    small batches use a device.

    Args:
        source: Lengths, as `packsort.plan` takes them; a source with a column `length` or `input_ids`; or, with a
            tokenizer, one with conversations or text.
        max_length: Most tokens of a pack: one limit, or several to compare.
        methods: Methods to compare; `ffd` and `padding` are always among them. None is `ffd`, `random` and the three
            ways to pad.

            - `ffd` (or `greedy`), `bfd`, `optimal`, `in_order`: strategies of `packsort.plan`: whole sequences.
              `optimal` needs `packsort[optimal]`.
            - `hybrid`: that strategy, with single-turn conversations as those that may be cut.
            - `only_single`: single-turn conversations packed as by `ffd`, multi-turn ones alone in a pack, as in the
              paper's code.
            - `random`: sequences shuffled, concatenated and cut at `max_length`. It loses nothing: the last, partly
              filled pack is kept, and a sequence longer than `max_length` continues in the next pack.
            - `padding`: one sequence per pack, padded to the longest of each rank's batch, as trainers do by default.
            - `padding_best`: batches of sequences of like length, as many as fit into `batch_size * max_length` tokens
              with their padding. This is what a careful user without packing does.
            - `padding_fixed`: one sequence per pack, padded to `max_length`.
        tokenizer: A `transformers` tokenizer, its folder or its Hub name, for rows that hold no tokens.
        batch_size: Packs of one rank in a step; for padding, sequences.
        world_size: Ranks that train on different packs.
        epochs: Epochs of the run, in which steps are counted.
        turns: Turns of each conversation as integers, or whether each is multi-turn as booleans, (n,). For a source,
            the name of such a column, of `messages`, or of `labels`, whose runs of tokens with loss are counted. None
            takes `messages` or `labels` where they exist.
        model: Model whose costs estimate time: a size of Llama 3 (`1B`, `3B`, `8B`, `70B`, `405B`), a
            `packsort.CostModel`, or whatever `CostModel.from_config` takes.
        seed: Seed of the shuffle, 0 to 2**64 - 1.
        window: Window of `in_order`, 0 for plain next-fit. A number adds `in_order` to the methods; None is 64 where
            `methods` names it.
        overlong: Treatment of sequences longer than `max_length` in all methods but `random`: `truncate`, `drop`
            (in `random` too), `error`, or `split_turns`, which cuts conversations between turns while they are
            tokenized.
        on_error: `skip` leaves out files that are damaged or may not be read, which otherwise end the call. Damage of
            values that are not read, such as tokens where lengths are known, is not noticed.
        memory_limit: Bytes of memory that the call may take, such as "4GB"; None is half of what the machine and its
            limits (cgroup, ulimit) allow. Only numbers for each sequence are held, unless tokens are kept or cut.
        tokens: Folder that keeps the tokens of files, as for `packsort.write_shards`: with the same folder, tokenizer
            and options of what goes in, it does not tokenize them again. None keeps no tokens.
        stage: Progress reporter, as for `packsort.write_shards`.
        **options: Options of what goes in, as for `packsort.tokenize`: `split`, `columns`, `empty`, `memory_map`,
            `storage_options`, and, with a tokenizer, `loss`, `template_date` and `num_proc`.

    Returns:
        The comparison.

    Raises:
        LengthError: There are no lengths, all are dropped, or one is null, negative, 0 with `empty="error"`,
            or too long with `overlong="error"`.
        OptionError: An option has a value that is not allowed, two contradict each other, or `memory_limit` is too
            small.
        SourceError: The source has no usable column, or none with the name given as `turns`.
        OutputError: Tokens cannot be kept in `tokens`.
        TypeError: A keyword argument is unknown.

    Example:
        >>> import packsort
        >>> found = packsort.compare([3, 5, 2, 2], 7, batch_size=1, world_size=1, turns=[1, 3, 1, 1])
        >>> found
        Comparison(4 sequences, 12 tokens; 7: 4 -> 2 packs)
        >>> found[7]["padding_fixed"].padding_tokens, found[7]["ffd"].padding_tokens
        (16, 2)
    """
    _checks.keywords("compare", options, names(InputOptions) | set(inspect.signature(compare).parameters))
    given = InputConfig(on_error=on_error, **options)
    config = comparison_config(
        max_length,
        methods=methods,
        batch_size=batch_size,
        world_size=world_size,
        epochs=epochs,
        model=model,
        seed=seed,
        window=window,
        overlong=overlong,
        empty=given.empty,
    )
    choice = as_choice(tokenizer)
    given.check_tokenizer(choice)
    folder = None if tokens is None else Path(tokens)
    check_folder(folder, choice)
    limit = find_memory_limit(memory_limit)
    if choice is None and not is_source(source):
        return _compared(given_lengths(source, turns, config.seed), config, stage)

    def read(rows: Source) -> Comparison:
        sequences = read_sequences(
            rows, choice, given, config, turns=turns, tokens=folder, memory_limit=limit, stage=stage
        )
        return _compared(sequences, config, stage)

    opened = open_source(source, given) if choice is None else open_readable(source, given)
    return without_unreadable(opened, given, read)


def _compared(sequences: Sequences, config: ComparisonConfig, stage: Stage) -> Comparison:
    sequences.check_turns(config.methods)
    counters = [Counter(sequences, limit, config, stage) for limit in config.limits]
    sequences.check_lengths(min(config.limits) * _MOST_PACKS_A_SEQUENCE if config.overlong == "truncate" else 2**40)
    found = []
    with stage("comparing", total=len(counters), unit="lengths") as advance:
        for counter in counters:
            found.append(counter.count())
            advance(1)
    at = tuple(found)
    filled = sequences.filled
    lengths = sequences.lengths[filled]
    flags, source = sequences.multi_turn, sequences.source
    best_length, summary = choose_limit(at, int(lengths.sum()))
    return Comparison(
        num_sequences=len(lengths),
        num_tokens=int(lengths.sum()),
        longest=int(lengths.max()),
        lengths=length_histogram(lengths),
        multi_turn=None if flags is None else int(flags[filled].sum()),
        batch_size=config.batch_size,
        world_size=config.world_size,
        overlong=config.overlong,
        seed=config.seed,
        model=config.model,
        at=at,
        summary=summary,
        learning_rate=LEARNING_RATE,
        best_length=best_length,
        epochs=config.epochs,
        num_empty=int(len(filled) - filled.sum()),
        window=config.window,
        rows_by_split={} if source is None else dict(source.rows_by_split),
        skipped=() if source is None else count_skipped(source.skipped),
    )
