"""Facts about tokenized rows that a user should know, as identifiers with numbers, and the words for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

NoteKind = Literal[
    "no_end_of_sequence",
    "turns_by_contents",
    "bos_in_text",
    "bos_repeated",
    "bos_in_letters",
    "eos_in_text",
    "eos_in_letters",
    "merged_prompts",
    "split_conversations",
    "turns_left_out",
    "other_files",
    "text",
]
"""Subject of a note. `text` is a sentence from a manifest of an older version."""

_WORDS: dict[NoteKind, str] = {
    "no_end_of_sequence": "the tokenizer has no end-of-sequence token, so none is appended",
    "turns_by_contents": "in {conversations:,} conversations the chat template renders a turn otherwise once others "
    "follow; the assistant's turns are found by their contents",
    "bos_in_text": "{sequences:,} texts begin with `{token}` themselves; the tokenizer's own is not added to them",
    "bos_repeated": "{sequences:,} texts begin with `{token}` more than once, and stay so",
    "bos_in_letters": "{sequences:,} texts begin with `{token}`, which the tokenizer reads as letters, not as a token",
    "eos_in_text": "{sequences:,} texts end with `{token}` themselves; none is appended to them",
    "eos_in_letters": "{sequences:,} texts end with `{token}`, which the tokenizer reads as letters, not as a token; "
    "the token is appended",
    "merged_prompts": "in {sequences:,} sequences the prompt alone has other tokens than the start of the sequence; "
    "loss starts at the first token that differs",
    "split_conversations": "{conversations:,} conversations of more than {max_tokens:,} tokens are cut between turns "
    "into {windows:,} windows",
    "turns_left_out": "{turns:,} turns are left out because each has more than {max_tokens:,} tokens with the system "
    "prompt: {rows_shortened:,} conversations lose some of their turns, {rows_left_out:,} lose all "
    "({tokens:,} tokens)",
    "other_files": "folder `{folder}` also holds {others:,} data files that this call did not write, such as `{name}`",
    "text": "{text}",
}


@dataclass(frozen=True)
class Note:
    """One fact that a user should know; `str` renders it in words.

    Attributes:
        kind: Subject of the note.
        values: Numbers and names that belong to it, by name.

    Example:
        >>> print(Note("merged_prompts", {"sequences": 3}))
        in 3 sequences the prompt alone has other tokens than the start of the sequence; loss starts at the first token
        that differs
    """

    kind: NoteKind
    values: Mapping[str, int | str] = field(default_factory=dict)

    def __str__(self) -> str:
        return _WORDS[self.kind].format_map(self.values)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any] | str) -> Note:
        """Return the note that a file holds: an object, or the sentence of an older version.

        Raises:
            KeyError: The object lacks a key.
            ValueError: There is no such kind of note.

        Example:
            >>> Note.from_json({"kind": "merged_prompts", "values": {"sequences": 3}}).values["sequences"]
            3
        """
        if isinstance(facts, str):
            return cls("text", {"text": facts})
        if facts["kind"] not in get_args(NoteKind):
            raise ValueError(f"unknown note {facts['kind']!r}")
        return cls(facts["kind"], dict(facts["values"]))
