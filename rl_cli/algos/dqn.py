"""Deep Q-learning."""

from __future__ import annotations

import numpy as np
import torch

from rl_cli.algos.base import Algorithm, NativeSpec, UpdateSpec
from rl_cli.algos.exploration import EpsilonSchedule
from rl_cli.algos.losses import one_hot
from rl_cli.algos.policies import QPolicy
from rl_cli.buffers.n_step import make_lookahead
from rl_cli.buffers.prioritized import PrioritizedReplay, make_replay
from rl_cli.config.dqn import DQNConfig
from rl_cli.core import schedules
from rl_cli.core.fields import Fields
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
from rl_cli.engine.average import AveragedWeights
from rl_cli.engine.functions import joined
from rl_cli.engine.learner import Learner
from rl_cli.engine.optimizers import Adam
from rl_cli.models.q_network import QNetwork
from rl_cli.models.return_distributions import make_return_distribution

ONLINE, TARGET, SELECTION = range(3)  # the copies of a noisy network in one update


class DQN(Algorithm[DQNConfig]):
    """Deep Q-learning with experience replay and a target network.

    Mnih et al. 2015, "Human-level control through deep reinforcement learning", Algorithm 1
    (doi:10.1038/nature14236), with optional extensions: double Q-learning (van Hasselt et al. 2016,
    arXiv:1509.06461), dueling and noisy networks (`models.q_heads`), n-step returns
    (`buffers.n_step`), prioritized replay (`buffers.prioritized`) and distributional returns
    (`models.return_distributions`). All of them together are Rainbow (Hessel et al. 2018,
    arXiv:1710.02298).
    """

    Config = DQNConfig
    supports = ("discrete",)

    def __init__(
        self, cfg: DQNConfig, spec: EnvSpec, total_timesteps: int, seed: int, device: torch.device
    ) -> None:
        super().__init__(cfg, spec, total_timesteps, seed, device)
        self.net = self.network(cfg, spec)
        self.returns = self.net.returns
        self.encoder_description = self.net.encoder.description
        has_target = cfg.target_update_every > 0
        self.learner = Learner(
            self.net.init(torch_generator(seed, "init")),
            self.loss if has_target else lambda params, *rest: self.loss(params, params, *rest),
            optimizer=Adam(cfg.adam_eps),
            max_grad_norm=cfg.max_grad_norm,
            max_grad_value=cfg.max_grad_value,
            device=device,
            with_target=has_target,
        )
        if cfg.average_decay is not None:
            self.weight_average = AveragedWeights(self.learner, cfg.average_decay)
        self.policy = QPolicy(self.net, self.learner)
        self.exploration = EpsilonSchedule(cfg)
        lookahead = make_lookahead(cfg.n_step, cfg.gamma, cfg.bootstrap == "sarsa", spec)
        self.buffer = self.replay = make_replay(
            cfg.replay, cfg.buffer_size, spec, device, lookahead, cfg.priority_alpha, cfg.sort_every
        )
        self.updated_at = 0  # env step up to which all updates have been made

    @staticmethod
    def network(cfg: DQNConfig, spec: EnvSpec) -> QNetwork:
        """The network, without its parameters."""
        returns = make_return_distribution(
            cfg.distributional, cfg.loss, cfg.num_atoms, cfg.v_min, cfg.v_max
        )
        return QNetwork(
            spec, cfg.hidden_sizes, cfg.activation, returns,
            cfg.dueling, cfg.noisy, cfg.encoder_choice, cfg.layer_norm,
        )  # fmt: skip

    @classmethod
    def size(cls, cfg: DQNConfig, spec: EnvSpec) -> int:
        return cls.network(cfg, spec).size

    def q(self, params: Params, obs: torch.Tensor) -> torch.Tensor:
        """Q(s, .; theta). (B, *obs_shape) -> (B, A)."""
        return self.returns.mean(self.net(params, obs))

    def epsilon(self, step: int) -> float:
        """Probability of a random action."""
        return self.exploration.epsilon(step)

    def act(self, obs: np.ndarray, step: int) -> np.ndarray:
        return self.policy.epsilon_greedy(obs, self.epsilon(step), self.explore_rng, native=True)

    def predict(self, obs: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        weights = None if self.weight_average is None else self.weight_average.arrays
        if rng is None:
            return self.policy.greedy(obs, weights=weights)
        return self.policy.epsilon_greedy(obs, self.cfg.epsilon_end, rng, weights=weights)

    def observe(self, transition: Transition) -> None:
        self.exploration.observe(transition)
        self.replay.add(transition)

    def update(self, step: int) -> Metrics | None:
        cfg = self.cfg
        before, self.updated_at = max(self.updated_at, cfg.learning_starts), step
        metrics = None
        count = schedules.crossings(before, step, cfg.train_every) * cfg.gradient_steps
        if count > 0 and self.replay.size >= cfg.batch_size:
            metrics = self._learn(step, count)
            if self.weight_average is not None:
                self.weight_average.update(count)
        for _ in range(schedules.crossings(before, step, cfg.target_update_every)):
            self.learner.update_target(cfg.tau)
        return metrics

    def _learn(self, step: int, count: int) -> Metrics:
        """`count` gradient steps, each on a batch of its own. -> metrics (count,) each."""
        # new priorities and new noise depend on the update before; uniform batches do not
        one_by_one = self.cfg.noisy or isinstance(self.replay, PrioritizedReplay)
        parts = [1] * count if one_by_one else [count]
        return joined([self._learn_from(step, batches) for batches in parts])

    def _learn_from(self, step: int, batches: int) -> Metrics:
        """Sample batches from the replay buffer and make a gradient step on each."""
        cfg, rng, replay = self.cfg, self.sample_rng, self.replay
        rows = replay.sample(cfg.batch_size, rng, batches)
        inputs: list[object] = [rows, self.epsilon(step)]
        if cfg.noisy:
            inputs.append(torch.from_numpy(self.net.draw_noise(rng, 3)).to(self.device))
        if isinstance(replay, PrioritizedReplay):
            beta = schedules.linear(cfg.priority_beta, 1.0, self.total_timesteps, step)
            sampled = rows.positions[0].numpy()
            weight = replay.importance(sampled, beta)
            inputs.append(torch.from_numpy(weight).to(self.device))
        metrics = self.learner.update(*inputs, learning_rate=self.learning_rate(step))
        if isinstance(replay, PrioritizedReplay):
            priority = torch.as_tensor(metrics.pop("priority")[0]).cpu().numpy()
            replay.update_priorities(sampled, priority)
        return metrics

    def loss(
        self,
        params: Params,
        target: Params,
        batch: Batch | ExperienceBatch,
        epsilon: torch.Tensor,
        *extra: torch.Tensor,
    ) -> tuple[torch.Tensor, Details]:
        """L(theta) = E[w l(y, Z(s, a; theta))]; l is the squared TD error in eq. 2 of Mnih et al. 2015.

        `extra`: noise factors (3, E) if noisy; importance weights w (B,) if prioritized.
        """
        noise = [self.net.name_noise(copy) for copy in extra[0]] if self.cfg.noisy else [{}, {}, {}]
        with torch.no_grad():
            y = self.target_of(params | noise[SELECTION], target | noise[TARGET], batch, epsilon)
        z = self.net(params | noise[ONLINE], batch.obs)  # (B, A, K)
        z = (one_hot(batch.action, self.net.num_actions).unsqueeze(-1) * z).sum(1)  # (B, K)
        per_sample, q = self.returns.per_sample_loss(z, y), self.returns.mean(z)  # (B,), (B,)
        metrics = {"q_mean": q.mean().detach()}
        if self.cfg.replay != "uniform":
            metrics["priority"] = self.returns.priority(z, y).detach()
            per_sample = per_sample * extra[-1]
        loss = per_sample.mean()
        if self.cfg.q_l1_coef > 0:
            loss = loss + self.cfg.q_l1_coef * q.abs().mean()
        return loss, metrics

    def target_of(
        self, params: Params, target: Params, batch: Batch | ExperienceBatch, epsilon: torch.Tensor
    ) -> torch.Tensor:
        """Target y = R + gamma^n Z(s', a'; theta^-), a' ~ pi; y = R at a terminal state. -> (B, K)."""
        cfg, done = self.cfg, batch.terminated
        if not cfg.bootstrap_truncated:
            done = torch.maximum(done, batch.truncated)
        z = self.net(target, batch.next_obs)  # (B, A, K)
        selection = self.net(params, batch.next_obs) if cfg.bootstrap == "double" else z
        greedy = self.returns.mean(selection).argmax(-1)  # (B,)
        discount = batch.discount if isinstance(batch, ExperienceBatch) else cfg.gamma
        pi = self.next_policy(greedy, batch, epsilon)
        return self.returns.target(batch.reward, discount * (1.0 - done), pi, z)

    def next_policy(
        self, greedy: torch.Tensor, batch: Batch | ExperienceBatch, epsilon: torch.Tensor
    ) -> torch.Tensor:
        """pi(. | s') of the bootstrap, given the greedy action (B,). -> (B, A).

        Q-learning: the greedy action. SARSA: the action taken, or the greedy one where a time limit cut
        the episode. Expected SARSA: the epsilon-greedy policy (van Seijen et al. 2009, eq. 2).
        """
        action = greedy
        if self.cfg.bootstrap == "sarsa" and isinstance(batch, ExperienceBatch):
            action = torch.where(batch.next_action >= 0, batch.next_action, greedy)
        pi = one_hot(action, self.net.num_actions)
        if self.cfg.bootstrap == "expected_sarsa":
            pi = (1.0 - epsilon) * pi + epsilon / self.net.num_actions
        return pi

    def state_dict(self) -> State:
        own = {"updated_at": self.updated_at, "episodes": self.exploration.episodes}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self.updated_at = Fields(state).integer("updated_at", 0, self.total_timesteps)
        self.exploration.load_state_dict(state, self.total_timesteps)

    # What follows only makes training faster.

    def planned_updates(self) -> int:
        cfg = self.cfg
        steps = max(self.total_timesteps - cfg.learning_starts, 0)
        return steps // cfg.train_every * cfg.gradient_steps

    def native_spec(self) -> NativeSpec | None:
        cfg, net = self.cfg, self.policy.native_net()
        if net is None or cfg.replay != "uniform" or cfg.epsilon_factor is not None:
            return None
        update = None if self.weight_average is not None else self._update_spec()
        return NativeSpec("epsilon_greedy", net, self._next_update, self.epsilon, update=update)

    def _update_spec(self) -> UpdateSpec:
        return UpdateSpec(
            every=self.cfg.train_every,
            batches=self.cfg.gradient_steps,
            batch_size=self.cfg.batch_size,
            numbers=lambda step: (self.epsilon(step),),
            target_update_every=self.cfg.target_update_every,
            tau=self.cfg.tau,
            done=self._set_updated_at,
        )

    def _next_update(self, step: int) -> int:
        cfg, start = self.cfg, max(step, self.cfg.learning_starts)
        return schedules.next_multiple(start, cfg.train_every, cfg.target_update_every)

    def _set_updated_at(self, step: int) -> None:
        self.updated_at = step
