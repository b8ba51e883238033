"""Many episodes in a checkpoint: arrays, because text of hundreds of thousands would be too large to be read again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rl_cli.core.fields import Fields, StateError, integer, number, shown
from rl_cli.core.types import Episode
from rl_cli.tracking.statistics import MAX_RETURN

FEW = 1_000
"""Episodes up to which they are a list, one by one, as in earlier versions."""

SUCCESS: Sequence[bool | None] = (None, False, True)
"""What an env says, by number."""


def saved(episodes: Sequence[Episode]) -> list[Any] | dict[str, Any]:
    """Episodes for a checkpoint."""
    if len(episodes) <= FEW:
        return [_plain(each) for each in episodes]
    names = list(dict.fromkeys(key for each in episodes for key in each.info))
    place = {name: i for i, name in enumerate(names)}
    info = [(i, place[k], v) for i, each in enumerate(episodes) for k, v in each.info.items()]
    return {
        "returns": np.array([each.episode_return for each in episodes], np.float64),
        "lengths": np.array([each.length for each in episodes], np.int64),
        "success": np.array([SUCCESS.index(each.success) for each in episodes], np.int64),
        "names": names,
        "info_of": np.array([i for i, _, _ in info], np.int64),
        "info_name": np.array([name for _, name, _ in info], np.int64),
        "info": np.array([value for _, _, value in info], np.float64),
    }


def loaded(value: object) -> list[Episode]:
    """The episodes of `saved`, of this or an earlier version. Raises StateError."""
    if isinstance(value, list | tuple):
        return [_episode(each) for each in value]
    fields = Fields(value, "episodes")
    n, names = len(fields.array("returns", (None,), np.float64)), fields.items("names")
    if not all(isinstance(name, str) for name in names):
        raise StateError("episodes.names has a value that is no name")
    returns = fields.array("returns", (n,), np.float64, -MAX_RETURN, MAX_RETURN).tolist()
    lengths = fields.array("lengths", (n,), np.int64, 0).tolist()
    success = fields.array("success", (n,), np.int64, 0, len(SUCCESS) - 1).tolist()
    values = fields.array("info", (None,), np.float64)
    count = (len(values),)
    rows = fields.array("info_of", count, np.int64, 0, n - 1).tolist()
    places = fields.array("info_name", count, np.int64, 0, len(names) - 1).tolist()
    info: list[dict[str, float]] = [{} for _ in range(n)]
    for row, name, number_ in zip(rows, places, values.tolist(), strict=True):
        info[row][names[name]] = number_
    columns = zip(returns, lengths, success, info, strict=True)
    return [Episode(total, length, SUCCESS[s], found) for total, length, s, found in columns]


def _plain(episode: Episode) -> list[Any]:
    """An episode for a checkpoint; without what the env did not say, as in earlier versions."""
    reported = [episode.success, dict(episode.info)]
    return [*episode[:2], *(reported if reported != [None, {}] else [])]


def _episode(value: object) -> Episode:
    """An episode of a checkpoint. Raises StateError."""
    fields = Fields({"episode": value})
    total, length, *reported = fields.items("episode", 2 if len(fields.items("episode")) < 3 else 4)
    episode = Episode(
        number(total, "return", -MAX_RETURN, MAX_RETURN), integer(length, "length", 0)
    )
    if not reported:
        return episode
    success, info = reported
    if success is not None and type(success) is not bool:
        raise StateError(f"{shown(success)} is not whether an episode is a success")
    values = Fields(info, "info")
    return episode._replace(success=success, info={key: values.number(key) for key in info})
