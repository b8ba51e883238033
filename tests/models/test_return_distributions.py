"""Return distributions: projections, targets, losses and priorities with hand-worked values."""

import numpy as np
import pytest
import torch

from rl_cli.models import return_distributions
from rl_cli.models.return_distributions import Categorical, Expectation, Quantiles


def tensor(*values):
    return torch.tensor(values, dtype=torch.float32)


def log(*probabilities):
    return torch.log(tensor(*probabilities) + 1e-30)


def test_projection_splits_probability_between_nearest_atoms():
    """Support 0, 1, 2: 1/2 at 0.25 gives 3/8 and 1/8; 1/4 at 1; 1/4 at 7, clamped to 2."""
    m = return_distributions.categorical_projection(
        tensor([0.5, 0.25, 0.25]), tensor([0.25, 1.0, 7.0]), tensor(0.0, 1.0, 2.0)
    )
    assert m.tolist() == [[0.375, 0.375, 0.25]]


def test_c51_target_shifts_distribution_of_next_action():
    """Action 1 in s' returns 0 or 2 with probability 1/2; r = 1, discount 1/2: 1 or 2."""
    c51 = Categorical(3, 0.0, 2.0)
    out = torch.stack([log(1, 0, 0), log(0.5, 0, 0.5)])[None]
    y = c51.target(tensor(1.0), tensor(0.5), tensor([0.0, 1.0]), out)
    assert y[0].tolist() == pytest.approx([0.0, 0.5, 0.5])
    ended = c51.target(tensor(1.0), tensor(0.0), tensor([0.0, 1.0]), out)
    assert ended[0].tolist() == pytest.approx([0.0, 1.0, 0.0])


def test_c51_target_mixes_distributions_by_action_probability():
    c51 = Categorical(3, 0.0, 2.0)
    out = torch.stack([log(1, 0, 0), log(0, 0, 1)])[None]
    y = c51.target(tensor(0.0), tensor(1.0), tensor([0.25, 0.75]), out)
    assert y[0].tolist() == pytest.approx([0.25, 0.0, 0.75])


def test_c51_loss_is_kl_divergence():
    """KL(1/2, 1/2 || 1/4, 3/4) = 1/2 ln 2 + 1/2 ln 2/3."""
    c51 = Categorical(2, 0.0, 1.0)
    expected = 0.5 * np.log(2.0) + 0.5 * np.log(2 / 3)
    assert c51.per_sample_loss(log([0.25, 0.75]), tensor([0.5, 0.5])).item() == pytest.approx(
        expected
    )
    assert c51.per_sample_loss(log([0.5, 0.5]), tensor([0.5, 0.5])).item() == pytest.approx(
        0, abs=1e-6
    )
    assert c51.mean(log([0.25, 0.75])).item() == pytest.approx(0.75)


def test_quantile_huber_weights_errors_by_sign():
    """theta = (0, 3), tau = (1/4, 3/4), y = (1, 1).

    theta_1: errors +1, huber 1/2, weight 1/4: 1/8. theta_2: errors -2, huber 3/2, weight
    |3/4 - 1|: 3/8. Together 1/2.
    """
    loss = return_distributions.quantile_huber(tensor([0.0, 3.0]), tensor([1.0, 1.0]))
    assert loss.tolist() == [0.5]


def test_quantile_huber_minimum_equals_hand_worked_value():
    """Returns 0, 0, 0, 8; the Huber loss is quadratic for errors below 1.

    theta_1, tau 1/8: 3 * 7/8 theta = 1/8, hence 1/21; likewise 1/5 and 5/9; theta_4, tau 7/8:
    3 * 1/8 = 7/8 (8 - theta).
    """
    theta = torch.full((1, 4), 2.0, requires_grad=True)
    y = tensor([0.0, 0.0, 0.0, 8.0])
    for _ in range(500):
        (gradient,) = torch.autograd.grad(
            return_distributions.quantile_huber(theta, y).sum(), theta
        )
        theta = (theta - 0.5 * gradient).detach().requires_grad_()
    expected = [1 / 21, 1 / 5, 5 / 9, 8 - 3 / 7]
    assert theta[0].tolist() == pytest.approx(expected, abs=1e-3)


def test_qr_target_shifts_quantiles_of_next_action():
    qr = Quantiles(2)
    out = tensor([[1.0, 2.0], [3.0, 5.0]])
    y = qr.target(tensor(1.0), tensor(0.5), tensor([0.0, 1.0]), out)
    assert y.tolist() == [[2.5, 3.5]]
    assert qr.priority(tensor([1.0, 2.0]), y).tolist() == [1.5]


def test_expectation_target_loss_and_priority():
    td = Expectation("mse")
    out = tensor([[2.0], [10.0]])
    y = td.target(tensor(1.0), tensor(0.5), tensor([0.75, 0.25]), out)
    assert y.tolist() == [[3.0]]  # 1 + (0.75 * 2 + 0.25 * 10) / 2
    assert td.per_sample_loss(tensor([1.0]), y).tolist() == [4.0]
    assert Expectation("huber").per_sample_loss(tensor([1.0]), y).tolist() == [1.5]
    assert td.priority(tensor([5.0]), y).tolist() == [2.0]


@pytest.mark.parametrize("returns", [Expectation("mse"), Categorical(5, -3.0, 2.0), Quantiles(7)])
def test_mean_in_numpy_equals_torch(returns):
    out = torch.randn(6, 3, returns.atoms, generator=torch.Generator().manual_seed(0))
    expected = returns.mean(out).numpy()
    got = returns.mean_in_numpy(out.flatten(1).numpy())
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
