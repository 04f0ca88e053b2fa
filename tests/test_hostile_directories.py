"""Packed directories that were damaged, edited or replaced are refused by name, and nothing outside them is read."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
from packsort.errors import DamagedError, PacksortError
from packsort.shards.sealed_json import seal

GOLDEN = Path(__file__).parent / "golden" / "0.1"
REPEATS = int(os.environ.get("PACKSORT_REPEATS", "1"))  # how often as many cases as in the short run are tried


def rows(count: int = 60) -> pa.Table:
    generator = np.random.default_rng(3)
    ids = [generator.integers(0, 50, int(n)).tolist() for n in generator.integers(1, 30, count)]
    return pa.table({"input_ids": pa.array(ids, pa.list_(pa.int32()))})


def write(folder: Path, kind: str, **options: Any) -> Path:
    """Packs the rows as shards of a format, or as an index of mapped rows or of row groups."""
    if kind == "index of arrow":
        with pa.OSFile(f"{folder}/source.arrow", "wb") as file, pa.ipc.new_file(file, rows().schema) as writer:
            writer.write_table(rows())
    if kind == "index of parquet":
        pq.write_table(rows(), folder / "source.parquet", row_group_size=7)
    is_index = kind.startswith("index")
    source = folder / f"source.{kind.removeprefix('index of ')}" if is_index else rows()
    own: dict[str, Any] = {"index_only": True} if is_index else {"format": kind}
    packsort.write_shards(source, folder / "packed", 32, shard_size="1kB", separator=1, **own, **options)
    return folder / "packed"


@pytest.fixture(params=["arrow", "parquet", "index of arrow", "index of parquet"])
def packed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write(tmp_path, request.param)


def edit(folder: Path, change: Callable[[dict[str, Any]], object], *, sealed: bool) -> None:
    facts = json.loads((folder / "manifest.json").read_text("utf-8"))
    change(facts)
    (folder / "manifest.json").write_text(json.dumps(seal(facts) if sealed else facts), "utf-8")


def use(folder: Path) -> int:
    """Reads all that a loop would read."""
    shards = packsort.open_shards(folder)
    shards.check_footers()
    return sum(len(pack["input_ids"]) for pack in shards)


def refusal(call: Callable[[], object]) -> str | None:
    """Returns what packsort says where it refuses, and lets every other exception through."""
    try:
        call()
    except PacksortError as error:
        return str(error)
    return None


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    yield from [path] if not isinstance(value, (dict, list)) else []
    for key, one in inner:
        yield from leaves(one, (*path, key))


def some(paths: Iterator[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Every path in the long run, some in the short one."""
    found = list(paths)
    return random.Random(4).sample(found, min(len(found), 25 * REPEATS))


def put(facts: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        facts = facts[key]
    facts[path[-1]] = value


def test_every_flipped_byte_of_a_manifest_is_found(packed: Path) -> None:
    file = packed / "manifest.json"
    whole = file.read_bytes()
    generator = random.Random(1)
    content = json.loads(whole)
    for at in generator.sample(range(len(whole)), min(len(whole), 150 * REPEATS)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << generator.randrange(8)
        file.write_bytes(damaged)
        with pytest.raises(DamagedError, match=r"manifest\.json"):
            packsort.open_shards(packed)
    file.write_bytes(whole)
    file.write_text(json.dumps(content))  # formatted anew
    assert use(packed)


@pytest.mark.parametrize("name", ["chats", "tokens"])
def test_flipped_keys_and_types_of_manifests_without_a_checksum_are_found(name: str, tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / name, tmp_path / name)
    file = tmp_path / name / "manifest.json"
    whole = file.read_text()
    for key in ('"max_sequences"', '"tokens_lost"', '"left_out"', '"seed"', '"lower_bound"', '"checksum"'):
        assert key in whole
        file.write_text(whole.replace(key, key.replace("s", "z").replace("d", "z").replace("f", "z"), 1))
        with pytest.raises(DamagedError):
            packsort.open_shards(tmp_path / name)


def test_every_edit_of_a_manifest_is_found(packed: Path) -> None:
    whole = (packed / "manifest.json").read_bytes()
    facts = json.loads(whole)
    for path in some(leaves(facts)):
        for value in (10**9, "../../etc/passwd", None, [], -1):
            now: Any = facts
            for key in path:
                now = now[key]
            if value == now and type(value) is type(now):
                continue
            edit(packed, lambda facts, path=path, value=value: put(facts, path, value), sealed=False)  # type: ignore[misc]
            with pytest.raises(DamagedError, match=r"manifest\.json"):
                packsort.open_shards(packed)
            (packed / "manifest.json").write_bytes(whole)


def test_edits_with_a_mended_checksum_never_end_in_another_error(packed: Path) -> None:
    """A forger can mend the checksum. Names, types and sums are checked nevertheless, and files against numbers."""
    whole = (packed / "manifest.json").read_bytes()
    facts = json.loads(whole)
    values: list[Any] = [10**9, 10**12, "../../etc/passwd", None, [], 1.5, -1, True, "\x1b[31m", "x" * 10**5]
    generator = random.Random(5)
    for path in some(leaves(facts)):
        if path == ("checksum",):
            continue
        for value in generator.sample(values, min(len(values), 3 * REPEATS)):
            edit(packed, lambda facts, path=path, value=value: put(facts, path, value), sealed=True)  # type: ignore[misc]
            for call in (use, packsort.verify):
                said = refusal(lambda call=call: call(packed))  # type: ignore[misc]
                assert said is None or str(packed) in said
            (packed / "manifest.json").write_bytes(whole)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda facts: facts["shards"].reverse(), r"`shards\[0\]\.name` must be"),
        (lambda facts: facts.update(shards=[]), "`shards` is empty"),
        (lambda facts: facts["shards"].pop(), r"`shards\[0\]\.name` must be"),
        (lambda facts: facts["shards"][0].update(name="../secret.arrow"), "got '../secret.arrow'"),
        (lambda facts: facts["shards"][0].update(name="/etc/train-00000-of-00001.arrow"), "name` must be 'train-"),
        (lambda facts: facts["options"].update(format="x/../../secret"), "must be one of 'arrow', 'parquet'"),
        (lambda facts: facts.update(extra=1), "`extra` is not known.*newer version"),
        (lambda facts: facts["counts"].pop("rows"), "`counts.rows` is missing"),
        (lambda facts: facts["counts"].update(rows=10**12), "`counts.rows` is 1000000000000, its parts have 60"),
        (lambda facts: facts.update(max_length=10**12), "max_length` must be between"),
    ],
)
def test_what_no_packing_writes_is_refused_whatever_the_checksum(packed: Path, change: Any, words: str) -> None:
    edit(packed, change, sealed=True)
    with pytest.raises(DamagedError, match=words):
        packsort.open_shards(packed)


def test_a_checksum_that_was_taken_away_is_missed(packed: Path) -> None:
    edit(packed, lambda facts: facts.pop("checksum"), sealed=False)
    with pytest.raises(DamagedError, match="its checksum is missing"):
        packsort.open_shards(packed)


@pytest.mark.parametrize("text", [b"[" * 10**6, b'{"format": NaN}', b'{"a": 1, "a": 2}', b"\xff\xfe", b"", b"1" * 5000])
def test_texts_that_are_no_json_are_refused(packed: Path, text: bytes) -> None:
    (packed / "manifest.json").write_bytes(text)
    with pytest.raises(DamagedError, match="is not JSON"):
        packsort.open_shards(packed)


def test_a_pipe_is_not_waited_for(packed: Path) -> None:
    (packed / "manifest.json").unlink()
    os.mkfifo(packed / "manifest.json")
    with pytest.raises(DamagedError, match="is no regular file"):
        packsort.open_shards(packed)


def test_links_out_of_the_directory_are_refused_and_links_to_it_are_not(packed: Path, tmp_path: Path) -> None:
    tokens = use(packed)
    (tmp_path / "link").symlink_to(packed)
    assert use(tmp_path / "link") == tokens
    for name in (packsort.open_shards(packed).manifest.shards[0].name, "manifest.json"):
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        shutil.move(packed / name, tmp_path / "elsewhere" / name)
        (packed / name).symlink_to(tmp_path / "elsewhere" / name)
        with pytest.raises(DamagedError, match=r"is a link out of the packed directory, to .*: copy the file"):
            packsort.open_shards(packed)
        shutil.move(tmp_path / "elsewhere" / name, packed / name)
    assert use(packed) == tokens


def test_snapshots_of_the_hub_are_read(packed: Path, tmp_path: Path) -> None:
    """The cache of the Hugging Face Hub keeps files in `blobs`, and links to them."""
    repository = tmp_path / "datasets--me--packed"
    snapshot = repository / "snapshots" / "0f3"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for number, file in enumerate(packed.iterdir()):
        shutil.copy(file, repository / "blobs" / str(number))
        (snapshot / file.name).symlink_to(Path("../../blobs") / str(number))
    assert use(snapshot) == use(packed)


def test_every_flipped_byte_of_a_shard_is_found_before_a_pack_is_used(packed: Path) -> None:
    shards = packsort.open_shards(packed)
    file = packed / shards.manifest.shards[1].name
    first = shards.manifest.shards[0].packs
    whole = file.read_bytes()
    generator = random.Random(2)
    for at in generator.sample(range(len(whole)), min(len(whole), 25 * REPEATS)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << generator.randrange(8)
        file.write_bytes(damaged)
        opened = packsort.open_shards(packed)
        assert len(opened[0]["input_ids"])  # another shard
        with pytest.raises(DamagedError, match=f"`{file}` was changed .*: restore it from a copy, or pack again"):
            opened[first]
        with pytest.raises(DamagedError, match=file.name):
            packsort.open_shards(packed, verify="open")
        # Damage that is not looked for is an error of packsort, if any.
        said = refusal(lambda: list(packsort.open_shards(packed, verify="never")))
        assert said is None or file.name in said


def test_shards_that_stay_open_across_an_overwrite_never_mix_two_packings(packed: Path) -> None:
    shards = packsort.open_shards(packed)
    format = shards.manifest.options.format
    seen = [shards[0]["sequence_ids"]]
    packsort.write_shards(rows(), packed, 32, format=format, shard_size="1kB", separator=1, seed=1, overwrite=True)
    with pytest.raises(DamagedError, match="while the packed directory was open: open it anew"):
        seen += [pack["sequence_ids"] for pack in shards]
    inside = np.concatenate(seen)
    assert len(np.unique(inside[inside >= 0])) == (inside >= 0).sum() - len(seen[0][seen[0] >= 0]) * (len(seen) > 1)


def test_shards_can_be_read_without_mapping(packed: Path) -> None:
    mapped, read = packsort.open_shards(packed), packsort.open_shards(packed, memory_map=False)
    for one, other in zip(mapped, read, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)
    for file in packed.glob("train-*"):  # a mapped file that is shortened would end the process
        os.truncate(file, 0)
    if read.manifest.options.format == "arrow":
        assert sum(len(pack["input_ids"]) for pack in read)
    else:
        with pytest.raises(DamagedError, match="was changed while the packed directory was open"):
            list(read)


def test_numbers_are_held_against_the_files_before_memory_is_taken(packed: Path) -> None:
    def more(facts: dict[str, Any]) -> None:
        facts["shards"][0]["packs"] += 10**9
        facts["counts"]["packs"] += 10**9

    edit(packed, more, sealed=True)
    with pytest.raises(DamagedError, match=r"has \d+ packs, the manifest says 10000000\d\d"):
        packsort.open_shards(packed).check_footers()


def test_verification_takes_memory_by_the_files_not_by_the_rows(packed: Path) -> None:
    def more(facts: dict[str, Any]) -> None:
        facts["sources"][0]["rows"] += 10**13
        facts["counts"]["rows"] += 10**13
        if "index" in facts:
            facts["index"]["files"][0]["rows"] += 10**13

    edit(packed, more, sealed=True)
    result = packsort.verify(packed)
    assert not result
    missing = r"there are 10,000,000,000,0\d\d sequences in no pack"
    assert any(re.match(missing, problem) for problem in result.problems)


def test_nothing_is_mapped_where_it_is_asked_for(
    packed: Path, tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from packsort.torch import PackedLoader

    with pa.OSFile(str(tmp_path / "rows.arrow"), "wb") as file, pa.ipc.new_file(file, rows().schema) as writer:
        writer.write_table(rows())

    def refuse(path: str) -> None:
        raise AssertionError(f"{path} is mapped")

    monkeypatch.setattr(pa, "memory_map", refuse)
    source, way = tmp_path / "rows.arrow", "--no-memory-map"
    for command in (
        ("pack", source, "-o", tmp_path / "again", "--max-length", 32, way),
        ("verify", packed, "--source", source, way),
        ("inspect", packed, way),
        ("inspect", "--rows", source, way),
        ("export", packed, "-o", tmp_path / "exported", "--format", "trl", way),
        ("plan", source, "-o", tmp_path / "plan.arrow", "--max-length", 32, way),
        ("compare", source, "--max-length", 32, way),
    ):
        done = run(*command)
        assert done.returncode == 0, done.stderr
    assert list(PackedLoader(source, 32, memory_map=False))
    assert list(PackedLoader(packed, memory_map=False))
