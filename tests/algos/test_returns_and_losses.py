import math

import pytest
import torch

from rl_cli.algos.losses import approx_kl, clipped_surrogate, explained_variance, standardize
from rl_cli.algos.returns import discounted_returns, gae, td_target


def column(*values):
    """One env's steps, (T, 1)."""
    return torch.tensor(values).unsqueeze(-1)


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)


# The four steps of every hand-worked GAE: gamma = lambda = 0.5, so gamma * lambda = 0.25.
REWARD = (1.0, 2.0, 3.0, 4.0)
VALUE = (1.0, 1.0, 2.0, 2.0)
NEXT_VALUE = (1.0, 7.0, 2.0, 4.0)  # 7: the value of the final observation of an episode
NO_END = (0.0, 0.0, 0.0, 0.0)
END_AT_1 = (0.0, 1.0, 0.0, 0.0)


def gae_of_example(terminated, truncated):
    return gae(
        column(*REWARD),
        column(*VALUE),
        column(*NEXT_VALUE),
        column(*terminated),
        column(*truncated),
        gamma=0.5,
        gae_lambda=0.5,
    )


def test_td_target_bootstraps_non_terminal_step():
    # 1 + 0.5 * 8
    assert_close(
        td_target(torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([8.0]), 0.5),
        torch.tensor([5.0]),
    )


def test_td_target_of_terminal_step_is_reward():
    # 1 + 0.5 * 8 * 0; the second row is independent of the first: -2 + 0.5 * 6
    target = td_target(
        torch.tensor([1.0, -2.0]), torch.tensor([1.0, 0.0]), torch.tensor([8.0, 6.0]), 0.5
    )
    assert_close(target, torch.tensor([1.0, 1.0]))


def test_gae_without_episode_end_sums_over_all_later_steps():
    # delta: 1 + .5*1 - 1 = .5 | 2 + .5*7 - 1 = 4.5 | 3 + .5*2 - 2 = 2 | 4 + .5*4 - 2 = 4
    # A3 = 4 | A2 = 2 + 4/4 = 3 | A1 = 4.5 + 3/4 = 5.25 | A0 = .5 + 5.25/4 = 1.8125
    assert_close(gae_of_example(NO_END, NO_END), column(1.8125, 5.25, 3.0, 4.0))


def test_gae_termination_drops_bootstrap_and_ends_sum():
    # delta1 = 2 + 0 - 1 = 1, A1 = 1 without A2; A0 = .5 + 1/4; steps 2 and 3 as before
    assert_close(gae_of_example(END_AT_1, NO_END), column(0.75, 1.0, 3.0, 4.0))


def test_gae_truncation_keeps_bootstrap_and_ends_sum():
    # delta1 = 2 + .5*7 - 1 = 4.5, A1 = 4.5 without A2; A0 = .5 + 4.5/4
    assert_close(gae_of_example(NO_END, END_AT_1), column(1.625, 4.5, 3.0, 4.0))


def test_gae_terminated_and_truncated_step_counts_as_terminated():
    assert_close(gae_of_example(END_AT_1, END_AT_1), column(0.75, 1.0, 3.0, 4.0))


def test_gae_treats_envs_separately():
    both = gae(
        torch.cat([column(*REWARD)] * 2, dim=1),
        torch.cat([column(*VALUE)] * 2, dim=1),
        torch.cat([column(*NEXT_VALUE)] * 2, dim=1),
        torch.cat([column(*END_AT_1), column(*NO_END)], dim=1),
        torch.cat([column(*NO_END), column(*END_AT_1)], dim=1),
        gamma=0.5,
        gae_lambda=0.5,
    )
    # env 0 terminates at step 1, env 1 is truncated there: the columns of the two tests above
    assert_close(both, torch.cat([column(0.75, 1.0, 3.0, 4.0), column(1.625, 4.5, 3.0, 4.0)], 1))


def random_rollout(steps, envs):
    generator = torch.Generator().manual_seed(0)
    reward, value, next_value = torch.randn(3, steps, envs, generator=generator)
    terminated, truncated = (torch.rand(2, steps, envs, generator=generator) < 0.3).float()
    return reward, value, next_value, terminated, truncated


def test_gae_with_lambda_0_equals_td_error():
    reward, value, next_value, terminated, truncated = random_rollout(6, 3)
    advantage = gae(reward, value, next_value, terminated, truncated, 0.9, 0.0)
    assert_close(advantage, reward + 0.9 * next_value * (1 - terminated) - value)


def test_gae_with_lambda_1_equals_return_minus_value():
    reward, value, _, _, _ = random_rollout(6, 1)
    after_last = torch.tensor([[1.5]])
    next_value = torch.cat(
        [value[1:], after_last]
    )  # no episode end: each successor is the next step
    zeros = torch.zeros_like(reward)
    advantage = gae(reward, value, next_value, zeros, zeros, 0.9, 1.0)
    returns = discounted_returns(reward[:, 0], 0.9, tail=1.5)
    assert_close(advantage[:, 0], returns - value[:, 0])


def test_discounted_returns_of_terminated_episode():
    # G2 = 4 | G1 = 2 + .5*4 = 4 | G0 = 1 + .5*4 = 3
    assert_close(discounted_returns(torch.tensor([1.0, 2.0, 4.0]), 0.5), torch.tensor([3.0, 4, 4]))


def test_discounted_returns_add_discounted_tail():
    # G2 = 4 + .5*8 = 8 | G1 = 2 + .5*8 = 6 | G0 = 1 + .5*6 = 4
    returns = discounted_returns(torch.tensor([1.0, 2.0, 4.0]), 0.5, tail=8.0)
    assert_close(returns, torch.tensor([4.0, 6, 8]))


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected", "slope"),
    [
        (1.5, 2.0, 2.5, 0.0),  # min(3, 1.25 * 2): the gain of a good action is clipped at 1 + eps
        (0.5, 2.0, 1.0, 1.0),  # min(1, 0.75 * 2): not clipped where it became less likely
        (
            0.5,
            -2.0,
            -1.5,
            0.0,
        ),  # min(-1, 0.75 * -2): the gain of avoiding a bad action is clipped at 1 - eps
        (1.5, -2.0, -3.0, -3.0),  # min(-3, 1.25 * -2): not clipped where it became more likely
        (1.1, 2.0, 2.2, 2.2),  # within the clip range both terms are r A
    ],
)
def test_clipped_surrogate_value_and_gradient_with_eps_0_25(ratio, advantage, expected, slope):
    log_ratio = torch.tensor([math.log(ratio)], requires_grad=True)
    objective = clipped_surrogate(log_ratio, torch.tensor([advantage]), 0.25)
    (gradient,) = torch.autograd.grad(objective, log_ratio)
    assert objective.item() == pytest.approx(expected, rel=1e-6)
    # d(r A)/d(log r) = r A where the first term is the smaller one; the clipped term is constant
    assert gradient.item() == pytest.approx(slope, rel=1e-6)


def test_clipped_surrogate_averages_over_samples():
    log_ratio = torch.tensor([1.5, 0.5, 0.5, 1.5]).log()
    advantage = torch.tensor([2.0, 2.0, -2.0, -2.0])
    # (2.5 + 1 - 1.5 - 3) / 4
    assert clipped_surrogate(log_ratio, advantage, 0.25).item() == pytest.approx(-0.25)


def test_approx_kl_equals_hand_worked_value():
    # ratio 2: 1 - ln 2, ratio 1/2: -1/2 + ln 2; their mean is 1/4
    assert approx_kl(torch.tensor([2.0, 0.5]).log()).item() == pytest.approx(0.25)


def test_approx_kl_is_zero_at_ratio_one():
    assert approx_kl(torch.zeros(5)).item() == 0.0


@pytest.mark.parametrize("size", [2.0, 1e-1, 1e-3, 1e-4])
def test_approx_kl_is_never_negative(size):
    # at 1e-4 the exact value is 5e-9, below the float32 spacing at 1: (r - 1) - log r would be 0 or negative
    samples = torch.linspace(-size, size, 41)
    assert min(approx_kl(sample.view(1)).item() for sample in samples) >= 0.0


def test_explained_variance_of_exact_prediction_is_one():
    target = torch.tensor([1.0, 2.0, 4.0])
    assert explained_variance(target, target).item() == pytest.approx(1.0)


def test_explained_variance_of_constant_prediction_is_zero():
    assert explained_variance(
        torch.full((3,), 9.0), torch.tensor([1.0, 2.0, 4.0])
    ).item() == pytest.approx(0.0, abs=1e-6)


def test_explained_variance_equals_hand_worked_value():
    # residual 0 0 0 -4: mean -1, variance (1 + 1 + 1 + 9) / 3 = 4; target's (2.25 + .25) * 2 / 3
    # = 5/3; 1 - 4 / (5/3) = -1.4
    predicted, target = torch.tensor([1.0, 2, 3, 8]), torch.tensor([1.0, 2, 3, 4])
    assert explained_variance(predicted, target).item() == pytest.approx(-1.4)


@pytest.mark.parametrize("values", [[3.0], [3.0, 3.0]])
def test_explained_variance_of_constant_target_is_finite(values):
    # PPO passes one value with rollout_length=1 and num_envs=1
    target = torch.tensor(values)
    assert math.isfinite(explained_variance(target - 1.0, target).item())


def test_standardize_equals_hand_worked_value():
    # mean 4, population variance (9 + 1 + 1 + 9) / 4 = 5
    expected = torch.tensor([-3.0, -1, 1, 3]) / math.sqrt(5)
    assert_close(standardize(torch.tensor([1.0, 3, 5, 7])), expected)


def test_standardize_keeps_a_single_value():
    """0 would leave no gradient, whatever the reward."""
    assert standardize(torch.tensor([7.0])).tolist() == [7.0]


@pytest.mark.parametrize("rows", [2, 3, 64, 100])
@pytest.mark.parametrize("value", [0.1, -1e6 / 3, 0.0])
def test_standardize_equal_values_are_zero(value, rows):
    """Also where the mean of equal values is not the value: that of 3 times 0.1 is larger."""
    assert standardize(torch.full((rows,), value)).tolist() == [0.0] * rows
