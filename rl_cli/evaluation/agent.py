"""A trained policy with its preprocessing: observation statistics, and actions of the env."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from rl_cli import algos
from rl_cli.config.env import EnvConfig
from rl_cli.config.schema import build
from rl_cli.core.errors import BadInput
from rl_cli.core.seeding import globals_kept
from rl_cli.core.start_folder import absolute
from rl_cli.core.types import EnvSpec
from rl_cli.envs.interface import Interface, rows_of
from rl_cli.envs.make import make_own_env
from rl_cli.envs.normalization import ObservationNormalizer, observation_normalizer
from rl_cli.envs.spaces import raw_dtype, spec_of
from rl_cli.envs.trust import require_confirmed
from rl_cli.evaluation.watchdog import close_in_time
from rl_cli.storage import checkpoint_reader
from rl_cli.storage.manifest import POLICY, Manifest

if TYPE_CHECKING:
    from rl_cli.algos.base import Algorithm


class Agent:
    """A policy loaded from a checkpoint.

    With `env.frame_stack` above 1 it remembers observations: call `reset` at the start of each episode.

    Args:
        algo: with the weights of the checkpoint.
        env_cfg: of the env, with the changes that the caller requested.
        normalizer: statistics of observations; None: they are not normalized.
        manifest: of the checkpoint.
        spaces: of observations and actions, of the env that `make_own_env` makes.
        interface_cfg: what `make_own_env` left of `env_cfg`.

    Attributes:
        observation_space, action_space: of what `act` takes and of what it returns.
        spec: shapes of what the algorithm takes and returns.
        rng: draws sampled actions; `seed` restarts it.

    """

    def __init__(
        self,
        algo: Algorithm[Any],
        env_cfg: EnvConfig,
        normalizer: ObservationNormalizer | None,
        manifest: Manifest,
        spaces: tuple[gym.Space[Any], gym.Space[Any]],
        interface_cfg: EnvConfig,
    ) -> None:
        self.algo, self.env_cfg, self.normalizer, self.manifest = (
            algo,
            env_cfg,
            normalizer,
            manifest,
        )
        self.observation_space, self.action_space = spaces
        self.spec: EnvSpec = algo.spec
        self.interface_cfg = interface_cfg
        self.interfaces = [self._interface()]  # one for each row of a batch that is remembered
        self.dtype = raw_dtype(self.interfaces[0].env, env_cfg, self.spec)
        self.rng = np.random.default_rng(0)

    def act(self, obs: Any, greedy: bool = True) -> Any:
        """The action for one observation, or the actions for a batch.

        Args:
            obs: an observation of `observation_space`, as `make_env` returns it; or a batch: an array with
                the envs as its first axis, a list of observations, or what a vector env returns.
            greedy: the most likely action; False: an action sampled from the policy.

        Returns:
            An action of `action_space`; for a batch an array (N, ...) of them.

        Raises:
            BadInput: the shape of an observation is another one, or a value is not finite.

        """
        try:
            rows = rows_of(self.observation_space, obs)
            seen = self._seen([obs] if rows is None else rows)
        except (ValueError, TypeError, LookupError) as error:
            shape = obs.shape if isinstance(obs, np.ndarray) else f": {type(obs).__name__}"
            what = f"this is no observation of {self.env_cfg.id}: {error}"
            raise BadInput(what, f"obs{shape}", f"pass one of {self.observation_space}") from None
        actions = self.predict(seen, None if greedy else self.rng)
        decoded = self.interfaces[0].actions(actions)
        return decoded[0] if rows is None else np.array(decoded)

    def predict(self, seen: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """Observations as the wrappers give them (N, *obs_shape) -> actions of the algorithm (N, ...).

        Normalized here, if the run normalizes. `rng` None: the most likely actions.
        """
        if self.normalizer is not None:
            seen = self.normalizer(seen)
        return self.algo.predict(seen, rng)

    def seed(self, seed: int | Sequence[int]) -> None:
        """Seed the generator of sampled actions; the same seed gives the same actions."""
        self.rng = np.random.default_rng(seed)

    def reset(self, which: Any = None) -> None:
        """New episodes begin: forget earlier observations.

        Args:
            which: (N,) bool, the rows of the batch in which an episode begins; None: in all.

        """
        restarts = np.ones(len(self.interfaces), bool) if which is None else which
        for one, restart in zip(self.interfaces, restarts, strict=False):
            if restart:
                one.restart()

    def make_env(self, render_mode: str | None = None) -> gym.Env[Any, Any]:
        """The env of the run as `act` takes its observations: frame skip and time limit included.

        Args:
            render_mode: as in `gymnasium.make`.

        """
        return make_own_env(self.env_cfg, render_mode)[0]

    def _seen(self, rows: list[Any]) -> np.ndarray:
        """(N, *obs_shape), not normalized."""
        first = self.interfaces[0]
        if first.is_identity:
            seen = np.asarray(rows, self.dtype)
        elif first.has_memory:
            while len(self.interfaces) < len(rows):
                self.interfaces.append(self._interface())
            each = zip(self.interfaces, rows, strict=False)
            seen = np.stack([one.observe(row) for one, row in each]).astype(self.dtype, copy=False)
        else:
            seen = np.stack([first.observe(row) for row in rows]).astype(self.dtype, copy=False)
        if seen.dtype.kind == "f" and not np.isfinite(seen).all():
            raise ValueError("it has a value that is not finite")
        return seen

    def _interface(self) -> Interface:
        return Interface(self.observation_space, self.action_space, self.interface_cfg)


def load_agent(folder: Path, env_changes: Mapping[str, Any], device: str) -> Agent:
    """Build the policy of a checkpoint; only manifest.json and policy.safetensors are read.

    Args:
        folder: of the checkpoint.
        env_changes: env keys that replace those of the run.
        device: of the networks.

    Raises:
        BadInput: a file is missing, modified, or does not fit the env; or the env imports a module
            that the user has to name (see `envs.trust`).

    """
    manifest = checkpoint_reader.read_manifest(folder)
    name = str(manifest.algo.get("name"))
    algo_cfg = build(algos.config_class(name), manifest.algo, "algo")
    env_cfg = build(EnvConfig, _merged(manifest.env, env_changes) | {"num_envs": 1}, "env")
    require_confirmed(env_cfg, env_changes)
    spaces, interface_cfg = _spaces_of(env_cfg)
    spec = spec_of(Interface(*spaces, interface_cfg).env, env_cfg)
    folder = absolute(folder)  # the env may have changed the current folder

    from rl_cli.algos.factory import make_algorithm  # imports torch, which takes seconds
    from rl_cli.storage.policy_file import load_policy_arrays, refuse_other_sizes

    algo_cls = algos.load(name)
    refuse_other_sizes(algo_cls, algo_cfg, spec, [folder])
    algo = make_algorithm(algo_cls, algo_cfg.to_replay(), spec, 1, manifest.seed, device)
    normalizer = observation_normalizer(env_cfg, spec)
    limit = 8 * algo.learner.flat.numel() + 64 * math.prod(spec.obs_shape) + (1 << 20)
    weights = checkpoint_reader.read_policy(folder, manifest, limit)
    try:
        load_policy_arrays(weights, algo, normalizer)
    except ValueError as error:
        what, fix = f"the weights do not fit this env: {error}", "use the env of the training"
        raise BadInput(what, str(folder / POLICY), fix) from None
    return Agent(algo, env_cfg, normalizer, manifest, spaces, interface_cfg)


def _spaces_of(cfg: EnvConfig) -> tuple[tuple[gym.Space[Any], gym.Space[Any]], EnvConfig]:
    """The env's own spaces, and what is left of its configuration for an `Interface`."""
    with globals_kept():  # the constructor of an env may draw
        env, left = make_own_env(cfg)
        close_in_time(env)  # a problem is reported for the env that is evaluated
    return (env.observation_space, env.action_space), left


def _merged(env: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(env) | {k: v for k, v in changes.items() if k != "kwargs"}
    own, changed = env.get("kwargs", {}), changes.get("kwargs", {})
    if not (isinstance(own, dict) and isinstance(changed, dict)):
        raise BadInput(
            "env.kwargs is a mapping", f"env.kwargs={changed}", "env.kwargs.<name>=<value>"
        )
    merged["kwargs"] = own | changed
    return merged
