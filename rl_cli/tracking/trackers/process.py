"""The process of a tracker: reads messages of the run, and passes them to the tracker.

Messages are lines of JSON. From the run: `start` first, then `row`, `video`, at the end `finish`. To the run:
`note`, a line for the user, and `end`. If the run is killed, its end of the pipe closes, and the tracker
finishes.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from rl_cli.core.errors import first_line, plain
from rl_cli.storage.atomic_files import write_json
from rl_cli.storage.untrusted import MAX_JSON_BYTES, parse_json, read
from rl_cli.tracking.trackers.base import TrackedRun, Tracker

TRACKERS = {
    "wandb": "WandbTracker",
    "trackio": "TrackioTracker",
    "mlflow": "MlflowTracker",
}
"""Name, which is the module's and the extra's -> class."""

FINISH_SECONDS = 120.0
"""How long a tracker may take after the end of the run."""

FOLDER = "trackers"
"""Folder in a run folder with one file for each tracker: the id of the run there."""


def main() -> None:
    """Serve the run that started this process."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # a tracker prints on both; the lines of the run are elsewhere
        os.dup2(nowhere, stream)

    def send(message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the run was killed
            out.write(json.dumps(message) + "\n")
            out.flush()

    serve(_lines(), send)
    os._exit(0)  # a tracker's threads may not end


def _lines() -> Iterator[str]:
    yield from sys.stdin
    timer = threading.Timer(FINISH_SECONDS, os._exit, [1])  # the run does not wait any more
    timer.daemon = True
    timer.start()


def serve(lines: Iterable[str], send: Callable[[dict[str, Any]], None]) -> None:
    """Pass messages on until the run ends; after a failure, report it and stop.

    Args:
        lines: from the run.
        send: sends a message to the run.

    """
    messages = (json.loads(line) for line in lines if line.endswith("\n"))
    start = next(messages, None)
    if start is None:
        return
    name = start["tracker"]
    try:
        tracker = _make(name)
        _follow(tracker, name, start, messages)
    except BaseException as error:
        send({"note": _reason(name, error)})
        return
    send({"end": True})


def _make(name: str) -> Tracker:
    module = importlib.import_module(f"rl_cli.tracking.trackers.{name}")
    tracker: Tracker = getattr(module, TRACKERS[name])()
    return tracker


def _follow(
    tracker: Tracker, name: str, start: dict[str, Any], messages: Iterable[dict[str, Any]]
) -> None:
    record = Path(start["folder"]) / FOLDER / f"{name}.json"
    earlier = _recorded(record) if start["resumed"] else {}
    run_id = earlier.get("id")
    run = TrackedRun(
        start["name"], start["project"], Path(start["folder"]), start["config"], run_id
    )
    sent = {kind: earlier.get(kind, -1) for kind in KINDS}
    found = {"id": tracker.start(run), **sent}
    record.parent.mkdir(exist_ok=True)
    write_json(record, found)
    state = "failed"  # unless the run says how it ended
    try:
        for message in messages:
            if "finish" in message:
                state = message["finish"]
                break
            if "video" in message:
                tracker.video(message["at"], message["video"], Path(message["path"]))
                continue
            kind = "evaluation" if message.get("evaluation") else "step"
            if message["step"] > sent[kind]:  # else sent before an interruption
                tracker.log(message["step"], message["row"])
                found[kind] = max(found[kind], message["step"])
    finally:
        write_json(record, found)
        tracker.finish(state)


KINDS = ("step", "evaluation")
"""Of rows, and of evaluations: an interruption may fall between the two of one step."""


def _recorded(path: Path) -> dict[str, Any]:
    """The record of an earlier process, if it is intact. A run folder may come from anybody."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        found = parse_json(read(path, MAX_JSON_BYTES))
        is_name = re.fullmatch(r"[\w .\-]{1,200}", str(found["id"])) is not None
        steps = {kind: found.get(kind, found["step"]) for kind in KINDS}
        if is_name and all(type(step) is int for step in steps.values()):
            return {"id": str(found["id"]), **steps}
    return {}


def _reason(name: str, error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == name:
        return f"{name} is not installed: pip install 'rl-cli[{name}]'"
    return plain(f"{type(error).__name__}: {first_line(error)}")


if __name__ == "__main__":
    main()
