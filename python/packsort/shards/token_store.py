"""Tokens that a call of `write_shards` takes over from an earlier one, or leaves to a later one.

By default tokens are kept only if planning them fails, in a hidden folder beside the output, and the next call that
writes the same output removes it. A folder that the user chose keeps the tokens of every call.
"""

from __future__ import annotations

from pathlib import Path

from packsort import _checks
from packsort._options.input import InputConfig
from packsort._progress import Stage
from packsort.errors import PacksortError
from packsort.sources.source import Source
from packsort.tokenization.choice import TokenizerChoice
from packsort.tokenization.kept import KeptTokens, TokenFolder, are_files, beside


class TokenStore:
    """Tokens kept between calls.

    Args:
        folder: Folder of the tokens.
        own: Whether the user chose the folder.
        read_only: Whether nothing is written.
    """

    def __init__(self, folder: TokenFolder, *, own: bool, read_only: bool) -> None:
        self._folder, self._own, self._read_only = folder, own, read_only
        self._made: KeptTokens | None = None
        self._kept = 0  # rows whose tokens the folder holds

    @property
    def keeps_all(self) -> bool:
        """Whether tokens are kept whatever becomes of them."""
        return self._own and not self._read_only

    def find(self, stage: Stage) -> KeptTokens | None:
        """Return the tokens that an earlier call kept, or None."""
        found = self._folder.find(stage)
        self._kept = 0 if found is None else found.table.num_rows
        return found

    def made(self, tokens: KeptTokens) -> None:
        """Take tokens that this call has made; only a folder that the user chose keeps them at once.

        Raises:
            OutputError: They cannot be written there.
        """
        if self.keeps_all:
            self._folder.keep(tokens)
            self._kept = tokens.table.num_rows
        else:
            self._made = tokens

    def keep_after(self, error: PacksortError) -> None:
        """Keep the tokens of a call that fails, and say so in a note of its error."""
        if self._made is not None and not self._read_only:
            rows = self._made.table.num_rows
            try:
                self._folder.keep(self._made)
                self._folder.remove(but_own=True)
            except PacksortError as failure:
                error.add_note(f"note: the tokens of {rows:,} rows are lost: {failure}")
            else:
                self._kept = rows
        if self._kept:
            call = (
                "the next call with the same folder" if self._own else "the next call that packs them to the same place"
            )
            error.add_note(
                f"note: the tokens of {self._kept:,} rows are kept in `{self._folder.folder}`, and {call} uses them"
            )

    def done(self) -> None:
        """Remove what an earlier call left beside the output; a folder that the user chose stays."""
        if not self._own and not self._read_only:
            self._folder.remove()


def open_store(
    source: Source,
    choice: TokenizerChoice | None,
    config: InputConfig,
    *,
    folder: Path | None,
    out: Path | None,
    read_only: bool = False,
) -> TokenStore | None:
    """Open the store of a call, or return None if there is nothing that could be kept.

    Args:
        source: The rows.
        choice: Their tokenizer, or None where they hold tokens.
        config: Options of what goes in.
        folder: Folder that the user chose, or None.
        out: Output of the call, or None.
        read_only: Whether the call writes nothing.

    Raises:
        OptionError: The user chose a folder, and there is no tokenizer, or the rows are in memory.
    """
    if folder is not None:
        if choice is None:
            raise _checks.clash(f"tokens={str(folder)!r}", "tokenizer=None", "it keeps what a tokenizer made")
        return TokenStore(TokenFolder(folder, source, choice, config), own=True, read_only=read_only)
    if choice is None or out is None or not out.name or not are_files(source):
        return None
    return TokenStore(TokenFolder(beside(out), source, choice, config), own=False, read_only=read_only)
