"""The HPARAMS tab of TensorBoard: which settings of a run it shows, and the summaries for it.

TensorBoard takes the columns of the tab from the first run that it finds. It shows those marked as
differing first.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rl_cli.config.labels import Labels
from rl_cli.config.run import RunConfig

METRICS = {
    "eval/episode_return": "final return",
    "eval/best_return": "best return",
    "eval/success_rate": "success rate",
    "time/elapsed": "seconds",
}
"""Tags whose last values are the metrics of the tab, and their titles."""

ALWAYS_DIFFER = ("algo", "env", "seed")

ATARI = ("env.atari", "env.noop_max", "env.fire_reset", "env.episodic_life")
"""Keys that have no effect on other envs."""

WITHOUT_EFFECT = (
    "run_dir",
    "resume",
    "display",
    "quiet",
    "jobs",
    "retries",
    "gpus",
    "log",
    "video",
    "checkpoint",
)
"""Keys and groups of keys that change no result; they are not shown if they were typed."""


def hparams(cfg: RunConfig, labels: Labels) -> dict[str, Any]:
    """The settings that distinguish runs: flat name -> number, string, bool or JSON text.

    The names of algorithm and env, `seed`, `total_timesteps`, `algo.*`, `env.*`, and what else was typed.
    Keys without effect in this run are left out, unless they were typed.
    """
    typed = labels.keys()
    values: dict[str, Any] = {"algo": labels.algo, "env": labels.env, "seed": cfg.seed}
    values["total_timesteps"] = cfg.total_timesteps
    values |= {f"algo.{key}": value for key, value in dataclasses.asdict(cfg.algo).items()}
    values |= {f"env.{key}": value for key, value in dataclasses.asdict(cfg.env).items()}
    unused = {*cfg.algo.without_effect(), *(() if cfg.env.atari else ATARI)} - set(typed)
    values = {key: value for key, value in values.items() if key not in unused}
    every = dataclasses.asdict(cfg)
    for word in labels.typed:
        key, _, text = word.lstrip("+").partition("=")
        if key not in values and key.split(".")[0] not in WITHOUT_EFFECT:
            values[key] = _value(every, key, text)
    return {
        k: json.dumps(v) if isinstance(v, dict | list | tuple) else v for k, v in values.items()
    }


def _value(every: Mapping[str, Any], key: str, text: str) -> Any:
    """The value of a key, or the text of the override if it is no key of the configuration."""
    node: Any = every
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return text
        node = node[part]
    return node


def differing(labels: Labels, values: Mapping[str, object]) -> tuple[str, ...]:
    """Names among `values` that were typed or distinguish runs in any case, in this order."""
    names = dict.fromkeys([*ALWAYS_DIFFER, *labels.keys()])
    return tuple(name for name in names if name in values)


def start_summaries(values: Mapping[str, object], differ: Sequence[str]) -> list[Any]:
    """Summaries that describe the columns of the tab and the row of this run.

    Args:
        values: name -> number, string, bool or None, which is left empty.
        differ: names of the columns that are marked as differing.

    """
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    infos, start = [], plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
    for name in [*differ, *(name for name in values if name not in differ)]:
        value = values[name]
        info = api_pb2.HParamInfo(name=name, differs=name in differ)
        if isinstance(value, bool):
            info.type = api_pb2.DATA_TYPE_BOOL
            start.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            info.type = api_pb2.DATA_TYPE_FLOAT64
            start.hparams[name].number_value = value
        else:
            info.type = api_pb2.DATA_TYPE_STRING
            if value is not None:
                start.hparams[name].string_value = str(value)
        infos.append(info)
    metrics = [
        api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=title)
        for tag, title in METRICS.items()
    ]
    experiment = api_pb2.Experiment(hparam_infos=infos, metric_infos=metrics)
    return [
        _summary(metadata.EXPERIMENT_TAG, experiment=experiment),
        _summary(metadata.SESSION_START_INFO_TAG, session_start_info=start),
    ]


def end_summary() -> Any:
    """The summary that says that the run has ended."""
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time())
    return _summary(metadata.SESSION_END_INFO_TAG, session_end_info=end)


def _summary(tag: str, **content: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    data = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content)
    plugin = SummaryMetadata.PluginData(
        plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString()
    )
    return Summary(value=[Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin))])
