"""Noisy layers and dueling streams with hand-worked values."""

import numpy as np
import pytest
import torch

from rl_cli.models.networks import MLP
from rl_cli.models.q_heads import Dueling, NoisyMLP
from tests.models.test_networks import seeded


def test_noisy_weight_is_mu_plus_sigma_times_noise():
    """w = (1 + 0.5 * 3 * 2, 1 + 0.5 * 3 * -1) = (4, -0.5), b = 1 + 0.1 * 3; x = (1, 2)."""
    net = NoisyMLP("q", 2, (), 1, "relu")
    assert net.noise_sizes == {"q.0.noise_in": 2, "q.0.noise_out": 1}
    params = {
        "q.0.weight": torch.tensor([[1.0, 1.0]]),
        "q.0.bias": torch.tensor([1.0]),
        "q.0.weight_sigma": torch.tensor([[0.5, 0.5]]),
        "q.0.bias_sigma": torch.tensor([0.1]),
    }
    noise = {"q.0.noise_in": torch.tensor([2.0, -1.0]), "q.0.noise_out": torch.tensor([3.0])}
    x = torch.tensor([[1.0, 2.0]])
    assert net(params | noise, x).item() == pytest.approx(4.0 * 1 - 0.5 * 2 + 1.3)
    assert net(params, x).item() == 4.0


def test_noisy_initial_values_follow_the_paper():
    params = NoisyMLP("q", 16, (), 3, "relu").init(seeded())
    assert params["q.0.weight"].abs().max() <= 0.25
    assert params["q.0.weight_sigma"].unique().tolist() == [0.125]  # 0.5 / sqrt(16)
    assert params["q.0.bias_sigma"].unique().tolist() == [0.125]


def test_dueling_output_is_value_plus_centered_advantage():
    """V = 2 s, A = (s, 3 s): Q(1) = (2 + 1 - 2, 2 + 3 - 2) = (1, 3)."""
    net = Dueling(1, (), 2, 1, "relu", MLP)
    params = {
        "value.0.weight": torch.tensor([[2.0]]),
        "value.0.bias": torch.zeros(1),
        "advantage.0.weight": torch.tensor([[1.0], [3.0]]),
        "advantage.0.bias": torch.zeros(2),
    }
    assert set(net.init(seeded())) == set(params)
    assert net(params, torch.tensor([[1.0]])).tolist() == [[1.0, 3.0]]


def test_dueling_centres_each_atom_over_actions():
    net = Dueling(3, (5, 4), 2, 6, "tanh", NoisyMLP)
    params = net.init(seeded())
    assert params["trunk.0.weight"].shape == (5, 3)
    assert params["value.1.weight"].shape == (6, 4)
    x = torch.randn(7, 3, generator=seeded(1))
    out = net(params, x).view(7, 2, 6)
    inside = torch.tanh(net.trunk(params, x))
    torch.testing.assert_close(out.mean(1), net.value(params, inside))


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(
    "make",
    [
        lambda activation: NoisyMLP("q", 3, (8, 5), 4, activation),
        lambda activation: Dueling(3, (8, 5), 2, 2, activation, MLP),
        lambda activation: Dueling(3, (8,), 2, 2, activation, NoisyMLP),
        lambda activation: Dueling(3, (), 2, 2, activation, NoisyMLP),
        lambda activation: NoisyMLP("q", 3, (8, 5), 4, activation, layer_norm=True),
        lambda activation: Dueling(3, (8, 5, 4), 2, 2, activation, MLP, layer_norm=True),
    ],
)
def test_in_numpy_equals_torch_with_and_without_noise(make, activation, rows):
    head = make(activation)
    params = head.init(seeded())
    noise = {n: torch.randn(k, generator=seeded(2)) for n, k in head.noise_sizes.items()}
    x = torch.randn(rows, 3, generator=seeded(1))
    for given in (params, params | noise):
        arrays = {name: value.numpy() for name, value in given.items()}
        expected = head(given, x).numpy()
        np.testing.assert_allclose(head.in_numpy(arrays, x.numpy()), expected, atol=1e-5)
