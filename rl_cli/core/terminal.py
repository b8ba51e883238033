"""Standard output and error. Writing to them never raises, and never stops a run.

A terminal may be lost, a pipe closed, a disk full, and a reader may stop reading. The text is then dropped, and
the program continues. Every line of this package is printed by a function of this module.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import select
import sys
import threading
import time
import traceback
from typing import Any, TextIO

from rl_cli.core.errors import escaped, first_line

WAIT_SECONDS = 5.0
"""How long a write waits for a reader that does not read. Then text is dropped until it reads again."""

BLOCK = 4096
"""Bytes of one write: a pipe that is ready takes so many without blocking (PIPE_BUF of Linux)."""

COPIES = 64
"""Least number of a copied file descriptor: code that closes or counts the lowest ones does not meet it."""

GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO, errno.ECONNRESET)
"""Errors after which nothing more is written. After others (a full disk) the next write is tried."""

PLAIN_SIGNS = dict(zip("▁▂▃▄▅▆▇█", "_.,-=+*#", strict=True)) | {
    **{"·": "-", "×": "x", "→": "->", "±": "+/-", "…": "...", "–": "-", "—": "-", "•": "*"},
    **dict.fromkeys("─━═╌╍", "-"),
    **dict.fromkeys("│┃║", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯┏┓┗┛┡┩╇╈╔╗╚╝╠╣╦╩╬╺╸", "+"),
}
"""ASCII in place of signs that the encoding of the terminal does not have."""


def _plain_signs(error: UnicodeError) -> tuple[str, int]:
    """Error handler of codecs: a plain sign, or the escape of the character."""
    assert isinstance(error, UnicodeEncodeError)
    found = error.object[error.start : error.end]
    shown = (PLAIN_SIGNS.get(c) or c.encode("unicode_escape").decode() for c in found)
    return "".join(shown), error.end


PLAIN_SIGNS_ERRORS = "rl_cli.plain_signs"
codecs.register_error(PLAIN_SIGNS_ERRORS, _plain_signs)


class GuardedStream(io.TextIOBase):
    """A text stream in front of another one. Its methods do not raise.

    Lines are written to the file descriptor as soon as they are complete, so that the interpreter has nothing
    left to flush when it ends.

    Args:
        stream: the stream of the interpreter; None: the process was started without one.
        copied: write to a copy of its file descriptor. Code of an env may close or redirect the stream's own, and
            the next file that is opened would get its number, and with it what is printed.

    """

    def __init__(self, stream: TextIO | None, copied: bool = False) -> None:
        self.stream, self.pending, self.gone = stream, "", stream is None
        self.stalled = False  # the reader has not read for WAIT_SECONDS
        self.fd: int | None = None  # None: no file, or no way to wait for it
        self.own: int | None = None  # of the stream
        if stream is not None and hasattr(select, "poll"):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
                self.own = stream.fileno()
                self.fd = _copy(self.own) if copied else self.own

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self.stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return PLAIN_SIGNS_ERRORS

    def __getattr__(self, name: str) -> Any:  # buffer, name, mode, ...
        if name == "stream" or self.stream is None:
            raise AttributeError(name)
        return getattr(self.stream, name)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        if self.stream is None:
            raise io.UnsupportedOperation("fileno")
        return self.stream.fileno()

    def release(self) -> None:
        """Close the copied descriptor; nothing more is written."""
        if self.fd is not None and self.fd >= COPIES:
            os.close(self.fd)
        self.fd, self.gone = None, True

    def isatty(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return self.stream is not None and not self.gone and self.stream.isatty()
        return False

    def write(self, text: str) -> int:
        self.pending += text
        if "\n" in text or "\r" in text or len(self.pending) > BLOCK:
            self.flush()
        return len(text)

    def flush(self) -> None:
        self.put("", WAIT_SECONDS)

    def put(self, text: str, wait: float | None) -> None:
        """Write text now. Args: wait: seconds to wait for a reader that does not read; None: no limit."""
        text, self.pending = self.pending + text, ""
        if self.gone or not text:
            return
        try:
            data = text.encode(self.encoding, PLAIN_SIGNS_ERRORS)
            if self.fd is not None:
                self._write_to(self.fd, memoryview(data), wait)
            elif self.stream is not None:
                self.stream.write(data.decode(self.encoding))
                self.stream.flush()
        except OSError as error:
            if error.errno == errno.EBADF and self.own is not None and self.fd != self.own:
                self.fd, self.pending = self.own, text  # code of an env has closed the copy
                self.put("", wait)
                return
            self.gone = error.errno in GONE
        except (ValueError, LookupError):  # the stream was closed; an unknown encoding
            self.gone = True

    def _write_to(self, fd: int, left: memoryview, wait: float | None) -> None:
        deadline = None if wait is None else time.monotonic() + (0.0 if self.stalled else wait)
        while left:
            if not _is_ready(fd, deadline):
                self.stalled = True
                return
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(fd, left[:BLOCK]) :]
                continue
            if deadline is not None and time.monotonic() >= deadline:
                self.stalled = True
                return
            time.sleep(0.01)
        self.stalled = False


def _copy(fd: int) -> int:
    """A copy of a file descriptor that child programs do not inherit; itself where there is none."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, COPIES)
    return fd


def _is_ready(fd: int, deadline: float | None) -> bool:
    """Wait until a write would not block. An error counts as ready: the write then reports it."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    seconds = None if deadline is None else max(deadline - time.monotonic(), 0.0)
    return bool(poll.poll(None if seconds is None else 1000 * seconds))


def protect() -> tuple[Any, Any]:
    """Put guarded streams in place of sys.stdout and sys.stderr. Every command calls this first.

    Returns them, for the end of the command: other code may have put streams of its own in their place.

    Descriptors 0 to 2 that are closed are opened on the null device: a file of the run would get their
    numbers, and with them what other code prints.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number
    sys.stdout, sys.stderr = _guarded(sys.stdout), _guarded(sys.stderr)
    threading.excepthook, sys.unraisablehook = _report_thread, _report_unraisable
    return sys.stdout, sys.stderr


def _guarded(stream: Any) -> Any:
    return stream if isinstance(stream, GuardedStream) else GuardedStream(stream, copied=True)


def _report_thread(args: threading.ExceptHookArgs) -> None:
    """One line for an exception in a thread. An OSError is reported by the next write to that file."""
    if args.exc_value is not None and not isinstance(args.exc_value, OSError):
        name = args.thread.name if args.thread else "a thread"
        warn(f"{name} ended: {args.exc_type.__name__}: {first_line(args.exc_value)}")


def _report_unraisable(args: Any) -> None:
    """One line for an exception that nothing can catch: in `__del__`, in an exit function, in a callback of C."""
    if args.exc_value is not None and not isinstance(args.exc_value, OSError):
        where = args.err_msg or "Exception ignored in a destructor"
        what = getattr(args.object, "__qualname__", type(args.object).__name__)
        warn(f"note: {where} ({what}): {args.exc_type.__name__}: {first_line(args.exc_value)}")


def to_file(path: str) -> None:
    """Append standard output and error of this process, and of those that it starts, to a file.

    Nothing changes if the path is empty, is a link, or cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    with contextlib.suppress(OSError):
        handle = os.open(path, flags, 0o666)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, GuardedStream):
                stream.release()
        for fd in (1, 2):
            os.dup2(handle, fd)
        os.close(handle)
        sys.stdout, sys.stderr = (_guarded(os.fdopen(fd, "w", closefd=False)) for fd in (1, 2))


def is_screen(errors: bool = False) -> bool:
    """Whether standard output, or standard error, is a terminal."""
    with contextlib.suppress(Exception):  # there is none, or an env has put its own here
        return bool((sys.stderr if errors else sys.stdout).isatty())
    return False


def flush() -> None:
    """Flush standard output and error, before a fork."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def say(*lines: str) -> None:
    """Print lines on standard output. Control characters in them are escaped."""
    _print(sys.stdout, lines, WAIT_SECONDS)


def warn(*lines: str) -> None:
    """Print lines on standard error. Control characters in them are escaped."""
    _print(sys.stderr, lines, WAIT_SECONDS)


def show(text: str) -> None:
    """Print a long text such as a help page, and wait for a reader as long as it takes."""
    _print(sys.stdout, text.splitlines(), None)


def warn_traceback() -> None:
    """Print the exception that is being handled, with its traceback, on standard error."""
    try:
        lines = traceback.format_exc().splitlines()
    except Exception:  # the text of the exception raises
        lines = [f"{type(sys.exception()).__name__}, whose text cannot be read"]
    warn(*lines)


def _print(stream: Any, lines: tuple[str, ...] | list[str], wait: float | None) -> None:
    text = "".join(f"{escaped(line)}\n" for line in lines)
    if isinstance(stream, GuardedStream):
        stream.put(text, wait)
        return
    with contextlib.suppress(Exception):  # there is no stream, or an env has put its own here
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, PLAIN_SIGNS_ERRORS).decode(encoding))
        stream.flush()


def urgent(line: str) -> None:
    """Print a line on standard error from a signal handler: without a buffer, without waiting."""
    fd = getattr(sys.stderr, "fd", None) if isinstance(sys.stderr, GuardedStream) else 2
    with contextlib.suppress(OSError):
        if fd is not None and (not hasattr(select, "poll") or _is_ready(fd, 0.0)):
            os.write(fd, f"{line}\n".encode("ascii", PLAIN_SIGNS_ERRORS))
