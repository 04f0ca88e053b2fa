from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import datasets
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import packsort
import tiny_tokenizer
from packsort.errors import OptionError, OutputError, OutputExistsError, SourceError, TokenizerError
from packsort.tokenization.files import write_tokens
from packsort.tokenization.loss import _OLD_WORDS, LossRule, describe_loss, parse_loss_rule
from packsort.tokenization.notes import Note
from packsort.tokenization.tokenize import tokenize
from packsort.tokenization.tokenizer import load_tokenizer
from real_data import REAL_DATA, needs_real_data
from tiny_tokenizer import built

CHATS = [
    [{"role": "user", "content": "Add two and three."}, {"role": "assistant", "content": "five"}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "naïve café ≠ 😀?"},
        {"role": "assistant", "content": " 😀 ok "},
        {"role": "user", "content": "and?"},
        {"role": "assistant", "content": ""},
    ],
    [{"role": "user", "content": "nobody answers"}],
]


def chats(conversations=CHATS, **columns) -> pa.Table:
    return pa.table({"messages": conversations, **columns})


def expected(tokenizer, conversation, **options) -> tuple[list[int], list[int]]:
    """Ids and labels as `apply_chat_template` has them."""
    out = tokenizer.apply_chat_template(conversation, return_dict=True, return_assistant_tokens_mask=True, **options)
    mask = out["assistant_masks"]
    return out["input_ids"], [token if on else -100 for token, on in zip(out["input_ids"], mask, strict=True)]


def pairs(table: pa.Table) -> list[tuple[list[int], list[int]]]:
    return list(zip(table["input_ids"].to_pylist(), table["labels"].to_pylist(), strict=True))


def test_a_tokenizer_may_be_its_folder(tokenizer_folder, tokenizer):
    for folder in (tokenizer_folder, str(tokenizer_folder)):
        assert packsort.tokenize(chats(), folder).read().equals(tokenize(chats(), tokenizer).read())


def test_loss_rules_and_notes_are_identifiers_that_are_said_in_words():
    assert all(describe_loss(rule) for rule in LossRule)
    assert all(" " not in rule for rule in LossRule)
    assert [parse_loss_rule(text) for text in _OLD_WORDS] == list(_OLD_WORDS.values())
    assert [parse_loss_rule(rule.value) for rule in LossRule] == list(LossRule)
    note = Note("merged_prompts", {"sequences": 1200})
    assert Note.from_json(json.loads(json.dumps(asdict(note)))) == note
    assert str(note).startswith("in 1,200 sequences")
    assert str(Note.from_json("as a person wrote it")) == "as a person wrote it"
    with pytest.raises(ValueError, match="'nothing' is not a valid LossRule"):
        parse_loss_rule("nothing")


# Conversations


def test_conversations_give_what_apply_chat_template_gives(tokenizer):
    tokens = tokenize(chats(), tokenizer)
    table = tokens.read()
    assert pairs(table) == [expected(tokenizer, chat) for chat in CHATS]
    assert table.schema.field("input_ids").type == pa.list_(pa.int32())
    assert table.schema.field("labels").type == pa.list_(pa.int32())
    assert table["length"].to_pylist() == [len(ids) for ids in table["input_ids"].to_pylist()]
    assert tokens.loss_rule is LossRule.GENERATION
    assert tokens.columns == ("messages",)
    assert (tokens.sequences, tokens.without_loss) == (3, 1)
    assert tokens.loss_tokens == sum(label != -100 for _, labels in pairs(table) for label in labels)


def test_prompt_tokens_carry_no_loss_and_answers_with_their_end_do(tokenizer):
    ids, labels = pairs(tokenize(chats(), tokenizer).read())[0]
    trained = [token for token, label in zip(ids, labels, strict=True) if label != -100]
    assert tokenizer.decode(trained) == "five<|im_end|>"


text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
turns = st.lists(st.tuples(st.sampled_from(["user", "assistant", "tool"]), text), min_size=1, max_size=6)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(turns, min_size=1, max_size=4))
def test_any_conversation_gives_what_apply_chat_template_gives(tokenizer, conversations):
    given_chats = [[{"role": role, "content": content} for role, content in chat] for chat in conversations]
    found = pairs(tokenize(chats(given_chats), tokenizer).read())
    assert found == [expected(tokenizer, chat) for chat in given_chats]


@needs_real_data
@pytest.mark.parametrize("name", ["multi_turn", "single_turn"])
def test_real_conversations_give_what_apply_chat_template_gives(real_tokenizer, name):
    rows = pq.read_table(REAL_DATA / f"{name}.parquet", columns=["messages"]).slice(12_000, 800)
    rows = pa.concat_tables([rows, pq.read_table(REAL_DATA / f"{name}.parquet", columns=["messages"])[-20:]])
    found = pairs(tokenize(rows, real_tokenizer).read())
    out = real_tokenizer.apply_chat_template(
        rows["messages"].to_pylist(), return_dict=True, return_assistant_tokens_mask=True
    )
    assert [ids for ids, _ in found] == out["input_ids"]
    for (ids, labels), mask in zip(found, out["assistant_masks"], strict=True):
        assert np.array_equal(labels, np.where(mask, ids, -100))


def test_template_without_marks_trains_on_assistant_turns(tmp_path, tokenizer):
    unmarked = built(tmp_path, template=tiny_tokenizer.UNMARKED_TEMPLATE)
    tokens = tokenize(chats(), unmarked)
    assert tokens.loss_rule is LossRule.ASSISTANT
    for (ids, labels), chat in zip(pairs(tokens.read()), CHATS, strict=True):
        assert ids == unmarked.apply_chat_template(chat)["input_ids"]
        trained = unmarked.decode([label for label in labels if label != -100])
        # Rendered message by message, the line feed after the end of a turn belongs to the turn.
        assert trained == "".join(f"{one['content']}<|im_end|>\n" for one in chat if one["role"] == "assistant")


def test_every_token_is_trained_on_where_that_is_asked_for(tokenizer):
    tokens = tokenize(chats(), tokenizer, loss="all")
    assert tokens.loss_rule is LossRule.ALL
    ids = [tokenizer.apply_chat_template(chat)["input_ids"] for chat in CHATS]
    assert pairs(tokens.read()) == [(one, one) for one in ids]


def test_truncation_and_padding_of_a_tokenizer_are_not_applied_and_not_changed(tmp_path, tokenizer):
    cutting = built(tmp_path, truncation=True)
    assert cutting.backend_tokenizer.truncation["max_length"] == 4
    assert tokenize(chats(), cutting).read().equals(tokenize(chats(), tokenizer).read())
    for table in (pa.table({"text": ["five " * 30]}), pa.table({"prompt": ["five " * 30], "completion": ["x" * 30]})):
        assert tokenize(table, cutting).read()["length"].to_pylist()[0] > 30
    assert cutting.backend_tokenizer.truncation["max_length"] == 4
    assert cutting.backend_tokenizer.padding["length"] == 16


def test_settings_changed_meanwhile_do_not_reach_a_tokenization(tmp_path, tokenizer):
    mine = built(tmp_path)
    tokens = tokenize(chats(), mine)
    mine("changes the backend for good", truncation=True, max_length=2)
    assert pairs(tokens.read()) == [expected(tokenizer, chat) for chat in CHATS]


def test_keys_that_arrow_filled_in_do_not_reach_the_template(tmp_path):
    template = (
        "{% for m in messages %}{{ m.role }}:{% if 'content' in m %}{{ m.content }}{% endif %}"
        "{% if 'tool_calls' in m %}{{ m.tool_calls | tojson }}{% endif %};{% endfor %}"
    )
    tokenizer = built(tmp_path, template=template)
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    other = {"function": {"name": "neg", "arguments": {"b": 2}}}
    chat = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [call, other]},
    ]
    (ids,) = tokenize(chats([chat]), tokenizer).read()["input_ids"].to_pylist()
    assert tokenizer.decode(ids) == f"user:x;assistant:{json.dumps([call, other])};"


@pytest.mark.parametrize("kind", ["structs", "json", "json_each"])
def test_tools_reach_the_template(tmp_path, kind):
    tokenizer = built(
        tmp_path, template="{% if tools %}{{ tools | tojson }}{% endif %}{{ messages[0].content }}{{ eos_token }}"
    )
    tool = {"name": "add", "parameters": {"a": "int"}}
    given_tools = {"structs": [tool], "json": json.dumps([tool]), "json_each": [json.dumps(tool)]}[kind]
    table = chats([CHATS[0]] * 3, tools=[given_tools, None, given_tools[:0]])
    found = tokenize(table, tokenizer).read()["input_ids"].to_pylist()
    plain = f"{CHATS[0][0]['content']}<|im_end|>"
    assert [tokenizer.decode(ids) for ids in found] == [json.dumps([tool]) + plain, plain, plain]


def test_polars_frames_and_datasets_are_tokenized_alike(tokenizer):
    wanted = tokenize(chats(CHATS[:1]), tokenizer).read()
    for source in (pl.DataFrame({"messages": CHATS[:1]}), datasets.Dataset.from_dict({"messages": CHATS[:1]})):
        assert tokenize(source, tokenizer).read().equals(wanted)


def test_rows_keep_their_order_through_many_batches(tokenizer):
    numbers = [f"{i} {'x' * (i % 7)}" for i in range(5500)]
    done = []
    tokens = tokenize(pa.table({"text": numbers, "id": range(5500)}), tokenizer, keep=["id"], on_progress=done.append)
    table = tokens.read()
    assert [tokenizer.decode(ids[:-1]) for ids in table["input_ids"].to_pylist()] == numbers
    assert table["id"].to_pylist() == list(range(5500))
    assert sum(done) == tokens.sequences == 5500


# Prompts with completions, and text


PROMPTED = [
    {"prompt": "What is the capital", "completion": " of the island?"},
    {"prompt": "What is the capi", "completion": "tal of the island?"},
    {"prompt": "ends", "completion": " here<|im_end|>"},
    {"prompt": "", "completion": "alone"},
    {"prompt": "no answer", "completion": ""},
]


def test_completion_carries_the_loss(tokenizer):
    tokens = tokenize(pa.Table.from_pylist(PROMPTED), tokenizer)
    (ids, labels), merged, *_ = pairs(tokens.read())
    trained = [token for token, label in zip(ids, labels, strict=True) if label != -100]
    assert tokenizer.decode(trained) == " of the island?<|im_end|>"
    assert tokens.loss_rule == "completion"
    assert len(merged[0]) == len(ids)
    assert tokens.notes == (
        Note("eos_in_text", {"sequences": 1, "token": "<|im_end|>"}),
        Note("merged_prompts", {"sequences": 1}),
    )
    assert str(tokens.notes[1]).startswith("in 1 sequences the prompt alone has other tokens")


def test_text_trains_on_every_token_and_ends_once(tokenizer):
    tokens = tokenize(pa.table({"text": ["five", "five<|im_end|>"]}), tokenizer)
    first, second = pairs(tokens.read())
    assert first == second
    assert first[0] == first[1]
    assert first[0][-1] == tokenizer.eos_token_id
    assert tokens.loss_rule == "all"


def test_tokenizer_without_an_end_says_that_none_was_appended(tmp_path):
    tokens = tokenize(pa.table({"text": ["five"]}), built(tmp_path, eos=False))
    assert "no end-of-sequence token" in str(tokens.notes[0])
    assert tokens.read()["length"].to_pylist() == [len(tokens.read()["input_ids"][0])]


def test_messages_come_before_prompts_and_those_before_text(tokenizer):
    columns = {"text": ["a"], "prompt": ["b"], "completion": ["c"], "messages": [CHATS[0]]}
    for unwanted in ("messages", "prompt", None):
        rule = tokenize(pa.table(columns), tokenizer).loss_rule
        assert rule == {"messages": LossRule.GENERATION, "prompt": LossRule.COMPLETION, None: LossRule.ALL}[unwanted]
        columns.pop(unwanted, None)


def test_long_texts_are_tokenized_in_several_calls(tokenizer, monkeypatch):
    rows = chats(CHATS * 40)
    wanted = tokenize(rows, tokenizer).read()
    monkeypatch.setattr("packsort.tokenization.encode._CHARACTERS_A_CALL", 150)
    assert tokenize(rows, tokenizer).read().equals(wanted)


def python_tokenizer(template):
    """A tokenizer with no Rust behind it: letters become numbers."""
    from transformers import PreTrainedTokenizer

    class Letters(PreTrainedTokenizer):
        vocab_size = 0x110000

        def get_vocab(self):
            return {}

        def _tokenize(self, text, **kwargs):
            return list(text)

        def _convert_token_to_id(self, token):
            return ord(token[0])

        def _convert_id_to_token(self, index):
            return chr(index)

    letters = Letters()
    letters.chat_template = template
    return letters


def test_tokenizer_without_rust_cannot_tell_turns():
    letters = python_tokenizer(tiny_tokenizer.TEMPLATE)
    with pytest.raises(TokenizerError, match=r"does not tell which characters a token covers.*loss='all'"):
        tokenize(chats(CHATS[:1]), letters)
    ((ids, labels),) = pairs(tokenize(chats(CHATS[:1]), letters, loss="all").read())
    assert "".join(map(chr, ids)).startswith("<|im_start|>user\nAdd two")
    assert ids == labels


# What is wrong is named

BAD_CHATS = {
    "null": (None, "column `messages` is null"),
    "empty": ([], "column `messages` is an empty conversation: pass empty='drop' to leave such rows out"),
    "null_message": ([None], "column `messages`: message 0 is null"),
    "no_role": ([{"role": None, "content": "x"}], "column `messages`: message 0 has no role"),
    "no_content": (
        [{"role": "user", "content": None}],
        "column `messages`: message 0 (user) has neither content nor tool_calls",
    ),
    "refused": (
        [{"role": "villain", "content": "x"}],
        "the chat template refuses the conversation: roles must be good",
    ),
}


@pytest.mark.parametrize("name", BAD_CHATS)
def test_wrong_conversation_is_named(tmp_path, tokenizer, name):
    chat, problem = BAD_CHATS[name]
    path = tmp_path / "chats.parquet"
    pq.write_table(chats([CHATS[0]] * 1500 + [chat]), path)
    with pytest.raises(SourceError) as caught:
        tokenize(path, tokenizer).read()
    assert str(caught.value) == f"`{path}` row 1500: {problem}"


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"text": ["a", None]}, "row 1: column `text` is null"),
        ({"prompt": ["a", "b"], "completion": ["a", None]}, "row 1: column `completion` is null"),
        ({"prompt": [CHATS[0], []], "completion": [CHATS[0]] * 2}, "row 1: column `prompt` is an empty conversation"),
        ({"messages": [CHATS[0]] * 2, "tools": ["[]", "{nonsense"]}, "row 1: column `tools` is not a JSON list"),
        ({"messages": [CHATS[0]], "tools": ['{"name": "f"}']}, "column `tools` must hold a list of tools, got dict"),
    ],
)
def test_wrong_row_is_named(tokenizer, columns, problem):
    with pytest.raises(SourceError) as caught:
        tokenize(pa.table(columns), tokenizer).read()
    assert problem in str(caught.value)


def test_text_that_gives_no_token_is_named(tmp_path):
    with pytest.raises(SourceError, match="row 1: column `text` gives no tokens"):
        tokenize(pa.table({"text": ["a", ""]}), built(tmp_path, eos=False)).read()


def test_text_that_is_not_utf8_is_named(tokenizer):
    broken = pa.array([b"fine", b"\xff\xfe"], pa.binary()).cast(pa.string(), safe=False)
    with pytest.raises(SourceError, match="row 1: column `text` is not valid UTF-8"):
        tokenize(pa.table({"text": broken}), tokenizer).read()


@pytest.mark.parametrize(
    "columns", [{"conversation": ["x"]}, {"messages": [1]}, {"prompt": ["x"]}, {"messages": [[{"from": "x"}]]}]
)
def test_no_usable_column_lists_those_there_are(tokenizer, columns):
    with pytest.raises(SourceError, match=f"no usable column: there are `{next(iter(columns))}`: .* is needed"):
        tokenize(pa.table(columns), tokenizer)


def test_missing_chat_template_names_the_way_out(tmp_path):
    with pytest.raises(TokenizerError, match=r"no chat template.*: set its `chat_template`"):
        tokenize(chats(), built(tmp_path, template=None))


def test_broken_chat_template_names_its_line(tokenizer_folder):
    broken = load_tokenizer(tokenizer_folder, chat_template="fine\n{% for m in %}")
    with pytest.raises(TokenizerError, match=r"the chat template is not valid \(line 2\)"):
        tokenize(chats(), broken).read()


def test_chat_template_can_be_given(tokenizer_folder):
    shouting = load_tokenizer(
        tokenizer_folder, chat_template="{% for m in messages %}{{ m.content | upper }}{% endfor %}"
    )
    (ids,) = tokenize(chats(CHATS[:1]), shouting).read()["input_ids"].to_pylist()
    assert shouting.decode(ids) == "ADD TWO AND THREE.FIVE"


def test_unknown_and_own_columns_cannot_be_kept(tokenizer):
    with pytest.raises(SourceError, match="no column `nope` to keep; there are `messages`"):
        tokenize(chats(), tokenizer, keep=["nope"])
    with pytest.raises(OptionError, match="`labels` cannot be kept"):
        tokenize(chats(labels=[1, 2, 3]), tokenizer, keep=["labels"])


# Files


@pytest.fixture
def two_files(tmp_path) -> list[Path]:
    paths = [tmp_path / "in/a/train.parquet", tmp_path / "in/b/train.parquet"]
    for path, some in zip(paths, (CHATS, CHATS[:1] * 2500), strict=True):
        path.parent.mkdir(parents=True)
        pq.write_table(chats(some, source=[str(i) for i in range(len(some))]), path)
    return paths


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_file_gets_its_own_with_the_same_rows(tmp_path, two_files, tokenizer):
    empty = tmp_path / "in/_empty.parquet"
    pq.write_table(pq.read_table(two_files[0]).slice(0, 0), empty)
    written = write_tokens([empty, *two_files], tmp_path / "out/deep", tokenizer, keep=["source"])
    assert [path.name for path in written.files] == ["empty.parquet", "train.parquet", "train-2.parquet"]
    assert sorted(path.name for path in (tmp_path / "out/deep").iterdir()) == sorted(p.name for p in written.files)
    tables = [pq.read_table(path) for path in written.files]
    assert [len(table) for table in tables] == [0, 3, 2500]
    assert pairs(tables[1]) == [expected(tokenizer, chat) for chat in CHATS]
    assert tables[2]["source"].to_pylist() == [str(i) for i in range(2500)]
    assert pq.ParquetFile(written.files[2]).num_row_groups == 1
    assert written.tokens == sum(sum(table["length"].to_pylist()) for table in tables)
    about = json.loads(tables[0].schema.metadata[b"packsort"])
    assert about["loss"] == written.loss_rule == "generation"


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_one_file_holds_all_rows(tmp_path, two_files, tokenizer, suffix):
    out = tmp_path / f"tokens{suffix}"
    assert write_tokens(two_files, out, tokenizer).files == (out,)
    table = pq.read_table(out) if suffix == ".parquet" else ipc.open_file(pa.memory_map(str(out))).read_all()
    assert table["input_ids"].to_pylist() == tokenize(two_files, tokenizer).read()["input_ids"].to_pylist()


def test_existing_output_is_not_touched(tmp_path, two_files, tokenizer):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds `notes.txt`, which packsort did not write"):
        write_tokens(two_files, out, tokenizer, overwrite=True)
    (tmp_path / "one.parquet").write_text("mine")
    with pytest.raises(OutputExistsError, match="exists; pass overwrite=True"):
        write_tokens(two_files, tmp_path / "one.parquet", tokenizer)
    with pytest.raises(OutputError, match="it is a file"):
        write_tokens(two_files, out / "notes.txt", tokenizer)
    assert everything(out) == {"notes.txt": b"mine"}


def test_overwrite_replaces_its_own_files_only(tmp_path, two_files, tokenizer):
    out = tmp_path / "out"
    write_tokens(two_files, out, tokenizer)
    pq.write_table(pa.table({"input_ids": [[1]]}), out / "train-3.parquet")
    before = everything(out)
    with pytest.raises(OutputError, match=r"holds `train-3.parquet`, which packsort did not write"):
        write_tokens(two_files[:1], out, tokenizer, overwrite=True)
    assert everything(out) == before
    (out / "train-3.parquet").unlink()
    with pytest.raises(OutputExistsError, match="not empty; pass overwrite=True"):
        write_tokens(two_files[:1], out, tokenizer)
    write_tokens(two_files[:1], out, tokenizer, overwrite=True, keep=["source"])
    assert everything(out).keys() == {"train.parquet"}
    assert "source" in pq.read_schema(out / "train.parquet").names


def test_source_is_never_replaced(tmp_path, two_files, tokenizer):
    before = everything(tmp_path)
    with pytest.raises(OptionError, match="would replace a file of the source"):
        write_tokens(two_files[0], two_files[0].parent, tokenizer, overwrite=True)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_failure_leaves_nothing_behind(tmp_path, two_files, tokenizer, there, error):
    out = tmp_path / "new/out"
    if there:
        write_tokens(two_files, out, tokenizer)
    before = everything(tmp_path)

    def stop(done):
        raise error

    with pytest.raises(error):
        write_tokens(two_files, out, tokenizer, overwrite=True, on_progress=stop)
    assert everything(tmp_path) == before
    assert (tmp_path / "new").exists() == there


def test_wrong_row_in_the_last_file_leaves_nothing_behind(tmp_path, two_files, tokenizer):
    pq.write_table(chats([*CHATS, []], source=["x"] * 4), two_files[1])
    before = everything(tmp_path)
    with pytest.raises(SourceError, match="row 3: column `messages` is an empty conversation"):
        write_tokens(two_files, tmp_path / "out", tokenizer)
    assert everything(tmp_path) == before
    assert not (tmp_path / "out").exists()


FULL_DISK = """
import resource, sys
from packsort.tokenization.files import write_tokens
from packsort.tokenization.tokenizer import load_tokenizer
tokenizer = load_tokenizer(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
for out in sys.argv[3:]:
    try:
        write_tokens(sys.argv[2], out, tokenizer)
    except Exception as error:
        print(type(error).__name__, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on file sizes")
def test_no_space_is_said_and_leaves_nothing_behind(tmp_path, two_files, tokenizer_folder):
    before = everything(tmp_path)
    rows = tmp_path / "in/b/train.parquet"
    outs = [tmp_path / name for name in ("out", "out.parquet", "out.arrow")]
    command = [sys.executable, "-c", FULL_DISK, str(tokenizer_folder), str(rows), *map(str, outs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert len(said) == len(outs)
    for line in said:
        assert line.startswith("OutputError cannot write `")
        assert "file too large" in line
    assert everything(tmp_path) == before
    assert not any(out.exists() for out in outs)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM")
def test_tokenizing_can_be_stopped_between_batches(tmp_path, tokenizer_folder):
    code = (
        "import sys, signal, pyarrow as pa\n"
        "from packsort import tokenize\n"
        "from packsort.tokenization.tokenizer import load_tokenizer\n"
        "tables = iter(tokenize(pa.table({'text': ['five ' * 200] * 50_000}), load_tokenizer(sys.argv[1])))\n"
        "next(tables); print('running', flush=True)\n"
        "for _ in tables: pass\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tokenizer_folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stdout.readline() == b"running\n"
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert time.monotonic() - start < 20
    assert b"KeyboardInterrupt" in errors
