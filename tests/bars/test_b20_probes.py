"""B20: envs whose values and best actions are known on paper are solved, for every seed, in seconds.

`tests/test_algos.py` asks the same of one seed at each landing, and more envs; here it is several.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

from tests.algos.test_algorithms import GAMMA, STEPS, trained, value
from tests.conftest import FULL

# env -> its values by observation, its best actions by observation
PROBES = {
    "Constant": ({0.0: 1.0}, {}),
    "ObservationReward": ({1.0: 1.0, -1.0: -1.0}, {}),
    "DelayedReward": ({1.0: 1.0, 0.0: GAMMA}, {}),
    "ActionReward": ({0.0: 1.0}, {0.0: 1}),
    "MatchObservation": ({1.0: 1.0, -1.0: 1.0}, {1.0: 1, -1.0: 0}),
}
SEEDS = range(5) if FULL else range(7, 8)
CASES = [(a, p) for a in STEPS for p in PROBES] if FULL else [("dqn", "MatchObservation")]
WITHIN = 10.0
"""Seconds of the processor, per run."""


def state_value(algo, obs, actions):
    """V(s); for DQN Q(s, a) of the best action, of any where all are alike."""
    return value(algo, obs, actions.get(obs, 0))


def share_right(algo, obs, action, draws=200):
    """Of the actions the policy takes: as it would explore, but for DQN's random ones."""
    rng = None if hasattr(algo, "q") else np.random.default_rng(0)
    batch = np.full((1, 1), obs, np.float32)
    return np.mean([algo.predict(batch, rng)[0] == action for _ in range(draws)])


@pytest.mark.parametrize(("name", "probe"), CASES)
def test_a_probe_is_solved_for_every_seed(name, probe):
    values, actions = PROBES[probe]
    errors, shares, seconds = [], [], []
    for seed in SEEDS:
        begun = time.process_time()
        algo = trained(name, f"Probe{probe}-v0", seed=seed)
        seconds.append(time.process_time() - begun)
        # values under the policy as it is: it may still take a wrong action now and then
        errors.append(max(abs(state_value(algo, s, actions) - v) for s, v in values.items()))
        shares.append(min([float(share_right(algo, s, a)) for s, a in actions.items()] or [1.0]))
    solved = sum(e <= 0.1 and s >= 0.95 for e, s in zip(errors, shares, strict=True))
    print(
        f"B20 got/needed: {solved}/{len(SEEDS)} {name} {probe}: value error {max(errors):.3f}, "
        f"right {min(shares):.0%}, {max(seconds):.1f} s"
    )
    assert solved == len(SEEDS), (errors, shares)
    assert max(seconds) <= WITHIN
