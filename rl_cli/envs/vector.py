"""Vectorized envs with same-step autoreset and true final observations."""

from __future__ import annotations

from typing import cast

import numpy as np

from rl_cli.config.env import EnvConfig
from rl_cli.core import seeding
from rl_cli.core.types import Episode, Recording, State, Transition
from rl_cli.envs import episode_replay
from rl_cli.envs.action_log import ActionLog, bytes_of
from rl_cli.envs.atari import LIFE_LOST
from rl_cli.envs.env_notes import notes_of
from rl_cli.envs.episode_info import InfoLog, success_of
from rl_cli.envs.episode_seeds import EpisodeSeeds
from rl_cli.envs.fast_classic_control import is_fast, make_fast
from rl_cli.envs.faults import close_all, env_fault, faults_at
from rl_cli.envs.finite_checks import FiniteChecks
from rl_cli.envs.loaded_state import LoadedEnvs
from rl_cli.envs.make import make_env
from rl_cli.envs.normalization import make_normalizers
from rl_cli.envs.spaces import action_decoder, raw_dtype, spec_of
from rl_cli.envs.wrappers import Env, without_time_limit


class VectorEnv:
    """N copies of an env, stepped one after the other in this process.

    This is the fastest way for envs whose step takes microseconds. An env whose episode ends is
    reset in the same step: the transition holds the final observation, and `step` also returns the
    observation to act on next.

    Args:
        cfg: configuration of the env.
        seeds: seed of each copy's first reset. Later resets continue the copy's own random stream
            or, with `reseed_episodes`, each have a seed of their own.

    """

    def __init__(self, cfg: EnvConfig, seeds: list[int]) -> None:
        # the constructor of an env may draw, too
        seeding.seed_globals(seeding.draw_seed(seeds[0], -1))
        made = self._make_envs(cfg, len(seeds))
        self.num_envs, self.seeds, self.env_id = (n := len(seeds)), seeds, cfg.id
        self.spec = spec = spec_of(made[0], cfg)
        self.notes = notes_of(made[0])  # for the user
        inner, self.time_limit = without_time_limit(made)
        self.envs = [make_fast(env) for env in inner]
        self.episode_seeds = EpisodeSeeds.of(self.envs, inner)
        self.decode = action_decoder(made[0].action_space, is_fast(self.envs[0]))
        self.always_finite = all(getattr(env, "always_finite", False) for env in self.envs)
        dtype = raw_dtype(made[0], cfg, spec)
        self.finite_checks = FiniteChecks(spec, dtype)
        self.episodes: list[Episode] = []  # finished since the last take_episodes()
        self.recordings: list[Recording] = []  # of the same episodes, if recorded
        self.keep_finished = self.reports_raw = False  # set by record_episodes(), report_raw()
        self.reseed, self.episode_numbers = cfg.reseed_episodes, [0] * len(seeds)
        self.obs_normalizer, self.reward_normalizer = make_normalizers(cfg, spec, n)
        self.sign_reward, self.episodic_life = cfg.sign_reward, cfg.episodic_life
        self.infos = InfoLog(cfg.log_info, n)
        shape = (n, *spec.obs_shape)
        # observations to act on, not normalized; the next step writes to `spare`
        self.raw, self.spare = np.empty(shape, dtype), np.empty(shape, dtype)
        self.obs = self.raw  # observations to act on, normalized
        # raw reward, reward, terminated, truncated
        self.outcome = tuple(np.empty(n, kind) for kind in (np.float64, np.float32, bool, bool))
        self.magnitude = 0.0  # sum of the absolute rewards of the last step
        self._add_episode_records()

    def _add_episode_records(self) -> None:
        """The recorded start and actions of the current episode of each env."""
        self.returns, self.lengths = [0.0] * self.num_envs, [0] * self.num_envs
        self.start_states: list[State] = [{} for _ in self.seeds]  # see episode_replay.reset_to
        self.actions = [ActionLog(self.spec.action, self.num_envs) for _ in self.seeds]
        self.reset_order = list(range(self.num_envs))  # the env that was reset last comes last
        self.inexact: dict[int, str] = {}  # env -> why its episode was not restored exactly

    def _make_envs(self, cfg: EnvConfig, count: int) -> list[Env]:
        return [make_env(cfg, training=True) for _ in range(count)]

    def record_episodes(self, wanted: bool) -> None:
        """Whether to keep a `Recording` of each finished episode for `take_recordings`."""
        self.keep_finished = wanted

    def report_raw(self, wanted: bool) -> None:
        """Whether transitions hold observations as they were before normalization, for a replay buffer."""
        self.reports_raw = wanted and self.obs_normalizer is not None

    def reset(self) -> np.ndarray:
        """Start the first episode of every env. -> observations (N, *obs_shape)."""
        for i, seed in enumerate(self.seeds):
            self.start_states[i] = {"seed": seed}
            self.raw[i] = self.reset_one(i, seed)
        self.finite_checks.check_obs(self.raw, range(self.num_envs), self._location)
        self.obs = self._normalize(self.raw)
        return self.obs

    def step(self, action: np.ndarray) -> tuple[Transition, np.ndarray]:
        """Step the first len(action) envs.

        Args:
            action: (n, *action_shape), n <= N; n < N only in the last step of a budget.

        Returns:
            The transition (n rows; the next call reuses its arrays) and the observations to act on
            next, (N, *obs_shape).

        Raises:
            EnvFault: an env raised an exception, or returned what its spaces do not allow.
            NonFinite: a reward or an observation is NaN or infinite, or would be in float32.

        """
        n = len(action)
        ended = self._step_envs(action)
        raw_reward, reward, terminated, truncated = (
            self.outcome if n == self.num_envs else [a[:n] for a in self.outcome]
        )
        if not self.always_finite:
            results = self.spare[:n], raw_reward, self.magnitude
            self.finite_checks.check_step(*results, action, self._location)
        obs, next_obs = self._move_on(n)
        if self.reward_normalizer:
            reward = self.reward_normalizer(raw_reward, terminated | truncated)
        else:
            reward[:] = np.sign(raw_reward) if self.sign_reward else raw_reward
        transition = Transition(obs, action, reward, next_obs, terminated, truncated)
        if ended:
            self._finish_episodes(ended)
        return transition, self.obs

    def _move_on(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Make the first n observations of the step the current ones. -> before and after, to report."""
        raw = (self.raw[:n], self.spare[:n]) if self.reports_raw else None
        if n == self.num_envs:
            obs, next_obs = self.obs, self._normalize(self.spare)
            self.raw, self.spare, self.obs = self.spare, self.raw, next_obs
        else:  # the other envs keep their observations
            obs, next_obs = self.obs[:n], self._normalize(self.spare[:n])
            self.raw = np.concatenate([self.spare[:n], self.raw[n:]])
            self.obs = np.concatenate([next_obs, self.obs[n:]])
        return raw or (obs, next_obs)

    def _step_envs(self, action: np.ndarray) -> list[int]:
        """Step each env and write `spare`, `outcome`, `magnitude`. -> envs whose episode ended."""
        next_raw, (rewards, _, terminated, truncated) = self.spare, self.outcome
        envs, returns, lengths, actions = self.envs, self.returns, self.lengths, self.actions
        episodic_life, infos = self.episodic_life, self.infos if self.infos.keys else None
        size, data = actions[0].row_bytes, bytes_of(action, self.spec.action)
        ended, i, total = [], 0, 0.0
        try:
            for i, choice in enumerate(self.decode(action)):
                next_raw[i], reward, done, cut, info = envs[i].step(choice)
                reward = float(reward)
                actions[i].add(data[i * size : (i + 1) * size])
                returns[i] += reward
                total += abs(reward)
                lengths[i] += 1
                cut = cut or lengths[i] >= self.time_limit
                if infos:
                    infos.add(i, infos.read(info))
                if done or cut:
                    ended.append(i)
                    self.infos.end(i, success_of(info))
                if episodic_life and info.get(LIFE_LOST):
                    done = True
                rewards[i], terminated[i], truncated[i] = reward, done, cut
        except BaseException as error:
            raise env_fault(error, self._location(i, action[i], completed=False)) from error
        self.magnitude = total
        return ended

    def apply_native_steps(
        self,
        raw: np.ndarray,
        obs: np.ndarray,
        returns: np.ndarray,
        lengths: np.ndarray,
        actions: np.ndarray,
        ended: list[int],
    ) -> None:
        """Update this object after native code has taken T steps of the envs, with finite results.

        Args:
            raw: observations to act on now, not normalized, (N, *obs_shape).
            obs: the same, normalized.
            returns: of the current episodes, (N,) float64.
            lengths: of the current episodes, (N,).
            actions: of the steps, (T, N, *action_shape); kept.
            ended: envs whose episode ended with the last step. They are reset.

        """
        self.raw[...] = raw
        self.obs = self.raw if self.obs_normalizer is None else obs.copy()
        self.returns, self.lengths = returns.tolist(), lengths.tolist()
        for i, log in enumerate(self.actions):
            log.add(bytes_of(actions[:, i], self.spec.action))
        if ended:
            self._finish_episodes(ended)

    def reset_one(self, i: int, seed: int | None) -> np.ndarray:
        """Reset env i. seed=None continues its random stream. -> observation (*obs_shape)."""
        draws = seeding.draw_seed(self.seeds[i], self.episode_numbers[i])
        obs, seeds = self.reset_env(i, seed, draws)
        self.start_states[i].update(seeds)
        self.reset_order.remove(i)
        self.reset_order.append(i)
        return obs

    def reset_env(self, i: int, seed: int | None, draws: int) -> tuple[np.ndarray, State]:
        """Reset env i after seeding what else it draws from. -> observation, `EpisodeSeeds.begin`."""
        with faults_at(self._location(i)):
            own = self.episode_seeds[i]
            seeds = {} if own is None else own.begin(draws)
            obs, _ = self.envs[i].reset(seed=seed)
            return np.asarray(obs), seeds

    def rng_state(self, i: int) -> State:
        """State of the generator that env i draws its next episode from; {}: it has none of numpy's."""
        with faults_at(self._location(i)):
            rng = episode_replay.env_rng(self.envs[i])
            return seeding.rng_state(rng) if isinstance(rng, np.random.Generator) else {}

    def replay_one(
        self, i: int, start_state: State, actions: np.ndarray
    ) -> tuple[np.ndarray, bool]:
        """Replay (T, *action_shape) actions in env i.

        Returns:
            The last observation (*obs_shape), and whether the env drew from generators that it shares
            with other envs of this process: then it drew in another order before.

        """
        rows = actions.reshape(-1, *self.spec.action.shape)  # an empty array comes as (0,)
        env, own = self.envs[i], self.episode_seeds[i]
        with faults_at(f"env={i}, replay of its episode"):
            last = episode_replay.replay(env, start_state, self.decode(rows), own)
            obs = np.asarray(last, self.raw.dtype)
        shared = self.num_envs > 1 and "globals" in start_state
        return obs, shared and seeding.globals_drawn_since(cast(int, start_state["globals"]))

    def _location(self, i: int, action: np.ndarray | None = None, completed: bool = True) -> str:
        """Where in the run env i is, for an error message. `action` is None at a reset."""
        if action is None:
            return f"env={i}, reset"
        step = self.lengths[i] + (not completed)
        return f"env={i}, step {step} of its episode, action={action.tolist()}"

    def _finish_episodes(self, ended: list[int]) -> None:
        """Note the episodes that ended and reset their envs; the transition's arrays stay valid."""
        self.raw, self.obs = self.raw.copy(), self.obs.copy()
        for i in ended:
            episode = Episode(float(self.returns[i]), self.lengths[i], *self.infos.take(i))
            self.episodes.append(episode)
            if self.keep_finished:
                recording = Recording(episode, self.start_states[i], self.actions[i].rows())
                self.recordings.append(recording)
            self.actions[i].clear()
            self.returns[i], self.lengths[i] = 0.0, 0
            self.raw[i] = self.reset_one(i, self._next_seed(i))
        self.finite_checks.check_obs(self.raw[ended], ended, self._location)
        self.obs[ended] = self._normalize(self.raw[ended])

    def _next_seed(self, i: int) -> int | None:
        """Seed of env i's next episode; None: it continues its random stream."""
        self.episode_numbers[i] += 1
        state = {} if self.reseed else self.rng_state(i)
        seed = None if state else seeding.episode_seed(self.seeds[i], self.episode_numbers[i])
        self.start_states[i] = {"rng": state} if state else {"seed": seed}
        return seed

    def _normalize(self, raw: np.ndarray) -> np.ndarray:
        if self.obs_normalizer is None:
            return raw
        return self.obs_normalizer.update_and_normalize(raw)

    def take_episodes(self) -> list[Episode]:
        """Episodes that finished since the last call."""
        taken, self.episodes = self.episodes, []
        return taken

    def take_recordings(self) -> list[Recording]:
        """Recordings of episodes that finished since the last call; see `record_episodes`."""
        taken, self.recordings = self.recordings, []
        return taken

    def close(self) -> list[str]:
        """Close every env. -> why some could not be closed; it raises nothing."""
        return close_all(self.envs)

    def state_dict(self) -> State:
        """Start state and actions of each current episode, returns, lengths, normalizer statistics.

        The internal state of an env is not saved: resuming replays its episode. So no object is
        pickled, and simulators whose state cannot be read are supported.
        """
        return {
            "begun": self.start_states,
            "numbers": self.episode_numbers,
            "order": self.reset_order,
            "actions": [log.rows() for log in self.actions],
            "raw": self.raw,
            "obs": self.obs,
            "returns": np.array(self.returns, np.float64),
            "lengths": np.array(self.lengths),
            "info": self.infos.values,
            "reward": self.reward_normalizer.state_dict() if self.reward_normalizer else {},
        }

    def load_state_dict(self, state: State) -> list[int]:
        """Replay the current episodes.

        Returns:
            Indices of envs whose episode could not be restored: each of them starts a new one.
            `inexact` says why.

        Raises StateError for values that these envs cannot have.

        """
        loaded = LoadedEnvs(state, self.spec, self.raw.dtype)
        self.start_states, self.reset_order = loaded.start_states, loaded.order
        self.episode_numbers = loaded.numbers
        self.returns, self.lengths = loaded.returns, loaded.lengths
        self.infos.load(loaded.fields.get("info", [{}] * self.num_envs))
        self.inexact = {}
        for i in self.reset_order:
            self.actions[i].refill(loaded.actions[i], self.lengths[i])
            if why := self._restore_episode(i, loaded.actions[i], loaded.raw[i]):
                self.inexact[i] = why
        self.obs = self.raw
        if self.obs_normalizer is not None:
            self.obs = loaded.normalized_obs(self.obs_normalizer.clip)
        if self.reward_normalizer is not None:
            self.reward_normalizer.load_state_dict(loaded.fields.mapping("reward"))
        if lost := sorted(self.inexact):
            self._finish_episodes(lost)
            self.episodes, self.recordings = [], []  # a lost episode did not finish
        return lost

    def _restore_episode(self, i: int, actions: np.ndarray, obs: np.ndarray) -> str | None:
        """Replay the episode of env i, which had reached `obs`. -> why that is not exact, or None."""
        if not self.actions[i].complete:
            self.raw[i] = obs
            return episode_replay.TOO_LONG.format(steps=self.lengths[i])
        self.raw[i], drew = self.replay_one(i, self.start_states[i], actions)
        if not np.array_equal(self.raw[i].astype(obs.dtype), obs):  # float32 of earlier versions
            return episode_replay.OTHER_OBSERVATION.format(env=self.env_id)
        return episode_replay.SHARED_GENERATORS if drew else None
