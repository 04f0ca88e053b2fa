"""What Megatron-Core and Megatron-Bridge do with packed batches and files, in their arithmetic.

Neither can be installed without a GPU's toolchain. Their versions of August 2026 were read: Megatron-Bridge at
067f987, Megatron-LM at d98e8a64.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

HOST_KEYS = ("max_seqlen_q", "max_seqlen_kv")
DEVICE_KEYS = ("cu_seqlens_q", "cu_seqlens_kv", "cu_seqlens_q_padded", "cu_seqlens_kv_padded", "padding_mask")
MODEL_KEYS = ("tokens", "labels", "loss_mask", "position_ids", "attention_mask")


@dataclass
class PackedSeqParams:
    """The fields of `megatron.core.packed_seq_params.PackedSeqParams`, with `seq_idx` as it derives it."""

    qkv_format: str | None = None
    cu_seqlens_q: torch.Tensor | None = None
    cu_seqlens_kv: torch.Tensor | None = None
    cu_seqlens_q_padded: torch.Tensor | None = None
    cu_seqlens_kv_padded: torch.Tensor | None = None
    max_seqlen_q: int | None = None
    max_seqlen_kv: int | None = None
    total_tokens: int | None = None
    seq_idx: torch.Tensor | None = None

    def __post_init__(self) -> None:
        starts = self.cu_seqlens_q if self.cu_seqlens_q_padded is None else self.cu_seqlens_q_padded
        if starts is not None and self.total_tokens is not None:
            lengths = torch.cat([starts, starts.new_tensor([self.total_tokens])]).diff().clamp(min=0)
            self.seq_idx = torch.repeat_interleave(torch.arange(len(lengths)), lengths).to(torch.int32)[None]


def gpt_step_batch(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Take the batch of a data iterator as `gpt_step.get_batch_from_iterator` does on a single pipeline stage."""
    taken: dict[str, Any] = {}
    for name, value in batch.items():
        if name in HOST_KEYS:
            taken[name] = value.cpu()
        else:
            taken[name] = value if name in (*DEVICE_KEYS, *MODEL_KEYS) else None
    return taken


def gpt_step_params(batch: Mapping[str, Any], *, hybrid: bool) -> PackedSeqParams:
    """Build the parameters of a batch as `gpt_step.forward_step` does."""
    fields = {name: batch[name].squeeze() for name in DEVICE_KEYS[:4] if batch.get(name) is not None}
    longest = {name: int(batch[name].squeeze().item()) for name in HOST_KEYS}
    tokens = batch["tokens"].size(1) if hybrid else None
    return PackedSeqParams(qkv_format="thd", **fields, **longest, total_tokens=tokens)


@dataclass
class PackedReader:
    """The reader of packed Parquet, `GPTSFTPackedParquetDataset` with its `collate_fn`.

    Attributes:
        folder: The exported files.
        size: `packed_sequence_size`.
        eos: Token id by which padding is told.
        multiple: `pad_seq_to_mult`.
        metadata: `packed_metadata_path`, which turns `pad_cu_seqlens` and `pad_to_max_length` on.
    """

    folder: Path
    size: int
    eos: int
    multiple: int = 1
    metadata: Path | None = None

    def __post_init__(self) -> None:
        paths = sorted([*self.folder.glob("*.parquet"), *self.folder.glob("*.pq")])
        self.rows = pa.concat_tables([pq.read_table(path) for path in paths]).to_pylist()
        for row in self.rows:  # `validate_row`
            starts, tokens = row["seq_start_id"], len(row["input_ids"])
            assert len(row["loss_mask"]) == tokens
            assert starts[0] == 0
            assert starts == sorted(starts)
            assert starts[-1] < tokens

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, numbers: Sequence[int]) -> dict[str, Any]:
        """Make the batch of rows."""
        rows = [self.rows[number] for number in numbers]
        bounds = [list(pairwise([*row["seq_start_id"], len(row["input_ids"])])) for row in rows]
        read = [sum(end - start - 1 for start, end in spans) for spans in bounds]
        width = self.size if self.metadata else min(self.size, -(-max(read) // 16) * 16)

        def cut(column: str, first: int, last: int, fill: int) -> torch.Tensor:
            made = []
            for row, spans in zip(rows, bounds, strict=True):
                values = [value for start, end in spans for value in row[column][start + first : end + last]]
                made.append(values + [fill] * (width - len(values)))
            return torch.tensor(made)

        batch: dict[str, Any] = {
            "tokens": cut("input_ids", 0, -1, self.eos),
            "labels": cut("input_ids", 1, 0, self.eos),
            "loss_mask": cut("loss_mask", 0, -1, 0),
        }
        padded = [np.cumsum([0, *(end - start - 1 for start, end in spans)]).tolist() for spans in bounds]
        logical = [list(ends) for ends in padded]
        mask = torch.zeros((len(rows), width), dtype=torch.bool)
        for number, ends in enumerate(padded):
            assert ends[-1] <= width
            mask[number, ends[-1] :] = True
            if self.multiple > 1:
                real = []
                for start, end in pairwise(ends):
                    last = np.flatnonzero(batch["tokens"][number, start:end].numpy() != self.eos)
                    real.append(int(last[-1]) + 1 if len(last) else 0)
                    mask[number, start + real[-1] : end] = True
                logical[number] = np.cumsum([0, *real]).tolist()
            if ends[-1] != width:
                ends.append(width)
                logical[number].append(logical[number][-1] if self.multiple > 1 else width)
        batch["padding_mask"] = mask
        longest = [max(np.diff(ends).tolist()) for ends in padded]
        places = max(map(len, padded))
        if self.metadata:
            facts = json.loads(self.metadata.read_text())
            places = max(one["max_samples_per_bin"] for one in facts) + 2
            gap = width - min(one["min_packed_seqlen"] for one in facts)
            longest = [max(gap, *(one["dataset_max_seqlen"] for one in facts))] * len(rows)
        for ends in (*padded, *logical):
            assert len(ends) <= places
            ends.extend([ends[-1]] * (places - len(ends)))
        batch["cu_seqlens_q"] = torch.tensor(logical, dtype=torch.int32)
        if self.multiple > 1:
            batch["cu_seqlens_q_padded"] = torch.tensor(padded, dtype=torch.int32)
        lengths = torch.tensor(longest, dtype=torch.int32)
        batch["max_seqlen_q"] = lengths if self.metadata else lengths[:, None]
        return batch


class InstalledReader:
    """`GPTSFTPackedParquetDataset` itself, with the arguments of `PackedReader`."""

    def __init__(self, folder: Path, size: int, eos: int, multiple: int = 1, metadata: Path | None = None) -> None:
        from megatron.bridge.data.packing.parquet import GPTSFTPackedParquetDataset

        self.dataset = GPTSFTPackedParquetDataset(
            file_path=str(folder),
            tokenizer=SimpleNamespace(eos_id=eos),
            prompt_template="{text} {answer}",  # checked, and not used
            max_seq_length=size,
            pad_to_max_length=metadata is not None,
            pad_cu_seqlens=metadata is not None,
            pad_seq_to_mult=multiple,
            pack_metadata_file_path=None if metadata is None else str(metadata),
        )

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, numbers: Sequence[int]) -> dict[str, Any]:
        return dict(self.dataset.collate_fn([self.dataset[number] for number in numbers]))


READERS: list[Any] = [
    PackedReader,
    *([InstalledReader] if find_spec("megatron") and find_spec("megatron.bridge") else []),
]
"""The arithmetic of the reader, and the reader itself where it is installed."""
