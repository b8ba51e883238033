"""Gaussian distributions, compared with torch.distributions and hand-worked values."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import AffineTransform, Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from rl_cli.core.errors import BadInput
from rl_cli.core.types import ActionSpec
from rl_cli.models.action_distributions import make_distribution
from rl_cli.models.gaussians import GSDE, LOG_STD, Tanh

ONE = ActionSpec("box", (1,), (), (-1.0,), (1.0,))
BOX = ActionSpec("box", (2,), (), (-1.0, -2.0), (1.0, 6.0))
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
KINDS = ["learned", "fixed", "annealed", "state_dependent", "gsde"]
DRAWS = 20_000


def made(spec, std, squash=False, log_std_init=-0.5, latent=3):
    return make_distribution(spec, log_std_init, std, squash, latent)


def width(distribution):
    return distribution.outputs + distribution.latent


def outputs(distribution, rows=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, width(distribution), generator=g)


def in_numpy(params):
    return {name: value.numpy() for name, value in params.items()}


def test_fixed_gaussian_log_prob_equals_hand_worked_value():
    """Variance 1/2: (2 - 1)^2 / (2 * 0.5) = 1, normalizer sqrt(2 pi 0.5) = sqrt(pi)."""
    half = made(ONE, "fixed", log_std_init=0.5 * math.log(0.5))
    assert half.init() == {}
    found = half.log_prob({}, torch.tensor([[1.0]]), torch.tensor([[2.0]]))
    assert found.item() == pytest.approx(-1.0 - 0.5 * math.log(math.pi))
    samples = half.sample({}, np.ones((DRAWS, 1), np.float32), np.random.default_rng(0))
    assert samples.var() == pytest.approx(0.5, abs=4.5 * 0.5 * math.sqrt(2 / DRAWS))


def test_state_dependent_log_std_is_offset_and_clamped():
    distribution = made(BOX, "state_dependent", log_std_init=-1.0)
    out = torch.tensor([[0.5, 0.0, 0.3, -0.2], [0.0, 0.0, 50.0, -50.0]])
    action = torch.tensor([[1.0, -1.0], [2.0, 0.0]])
    std = torch.tensor([[-0.7, -1.2], [2.0, -20.0]]).exp()  # the second row exceeds both limits
    oracle = Independent(Normal(out[:, :2], std), 1)
    torch.testing.assert_close(distribution.log_prob({}, out, action), oracle.log_prob(action))
    torch.testing.assert_close(distribution.entropy({}, out), oracle.entropy())
    assert distribution.mode(out.numpy())[0].tolist() == [0.5, 0.0]


def test_gsde_log_prob_equals_hand_worked_value():
    """z = (3, 4), sigma = (1, 1/2): variance 9 + 4 = 13. At mean + 1: -1 / 26 - ln(13) / 2 - ..."""
    gsde = made(ONE, "gsde", latent=2)
    params = {LOG_STD: torch.tensor([[0.0], [math.log(0.5)]])}
    out = torch.tensor([[10.0, 3.0, 4.0]])
    found = gsde.log_prob(params, out, torch.tensor([[11.0]])).item()
    assert found == pytest.approx(-1 / 26 - 0.5 * math.log(13) - HALF_LOG_2PI)
    assert gsde.entropy(params, out).item() == pytest.approx(
        0.5 * math.log(13) + 0.5 + HALF_LOG_2PI
    )
    assert gsde.init()[LOG_STD].shape == (2, 1)


def test_gsde_noise_is_a_function_of_the_state():
    """theta = sigma * (1, -1) = (1, -1/2): noise 3 - 2 = 1 at z = (3, 4), and 1 - 1 = 0 at (1, 2)."""
    gsde = made(ONE, "gsde", latent=2)
    params = {LOG_STD: np.log(np.array([[1.0], [0.5]], np.float32))}
    out = np.array([[10.0, 3.0, 4.0], [10.0, 1.0, 2.0]], np.float32)
    noise = np.array([[[1.0], [-1.0]]] * 2, np.float32)
    np.testing.assert_allclose(gsde.explore(params, out, noise), [[11.0], [10.0]])


def test_gsde_samples_match_moments():
    gsde = made(BOX, "gsde")
    params = {LOG_STD: np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32)}
    row = np.array([[0.5, -0.5, 0.3, -0.9, 0.6]], np.float32)
    noise = np.random.default_rng(0).standard_normal((DRAWS, 3, 2), dtype=np.float32)
    held = gsde.explore(params, np.repeat(row, DRAWS, 0), noise)
    fresh = gsde.sample(params, np.repeat(row, DRAWS, 0), np.random.default_rng(2))
    mean, std = gsde.moments_of(params, row)
    for samples in (held, fresh):
        assert (np.abs(samples.mean(0) - mean[0]) < 4.5 * std[0] / math.sqrt(DRAWS)).all()
        assert (np.abs(samples.std(0) / std[0] - 1) < 4.5 / math.sqrt(2 * DRAWS)).all()


@pytest.mark.parametrize("std", KINDS)
@pytest.mark.parametrize("squash", [False, True])
def test_numpy_moments_equal_torch_moments(std, squash):
    distribution = made(BOX, std, squash)
    params, out = distribution.init(), outputs(distribution)
    mean, log_std = distribution.moments(params, out)
    mean_of, std_of = distribution.moments_of(in_numpy(params), out.numpy())
    np.testing.assert_allclose(mean.numpy(), mean_of, rtol=1e-6)
    np.testing.assert_allclose(log_std.exp().numpy(), std_of, rtol=1e-5)
    for action in (
        distribution.sample(in_numpy(params), out.numpy(), np.random.default_rng(0)),
        distribution.mode(out.numpy()),
    ):
        assert (action.shape, action.dtype) == ((6, 2), np.float32)


@pytest.mark.parametrize("std", KINDS)
def test_squashed_log_prob_equals_torch_transformed_distribution(std):
    distribution = made(BOX, std, squash=True)
    params, out = distribution.init(), outputs(distribution)
    mean, log_std = distribution.moments(params, out)
    bounds = AffineTransform(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 4.0]))
    oracle = Independent(
        TransformedDistribution(
            Normal(mean, log_std.exp().expand_as(mean)), [TanhTransform(), bounds]
        ),
        1,
    )
    action = torch.from_numpy(
        distribution.sample(in_numpy(params), out.numpy(), np.random.default_rng(0))
    )
    assert ((action >= torch.tensor(BOX.low)) & (action <= torch.tensor(BOX.high))).all()
    torch.testing.assert_close(
        distribution.log_prob(params, out, action), oracle.log_prob(action), rtol=1e-4, atol=1e-4
    )


def test_squashed_log_prob_equals_hand_worked_value():
    """At the middle of [-2, 6] the slope da/du is 4: the normal density at its mean, divided by 4."""
    wide = made(ActionSpec("box", (1,), (), (-2.0,), (6.0,)), "fixed", True, log_std_init=0.0)
    found = wide.log_prob({}, torch.zeros(1, 1), torch.full((1, 1), 2.0))
    assert found.item() == pytest.approx(-HALF_LOG_2PI - math.log(4))
    assert wide.mode(np.zeros((1, 1), np.float32)).item() == 2.0


def test_squashed_log_prob_is_finite_at_bounds():
    squashed = made(ONE, "learned", True, log_std_init=0.0)
    params = {k: v.requires_grad_() for k, v in squashed.init().items()}
    mean = torch.zeros(2, 1, requires_grad=True)
    log_prob = squashed.log_prob(params, mean, torch.tensor([[1.0], [-1.0]]))
    gradients = torch.autograd.grad(log_prob.sum(), [mean, *params.values()])
    assert log_prob.isfinite().all()
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.3), (0.7, 1.0), (-2.0, 0.5), (0.5, 2.0)])
def test_squashed_entropy_equals_numerical_integral(mean, std):
    """-sum p ln p over a fine grid of u; p is the density of the action."""
    squashed = made(BOX, "fixed", True, log_std_init=math.log(std))
    u = torch.linspace(mean - 9 * std, mean + 9 * std, 200_001, dtype=torch.float64)
    density = Normal(mean, std).log_prob(u)
    size = u.abs()
    slope = 2 * (math.log(2) - size - torch.log1p(torch.exp(-2 * size)))
    integral = -(density.exp() * (density - slope)).sum() * (u[1] - u[0])
    expected = 2 * integral.item() + math.log(1.0) + math.log(4.0)  # two dimensions, halves 1 and 4
    found = squashed.entropy({}, torch.full((1, 2), mean)).item()
    assert found == pytest.approx(expected, abs=0.02)


def test_squashed_entropy_is_bounded_in_std():
    """It decreases for a large std, where actions concentrate at the bounds."""

    def of(std):
        squashed = made(ONE, "fixed", True, log_std_init=math.log(std))
        return squashed.entropy({}, torch.zeros(1, 1)).item()

    assert of(0.2) < of(0.9) > of(3.0)
    assert of(0.9) <= math.log(2)  # the entropy of the uniform distribution, the maximum


def test_tanh_inverse_restores_input():
    tanh, u = Tanh(BOX), np.array([[0.0, -1.0], [2.5, 4.0]], np.float32)
    back, _ = tanh.inverse(torch.from_numpy(tanh(u)))
    np.testing.assert_allclose(back.numpy(), u, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"std": "gsde"}, "algo.std=gsde"),
        ({"std": "fixed"}, "algo.std=fixed"),
        ({"squash": True}, "algo.squash_actions=true"),
    ],
)
@pytest.mark.parametrize("kind", ["discrete", "multidiscrete"])
def test_continuous_switches_raise_bad_input_for_discrete_actions(changes, named, kind):
    sizes, shape = ((3,), ()) if kind == "discrete" else ((2, 3), (2,))
    with pytest.raises(BadInput) as refused:
        make_distribution(ActionSpec(kind, shape, sizes), **changes)
    assert refused.value.where == named
    assert kind in refused.value.what


def test_squash_raises_bad_input_for_unbounded_actions():
    unbounded = ActionSpec("box", (2,), (), (-1.0, -math.inf), (1.0, math.inf))
    with pytest.raises(BadInput, match="needs bounded actions"):
        make_distribution(unbounded, squash=True)
    assert isinstance(make_distribution(unbounded, std="gsde", latent=1), GSDE)
