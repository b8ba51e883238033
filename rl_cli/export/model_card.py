"""README.md of a folder for the Hugging Face Hub: what the policy is, how well it does, how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from rl_cli import __version__
from rl_cli.config.env import EnvConfig
from rl_cli.core.command_line import pasted
from rl_cli.envs.trust import required_arguments
from rl_cli.evaluation.agent import Agent
from rl_cli.tracking.statistics import Summary

TEXT = """\
---
{fields}---

# {algo} on {env}

{algo} after {step:,} env steps, seed {seed}, trained with rl-cli {version}.

{video}## Evaluation

{episodes} greedy episodes, seeds {first} to {last}.{seeds}

{table}

## Use

```sh
pip install rl-cli
{command}
```

```python
import rl_cli

agent = rl_cli.load("<folder>"{env_of})
action = agent.act(obs)
```

`<folder>` is a copy of this repository: `hf download <owner>/<name> --local-dir <folder>`. Nothing in it is
unpickled or executed.

## Files

| file | contents |
|---|---|
{files}
"""

VIDEO = '<video controls src="replay.mp4"></video>\n\n'


def _about_seeds(used: range | None, first: int, episodes: int) -> str:
    """What the seeds of training's evaluations, which chose the checkpoint, mean for the value."""
    if used is None:
        return ""
    if used.start < first + episodes and first < used.stop:
        return (
            " Training evaluated with some of them, so the value of its best checkpoint is biased."
        )
    return " Training evaluated with other seeds, so the choice of the checkpoint does not bias the value."


def model_card(
    agent: Agent,
    summary: Summary,
    first: int,
    files: Mapping[str, str],
    used: range | None = None,
) -> str:
    """The text, with the fields that the Hub reads in front.

    Args:
        agent: the policy.
        summary: of its greedy evaluation; episode i was reset with the seed first + i.
        first: seed of the first episode.
        files: name of a file in the folder -> what it is.
        used: seeds of the evaluations during training; None: not known.

    """
    env, algo = agent.env_cfg.id, str(agent.algo.cfg.title)
    return TEXT.format(
        fields=yaml.safe_dump(_fields(env, algo, summary), sort_keys=False, allow_unicode=True),
        algo=algo,
        env=env,
        step=agent.manifest.step,
        seed=agent.manifest.seed,
        version=__version__,
        video=VIDEO if "replay.mp4" in files else "",
        episodes=summary.episodes,
        first=first,
        last=first + summary.episodes - 1,
        seeds=_about_seeds(used, first, summary.episodes),
        env_of=_env_argument(agent.env_cfg),
        table=_table(summary),
        command=f"rl-eval <folder> {pasted(*required_arguments(agent.env_cfg))}".rstrip(),
        files="\n".join(f"| `{name}` | {text} |" for name, text in files.items()),
    )


def _env_argument(env: EnvConfig) -> str:
    """The argument of `rl_cli.load` for what a folder alone is not trusted with; see `required_arguments`."""
    keys = [word.partition("=")[0].removeprefix("env.") for word in required_arguments(env)]
    given: dict[str, Any] = {"id": env.id} if "id" in keys else {}
    if "wrappers" in keys:
        given["wrappers"] = list(env.wrappers)
    if kwargs := {k: v for k, v in env.kwargs.items() if f"kwargs.{k}" in keys}:
        given["kwargs"] = kwargs
    return f", env={given}" if given else ""


def _table(summary: Summary) -> str:
    rows = {
        "mean ± standard deviation": f"{summary.mean:.2f} ± {summary.std:.2f}",
        "interquartile mean": f"{summary.iqm:.2f}",
        "its 95 % bootstrap interval": f"{summary.iqm_low:.2f} to {summary.iqm_high:.2f}",
        "median": f"{summary.median:.2f}",
        "minimum, maximum": f"{summary.min:.2f}, {summary.max:.2f}",
        "mean length": f"{summary.mean_length:.1f} steps",
    }
    if summary.success_rate is not None:
        at = "" if summary.success_at is None else f" (return of at least {summary.success_at:g})"
        rows["success rate"] = f"{100 * summary.success_rate:.0f} %{at}"
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(["| return | |", "|---|---|", *lines])


def _fields(env: str, algo: str, summary: Summary) -> dict[str, Any]:
    """The metadata of a model card (model-index)."""
    metric = {
        "type": "mean_reward",
        "value": f"{summary.mean:.2f} +/- {summary.std:.2f}",
        "name": "mean_reward",
        "verified": False,
    }
    task = {"type": "reinforcement-learning", "name": "reinforcement-learning"}
    result = {"task": task, "dataset": {"name": env, "type": env}, "metrics": [metric]}
    return {
        "library_name": "rl-cli",
        "tags": ["reinforcement-learning", "deep-reinforcement-learning", env, algo],
        "model-index": [{"name": f"{algo}-{env}", "results": [result]}],
    }
