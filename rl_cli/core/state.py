"""TODO."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rl_cli.core.types import Arrays


def as_it_is(rows: Arrays) -> Arrays:
    """Columns that are stored as they are kept."""
    return rows


class Piece(NamedTuple):
    """Some rows of a long table, packed only where they have to be written, and only then."""

    rows: Arrays  # column name -> (rows, ...)
    pack: Callable[[Arrays], Arrays] = as_it_is

    def __call__(self) -> Arrays:
        """What is stored."""
        return self.pack(self.rows)


class Blocks(NamedTuple):
    """A long table in pieces of which few change between two saves.

    In a `State` it says which pieces need be written: one whose version is what it was at the last
    save is what it was. What is read back is the list of the pieces, as `pack` made them.
    """

    pieces: list[Arrays]  # each: column name -> (rows, ...)
    versions: list[int]
    pack: Callable[[Arrays], Arrays] = as_it_is  # what is stored of a piece

    def parts(self) -> list[Piece]:
        return [Piece(rows, self.pack) for rows in self.pieces]
