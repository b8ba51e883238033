"""Matrix products set no warning of invalid values. inf * 0 is one that can be had at will."""

from __future__ import annotations

import numpy as np
import pytest

from rl_cli.core.products import without_false_warnings
from rl_cli.models.networks import MLP, LatentMLP
from rl_cli.models.q_heads import NoisyMLP


def test_the_setting_holds_in_the_function_only():
    bad = np.array([np.inf, 0.0])

    @without_false_warnings
    def product(a: np.ndarray) -> float:
        return float((a - a)[0])  # inf - inf

    assert np.isnan(product(bad))
    assert np.geterr()["invalid"] == "warn"
    with pytest.raises(RuntimeWarning, match="invalid value"):
        bad - bad


@pytest.mark.parametrize("kind", [MLP, LatentMLP, NoisyMLP])
@pytest.mark.parametrize("rows", [1, 5])
def test_forward_passes_give_no_warning_of_invalid_values(kind, rows):
    net = kind("q", 5, (), 2, "relu")
    arrays = {
        "q.0.weight": np.full((2, 5), np.inf, np.float32),
        "q.0.bias": np.zeros(2, np.float32),
    }
    out = net.in_numpy(arrays, np.zeros((rows, 5), np.float32))
    assert np.isnan(out[:, :2]).all()
