"""The sink of a tracker: writes rows into the pipe to the tracker's process, without waiting for it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rl_cli.core.start_folder import start_folder
from rl_cli.core.types import Episode
from rl_cli.storage import run_folder
from rl_cli.tracking.sinks import SinkContext

CLOSE_SECONDS = 60.0
"""How long the end of a run waits for its trackers, which may still be uploading."""

STOPPED_SECONDS = 10.0
"""The same for a run that a signal stopped."""

NOTIFY_SECONDS = 5.0
"""After how long a line says so."""

MAX_PENDING = 1 << 25
"""Bytes of rows that wait for a tracker; then it is given up."""

BLOCK = 1 << 16
"""Bytes of one write."""

POLL_SECONDS = 0.02

COMMAND = ("-m", "rl_cli.tracking.trackers.process")


class TrackerSink:
    """Sends the rows of a run to one tracker. Whatever happens there costs the run one line.

    Args:
        name: of the tracker.
        project: of the tracker that the run belongs to.
        context: of the sink.

    """

    def __init__(self, name: str, project: str, context: SinkContext) -> None:
        self.name, self.context = name, context
        self.pending, self.received = bytearray(), b""
        self.videos = set() if context.resumed_at is None else set(self._found_videos())
        self.step = context.resumed_at or 0
        self.process: subprocess.Popen[bytes] | None = None
        hparams, folder = context.hparams, context.folder
        title = f"{hparams.get('algo')}_{hparams.get('env')}_{folder.name}"
        self._start(
            {
                "tracker": name,
                "project": project,
                "name": re.sub(r"[^\w.\-]", "-", title)[:128],
                "folder": str(folder.absolute()),
                "config": dict(hparams),
                "resumed": context.resumed_at is not None,
            }
        )

    def write_row(self, step: int, row: Mapping[str, float]) -> None:
        self._send({"step": step, "row": dict(row)})

    def write_evaluation(
        self, step: int, episodes: Sequence[Episode], seed: int, row: Mapping[str, float]
    ) -> None:
        self._send({"step": step, "row": dict(row), "evaluation": True})
        self._send_videos()

    def cut_after(self, row_step: int, evaluation_step: int) -> None:
        """The tracker's process skips the rows that it has had."""

    def flush(self) -> None:
        self._pump()

    def close(self) -> None:
        """Send the remaining rows, and wait for the tracker, for a limited time and until a second signal."""
        if self.process is None:
            return
        self._send_videos()
        state = str(run_folder.read_status(self.context.folder).get("state", "failed"))
        self._send({"finish": state})
        seconds = STOPPED_SECONDS if state == "interrupted" else CLOSE_SECONDS
        try:
            self._wait(seconds)
        except KeyboardInterrupt:
            self._give_up("a signal ended the wait for it")
        if self.process is not None:
            self._give_up(f"it has not finished within {seconds:.0f} s")

    def _start(self, message: Mapping[str, Any]) -> None:
        try:
            self.process = subprocess.Popen(
                [sys.executable, *COMMAND],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                cwd=start_folder(),
                start_new_session=True,  # a signal of the terminal reaches the run alone
            )
        except OSError as error:
            self.context.notify(f"{self.name} gets no rows: {error.strerror}")
            return
        with contextlib.suppress(OSError, AttributeError):  # then a write may wait
            for pipe in (self.process.stdin, self.process.stdout):
                os.set_blocking(pipe.fileno(), False)  # type: ignore[union-attr]
        self._send(message)

    def _send(self, message: Mapping[str, Any]) -> None:
        if self.process is None:
            return
        self.step = int(message.get("step", self.step))
        self.pending += (json.dumps(message, default=str) + "\n").encode()
        self._pump()
        if self.process is not None and len(self.pending) > MAX_PENDING:
            self._give_up("it takes none")

    def _send_videos(self) -> None:
        for path in sorted(set(self._found_videos()) - self.videos):
            self.videos.add(path)
            found = re.match(r"step_(\d+)_", path.name)
            step, kind = (int(found[1]), "evaluation") if found else (self.step, "training")
            message = {"at": step, "video": f"video/{kind}", "path": str(path.absolute())}
            self._send(message)

    def _found_videos(self) -> list[Path]:
        return list((self.context.folder / "videos").glob("[!.]*.mp4"))

    def _pump(self) -> None:
        """Write as much as the pipe takes, and read the messages of the tracker."""
        if self.process is None:
            return
        assert self.process.stdin is not None
        try:
            while self.pending and (written := self.process.stdin.write(self.pending[:BLOCK])):
                del self.pending[:written]
        except OSError:  # it has ended; what it said last is read next
            self.pending.clear()
        self._read()

    def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        data = self.process.stdout.read(BLOCK)  # without a buffer: None if there is nothing
        if data is None:
            return
        if not data:
            self._give_up("its process ended")
            return
        *lines, self.received = (self.received + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "note" in message:
                self._give_up(message["note"])
            else:
                self._release()
            return

    def _wait(self, seconds: float) -> None:
        started, is_reported = time.monotonic(), False
        while self.process is not None and (waited := time.monotonic() - started) < seconds:
            self._pump()
            time.sleep(POLL_SECONDS)
            if waited > NOTIFY_SECONDS and not is_reported:
                is_reported = True
                self.context.notify(f"waiting for {self.name}, at most {seconds:.0f} s")

    def _give_up(self, why: str) -> None:
        self._release()
        self.context.notify(f"no more rows to {self.name}: {why}; metrics.csv has them")

    def _release(self) -> None:
        """End the process, which has nothing left to do."""
        process, self.process = self.process, None
        self.pending.clear()
        if process is None:
            return
        with contextlib.suppress(OSError, AttributeError):  # with what it has started
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
