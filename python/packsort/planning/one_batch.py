"""Read an Arrow file of one record batch, none of whose sizes is taken on trust.

A compressed buffer says how many bytes it has before compression, and `pyarrow` allocates as many: 8 GB for a file of a
few bytes. Uncompressed buffers lie within the file. So the message of the batch is looked at before it is read.
"""

from __future__ import annotations

import struct

import pyarrow as pa

_MAGIC = 8  # bytes before the first message
# Fields of Arrow's flatbuffers (Message.fbs), in the order of their declaration.
_HEADER_OF_MESSAGE = 2
_COMPRESSION_OF_BATCH = 3


def read_one_batch(content: pa.Buffer, schema: pa.Schema) -> pa.RecordBatch:
    """Read the only record batch of an Arrow IPC file without copying it.

    Args:
        content: The file, whose footer is sound.
        schema: Its schema.

    Raises:
        ValueError: It has another number of batches, or a compressed one.
        pyarrow.ArrowException: It is damaged.
    """
    messages = list(pa.ipc.MessageReader.open_stream(content.slice(_MAGIC)))
    if [message.type for message in messages] != ["schema", "record batch"]:
        raise ValueError("it holds more than one record batch")
    metadata = messages[1].metadata.to_pybytes()
    try:
        header = _follow(metadata, _field(metadata, _follow(metadata, 0), _HEADER_OF_MESSAGE))
        is_compressed = _field(metadata, header, _COMPRESSION_OF_BATCH) > 0
    except struct.error as error:
        raise ValueError(str(error)) from error
    if is_compressed:
        raise ValueError("it is compressed")
    return pa.ipc.read_record_batch(messages[1], schema)


def _follow(data: bytes, at: int) -> int:
    """Return the place that the offset at a place points to."""
    return int(at + struct.unpack_from("<I", data, at)[0])


def _field(data: bytes, table: int, index: int) -> int:
    """Return the place of a field of a table, 0 where the table has none."""
    entries = table - struct.unpack_from("<i", data, table)[0]
    size = struct.unpack_from("<H", data, entries)[0]
    place = 4 + 2 * index
    offset = struct.unpack_from("<H", data, entries + place)[0] if place < size else 0
    return int(table + offset) if offset else 0
