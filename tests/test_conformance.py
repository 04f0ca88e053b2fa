"""Ids and labels are those of the installed transformers, and of TRL, for many chat templates and any conversation.

What carries loss is compared with `apply_chat_template(return_assistant_tokens_mask=True)` where the template, or TRL's
training template in its place, marks generation. Elsewhere it is compared with rendering by prefixes, written down here
a second time. A conversation for which prefixes fail is refused, or its turns hold what the assistant says, no word of
anyone else, and the end of each turn.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError

import packsort
from chat_templates import own_templates, stock_templates, tokenizer_of, training_templates
from packsort.errors import SourceError, TokenizerError
from packsort.tokenization.loss import LossRule
from packsort.tokenization.tokenize import tokenize
from real_data import REAL_DATA, needs_real_data

STOCK, TRAINING, OWN = stock_templates(), training_templates(), own_templates()
MARKED = {name: text for name, text in OWN.items() if name.endswith("_marked")}
SEARCHED = {name: text for name, text in OWN.items() if not name.endswith("_marked") and name != "unasked"}
MARKED |= {name: STOCK[name] for name in ("lfm2_2_5", "lfm2_2_5_v2")}
MARKED |= {f"{name}_training": TRAINING[name] for name in ("llama3", "gemma3", "qwen3", "phi3", "nemotron_3_nano")}
SEARCHED |= {name: STOCK[name] for name in ("llama3", "llama3_2", "gemma", "qwen2_5", "cohere", "muse_glimmer")}
REPLACED = {name: STOCK[name] for name in ("qwen3", "deepseekv3", "phi3", "glm4moe", "nemotron_3_nano", "gptoss")}
WITH_TOOLS = {"tools", "qwen2_5", "lfm2_2_5", "lfm2_2_5_v2", "qwen3_training", "qwen3", "glm4moe", "nemotron_3_nano"}
WITH_PARTS = {"turns", "gemma3_training"}

pieces = st.sampled_from(
    [
        "a",
        " ",
        "\n",
        "\n\n",
        "boats at dawn",
        "\u4e2d\u6587",
        "\U0001f600",
        "e\u0301",
        "<|im_end|>",
        "<|end|>",
        "</s>",
        "</think>",
    ]
)
words = st.one_of(st.just(""), st.lists(st.one_of(pieces, st.text(max_size=6)), max_size=6).map("".join))
plain = st.sampled_from(["What is it?", "a tree", "it falls \U0001f333", "\u00e9t\u00e9"])
said = st.one_of(plain, words)


@st.composite
def conversations(draw: st.DrawFn, tools: bool, parts: bool) -> list[dict[str, Any]]:
    """Conversations of any shape; most take turns, as templates want them to."""
    chat: list[dict[str, Any]] = []

    def say(role: str, **more: Any) -> None:
        content: Any = draw(said)
        if parts and draw(st.booleans()):
            content = [{"type": "text", "text": content}]
        chat.append({"role": role, "content": content, **more})

    if draw(st.integers(0, 3)) == 0:
        say("system")
    # A system prompt that is written into the next message would be in an assistant's turn; a test below has that.
    if draw(st.integers(0, 9)) == 0 and not chat:
        say("assistant")
    for _ in range(draw(st.integers(1, 3))):
        say("user")
        if tools and draw(st.integers(0, 2)) == 0:
            call = {"name": draw(plain), "arguments": {"at": draw(said), "n": draw(st.integers(-5, 5))}}
            chat.append(
                {"role": "assistant", "content": draw(said), "tool_calls": [{"type": "function", "function": call}]}
            )
            chat.append({"role": "tool", "name": call["name"], "content": draw(said)})
        if draw(st.integers(0, 9)) > 0:
            more = {"reasoning_content": draw(plain)} if draw(st.integers(0, 7)) == 0 else {}
            say("assistant", **more)
    return chat


def batches(name: str) -> st.SearchStrategy[list[list[dict[str, Any]]]]:
    chat = conversations(name in WITH_TOOLS, name in WITH_PARTS)
    return st.lists(chat, min_size=20, max_size=20)


def source(chats: list[list[dict[str, Any]]]) -> pa.Table:
    """Rows of JSON text: a struct column would give every message the keys of all."""
    return pa.table({"messages": [json.dumps(chat) for chat in chats]})


def rows(tokens: packsort.Tokenization) -> list[tuple[list[int], list[int]]]:
    table = tokens.read()
    return list(zip(table["input_ids"].to_pylist(), table["labels"].to_pylist(), strict=True))


def accepted(
    tokenizer: Any, chats: list[list[dict[str, Any]]], template: str, *, marks: bool = True
) -> list[list[dict[str, Any]]]:
    """The conversations that the template takes and that have a token."""
    found = []
    for chat in chats:
        try:
            text = tokenizer.apply_chat_template(chat, chat_template=template, tokenize=False)
            if marks:
                masked(tokenizer, chat, template)
        # Before version 5.24 transformers overflows on an empty span where the text begins.
        except (TemplateError, TypeError, ValueError, LookupError, OverflowError):
            continue
        if text:
            found.append(chat)
    return found


def masked(tokenizer: Any, chat: list[dict[str, Any]], template: str) -> tuple[list[int], list[int]]:
    """Ids and labels of transformers for a template with marks."""
    made = tokenizer.apply_chat_template(
        chat, chat_template=template, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ids = made["input_ids"]
    return ids, [token if on else -100 for token, on in zip(ids, made["assistant_masks"], strict=True)]


def by_prefixes(tokenizer: Any, chat: list[dict[str, Any]]) -> tuple[list[int], list[int]] | None:
    """Ids, and labels where rendering the start of the conversation tells them, or None."""

    def text(messages: list[dict[str, Any]], **options: bool) -> str | None:
        try:
            from transformers.utils.chat_template_utils import render_jinja_template

            # `apply_chat_template` refuses a conversation without messages, which a template may take.
            given = {"conversations": [messages], "chat_template": tokenizer.chat_template, **options}
            return render_jinja_template(**given, **tokenizer.special_tokens_map)[0][0]
        except (TemplateError, TypeError, ValueError, LookupError):
            return None

    whole = text(chat)
    spans = []
    for at, message in enumerate(chat):
        if message["role"] == "assistant":
            before, after = text(chat[:at], add_generation_prompt=True), text(chat[: at + 1])
            if before is None or after is None or not after.startswith(before) or not whole.startswith(after):
                return None
            spans.append((len(before), len(after)))
    encoding = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = encoding["input_ids"], encoding["offset_mapping"]
    inside = [any(start < end and stop > begin for begin, end in spans) for start, stop in offsets]
    return ids, [token if on else -100 for token, on in zip(ids, inside, strict=True)]


def short(count: int = 10) -> Any:
    # A batch takes minutes to shrink, and an assertion names the conversation.
    phases = [Phase.explicit, Phase.generate]
    return settings(deadline=None, max_examples=count, suppress_health_check=list(HealthCheck), phases=phases)


@pytest.mark.parametrize("name", MARKED)
def test_marked_templates_give_what_transformers_gives(name):
    template = MARKED[name]
    tokenizer = tokenizer_of(template)

    @short()
    @given(batches(name))
    def check(chats):
        taken = accepted(tokenizer, chats, template)
        if not taken:
            return
        tokens = tokenize(source(taken), tokenizer)
        assert tokens.loss_rule is LossRule.GENERATION
        for chat, found in zip(taken, rows(tokens), strict=True):
            assert found == masked(tokenizer, chat, template), chat

    check()


@pytest.mark.parametrize("name", REPLACED)
def test_stock_templates_that_lose_turns_give_what_trl_trains_on(name):
    tokenizer = tokenizer_of(REPLACED[name] + TRAINING[name])
    tokenizer.chat_template = REPLACED[name]

    @short()
    @given(batches(name))
    def check(chats):
        taken = accepted(tokenizer, chats, TRAINING[name])
        if not taken:
            return
        tokens = tokenize(source(taken), tokenizer)
        assert tokens.loss_rule is LossRule.TRAINING_TEMPLATE
        for chat, found in zip(taken, rows(tokens), strict=True):
            assert found == masked(tokenizer, chat, TRAINING[name]), chat

    check()


@pytest.mark.parametrize("name", SEARCHED)
def test_other_templates_give_what_prefixes_give_or_are_refused(name):
    tokenizer = tokenizer_of(SEARCHED[name])
    counts = {"prefixes": 0, "contents": 0, "refused": 0}

    @short()
    @given(batches(name))
    def check(chats):
        taken = accepted(tokenizer, chats, SEARCHED[name], marks=False)
        wanted = [by_prefixes(tokenizer, chat) for chat in taken]
        exact = [chat for chat, one in zip(taken, wanted, strict=True) if one is not None]
        # Rows that prefixes do not tell come first, so that what is remembered of them meets the others.
        for chat, one in zip(taken, wanted, strict=True):
            if one is None:
                counts[judged(tokenizer, chat)] += 1
        found = rows(tokenize(source(exact), tokenizer)) if exact else []
        for chat, one, other in zip(exact, found, [one for one in wanted if one is not None], strict=True):
            assert one == other, chat
        counts["prefixes"] += len(exact)

    check()
    assert counts["prefixes"], counts


def judged(tokenizer: Any, chat: list[dict[str, Any]]) -> str:
    """Whether a conversation that prefixes do not tell is refused, or else trained on rightly."""
    tokens = tokenize(source([chat]), tokenizer)
    try:
        ((ids, labels),) = rows(tokens)
    except SourceError as error:
        assert "nothing tells" in str(error)  # noqa: PT017
        return "refused"
    assert ids == tokenizer.apply_chat_template(chat, tokenize=True, return_dict=True)["input_ids"]
    assert [note.values for note in tokens.notes if note.kind == "turns_by_contents"] == [{"conversations": 1}]
    # Runs of tokens with loss, one for each turn, hold its content and no other.
    runs: list[list[int]] = [[]]
    for label in labels:
        if label >= 0:
            runs[-1].append(label)
        elif runs[-1]:
            runs.append([])
    turns = [tokenizer.decode(run) for run in runs if run]
    contents = [one["content"] for one in chat if one["role"] == "assistant"]
    assert len(turns) == len(contents), (turns, contents)
    for turn, content in zip(turns, contents, strict=True):
        # A template may write what comes before the end of reasoning in a form of its own, and leaves out what comes
        # between two ends.
        parts = content.split("</think>")
        assert all(part.strip() in turn for part in (parts[0], parts[-1])), (turn, content)
    return "contents"


def test_a_template_that_opens_turns_unasked_is_refused():
    with pytest.raises(
        TokenizerError, match=r"opens the assistant's turn at the end of every conversation.*loss='all'"
    ):
        tokenize(source([[{"role": "user", "content": "a"}]]), tokenizer_of(OWN["unasked"]))


def test_words_of_others_inside_a_turn_are_refused():
    chat = [{"role": "system", "content": "Be brief."}, {"role": "assistant", "content": "Hello."}]
    with pytest.raises(SourceError, match="row 0: nothing tells the assistant's turns"):
        tokenize(source([chat]), tokenizer_of(OWN["turns"])).read()


@needs_real_data
def test_remembered_gaps_give_what_prefixes_give_on_real_conversations(real_tokenizer):
    import copy

    import pyarrow.parquet as pq

    tokenizer = copy.copy(real_tokenizer)
    tokenizer.chat_template = OWN["chatml"]
    table = pq.read_table(REAL_DATA / "multi_turn.parquet", columns=["messages"]).slice(0, 20_683)
    table = pa.concat_tables([table.slice(at, 60) for at in (0, 14_000, 18_500, 20_400)])
    for chat, found in zip(table["messages"].to_pylist(), rows(tokenize(table, tokenizer)), strict=True):
        assert found == by_prefixes(tokenizer, chat)
