"""Evaluates a checkpoint, from its folder alone: statistics, evaluation.json, video, window.

This module does not import torch at the top, so that bad input is refused before torch is imported.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from rl_cli.config.commands import ReplayConfig
from rl_cli.core import devices, terminal
from rl_cli.core.errors import BadInput, plain
from rl_cli.core.process_settings import evaluation_settings, guarded
from rl_cli.core.start_folder import absolute, relative
from rl_cli.core.types import Episode
from rl_cli.envs.faults import note_of
from rl_cli.evaluation import video
from rl_cli.evaluation.agent import Agent, load_agent
from rl_cli.evaluation.evaluator import Evaluator, Policy, evaluate
from rl_cli.evaluation.frames import VideoUnavailable
from rl_cli.evaluation.watchdog import close_in_time
from rl_cli.storage import checkpoint_reader
from rl_cli.storage.atomic_files import make_output_folder, write_json, writing_to
from rl_cli.storage.run_folder import is_new_name, output_root
from rl_cli.tracking.display import print_table
from rl_cli.tracking.formatting import summary_rows, summary_table
from rl_cli.tracking.statistics import Summary, summarize


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Results of evaluation episodes.

    Attributes:
        checkpoint: its folder.
        step: env steps of training at that checkpoint.
        returns: (E,) float64, one for each episode.
        lengths: (E,) int64, in steps.
        summary: statistics of the returns.
        folder: of evaluation.json and the videos.
        videos: mp4 files.

    """

    checkpoint: Path
    step: int
    returns: np.ndarray
    lengths: np.ndarray
    summary: Summary
    folder: Path
    videos: tuple[Path, ...]


def replay(cfg: ReplayConfig) -> Evaluation:
    """Run rl-eval.

    Raises:
        BadInput: the checkpoint does not exist or is broken; the error names the file.

    """
    with guarded():
        return _replay(cfg)


def _replay(cfg: ReplayConfig) -> Evaluation:
    if cfg.run is None:
        raise BadInput("no run given", "rl-eval <run folder or checkpoint>", "see rl-eval --help")
    if cfg.render == "human" and sys.platform.startswith("linux"):
        if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise BadInput("no display is available", "render=human", "use video=true")
    devices.require_driver(cfg.device)
    folder = checkpoint_reader.find(Path(cfg.run), str(cfg.checkpoint))
    agent = load_agent(folder, cfg.env, cfg.device)
    output = absolute(
        Path(cfg.output) if cfg.output else _output_folder(absolute(folder), cfg, agent)
    )
    make_output_folder(output)
    evaluator = Evaluator(
        agent.env_cfg, agent.normalizer, "human" if cfg.render == "human" else None
    )
    try:
        with evaluation_settings() as settings:
            policy = settings.restoring(agent.algo.predict, terminal.warn)
            episodes = evaluate(evaluator, policy, cfg.episodes, cfg.seed, cfg.greedy)
            settings.restore_and_notify(terminal.warn, at_once=True)
            summary = summarize(episodes, evaluator.success_at)
            _report(cfg, agent, folder, episodes, summary, output)
            videos = _record_videos(cfg, agent, policy, output) if cfg.video else ()
            settings.restore_and_notify(terminal.warn, at_once=True)
    finally:  # after the results are written: close() of an env may fail, or not return
        if problem := close_in_time(evaluator.env):
            terminal.warn(note_of(problem))
    returns = np.array([e.episode_return for e in episodes], np.float64)
    lengths = np.array([e.length for e in episodes], np.int64)
    return Evaluation(folder, agent.manifest.step, returns, lengths, summary, output, videos)


def _output_folder(checkpoint_folder: Path, cfg: ReplayConfig, agent: Agent) -> Path:
    """A folder outside the run folder, which may be read-only, named by run, step and settings."""
    run, manifest = checkpoint_folder.resolve().parent.parent, agent.manifest
    settings = [
        cfg.episodes,
        cfg.seed,
        cfg.greedy,
        cfg.env,
        manifest.algo,
        manifest.env,
        manifest.seed,
    ]
    if not is_new_name(run.name):  # another run may have this name
        settings.append(os.fsencode(run).hex())
    code = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:6]
    name = f"{run.name}_step{manifest.step}_{'greedy' if cfg.greedy else 'sampled'}_{code}"
    return output_root(checkpoint_folder) / "runs" / "evals" / re.sub(r"[^\w.\-]", "_", name)


def _report(
    cfg: ReplayConfig,
    agent: Agent,
    folder: Path,
    episodes: list[Episode],
    summary: Summary,
    output: Path,
) -> None:
    manifest = agent.manifest
    how = "greedy" if cfg.greedy else "sampled"
    title = plain(f"{agent.algo.cfg.title} on {agent.env_cfg.id}, step {manifest.step:,}, {how}")
    is_table = cfg.display in ("auto", "live") and print_table(summary_table(summary, title))
    if cfg.display != "none" and not is_table:
        terminal.say(title, *(f"{name}: {value}" for name, value in summary_rows(summary)))
    values = evaluation_values(agent, str(folder), episodes, summary, cfg.seed, cfg.greedy)
    with writing_to("output"):
        write_json(output / "evaluation.json", values)
    if cfg.display != "none":
        terminal.say(
            f"checkpoint: {relative(folder)}",
            f"results:    {relative(output / 'evaluation.json')}",
        )


def evaluation_values(
    agent: Agent,
    checkpoint: str,
    episodes: list[Episode],
    summary: Summary,
    seed: int,
    greedy: bool,
) -> dict[str, Any]:
    """The content of evaluation.json.

    Args:
        agent: what was evaluated.
        checkpoint: its folder.
        episodes: episode i was reset with seed + i.
        summary: of the episodes.
        seed: of the first episode.
        greedy: whether the most likely actions were taken.

    """
    return {
        "checkpoint": checkpoint,
        "step": agent.manifest.step,
        "algo": agent.manifest.algo["name"],
        "env": dataclasses.asdict(agent.env_cfg),
        "greedy": greedy,
        "seeds": [seed, seed + len(episodes) - 1],
        "summary": summary._asdict(),
        "episodes": [
            {"seed": seed + i, "return": e.episode_return, "length": e.length} | _reported(e)
            for i, e in enumerate(episodes)
        ],
    }


def _reported(episode: Episode) -> dict[str, Any]:
    """What the env said of an episode."""
    values: dict[str, Any] = {} if episode.success is None else {"success": episode.success}
    return values | ({"info": dict(episode.info)} if episode.info else {})


def _record_videos(
    cfg: ReplayConfig, agent: Agent, policy: Policy, output: Path
) -> tuple[Path, ...]:
    """The videos; none if the env cannot be rendered, which is reported."""
    paths = [
        output / f"episode_{cfg.seed + i}.mp4" for i in range(min(cfg.video_episodes, cfg.episodes))
    ]
    for path in paths:
        if path.is_symlink():  # the encoder would write to its target
            path.unlink()
    try:
        video.record(agent.env_cfg, agent.normalizer, policy, paths, cfg.seed, cfg.greedy)
    except VideoUnavailable as problem:
        terminal.warn(f"no video: {problem}")
        return ()
    for path in paths if cfg.display != "none" else ():
        terminal.say(f"video:      {relative(path)}")
    return tuple(paths)
