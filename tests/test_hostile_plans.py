"""Saved and pickled plans that were damaged or made up are refused by name, or every method of theirs returns."""

from __future__ import annotations

import json
import os
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import packsort
from packsort.errors import DamagedError, PacksortError, SourceError
from packsort.planning.stored import fingerprint_of, to_stored

REPEATS = int(os.environ.get("PACKSORT_REPEATS", "1"))  # how often as many cases as in the short run are tried
PLANS = [
    packsort.plan([3, 5, 2, 2, 7, 7, 1], 9),
    packsort.plan([3, 5, 2, 2, 7, 7, 1], 9, seed=1, groups=[0, 1, 0, 1, 2, 2, 2], separator=True),
    packsort.plan([30, 5, 20, 2, 7, 0, 1], 9, overlong="split", pad_to_multiple_of=2, max_sequences=3, empty="drop"),
    packsort.plan([30, 5, 20, 2, 7, 7, 1], 9, strategy="random", overlong="truncate", truncation_side="left", seed=3),
]
PARTS = [to_stored(plan._core) for plan in PLANS]
VALUES: list[Any] = [None, True, False, 0, 1, 2, 7, -1, 2**26, 2**31 - 1, 2**32 - 1, 2**32, 2**63, 2**64 - 1, 2**64]
VALUES += [10**400, 1.0, -0.5, 1e300, "", "random", "hybrid", "split", "\x1b[31m", "\ud800", "x" * 10**5, [], [1], {}]
NUMBERS = [0, 1, 2, 3, 7, 63, 2**26, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, -1, -(2**63)]


def one_row(array: Any) -> pa.Array:
    return pa.LargeListArray.from_arrays(pa.array([0, len(array)], pa.int64()), pa.array(array))


def write(path: Path, parts: dict[str, Any], **changed: Any) -> None:
    """Save parts as `Plan.save` does, with a fingerprint that fits them where they have one."""
    arrays = {name: value for name, value in parts.items() if isinstance(value, np.ndarray)}
    facts = {name: value for name, value in parts.items() if name not in arrays}
    try:
        facts |= {"format": 1, "fingerprint": fingerprint_of(parts)}
    except (ValueError, TypeError):
        facts |= {"format": 1, "fingerprint": "0" * 32}
    columns = {name: one_row(array) for name, array in arrays.items()} | changed.get("columns", {})
    text = changed.get("text", json.dumps(facts))
    table = pa.table(columns).replace_schema_metadata({"packsort.plan": text})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def use(plan: packsort.Plan) -> None:
    packs = min(plan.num_packs, 100)
    offsets, ids = plan.list_packs(0, packs)
    assert len(ids) == offsets[-1] == len(plan.list_lengths(0, packs)) == len(plan.list_starts(0, packs))
    assert plan.num_sequences <= plan.num_rows
    repr(plan), plan.num_split, plan.split_rows, plan.num_separators, plan.num_padding, plan.num_tokens, plan.efficiency
    plan.with_epoch(3).list_packs(0, 1), plan.num_dropped, plan.num_truncated
    if plan.max_length <= 2**20:  # a table of that length is counted
        assert plan.lower_bound >= 0  # above the packs where the options are not those that they were made with
    assert pickle.loads(pickle.dumps(plan)) == plan


def outcome(path: Path) -> str:
    """Returns what is said of a file that is refused, and an empty text where its plan works."""
    try:
        plan = packsort.load_plan(path)
    except PacksortError as error:
        said = str(error)
    else:
        use(plan)
        return ""
    assert f"`{path}`" in said
    assert said.isprintable()
    return said


def damaged(whole: bytes, draw: random.Random) -> bytes:
    """Flips, overwrites, removes, repeats or cuts off bytes."""
    changed = bytearray(whole)
    at = draw.randrange(len(whole))
    match draw.randrange(5):
        case 0:
            changed[at] ^= 1 << draw.randrange(8)
        case 1:
            some = draw.choice([b"\xff" * 8, bytes(8), draw.randbytes(4), b"\xff\xff\xff\x7f", b"\xff"])
            changed[at : at + len(some)] = some
        case 2:
            del changed[at : at + draw.choice([1, 4, 8, 64])]
        case 3:
            changed[at:at] = changed[at : at + draw.choice([1, 8, 64])]
        case _:
            del changed[at:]
    return bytes(changed)


def mutated(parts: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """Changes one to three parts: values, types, names, and lengths of arrays."""
    parts = dict(parts)
    for _ in range(draw.randint(1, 3)):
        name = draw.choice(list(parts))
        value = parts[name]
        match draw.randrange(8):
            case 0:
                del parts[name]
            case 1:
                parts[draw.choice(["x", "", "n\x1b[0m", *PARTS[0], *PARTS[3]])] = value
            case 2 if isinstance(value, np.ndarray):
                parts[name] = value.astype(draw.choice(["int8", "int32", "uint64", "float32", "uint32", "int64"]))
            case 3 if isinstance(value, np.ndarray):
                parts[name] = np.resize(value, draw.choice([0, len(value) + 1, max(0, len(value) - 1)]))
            case _ if isinstance(value, np.ndarray) and len(value):
                parts[name] = value = value.copy()
                place = draw.randrange(len(value))
                value[place] = np.int64(draw.choice(NUMBERS)).astype(value.dtype)
            case _:
                parts[name] = draw.choice(VALUES)
        if not parts:
            break
    return parts


def test_files_with_changed_bytes_are_refused_or_hold_the_plan(tmp_path: Path) -> None:
    draw = random.Random(1)
    path = tmp_path / "plan.arrow"
    refused = 0
    for plan in PLANS:
        plan.save(path)
        whole = path.read_bytes()
        for _ in range(60 * REPEATS):
            path.write_bytes(damaged(whole, draw))
            if outcome(path):
                refused += 1
            else:  # padding between columns is nobody's
                assert packsort.load_plan(path) == plan
    assert refused > 100 * REPEATS


def test_files_with_a_mended_fingerprint_are_refused_or_make_a_plan(tmp_path: Path) -> None:
    draw = random.Random(2)
    path = tmp_path / "plan.arrow"
    said = []
    for _ in range(150 * REPEATS):
        write(path, mutated(draw.choice(PARTS), draw))
        said.append(outcome(path))
    assert 0 < sum(map(bool, said)) < len(said)
    assert not any("its fingerprint differs" in one for one in said)


def test_pickled_parts_are_refused_or_make_a_plan() -> None:
    draw = random.Random(3)
    rebuild, _ = PLANS[0].__reduce__()
    refused = 0
    for _ in range(150 * REPEATS):
        try:
            use(rebuild(mutated(draw.choice(PARTS), draw)))
        except DamagedError:
            refused += 1
    assert refused
    for value in (*VALUES, PLANS[0], [("rows", 1)], np.arange(3)):
        with pytest.raises(DamagedError, match=r"parts of a plan must be a mapping|the plan has no"):
            rebuild(value)


@pytest.mark.parametrize("name", ["rows", "max_length", "seed", "keep_end", "strategy", "fingerprint", "format"])
def test_every_fact_of_another_type_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.arrow"
    facts = {key: value for key, value in PARTS[0].items() if not isinstance(value, np.ndarray)}
    facts |= {"format": 1, "fingerprint": fingerprint_of(PARTS[0])}
    write(path, PARTS[0], text=json.dumps(facts))
    assert packsort.load_plan(path) == PLANS[0]
    for value in VALUES:
        if value == facts[name] and type(value) is type(facts[name]):
            continue
        write(path, PARTS[0], text=json.dumps(facts | {name: value}))
        assert outcome(path)
    write(path, PARTS[0], text=json.dumps({key: value for key, value in facts.items() if key != name}))
    assert outcome(path)


@pytest.mark.parametrize(
    "text",
    [
        *("[]", "null", "1", '"x"', "", "{", "[" * 10**5, '{"format": NaN}', '{"a": 1, "a": 1}', "9" * 10**4, "\x00"),
        *('{"format": 1, "fingerprint": ""}', '{"format": 1e999}', "{" + '"a": {' * 10**5),
    ],
    ids=range(14),
)
def test_metadata_that_is_no_record_of_a_plan_is_refused(text: str, tmp_path: Path) -> None:
    write(tmp_path / "plan.arrow", PARTS[0], text=text)
    assert "is not a saved plan" in outcome(tmp_path / "plan.arrow")


def test_columns_of_other_types_nulls_and_rows_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.arrow"
    for name in ("repeats", "order"):
        lists = one_row(PARTS[0][name])
        values, kind = lists.values, lists.type.value_type
        types = [pa.int8(), pa.int32(), pa.uint64(), pa.float64(), pa.int64() if kind == pa.uint32() else pa.uint32()]
        others: list[Any] = [one_row(values.cast(other)) for other in types if (name, other) != ("order", pa.int64())]
        others += [pa.nulls(1, lists.type), pa.nulls(1, kind), pa.array([1]), pa.array(["x"]), pa.array([{"a": 1}])]
        others += [one_row(pa.concat_arrays([values, pa.nulls(1, kind)])), lists.cast(pa.list_(kind)), one_row(lists)]
        others += [pa.LargeListArray.from_arrays(pa.array([1, len(values)]), values)]
        for column in others:
            write(path, PARTS[0], columns={name: column})
            assert outcome(path), str(column.type)
    two = {name: pa.concat_arrays([one_row(array)] * 2) for name, array in PARTS[0].items() if hasattr(array, "dtype")}
    write(path, PARTS[0], columns=two)
    assert "more than one row" in outcome(path)
    write(path, PARTS[0], columns={"x": one_row(np.arange(3))})
    assert "has no part 'x'" in outcome(path)
    write(path, PARTS[0], columns={"rows": one_row(np.arange(3))})
    assert "it has `rows` twice" in outcome(path)


@pytest.mark.parametrize("name", [b"item", b"repeats", b"packsort.plan"])
def test_names_that_are_not_utf_8_are_refused_or_do_not_matter(name: bytes, tmp_path: Path) -> None:
    PLANS[0].save(path := tmp_path / "plan.arrow")
    whole = path.read_bytes()
    assert name in whole
    path.write_bytes(whole.replace(name, b"\xff" + name[1:]))
    assert outcome(path) if name != b"item" else not outcome(path)


def test_a_compressed_file_takes_no_memory(tmp_path: Path) -> None:
    """Its numbers say how much memory it takes: a file of some kilobytes may hold gigabytes of zeros."""
    PLANS[0].save(path := tmp_path / "plan.arrow")
    table = pa.ipc.open_file(path).read_all()
    for codec in ("zstd", "lz4"):
        with pa.ipc.new_file(path, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
            writer.write_table(table)
        assert "it is compressed" in outcome(path)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), Path("/dev/null"), tmp_path):
        with pytest.raises(DamagedError, match=f"`{path}` is not a saved plan: it is no regular file"):
            packsort.load_plan(path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(SourceError, match="loop` cannot be read: Too many levels"):
        packsort.load_plan(tmp_path / "loop")
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(SourceError, match="cannot be read"):
            packsort.load_plan(tmp_path / name)
    with pytest.raises(packsort.SourceNotFoundError):
        packsort.load_plan(tmp_path / "none")


def test_a_large_multiple_takes_no_memory(tmp_path: Path) -> None:
    """A count by tokens would take 8 GB."""
    write(path := tmp_path / "plan.arrow", to_stored(packsort.plan([3, 5], 2**31 - 1, pad_to_multiple_of=2**30)._core))
    assert packsort.load_plan(path).lower_bound == 2
