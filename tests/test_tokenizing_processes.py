"""Tokenization in several processes, and after a kill: the same tokens, counts and notes as in one go."""

from __future__ import annotations

import os
import pickle
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
from commands import Run
from packsort._options.memory import used_memory
from packsort.errors import OptionError, OutputExistsError, SourceError, TokenizerError
from packsort.tokenization import processes, tokenize
from packsort.tokenization.batches import BatchTokenizer
from packsort.tokenization.files import write_tokens
from packsort.tokenization.tally import Tally
from packsort.tokenization.tokenize import Tokenization
from tiny_tokenizer import UNMARKED_TEMPLATE


def conversation(draw: random.Random) -> list[dict[str, Any]]:
    """Return turns of text, some with white space around it, some without words."""
    words = [" hello", "naïve café", "five ", "", "😀 ok", "a much longer answer than all the others have given"]
    turns = draw.randint(1, 5)
    head = [{"role": "system", "content": draw.choice(words)}] if draw.random() < 0.3 else []
    pairs = [({"role": "user", "content": "why"}, {"role": "assistant", "content": draw.choice(words)})] * turns
    return [*head, *(message for pair in pairs for message in pair)]


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    draw = random.Random(7)
    folder = tmp_path_factory.mktemp("chats")
    files = []
    for number, rows in enumerate((23, 1, 40, 16)):
        file = folder / f"{number}.parquet"
        pq.write_table(pa.table({"messages": [conversation(draw) for _ in range(rows)], "n": range(rows)}), file)
        files.append(file)
    return files


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenize, "ROWS_A_BATCH", 4)
    monkeypatch.setattr(tokenize, "BATCHES_A_CHUNK", 2)


def facts(tokens: Tokenization) -> tuple[Any, ...]:
    table = tokens.read()
    return table.to_pylist(), table.schema, tokens.tally, tokens.notes, tokens.split_by_file, tokens.template_date


@pytest.mark.usefixtures("short_chunks")
def test_processes_give_what_threads_give(chats: list[Path], tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "chat_template", "{{ strftime_now('%Y') }}" + UNMARKED_TEMPLATE)
    options: dict[str, Any] = {"split_turns": 60, "keep": ["n"], "template_date": "2024-07-26"}
    alone = facts(packsort.tokenize(chats, tokenizer, **options))
    assert alone[2].split
    assert facts(packsort.tokenize(chats, tokenizer, **options, num_proc=2)) == alone


@pytest.mark.usefixtures("short_chunks")
def test_a_process_names_the_row_that_it_refuses(chats: list[Path], tokenizer: Any, tmp_path: Path) -> None:
    bad = tmp_path / "bad.parquet"
    rows = [conversation(random.Random(1))] * 30
    pq.write_table(pa.table({"messages": [*rows, None, *rows], "n": range(61)}), bad)
    tokens = packsort.tokenize([*chats, bad], tokenizer, num_proc=2)
    with pytest.raises(SourceError, match=r"bad.parquet` row 30: column `messages` is null"):
        tokens.read()


def test_a_process_that_ends_is_an_error(monkeypatch: pytest.MonkeyPatch, chats: list[Path], tokenizer: Any) -> None:
    monkeypatch.setattr(tokenize, "ROWS_A_BATCH", 4)
    monkeypatch.setattr(processes, "_tokenize", _end)
    with pytest.raises(TokenizerError, match="a process that tokenizes has ended"):
        packsort.tokenize(chats, tokenizer, num_proc=2).read()


def _end(chunk: Any) -> None:
    os._exit(3)


def test_a_tokenizer_that_cannot_be_pickled_stays_here(
    monkeypatch: pytest.MonkeyPatch, chats: list[Path], tokenizer: Any
) -> None:
    tokenizer.own = lambda: None
    with pytest.raises(TokenizerError, match="cannot be given to other processes"):
        packsort.tokenize(chats, tokenizer, num_proc=2).read()
    assert packsort.tokenize(chats, tokenizer).read().num_rows == 80


def test_the_number_of_processes_is_checked(chats: list[Path], tokenizer: Any) -> None:
    for wrong in (0, -1, 1.5, True, "many"):
        with pytest.raises(OptionError, match="num_proc must be"):
            packsort.tokenize(chats, tokenizer, num_proc=wrong)
    with pytest.raises(OptionError, match="num_proc=2 does not go with tokenizer=None"):
        packsort.pack(pa.table({"input_ids": [[1]]}), 4, num_proc=2)


def test_auto_counts_cores_and_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, rows, expected in ((2, 10**9, 1), (64, 10**9, 16), (8, 10**9, 8), (64, 49_999, 1)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False)
        assert processes.num_processes("auto", rows) == expected


def test_processes_fit_the_memory_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    used = used_memory()
    assert processes.num_processes("auto", 10**9, used + 1_500_000_000) == 2
    assert processes.num_processes("auto", 10**9, used + 500_000_000) == 1
    assert processes.num_processes("auto", 10**9, 10**12) == 16
    with pytest.raises(OptionError, match=r"memory_limit must be at least .*GB for 8 processes, got .*:.* `num_proc`"):
        processes.num_processes(8, 1, used + 1_500_000_000)
    with pytest.raises(OptionError, match=r"memory_limit must be at least .*[MG]B for tokenizing, got 1MB: raise it"):
        processes.num_processes(None, 1, 10**6)


def test_a_limit_that_is_too_small_is_refused_before_anything_is_tokenized(
    chats: list[Path], tokenizer_folder: Path, tmp_path: Path, run: Run
) -> None:
    command = ("tokenize", *chats, "-o", tmp_path / "out", "--tokenizer", tokenizer_folder, "--memory-limit")
    refused = run(*command, "1MB")
    assert refused.returncode == 1
    assert "memory_limit must be at least" in refused.stderr
    assert not (tmp_path / "out").exists()
    refused = run(*command, "4GB", "--num-proc", 90)
    assert "hint: use `--num-proc N`" in refused.stderr
    assert run(*command, "8GB").returncode == 0


# After a kill


@pytest.mark.usefixtures("short_chunks")
@pytest.mark.parametrize("sequences", [5, 29, 70])
def test_after_a_kill_the_same_call_goes_on_after_the_finished_files(
    chats: list[Path], tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sequences: int
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    expected = write_tokens(chats, whole, tokenizer)
    killed(lambda: write_tokens(chats, out, tokenizer, on_progress=_Killer(sequences)))
    assert not out.exists()
    with pytest.raises(OutputExistsError, match="was stopped and is unfinished"):
        write_tokens(chats, out, tokenizer, loss="all")
    rendered: list[int] = []
    render = BatchTokenizer.rendered

    def counted(self: Any, rows: pa.RecordBatch, place: Any, **options: Any) -> Any:
        rendered.append(place.file)
        return render(self, rows, place, **options)

    monkeypatch.setattr(BatchTokenizer, "rendered", counted)
    progress: list[int] = []
    found = write_tokens(chats, out, tokenizer, on_progress=progress.append)
    assert sum(progress) == 80
    assert set(rendered) == {5: {0, 1, 2, 3}, 29: {0, 2, 3}, 70: {0, 3}}[sequences]  # the first teaches
    assert replace(found, files=expected.files) == expected
    for file in expected.files:
        assert (out / file.name).read_bytes() == file.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]


@pytest.mark.usefixtures("short_chunks")
def test_a_finished_file_that_changed_is_made_anew(chats: list[Path], tokenizer: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    killed(lambda: write_tokens(chats, out, tokenizer, on_progress=_Killer(70)))
    damaged = tmp_path / ".out.packsort-unfinished" / "0.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-8] + b"12345678")
    write_tokens(chats, out, tokenizer)
    assert pq.read_table(out / "0.parquet").num_rows == 23


class _Killer:
    """Ends the process when some sequences are done."""

    def __init__(self, sequences: int) -> None:
        self._left = sequences

    def __call__(self, sequences: int) -> None:
        self._left -= sequences
        if self._left < 0:
            os._exit(9)


def killed(work: Any) -> None:
    """Do some work in a fork, which must not come to its end."""
    child = os.fork()
    if child == 0:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a fork has none of the tokenizer's threads, and waits for them
        try:
            work()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_a_tally_is_what_it_was_in_json() -> None:
    tally = Tally(sequences=3, dated=1)
    tally.noted["bos_in_text"] += 2
    tally.unwritten["system"] += 1
    assert Tally.from_json(tally.to_json()) == tally
    assert pickle.loads(pickle.dumps(tally)) == tally
    with pytest.raises(TypeError):
        Tally.from_json({**tally.to_json(), "tokens": "3"})
    with pytest.raises(TypeError):
        Tally.from_json({**tally.to_json(), "others": 3})
