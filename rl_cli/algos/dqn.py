"""Deep Q-learning."""

from __future__ import annotations

from typing import Literal, cast

import numpy as np
import torch
from pydantic import Field

from rl_cli import functional, schedules
from rl_cli.acting import outputs
from rl_cli.algos.base import Algorithm
from rl_cli.buffers import ReplayBuffer
from rl_cli.config import AlgoConfig, Folder, Int, schema
from rl_cli.learner import Learner
from rl_cli.networks import MLP, make_encoder
from rl_cli.seeding import torch_generator
from rl_cli.types import Batch, EnvSpec, Metrics, Params, State


@schema
class DQNConfig(AlgoConfig):
    """Keys of `algo=dqn`."""

    buffer_size: Int = Field(ge=1, description="transitions the replay buffer holds")
    prefill: Folder | None = Field(
        description="file of transitions (rl-play record=true) that the buffer begins with; null: none"
    )
    batch_size: Int = Field(ge=1, description="transitions of one update")
    learning_starts: Int = Field(ge=0, description="env steps of random actions before learning")
    train_every: Int = Field(ge=1, description="env steps between rounds of updates")
    gradient_steps: Int = Field(ge=1, description="updates of one round")
    target_update_every: Int = Field(ge=1, description="env steps between target updates")
    tau: float = Field(gt=0, le=1, description="share of a target update; 1: hard copy")
    double_q: bool = Field(description="the online net chooses the action, the target net rates it")
    loss: Literal["huber", "mse"] = Field(description="of the TD error")
    epsilon_start: float = Field(ge=0, le=1, description="share of random actions at first")
    epsilon_end: float = Field(ge=0, le=1, description="share of random actions at last")
    epsilon_steps: Int = Field(ge=1, description="env steps from the first to the last")
    epsilon_decay: Literal["linear", "exponential"] = Field(description="way between them")

    def __post_init__(self) -> None:
        if self.epsilon_decay == "exponential" and min(self.epsilon_start, self.epsilon_end) == 0:
            raise ValueError("an exponential epsilon_decay needs both ends above 0")
        if self.batch_size > self.buffer_size:
            raise ValueError(
                f"algo.batch_size={self.batch_size} is more than algo.buffer_size={self.buffer_size} holds"
            )


class DQN(Algorithm[DQNConfig]):
    """Deep Q-learning with experience replay and a target network.

    Mnih et al. 2015, "Human-level control through deep reinforcement learning", Algorithm 1
    (doi:10.1038/nature14236). `double_q`: van Hasselt et al. 2016 (arXiv:1509.06461), eq. 4.
    """

    Config = DQNConfig
    supports = ("discrete",)

    def __init__(
        self, cfg: DQNConfig, spec: EnvSpec, total_timesteps: int, seed: int, device: torch.device
    ) -> None:
        super().__init__(cfg, spec, total_timesteps, seed, device)
        (self.num_actions,) = spec.action.sizes
        self.encoder = make_encoder(spec.obs_shape)
        self.head = MLP(
            "q", self.encoder.features, cfg.hidden_sizes, self.num_actions, cfg.activation
        )
        init = torch_generator(seed, "init")
        self.learner = Learner(
            self.encoder.init(init) | self.head.init(init),
            self.loss,
            adam_eps=cfg.adam_eps,
            max_grad_norm=cfg.max_grad_norm,
            device=device,
            with_target=True,
        )
        self.buffer = self.replay = ReplayBuffer(cfg.buffer_size, spec, device)
        self.updated_at = 0  # step of the last call of update

    def planned_updates(self) -> int:
        cfg = self.cfg
        left = max(self.total_timesteps - cfg.learning_starts, 0)
        return left // cfg.train_every * cfg.gradient_steps

    def q(self, params: Params, obs: torch.Tensor) -> torch.Tensor:
        """Q(s, .; theta). (B, *obs_shape) -> (B, A)."""
        return self.head(params, self.encoder(params, obs))

    def epsilon(self, step: int) -> float:
        """Share of random actions; all of them until learning starts."""
        cfg = self.cfg
        if step < cfg.learning_starts:
            return 1.0
        way = schedules.linear if cfg.epsilon_decay == "linear" else schedules.exponential
        return way(cfg.epsilon_start, cfg.epsilon_end, cfg.epsilon_steps, step)

    def act(self, obs: np.ndarray, step: int) -> np.ndarray:
        return self._epsilon_greedy(obs, self.epsilon(step), self.explore_rng)

    def predict(self, obs: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        if rng is None:
            return self._greedy(obs)
        return self._epsilon_greedy(obs, self.cfg.epsilon_end, rng)

    def _epsilon_greedy(
        self, obs: np.ndarray, epsilon: float, rng: np.random.Generator
    ) -> np.ndarray:
        coins = rng.random(len(obs)).tolist()  # one per env
        some_greedy = max(coins) >= epsilon
        action = self._greedy(obs) if some_greedy else np.empty(len(obs), np.int64)
        for i, coin in enumerate(coins):
            if coin < epsilon:  # and where below epsilon it lies is as good as another draw
                action[i] = int(coin / epsilon * self.num_actions)
        return action

    def _greedy(self, obs: np.ndarray) -> np.ndarray:
        q = outputs(self.learner, self.encoder, self.head, obs)  # (N, A)
        return cast(np.ndarray, q.argmax(-1))

    def update(self, step: int) -> Metrics | None:
        cfg = self.cfg
        before, self.updated_at = max(self.updated_at, cfg.learning_starts), step
        metrics = None
        for _ in range(schedules.crossings(before, step, cfg.train_every) * cfg.gradient_steps):
            rows = self.replay.sample(cfg.batch_size, self.sample_rng)
            metrics = self.learner.step(rows, learning_rate=self.learning_rate(step))
        for _ in range(schedules.crossings(before, step, cfg.target_update_every)):
            self.learner.update_target(cfg.tau)
        return metrics

    def loss(self, params: Params, target: Params, batch: Batch) -> tuple[torch.Tensor, Metrics]:
        """L(theta) = E[(y - Q(s, a; theta))^2], y = r + gamma max_a' Q(s', a'; theta^-) (eq. 2)."""
        cfg, functions = self.cfg, torch.nn.functional
        with torch.no_grad():
            next_q = self.q(target, batch.next_obs)  # (B, A)
            best = self.q(params, batch.next_obs) if cfg.double_q else next_q
            next_value = next_q.gather(-1, best.argmax(-1, keepdim=True)).squeeze(-1)  # (B,)
            y = functional.td_target(batch.reward, batch.terminated, next_value, cfg.gamma)
        q = self.q(params, batch.obs).gather(-1, batch.action.unsqueeze(-1)).squeeze(-1)  # (B,)
        distance = functions.smooth_l1_loss if cfg.loss == "huber" else functions.mse_loss
        return distance(q, y), {"q_mean": q.mean().detach()}

    def state_dict(self) -> State:
        return {**super().state_dict(), "updated_at": self.updated_at}

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self.updated_at = cast(int, state["updated_at"])
