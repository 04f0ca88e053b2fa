"""Tokens that are kept in a folder, so that the next call on the same rows need not make them again.

One Arrow file holds the tokens of one source: a token file as `packsort.write_tokens` writes it, with the record of
how it was made and a digest of all of it in its metadata. Its name is the key: a digest of whatever decides the tokens,
which are the files and their dates, the tokenizer, and the options of what goes in. It starts with an underscore, so
that a folder of rows that holds the folder does not take it for rows. A file that is damaged, or was not finished,
counts as absent.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash
from pyarrow import types

from packsort._arrow import to_numpy
from packsort._atomic import output_error, replace_file
from packsort._options.input import InputConfig
from packsort._progress import Stage, logger
from packsort.errors import OptionError
from packsort.sources.source import Source
from packsort.tokenization.choice import TokenizerChoice, stamps
from packsort.tokenization.info import TokenizerInfo, digest

_VERSION = 1
_DAMAGES = (pa.ArrowException, OSError, LookupError, TypeError, ValueError, AttributeError)  # what damage may raise
_FACTS, _DIGEST = b"packsort.kept", b"packsort.kept.digest"


@dataclass(frozen=True)
class KeptTokens:
    """Tokens of a source, uncut, and what else a packer asks a tokenizer for.

    Attributes:
        table: One sequence a row: `input_ids`, `labels`.
        info: How they were made.
        left_out: Columns of the source that are not packed.
        pad_token_id: The tokenizer's token id of padding, or None.
        vocabulary: Number of tokens of the tokenizer.
    """

    table: pa.Table
    info: TokenizerInfo
    left_out: tuple[str, ...]
    pad_token_id: int | None
    vocabulary: int


class TokenFolder:
    """Folder of kept tokens.

    Args:
        folder: The folder, which need not exist.
        source: The rows that are tokenized.
        choice: Their tokenizer.
        config: Options of what goes in.

    Attributes:
        folder: The folder.

    Raises:
        OptionError: The rows are in memory, and have no date to tell them by.
    """

    def __init__(self, folder: Path, source: Source, choice: TokenizerChoice, config: InputConfig) -> None:
        if not are_files(source):
            raise OptionError(
                f"tokens={str(folder)!r} does not go with rows in memory: only the date of a file tells whether its "
                "tokens are still those of its rows, so pass a file"
            )
        self.folder = folder
        # What may change while it is tokenized is looked at before.
        self._facts = [_VERSION, stamps(Path(file.path) for file in source.files), config.of_rows()]
        self._choice = choice
        self._today = config.template_date or date.today().isoformat()

    @cached_property
    def _path(self) -> Path:
        facts = [*self._facts, self._choice.identity]
        return self.folder / f"_tokens-{digest(json.dumps(facts, default=str))}.arrow"

    def find(self, stage: Stage) -> KeptTokens | None:
        """Return the tokens that the folder holds; None if it holds none of these rows.

        Args:
            stage: Progress reporter, as for `packsort.write_shards`.
        """
        if not self.folder.is_dir() or not self._path.is_file():
            return None
        with stage("reading kept tokens"), suppress(*_DAMAGES):
            with pa.memory_map(str(self._path)) as file:
                table = pa.ipc.open_file(file).read_all()
            table.validate(full=True)  # the digest follows offsets
            stored = table.schema.metadata[_FACTS]
            if table.schema.metadata[_DIGEST] != table_digest(table, stored):
                return None
            facts = json.loads(stored)
            info = TokenizerInfo.from_json(facts.pop("info"))
            if info.template_date not in (None, self._today):
                return None
            left_out = tuple(facts.pop("left_out"))
            logger().info(f"tokens that are kept in `{self._path}` are used")
            return KeptTokens(table.replace_schema_metadata(), info, left_out, **facts)
        return None

    def keep(self, tokens: KeptTokens) -> None:
        """Write tokens; the file appears whole or not at all.

        Raises:
            OutputError: It cannot be written.
            TokenizerError: The tokenizer cannot be told from others.
        """
        facts = {
            "info": asdict(tokens.info),
            "left_out": tokens.left_out,
            "pad_token_id": tokens.pad_token_id,
            "vocabulary": tokens.vocabulary,
        }
        stored = json.dumps(facts).encode()
        metadata = {_FACTS: stored, _DIGEST: table_digest(tokens.table, stored)}
        table = tokens.table.replace_schema_metadata(metadata)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(self.folder, error) from error
        with replace_file(self._path) as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)

    def remove(self, *, but_own: bool = False) -> None:
        """Remove the kept tokens, and the folder if it then is empty.

        Args:
            but_own: Whether the tokens of these rows stay.
        """
        with suppress(OSError):
            for path in self.folder.glob("_tokens-*.arrow"):
                if not (but_own and path == self._path):
                    path.unlink()
            for path in self.folder.glob("._tokens-*.packsort-unfinished"):  # of a run that was killed
                path.unlink()
            if not but_own:
                self.folder.rmdir()


def beside(out: Path) -> Path:
    """Return the hidden folder beside an output in which a failed call keeps its tokens.

    Example:
        >>> beside(Path("/data/packed")).as_posix()
        '/data/.packed.tokens'
    """
    absolute = out.absolute()
    return absolute.with_name(f".{absolute.name}.tokens")


def are_files(source: Source) -> bool:
    """Return whether all rows of a source come from files, whose dates tell whether they changed."""
    return all(Path(file.path).is_file() for file in source.files)


def table_digest(table: pa.Table, facts: bytes = b"") -> bytes:
    """Return a digest of a table's values and list lengths.

    Args:
        table: Columns of numbers, and of lists of numbers.
        facts: What else goes into the digest.
    """
    found = xxhash.xxh3_128(facts)
    for name in table.column_names:
        found.update(f"{name}:{table.schema.field(name).type};".encode())
        for chunk in table[name].chunks:
            if types.is_list(chunk.type) or types.is_large_list(chunk.type):
                found.update(np.diff(to_numpy(chunk.offsets)).astype(np.int64).data)
        for chunk in table[name].chunks:
            values = chunk.flatten() if types.is_nested(chunk.type) else chunk
            found.update(np.ascontiguousarray(to_numpy(values)).data)
    return found.hexdigest().encode()
