"""REINFORCE: loss, returns, baselines and switches, with hand-worked values."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from rl_cli.core.types import Batch
from tests.algos.test_algorithms import choice, reinforce, trained

FULL = os.environ.get("RL_CLI_BARS") == "full"


def test_loss_weights_log_probability_by_return():
    """Equal logits: log pi = -ln 2. Returns 1 and 3, no baseline: -(1 + 3) / 2 * -ln 2 = 2 ln 2."""
    algo = reinforce(hidden_sizes=[], baseline="none", bootstrap_truncated=False)
    params = {k: torch.zeros_like(v) for k, v in algo.learner.params.items()}
    loss, _ = algo.loss(params, torch.zeros(2, 1), torch.tensor([0, 1]), torch.tensor([1.0, 3.0]))
    assert loss.item() == pytest.approx(2 * np.log(2))
    assert not any(name.startswith("critic") for name in params)


def test_baseline_receives_no_policy_gradient():
    """V = 2, returns 1 and 3: weights -1 and 1 cancel; the value loss ((2-1)^2 + (2-3)^2) / 2 = 1 remains."""
    algo = reinforce(hidden_sizes=[], vf_coef=1.0)
    params = {k: torch.zeros_like(v) for k, v in algo.learner.params.items()}
    params["critic.0.bias"] = torch.tensor([2.0])
    params = {k: v.requires_grad_() for k, v in params.items()}
    args = torch.zeros(2, 1), torch.tensor([0, 0]), torch.tensor([1.0, 3.0])
    loss, metrics = algo.loss(params, *args)
    assert metrics["policy_loss"].item() == pytest.approx(0.0)
    assert loss.item() == pytest.approx(1.0)
    (gradient,) = torch.autograd.grad(loss, [params["critic.0.bias"]])
    assert gradient.item() == pytest.approx(0.0)


def test_truncated_episode_is_bootstrapped_by_value_baseline_only():
    """Rewards 1, 1, gamma = 0.5, V = 4 after the limit: G = (1 + 0.5 * 3, 1 + 0.5 * 4) = (2.5, 3)."""
    rows = torch.zeros(2, 1)
    flags = torch.tensor([0.0, 1.0])
    cut = Batch(rows, torch.zeros(2).long(), torch.ones(2), rows, torch.zeros(2), flags)
    algo = reinforce(hidden_sizes=[])
    algo.learner.params["critic.0.bias"].data.fill_(4.0)
    assert algo.returns(cut).tolist() == [2.5, 3.0]
    ended = cut._replace(terminated=flags, truncated=torch.zeros(2))
    assert algo.returns(ended).tolist() == [1.5, 1.0]
    assert reinforce(baseline="none", bootstrap_truncated=False).returns(cut).tolist() == [1.5, 1.0]


PLAIN = {"baseline": "none", "bootstrap_truncated": False, "hidden_sizes": []}


def episode(*rewards, truncated=False):
    n = len(rewards)
    flags = torch.zeros(n)
    flags[-1] = 1.0
    rows = torch.zeros(n, 1)
    ends = (torch.zeros(n), flags) if truncated else (flags, torch.zeros(n))
    return Batch(rows, torch.zeros(n).long(), torch.tensor(rewards), rows, *ends)


def test_discount_weighting_gives_gamma_to_the_t():
    algo = reinforce(**PLAIN, discount_weighting=True)  # gamma 1/2
    found = algo.step_weights([episode(1.0, 1.0, 1.0), episode(1.0, 1.0)])
    assert found.tolist() == [1.0, 0.5, 0.25, 1.0, 0.5]


def test_sum_over_steps_scales_by_mean_episode_length():
    """The mean over 5 rows times 5/2 is the sum over all steps divided by 2 episodes."""
    algo = reinforce(**PLAIN, sum_over_steps=True)
    found = algo.step_weights([episode(1.0, 1.0, 1.0), episode(1.0, 1.0)])
    assert found.tolist() == [2.5] * 5
    both = reinforce(**PLAIN, sum_over_steps=True, discount_weighting=True)
    assert both.step_weights([episode(1.0, 1.0)]).tolist() == [2.0, 1.0]


def test_loss_with_discount_weighting_and_sum_over_steps():
    """Returns 1.5 and 1, weights 1 and 1/2, log pi = -ln 2, summed: 2 ln 2."""
    algo = reinforce(**PLAIN, sum_over_steps=True, discount_weighting=True, normalize_returns=False)
    params = {k: torch.zeros_like(v) for k, v in algo.learner.params.items()}
    one = episode(1.0, 1.0)
    loss, _ = algo.loss(params, one.obs, one.action, algo.returns(one), algo.step_weights([one]))
    assert loss.item() == pytest.approx((1.5 + 0.5) * np.log(2))


def test_returns_are_normalized_before_discount_weighting():
    """Returns 1.5 and 1 become 1 and -1, with weights 1 and 1/2: -(1 - 0.5) / 2 * -ln 2."""
    algo = reinforce(**PLAIN, discount_weighting=True, normalize_returns=True)
    params = {k: torch.zeros_like(v) for k, v in algo.learner.params.items()}
    one = episode(1.0, 1.0)
    loss, _ = algo.loss(params, one.obs, one.action, algo.returns(one), algo.step_weights([one]))
    assert loss.item() == pytest.approx(0.25 * np.log(2), rel=1e-4)


def test_mean_baseline_is_moving_average_of_earlier_returns():
    """Decay 1/2: 0 at the first update, 4 at the second, (0.25 * 4 + 0.5 * 1) / 0.75 = 2 at the third."""
    algo = reinforce(**PLAIN | {"baseline": "mean"}, baseline_decay=0.5)
    assert algo.subtract_mean(torch.tensor([3.0, 5.0])).tolist() == [3.0, 5.0]
    assert algo.subtract_mean(torch.tensor([1.0, 1.0])).tolist() == [-3.0, -3.0]
    assert algo.subtract_mean(torch.tensor([2.0])).tolist() == [0.0]
    assert not any(name.startswith("critic") for name in algo.learner.params)


def test_bootstrap_truncated_false_drops_tail_value():
    algo = reinforce(hidden_sizes=[], bootstrap_truncated=False)
    algo.learner.params["critic.0.bias"].data.fill_(4.0)
    assert algo.returns(episode(1.0, 1.0, truncated=True)).tolist() == [1.5, 1.0]


@pytest.mark.skipif(not FULL, reason="hand-worked above; set RL_CLI_BARS=full")
@pytest.mark.parametrize(
    "changes",
    [
        {**PLAIN, "sum_over_steps": True, "discount_weighting": True, "hidden_sizes": [32]},
        {**PLAIN, "baseline": "mean", "hidden_sizes": [32]},
    ],
)
def test_switches_learn_policy_that_depends_on_observation(changes):
    algo = trained("reinforce", "ProbeMatchObservation-v0", **changes)
    assert choice(algo, 1.0) == 1
    assert choice(algo, -1.0) == 0
