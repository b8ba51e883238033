"""Action distributions, compared with torch.distributions, frequencies and hand-worked values."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Independent, Normal

from rl_cli.core.types import ActionSpec
from rl_cli.models.action_distributions import Categorical, make_distribution
from rl_cli.models.gaussians import LOG_STD, Gaussian

DISCRETE = ActionSpec("discrete", (), (3,))
MULTI = ActionSpec("multidiscrete", (2,), (2, 3))
BOX = ActionSpec("box", (2,), (), (-1.0, -1.0), (1.0, 1.0))
MATRIX = ActionSpec("box", (2, 2), (), (-1.0,) * 4, (1.0,) * 4)

DRAWS = 20_000


def outputs(batch, width, seed=0):
    return 2 * torch.randn(batch, width, generator=torch.Generator().manual_seed(seed))


def tiled(row):
    return np.tile(np.array(row, np.float32), (DRAWS, 1))


def assert_frequencies(counts, probabilities):
    """Each count is binomial and within 4.5 std, which is exceeded once in 150,000."""
    p = np.asarray(probabilities)
    std = np.sqrt(p * (1 - p) / DRAWS)
    assert (np.abs(np.asarray(counts) / DRAWS - p) <= 4.5 * std).all()


def test_categorical_equals_torch_categorical():
    out = outputs(5, 3).requires_grad_()
    action = torch.tensor([0, 1, 2, 2, 0])
    ours, oracle = Categorical(DISCRETE), TorchCategorical(logits=out)
    assert ours.outputs == 3
    torch.testing.assert_close(ours.log_prob({}, out, action), oracle.log_prob(action))
    torch.testing.assert_close(ours.entropy({}, out), oracle.entropy())


def test_multidiscrete_equals_sum_of_torch_categoricals():
    out = outputs(4, 5)
    action = torch.tensor([[0, 2], [1, 0], [1, 1], [0, 0]])
    ours = Categorical(MULTI)
    first, second = TorchCategorical(logits=out[:, :2]), TorchCategorical(logits=out[:, 2:])
    assert ours.outputs == 5
    torch.testing.assert_close(
        ours.log_prob({}, out, action),
        first.log_prob(action[:, 0]) + second.log_prob(action[:, 1]),
    )
    torch.testing.assert_close(ours.entropy({}, out), first.entropy() + second.entropy())


@pytest.mark.parametrize("spec", [BOX, MATRIX])
def test_gaussian_equals_torch_independent_normal(spec):
    ours, n = Gaussian(spec, 0.0), math.prod(spec.shape)
    params = {LOG_STD: torch.linspace(-1.0, 0.5, n)}
    out, action = outputs(3, n), outputs(3, n, seed=1).view(3, *spec.shape)
    oracle = Independent(
        Normal(out.view(3, *spec.shape), params[LOG_STD].exp().view(spec.shape)), len(spec.shape)
    )
    assert ours.outputs == n
    torch.testing.assert_close(ours.log_prob(params, out, action), oracle.log_prob(action))
    torch.testing.assert_close(ours.entropy(params, out), oracle.entropy())


def test_gaussian_log_prob_equals_hand_worked_value():
    # mean 1, std 2, action 5: z = 2, -z**2/2 - ln 2 - ln(2 pi)/2
    one = Gaussian(ActionSpec("box", (1,), (), (-9.0,), (9.0,)), 0.0)
    params = {LOG_STD: torch.tensor([math.log(2.0)])}
    found = one.log_prob(params, torch.tensor([[1.0]]), torch.tensor([[5.0]]))
    assert found.tolist() == pytest.approx([-2.0 - math.log(2.0) - 0.5 * math.log(2 * math.pi)])


def test_gradient_of_mean_and_log_std_equals_hand_worked_value():
    # d log_prob/d mean = z / std = 2 / 2 = 1, d log_prob/d log_std = z**2 - 1 = 3, d entropy/d log_std = 1
    one = Gaussian(ActionSpec("box", (1,), (), (-9.0,), (9.0,)), 0.0)
    log_std = torch.tensor([math.log(2.0)], requires_grad=True)
    mean = torch.tensor([[1.0]], requires_grad=True)
    log_prob = one.log_prob({LOG_STD: log_std}, mean, torch.tensor([[5.0]])).sum()
    slopes = [g.item() for g in torch.autograd.grad(log_prob, (mean, log_std))]
    assert slopes == pytest.approx([1.0, 3.0])
    entropy = one.entropy({LOG_STD: log_std}, mean).mean()
    assert torch.autograd.grad(entropy, log_std)[0].item() == pytest.approx(1.0)


def test_gaussian_init_uses_log_std_init():
    assert Gaussian(BOX, -0.5).init()[LOG_STD].tolist() == [-0.5, -0.5]


def test_categorical_sample_frequencies_match_probabilities():
    row = np.log([0.1, 0.2, 0.7])
    picks = Categorical(DISCRETE).sample({}, tiled(row), np.random.default_rng(0))
    assert_frequencies(np.bincount(picks, minlength=3), [0.1, 0.2, 0.7])


def in_numpy(distribution):
    return {name: value.numpy() for name, value in distribution.init().items()}


@pytest.mark.parametrize("point", [0.0, 0.1, 0.2, 0.5, 0.69, 0.71, 0.999999])
def test_categorical_samples_few_rows_like_many(point):
    """Plain Python for few rows and NumPy for many select the same action; probabilities 0.2, 0.5, 0.3."""
    row = np.log(np.array([[0.2, 0.5, 0.3]], np.float32)) + 7.0

    class Fixed:
        def random(self, size):
            return np.full(size, point + 1e-7)

    many = Categorical(DISCRETE).sample({}, np.tile(row, (100, 1)), Fixed())
    few = Categorical(DISCRETE).sample({}, row, Fixed())
    assert (
        set(many.tolist()) == set(few.tolist()) == {int(np.searchsorted([0.2, 0.7], point + 1e-7))}
    )


def test_categorical_rows_use_their_own_logits():
    out = np.log(np.array([[0.9, 0.05, 0.05], [0.05, 0.05, 0.9]], np.float32))
    picks = Categorical(DISCRETE).sample({}, np.tile(out, (DRAWS, 1)), np.random.default_rng(0))
    for row, probabilities in ((0, [0.9, 0.05, 0.05]), (1, [0.05, 0.05, 0.9])):
        assert_frequencies(np.bincount(picks[row::2], minlength=3), probabilities)


def test_multidiscrete_actions_are_sampled_independently():
    first, second = np.array([0.3, 0.7]), np.array([0.5, 0.1, 0.4])
    row = np.log(np.concatenate([first, second]))
    picks = Categorical(MULTI).sample({}, tiled(row), np.random.default_rng(0))
    pairs = np.bincount(picks[:, 0] * 3 + picks[:, 1], minlength=6)
    assert_frequencies(pairs, np.outer(first, second).ravel())  # a shared draw would correlate them


def test_categorical_large_logits_do_not_overflow():
    # softmax of (1000, 1000, -1000) and of (-1000, -1000, -3000) is 1/2, 1/2, 0: only differences
    # within a row matter
    out = np.array([[1e3, 1e3, -1e3], [-1e3, -1e3, -3e3]], np.float32)
    picks = Categorical(DISCRETE).sample({}, np.tile(out, (DRAWS, 1)), np.random.default_rng(0))
    for row in (0, 1):
        assert_frequencies(np.bincount(picks[row::2], minlength=3), [0.5, 0.5, 0.0])


@pytest.mark.parametrize("impossible", [0, 1, 2])
def test_categorical_never_samples_zero_probability(impossible):
    row = [0.0, 0.0, 0.0]
    row[impossible] = -np.inf
    picks = Categorical(DISCRETE).sample({}, tiled(row), np.random.default_rng(0))
    assert set(picks.tolist()) == {0, 1, 2} - {impossible}


def test_gaussian_samples_match_mean_and_std():
    params = {LOG_STD: np.log([0.5, 2.0])}
    samples = Gaussian(BOX, 0.0).sample(params, tiled([1.0, -3.0]), np.random.default_rng(0))
    std = np.array([0.5, 2.0])
    # std of the sample mean: sigma / sqrt(n); of the sample std: sigma / sqrt(2n)
    assert (np.abs(samples.mean(0) - [1.0, -3.0]) <= 4.5 * std / math.sqrt(DRAWS)).all()
    assert (np.abs(samples.std(0) - std) <= 4.5 * std / math.sqrt(2 * DRAWS)).all()
    assert abs(np.corrcoef(samples.T)[0, 1]) <= 4.5 / math.sqrt(DRAWS)


@pytest.mark.parametrize("spec", [DISCRETE, MULTI, BOX, MATRIX])
def test_actions_have_shape_and_dtype_of_spec(spec):
    distribution = make_distribution(spec)
    out = outputs(4, distribution.outputs).numpy()
    sample = distribution.sample(in_numpy(distribution), out, np.random.default_rng(0))
    for action in (sample, distribution.mode(out)):
        assert action.shape == (4, *spec.shape)
        assert action.dtype == spec.dtype


@pytest.mark.parametrize("spec", [DISCRETE, MULTI, BOX])
def test_samples_depend_only_on_generator_state(spec):
    distribution = make_distribution(spec)
    out = np.zeros((50, distribution.outputs), np.float32)
    params, rng = in_numpy(distribution), np.random.default_rng(3)
    first, second = (distribution.sample(params, out, rng) for _ in range(2))
    np.testing.assert_array_equal(distribution.sample(params, out, np.random.default_rng(3)), first)
    assert not np.array_equal(first, second)


def test_categorical_mode_is_argmax():
    out = np.array([[0.0, 3.0, 1.0], [5.0, -1.0, 4.9]], np.float32)
    assert Categorical(DISCRETE).mode(out).tolist() == [1, 0]


def test_multidiscrete_mode_is_argmax_of_each_action():
    # logits 1 2 | 9 0 3 and 4 0 | 1 2 3: the argmax of each part, not of all five
    out = np.array([[1.0, 2.0, 9.0, 0.0, 3.0], [4.0, 0.0, 1.0, 2.0, 3.0]], np.float32)
    assert Categorical(MULTI).mode(out).tolist() == [[1, 0], [0, 2]]


def test_gaussian_mode_is_mean():
    out = np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)
    assert Gaussian(MATRIX, 1.0).mode(out).tolist() == [[[1.0, 2.0], [3.0, 4.0]]]


def test_make_distribution_depends_on_action_kind():
    assert isinstance(make_distribution(BOX, -1.0), Gaussian)
    assert make_distribution(BOX, -1.0).init()[LOG_STD].tolist() == [-1.0, -1.0]
    assert isinstance(make_distribution(DISCRETE), Categorical)
    assert isinstance(make_distribution(MULTI), Categorical)
