"""Networks asked for a few rows at a time, many times: the way from observations to outputs."""

from __future__ import annotations

import numpy as np
import torch

from rl_cli.learner import Learner
from rl_cli.networks import MLP, Encoder, Identity


def outputs(learner: Learner, encoder: Encoder, head: MLP, obs: np.ndarray) -> np.ndarray:
    """head(encoder(obs)) with the learner's parameters. (N, *obs_shape) -> (N, outputs).

    Small networks on the CPU are evaluated in numpy, on the same memory: on a single row torch
    spends several times as long on its own account as on the arithmetic.
    """
    if learner.arrays is not None and isinstance(encoder, Identity):
        return head.in_numpy(learner.arrays, obs)
    with torch.no_grad():
        x = torch.from_numpy(obs).to(learner.flat.device)
        return head(learner.params, encoder(learner.params, x)).cpu().numpy()
