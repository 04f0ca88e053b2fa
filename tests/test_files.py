"""What a path, a folder and a pattern stand for: names, links, tables and mixtures, case by case."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path

import pytest

from packsort.errors import OptionError, SourceError, SourceNotFoundError
from packsort.sources.files.find import find_files


def put(*names: str) -> None:
    """Make empty files in the working folder."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def found(source, split=None) -> list[str]:
    return [path.as_posix() for path in find_files(source, split).paths]


def skipped(source, split=None) -> dict[str, str]:
    return {file.path: str(file.reason) for file in find_files(source, split).skipped}


def says(*parts: str) -> str:
    """A pattern for messages that hold all parts, in order."""
    return "(?s)" + ".*".join(re.escape(part) for part in parts)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


# Folders


def test_folder_gives_its_data_files_sorted_without_strays():
    put("x/b.parquet", "x/a/z.arrow", "x/.hidden.parquet", "x/_tmp.parquet", "x/_old/c.parquet", "x/.git/d", "x/e.txt")
    assert found("x") == ["x/a/z.arrow", "x/b.parquet"]
    assert skipped("x") == {
        "x/.git/": "hidden",
        "x/.hidden.parquet": "hidden",
        "x/_old/": "temporary",
        "x/_tmp.parquet": "temporary",
        "x/e.txt": "other",
    }


@pytest.mark.parametrize(
    "suffix",
    ["parquet", "PQ", "Parq", "arrow", "ARROWS", "feather", "ipc", "jsonl.gz", "NDJSON", "json.zst", "csv", "tsv"],
)
def test_suffixes_are_matched_without_regard_to_case(suffix):
    put(f"x/a.{suffix}")
    assert found("x") == [f"x/a.{suffix}"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("._a.parquet", "hidden"),
        (".part-0.snappy.parquet.crc", "hidden"),
        ("_SUCCESS", "temporary"),
        ("a.parquet.incomplete", "temporary"),
        ("b.incomplete/b.parquet", "temporary"),
        ("tmp0a9_xyzk", "other"),
        ("cache-0a1b2c3d.arrow", "cache"),
        ("cache-0a1b_00000_of_00002.ARROW", "cache"),
        ("checkpoint-500/rows.parquet", "checkpoint"),
        (".ipynb_checkpoints/a-checkpoint.parquet", "checkpoint"),
        ("README.md", "other"),
        ("dataset_info.json", "other"),
        ("tokenizer.json", "other"),
        ("model.safetensors", "other"),
    ],
)
def test_strays_are_skipped_with_their_reason(name, reason):
    put("x/a.parquet", f"x/{name}")
    assert found("x") == ["x/a.parquet"]
    assert list(skipped("x").values()) == [reason]
    assert found("x/*") == ["x/a.parquet"]


def test_partition_folders_are_read_also_those_with_an_underscore():
    put("x/date=2024-01-01/a.parquet", "x/_day=2/b.parquet")
    assert found("x") == ["x/_day=2/b.parquet", "x/date=2024-01-01/a.parquet"]


def test_packed_directory_inside_a_folder_is_skipped():
    put("x/a.parquet", "x/packed/train-00000-of-00001.arrow")
    Path("x/packed/manifest.json").write_text(json.dumps({"format": "packsort"}))
    assert skipped("x") == {"x/packed/": "packed"}
    assert found("x/**/*.*") == ["x/a.parquet"]


def test_folder_inside_a_hidden_folder_is_read():
    put(".cache/data/a.parquet")
    assert found(".cache/data") == [".cache/data/a.parquet"]


def test_folder_without_data_is_named_with_what_is_there():
    put("x/notes.txt", "x/.hidden")
    with pytest.raises(SourceNotFoundError, match=says("`x` holds no data file", "1 hidden: `x/.hidden`", "notes.txt")):
        find_files("x")


# Lists and patterns


def test_list_keeps_its_order_and_takes_any_name():
    put("b.parquet", "_a.bin")
    assert found(["b.parquet", Path("_a.bin")]) == ["b.parquet", "_a.bin"]


@pytest.mark.parametrize("name", ["missing.parquet", "missing-*.parquet", "missing/"])
def test_missing_path_is_named(name):
    with pytest.raises(SourceNotFoundError, match="missing") as caught:
        find_files(name)
    assert isinstance(caught.value, FileNotFoundError)


def test_no_path_and_no_text_are_refused():
    with pytest.raises(SourceNotFoundError, match="empty"):
        find_files([])
    with pytest.raises(SourceError, match="got a int"):
        find_files([3])
    with pytest.raises(SourceNotFoundError, match="empty path"):
        find_files("")


def test_file_given_twice_is_refused_also_by_a_link():
    put("x/a.parquet")
    os.symlink("x/a.parquet", "b.parquet")
    with pytest.raises(SourceError, match=says("x/a.parquet", "given twice")):
        find_files(["x", "x/a.parquet"])
    with pytest.raises(SourceError, match=says("b.parquet", "given twice", "x/a.parquet")):
        find_files(["x/a.parquet", "b.parquet"])


def test_pattern_gives_matches_sorted_and_matched_folders_as_folders():
    put("x/y/b.parquet", "x/y/_SUCCESS", "x/y.parquet", "x/z/deep/c.arrow")
    assert found("x/*") == ["x/y/b.parquet", "x/y.parquet", "x/z/deep/c.arrow"]
    assert found("x/**") == found("x/*")
    assert found("x/**/*.parquet") == ["x/y/b.parquet", "x/y.parquet"]
    assert skipped("x/*") == {"x/y/_SUCCESS": "temporary"}


def test_pattern_may_ask_for_strays():
    put("x/_a.parquet", "x/_old/b.parquet", "x/cache-1.arrow", "x/c.bin", "x/.d/e.parquet")
    assert found("x/_*.parquet") == ["x/_a.parquet"]
    assert found("x/_*/*.parquet") == ["x/_old/b.parquet"]
    assert found("x/cache-*") == ["x/cache-1.arrow"]
    assert found("x/*.bin") == ["x/c.bin"]
    assert found("x/.*/*") == ["x/.d/e.parquet"]
    with pytest.raises(SourceNotFoundError, match=says("no data file matches `x/*.parquet`", "temporary")):
        find_files("x/*.parquet")


def test_existing_path_with_glob_characters_is_that_path():
    put("a[1].parquet", "b[1]/c.parquet")
    assert found("a[1].parquet") == ["a[1].parquet"]
    assert found("b[1]") == ["b[1]/c.parquet"]


# Links


def test_linked_folders_are_followed_once():
    put("disk/part/there.parquet", "x/here.parquet", "x/own/a.parquet")
    os.symlink("../disk/part", "x/linked")
    os.symlink("own", "x/again")
    os.symlink("here.parquet", "x/alias.parquet")
    assert found("x") == ["x/here.parquet", "x/linked/there.parquet", "x/own/a.parquet"]
    assert skipped("x") == {"x/again/": "repeated", "x/alias.parquet": "repeated"}
    assert found("x/**/*.parquet") == found("x")


def test_looped_links_end():
    put("x/a/b.parquet", "beside.parquet")
    os.symlink("..", "x/a/up")
    os.symlink("../..", "x/a/above")  # what is beside `x` was not given
    os.symlink(".", "x/self")
    for source in ("x", "x/*", "x/**", "x/**/*.parquet", "*/a"):
        assert found(source) == ["x/a/b.parquet"], source
    assert set(skipped("x").values()) == {"loop"}


@pytest.mark.parametrize("name", ["a.parquet", "disk"])
def test_link_that_leads_nowhere_is_refused(name):
    put("x/b.parquet")
    os.symlink("gone", f"x/{name}")
    for source in ("x", "x/*", f"x/{name}"):
        with pytest.raises(SourceNotFoundError, match=says(name, "link to `gone`")):
            find_files(source)


def test_pipe_is_refused_and_not_waited_for():
    put("x/a.parquet")
    os.mkfifo("x/b.parquet")
    assert found("x") == ["x/a.parquet"]
    with pytest.raises(SourceError, match=says("x/b.parquet", "pipe")):
        find_files("x/b.parquet")


# Names


def test_name_that_is_not_utf8_is_refused_in_printable_words():
    put("x/a.parquet")
    name = os.fsdecode(b"x/\xe9t\xe9.parquet")
    try:
        Path(name).touch()
    except OSError:
        pytest.skip("this file system takes no such name")
    for source in ("x", "x/*", name, [name], os.fsdecode(b"no\xff")):
        with pytest.raises(SourceError, match="not UTF-8") as caught:
            find_files(source)
        assert str(caught.value).encode().isascii()
    os.rename(name, os.fsdecode(b"x/\xe9t\xe9.txt"))
    assert skipped("x") == {r"x/\xe9t\xe9.txt": "other"}


# Tables


@pytest.mark.parametrize(
    ("log", "data", "kind"),
    [
        ("_delta_log/00000000000000000000.json", "part-0.parquet", "Delta"),
        ("_delta_log/00000000000000000000.json", "date=1/hour=2/part-0.parquet", "Delta"),
        ("metadata/v1.metadata.json", "data/day=1/a.parquet", "Iceberg"),
        ("metadata/v1.metadata.json.gz", "data/a.parquet", "Iceberg"),
        (".hoodie/hoodie.properties", "a.parquet", "Hudi"),
    ],
)
def test_tables_with_deleted_rows_are_refused_by_name(log, data, kind):
    put(f"lake/table/{log}", f"lake/table/{data}")
    parent = Path("lake/table", data).parent
    patterns = ("lake", "lake/table", str(parent), "lake/*", "lake/table/*", f"{parent}/*.parquet", "**/*.parquet")
    for source in (*patterns, [f"lake/table/{data}"]):
        with pytest.raises(SourceError, match=says("lake/table", f"{kind} table")):
            find_files(source)


# Formats


@pytest.mark.parametrize("other", ["b.jsonl", "sub/b.json", "b.csv.gz"])
def test_folder_that_mixes_formats_is_refused(other):
    put("x/a.parquet", f"x/{other}")
    with pytest.raises(SourceError, match=says("`x` mixes formats", "Parquet", Path(other).name)):
        find_files("x")
    assert found(["x/a.parquet", f"x/{other}"]) == ["x/a.parquet", f"x/{other}"]
    assert found("x/*.parquet") == ["x/a.parquet"]


@pytest.mark.parametrize("twin", ["a.arrow", "a.PQ"])
def test_two_files_of_one_name_are_refused(twin):
    put("x/a.parquet", f"x/{twin}", "x/b.arrow")
    with pytest.raises(SourceError, match=says("differ only in their format")):
        find_files("x")


# Splits


def split_of(*names: str) -> dict[str, str | None]:
    put(*names)
    files = find_files(".", "all")
    return {path.as_posix(): split for path, split in zip(files.paths, files.splits, strict=True)}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("data/train_sft-00000-of-00002-0a1b2c.parquet", "train_sft"),
        ("data/math-00000-of-00001.parquet", "math"),
        ("train_sft-00000-of-00001.parquet", "train_sft"),
        ("default/train/0000.parquet", "train"),
        ("default/partial-test/0000.parquet", "test"),
        ("train.jsonl", "train"),
        ("my-VALID_2.jsonl.gz", "validation"),
        ("dev/x/a.parquet", "validation"),
        ("test.parquet/part-00000-0a1b.c000.snappy.parquet", "test"),
        ("split=test/a.parquet", "test"),
        ("eval.arrow", "test"),
        ("parquet-train.arrow", "train"),
        ("train/test.parquet", "train"),
        ("test/train/a.parquet", "train"),
        ("train-test.parquet", "train/test"),
        ("latest.parquet", None),
        ("my_testset.csv", "test"),
        ("tests.jsonl", "test"),
        ("devset/a.jsonl", "validation"),
        ("sft-trainset.jsonl", "train"),
        ("held_out.jsonl", "test"),
        ("heldout/a.parquet", "test"),
        ("dataset.parquet", None),
        ("testimony.parquet", None),
        ("training-data1.parquet", "train"),
        ("trained.parquet", None),
        ("part-00000-of-00002.parquet", None),
    ],
)
def test_names_tell_splits(name, split):
    assert split_of(name) == {name: split}


def test_names_tell_the_splits_that_datasets_finds(folder):
    """`datasets` matters here for its keywords and for what may stand beside them."""
    from datasets.data_files import get_data_patterns, resolve_pattern

    words = ("train", "my.train_1", "x testing", "9val9", "evaluation-b", "strain", "test2/c", "y-dev/d", "devel")
    for name in (f"{above}{word}.json" for above in ("", "a/", "dev/") for word in words):
        put(name)
        theirs = set()
        for split, patterns in get_data_patterns(str(folder)).items():
            for pattern in patterns:
                with contextlib.suppress(FileNotFoundError):
                    theirs |= {(os.path.relpath(path), split) for path in resolve_pattern(pattern, str(folder))}
        (ours,) = find_files(".").splits
        assert (name, ours or "train") in theirs  # a folder in a folder may tell `datasets` two splits
        os.remove(name)


def test_several_splits_are_refused_and_chosen():
    put("x/train.jsonl", "x/dev/a.jsonl", "x/test.jsonl", "x/more.jsonl")
    for source in ("x", "x/*", "x/**/*.jsonl", "*"):
        with pytest.raises(SourceError, match=says("has the splits `train`", "`validation`", "`test`", "more.jsonl")):
            find_files(source)
    assert found("x", "train") == ["x/train.jsonl"]
    assert found("x", "train+val") == ["x/dev/a.jsonl", "x/train.jsonl"]
    assert found("x", "all") == ["x/dev/a.jsonl", "x/more.jsonl", "x/test.jsonl", "x/train.jsonl"]
    assert skipped("x", "train") == dict.fromkeys(["x/dev/a.jsonl", "x/more.jsonl", "x/test.jsonl"], "split")
    with pytest.raises(OptionError, match=says("one of 'train', 'validation', 'test'", "`x`", "got 'trian'")):
        find_files("x", "trian")


def test_one_split_is_read():
    put("x/train-00000-of-00002.parquet", "x/train-00001-of-00002.parquet", "x/more.parquet")
    assert len(found("x")) == 3
    (doubt,) = find_files("x").doubts
    assert doubt.startswith("1 file of `x` beside those of 'train' tell no split by their names")
    assert "`more.parquet`" in doubt
    assert find_files("x", "train").doubts == ()
    put("y/data/test_sft-00000-of-00001.parquet", "test/a.parquet")
    assert find_files("y").splits == ("test_sft",)
    assert find_files("y").doubts == ("the only split of `y` is 'test_sft': pass split='test_sft' if this is meant",)
    for source, split in (("y", "test_sft"), ("y/data/test*", None), ("y/data/test_sft-00000-of-00001.parquet", None)):
        assert find_files(source, split).doubts == ()
    assert find_files("test").doubts == ()


def test_files_beside_a_test_split_are_for_training():
    put("x/data.parquet", "x/test.parquet")
    with pytest.raises(SourceError, match=says("has the splits `train`", "`test`")):
        find_files("x")
    assert found("x", "train") == ["x/data.parquet"]


def test_files_given_one_by_one_are_read_as_asked():
    put("x/train.parquet", "x/test.parquet", "y.parquet")
    both = ["x/train.parquet", "x/test.parquet"]
    assert found(both) == both
    assert found(both, "train") == both[:1]
    with pytest.raises(OptionError, match=says("split='train'", "`y.parquet`", "leave")):
        find_files([*both, "y.parquet"], "train")


@pytest.mark.parametrize("source", ["y.parquet", "x", "x/*.parquet"])
def test_split_is_refused_where_there_are_none(source):
    put("y.parquet", "x/y.parquet")
    with pytest.raises(OptionError, match=says("split='train'", "no splits")):
        find_files(source, "train")
    assert found(source, "all") == found(source)


def test_list_of_folders_must_have_the_split_each():
    put("x/train.parquet", "x/test.parquet", "y/a.parquet")
    with pytest.raises(OptionError, match=says("split='train'", "`y`")):
        find_files(["x", "y"], "train")


@pytest.mark.parametrize(
    "form", ["{}/train-00000-of-00001.parquet", "{}/train/0000.parquet", "{}/data/train-00000-of-00001.parquet"]
)
def test_configurations_are_refused_by_name(form):
    put(*(f"x/{form.format(name)}" for name in ("en", "fr")))
    with pytest.raises(SourceError, match=says("`x` holds 2 configurations", "`x/en`", "`x/fr`")):
        find_files("x", "train")
    assert len(found(["x/en", "x/fr"], "train")) == len(found("x/*")) == 2
