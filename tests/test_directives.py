"""What rows say of themselves: loss of messages, variables of the template, forms of contents and calls, and dates."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from trl.data_utils import apply_chat_template

import packsort
from chat_templates import stock_templates, tokenizer_of, training_templates
from packsort import tokenize
from packsort.errors import OptionError, SourceError
from packsort.shards.sealed_json import seal

MARKED = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' }}{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content + '</s>' }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
UNMARKED = MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")


def byte_tokenizer(template: str) -> Any:
    """A token for each byte, so that texts and tokens tell each other."""
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<pad>", "</s>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>")
    tokenizer.chat_template = template
    return tokenizer


def said(*messages: tuple[str, str], **more: Any) -> list[dict[str, Any]]:
    return [{"role": role, "content": content, **more} for role, content in messages]


def table(*rows: dict[str, Any]) -> pa.Table:
    """Rows with all columns of any of them, as JSON Lines have them."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])


def read(rows: pa.Table, template: str, **options: Any) -> tuple[list[str], list[str], list[str]]:
    """Text of each row, text of its tokens with loss, and what is said."""
    tokenizer = byte_tokenizer(template)
    tokens = tokenize(rows, tokenizer, **options)
    found = tokens.read().to_pydict()
    trained = [tokenizer.decode([label for label in labels if label >= 0]) for labels in found["labels"]]
    return [tokenizer.decode(ids) for ids in found["input_ids"]], trained, [str(note) for note in tokens.notes]


# Messages without loss

ASKED, FIRST, MORE, SECOND = ("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two")


def weighed(key: str, value: Any) -> list[dict[str, Any]]:
    messages = said(ASKED, FIRST, MORE, SECOND)
    messages[1][key] = value
    return messages


@pytest.mark.parametrize("template", [MARKED, UNMARKED], ids=["marked", "unmarked"])
@pytest.mark.parametrize(
    ("key", "value"), [("weight", 0), ("weight", 0.0), ("train", False), ("training", False), ("loss", False)]
)
def test_a_message_can_be_without_loss(template, key, value):
    texts, trained, notes = read(table({"messages": weighed(key, value)}), template)
    assert texts == ["<|user|>a<|assistant|>one</s><|user|>b<|assistant|>two</s>"]
    assert trained == ["two</s>"]
    assert "1 messages of the assistant carry no loss, because their rows say so" in notes


@pytest.mark.parametrize(("key", "value"), [("weight", 1), ("train", True), ("training", None)])
def test_a_message_with_loss_is_as_any_other(key, value):
    wanted = read(table({"messages": said(ASKED, FIRST, MORE, SECOND)}), MARKED)
    texts, trained, _ = read(table({"messages": weighed(key, value)}), MARKED)
    assert (texts, trained) == wanted[:2]


def test_weights_of_other_roles_change_nothing():
    messages = said(ASKED, FIRST)
    messages[0]["weight"] = 0
    assert read(table({"messages": messages}), MARKED)[1] == ["one</s>"]


def test_directives_never_reach_the_template():
    template = "{% for m in messages %}{{ m | tojson }}{% endfor %}"
    (text,), _, _ = read(table({"messages": weighed("weight", 1)}), template, loss="all")
    assert "weight" not in text


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("weight", 2, "message 1: `weight` must be 0 or 1, got 2"),
        ("weight", 0.5, "message 1: `weight` must be 0 or 1, got 0.5"),
        ("train", "no", "message 1: `train` must be true or false, got 'no'"),
        ("training_detail", [1], "message 1 has `training_detail`: loss on parts of a message is not supported"),
    ],
)
def test_wrong_directives_are_refused_by_their_row(key, value, words):
    with pytest.raises(SourceError, match=f"row 0: column `messages`: {words}"):
        read(table({"messages": weighed(key, value)}), MARKED)


def test_loss_on_a_users_message_is_refused():
    messages = said(ASKED, FIRST)
    messages[0]["train"] = True
    with pytest.raises(SourceError, match=r"message 0 \(user\) has train=true: only the assistant's messages"):
        read(table({"messages": messages}), MARKED)


@pytest.mark.parametrize("loss", ["all", "completion"])
def test_directives_need_a_loss_by_turns(loss):
    rows = table({"messages": weighed("weight", 0)})
    if loss == "completion":
        rows = table({"prompt": said(ASKED), "completion": weighed("weight", 0)[1:]})
    with pytest.raises(SourceError, match=f"message 1 is to carry no loss, which loss='{loss}' cannot do"):
        read(rows, MARKED, loss=loss)


def test_turns_that_cannot_be_told_apart_are_refused():
    twice = MARKED.replace("{% endgeneration %}", "{% endgeneration %}?{% generation %}{{ '!' }}{% endgeneration %}")
    with pytest.raises(SourceError, match="message 1 is to carry no loss, but there are 4 turns for 2 messages"):
        read(table({"messages": weighed("weight", 0)}), twice)
    # As many marks as messages, but in the order of another list.
    backwards = MARKED.replace("for m in messages", "for m in messages | reverse")
    with pytest.raises(SourceError, match="message 1 is to carry no loss, but nothing tells where"):
        read(table({"messages": weighed("weight", 0)}), backwards)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *(
            (name, form)
            for name in ("phi3", "gptoss", "llama3", "qwen3", "gemma4")
            for form in ("text", "blank", "call")
        ),
        ("diffusion_gemma", "text"),
    ],
)
def test_stock_templates_leave_out_any_message_without_loss(name, form):
    stock = stock_templates()[name]
    tokenizer = tokenizer_of(stock + training_templates().get(name, ""))
    tokenizer.chat_template = stock
    messages = weighed("weight", 0)
    messages[1]["content"] = {"text": "one", "blank": " ", "call": ""}[form]
    if form == "call":
        call = {"type": "function", "function": {"name": "find", "arguments": {"at": "sea"}}}
        messages[1] |= {"tool_calls": [call]}
        messages.insert(2, {"role": "tool", "name": "find", "content": "found"})
    (labels,) = tokenize(pa.table({"messages": [json.dumps(messages)]}), tokenizer).read()["labels"].to_pylist()
    runs = tokenizer.decode([label if label >= 0 else tokenizer.pad_token_id for label in labels]).split("<pad>")
    (trained,) = [run for run in runs if run]
    assert "two" in trained
    assert "one" not in trained
    assert "find" not in trained


def test_windows_keep_messages_without_loss():
    messages = [one for turn in range(8) for one in said(("user", f"q{turn}"), ("assistant", f"answer {turn}"))]
    for message in messages[1::4]:
        message["weight"] = 0
    tokenizer = byte_tokenizer(MARKED)
    tokens = tokenize(table({"messages": messages}), tokenizer, split_turns=130)
    (labels,) = tokens.read()["labels"].to_pylist()
    assert tokens.windows > 1
    assert tokenizer.decode([one for one in labels if one >= 0]) == "".join(f"answer {n}</s>" for n in (1, 3, 5, 7))


# Variables of the template

THINKING = "{% if thinking is defined and not thinking %}plain {% endif %}" + MARKED


@pytest.mark.parametrize("as_text", [False, True])
def test_variables_reach_the_template_as_in_trl(as_text):
    variables = [{"thinking": False}, {"thinking": True}, None]
    rows = [{"messages": said(ASKED, FIRST), "chat_template_kwargs": one} for one in variables]
    tokenizer = byte_tokenizer(THINKING)
    wanted = [apply_chat_template({k: v for k, v in row.items() if v is not None}, tokenizer)["text"] for row in rows]
    if as_text:
        rows = [{**row, "chat_template_kwargs": json.dumps(row["chat_template_kwargs"])} for row in rows]
    assert read(table(*rows), THINKING)[0] == wanted
    assert wanted[0].startswith("plain")


def test_variables_of_other_rows_are_not_defined():
    template = "{{ 'a' if style is defined else '-' }}{{ 'b' if depth is defined else '-' }}" + MARKED
    variables = [{"style": "x"}, {"depth": 1}, {}]
    rows = [{"messages": said(ASKED, FIRST), "chat_template_kwargs": one} for one in variables]
    assert [text[:2] for text in read(table(*rows), template)[0]] == ["a-", "-b", "--"]


def test_prompts_get_the_variables_too():
    row = {"prompt": said(ASKED), "completion": said(FIRST), "chat_template_kwargs": {"thinking": False}}
    texts, trained, _ = read(table(row), THINKING)
    assert (texts, trained) == (["plain <|user|>a<|assistant|>one</s>"], ["one</s>"])


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"chat_template": "x"}, "sets `chat_template`, which is no variable of a template"),
        ({"add_generation_prompt": True}, "sets `add_generation_prompt`"),
        ("[1]", "must hold an object, got list"),
        ("{", "is not JSON"),
    ],
)
def test_wrong_variables_are_refused_by_their_row(variables, words):
    with pytest.raises(SourceError, match="row 0: column `chat_template_kwargs` ") as caught:
        read(table({"messages": said(ASKED, FIRST), "chat_template_kwargs": variables}), MARKED)
    assert words in str(caught.value)


# Contents in parts

PARTS = [
    {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "one"}]},
]
TAKES_PARTS = MARKED.replace("m.content + '</s>'", "m.content[0].text + '</s>'").replace(
    "{{ m.content }}", "{% for part in m.content %}{{ part.text }};{% endfor %}"
)


def test_parts_are_joined_only_where_the_template_takes_none():
    texts, trained, notes = read(table({"messages": PARTS}), TAKES_PARTS)
    assert (texts, trained, notes) == (["<|user|>a;b;<|assistant|>one</s>"], ["one</s>"], [])
    texts, trained, notes = read(table({"messages": PARTS}), MARKED)
    assert (texts, trained) == (["<|user|>a\nb<|assistant|>one</s>"], ["one</s>"])
    assert notes == [
        "in 2 messages the parts of the content are joined by line feeds, because the chat template takes no parts"
    ]


def test_parts_that_would_be_written_as_python_or_left_out_are_joined():
    as_python = "{% for m in messages %}{{ m.role ~ m.content }}{% endfor %}"
    left_out = "{% for m in messages %}{{ m.role ~ (m.content if m.content is string) }}{% endfor %}"
    for template in (as_python, left_out):
        assert read(table({"messages": PARTS}), template, loss="all")[0] == ["usera\nbassistantone"]


def test_text_is_given_as_a_part_where_the_template_writes_nothing_else():
    only_parts = (
        "{% for m in messages %}{{ m.role }}{% for part in m.content if part is mapping %}{{ ':' + part.text }}"
    )
    only_parts += "{% endfor %}{% endfor %}"
    texts, _, notes = read(table({"messages": said(ASKED, FIRST)}), only_parts, loss="all")
    assert texts == ["user:aassistant:one"]
    assert notes[0] == (
        "in 2 messages the content is given to the chat template as a part, because it does not write text alone"
    )


def test_text_beside_parts_is_given_as_the_template_takes_it():
    mixed = table({"messages": json.dumps([PARTS[0], *said(("assistant", "seven"))])})
    only_parts = TAKES_PARTS.replace("m.content[0].text", "(m.content[0].text if m.content is not string else '')")
    texts, trained, notes = read(mixed, only_parts)
    assert (texts, trained) == (["<|user|>a;b;<|assistant|>seven</s>"], ["seven</s>"])
    assert any("in 1 messages the content is given to the chat template as a part" in note for note in notes)
    texts, trained, notes = read(mixed, MARKED)
    assert (texts, trained) == (["<|user|>a\nb<|assistant|>seven</s>"], ["seven</s>"])
    assert sum("content" in note for note in notes) == 1


def test_parts_may_be_strings_and_have_names_of_openai():
    content = [{"type": "input_text", "text": "a"}, "b"]
    rows = pa.table({"messages": [json.dumps([{"role": "user", "content": content}, *said(FIRST)])]})
    assert read(rows, MARKED)[0] == ["<|user|>a\nb<|assistant|>one</s>"]


# Arguments of tool calls


def calling(arguments: Any, template: str) -> tuple[str, list[str]]:
    call = {"type": "function", "function": {"name": "get", "arguments": arguments}}
    messages = [*said(ASKED), {"role": "assistant", "content": None, "tool_calls": [call]}]
    (text,), _, notes = read(table({"messages": messages}), template, loss="all")
    return text, notes


CALLS = "{% for m in messages %}{% for c in m.tool_calls or [] %}WRITE{% endfor %}{% endfor %}"
ARGUMENTS = '{"city": "Zürich", "n": null}'


@pytest.mark.parametrize(
    ("write", "text", "kind"),
    [
        ("{{ c.function | tojson }}", '{"name": "get", "arguments": {"city": "Zürich", "n": null}}', "parsed"),
        ("{{ c.function.arguments | tojson }}", ARGUMENTS, "parsed"),
        ("{{ c.function.arguments | tojson(ensure_ascii=true) }}", ARGUMENTS.replace("ü", "\\u00fc"), "parsed"),
        ("{% for k, v in c.function.arguments | items %}{{ k }}={{ v }};{% endfor %}", "city=Zürich;n=None;", "parsed"),
        ("{{ '<' + c.function.arguments + '>' }}", f"<{ARGUMENTS}>", ""),
        ("{{ c.function.arguments if c.function.arguments is string else 1/0 }}", ARGUMENTS, ""),
    ],
)
def test_arguments_in_json_text_are_given_as_the_template_takes_them(write, text, kind):
    found, notes = calling(ARGUMENTS, CALLS.replace("WRITE", write))
    assert found == text
    changed = [note for note in notes if "arguments" in note]
    assert len(changed) == bool(kind)
    assert all(
        "in 1 tool calls the arguments are JSON text, and given to the chat template as objects" in one
        for one in changed
    )


def test_stock_templates_write_json_text_as_objects():
    call = {"type": "function", "id": "abcdef123", "function": {"name": "get_weather", "arguments": {"city": "P"}}}
    called = {**call, "function": {**call["function"], "arguments": '{"city": "P"}'}}
    answered = [{"role": "tool", "name": "get_weather", "content": "5", "tool_call_id": call["id"]}, *said(FIRST)]
    same = 0
    for name, template in [*stock_templates().items(), *training_templates().items()]:
        texts = []
        for one in (call, called):
            messages = [*said(ASKED), {"role": "assistant", "content": "", "tool_calls": [one]}, *answered]
            with suppress(SourceError):  # no tools, or no such roles
                texts += read(table({"messages": messages}), template, loss="all")[0]
        assert not texts or texts[0] == texts[1], name
        same += len(texts) == 2 and "city" in texts[0]
    assert same >= 30


def test_arguments_that_are_empty_text_are_an_empty_object():
    text, _ = calling("", CALLS.replace("WRITE", "{{ c.function | tojson }}"))
    assert text == '{"name": "get", "arguments": {}}'


def test_arguments_as_objects_are_written_as_text_where_the_template_needs_text():
    text, notes = calling({"city": "Zürich"}, CALLS.replace("WRITE", "{{ 'call ' + c.function.arguments }}"))
    assert text == 'call {"city": "Zürich"}'
    assert any("objects, and given to the chat template as JSON text" in note for note in notes)


def test_arguments_that_are_no_object_stay_text_and_are_said():
    rows = []
    for arguments in (ARGUMENTS, "not JSON", ""):
        call = {"type": "function", "function": {"name": "get", "arguments": arguments}}
        rows.append({"messages": [*said(ASKED), {"role": "assistant", "content": None, "tool_calls": [call]}]})
    texts, _, notes = read(table(*rows), CALLS.replace("WRITE", "{{ c.function.arguments | tojson }}"), loss="all")
    assert texts == [ARGUMENTS, '"not JSON"', "{}"]
    assert "in 1 tool calls the arguments are text that is no JSON object, and stay text" in notes


def test_older_calls_of_openai_become_tool_calls():
    template = MARKED.replace(
        "m.content + '</s>'", "(m.content or '') + (m.tool_calls | tojson if m.tool_calls else '')"
    )
    messages = [
        *said(ASKED),
        {"role": "assistant", "content": None, "function_call": {"name": "get", "arguments": '{"n": 1}'}},
        {"role": "function", "name": "get", "content": "5"},
        *said(FIRST),
    ]
    functions = [{"name": "get", "parameters": {}}]
    rows = pa.table({"messages": [json.dumps(messages)], "functions": [json.dumps(functions)]})
    (text,), _, notes = read(rows, template + "{{ tools | tojson if tools else '' }}")
    call = '[{"type": "function", "function": {"name": "get", "arguments": {"n": 1}}}]'
    assert text == f"<|user|>a<|assistant|>{call}<|tool|>5<|assistant|>one" + json.dumps(
        [{"type": "function", "function": functions[0]}]
    )
    assert any("arguments are JSON text" in note for note in notes)


def test_calls_and_tools_that_the_template_leaves_out_are_said():
    call = {"type": "function", "function": {"name": "get_weather", "arguments": {}}}
    messages = [*said(ASKED), {"role": "assistant", "content": "one", "tool_calls": [call]}]
    tools = [{"type": "function", "function": {"name": "get_weather", "description": "d"}}]
    _, _, notes = read(table({"messages": messages, "tools": tools}), MARKED)
    assert "in 1 conversations the chat template does not write the tool calls" in notes
    assert "in 1 conversations the chat template does not write the tools" in notes


# Dates

DATED = "{{ 'Today: ' + strftime_now('%d %b %Y %H:%M') + '. ' }}" + MARKED


def dated(template: str = DATED, **options: Any) -> tuple[str, str | None]:
    tokens = tokenize(table({"messages": said(ASKED, FIRST)}), byte_tokenizer(template), **options)
    (ids,) = tokens.read()["input_ids"].to_pylist()
    return byte_tokenizer(template).decode(ids), tokens.template_date


def test_date_of_the_template_is_today_or_the_one_asked_for():
    text, day = dated()
    assert day == date.today().isoformat()
    assert text.startswith(date.today().strftime("Today: %d %b %Y 00:00. "))
    text, day = dated(template_date="2024-07-26")
    assert (text[: len("Today: 26 Jul 2024 00:00. ")], day) == ("Today: 26 Jul 2024 00:00. ", "2024-07-26")
    # transformers' own rendering of the same template goes by the clock.
    assert date.today().strftime("%Y") in byte_tokenizer(DATED).apply_chat_template(said(ASKED, FIRST), tokenize=False)


def test_only_templates_that_read_the_date_record_one():
    guarded = (
        "{% if not date_string is defined %}{{ strftime_now('%Y') }}{% else %}{{ date_string }}{% endif %}" + MARKED
    )
    assert dated(MARKED)[1] is None
    assert dated(guarded, template_date="2001-01-01") == ("2001<|user|>a<|assistant|>one</s>", "2001-01-01")
    rows = table({"messages": said(ASKED, FIRST), "chat_template_kwargs": {"date_string": "long ago"}})
    tokens = tokenize(rows, byte_tokenizer(guarded))
    assert byte_tokenizer(guarded).decode(tokens.read()["input_ids"].to_pylist()[0]).startswith("long ago<|user|>")
    assert tokens.template_date is None


def test_date_is_said_and_token_files_hold_it(tmp_path):
    rows = table({"messages": said(ASKED, FIRST)})
    assert "the chat template writes a date, here 2024-07-26" in read(rows, DATED, template_date="2024-07-26")[2]
    tokenizer = byte_tokenizer(DATED)
    packsort.write_tokens(rows, tmp_path / "t.parquet", tokenizer, template_date="2024-07-26")
    facts = json.loads(pq.read_schema(tmp_path / "t.parquet").metadata[b"packsort"])
    assert facts["template_date"] == "2024-07-26"


def test_white_space_at_the_start_of_a_template_stays():
    template = "\n  {{ strftime_now('%Y') }}\n" + MARKED
    assert dated(template, template_date="2001-01-01")[0].startswith("\n  2001\n")


@pytest.mark.parametrize("rows", [{"messages": said(ASKED, FIRST)}, {"text": "a"}])
def test_date_without_effect_is_refused(rows):
    with pytest.raises(OptionError, match="template_date='2024-07-26' has no effect"):
        tokenize(table(rows), byte_tokenizer(MARKED), template_date="2024-07-26")


def test_manifest_records_the_date_and_verify_uses_it(tmp_path):
    rows = table({"messages": said(ASKED, FIRST)})
    manifest = packsort.write_shards(
        rows, tmp_path / "packed", 100, tokenizer=byte_tokenizer(DATED), template_date="2024-07-26"
    )
    assert manifest.tokenizer["template_date"] == "2024-07-26"
    assert packsort.verify(tmp_path / "packed", rows, tokenizer=byte_tokenizer(DATED))
    other = packsort.verify(tmp_path / "packed", rows, tokenizer=byte_tokenizer(MARKED))
    assert "the packs were made with" in str(other)
    today = packsort.write_shards(rows, tmp_path / "today", 100, tokenizer=byte_tokenizer(DATED))
    assert today.options["template_date"] is None
    # Packed on another day, as its manifest says.
    path = tmp_path / "packed/manifest.json"
    facts = json.loads(path.read_text())
    facts["options"]["template_date"] = None
    path.write_text(json.dumps(seal(facts)))
    assert packsort.verify(tmp_path / "packed", rows, tokenizer=byte_tokenizer(DATED))
