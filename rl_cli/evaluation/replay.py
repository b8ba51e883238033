"""Evaluates a checkpoint, from its folder alone: statistics, evaluation.json, video, window.

This module does not import torch at the top, so that bad input is refused before torch is imported.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_cli import algos
from rl_cli.config.commands import ReplayConfig
from rl_cli.config.env import EnvConfig
from rl_cli.config.schema import build
from rl_cli.core import devices, terminal
from rl_cli.core.errors import BadInput, plain
from rl_cli.core.processes import no_silent_exit
from rl_cli.core.start_folder import absolute, relative, remembered
from rl_cli.core.types import Episode
from rl_cli.envs.faults import note_of
from rl_cli.envs.make import make_env
from rl_cli.envs.normalization import ObservationNormalizer
from rl_cli.envs.spaces import spec_of
from rl_cli.envs.trust import require_confirmed
from rl_cli.evaluation import video
from rl_cli.evaluation.evaluator import Evaluator, evaluate
from rl_cli.evaluation.frames import VideoUnavailable
from rl_cli.evaluation.watchdog import close_in_time
from rl_cli.storage import checkpoint_reader
from rl_cli.storage.atomic_files import write_json
from rl_cli.storage.manifest import POLICY, Manifest
from rl_cli.tracking.display import print_table
from rl_cli.tracking.formatting import summary_rows, summary_table
from rl_cli.tracking.statistics import summarise

if TYPE_CHECKING:
    from rl_cli.algos.base import Algorithm


@dataclasses.dataclass(frozen=True)
class Agent:
    """A policy loaded from a checkpoint, with its env and observation statistics."""

    algo: Algorithm[Any]
    env: EnvConfig
    normalizer: ObservationNormalizer | None
    manifest: Manifest


def replay(cfg: ReplayConfig) -> float:
    """Run rl-eval. -> the mean return.

    Raises:
        BadInput: the checkpoint does not exist or is broken; the error names the file.

    """
    with remembered(), no_silent_exit():
        return _replay(cfg)


def _replay(cfg: ReplayConfig) -> float:
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
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"cannot write here: {error.strerror}", f"output={output}", "output=<another folder>"
        ) from None
    evaluator = Evaluator(agent.env, agent.normalizer, "human" if cfg.render == "human" else None)
    try:
        episodes = evaluate(evaluator, agent.algo.predict, cfg.episodes, cfg.seed, cfg.greedy)
        _report(cfg, agent, folder, episodes, evaluator.success_at, output)
        if cfg.video:
            _record_videos(cfg, agent, output)
    finally:  # after the results are written: close() of an env may fail, or not return
        if problem := close_in_time(evaluator.env):
            terminal.warn(note_of(problem))
    return sum(e.episode_return for e in episodes) / len(episodes)


def load_agent(folder: Path, env_changes: Mapping[str, Any], device: str) -> Agent:
    """Build the policy of a checkpoint; only manifest.json and policy.safetensors are read.

    Raises:
        BadInput: a file is missing, modified, or does not fit the env; or the env imports a module
            that the user has to name (see `envs.trust`).

    """
    manifest = checkpoint_reader.read_manifest(folder)
    name = str(manifest.algo.get("name"))
    algo_cfg = build(algos.config_class(name), manifest.algo, "algo")
    env_cfg = build(EnvConfig, _merged(manifest.env, env_changes) | {"num_envs": 1}, "env")
    require_confirmed(env_cfg, env_changes)
    env = make_env(env_cfg)
    spec = spec_of(env, env_cfg)
    close_in_time(env)  # a problem is reported for the env that is evaluated
    folder = absolute(folder)  # the env may have changed the current folder
    import torch  # takes seconds; the checks above do not need it

    from rl_cli.algos.factory import make_algorithm
    from rl_cli.storage.policy_file import load_policy_arrays, refuse_other_sizes

    torch.set_num_threads(1)  # fastest for a batch of one observation
    algo_cls = algos.load(name)
    refuse_other_sizes(algo_cls, algo_cfg, spec, [folder])
    algo = make_algorithm(algo_cls, algo_cfg.to_replay(), spec, 1, manifest.seed, device)
    normalizer = (
        ObservationNormalizer(spec.obs_shape, env_cfg.clip_obs) if env_cfg.normalize_obs else None
    )
    limit = 8 * algo.learner.flat.numel() + 64 * math.prod(spec.obs_shape) + (1 << 20)
    try:
        load_policy_arrays(checkpoint_reader.read_policy(folder, manifest, limit), algo, normalizer)
    except ValueError as error:
        raise BadInput(
            f"the weights do not fit this env: {error}",
            str(folder / POLICY),
            "evaluate it on the env that it was trained on",
        ) from None
    return Agent(algo, env_cfg, normalizer, manifest)


def _merged(env: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(env) | {k: v for k, v in changes.items() if k != "kwargs"}
    own, changed = env.get("kwargs", {}), changes.get("kwargs", {})
    if not (isinstance(own, dict) and isinstance(changed, dict)):
        raise BadInput(
            "env.kwargs is a mapping", f"env.kwargs={changed}", "env.kwargs.<name>=<value>"
        )
    merged["kwargs"] = own | changed
    return merged


def _output_folder(checkpoint_folder: Path, cfg: ReplayConfig, agent: Agent) -> Path:
    """A folder outside the run folder, which may be read-only, named by run, step and settings."""
    run, manifest = checkpoint_folder.resolve().parent.parent.name, agent.manifest
    settings = json.dumps(
        [cfg.episodes, cfg.seed, cfg.greedy, cfg.env, manifest.algo, manifest.env, manifest.seed]
    )
    code = hashlib.sha256(settings.encode()).hexdigest()[:6]
    name = f"{run}_step{manifest.step}_{'greedy' if cfg.greedy else 'sampled'}_{code}"
    return Path("runs") / "evals" / re.sub(r"[^\w.\-]", "_", name)


def _report(
    cfg: ReplayConfig,
    agent: Agent,
    folder: Path,
    episodes: list[Episode],
    success_at: float | None,
    output: Path,
) -> None:
    summary = summarise(episodes, success_at)
    manifest = agent.manifest
    how = "greedy" if cfg.greedy else "sampled"
    title = plain(f"{agent.algo.cfg.title} on {agent.env.id}, step {manifest.step:,}, {how}")
    is_table = cfg.display in ("auto", "live") and print_table(summary_table(summary, title))
    if cfg.display != "none" and not is_table:
        terminal.say(title, *(f"{name}: {value}" for name, value in summary_rows(summary)))
    write_json(
        output / "evaluation.json",
        {
            "checkpoint": str(folder),
            "step": manifest.step,
            "algo": manifest.algo["name"],
            "env": dataclasses.asdict(agent.env),
            "greedy": cfg.greedy,
            "seeds": [cfg.seed, cfg.seed + cfg.episodes - 1],
            "summary": summary._asdict(),
            "episodes": [
                {"seed": cfg.seed + i, "return": e.episode_return, "length": e.length}
                for i, e in enumerate(episodes)
            ],
        },
    )
    if cfg.display != "none":
        terminal.say(
            f"checkpoint: {relative(folder)}",
            f"results:    {relative(output / 'evaluation.json')}",
        )


def _record_videos(cfg: ReplayConfig, agent: Agent, output: Path) -> None:
    paths = [
        output / f"episode_{cfg.seed + i}.mp4" for i in range(min(cfg.video_episodes, cfg.episodes))
    ]
    for path in paths:
        if path.is_symlink():  # the encoder would write to its target
            path.unlink()
    try:
        video.record(agent.env, agent.normalizer, agent.algo.predict, paths, cfg.seed, cfg.greedy)
    except VideoUnavailable as problem:
        terminal.warn(f"no video: {problem}")
        return
    for path in paths if cfg.display != "none" else ():
        terminal.say(f"video:      {relative(path)}")
