"""Ray packs what one machine packs, and loses nothing with a node."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import ray.data

import packsort
import packsort.ray
import s3_server
from packsort._stores import Store, place
from packsort.cli import main
from packsort.ray import second_pass
from packsort.ray.blocks import Block, Blocks
from packsort.ray.memory import STRETCH_BYTES, TaskMemory
from packsort.ray.pack import pack_of_config
from packsort.ray.remote import Traffic, kept_remote
from packsort.shards.config import shard_config
from ray_cluster import cluster
from test_broken_files import GUARDED, cut, flip

# Ray warns of its own options, and leaves sockets to its processes. packsort says what it leaves out.
IGNORED = (
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore:.* left out:UserWarning",
)
pytestmark = [pytest.mark.filterwarnings(warning) for warning in IGNORED]

SHARD, STRETCH = 60_000, 150_000


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    with cluster(3) as started:
        yield started


def rows(count: int, seed: int = 0, longest: int = 400) -> pa.Table:
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(4, 1, count).astype(int), 1, longest)
    return pa.table(
        {
            "input_ids": [rng.integers(0, 999, length).astype(np.int32) for length in lengths],
            "labels": [np.where(rng.random(length) < 0.5, -100, 7).astype(np.int64) for length in lengths],
            "turns": [[1] * (length % 3) for length in lengths],
            "text": ["x"] * count,
        }
    )


def dataset(table: pa.Table, blocks: int = 4) -> Any:
    step = -(-table.num_rows // blocks)
    return ray.data.from_arrow([table.slice(at, step) for at in range(0, table.num_rows, step)])


def ray_pack(source: Any, out: Path | str, max_length: int, *, stretch: int = STRETCH, **options: Any) -> Any:
    own = {name: options.pop(name) for name in ("stage", "traffic") if name in options}
    more = {name: options.pop(name) for name in ("format",) if name in options}
    config = shard_config("pack", max_length, options, seed=3, shard_size=SHARD, **more)
    return pack_of_config(source, out, config, stretch_bytes=stretch, **own)


def recorded(out: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    del facts["checksum"]
    for file in facts["sources"]:
        file["path"] = file["path"].replace("<dataset>", "<table>")
    return facts


def masked(table: pa.Table) -> pa.Table:
    """Rows padded to the left, with masks instead of labels."""
    ids = [[0] * (row % 3) + one for row, one in enumerate(table["input_ids"].to_pylist())]
    attention = [[0] * (row % 3) + [1] * (len(one) - row % 3) for row, one in enumerate(ids)]
    completion = [[0] * (len(one) // 2) + [1] * (len(one) - len(one) // 2) for one in ids]
    return pa.table({"input_ids": ids, "attention_mask": attention, "completion_mask": completion})


@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({"overlong": "truncate", "separator": 5, "pad_to_multiple_of": 8}, lambda table: table),
        ({"overlong": "drop", "strategy": "bfd", "format": "parquet", "max_sequences": 9}, masked),
        ({"strategy": "optimal", "num_packs_multiple_of": 4, "empty": "drop"}, lambda table: table.select([0])),
    ],
)
def test_the_directory_is_that_of_one_machine(nodes: Any, tmp_path: Path, options: Any, change: Any) -> None:
    table = change(rows(900))
    max_length = 256 if "overlong" in options else 400
    ray_pack(dataset(table), tmp_path / "ray", max_length, **options)
    packsort.write_shards(table, tmp_path / "one", max_length, seed=3, shard_size=SHARD, **options)
    # Plan, counts and checksums of all shards are among them.
    found, expected = recorded(tmp_path / "ray"), recorded(tmp_path / "one")
    assert len(found["shards"]) > 1
    assert found == expected
    assert packsort.verify(tmp_path / "ray", table)


def labelled(table: pa.Table) -> pa.Table:
    """Rows with a value of each kind that packs keep."""
    rng = np.random.default_rng(5)
    columns: dict[str, Any] = {
        "source": [["web", "code", "math", "chat"][at] for at in rng.integers(0, 4, table.num_rows)],
        "reward": pa.array(rng.random(table.num_rows), pa.float32()),
        "turn": pa.array(rng.integers(0, 9, table.num_rows), pa.int16()),
        "checked": rng.random(table.num_rows) < 0.5,
    }
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return table


KEEP = ["source", "reward", "turn", "checked"]


def test_columns_are_kept_as_on_one_machine(nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_pass, "FAN_OUT", 3)  # so that pieces are cut twice
    table = labelled(rows(700))
    # The last texts of one block are the first of the next, and each file has only some.
    pq.write_table(table.slice(0, 400), tmp_path / "a.parquet", row_group_size=90)
    pq.write_table(table.slice(400).replace_schema_metadata(), tmp_path / "b.parquet", row_group_size=90)
    files = [str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")]
    options = {"keep": KEEP, "overlong": "truncate", "separator": 5, "pad_to_multiple_of": 8}
    ray_pack(files, tmp_path / "ray", 256, stretch=20_000, **options)
    packsort.write_shards(files, tmp_path / "one", 256, seed=3, shard_size=SHARD, **options)
    assert recorded(tmp_path / "ray") == recorded(tmp_path / "one")
    assert packsort.verify(tmp_path / "ray", files)
    ray_pack(dataset(table), tmp_path / "dataset", 256, **options)
    packsort.write_shards(table, tmp_path / "table", 256, seed=3, shard_size=SHARD, **options)
    assert recorded(tmp_path / "dataset") == recorded(tmp_path / "table")
    for source in (files, dataset(table)):
        with pytest.raises(packsort.SourceError, match="keep='none' names no column of the source"):
            ray_pack(source, tmp_path / "no", 256, keep=["none"])
        with pytest.raises(packsort.SourceError, match="keep='turns' must name a column of text, numbers or booleans"):
            ray_pack(source, tmp_path / "no", 256, keep=["turns"])


@pytest.mark.parametrize("damage", [cut, flip])
def test_a_broken_file_is_named_or_left_out(nodes: Any, tmp_path: Path, damage: Any, capsys: Any) -> None:
    (tmp_path / "in").mkdir()
    for number in range(4):
        table = pa.table({"input_ids": pa.array([[number * 10 + row + 121] * (1 + row) for row in range(5)])})
        path = tmp_path / "in" / f"{number}.parquet"
        pq.write_table(table.cast(pa.schema([("input_ids", pa.list_(pa.int32()))])), path, **GUARDED)
    broken = tmp_path / "in" / "1.parquet"
    damage(broken)
    command = ["pack", str(tmp_path / "in"), "--max-length", "64", "-o", str(tmp_path / "out"), "--engine", "ray"]
    assert main(command) == 1
    assert f"`{broken}`" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*command, "--on-error", "skip"]) == 0
    assert f"1 that cannot be read: `{broken}`" in capsys.readouterr().out
    packsort.write_shards(tmp_path / "in", tmp_path / "one", 64, on_error="skip")
    assert recorded(tmp_path / "out") == recorded(tmp_path / "one")
    assert packsort.verify(tmp_path / "out", tmp_path / "in")


@pytest.mark.parametrize("when", ["counting lengths", "packing"])
def test_a_file_that_changes_is_named(nodes: Any, tmp_path: Path, when: str) -> None:
    pq.write_table(rows(300), tmp_path / "a.parquet", row_group_size=100)

    @contextmanager
    def stage(name: str, **_: Any) -> Iterator[Any]:
        yield lambda done, note="": None
        if name == when:
            pq.write_table(rows(300, seed=1), tmp_path / "a.parquet", row_group_size=100)

    with pytest.raises(packsort.SourceError, match=r"`.*a\.parquet` was changed while it was read"):
        ray_pack(str(tmp_path / "a.parquet"), tmp_path / "ray", 400, stage=stage)
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_options_of_files_do_not_go_with_a_dataset(nodes: Any, tmp_path: Path) -> None:
    for options in ({"split": "train"}, {"on_error": "skip"}):
        with pytest.raises(packsort.OptionError, match=r"does not go with a Ray dataset.*leave it out"):
            ray_pack(dataset(rows(9)), tmp_path / "out", 400, **options)
    assert not list(tmp_path.iterdir())


def test_memory_of_tasks_is_limited_or_the_limit_is_refused(nodes: Any, tmp_path: Path, capsys: Any) -> None:
    table = rows(700)
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    command = ["pack", str(tmp_path / "a.parquet"), "--max-length", "400", "--engine", "ray", "--shard-size", "60KB"]
    for limit in ("1MB", "400MB"):
        assert main([*command, "-o", str(tmp_path / "no"), "--memory-limit", limit]) == 1
        assert "memory_limit must be at least" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
    assert main([*command, "-o", str(tmp_path / "ray"), "--memory-limit", "1GB"]) == 0
    assert main([*command[:4], *command[6:], "-o", str(tmp_path / "one")]) == 0
    assert recorded(tmp_path / "ray") == recorded(tmp_path / "one")


def test_sizes_of_tasks_follow_from_their_memory() -> None:
    free = TaskMemory.within(None)
    assert free.stretch_bytes == STRETCH_BYTES
    small = TaskMemory.within(600_000_000)
    assert small.stretch_bytes < free.stretch_bytes
    assert small.ids_a_pass < free.ids_a_pass
    blocks = Blocks((), (Block(None, 10, 200_000_000), Block(None, 10, 100_000_000)))
    TaskMemory.within(2_000_000_000).check(blocks, 256_000_000)
    with pytest.raises(
        packsort.OptionError, match=r"at least .*GB for a task that writes a shard of 300MB.*shard_size"
    ):
        small.check(blocks, 10**9)
    with pytest.raises(packsort.OptionError, match=r"a task that reads a block of 200MB.*smaller row groups"):
        small.check(blocks, 1000)


def test_ranges_of_shards_are_cut_again_where_there_are_many(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second_pass, "FAN_OUT", 3)
    table = rows(600)
    ray_pack(dataset(table), tmp_path / "ray", 400, stretch=20_000)
    packsort.write_shards(table, tmp_path / "one", 400, seed=3, shard_size=SHARD)
    assert recorded(tmp_path / "ray") == recorded(tmp_path / "one")
    assert len(packsort.open_shards(tmp_path / "ray").manifest.shards) > 3


def test_the_command_packs_files_with_ray(nodes: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = rows(700)
    files = [str(tmp_path / name) for name in ("a.parquet", "b.jsonl")]
    pq.write_table(table.slice(0, 500), files[0], row_group_size=100)
    lines = (json.dumps(row) for row in table.slice(500).to_pylist())
    Path(files[1]).write_text("\n".join(lines))
    command = ["pack", *files, "--max-length", "256", "--overlong", "drop", "--shard-size", "60KB"]
    assert main([*command, "-o", str(tmp_path / "one")]) == 0
    local = capsys.readouterr().out
    assert main([*command, "-o", str(tmp_path / "ray"), "--engine", "ray"]) == 0
    assert recorded(tmp_path / "ray") == recorded(tmp_path / "one")
    found = capsys.readouterr().out
    same = [line for line in local.splitlines() if not line.startswith(("wrote", "time"))]
    assert found.splitlines()[: len(same)] == same
    assert main(["verify", str(tmp_path / "ray"), "--source", *files]) == 0

    assert main([*command, "-o", str(tmp_path / "no"), "--engine", "ray", "--tokenizer", "x"]) == 1
    assert "tokenizer does not go with engine='ray'" in capsys.readouterr().err
    assert main([*command, "-o", str(tmp_path / "no"), "--engine", "ray", "--index-only"]) == 1
    assert "index_only does not go with engine='ray'" in capsys.readouterr().err


def test_a_call_that_was_killed_goes_on_from_its_shards(nodes: Any, tmp_path: Path) -> None:
    """The folder of a run in the middle is put back, as a kill of the driver leaves it."""
    table = rows(600)
    unfinished, kept = tmp_path / ".ray.packsort-unfinished", tmp_path / "kept"

    @contextmanager
    def stage(name: str, **_: Any) -> Iterator[Any]:
        done: list[int] = []

        def advance(packs: int, note: str = "") -> None:
            done.append(packs)
            if name == "packing" and len(done) == 3:
                shutil.copytree(unfinished, kept, ignore=shutil.ignore_patterns(".train*"))
                raise ZeroDivisionError

        yield advance

    with pytest.raises(ZeroDivisionError):
        ray_pack(dataset(table), tmp_path / "ray", 400, stage=stage)
    assert not unfinished.exists()
    kept.rename(unfinished)
    whole = {json.loads(line)["name"] for line in (unfinished / ".packsort-run").read_text().splitlines()[1:]}
    before = {name: (unfinished / name).stat().st_ino for name in whole}
    assert len(before) == 3
    ray_pack(dataset(table), tmp_path / "ray", 400)
    assert {name: (tmp_path / "ray" / name).stat().st_ino for name in before} == before
    packsort.write_shards(table, tmp_path / "one", 400, seed=3, shard_size=SHARD)
    assert recorded(tmp_path / "ray") == recorded(tmp_path / "one")


def test_sources_and_outputs_may_be_in_an_object_store(nodes: Any, tmp_path: Path) -> None:
    table = rows(300)
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    packsort.write_shards(str(tmp_path / "a.parquet"), tmp_path / "one", 400, seed=3, shard_size=SHARD)
    with s3_server.started(bucket="rows") as server:
        # Workers started before the server, so they do not have its address from the environment.
        known = {"endpoint_url": server.url, "key": "key", "secret": "secret"}
        options = {"storage_options": known | {"client_kwargs": {"region_name": "us-east-1"}}}
        Store().put_file(tmp_path / "a.parquet", "s3://rows/in/a.parquet")
        ray_pack("s3://rows/in", "s3://rows/packed", 400, **options)
        found = json.loads(place("s3://rows/packed/manifest.json").read_bytes())
        for name in ("plan", "counts", "shards"):
            assert found[name] == recorded(tmp_path / "one")[name]
        for shard in found["shards"]:
            written = (tmp_path / "one" / shard["name"]).read_bytes()
            assert place(f"s3://rows/packed/{shard['name']}").read_bytes() == written
        assert set(Store().find("s3://rows/packed")) == {
            f"s3://rows/packed/{name}" for name in ("manifest.json", *(shard["name"] for shard in found["shards"]))
        }


def test_a_bad_token_is_named_and_nothing_is_left(nodes: Any, tmp_path: Path) -> None:
    table = rows(300)
    ids = table["input_ids"].to_pylist()
    ids[237][0] = -5
    bad = table.set_column(0, "input_ids", pa.array(ids, pa.list_(pa.int32())))
    (tmp_path / "in").mkdir()
    pq.write_table(bad, tmp_path / "in" / "a.parquet", row_group_size=50)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(packsort.SourceError) as of_file:
        ray_pack(str(tmp_path / "in"), tmp_path / "out", 400)
    with pytest.raises(packsort.SourceError) as of_one:
        packsort.write_shards(str(tmp_path / "in"), tmp_path / "out", 400)
    assert str(of_file.value) == str(of_one.value)
    with pytest.raises(packsort.SourceError, match="`<dataset>` row 237"):
        ray_pack(dataset(bad), tmp_path / "out", 400)
    with pytest.raises(packsort.LengthError, match=r"are longer than 100 tokens; the longest has \d+ \(`.*` row \d+\)"):
        packsort.ray.pack(dataset(table), 100, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_a_worker_that_cannot_write_says_so(nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_pass, "shard_names", lambda count, _: [f"no/such/folder/{at}" for at in range(count)])
    with pytest.raises(packsort.OutputError, match="no/such/folder"):
        ray_pack(dataset(rows(200)), tmp_path / "out", 400)
    assert not list(tmp_path.iterdir())


def test_what_passes_through_the_driver_does_not_grow_with_the_rows(nodes: Any, tmp_path: Path) -> None:
    seen = []
    for count in (400, 4000):
        traffic = Traffic()
        lengths = np.tile(np.arange(1, 41), count // 40)
        table = pa.table({"input_ids": [np.arange(length, dtype=np.int32) for length in lengths]})
        ray_pack(dataset(table, 2), tmp_path / str(count), 5000, stretch=10**9, traffic=traffic)
        assert len(packsort.open_shards(tmp_path / str(count)).manifest.shards) <= 6
        seen.append(traffic)
    small, large = seen
    assert large.received + large.sent < 1.2 * (small.received + small.sent) + 4000
    # Ray sends results below 100 KB through the driver: what holds rows or lengths is larger.
    assert len(kept_remote(b"few")) > 100 * 1024
    assert bytes(kept_remote(b"few")[:3]) == b"few"


def test_nothing_is_lost_with_a_node(nodes: Any, tmp_path: Path) -> None:
    """Kill one node while lengths are counted, and another when the first shard is written."""
    for number in range(4):
        pq.write_table(rows(300, seed=number), tmp_path / f"{number}.parquet", row_group_size=100)
    files = [str(tmp_path / f"{number}.parquet") for number in range(4)]
    killed: list[str] = []

    @contextmanager
    def stage(name: str, **_: Any) -> Iterator[Any]:
        def advance(done: int, note: str = "") -> None:
            if name in ("counting lengths", "packing") and name not in killed:
                killed.append(name)
                worker = next(node for node in nodes.worker_nodes)
                nodes.remove_node(worker, allow_graceful=False)

        yield advance

    ray_pack(files, tmp_path / "ray", 400, stage=stage)
    assert killed == ["counting lengths", "packing"]
    packsort.write_shards(files, tmp_path / "one", 400, seed=3, shard_size=SHARD)
    assert recorded(tmp_path / "ray") == recorded(tmp_path / "one")
    assert packsort.verify(tmp_path / "ray", files)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "random"}, "strategy='random' needs all lengths in order, not their counts: pack on one machine"),
        ({"strategy": "hybrid", "splittable": "x"}, "splittable says something of single sequences"),
        ({"strategy": "in_order"}, "strategy='in_order' needs all lengths in order"),
        ({"overlong": "split"}, "overlong='split' needs all lengths"),
        ({"overlong": "split_turns"}, "write them with `packsort.write_tokens` first"),
        ({"overlong": "truncate", "truncation_side": "left"}, "truncation_side='left' does not go with Ray"),
        ({"groups": "source"}, "groups says something of single sequences"),
        ({"loss": "all"}, "so pass a tokenizer"),
    ],
)
def test_options_of_one_machine_are_refused_by_name(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(packsort.OptionError) as refused:
        packsort.ray.pack(None, 100, tmp_path / "out", **options)
    assert message in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_other_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(packsort.SourceError, match=r"source must be a ray.data.Dataset, a path, .* got a Table"):
        packsort.ray.pack(rows(3), 100, tmp_path / "out")
