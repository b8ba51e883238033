"""What earlier versions of the program wrote, in the words of this one.

A key that comes later means nothing to the runs before it: here stands the value that does what
they did. A key that was renamed is translated. Whoever adds a key adds a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Values = dict[str, Any]

RUN: Values = {"compile": False, "workers": 0, "step_timeout": 300.0, "total_episodes": None}
GROUPS: dict[str, Values] = {
    "env": {"reseed_episodes": False},
    "eval": {"every_episodes": 0},
    "checkpoint": {},
    "video": {"every_episodes": 0},
    "log": {"window": 100},
    "stop": {"eval_window": 1},
}
ALGOS: dict[str, Values] = {"dqn": {}, "ppo": {}, "reinforce": {}}


def run(config: Mapping[str, Any]) -> Values:
    """A whole recorded configuration; groups and keys that it lacks are filled in."""
    full = {**RUN, **config}
    for name, since in GROUPS.items():
        if isinstance(full.get(name), Mapping):
            full[name] = {**since, **full[name]}
    if isinstance(full.get("algo"), Mapping):
        full["algo"] = algo(full["algo"])
    return full


def env(values: Mapping[str, Any]) -> Values:
    """An env's keys."""
    return {**GROUPS["env"], **values}


def algo(values: Mapping[str, Any]) -> Values:
    """An algorithm's keys."""
    return {**ALGOS.get(str(values.get("name")), {}), **values}
