"""Long tables in a checkpoint's state, written in pieces of which only the changed ones are saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rl_cli.core.types import Arrays


def unchanged(rows: Arrays) -> Arrays:
    """The default `pack`: columns are stored as they are in memory."""
    return rows


class Piece(NamedTuple):
    """Some rows of a long table, packed when they are written."""

    rows: Arrays  # column name -> (rows, ...)
    pack: Callable[[Arrays], Arrays] = unchanged

    def __call__(self) -> Arrays:
        """The columns to store."""
        return self.pack(self.rows)


class Blocks(NamedTuple):
    """A long table as a list of pieces, few of which change between two saves.

    A piece whose version is the same as at the last save is not written again. Reading a checkpoint
    gives the list of the pieces as `pack` returned them.
    """

    pieces: list[Arrays]  # each: column name -> (rows, ...)
    versions: list[int]
    pack: Callable[[Arrays], Arrays] = unchanged  # columns of a piece -> columns to store

    def parts(self) -> list[Piece]:
        return [Piece(rows, self.pack) for rows in self.pieces]
