"""What a job prints: a file in the folder of its record, followed while the job runs."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

MAX_BYTES = 1 << 16
"""Bytes read at a time; a job that prints more between two reads has the rest in its file."""


class Output:
    """Follows the file of a job's standard output and error from its present end.

    Args:
        path: of the file, which need not exist.

    """

    def __init__(self, path: Path) -> None:
        self.path, self.position, self.partial = path, 0, b""
        with contextlib.suppress(OSError):
            self.position = path.stat().st_size

    def read(self) -> list[str]:
        """The lines completed since the last call."""
        with contextlib.suppress(OSError):
            if (size := self.path.lstat().st_size) > self.position:
                with open(self.path, "rb") as file:
                    file.seek(max(self.position, size - MAX_BYTES))
                    self.partial += file.read(MAX_BYTES)
                self.position = size
        *lines, self.partial = self.partial.split(b"\n")
        return [line.decode(errors="replace").rstrip("\r") for line in lines if line.strip()]

    def finish(self) -> list[str]:
        """The remaining lines, also one without an end. A file that is empty is removed."""
        lines = self.read()
        if self.partial.strip():
            lines.append(self.partial.decode(errors="replace"))
        with contextlib.suppress(OSError):
            if self.path.lstat().st_size == 0:
                os.unlink(self.path)
        return lines
