"""PPO and REINFORCE: all pairs of switches learn for a few updates and resume exactly."""

from __future__ import annotations

import copy
import dataclasses
from itertools import combinations

import pytest
import torch

from rl_cli import algos
from rl_cli.config.schema import build
from rl_cli.core.errors import BadInput
from rl_cli.envs.vector import VectorEnv
from tests.algos.test_algorithms import env_config, settings

CPU = torch.device("cpu")
CLASSES = {name: algos.load(name) for name in ("ppo", "reinforce")}
DEFAULTS = {name: dataclasses.asdict(settings(name)) for name in CLASSES}
WANDER = env_config("ProbeWander-v0", num_envs=2)
TINY = {
    "ppo": {
        "hidden_sizes": [2],
        "rollout_length": 6,
        "minibatch_size": 8,
        "num_epochs": 2,
        "log_std_init": -0.5,
    },
    "reinforce": {"hidden_sizes": [2], "episodes_per_update": 2, "log_std_init": -0.5},
}
EPISODES = {"rollout_length": None, "rollout_episodes": 2}
SWITCHES = {
    "ppo": [
        EPISODES,
        {"advantage": "monte_carlo"},
        {"bootstrap_truncated": False},
        {"recompute_advantage": True},
        {"normalize_advantage": "rollout"},
        {"normalize_advantage": "none"},
        {"anneal_learning_rate": True},
        {"anneal_clip_coef": True},
        {"clip_value_loss": True},
        {"ent_coef": 0.1},
        {"ent_coef": 0.1, "anneal_ent_coef": True},
        {"vf_learning_rate": 0.1},
        {"shared_network": True},
        {"target_kl": 0.01},
        {"std": "fixed"},
        {"std": "annealed"},
        {"std": "state_dependent"},
        {"std": "gsde"},
        {"std": "gsde", "sde_sample_every": None},
        {"squash_actions": True},
    ],
    "reinforce": [
        {"episodes_per_update": 3},
        {"normalize_returns": False},
        {"discount_weighting": True},
        {"sum_over_steps": True},
        {"baseline": "mean", "bootstrap_truncated": False, "normalize_returns": False},
        {"baseline": "none", "bootstrap_truncated": False},
        {"bootstrap_truncated": False},
        {"ent_coef": 0.1},
        {"anneal_learning_rate": True},
    ],
}
REFUSED = [
    ("ppo", {"rollout_episodes": 5}, "algo.rollout_length=null"),
    ("ppo", {"rollout_length": None}, "algo.rollout_length=256"),
    ("ppo", {"shared_network": True, "vf_learning_rate": 0.1}, "algo.vf_learning_rate=null"),
    ("ppo", {"shared_network": True, "hidden_sizes": []}, "needs at least one hidden layer"),
    ("ppo", {"std": "state_dependent", "log_std_init": 3.0}, r"clips the log std to \[-20, 2\]"),
    ("reinforce", {"baseline": "none"}, "algo.bootstrap_truncated=false"),
    ("reinforce", {"baseline": "mean"}, "algo.bootstrap_truncated=false"),
    (
        "reinforce",
        {"baseline": "mean", "bootstrap_truncated": False, "normalize_returns": True},
        "algo.normalize_returns=false",
    ),
]


def pairs(name):
    """Pairs of switches of different keys that the schema accepts."""
    contradicting = [set(change) for of, change, _ in REFUSED if of == name and len(change) == 2]
    for one, other in combinations(SWITCHES[name], 2):
        both = {**one, **other}
        if set(one) & set(other) or any(
            bad <= set(both) and _refused(name, both) for bad in contradicting
        ):
            continue
        yield pytest.param(name, both, id=" ".join(f"{k}={v}" for k, v in both.items()))


def configured(name, changes):
    return build(CLASSES[name].Config, DEFAULTS[name] | TINY[name] | changes, "algo")


def _refused(name, changes):
    try:
        configured(name, changes)
    except BadInput:
        return True
    return False


def train_on_wander(name, changes, steps=40, fresh_at=None):
    """Train on ProbeWander; at `fresh_at` a new agent continues from the state of the first."""
    cfg = configured(name, changes)
    envs = VectorEnv(WANDER, [1, 2])
    algo = CLASSES[name](cfg, envs.spec, steps, 0, CPU)
    obs, metrics, initial = envs.reset(), [], algo.learner.flat.clone()
    for step in range(0, steps, 2):
        if step == fresh_at:
            state, policy = copy.deepcopy(algo.state_dict()), algo.policy_state()
            algo = CLASSES[name](cfg, envs.spec, steps, 5, CPU)
            algo.load_policy(policy)
            algo.load_state_dict(state)
        transition, obs = envs.step(algo.act(obs, step))
        algo.observe(transition)
        metrics.append(algo.update(step + 2))
    assert not torch.equal(initial, algo.learner.flat)
    return algo, [m for m in metrics if m is not None]


@pytest.mark.parametrize(("name", "changes"), [*pairs("ppo"), *pairs("reinforce")])
def test_pairs_of_switches_learn_and_resume_exactly(name, changes):
    whole, metrics = train_on_wander(name, changes)
    assert len(metrics) >= 2
    assert all(bool(v.isfinite().all()) for row in metrics for v in row.values())
    resumed, _ = train_on_wander(name, changes, fresh_at=22)
    assert torch.equal(whole.learner.flat, resumed.learner.flat)


@pytest.mark.parametrize(("name", "changes", "words"), REFUSED)
def test_contradicting_keys_raise_bad_input(name, changes, words):
    with pytest.raises(BadInput, match=words):
        configured(name, changes)
