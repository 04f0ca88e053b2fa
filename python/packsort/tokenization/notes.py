"""Facts about tokenized rows that a user should know, as identifiers with numbers, and the words for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

NoteKind = Literal[
    "form",
    "other_forms",
    "template_date",
    "template_tokens_in_letters",
    "completions_judged",
    "parts_joined",
    "parts_made",
    "tool_arguments_parsed",
    "tool_arguments_as_text",
    "tool_arguments_kept",
    "tool_calls_not_written",
    "tools_not_written",
    "words_not_written",
    "messages_not_written",
    "messages_without_loss",
    "end_of_turn_without_loss",
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
    "text",
]
"""Subject of a note. `text` is a sentence from a manifest of an older version."""

_WORDS: dict[NoteKind, str] = {
    "form": "read as {form_name}: {columns} -> {becomes}",
    "other_forms": "read from {columns}, though {others} would do as well; a column that is mapped comes first",
    "template_tokens_in_letters": "the tokenizer has split_special_tokens set, so it reads the special tokens of the "
    "chat template, such as the end of a turn, as letters",
    "template_date": "the chat template writes a date, here {date}",
    "completions_judged": "the booleans in column `label` are not read: completions of rows where it is false, bad "
    "ones in data for KTO, are trained on as well",
    "parts_joined": "in {number:,} messages the parts of the content are joined by line feeds, because the chat "
    "template takes no parts",
    "parts_made": "in {number:,} messages the content is given to the chat template as a part, because it does not "
    "write text alone",
    "tool_arguments_parsed": "in {number:,} tool calls the arguments are JSON text, and given to the chat template as "
    "objects, because it does not write the text as an object",
    "tool_arguments_as_text": "in {number:,} tool calls the arguments are objects, and given to the chat template as "
    "JSON text, because it refuses objects",
    "tool_arguments_kept": "in {number:,} tool calls the arguments are text that is no JSON object, and stay text",
    "tool_calls_not_written": "in {number:,} conversations the chat template does not write the tool calls",
    "tools_not_written": "in {number:,} conversations the chat template does not write the tools",
    "words_not_written": "in {number:,} conversations the chat template leaves out or rewrites words of the "
    "assistant, such as reasoning in earlier turns",
    "messages_not_written": "the chat template leaves out or rewrites {number:,} messages of {roles}",
    "end_of_turn_without_loss": "in {number:,} conversations no token that ends the assistant's last turn carries "
    "loss, so a model does not learn to stop",
    "messages_without_loss": "{number:,} messages of the assistant carry no loss, because their rows say so",
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
    "text": "{text}",
}

_OF_HARM: frozenset[NoteKind] = frozenset(
    {
        "completions_judged",
        "tool_calls_not_written",
        "tools_not_written",
        "words_not_written",
        "messages_not_written",
        "tool_arguments_kept",
        "template_tokens_in_letters",
        "end_of_turn_without_loss",
        "no_end_of_sequence",
        "bos_repeated",
        "bos_in_letters",
    }
)

_FORMS = {
    "openai": "rows for OpenAI's fine-tuning",
    "json_messages": "messages in JSON text",
    "sharegpt": "ShareGPT",
    "conversations": "conversations",
    "prompt_response": "prompts and responses",
    "alpaca": "Alpaca",
    "instruction_response": "instructions and responses",
    "question_answer": "questions and answers",
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

    @property
    def of_harm(self) -> bool:
        """Whether a model may learn something else than its user meant."""
        return self.kind in _OF_HARM

    def __str__(self) -> str:
        form_name = _FORMS.get(str(self.values.get("form")))
        return _WORDS[self.kind].format_map({**self.values, "form_name": form_name})

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


# Notes that count messages, calls or conversations, and no more.
_COUNTED: tuple[NoteKind, ...] = (
    "parts_joined",
    "parts_made",
    "tool_arguments_parsed",
    "tool_arguments_as_text",
    "tool_arguments_kept",
    "end_of_turn_without_loss",
    "tool_calls_not_written",
    "tools_not_written",
    "words_not_written",
    "messages_without_loss",
)


def counted_notes(noted: Mapping[NoteKind, int], unwritten: Mapping[str, int]) -> list[Note]:
    """Return the notes of counts above 0.

    Args:
        noted: Counts by kind of note.
        unwritten: Number of messages that the chat template does not write as they are, by role.

    Example:
        >>> [note.kind for note in counted_notes({"parts_made": 2, "parts_joined": 0}, {"system": 1})]
        ['parts_made', 'messages_not_written']
    """
    notes = [Note(kind, {"number": noted[kind]}) for kind in _COUNTED if noted.get(kind)]
    if unwritten:
        roles = ", ".join(f"`{role}`" for role in unwritten)
        notes.append(Note("messages_not_written", {"number": sum(unwritten.values()), "roles": roles}))
    return notes


def joined_notes(made: Iterable[Note], cut: Iterable[Note]) -> tuple[Note, ...]:
    """Join the notes of two passes over the same rows.

    Args:
        made: Notes of the pass that tokenized them.
        cut: Notes of the pass that cut them. Conversations rendered in both passes add up; of other kinds that both
            have, those of the first pass count, which has seen all rows.

    Example:
        >>> one, other = (Note("turns_by_contents", {"conversations": count}) for count in (3, 1))
        >>> joined_notes([one], [other])[0].values["conversations"]
        4
    """
    joined = {note.kind: note for note in made}
    for note in cut:
        before = joined.setdefault(note.kind, note)
        if note.kind == "turns_by_contents" and before is not note:
            counts = (int(one.values["conversations"]) for one in (before, note))
            joined[note.kind] = Note(note.kind, {"conversations": sum(counts)})
    return tuple(joined.values())
