"""Deep Q-learning."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch

from rl_cli.algos.base import Algorithm, NativeSpec, UpdateSpec
from rl_cli.algos.exploration import epsilon_greedy
from rl_cli.algos.losses import one_hot
from rl_cli.buffers.n_step import make_lookahead
from rl_cli.buffers.prioritized import PrioritizedReplay, make_replay
from rl_cli.config.dqn import DQNConfig
from rl_cli.core import schedules
from rl_cli.core.seeding import torch_generator
from rl_cli.core.types import (
    Batch,
    Details,
    EnvSpec,
    ExperienceBatch,
    Metrics,
    Params,
    State,
    Transition,
)
from rl_cli.engine.learner import Learner
from rl_cli.models.q_network import QNetwork
from rl_cli.models.return_distributions import make_value_distribution

ONLINE, TARGET, CHOICE = range(3)  # copies of a noisy network in one update


class DQN(Algorithm[DQNConfig]):
    """Deep Q-learning with experience replay and a target network.

    Mnih et al. 2015, "Human-level control through deep reinforcement learning", Algorithm 1
    (doi:10.1038/nature14236), and what came after, each a switch: double (van Hasselt et al. 2016,
    arXiv:1509.06461), dueling, noisy (`q_heads`), n-step (`n_step`), prioritised (`prioritized`)
    and distributional (`value_distributions`); all of them together are Rainbow (Hessel et al.
    2018, arXiv:1710.02298).
    """

    Config = DQNConfig
    supports = ("discrete",)

    def __init__(
        self, cfg: DQNConfig, spec: EnvSpec, total_timesteps: int, seed: int, device: torch.device
    ) -> None:
        super().__init__(cfg, spec, total_timesteps, seed, device)
        self.net = self.network(cfg, spec)
        self.returns = self.net.returns
        has_target = cfg.target_update_every > 0
        self.learner = Learner(
            self.net.init(torch_generator(seed, "init")),
            self.loss if has_target else lambda params, *rest: self.loss(params, params, *rest),
            adam_eps=cfg.adam_eps,
            max_grad_norm=cfg.max_grad_norm,
            max_grad_value=cfg.max_grad_value,
            device=device,
            with_target=has_target,
        )
        self.buffer = self.replay = make_replay(
            cfg.replay,
            cfg.buffer_size,
            spec,
            device,
            make_lookahead(cfg.n_step, cfg.gamma, cfg.bootstrap == "sarsa", spec),
            cfg.priority_alpha,
            cfg.sort_every,
        )
        self.updated_at = 0  # step up to which has been learned
        self.episodes = 0  # finished so far; counted where epsilon asks

    @staticmethod
    def network(cfg: DQNConfig, spec: EnvSpec) -> QNetwork:
        """Z, without its parameters."""
        returns = make_value_distribution(
            cfg.distributional, cfg.loss, cfg.num_atoms, cfg.v_min, cfg.v_max
        )
        return QNetwork(spec, cfg.hidden_sizes, cfg.activation, returns, cfg.dueling, cfg.noisy)

    @classmethod
    def size(cls, cfg: DQNConfig, spec: EnvSpec) -> int:
        return cls.network(cfg, spec).size

    def planned_updates(self) -> int:
        cfg = self.cfg
        left = max(self.total_timesteps - cfg.learning_starts, 0)
        return left // cfg.train_every * cfg.gradient_steps

    def q(self, params: Params, obs: torch.Tensor) -> torch.Tensor:
        """Q(s, .; theta). (B, *obs_shape) -> (B, A)."""
        return self.returns.mean(self.net(params, obs))

    def epsilon(self, step: int) -> float:
        """Share of random actions; all of them until learning starts."""
        cfg = self.cfg
        if step < cfg.learning_starts:
            return 1.0
        if cfg.epsilon_factor is not None:
            return max(cfg.epsilon_start * cfg.epsilon_factor**self.episodes, cfg.epsilon_end)
        way = schedules.linear if cfg.epsilon_decay == "linear" else schedules.exponential
        return way(cfg.epsilon_start, cfg.epsilon_end, cfg.epsilon_steps, step)

    def act(self, obs: np.ndarray, step: int) -> np.ndarray:
        return self._explore(obs, self.epsilon(step), self.explore_rng, quick=True)

    def predict(self, obs: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        if rng is None:
            return self._greedy(obs)
        return self._explore(obs, self.cfg.epsilon_end, rng)

    def _explore(
        self, obs: np.ndarray, epsilon: float, rng: np.random.Generator, quick: bool = False
    ) -> np.ndarray:
        chance = rng if self.cfg.noisy else None
        greedy, actions = (lambda: self._greedy(obs, chance, quick)), self.net.num_actions
        return epsilon_greedy(greedy, len(obs), actions, epsilon, rng)

    def _greedy(
        self, obs: np.ndarray, rng: np.random.Generator | None = None, quick: bool = False
    ) -> np.ndarray:
        noise = None if rng is None else self.net.named(self.net.draw_noise(rng, 1)[0])
        return cast(np.ndarray, self.net.values(self.learner, obs, noise, quick).argmax(-1))

    def native_spec(self) -> NativeSpec | None:
        cfg, net = self.cfg, self.net.plain()
        simple = cfg.replay == "uniform" and self.replay.gatherer is None
        if net is None or not simple or cfg.epsilon_factor is not None:
            return None
        lesson = UpdateSpec(
            cfg.train_every,
            cfg.gradient_steps,
            cfg.batch_size,
            numbers=lambda step: (self.epsilon(step),),
            target_update_every=cfg.target_update_every,
            tau=cfg.tau,
            done=self._updated,
        )
        return NativeSpec("epsilon_greedy", net, epsilon=self.epsilon, lesson=lesson)

    def next_update(self, step: int) -> int:
        cfg, begun = self.cfg, max(step, self.cfg.learning_starts)
        return schedules.next_multiple(begun, cfg.train_every, cfg.target_update_every)

    def _updated(self, step: int) -> None:
        self.updated_at = step

    def observe(self, transition: Transition) -> None:
        if self.cfg.epsilon_factor is not None:
            self.episodes += int((transition.terminated | transition.truncated).sum())
        self.replay.add(transition)

    def update(self, step: int) -> Metrics | None:
        cfg = self.cfg
        before, self.updated_at = max(self.updated_at, cfg.learning_starts), step
        metrics = None
        rounds = schedules.crossings(before, step, cfg.train_every) * cfg.gradient_steps
        if rounds > 0 and self.replay.size >= cfg.batch_size:
            # priorities and noise are others after each
            singly = cfg.noisy or isinstance(self.replay, PrioritizedReplay)
            for batches in [1] * rounds if singly else [rounds]:
                metrics = self._learn(step, batches)
        for _ in range(schedules.crossings(before, step, cfg.target_update_every)):
            self.learner.update_target(cfg.tau)
        return metrics

    def _learn(self, step: int, batches: int) -> Metrics:
        """A gradient step on each of some batches of replay."""
        cfg, rng, replay = self.cfg, self.sample_rng, self.replay
        rows = replay.sample(cfg.batch_size, rng, batches)
        inputs: list[object] = [rows, self.epsilon(step)]
        if cfg.noisy:
            inputs.append(torch.from_numpy(self.net.draw_noise(rng, 3)).to(self.device))
        if isinstance(replay, PrioritizedReplay):
            beta = schedules.linear(cfg.priority_beta, 1.0, self.total_timesteps, step)
            drawn = rows.positions[0].numpy()
            weight = replay.importance(drawn, beta)
            inputs.append(torch.from_numpy(weight).to(self.device))
        metrics = self.learner.update(*inputs, learning_rate=self.learning_rate(step))
        if isinstance(replay, PrioritizedReplay):
            replay.update_priorities(
                drawn, torch.as_tensor(metrics.pop("surprise")[0]).cpu().numpy()
            )
        return metrics

    def loss(
        self,
        params: Params,
        target: Params,
        batch: Batch | ExperienceBatch,
        epsilon: torch.Tensor,
        *drawn: torch.Tensor,
    ) -> tuple[torch.Tensor, Details]:
        """L(theta) = E[w d(y, Z(s, a; theta))], d the squared TD error in eq. 2 of Mnih et al. 2015.

        `drawn`: factors of noise (3, E) if noisy, importance weights w (B,) if prioritised.
        """
        noise = [self.net.named(copy) for copy in drawn[0]] if self.cfg.noisy else [{}, {}, {}]
        with torch.no_grad():
            choice, rated = params | noise[CHOICE], target | noise[TARGET]
            y = self.target_of(choice, rated, batch, epsilon)  # (B, K)
        z = self.net(params | noise[ONLINE], batch.obs)  # (B, A, K)
        z = (one_hot(batch.action, self.net.num_actions).unsqueeze(-1) * z).sum(1)  # (B, K)
        distance, q = self.returns.distance(z, y), self.returns.mean(z)  # (B,), (B,)
        metrics = {"q_mean": q.mean().detach()}
        if self.cfg.replay != "uniform":
            metrics["surprise"] = self.returns.surprise(z, y).detach()
            distance = distance * drawn[-1]
        loss = distance.mean()
        if self.cfg.q_l1_coef > 0:
            loss = loss + self.cfg.q_l1_coef * q.abs().mean()
        return loss, metrics

    def target_of(
        self, params: Params, target: Params, batch: Batch | ExperienceBatch, epsilon: torch.Tensor
    ) -> torch.Tensor:
        """The target y = R + gamma^n Z(s', a'; theta^-), a' ~ pi; R alone at an end. -> (B, K)."""
        cfg, over = self.cfg, batch.terminated
        if not cfg.bootstrap_truncated:
            over = torch.maximum(over, batch.truncated)
        z = self.net(target, batch.next_obs)  # (B, A, K)
        best = self.net(params, batch.next_obs) if cfg.bootstrap == "double" else z
        greedy = self.returns.mean(best).argmax(-1)  # (B,)
        step = batch.discount if isinstance(batch, ExperienceBatch) else cfg.gamma
        pi = self.next_policy(greedy, batch, epsilon)
        return self.returns.target(batch.reward, step * (1.0 - over), pi, z)

    def next_policy(
        self, greedy: torch.Tensor, batch: Batch | ExperienceBatch, epsilon: torch.Tensor
    ) -> torch.Tensor:
        """pi(. | s'), by which the target goes on: greedy (B,) -> (B, A).

        Greedy itself (Q-learning); 1 for the action that was taken (SARSA; the greedy one where a
        time limit left none); or what an epsilon-greedy agent would do (expected SARSA, van Seijen
        et al. 2009, eq. 2).
        """
        chosen = greedy
        if self.cfg.bootstrap == "sarsa" and isinstance(batch, ExperienceBatch):
            chosen = torch.where(batch.next_action >= 0, batch.next_action, greedy)
        pi = one_hot(chosen, self.net.num_actions)
        if self.cfg.bootstrap == "expected_sarsa":
            pi = (1.0 - epsilon) * pi + epsilon / self.net.num_actions
        return pi

    def state_dict(self) -> State:
        own = {"updated_at": self.updated_at, "episodes": self.episodes}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self.updated_at = cast(int, state["updated_at"])
        self.episodes = cast(int, state.get("episodes", 0))
