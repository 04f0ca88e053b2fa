"""Streams of MosaicML Streaming, LitData and WebDataset resume exactly, in any pass, or are refused."""

from __future__ import annotations

import gc
import io
import tarfile

import numpy as np
import pytest

import packsort
from loading import digest
from packsort.torch import PackedStream
from test_streaming import saved

ROWS = [np.full(1 + n % 5, n) for n in range(1, 61)]
EVERY = sorted(np.concatenate(ROWS).tolist())

# WebDataset closes no file of a pass that is abandoned.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning", "ignore:Exception ignored in")


@pytest.fixture(autouse=True)
def collected():
    yield
    gc.collect()


def mosaic(folder, shuffle):
    streaming = pytest.importorskip("streaming", reason="mosaicml-streaming needs transformers before 5")
    if not folder.exists():
        with streaming.MDSWriter(out=str(folder), columns={"input_ids": "ndarray"}, size_limit=400) as writer:
            for row in ROWS:
                writer.write({"input_ids": row})
    return streaming.StreamingDataset(local=str(folder), shuffle=shuffle, batch_size=1)


def litdata(folder, shuffle):
    from litdata import StreamingDataset
    from litdata.streaming.writer import BinaryWriter

    if not folder.exists():
        writer = BinaryWriter(str(folder), chunk_size=10)
        for number, row in enumerate(ROWS):
            writer.add_item(number, {"input_ids": row})
        writer.done()
        writer.merge()
    return StreamingDataset(str(folder), shuffle=shuffle)


def webdataset(folder, shuffle, **options):
    import webdataset as wds

    if not folder.exists():
        folder.mkdir()
        for shard in range(3):
            with tarfile.open(folder / f"{shard}.tar", "w") as tar:
                for number in range(20 * shard, 20 * shard + 20):
                    file = io.BytesIO()
                    np.save(file, ROWS[number])
                    entry = tarfile.TarInfo(f"{number:03}.npy")
                    entry.size = file.tell()
                    file.seek(0)
                    tar.addfile(entry, file)
    dataset = wds.WebDataset(str(folder / "{0..2}.tar"), shardshuffle=False)
    dataset = dataset.shuffle(20, **{"seed": 3} | options) if shuffle else dataset
    return dataset.decode().map(lambda sample: {"input_ids": sample["npy"]})


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("library", [mosaic, litdata, webdataset])
def test_a_resumed_pass_continues_and_later_passes_are_whole(tmp_path, library, shuffle):
    def stream():
        return PackedStream(library(tmp_path / "data", shuffle), 16, buffer_size=6, prefetch=0)

    one = stream()
    passes = [list(one) for _ in range(3)]
    assert all(sorted(np.concatenate([b["input_ids"][0] for b in batches]).tolist()) == EVERY for batches in passes)
    whole = [[digest(batch) for batch in batches] for batches in passes]
    for before in (0, 1):
        one, again = stream(), stream()
        for _ in range(before):
            list(one)
        batches = iter(one)
        received = [digest(next(batches)) for _ in range(4)]
        again.load_state_dict(saved(one.state_dict()))
        assert received + [digest(batch) for batch in again] == whole[before]
        assert [digest(batch) for batch in again] == whole[before + 1]


def test_an_order_that_cannot_be_repeated_is_refused_on_resuming(tmp_path):
    make = lambda: PackedStream(webdataset(tmp_path / "data", True, seed=None), 16, buffer_size=6)  # noqa: E731
    stream, again = make(), make()
    next(iter(stream))
    again.load_state_dict(stream.state_dict())
    with pytest.raises(packsort.SourceError, match="does not repeat its sequences"):
        list(again)
