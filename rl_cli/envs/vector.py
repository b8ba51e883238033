"""N envs side by side, speaking arrays: same-step autoreset, true final observations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np

from rl_cli.config.env import EnvConfig
from rl_cli.core.errors import NonFinite
from rl_cli.core.seeding import episode_seed, rng_state
from rl_cli.core.types import LIFE, Episode, Recording, State, Transition
from rl_cli.envs.episode_replay import _env_rng, begin_again
from rl_cli.envs.fast_classic_control import lean
from rl_cli.envs.finite_checks import FIX, _is_finite
from rl_cli.envs.make import env_fault, make_env
from rl_cli.envs.normalization import FEW, ObservationNormalizer, RewardNormalizer
from rl_cli.envs.spaces import action_decoder, spec_of
from rl_cli.envs.wrappers import Env, without_time_limit


class VectorEnv:
    """Steps N copies of an env in turn, in this process: cheapest for envs that take microseconds.

    An env whose episode ends is reset within the same step. The transition keeps the observation
    the episode ended with; `step` returns beside it the one to act on next.

    Args:
        cfg: of the env.
        seeds: of each copy's first reset; later resets draw from the copy's own stream or, with
            `reseed_episodes`, have a seed of their own each.

    """

    def __init__(self, cfg: EnvConfig, seeds: list[int]) -> None:
        made = self._make(cfg, len(seeds))
        self.num_envs, self.seeds = len(seeds), seeds
        self.spec = spec = spec_of(made[0], cfg)
        self.decode = action_decoder(made[0].action_space)
        inner, self.time_limit = without_time_limit(made)
        self.envs = [lean(env) for env in inner]
        self.doubtful = not all(getattr(env, "always_finite", False) for env in self.envs)
        self.episodes: list[Episode] = []  # finished since the trainer last took them
        self.recordings: list[Recording] = []  # of the same, where they are kept
        self.keep_finished = False
        self.reseed, self.numbers = (
            cfg.reseed_episodes,
            [0] * len(seeds),
        )  # of the episode under way
        self.obs_normalizer = (
            ObservationNormalizer(spec.obs_shape, cfg.clip_obs) if cfg.normalize_obs else None
        )
        self.reward_normalizer = (
            RewardNormalizer(self.num_envs, cfg.reward_gamma, cfg.clip_reward)
            if cfg.normalize_reward
            else None
        )
        self.sign_reward = cfg.sign_reward
        shape = (self.num_envs, *spec.obs_shape)
        self.raw = np.empty(shape, spec.obs_dtype)  # observations to act on, as the envs gave them
        self.spare = np.empty(shape, spec.obs_dtype)  # the next step writes here
        self.obs = self.raw  # the same, normalised
        kinds = (np.float64, np.float32, bool, bool)  # raw and scaled reward, terminated, truncated
        self.outcome = tuple(np.empty(self.num_envs, kind) for kind in kinds)
        self.countable = spec.obs_dtype == "uint8"  # bytes are always finite
        row = not self.countable and self.num_envs == 1
        self.is_short_row = row and math.prod(spec.obs_shape) <= FEW  # quickest summed by Python
        self.reward_sum = 0.0  # of the last step, over the envs
        self.returns, self.lengths = [0.0] * self.num_envs, [0] * self.num_envs
        self.begun: list[State] = [{} for _ in seeds]  # what each episode's reset started from
        self.actions: list[list[np.ndarray]] = [[] for _ in seeds]  # of the episode under way

    def record_episodes(self, wanted: bool) -> None:
        """Keep recordings of the episodes that finish from here on, for `take_recordings`."""
        self.keep_finished = wanted

    def _make(self, cfg: EnvConfig, count: int) -> list[Env]:
        return [make_env(cfg, training=True) for _ in range(count)]

    def reset(self) -> np.ndarray:
        """Begin every env's first episode. -> (N, *obs_shape)."""
        for i, seed in enumerate(self.seeds):
            self.begun[i] = {"seed": seed}
            self.raw[i] = self._reset_one(i, seed)
        self._check_observations(self.raw, range(self.num_envs), "reset")
        self.obs = self._normalized(self.raw)
        return self.obs

    def step(self, action: np.ndarray) -> tuple[Transition, np.ndarray]:
        """Step the first len(action) envs.

        Returns:
            The transition, whose arrays the next call reuses, and the observations to act on.

        """
        n = len(action)
        ended = self._step_each(action)
        if self.doubtful:
            self._check_finite(action)
        if n == self.num_envs:
            obs, next_obs = self.obs, self._normalized(self.spare)
            self.raw, self.spare, self.obs = self.spare, self.raw, next_obs
        else:  # the budget's last step: the other envs stay where they are
            obs, next_obs = self.obs[:n], self._normalized(self.spare[:n])
            self.raw = np.concatenate([self.spare[:n], self.raw[n:]])
            self.obs = np.concatenate([next_obs, self.obs[n:]])
        raw_reward, reward, terminated, truncated = (
            self.outcome if n == self.num_envs else [a[:n] for a in self.outcome]
        )
        if self.reward_normalizer:
            reward = self.reward_normalizer(raw_reward, terminated | truncated)
        elif self.sign_reward:
            reward[:] = np.sign(raw_reward)
        else:
            reward[:] = raw_reward
        transition = Transition(obs, action, reward, next_obs, terminated, truncated)
        if ended:
            self._begin_again(ended)
        return transition, self.obs

    def _step_each(self, action: np.ndarray) -> list[int]:
        """Step env after env, in place. -> those whose episode ended."""
        next_raw, (rewards, _, terminated, truncated) = self.spare, self.outcome
        envs, returns, lengths, actions = self.envs, self.returns, self.lengths, self.actions
        ended, i, total = [], 0, 0.0
        try:
            for i, choice in enumerate(self.decode(action)):
                next_raw[i], reward, over, cut, _ = envs[i].step(choice)
                reward = float(reward)
                actions[i].append(action[i])
                returns[i] += reward
                total += reward
                lengths[i] += 1
                cut = cut or lengths[i] >= self.time_limit
                rewards[i], terminated[i], truncated[i] = reward, over, cut
                if cut or (over and over is not LIFE):
                    ended.append(i)
        except Exception as error:
            raise env_fault(error, self._where(i, action[i], 1)) from error
        self.reward_sum = total
        return ended

    def _reset_one(self, i: int, seed: int | None) -> np.ndarray:
        """Begin an episode of env i."""
        try:
            obs, _ = self.envs[i].reset(seed=seed)
        except Exception as error:
            raise env_fault(error, f"env={i}, reset") from error
        return np.asarray(obs)

    def _rng_state(self, i: int) -> State:
        """Where the stream stands that env i will draw its next episode from."""
        return rng_state(_env_rng(self.envs[i]))

    def _where(self, i: int, action: np.ndarray, ahead: int = 0) -> str:
        return f"env={i}, step {self.lengths[i] + ahead} of its episode, action={action.tolist()}"

    def _check_finite(self, action: np.ndarray) -> None:
        """What is no number is stopped here, before it is learned from or enters a statistic."""
        if self.is_short_row and math.isfinite(self.reward_sum + sum(self.spare.tolist()[0])):
            return
        n, rewards = len(action), self.outcome[0]
        obs = self.spare if n == self.num_envs else self.spare[:n]
        total, flat = self.reward_sum, obs.ravel()
        if math.isfinite(total if self.countable else total + flat.dot(flat)):
            return
        if not _is_finite(rewards[:n]):
            i = int(np.argmin(np.isfinite(rewards[:n])))
            raise NonFinite(
                f"the env gave a reward of {rewards[i]}", self._where(i, action[i]), FIX
            )
        self._check_observations(obs, range(n), "step", action)

    def _check_observations(
        self, obs: np.ndarray, of: Sequence[int], when: str, action: np.ndarray | None = None
    ) -> None:
        if self.countable or _is_finite(obs):
            return
        row = next(r for r, o in enumerate(obs) if not np.isfinite(o).all())
        i = of[row]
        where = f"env={i}, {when}" if action is None else self._where(i, action[row])
        found = obs[row].ravel()
        entry = int(np.argmin(np.isfinite(found)))
        raise NonFinite(f"the env gave an observation with {found[entry]} at {entry}", where, FIX)

    def _begin_again(self, ended: list[int]) -> None:
        """Reset the envs whose episode ended; the transition's arrays stay as they are."""
        self.raw, self.obs = self.raw.copy(), self.obs.copy()
        for i in ended:
            episode = Episode(float(self.returns[i]), self.lengths[i])
            self.episodes.append(episode)
            if self.keep_finished:
                self.recordings.append(Recording(episode, self.begun[i], self.actions[i]))
            self.returns[i], self.lengths[i], self.actions[i] = 0.0, 0, []
            self.raw[i] = self._reset_one(i, self._next_seed(i))
        self._check_observations(self.raw[ended], ended, "reset")
        self.obs[ended] = self._normalized(self.raw[ended])

    def _next_seed(self, i: int) -> int | None:
        """Seed of env i's next episode; None: it goes on in its own stream."""
        self.numbers[i] += 1
        if not self.reseed:
            self.begun[i] = {"rng": self._rng_state(i)}
            return None
        seed = episode_seed(self.seeds[i], self.numbers[i])
        self.begun[i] = {"seed": seed}
        return seed

    def _normalized(self, raw: np.ndarray) -> np.ndarray:
        if self.obs_normalizer is None:
            return raw
        return self.obs_normalizer.observed(raw)

    def take_episodes(self) -> list[Episode]:
        """The episodes finished since the last call."""
        taken, self.episodes = self.episodes, []
        return taken

    def take_recordings(self) -> list[Recording]:
        """The same, as they can be played again; none unless `keep_finished`."""
        taken, self.recordings = self.recordings, []
        return taken

    def close(self) -> None:
        for env in self.envs:
            env.close()

    def state_dict(self) -> State:
        """Enough to stand at the same step again: where each episode began, and its actions.

        An env's own memory is not saved but replayed: no object is serialised, and it works for
        simulators whose state cannot be read out.
        """
        return {
            "begun": self.begun,
            "numbers": self.numbers,
            "actions": [np.array(actions, self.spec.action.dtype) for actions in self.actions],
            "raw": self.raw,
            "obs": self.obs,
            "returns": np.array(self.returns, np.float64),
            "lengths": np.array(self.lengths),
            "reward": self.reward_normalizer.state_dict() if self.reward_normalizer else {},
        }

    def load_state_dict(self, state: State) -> list[int]:
        """Replay the episodes under way.

        Returns:
            The envs that did not come back to where they were: their episodes begin anew.

        """
        actions = cast(list[np.ndarray], state["actions"])
        self.begun = cast(list[State], state["begun"])
        self.numbers = list(cast(list[int], state.get("numbers", self.numbers)))
        for i, begun in enumerate(self.begun):
            self.raw[i] = self._replay(i, begun, actions[i])
        self.actions = [list(rows) for rows in actions]
        self.obs = self.raw
        if self.obs_normalizer is not None:
            self.obs = np.array(state["obs"], np.float32)
        self.returns = cast(np.ndarray, state["returns"]).tolist()
        self.lengths = cast(np.ndarray, state["lengths"]).tolist()
        if self.reward_normalizer is not None:
            self.reward_normalizer.load_state_dict(cast(State, state["reward"]))
        before = cast(np.ndarray, state["raw"])
        lost = [i for i, row in enumerate(self.raw) if not np.array_equal(row, before[i])]
        if lost:
            self._begin_again(lost)
            self.episodes, self.recordings = [], []  # what was cut off here is no episode
        return lost

    def _replay(self, i: int, begun: State, actions: np.ndarray) -> np.ndarray:
        env = self.envs[i]
        obs = begin_again(env, begun)
        for choice in self.decode(actions.reshape(-1, *self.spec.action.shape)):  # (0,) for none
            obs, _, over, cut, _ = env.step(choice)
            if cut or (
                over and over is not LIFE
            ):  # the episode under way had not ended: this is another one
                break
        return np.asarray(obs, self.spec.obs_dtype)
