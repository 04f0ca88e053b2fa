from __future__ import annotations

from itertools import chain, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import packsort
import tiny_tokenizer
from packsort.errors import OptionError
from packsort.tokenization.files import write_tokens
from packsort.tokenization.tokenize import tokenize
from packsort.tokenization.tokenizer import load_tokenizer
from real_data import REAL_DATA, needs_real_data
from tiny_tokenizer import built

SYSTEM = {"role": "system", "content": "Be brief and count."}
WANTS_USER = (
    "{%- if not messages | selectattr('role', 'equalto', 'user') | list %}{{ raise_exception('no user') }}{% endif %}"
    + tiny_tokenizer.UNMARKED_TEMPLATE
)
# As Llama 2's: the system prompt is part of the first user message, and alone it is nothing.
INSIDE_USER = (
    "{%- for message in messages %}{%- if message['role'] == 'user' %}"
    "{{- '<s>[INST] ' + ('<<SYS>>' + messages[0]['content'] + '<</SYS>> '"
    " if loop.index0 == 1 and messages[0]['role'] == 'system' else '') + message['content'] + ' [/INST]' }}"
    "{%- elif message['role'] != 'system' %}{{- message['content'] + '<|im_end|>' }}{%- endif %}{%- endfor %}"
)
# As Qwen's: a system prompt where there is none, and only the last answer keeps its reasoning.
REWRITING = (
    "{%- if messages[0]['role'] != 'system' %}{{- '<|im_start|>system\\nYou help.<|im_end|>\\n' }}{%- endif %}"
    "{%- for m in messages %}{{- '<|im_start|>' + m['role'] + '\\n' }}"
    "{%- if m['role'] == 'assistant' %}{% generation %}"
    "{{- (m['content'] if loop.last else m['content'].split('</think>')[-1]) + '<|im_end|>' }}{% endgeneration %}"
    "{%- else %}{{- m['content'] + '<|im_end|>' }}{%- endif %}{{- '\\n' }}{%- endfor %}"
)


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def asked(count: int, words: str = "and what of number") -> list[dict[str, str]]:
    """`count` turns, no two alike."""
    turns = ([said("user", f"{words} {i}?"), said("assistant", f"number {i} is fine")] for i in range(count))
    return list(chain.from_iterable(turns))


def chats(conversations, **columns) -> pa.Table:
    return pa.table({"messages": conversations, **columns})


def turns_of(chat) -> tuple[list[dict], list[list[dict]]]:
    """Leading system messages and turns, by the definition of a turn."""
    head = 0
    while head < len(chat) and chat[head]["role"] in ("system", "developer"):
        head += 1
    users = [i for i in range(head, len(chat)) if chat[i]["role"] == "user"]
    cuts = [head, *users[1:], len(chat)]
    return chat[:head], [chat[a:b] for a, b in pairwise(cuts)]


def template_tokens(tokenizer, chat, **options) -> tuple[list[int], list[int]]:
    """Ids and labels as `apply_chat_template` has them."""
    marked = "generation" in tokenizer.chat_template
    out = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=marked, **options)
    ids = out["input_ids"]
    return ids, [i if on else -100 for i, on in zip(ids, out["assistant_masks"], strict=True)] if marked else ids


def reference(tokenizer, chat, limit, **options) -> tuple[list[tuple[list[int], list[int]]], int]:
    """Windows as (ids, labels), and the number of turns left out, by adding one turn after another while it fits."""
    whole = template_tokens(tokenizer, chat, **options)
    if len(whole[0]) <= limit:
        return [whole], 0
    head, turns = turns_of(chat)
    windows, left_out, first = [], 0, 0
    while first < len(turns):
        best, end = None, first
        while end < len(turns):
            tried = template_tokens(tokenizer, head + list(chain.from_iterable(turns[first : end + 1])), **options)
            if len(tried[0]) > limit:
                break
            best, end = tried, end + 1
        if best is None:
            left_out, first = left_out + 1, first + 1
        else:
            windows.append(best)
            first = end
    return windows, left_out


def windows_of(table: pa.Table) -> list[list[tuple[list[int], list[int]]]]:
    """The windows of each row as (ids, labels)."""
    found = []
    for row in table.select(["input_ids", "labels", "piece_starts", "length"]).to_pylist():
        ends = [*row["piece_starts"][1:], row["length"]]
        assert row["length"] == len(row["input_ids"]) == len(row["labels"])
        assert row["piece_starts"][:1] in ([0], [])
        cuts = zip(row["piece_starts"], ends, strict=False)
        found.append([(row["input_ids"][a:b], row["labels"][a:b]) for a, b in cuts])
    return found


def trained(tokenizer, windows) -> str:
    return tokenizer.decode([label for _, labels in windows for label in labels if label != -100])


# What windows hold


def test_windows_are_conversations_of_whole_turns_that_repeat_the_system_prompt(tokenizer):
    chat = [SYSTEM, *asked(7)]
    (windows,) = windows_of(tokenize(chats([chat]), tokenizer, split_turns=150).read())
    assert windows == reference(tokenizer, chat, 150)[0]
    assert len(windows) > 1
    for ids, _ in windows:
        assert tokenizer.decode(ids).startswith("<|im_start|>system\nBe brief and count.<|im_end|>\n<|im_start|>user")
    assert trained(tokenizer, windows) == "".join(m["content"] + "<|im_end|>" for m in chat if m["role"] == "assistant")


def test_tool_messages_stay_with_their_turn_and_greetings_with_the_first(tokenizer):
    turn = [said("user", "add"), said("assistant", "call"), said("tool", "five"), said("assistant", "it is five")]
    chat = [said("assistant", "hello"), *turn * 4]
    (windows,) = windows_of(tokenize(chats([chat]), tokenizer, split_turns=110).read())
    texts = [tokenizer.decode(ids) for ids, _ in windows]
    assert len(texts) > 1
    assert texts[0].startswith("<|im_start|>assistant\nhello")
    assert all(text.startswith("<|im_start|>user") for text in texts[1:])
    assert all(text.endswith("it is five<|im_end|>\n") for text in texts)
    assert windows == reference(tokenizer, chat, 110)[0]


def test_all_leading_system_and_developer_messages_are_repeated(tokenizer):
    chat = [SYSTEM, said("developer", "Use words."), *asked(5)]
    (windows,) = windows_of(tokenize(chats([chat]), tokenizer, split_turns=150).read())
    assert len(windows) > 1
    assert all("count.<|im_end|>\n<|im_start|>developer\nUse words." in tokenizer.decode(ids) for ids, _ in windows)


def test_rows_that_fit_are_as_without_windows(tokenizer):
    table = chats([[SYSTEM, *asked(i % 4 + 1)] for i in range(2500)])
    plain = tokenize(table, tokenizer).read()
    tokens = tokenize(table, tokenizer, split_turns=10_000)
    found = tokens.read()
    assert found.drop_columns(["piece_starts"]).equals(plain)
    assert found["piece_starts"].to_pylist() == [[0]] * 2500
    assert found.schema.field("piece_starts").type == pa.list_(pa.int32())
    assert "piece_starts" not in plain.schema.names
    assert (tokens.split, tokens.windows, tokens.turns_left_out, tokens.notes) == (0, 0, 0, ())


def test_long_rows_keep_their_place_among_short_ones(tokenizer):
    rows = [[SYSTEM, *asked(9 if i % 7 == 0 else 1)] for i in range(2100)]
    tokens = tokenize(chats(rows, id=range(2100)), tokenizer, keep=["id"], split_turns=150)
    table = tokens.read()
    long, short = (reference(tokenizer, rows[i], 150)[0] for i in (0, 1))
    assert windows_of(table) == [short if i % 7 else long for i in range(2100)]
    assert table["id"].to_pylist() == list(range(2100))
    assert (tokens.split, tokens.windows) == (300, 300 * len(long))


@pytest.mark.parametrize("template", [tiny_tokenizer.TEMPLATE, REWRITING])
def test_templates_that_rewrite_conversations_see_each_window(tmp_path, template):
    tokenizer = built(tmp_path, template=template)
    chat = asked(3)
    chat[1::2] = [said("assistant", f"<think>{'hmm ' * 20}</think>{m['content']}") for m in chat[1::2]]
    chat += asked(6)
    (windows,) = windows_of(tokenize(chats([chat]), tokenizer, split_turns=160).read())
    assert len(windows) > 1
    if template == tiny_tokenizer.TEMPLATE:
        assert windows == reference(tokenizer, chat, 160)[0]
    _, turns = turns_of(chat)
    first = 0
    for ids, labels in windows:
        assert len(ids) <= 160
        ends = range(first + 1, len(turns) + 1)
        end = next(
            e for e in ends if template_tokens(tokenizer, list(chain.from_iterable(turns[first:e]))) == (ids, labels)
        )
        first = end
    assert first == len(turns)


def test_tools_are_given_to_each_window(tmp_path):
    template = "{% if tools %}{{ tools | tojson }}{% endif %}" + tiny_tokenizer.TEMPLATE
    tokenizer = built(tmp_path, template=template)
    tool = {"name": "add", "parameters": {"a": "int"}}
    rows = chats([[SYSTEM, *asked(6)], asked(6)], tools=[[tool], None])
    with_tools, without = windows_of(tokenize(rows, tokenizer, split_turns=180).read())
    assert with_tools == reference(tokenizer, [SYSTEM, *asked(6)], 180, tools=[tool])[0]
    assert without == reference(tokenizer, asked(6), 180)[0]
    assert len(with_tools) > len(without) > 1


# Loss without marks


@pytest.mark.parametrize("template", [tiny_tokenizer.UNMARKED_TEMPLATE, WANTS_USER, INSIDE_USER])
def test_windows_train_on_assistant_turns_where_the_template_has_no_marks(tmp_path, template):
    tokenizer = built(tmp_path, template=template)
    chat = [SYSTEM, *asked(7)]
    (windows,) = windows_of(tokenize(chats([chat]), tokenizer, split_turns=150).read())
    assert [ids for ids, _ in windows] == [ids for ids, _ in reference(tokenizer, chat, 150)[0]]
    assert len(windows) > 2
    end = "<|im_end|>" if template is INSIDE_USER else "<|im_end|>\n"
    assert trained(tokenizer, windows) == "".join(m["content"] + end for m in chat if m["role"] == "assistant")


# Loss on every token


@pytest.mark.parametrize("tools", [None, [{"name": "add"}]])
def test_repeated_system_prompt_carries_no_loss_where_every_token_does(tmp_path, tools):
    template = tiny_tokenizer.UNMARKED_TEMPLATE
    if tools:
        template = "{% if tools %}{{ tools | tojson }}{% endif %}" + template
    tokenizer = built(tmp_path, template=template)
    chat = [SYSTEM, *asked(7)]
    (windows,) = windows_of(tokenize(chats([chat], tools=[tools]), tokenizer, split_turns=150, loss="all").read())
    wanted = reference(tokenizer, chat, 150, tools=tools)[0]
    assert [ids for ids, _ in windows] == [ids for ids, _ in wanted]
    assert len(windows) > 2
    # Together the windows train on exactly the tokens of the conversation.
    assert trained(tokenizer, windows) == tokenizer.apply_chat_template(chat, tools=tools, tokenize=False)
    assert windows[0][1] == windows[0][0]


@pytest.mark.parametrize("template", [WANTS_USER, INSIDE_USER])
def test_system_prompt_is_found_where_it_cannot_be_rendered_alone(tmp_path, template):
    tokenizer = built(tmp_path, template=template)
    # Turns that start alike must not be taken for a part of the system prompt.
    chat = [SYSTEM, *asked(7)]
    (windows,) = windows_of(tokenize(chats([chat]), tokenizer, split_turns=150, loss="all").read())
    assert [ids for ids, _ in windows] == [ids for ids, _ in reference(tokenizer, chat, 150)[0]]
    assert len(windows) > 2
    words = trained(tokenizer, windows)
    assert words.count(SYSTEM["content"]) == 1
    assert [words.count(m["content"]) for m in chat[1:]] == [1] * 14
    for _, labels in windows[1:]:
        kept = tokenizer.decode([label for label in labels if label != -100])
        assert kept.lstrip().startswith("and what of number")


def test_conversation_without_system_prompt_repeats_nothing(tmp_path):
    tokenizer = built(tmp_path, template=tiny_tokenizer.UNMARKED_TEMPLATE)
    (windows,) = windows_of(tokenize(chats([asked(7)]), tokenizer, split_turns=150, loss="all").read())
    assert len(windows) > 1
    assert all(ids == labels for ids, labels in windows)
    assert trained(tokenizer, windows) == tokenizer.apply_chat_template(asked(7), tokenize=False)


def test_tokenizer_without_rust_makes_windows_too():
    from test_tokenizing import python_tokenizer

    letters = python_tokenizer(tiny_tokenizer.TEMPLATE)
    chat = [SYSTEM, *asked(5)]
    table = tokenize(chats([chat]), letters, split_turns=300, loss="all").read()
    (windows,) = windows_of(table)
    assert len(windows) > 1
    assert max(len(ids) for ids, _ in windows) <= 300
    kept = "".join(chr(label) for _, labels in windows for label in labels if label != -100)
    assert kept == letters.apply_chat_template(chat, tokenize=False)


# What does not fit


def test_turn_that_is_too_long_is_left_out_and_counted(tokenizer):
    big = [said("user", "x" * 300), said("assistant", "no")]
    chat = [SYSTEM, *asked(2), *big, *asked(2)]
    tokens = tokenize(chats([chat, [SYSTEM, *big, *big], asked(1)]), tokenizer, split_turns=150)
    table = tokens.read()
    cut, nothing, short = windows_of(table)
    assert cut == reference(tokenizer, chat, 150)[0]
    assert "xxx" not in "".join(tokenizer.decode(ids) for ids, _ in cut)
    assert nothing == []
    assert short == reference(tokenizer, asked(1), 150)[0]
    assert table["piece_starts"].to_pylist()[1:] == [[], [0]]
    assert table["length"].to_pylist()[1] == 0
    head = len(template_tokens(tokenizer, [SYSTEM])[0])
    alone = len(template_tokens(tokenizer, [SYSTEM, *big])[0])
    whole = len(template_tokens(tokenizer, [SYSTEM, *big, *big])[0])
    counts = {
        "split": 1,
        "windows": len(cut),
        "turns_left_out": 3,
        "tokens_left_out": alone - head + whole,
        "rows_shortened": 1,
        "rows_left_out": 1,
    }
    assert tokens.split_by_file == [counts]
    assert {name: getattr(tokens, name) for name in counts} == counts
    assert (tokens.sequences, tokens.without_loss) == (3, 0)
    assert tuple(map(str, tokens.notes)) == (
        f"1 conversations of more than 150 tokens are cut between turns into {len(cut)} windows",
        "3 turns are left out because each has more than 150 tokens with the system prompt: 1 conversations lose some "
        f"of their turns, 1 lose all ({counts['tokens_left_out']:,} tokens)",
    )


@pytest.mark.parametrize("chat", [[SYSTEM] * 9, [said("user", "x" * 99)], [said("assistant", "y" * 99)] * 2])
def test_conversation_of_one_turn_that_is_too_long_is_left_out_whole(tokenizer, chat):
    tokens = tokenize(chats([chat]), tokenizer, split_turns=40)
    assert windows_of(tokens.read()) == [[]]
    assert (tokens.split, tokens.turns_left_out, tokens.rows_left_out) == (0, 1, 1)
    assert tokens.tokens_left_out == len(template_tokens(tokenizer, chat)[0])
    assert tokens.sequences == 1
    assert tokens.tokens == tokens.loss_tokens == tokens.without_loss == 0


def test_counts_are_kept_for_each_file(tmp_path, tokenizer):
    big = [said("user", "x" * 300), said("assistant", "no")]
    for name, rows in (("a", [asked(1)]), ("b", [[SYSTEM, *asked(7)], big]), ("c", [[SYSTEM, *asked(7)]] * 2)):
        pq.write_table(chats(rows), tmp_path / f"{name}.parquet")
    tokens = tokenize(tmp_path, tokenizer, split_turns=150)
    tokens.read()
    assert [counts["split"] for counts in tokens.split_by_file] == [0, 1, 2]
    assert [counts["rows_left_out"] for counts in tokens.split_by_file] == [0, 1, 0]
    assert tokens.windows == sum(counts["windows"] for counts in tokens.split_by_file)


# Any conversation

message = st.tuples(st.sampled_from(["user", "user", "assistant", "tool", "system"]), st.text("ab c≠\n", max_size=30))
conversation = st.lists(message, min_size=1, max_size=12)


@pytest.mark.parametrize("marked", [True, False])
@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(conversation, min_size=1, max_size=4), st.integers(1, 160))
def test_any_conversation_is_cut_as_the_reference_cuts_it(tokenizer_folder, marked, conversations, limit):
    template = tiny_tokenizer.TEMPLATE if marked else tiny_tokenizer.UNMARKED_TEMPLATE
    tokenizer = load_tokenizer(tokenizer_folder, chat_template=template)
    rows = [[said(role, content) for role, content in chat] for chat in conversations]
    tokens = tokenize(chats(rows), tokenizer, split_turns=limit, loss="auto" if marked else "all")
    found = windows_of(tokens.read())
    wanted = [reference(tokenizer, chat, limit) for chat in rows]
    assert [[ids for ids, _ in windows] for windows in found] == [[ids for ids, _ in windows] for windows, _ in wanted]
    assert tokens.turns_left_out == sum(left_out for _, left_out in wanted)
    assert tokens.tokens == sum(len(ids) for windows in found for ids, _ in windows)
    if marked:
        assert found == [windows for windows, _ in wanted]
    for chat, windows in zip(rows, found, strict=True):
        head = template_tokens(tokenizer, turns_of(chat)[0])[0] if turns_of(chat)[0] else []
        if not marked and windows:
            assert windows[0][1] == windows[0][0]
            assert all(labels == [-100] * len(head) + ids[len(head) :] for ids, labels in windows[1:])


@needs_real_data
@pytest.mark.parametrize(("limit", "count"), [(700, 30), (2048, 10)])
def test_real_conversations_are_cut_as_the_reference_cuts_them(real_tokenizer, limit, count):
    table = pq.read_table(REAL_DATA / "multi_turn.parquet", columns=["messages"])
    chats_of_rows = table["messages"].combine_chunks()
    letters = pc.utf8_length(chats_of_rows.flatten().field("content")).to_numpy()
    letters = np.add.reduceat(letters, chats_of_rows.offsets.to_numpy()[:-1])
    messages = np.diff(chats_of_rows.offsets.to_numpy())
    # A token is about four letters. The longest rows would keep the reference busy for minutes. Rows whose every turn
    # is too long have no windows.
    rows = np.flatnonzero((letters > 5 * limit) & (letters < 18_000) & (messages * limit > 2 * letters))
    some = table.take(rows[:: max(1, len(rows) // count)])
    tokens = tokenize(some, real_tokenizer, split_turns=limit)
    found = windows_of(tokens.read())
    wanted = [reference(real_tokenizer, chat, limit) for chat in some["messages"].to_pylist()]
    assert found == [windows for windows, _ in wanted]
    assert tokens.turns_left_out == sum(left_out for _, left_out in wanted)
    assert tokens.windows > tokens.split >= count // 2


# Wrong calls


@pytest.mark.parametrize(
    ("columns", "have"), [({"text": ["a"]}, "`text`"), ({"prompt": ["a"], "completion": ["b"]}, "`prompt` and `comp")]
)
def test_only_conversations_can_be_cut(tokenizer, columns, have):
    with pytest.raises(
        OptionError, match=f"split_turns does not go with rows of {have}.*: .* needs rows of `messages`"
    ):
        tokenize(pa.table(columns), tokenizer, split_turns=100)


@pytest.mark.parametrize("wrong", [0, -1, 2**31, 1.5, "many"])
def test_wrong_limits_are_refused(tokenizer, wrong):
    with pytest.raises(OptionError, match=r"split_turns must be .*, or None, got "):
        tokenize(chats([asked(1)]), tokenizer, split_turns=wrong)


def test_piece_starts_cannot_be_kept_where_they_are_made(tokenizer, tmp_path):
    table = chats([asked(1)], piece_starts=[[7]])
    with pytest.raises(OptionError, match="`piece_starts` cannot be kept"):
        tokenize(table, tokenizer, keep=["piece_starts"], split_turns=100)
    write_tokens(table, tmp_path / "kept.parquet", tokenizer, keep=["piece_starts"])
    assert pq.read_table(tmp_path / "kept.parquet")["piece_starts"].to_pylist() == [[7]]


@pytest.mark.parametrize("options", [{}, {"pad_to_multiple_of": 8, "separator": "<|im_end|>", "strategy": "bfd"}])
def test_packs_of_windows_are_proven_and_what_is_left_out_is_counted(tmp_path, tokenizer_folder, options):
    long, huge = [SYSTEM, *asked(30)], [SYSTEM, *asked(1, "a " * 200), *asked(2)]
    source = chats([long, [SYSTEM, *asked(1)], huge, asked(1, "b " * 200)])
    pq.write_table(source, tmp_path / "a.parquet")
    pq.write_table(source.slice(1, 1), tmp_path / "b.parquet")
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    manifest = packsort.write_shards(
        files, tmp_path / "packed", 96, tokenizer=tokenizer_folder, overlong="split_turns", seed=1, **options
    )
    shards = packsort.open_shards(tmp_path / "packed")
    found = shards.verify(files, tokenizer=tokenizer_folder)
    assert found.ok, found.problems
    assert (manifest.counts.split, manifest.counts.dropped, manifest.counts.turns_left_out) == (2, 1, 2)
    assert [one["dropped"] for one in manifest.sources] == [1, 0]
    assert [one["turns_left_out"] for one in manifest.sources] == [2, 0]
    assert manifest.counts.tokens_lost == sum(one["tokens_lost"] for one in manifest.sources) > 400
    windows = [pack["sequence_ids"].tolist() for pack in shards]
    assert sum(ids.count(0) for ids in windows) > 3
    assert not shards.verify(files[::-1], tokenizer=tokenizer_folder).ok
