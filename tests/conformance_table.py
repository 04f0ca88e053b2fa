"""Print which method finds the assistant's turns, for each of TRL's stock templates: the table of `docs/loss.md`.

python tests/conformance_table.py
"""

from __future__ import annotations

import json

import pyarrow as pa

import packsort
from chat_templates import stock_templates, tokenizer_of
from packsort.tokenization.loss import LossRule

ASKED, THANKED = {"role": "user", "content": "What is it?"}, {"role": "user", "content": "And then?"}
TREE, FALLS = {"role": "assistant", "content": "A tree."}, {"role": "assistant", "content": "It falls."}
CALL = {"type": "function", "function": {"name": "look", "arguments": {"at": "tree"}}}
CALLS = {"role": "assistant", "content": "", "tool_calls": [CALL]}
CONVERSATIONS = {
    "one turn": [ASKED, TREE],
    "two turns": [ASKED, TREE, THANKED, FALLS],
    "system": [{"role": "system", "content": "Be brief."}, ASKED, TREE, THANKED, FALLS],
    "reasoning": [ASKED, {**TREE, "reasoning_content": "Leaves."}, THANKED, {**FALLS, "reasoning_content": "Old."}],
    "tool call": [ASKED, CALLS, {"role": "tool", "name": "look", "content": "green"}, TREE],
}
_WORDS = {LossRule.GENERATION: "marks", LossRule.TRAINING_TEMPLATE: "TRL"}


def method(template: str, messages: list[dict]) -> str:
    """The method that finds the turns of a conversation, or "-" if the template or packsort refuses it."""
    tokens = packsort.tokenize(pa.table({"messages": [json.dumps(messages)]}), tokenizer_of(template))
    try:
        tokens.read()
    except packsort.SourceError as error:
        return "refused" if "nothing tells" in str(error) else "-"
    by_contents = any(note.kind == "turns_by_contents" for note in tokens.notes)
    return _WORDS.get(tokens.loss_rule, "contents" if by_contents else "prefixes")


def table() -> str:
    """The table, in Markdown."""
    lines = [f"| template | {' | '.join(CONVERSATIONS)} |", "|---" * (len(CONVERSATIONS) + 1) + "|"]
    for name, template in stock_templates().items():
        found = [method(template, messages) for messages in CONVERSATIONS.values()]
        lines.append(f"| {name} | {' | '.join(found)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
