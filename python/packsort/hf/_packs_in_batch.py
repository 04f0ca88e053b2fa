"""Compare a batch with the packs that it was made of: whole, with their boundaries, and with their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packsort.errors import IsolationError, OptionError
from packsort.schema import ATTENTION_MASK, INPUT_IDS, LABELS, NO_LOSS, POSITION_IDS, SEQ_LENGTHS
from packsort.torch._isolation.segments import TOKENS, number_segments

_SHIFTED = "shift_labels"
_Ints = NDArray[np.int64]


@dataclass(frozen=True)
class _Sequence:
    """A sequence of a pack, or a segment of a batch.

    Attributes:
        tokens: int64 (tokens,).
        labels: Unshifted labels, int64 (tokens,); None where the batch has no labels that can be compared.
        leads: Whether it starts a row of a batch, so that no token predicts its first label.
        position: Position of its first token; 0 where the batch has no positions.
    """

    tokens: _Ints
    labels: _Ints | None
    leads: bool = False
    position: int = 0


def check_packs(batch: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], way_out: str, *, as_one: bool) -> None:
    """Check that a batch holds the sequences of its packs, each for itself and with its labels.

    Args:
        batch: A batch of any layout or collator.
        rows: The packs that it was made of.
        way_out: What to do about a wrong batch.
        as_one: Whether a pack is meant to be one segment, as with `attention="pack"`.

    Raises:
        IsolationError: Packs are cut, or boundaries or labels are lost.
    """
    expected = [one for number, row in enumerate(rows) for one in _sequences(row, number, way_out, as_one=as_one)]
    if not any(name in batch for name in TOKENS):
        given = ", ".join(f"`{name}`" for name in batch)
        raise IsolationError(f"tokens are lost (the first batch has no `{INPUT_IDS}`, only {given}): {way_out}")
    found = _segments(batch) or _rows_as_segments(batch)
    pairs, position = [], 0
    for segment in found:
        if position < len(expected) and _begins_with(segment, expected[position]):
            pairs.append((expected[position], segment))
            position += 1
        elif segment.labels is None or (segment.labels != NO_LOSS).any():
            break  # neither the next sequence nor padding
    if position < len(expected):
        there, meant = (sum(len(one.tokens) for one in several) for several in (found, expected))
        if there < meant:
            raise IsolationError(
                f"packs are cut (the first batch holds {there:,} of the {meant:,} tokens of its "
                f"{_count(len(rows), 'pack')}): {way_out}"
            )
        raise _lost_boundaries(len(rows), len(expected), f"it has {_count(len(found), 'segment')}", way_out)
    if moved := sum(segment.position != 0 for _, segment in pairs):
        what = f"positions do not start at 0 in {moved:,} of them"
        raise _lost_boundaries(len(rows), len(expected), what, way_out)
    if LABELS not in batch and _SHIFTED not in batch:
        raise IsolationError(f"labels are lost (the first batch has no `{LABELS}`): {way_out}")
    _check_labels(pairs, way_out)


def check_boundaries(batch: Mapping[str, Any], way_out: str) -> None:
    """Check that a batch of rows that are not known tells where sequences start, and has labels.

    Raises:
        IsolationError: It does not.
    """
    if _segments(batch) is None:
        given = ", ".join(f"`{name}`" for name in batch)
        raise IsolationError(f"nothing in the first batch tells where sequences start (it has only {given}): {way_out}")
    if LABELS not in batch and _SHIFTED not in batch:
        raise IsolationError(f"labels are lost (the first batch has no `{LABELS}`): {way_out}")


def _sequences(row: Mapping[str, Any], number: int, way_out: str, *, as_one: bool) -> list[_Sequence]:
    """Return the sequences of a pack, and its separators and padding, which are segments as well."""
    tokens = _ints(row[INPUT_IDS])
    labels = _ints(row[LABELS]) if LABELS in row else tokens
    lengths = _ints(row[SEQ_LENGTHS])
    if lengths.sum() != len(tokens) or len(labels) != len(tokens):
        raise IsolationError(
            f"packs are cut (pack {number} of the first batch has {len(tokens):,} of its {int(lengths.sum()):,} "
            f"tokens): {way_out}"
        )
    starts = np.cumsum(lengths) - lengths
    labels = labels.copy()
    labels[starts[lengths > 0]] = NO_LOSS
    if as_one:
        return [_Sequence(tokens, labels)]
    ends = starts + lengths
    return [_Sequence(tokens[a:b], labels[a:b]) for a, b in zip(starts, ends, strict=True) if b > a]


def _segments(batch: Mapping[str, Any]) -> list[_Sequence] | None:
    """Return the segments of a batch without the padding of rows, or None if nothing tells them."""
    try:
        return _cut(batch, _ints(number_segments(batch)))
    except OptionError:
        return None


def _rows_as_segments(batch: Mapping[str, Any]) -> list[_Sequence]:
    """Return the rows of a batch that tells no segments, which is right for packs of one sequence."""
    tokens = _tokens(batch)
    numbers = np.broadcast_to(np.arange(len(tokens))[:, None], tokens.shape)
    mask = batch.get(ATTENTION_MASK)
    if getattr(mask, "shape", None) == tokens.shape:
        numbers = np.where(_ints(mask) > 0, numbers, -1)
    return _cut(batch, numbers)


def _tokens(batch: Mapping[str, Any]) -> _Ints:
    return np.atleast_2d(_ints(batch[next((name for name in TOKENS if name in batch), INPUT_IDS)]))


def _cut(batch: Mapping[str, Any], numbers: _Ints) -> list[_Sequence]:
    """Cut a batch into segments.

    Args:
        batch: The batch.
        numbers: Segment of each token, int64 (rows, tokens); -1 for padding.
    """
    tokens = _tokens(batch)
    shifted = LABELS not in batch
    given = batch.get(_SHIFTED if shifted else LABELS)
    # Other layouts have other names for tokens, and shifted labels under the name `labels`.
    labels = None if given is None or INPUT_IDS not in batch else _ints(given).reshape(tokens.shape)
    if labels is not None and shifted:
        labels = np.concatenate([np.full((len(labels), 1), NO_LOSS), labels[:, :-1]], 1)
    width = tokens.shape[1]
    flat = numbers.ravel()
    # A row of its own starts a segment too: numbers may go on from one row to the next.
    edges = np.flatnonzero((np.diff(flat, prepend=flat[0] - 1) != 0) | (np.arange(len(flat)) % width == 0))
    positions = _ints(batch[POSITION_IDS]).ravel() if POSITION_IDS in batch else np.zeros_like(flat)
    found = []
    for start, end in zip(edges, [*edges[1:], len(flat)], strict=True):
        if flat[start] >= 0:
            own = None if labels is None else labels.ravel()[start:end]
            found.append(_Sequence(tokens.ravel()[start:end], own, start % width == 0, int(positions[start])))
    return found


def _begins_with(segment: _Sequence, expected: _Sequence) -> bool:
    """Tell whether a segment is a sequence, perhaps with padding after it."""
    count = len(expected.tokens)
    padding = segment.labels[count:] if segment.labels is not None else segment.tokens[:0]
    return bool(np.array_equal(segment.tokens[:count], expected.tokens) and (padding == NO_LOSS).all())


def _check_labels(pairs: Sequence[tuple[_Sequence, _Sequence]], way_out: str) -> None:
    trained = lost = added = crossing = other = 0
    for expected, segment in pairs:
        if expected.labels is None or segment.labels is None:
            return
        meant, found = expected.labels, segment.labels[: len(expected.labels)].copy()
        if segment.leads:
            found[0] = NO_LOSS
        crossing += int(found[0] != NO_LOSS)
        meant, found = meant[1:], found[1:]
        trained += int((meant != NO_LOSS).sum())
        lost += int(((found == NO_LOSS) & (meant != NO_LOSS)).sum())
        added += int(((found != NO_LOSS) & (meant == NO_LOSS)).sum())
        other += int(((found != meant) & (found != NO_LOSS) & (meant != NO_LOSS)).sum())
    if crossing:
        raise IsolationError(
            f"first tokens are predicted from another sequence (the first batch has labels at {crossing:,} of them): "
            f"{way_out}"
        )
    for count, what in (
        (lost, f"labels are lost (the first batch lacks {lost:,} of {trained:,})"),
        (added, f"labels are lost (the first batch trains {added:,} tokens that carry no loss in the packs)"),
        (other, f"labels are lost (the first batch has {other:,} others than the packs)"),
    ):
        if count:
            raise IsolationError(f"{what}: {way_out}")


def _lost_boundaries(packs: int, sequences: int, what: str, way_out: str) -> IsolationError:
    return IsolationError(
        f"boundaries of sequences are lost (the first batch is of {_count(packs, 'pack')} with "
        f"{_count(sequences, 'sequence')}, and {what}): {way_out}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _ints(values: Any) -> _Ints:
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values).astype(np.int64)
