"""Networks asked for a few rows at a time, many times: the way from observations to outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch

from rl_cli.learner import Learner
from rl_cli.networks import MLP, Encoder, Head, Identity
from rl_cli.types import Arrays


class Lesson(NamedTuple):
    """How an algorithm learns, said as plainly as `Conduct`.

    At each multiple of `every` env steps: `batches` batches of `batch_size` rows, drawn evenly from its
    replay buffer by `sample_rng`, and a step of its learner on each. Then, at each multiple of
    `target_update_every`, the target moves by `tau`.
    """

    every: int
    batches: int
    batch_size: int
    numbers: Callable[[int], tuple[float, ...]]  # by step: the loss's inputs beside the rows
    target_update_every: int  # 0: there is no target
    tau: float
    done: Callable[[int], None]  # told up to which step all this has been done


class Conduct(NamedTuple):
    """How an algorithm acts, said so plainly that `stretch` can do the same in machine code.

    categorical: an action by the logits of `net`; gaussian: its outputs and noise of `std`; each from
    `explore_rng`, as `choices` and `gaussians.Gaussian` do.
    """

    rule: Literal["epsilon_greedy", "categorical", "gaussian"]
    net: MLP
    epsilon: Callable[[int], float] | None = None  # by step
    std: Callable[[], np.ndarray] | None = None  # () -> (A,) float32; looked at before each stretch
    lesson: Lesson | None = None  # None: only `update` knows how to learn; without `std`


def outputs(
    learner: Learner,
    encoder: Encoder,
    head: Head,
    obs: np.ndarray,
    beside: Arrays | None = None,
    quick: bool = False,
) -> np.ndarray:
    """head(encoder(obs)) with the learner's parameters. (N, *obs_shape) -> (N, outputs).

    `beside`: what stands among the parameters but is not learned, by name. `quick`: in machine code,
    if the learner has some for it, into an array that the next call writes over. Rounding differs, so
    evaluation does without: what a checkpoint is worth must not depend on who has a compiler.

    Small networks on the CPU are evaluated in numpy, on the same memory: on a single row torch
    spends several times as long on its own account as on the arithmetic.
    """
    if learner.arrays is not None and isinstance(encoder, Identity):
        if quick and learner.native is not None and type(head) is MLP:
            return learner.native(head, learner.arrays, obs)
        return head.in_numpy(learner.arrays | beside if beside else learner.arrays, obs)
    device = learner.flat.device
    with torch.no_grad():
        x, params = torch.from_numpy(obs).to(device), learner.params
        if beside:
            params = params | {k: torch.from_numpy(v).to(device) for k, v in beside.items()}
        return head(params, encoder(params, x)).cpu().numpy()


def choices(
    learner: Learner, encoder: Encoder, head: Head, obs: np.ndarray, rng: np.random.Generator
) -> np.ndarray | None:
    """One of the actions whose logits are head(encoder(obs)), each row's by chance. -> (N,) int64.

    In machine code, into an array that the next call writes over; None: the learner has none for it.
    """
    if learner.native is None or learner.arrays is None:
        return None
    if not isinstance(encoder, Identity) or type(head) is not MLP:
        return None
    return learner.native.draw(head, learner.arrays, obs, rng)


def epsilon_greedy(
    greedy: Callable[[], np.ndarray],
    num_envs: int,
    num_actions: int,
    epsilon: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """For each env the greedy action, or with probability epsilon any. -> (N,) int64.

    `greedy` is asked only if any env wants it.
    """
    coins = rng.random(num_envs).tolist()
    action = greedy() if max(coins) >= epsilon else np.empty(num_envs, np.int64)
    for i, coin in enumerate(coins):
        if coin < epsilon:  # and where below epsilon it lies is as good as another draw
            action[i] = int(coin / epsilon * num_actions)
    return action
