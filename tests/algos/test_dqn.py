"""Every switch of DQN: its target and loss by hand, alone and with every other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from rl_cli.core.errors import BadInput
from rl_cli.core.types import ExperienceBatch, Transition
from tests.algos.test_algorithms import dqn, linear_q, trained, two_transitions, value
from tests.buffers.test_replay import through_a_checkpoint

ONLINE, TARGET = linear_q([3.0, 1.0]), linear_q([1.0, 5.0])
"""s = 1, s' = 2: online Q(s) = (3, 1), Q(s') = (6, 2); target Q(s') = (2, 10). gamma is 1/2."""
EPSILON = torch.tensor(0.4)


def loss(online=ONLINE, target=TARGET, batch=None, drawn=(), **switches):
    algo = dqn(**{"hidden_sizes": [], "loss": "mse", **switches})
    batch = two_transitions() if batch is None else batch
    return algo.loss(online, target, batch, EPSILON, *drawn)


def test_expected_sarsa_weighs_actions_as_epsilon_greedy_does():
    """The target's best is action 1: 0.2 * 2 + 0.8 * 10 = 8.4, y = 5.2; 1 where it terminated."""
    got, _ = loss(bootstrap="expected_sarsa")
    assert got.item() == pytest.approx(((3 - 5.2) ** 2 + (3 - 1) ** 2) / 2)


def experiences():
    """Over two steps: one went on with action 0, one terminated, one was cut off."""
    ones = torch.ones(3)
    return ExperienceBatch(
        obs=ones[:, None],
        action=torch.zeros(3, dtype=torch.int64),
        reward=ones,
        next_obs=2 * ones[:, None],
        terminated=torch.tensor([0.0, 1.0, 0.0]),
        truncated=torch.tensor([0.0, 0.0, 1.0]),
        discount=torch.tensor([0.25, 0.5, 0.5]),
        next_action=torch.tensor([0, -1, -1]),
    )


def test_sarsa_goes_on_with_the_action_that_was_taken():
    """y = 1 + 2 / 4; 1; and where nothing followed, with the best: 1 + 10 / 2."""
    got, _ = loss(bootstrap="sarsa", batch=experiences())
    assert got.item() == pytest.approx(((3 - 1.5) ** 2 + (3 - 1) ** 2 + (3 - 6) ** 2) / 3)


def test_n_step_targets_bootstrap_with_the_discount_of_their_length():
    """y = 1 + 10 / 4; 1; 1 + 10 / 2."""
    got, _ = loss(n_step=2, batch=experiences())
    assert got.item() == pytest.approx(((3 - 3.5) ** 2 + (3 - 1) ** 2 + (3 - 6) ** 2) / 3)


def test_a_time_limit_may_count_as_the_end():
    got, _ = loss(bootstrap_truncated=False)
    assert got.item() == pytest.approx((3 - 1) ** 2)


def test_without_a_target_network_the_gradient_ignores_the_target():
    """y = 1 + 6 / 2 = 4 and 1. d/dw of the mean of (w - y)^2 is (3 - 4) + (3 - 1) = 1."""
    algo = dqn(hidden_sizes=[], loss="mse", target_update_every=0)
    assert algo.learner.flat_target is None
    params = {name: tensor.requires_grad_() for name, tensor in linear_q([3.0, 1.0]).items()}
    got, _ = algo.learner.loss(params, two_transitions(), EPSILON)
    assert got.item() == pytest.approx(((3 - 4) ** 2 + (3 - 1) ** 2) / 2)
    (gradient,) = torch.autograd.grad(got, params["q.0.weight"])
    assert gradient.tolist() == [[1.0], [0.0]]


def test_a_penalty_on_the_size_of_q():
    plain, _ = loss()
    got, _ = loss(q_l1_coef=0.1)
    assert got.item() - plain.item() == pytest.approx(0.1 * 3)


def test_importance_weights_scale_each_error_and_the_surprise_is_its_size():
    """Errors 3 - 6 and 3 - 1, weights 2 and 1/2: (2 * 9 + 1/2 * 4) / 2."""
    got, metrics = loss(replay="proportional", drawn=[torch.tensor([2.0, 0.5])])
    assert got.item() == pytest.approx(10.0)
    assert metrics["surprise"].tolist() == [3.0, 2.0]


def test_each_copy_of_a_noisy_network_has_noise_of_its_own():
    """Sigma 1 and noise (in, out_0, out_1), biases without.

    Online at s: Q(s, 0) = 3 + 1 * 2 = 5. Target at s': action 1 is 10 + 2 * 1 * 4 = 18, chosen by
    the third copy, whose (6 + 2 * 1 * -3, 2 + 2 * 1 * 3) = (0, 8) prefers it; y = 1 + 18 / 2.
    """
    sigma = {"q.0.weight_sigma": torch.ones(2, 1), "q.0.bias_sigma": torch.zeros(2)}
    noise = torch.tensor([[1.0, 2.0, 0.0], [1.0, 0.0, 4.0], [1.0, -3.0, 3.0]])
    got, _ = loss(ONLINE | sigma, TARGET | sigma, drawn=[noise], noisy=True, bootstrap="double")
    assert got.item() == pytest.approx(((5 - 10) ** 2 + (5 - 1) ** 2) / 2)


def test_c51_learns_by_the_divergence_from_the_projected_target():
    """Returns 0 and 1 with even odds everywhere; r = 1/2, gamma 1/2: 0.5 and 1, so (1/4, 3/4)."""
    zero = {"q.0.weight": torch.zeros(4, 1), "q.0.bias": torch.zeros(4)}
    batch = two_transitions()
    batch = batch._replace(reward=batch.reward / 2, terminated=torch.zeros(2))
    got, metrics = loss(
        zero, zero, batch, loss="huber", distributional="c51", num_atoms=2, v_min=0.0, v_max=1.0
    )
    assert got.item() == pytest.approx(0.25 * np.log(0.5) + 0.75 * np.log(1.5))
    assert metrics["q_mean"].item() == pytest.approx(0.5)


def test_qr_learns_by_the_quantile_huber_loss():
    """theta = (0, 0), y = (1, 1) where it terminated: 1/2 * (1/4 + 3/4); y = (2, 2) else: 3/2."""
    zero = {"q.0.weight": torch.zeros(4, 1), "q.0.bias": torch.zeros(4)}
    two = {"q.0.weight": torch.zeros(4, 1), "q.0.bias": torch.full((4,), 2.0)}
    got, _ = loss(zero, two, loss="huber", distributional="qr", num_atoms=2)
    assert got.item() == pytest.approx((1.5 + 0.5) / 2)


# Acting


def step_of(algo, step, done=False, cut=False):
    obs = np.full((1, 1), 0.1 * step, np.float32)
    action = algo.act(obs, step)
    reward = np.array([np.sin(step)], np.float32)
    ends = np.array([done]), np.array([cut])
    algo.observe(Transition(obs, action, reward, obs + 0.1, *ends))
    return action


def test_epsilon_falls_by_a_factor_with_each_episode():
    algo = dqn(learning_starts=2, epsilon_start=0.5, epsilon_end=0.4, epsilon_factor=0.9)
    assert algo.epsilon(1) == 1.0
    step_of(algo, 5)
    assert algo.epsilon(5) == 0.5
    step_of(algo, 6, done=True)
    assert algo.epsilon(6) == pytest.approx(0.45)
    step_of(algo, 7, cut=True)
    assert algo.epsilon(7) == pytest.approx(0.405)
    step_of(algo, 8, done=True)
    assert algo.epsilon(8) == 0.4


def test_a_noisy_agent_explores_in_training_and_not_when_it_is_measured():
    """Without epsilon, the same observation: training tries several actions, evaluation one."""
    algo = dqn(num_actions=5, noisy=True, learning_starts=0, epsilon_start=0.0, epsilon_end=0.0)
    obs = np.zeros((1, 1), np.float32)
    assert len({algo.act(obs, 10)[0] for _ in range(50)}) > 1
    assert len({algo.predict(obs, None)[0] for _ in range(50)}) == 1


def test_nothing_is_learned_before_a_batch_is_there():
    algo = dqn(learning_starts=0, train_every=1, batch_size=4, n_step=2)
    learned = []
    for step in range(1, 8):
        step_of(algo, step)
        learned.append(algo.update(step) is not None)
    assert learned == [False, False, False, False, True, True, True]  # n-step rows come a step late


@pytest.mark.parametrize(
    ("switches", "why"),
    [
        ({"target_update_every": 0, "bootstrap": "double"}, "bootstrap=double needs a target"),
        ({"target_update_every": 0, "tau": 0.5}, "tau needs a target"),
        ({"distributional": "c51", "loss": "mse"}, "loss=mse does not apply"),
        ({"distributional": "qr", "loss": "mse"}, "loss=mse does not apply"),
        ({"distributional": "qr", "bootstrap": "expected_sarsa"}, "quantiles of a mixture"),
        ({"distributional": "c51", "v_min": 1.0, "v_max": 1.0}, "not below"),
        ({"sort_every": 5}, "sorts by priority"),
        ({"epsilon_decay": "exponential", "epsilon_end": 0.0}, "both ends above 0"),
        ({"batch_size": 50, "buffer_size": 20}, "larger than buffer_size"),
    ],
)
def test_contradictions_are_refused_with_the_reason(switches, why):
    with pytest.raises(BadInput, match=why):
        dqn(**switches)


# All pairs

SWITCHES = {
    "double": {"bootstrap": "double"},
    "sarsa": {"bootstrap": "sarsa"},
    "expected sarsa": {"bootstrap": "expected_sarsa"},
    "limits end": {"bootstrap_truncated": False},
    "no target": {"target_update_every": 0},
    "soft": {"tau": 0.1},
    "3-step": {"n_step": 3},
    "dueling": {"dueling": True},
    "noisy": {"noisy": True},
    "c51": {"distributional": "c51"},
    "qr": {"distributional": "qr"},
    "mse": {"loss": "mse"},
    "l1": {"q_l1_coef": 0.1},
    "clipped": {"max_grad_value": 0.01},
    "proportional": {"replay": "proportional"},
    "softmax": {"replay": "softmax", "sort_every": 7},
    "by episode": {"epsilon_factor": 0.9},
    "exponential": {"epsilon_decay": "exponential"},
}
REFUSED = [
    ("double", "no target"),
    ("soft", "no target"),
    ("c51", "mse"),
    ("qr", "mse"),
    ("qr", "expected sarsa"),
]
TINY = {
    "hidden_sizes": [3],
    "buffer_size": 20,
    "batch_size": 4,
    "learning_starts": 5,
    "train_every": 2,
    "target_update_every": 3,
    "num_atoms": 3,
}
PAIRS = [
    pair
    for pair in itertools.combinations(SWITCHES, 2)
    if not SWITCHES[pair[0]].keys() & SWITCHES[pair[1]].keys()
    and set(pair) not in map(set, REFUSED)
]


@pytest.mark.parametrize("pair", REFUSED, ids="+".join)
def test_pairs_that_make_no_sense_are_refused(pair):
    with pytest.raises(BadInput):
        dqn(**{**TINY, **{k: v for name in pair for k, v in SWITCHES[name].items()}})


def lived(algo, begin, end):
    for step in range(begin, end):
        step_of(algo, step, done=step % 7 == 3, cut=step % 11 == 5)
        algo.update(step + 1)


@pytest.mark.parametrize("first", list(SWITCHES)[:-1])
def test_every_pair_of_switches_learns_and_resumes_exactly(first):
    """25 steps and 15 more, against 15 more from a checkpoint: the same bits."""
    for pair in [pair for pair in PAIRS if pair[0] == first]:
        switches = {**TINY, **SWITCHES[pair[0]], **SWITCHES[pair[1]]}
        whole, resumed = dqn(**switches), dqn(**switches)
        begun = whole.learner.flat.clone()
        lived(whole, 0, 25)
        resumed.load_policy(whole.policy_state())
        resumed.load_state_dict(through_a_checkpoint(whole.state_dict()))
        for algo in (whole, resumed):
            lived(algo, 25, 40)
        assert torch.isfinite(whole.learner.flat).all(), pair
        assert not torch.equal(whole.learner.flat, begun), pair
        assert torch.equal(whole.learner.flat, resumed.learner.flat), pair


# Learning

FAMILY = {
    "c51": {"distributional": "c51", "num_atoms": 21, "v_min": -2.0, "v_max": 2.0},
    "qr": {"distributional": "qr", "num_atoms": 5},
    "noisy dueling": {"noisy": True, "dueling": True, "epsilon_end": 0.3},
    "prioritised 3-step": {"replay": "proportional", "n_step": 3},
    "softmax": {"replay": "softmax", "sort_every": 500},
    "expected sarsa": {"bootstrap": "expected_sarsa"},
    "sarsa": {"bootstrap": "sarsa"},
}


@pytest.mark.parametrize("name", FAMILY)
def test_members_of_the_family_find_a_reward_one_step_away(name):
    algo = trained("dqn", "ProbeDelayedReward-v0", **FAMILY[name])
    assert value(algo, 1.0) == pytest.approx(1.0, abs=0.1)
    assert value(algo, 0.0) == pytest.approx(0.5, abs=0.1)
