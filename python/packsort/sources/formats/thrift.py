"""Reader of structs in Thrift's compact protocol, in which Parquet writes its footer.

Protocol: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from typing import Any

Fields = dict[int, Any]
"""Values of a struct by the ids of its fields: integers, booleans, bytes, lists and structs. Others are left out."""

_MOST_DEPTH = 16
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)


class ThriftError(ValueError):
    """Bytes that are no struct."""


def read_struct(data: bytes) -> tuple[Fields, int]:
    """Read a struct.

    Args:
        data: The struct, and any bytes after it.

    Returns:
        Its fields, and the number of its bytes.

    Raises:
        ThriftError: The bytes end too early, or are no struct that a footer has.

    Example:
        >>> read_struct(bytes([0x15, 6, 0x2C, 0x15, 1, 0, 0]))
        ({1: 3, 3: {1: -1}}, 7)
    """
    reader = _Reader(data)
    try:
        return reader.struct(_MOST_DEPTH), reader.at
    except IndexError:
        raise ThriftError("the struct ends too early") from None


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def struct(self, depth: int) -> Fields:
        if not depth:
            raise ThriftError("structs are nested too deep")
        fields: Fields = {}
        number = 0
        while kind := self._byte():
            number = number + (kind >> 4) if kind >> 4 else self._zigzag()
            value = self._value(kind & 15, depth)
            if value is not None:
                fields[number] = value
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind in _INTEGERS:
            return self._zigzag()
        if kind == _STRUCT:
            return self.struct(depth - 1)
        if kind == _BYTE:
            self._skip(1)
        elif kind == _DOUBLE:
            self._skip(8)
        elif kind == _BINARY:
            size = self._varint()
            self._skip(size)
            return self._data[self.at - size : self.at]
        elif kind in (_LIST, _SET):
            return self._list(depth)
        else:
            raise ThriftError(f"a field has type {kind}")
        return None

    def _list(self, depth: int) -> list[Any]:
        if not depth:
            raise ThriftError("lists are nested too deep")
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        values = []
        for _ in range(count):  # each takes a byte at least, so a wrong count soon runs out of them
            if head & 15 in (_TRUE, _FALSE):  # a byte each in lists
                values.append(self._byte() == _TRUE)
            else:
                values.append(self._value(head & 15, depth - 1))
        return values

    def _byte(self) -> int:
        byte = self._data[self.at]
        self.at += 1
        return byte

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self._data):
            raise IndexError

    def _varint(self) -> int:
        number = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise ThriftError("a number has no end")

    def _zigzag(self) -> int:
        number = self._varint()
        return number >> 1 ^ -(number & 1)
