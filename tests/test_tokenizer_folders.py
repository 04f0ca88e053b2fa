"""Which folders and names are loaded as tokenizers, and what is said of the others."""

from __future__ import annotations

import json
import time
from pathlib import Path
from shutil import copy, copytree

import mistral_common
import pyarrow as pa
import pytest
from tokenizers import Tokenizer

from packsort import tokenize
from packsort.errors import TokenizerError
from packsort.tokenization.tokenizer import load_tokenizer


@pytest.fixture
def backend(tokenizer_folder) -> Tokenizer:
    return Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))


def test_wrong_tokenizer_folders_are_said_shortly(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    for missing in (tmp_path / "missing", "./missing", "missing/", "models/missing", "a/b/c", "~/missing/of/packsort"):
        with pytest.raises(TokenizerError, match="no tokenizer folder"):
            load_tokenizer(missing)
    with pytest.raises(TokenizerError, match=r"holds no tokenizer: no tokenizer\.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerError, match="cannot be loaded") as caught:
        load_tokenizer(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(TokenizerError, match="is a file"):
        load_tokenizer(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("file", ["tokenizer_config.json", "config.json"])
def test_code_of_a_tokenizer_does_not_run_unasked(tmp_path, tokenizer_folder, file):
    copytree(tokenizer_folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / file
    config = json.loads(path.read_text()) if path.exists() else {"model_type": "evil"}
    maps = {"AutoTokenizer": ["evil.Evil", None], "AutoConfig": "evil.Evil"}
    path.write_text(json.dumps(config | {"auto_map": maps, "tokenizer_class": "Evil"}))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    if file == "config.json":  # transformers loads the tokenizer without the model's code.
        assert load_tokenizer(tmp_path).eos_token == "<|im_end|>"
    else:
        with pytest.raises(TokenizerError, match="pass trust_remote_code=True to run it"):
            load_tokenizer(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_tokenizer_json_alone_is_enough(tmp_path, backend):
    backend.save(str(tmp_path / "tokenizer.json"))
    tokens = tokenize(pa.table({"text": ["five"]}), str(tmp_path))
    assert tokens.read()["length"].to_pylist()[0] > 0
    assert [note.kind for note in tokens.notes] == ["no_end_of_sequence"]


def test_vocabulary_and_merges_are_loaded_where_the_class_is_known(tmp_path, backend):
    backend.model.save(str(tmp_path))
    with pytest.raises(
        TokenizerError, match=r"does not know its class; add a tokenizer_config\.json with `tokenizer_cl"
    ):
        load_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    assert load_tokenizer(tmp_path).decode(load_tokenizer(tmp_path)("five boats")["input_ids"]) == "five boats"


@pytest.mark.parametrize(
    ("file", "settings"),
    [("tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer"}), ("config.json", {"model_type": "gpt2"})],
)
def test_settings_without_a_vocabulary_are_no_tokenizer(tmp_path, file, settings):
    (tmp_path / file).write_text(json.dumps(settings))
    with pytest.raises(TokenizerError, match=r"holds no tokenizer|has no vocabulary"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("file", ["tekken.json", "tokenizer.model"])
def test_damaged_files_of_other_libraries_are_said_in_one_line(tmp_path, file):
    (tmp_path / file).write_bytes(b"\x00 no vocabulary")
    with pytest.raises(TokenizerError, match="cannot be loaded") as caught:
        load_tokenizer(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.fixture
def no_network(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


@pytest.mark.usefixtures("no_network")
def test_names_on_the_hub_fail_at_once_without_a_network():
    start = time.monotonic()
    with pytest.raises(TokenizerError, match="the Hugging Face Hub cannot be reached, and its cache holds no such"):
        load_tokenizer("nobody/no-such-tokenizer")
    assert time.monotonic() - start < 10


@pytest.mark.usefixtures("no_network")
def test_names_in_the_cache_are_loaded_without_a_network(tmp_path, tokenizer_folder, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0" * 40
    stored = tmp_path / "models--packsort-tests--tiny"
    copytree(tokenizer_folder, stored / "snapshots" / commit)
    (stored / "refs").mkdir()
    Path(stored, "refs/main").write_text(commit)
    # The client notes files that the Hub does not have.
    Path(stored, ".no_exist", commit).mkdir(parents=True)
    Path(stored, ".no_exist", commit, "config.json").touch()
    assert load_tokenizer("packsort-tests/tiny").eos_token == "<|im_end|>"


def test_objects_that_are_no_tokenizer_are_refused_in_words(backend, tokenizer):
    class Processor:
        def __init__(self):
            self.tokenizer = tokenizer

    table = pa.table({"text": ["five"]})
    wanted = tokenize(table, tokenizer).read()
    assert tokenize(table, Processor()).read() == wanted
    with pytest.raises(
        TokenizerError, match=r"got a tokenizers\.Tokenizer: pass PreTrainedTokenizerFast\(tokenizer_obj"
    ):
        tokenize(table, backend)
    with pytest.raises(TokenizerError, match=r"tokenizer must be a tokenizer of transformers.*got a builtins\.int"):
        tokenize(table, 3)


# Other libraries' files


def mistral_file(pattern: str) -> Path:
    """A vocabulary that mistral-common's wheel has."""
    data = Path(mistral_common.__file__).parent / "data"
    return sorted(data.glob(pattern))[-1]


def test_tekken_files_are_loaded_with_their_ends_of_sequences(tmp_path):
    copy(mistral_file("tekken_*.json"), tmp_path / "tekken.json")
    tokenizer = load_tokenizer(tmp_path)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.name_or_path) == (1, 2, str(tmp_path))
    tokens = tokenize(pa.table({"text": ["hello", "<s>hello"]}), tokenizer)
    for ids in tokens.read()["input_ids"].to_pylist():
        assert (ids[0], ids[-1], ids.count(1), ids.count(2)) == (1, 2, 1, 1)
    assert [note.kind for note in tokens.notes] == ["bos_in_letters"]
    pair = tokenize(pa.table({"prompt": ["a"], "completion": [" b"]}), tokenizer).read().to_pylist()[0]
    assert pair["labels"] == [-100, -100, *pair["input_ids"][2:]]
    with pytest.raises(TokenizerError, match="a tokenizer of mistral-common renders no chat template"):
        tokenize(pa.table({"messages": [[{"role": "user", "content": "a"}]]}), tokenizer)


def test_sentencepiece_files_are_loaded(tmp_path):
    copy(mistral_file("*.model.v3"), tmp_path / "tokenizer.model")
    tokens = tokenize(pa.table({"text": ["hello", "hello</s>\n"]}), str(tmp_path))
    for ids in tokens.read()["input_ids"].to_pylist():
        assert ids.count(2) == 1
    assert [note.kind for note in tokens.notes] == ["eos_in_text"]


def test_suffix_of_t5_comes_once(tmp_path):
    copy(mistral_file("*.model.v3"), tmp_path / "spiece.model")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer("hello")["input_ids"].count(tokenizer.eos_token_id) == 1
    (ids,) = tokenize(pa.table({"text": ["hello"]}), tokenizer).read()["input_ids"].to_pylist()
    assert ids == tokenizer("hello")["input_ids"]
