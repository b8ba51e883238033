"""minari/: episodes of the policy as a dataset (HDF5). Settings: episodes, dataset, greedy. Extra: minari."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import errno
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rl_cli import __version__
from rl_cli.config.env import EnvConfig
from rl_cli.core import terminal
from rl_cli.core.errors import BadInput, RunError, first_line
from rl_cli.core.seeding import globals_kept, seed_globals
from rl_cli.envs.faults import env_fault, is_signal, note_of
from rl_cli.evaluation.evaluator import DEFAULT_TIME_LIMIT
from rl_cli.evaluation.watchdog import close_in_time
from rl_cli.export.base import Context, Exporter
from rl_cli.storage.atomic_files import free_bytes, megabytes, storing

OVERHEAD = 1 << 15
"""Bytes of an episode in HDF5 besides its observations and actions, about."""


class Minari(Exporter):
    """A dataset of Minari, in the env's own observations and actions.

    Settings:
        episodes: number of episodes.
        dataset: its name, <namespace>/<name>-v<number>; empty: from env and algorithm.
        greedy: the most likely action; false: actions sampled from the policy.

    """

    def __init__(
        self, context: Context, episodes: int = 100, dataset: str = "", greedy: bool = True
    ) -> None:
        super().__init__(context)
        if type(episodes) is not int or episodes < 1:
            raise BadInput("a dataset has episodes", f"minari.episodes={episodes}", "at least 1")
        self.minari = _package()
        self.episodes, self.greedy = episodes, bool(greedy)
        self.name = str(dataset) or self._default_name()
        if not re.fullmatch(r"([\w\-]+/)*[\w\-]+-v\d+", self.name):
            raise BadInput(
                "this is no name of a dataset",
                f"minari.dataset={self.name}",
                "<namespace>/<name>-v<number>, e.g. cartpole/ppo-v0",
            )
        self._require_storable()

    def _require_storable(self) -> None:
        """Raise BadInput if Minari knows no form for a space, such as Sequence, Graph or one of the env's own."""
        agent = self.context.agent
        for what, space in (
            ("observations", agent.observation_space),
            ("actions", agent.action_space),
        ):
            try:
                self.minari.serialization.serialize_space(space)
            except NotImplementedError as error:
                raise BadInput(
                    f"Minari cannot store the {what} of {agent.env_cfg.id}: {first_line(error)}",
                    "format=minari",
                    "leave such parts out by a wrapper, e.g. env.wrappers=[{wrapper: "
                    "gymnasium.wrappers:FilterObservation, filter_keys: [<part>, ...]}]",
                ) from None

    def _default_name(self) -> str:
        agent = self.context.agent
        env = re.sub(r"\W+", "-", agent.env_cfg.id.rpartition(":")[2].rpartition("-v")[0].lower())
        return f"{env or 'env'}/{re.sub(r'[^a-z0-9]+', '-', agent.algo.cfg.title.lower())}-v0"

    def export(self) -> list[Path]:
        root = self.context.output / "minari"
        target, part = root / self.name, self.context.output / ".minari.part"
        if target.exists() and not (target / "data/metadata.json").is_file():
            raise BadInput("this is no dataset", str(target), "output=<another folder>")
        with storing(target):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            try:
                steps = self._write(part)
                shutil.rmtree(target, ignore_errors=True)
                target.parent.mkdir(parents=True, exist_ok=True)
                for file in part.glob("**/namespace_metadata.json"):
                    shutil.copyfile(file, root / file.relative_to(part))
                (part / self.name).replace(target)
            finally:
                shutil.rmtree(part, ignore_errors=True)
        terminal.say(
            f"dataset {self.name}: {self.episodes:,} episodes, {steps:,} steps; to read it: "
            f"MINARI_DATASETS_PATH={root}"
        )
        return [target]

    def _write(self, root: Path) -> int:
        """Play, and write the dataset. -> number of steps."""
        agent = self.context.agent
        env = agent.make_env()
        try:
            with globals_kept():
                seed_globals(self.context.seed)
                buffers = [self._episode(env, i) for i in range(self.episodes)]
        finally:
            if problem := close_in_time(env):
                terminal.warn(note_of(problem))
        _require_space(root, buffers)
        try:
            with _datasets_in(root), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that author and source are not named
                self.minari.create_dataset_from_buffers(
                    self.name, buffers, _writable_spec(env, agent.env_cfg),
                    observation_space=env.observation_space, action_space=env.action_space,
                    algorithm_name=agent.algo.cfg.title, description=self._description(),
                    data_format="hdf5", jpeg_encoding=False,
                )  # fmt: skip
        except (OSError, RunError):
            raise
        except Exception as error:  # of a space that Minari cannot store, for example
            raise BadInput(
                f"Minari cannot store these episodes: {type(error).__name__}: {first_line(error)}",
                f"env.id={agent.env_cfg.id}",
                "rl-play env=<name> record=true records the transitions of a person",
            ) from None
        return sum(len(buffer) for buffer in buffers)

    def _description(self) -> str:
        agent, how = self.context.agent, "greedy" if self.greedy else "sampled"
        skip = agent.env_cfg.frame_skip
        skipped = f"; each action is repeated {skip} times" if skip > 1 else ""
        return (
            f"{agent.algo.cfg.title} of rl-cli {__version__} after {agent.manifest.step} steps, {how} "
            f"actions; episode i is reset with seed {self.context.seed} + i{skipped}"
        )

    def _episode(self, env: gym.Env[Any, Any], number: int) -> Any:
        """One episode. Raises EnvFault: the env raised an error."""
        agent, seed = self.context.agent, self.context.seed + number
        rows: dict[str, list[Any]] = {
            name: [] for name in ("obs", "action", "reward", "end", "cut")
        }
        agent.reset()
        agent.seed([seed, 0])
        try:
            obs, _ = env.reset(seed=seed)
            rows["obs"].append(copy.deepcopy(obs))
            while not (rows["end"] and (rows["end"][-1] or rows["cut"][-1])):
                action = agent.act(obs, self.greedy)
                obs, reward, terminated, truncated, _ = env.step(action)
                truncated = truncated or (
                    len(rows["cut"]) + 1 >= DEFAULT_TIME_LIMIT and _untimed(env)
                )
                each = (
                    copy.deepcopy(obs),
                    action,
                    float(reward),
                    bool(terminated),
                    bool(truncated),
                )
                for column, value in zip(rows.values(), each, strict=True):
                    column.append(value)
        except BaseException as error:
            if is_signal(error):
                raise
            raise env_fault(error, f"episode of seed {seed}") from error
        return self.minari.data_collector.EpisodeBuffer(
            id=number, seed=seed,
            observations=_columns(env.observation_space, rows["obs"]),
            actions=_columns(env.action_space, rows["action"]),
            rewards=rows["reward"], terminations=rows["end"], truncations=rows["cut"], infos={},
        )  # fmt: skip


def _package() -> Any:
    try:
        import h5py  # noqa: F401
        import minari
        import minari.data_collector
        import minari.serialization
    except ImportError as missing:
        raise BadInput(
            f"format=minari needs the package {missing.name}",
            "format=minari",
            "pip install 'rl-cli[minari]'",
        ) from None
    return minari


def _require_space(root: Path, buffers: list[Any]) -> None:
    """Raise OSError if the dataset does not fit on the disk: HDF5 ends the process when a write fails."""
    columns = [
        column for b in buffers for column in (*_arrays(b.observations), *_arrays(b.actions))
    ]
    needed = sum(column.nbytes for column in columns) + OVERHEAD * len(buffers)
    if needed > free_bytes(root):
        raise OSError(errno.ENOSPC, f"the dataset needs {megabytes(needed)}")


def _arrays(column: Any) -> list[np.ndarray]:
    """The arrays of a column, which may be a dict or a tuple of columns."""
    parts = column.values() if isinstance(column, dict) else column
    if isinstance(column, dict | tuple):
        return [array for part in parts for array in _arrays(part)]
    return [np.asarray(column)]


def _untimed(env: gym.Env[Any, Any]) -> bool:
    return env.spec is None or env.spec.max_episode_steps is None


def _columns(space: gym.Space[Any], rows: list[Any]) -> Any:
    """Rows of a space as Minari stores them: arrays, in a dict or tuple for the parts of one."""
    if isinstance(space, spaces.Dict):
        return {key: _columns(part, [row[key] for row in rows]) for key, part in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_columns(part, [row[i] for row in rows]) for i, part in enumerate(space))
    if isinstance(space, spaces.Text):
        return list(rows)
    return np.asarray(rows, space.dtype)


def _writable_spec(env: gym.Env[Any, Any], cfg: EnvConfig) -> Any:
    """The spec by which Minari makes the env again; None: it cannot, or that would be another env."""
    if env.spec is None or cfg.wrappers:
        return None
    spec = dataclasses.replace(env.spec, additional_wrappers=())
    try:
        spec.to_json()
    except Exception:  # arguments or entry points that are no JSON
        return None
    return spec


@contextlib.contextmanager
def _datasets_in(root: Path) -> Iterator[None]:
    """Let Minari write below `root`, not into the home folder."""
    key = "MINARI_DATASETS_PATH"
    before = os.environ.get(key)
    os.environ[key] = str(root)
    try:
        yield
    finally:
        os.environ.pop(key, None)
        if before is not None:
            os.environ[key] = before
