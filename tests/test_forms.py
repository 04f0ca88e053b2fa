"""Rows of other formats: found by their columns, and read as messages."""

from __future__ import annotations

import copy
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trl.data_utils import maybe_convert_to_chatml

import packsort
import tiny_tokenizer
from packsort import tokenize
from packsort.errors import OptionError, SourceError
from packsort.tokenization.forms.find import find_form
from packsort.tokenization.forms.messages import read_messages
from packsort.tokenization.tokenizer import load_tokenizer
from tiny_tokenizer import built


def ids(rows: Any, tokenizer: Any, **options: Any) -> list[list[int]]:
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows)
    return tokenize(table, tokenizer, **options).read()["input_ids"].to_pylist()


def rendered(tokenizer: Any, *messages: tuple[str, str]) -> list[int]:
    chat = [{"role": role, "content": content} for role, content in messages]
    return tokenizer.apply_chat_template(chat)["input_ids"]


def notes(rows: Any, tokenizer: Any, **options: Any) -> list[str]:
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows)
    tokens = tokenize(table, tokenizer, **options)
    tokens.read()
    return [str(note) for note in tokens.notes]


SHAREGPT = [{"from": "human", "value": "two and three?"}, {"from": "gpt", "value": "five"}]
ASKED = ("user", "two and three?"), ("assistant", "five")
FORMS: dict[str, tuple[dict[str, Any], str]] = {
    "sharegpt": ({"conversations": SHAREGPT, "id": "x"}, "read as ShareGPT: conversations -> messages"),
    "sharegpt in messages": ({"messages": SHAREGPT}, "read as ShareGPT: messages -> messages"),
    "conversations": (
        {"conversations": [{"role": role, "content": content} for role, content in ASKED]},
        "read as conversations: conversations -> messages",
    ),
    "json": (
        {"messages": json.dumps([{"role": role, "content": content} for role, content in ASKED])},
        "read as messages in JSON text: messages -> messages",
    ),
    "json sharegpt": (
        {"conversations": json.dumps(SHAREGPT)},
        "read as messages in JSON text: conversations -> messages",
    ),
    "json messages": (
        {"messages": [json.dumps(one) for one in SHAREGPT]},
        "read as messages in JSON text: messages -> messages",
    ),
    "alpaca": (
        {"instruction": "two and three?", "input": "", "output": "five"},
        "read as Alpaca: instruction, input, output -> messages",
    ),
    "alpaca without input": (
        {"instruction": "two and three?", "output": "five"},
        "read as Alpaca: instruction, output -> messages",
    ),
    "dolly": (
        {"instruction": "two and three?", "context": None, "response": "five"},
        "read as instructions and responses: instruction, response -> messages",
    ),
    "question": (
        {"question": "two and three?", "answer": "five"},
        "read as questions and answers: question, answer -> messages",
    ),
    "response": (
        {"prompt": "two and three?", "response": "five"},
        "read as prompts and responses: prompt, response -> messages",
    ),
    "openai": (
        {"messages": [{"role": role, "content": content} for role, content in ASKED], "parallel_tool_calls": False},
        "read as rows for OpenAI's fine-tuning: messages -> messages",
    ),
}


@pytest.mark.parametrize(("row", "said"), FORMS.values(), ids=FORMS.keys())
def test_each_form_gives_the_conversation_and_is_said(tokenizer, row, said):
    table = pa.Table.from_pylist([row])
    assert ids(table, tokenizer) == [rendered(tokenizer, *ASKED)]
    assert notes(table, tokenizer) == [said]
    labels = tokenize(table, tokenizer).read()["labels"].to_pylist()[0]
    assert tokenizer.decode([token for token in labels if token >= 0]) == "five<|im_end|>"


def test_input_follows_its_instruction_and_history_comes_before_it(tokenizer):
    row = {
        "instruction": "add",
        "input": "two and three",
        "output": "five",
        "system": "short",
        "history": [["hello", "yes?"]],
    }
    wanted = rendered(
        tokenizer,
        ("system", "short"),
        ("user", "hello"),
        ("assistant", "yes?"),
        ("user", "add\ntwo and three"),
        ("assistant", "five"),
    )
    assert ids([row], tokenizer) == [wanted]


@pytest.mark.parametrize(
    ("asked", "answered"), [("instruction", "response"), ("question", "answer"), ("prompt", "response")]
)
def test_context_follows_what_is_asked(tokenizer, asked, answered):
    row = {"context": "two and three", asked: "add", answered: "five"}
    assert ids([row], tokenizer) == [rendered(tokenizer, ("user", "add\ntwo and three"), ("assistant", "five"))]


def test_system_column_comes_first_unless_the_conversation_has_one(tokenizer):
    rows = [
        {"conversations": SHAREGPT, "system": "short"},
        {"conversations": [{"from": "system", "value": "long"}, *SHAREGPT], "system": "short"},
        {"conversations": SHAREGPT, "system": ""},
    ]
    assert ids(rows, tokenizer) == [
        rendered(tokenizer, ("system", "short"), *ASKED),
        rendered(tokenizer, ("system", "long"), *ASKED),
        rendered(tokenizer, *ASKED),
    ]


def test_categories_are_text(tokenizer):
    rows = [{"conversations": SHAREGPT, "system": "short", "text": "a"}] * 3
    table = pa.Table.from_pylist(rows)
    for name in ("system", "text"):
        table = table.set_column(table.schema.names.index(name), name, table[name].dictionary_encode())
    for columns in (["conversations", "system"], ["text"]):
        found, expected = (packsort.tokenize(one.select(columns), tokenizer).read() for one in (table, as_text(table)))
        assert found.to_pydict() == expected.to_pydict()


def as_text(table):
    return pa.Table.from_pylist(table.to_pylist())


def test_system_column_beside_messages_is_left_out_as_in_trl(tokenizer):
    row = {"messages": [{"role": role, "content": content} for role, content in ASKED], "system": "linux"}
    assert ids([row], tokenizer) == [rendered(tokenizer, *ASKED)]


@pytest.mark.parametrize("more", [{"input": [1, 2]}, {"history": ["a", "b"]}])
def test_columns_that_would_be_lost_are_refused(tokenizer, more):
    with pytest.raises(SourceError, match="no usable column"):
        ids([{"instruction": "add", "output": "five", **more}], tokenizer)


@pytest.mark.parametrize(
    ("given", "role"),
    [
        ("Human", "user"),
        ("user", "user"),
        ("chatgpt", "assistant"),
        ("bing", "assistant"),
        ("system", "system"),
        ("observation", "tool"),
        ("tool", "tool"),
    ],
)
def test_roles_of_sharegpt_are_mapped(tokenizer, given, role):
    row = {"conversations": [{"from": given, "value": "hello"}, *SHAREGPT]}
    assert ids([row], tokenizer) == [rendered(tokenizer, (role, "hello"), *ASKED)]


def test_unknown_role_of_sharegpt_is_refused_by_its_row(tokenizer):
    rows = [{"conversations": SHAREGPT}, {"conversations": [*SHAREGPT, {"from": "narrator", "value": "end"}]}]
    with pytest.raises(SourceError, match=r"row 1: column `conversations`: message 2 is from 'narrator'.*rename"):
        ids(rows, tokenizer)


def test_prompts_and_completions_may_be_sharegpt_messages(tokenizer):
    rows = [{"prompt": SHAREGPT[:1], "completion": SHAREGPT[1:]}]
    tokens = tokenize(pa.Table.from_pylist(rows), tokenizer)
    assert tokens.read()["input_ids"].to_pylist() == [rendered(tokenizer, *ASKED)]
    assert tokens.loss_rule == "completion"


@given(
    st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), st.text(max_size=8)), min_size=1, max_size=4)
)
def test_conversions_equal_those_of_trl(chat):
    row = {"conversations": [{"from": role, "value": text} for role, text in chat]}
    assert (
        read_messages(row["conversations"], "conversations") == maybe_convert_to_chatml(copy.deepcopy(row))["messages"]
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{", "column `messages` is text, but not JSON"),
        ("[{'role': 'user'}]", "write it with `json.dumps`"),
        ('"hello"', "column `messages` must hold a list of messages, got 'hello'"),
        ('{"role": "user"}', "column `messages` must hold a list of messages"),
        ("[1]", "message 0 must be an object with `role` and `content`, got 1"),
        ("[null]", "message 0 is null"),
        ("[]", "is an empty conversation"),
        ("null", "column `messages` is null"),
        ('[{"content": "x"}]', "message 0 has no role"),
        ('[{"role": "user", "content": 3}]', "neither text nor a list of parts, but int"),
        (
            '[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]',
            "part of type 'image_url'",
        ),
    ],
)
def test_json_text_that_holds_no_conversation_is_refused_by_its_row(tokenizer, value, said):
    good = json.dumps([{"role": "user", "content": "hello"}])
    with pytest.raises(SourceError, match="row 1: ") as caught:
        ids([{"messages": good}, {"messages": value}], tokenizer)
    assert said in str(caught.value)


def test_nulls_in_json_text_stay_and_those_of_arrow_go(tmp_path):
    template = "{% for m in messages %}{{ m.tool_calls | tojson if m.tool_calls else m.content }}{% endfor %}"
    tokenizer = built(tmp_path, template=template)
    call = {"function": {"name": "get", "arguments": {"x": None, "y": 1}}}
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    struct = pa.array([messages])
    text = pa.array([json.dumps(messages)])
    assert "null" not in tokenizer.decode(ids(pa.table({"messages": struct}), tokenizer, loss="all")[0])
    assert '"x": null' in tokenizer.decode(ids(pa.table({"messages": text}), tokenizer, loss="all")[0])


def test_arrow_columns_of_json_are_conversations(tokenizer):
    messages = pa.array([json.dumps(SHAREGPT)], pa.json_())
    assert ids(pa.table({"conversations": messages}), tokenizer) == [rendered(tokenizer, *ASKED)]


# Which form is taken


def test_first_form_is_taken_and_others_are_said(tokenizer):
    row = {"text": "hello", "question": "two and three?", "answer": "five"}
    assert notes([row], tokenizer)[0].startswith("read from text, though question, answer would do as well")
    assert notes([row], tokenizer, columns={"question": "question"}) == [
        "read as questions and answers: question, answer -> messages",
        "read from question, answer, though text would do as well; a column that is mapped comes first",
    ]


def test_order_of_forms():
    text, chat = pa.string(), pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
    columns = {"messages": chat, "prompt": text, "completion": text, "text": text, "conversations": chat}
    columns |= {"instruction": text, "output": text}
    seen = []
    while columns:
        try:
            form, _ = find_form(pa.schema(columns))
        except SourceError:
            break
        seen.append(form.name)
        del columns[form.columns[0]]
    assert seen == ["messages", "prompt_completion", "text", "conversations", "alpaca"]


def test_pairs_without_a_chat_template_say_what_they_need(tmp_path):
    from packsort.errors import TokenizerError

    with pytest.raises(TokenizerError, match="no chat template, which column `question` needs"):
        ids([{"question": "a", "answer": "b"}], built(tmp_path, template=None))


# Named columns


def test_columns_are_named_by_the_user(tokenizer):
    rows = [{"question": "two and", "answer": " three"}]
    wanted = ids([{"prompt": "two and", "completion": " three"}], tokenizer)
    assert ids(rows, tokenizer, columns={"prompt": "question", "completion": "answer"}) == wanted
    assert notes(rows, tokenizer, columns={"prompt": "question", "completion": "answer"}) == []
    assert ids([{"body": "two"}], tokenizer, columns={"text": "body"}) == ids([{"text": "two"}], tokenizer)


def test_names_can_be_exchanged(tokenizer):
    rows = [{"prompt": " three", "completion": "two and"}]
    swapped = ids(rows, tokenizer, columns={"prompt": "completion", "completion": "prompt"})
    assert swapped == ids([{"prompt": "two and", "completion": " three"}], tokenizer)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"text": "Body"}, "there is no column `Body`; did you mean `body`\\?"),
        ({"text": "nothing"}, "there is no column `nothing`; there are `body`, `title`"),
        ({"title": "body"}, "there is a column `title` already"),
        ({"text": "body", "other": "body"}, "column `body` is mapped to `text` and to `other`"),
    ],
)
def test_wrong_names_are_said(tokenizer, columns, said):
    with pytest.raises((OptionError, SourceError), match=said):
        ids([{"body": "two", "title": "x"}], tokenizer, columns=columns)


# From files


def test_openai_rows_are_read_from_json_lines(tmp_path, run):
    template = (
        "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
        "{{ m.content or '' }}{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}{{ '<|im_end|>' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    tokenizer = tiny_tokenizer.build(tmp_path / "tokenizer", template=template)
    called = {"id": "1", "type": "function", "function": {"name": "get", "arguments": '{"city": "P"}'}}
    tool = {"type": "function", "function": {"name": "get", "parameters": {"type": "object"}}}
    rows = [
        {
            "messages": [
                {"role": "user", "content": "weather?"},
                {"role": "assistant", "content": None, "tool_calls": [called], "weight": 0},
                {"role": "tool", "tool_call_id": "1", "content": "sun"},
                {"role": "assistant", "content": "fine", "weight": 1},
            ],
            "tools": [tool],
            "parallel_tool_calls": False,
        },
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "two?"}]}, SAID_FIVE]},
    ]
    path = tmp_path / "openai.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run("pack", path, "-o", tmp_path / "packed", "--tokenizer", tokenizer, "--max-length", 2048)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())  # a terminal wraps lines
    assert "read as rows for OpenAI's fine-tuning: messages -> messages" in said
    assert "in 1 tool calls the arguments are JSON text, and given to the chat template as objects" in said
    assert "1 messages of the assistant carry no loss" in said
    (pack,) = packsort.open_shards(tmp_path / "packed")
    decode = load_tokenizer(tokenizer).decode
    text = decode(pack["input_ids"])
    assert '{"name": "get", "arguments": {"city": "P"}}' in text
    assert text.startswith('[{"type": "function", "function": {"name": "get", "parameters": {"type": "object"}}}]')
    assert decode(pack["labels"][pack["labels"] >= 0]) == "fine<|im_end|>five<|im_end|>"
    assert packsort.verify(tmp_path / "packed", path, tokenizer=tokenizer)


SAID_FIVE = {"role": "assistant", "content": "five"}


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_sharegpt_rows_are_read_from_json(tmp_path, tokenizer_folder, tokenizer, run, name):
    rows = [{"id": str(i), "conversations": SHAREGPT} for i in range(3)]
    lines = json.dumps(rows) if name.endswith(".json") else "\n".join(map(json.dumps, rows))
    (tmp_path / name).write_text(lines)
    options = ("--tokenizer", tokenizer_folder, "--max-length", 100)
    done = run("pack", tmp_path / name, "-o", tmp_path / "packed", *options)
    assert done.returncode == 0, done.stderr
    assert "read as ShareGPT: conversations -> messages" in " ".join(done.stdout.split())
    (pack,) = packsort.open_shards(tmp_path / "packed")
    assert pack["input_ids"].tolist() == rendered(tokenizer, *ASKED) * 3


def test_columns_of_a_csv_file_are_named_on_the_command_line(tmp_path, tokenizer_folder, tokenizer, run):
    (tmp_path / "rows.csv").write_text("question,answer\ntwo and, three\n")
    options = ("-o", tmp_path / "packed", "--tokenizer", tokenizer_folder, "--max-length", 100)
    done = run("pack", tmp_path / "rows.csv", *options, "--columns", "prompt=question,completion=Answer")
    assert (done.returncode, "did you mean `answer`?" in done.stderr) == (1, True)
    done = run("pack", tmp_path / "rows.csv", *options, "--columns", "prompt=question,completion=answer")
    assert done.returncode == 0, done.stderr
    (pack,) = packsort.open_shards(tmp_path / "packed")
    assert [pack["input_ids"].tolist()] == ids([{"prompt": "two and", "completion": " three"}], tokenizer)


def test_completions_that_a_column_calls_bad_are_said(tmp_path, tokenizer_folder):
    rows = pa.table({"prompt": ["hi", "hi"], "completion": ["hello", "go away"], "label": [True, False]})
    with pytest.warns(UserWarning, match="the booleans in column `label` are not read"):
        packsort.write_shards(rows, tmp_path / "packed", 64, tokenizer=tokenizer_folder)
