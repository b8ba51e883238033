"""DQN: target and loss of each switch with hand-worked values; all pairs of switches learn and resume."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from rl_cli.core.errors import BadInput
from rl_cli.core.types import ExperienceBatch, Transition
from tests.algos.test_algorithms import (
    RecordedUpdates,
    dqn,
    linear_q,
    trained,
    two_transitions,
    value,
)
from tests.buffers.test_replay import through_a_checkpoint
from tests.conftest import FULL

ONLINE, TARGET = linear_q([3.0, 1.0]), linear_q([1.0, 5.0])
"""s = 1, s' = 2: online Q(s) = (3, 1), Q(s') = (6, 2); target Q(s') = (2, 10); gamma = 1/2."""
EPSILON = torch.tensor(0.4)


def loss(online=ONLINE, target=TARGET, batch=None, extra=(), **switches):
    algo = dqn(**{"hidden_sizes": [], "loss": "mse", **switches})
    batch = two_transitions() if batch is None else batch
    return algo.loss(online, target, batch, EPSILON, *extra)


@pytest.mark.parametrize(
    ("bootstrap", "loss", "expected"),
    [
        # online Q(s)=(3, 1), Q(s')=(6, 2); target Q(s')=(2, 10); gamma 0.5.
        # y = 1 + 0.5 * max(2, 10) = 6 and 1 where terminated; Q(s, 0) = 3.
        ("q_learning", "mse", ((3 - 6) ** 2 + (3 - 1) ** 2) / 2),
        ("q_learning", "huber", ((3 - 0.5) + (2 - 0.5)) / 2),
        # double: the online net selects action 0, its target value is 2: y = 1 + 0.5 * 2 = 2.
        ("double", "mse", ((3 - 2) ** 2 + (3 - 1) ** 2) / 2),
    ],
)
def test_loss_equals_hand_worked_value(bootstrap, loss, expected):
    algo = dqn(hidden_sizes=[], bootstrap=bootstrap, loss=loss)
    online, target = linear_q([3.0, 1.0]), linear_q([1.0, 5.0])
    got, metrics = algo.loss(online, target, two_transitions(), torch.tensor(0.1))
    assert got.item() == pytest.approx(expected)
    assert metrics["q_mean"].item() == pytest.approx(3.0)


def test_expected_sarsa_target_is_mean_under_epsilon_greedy():
    """The greedy action is 1: 0.2 * 2 + 0.8 * 10 = 8.4, y = 5.2; y = 1 if terminated."""
    got, _ = loss(bootstrap="expected_sarsa")
    assert got.item() == pytest.approx(((3 - 5.2) ** 2 + (3 - 1) ** 2) / 2)


def experiences():
    """Two-step rows: followed by action 0, terminated, truncated."""
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


def test_sarsa_target_uses_action_taken():
    """y = 1 + 2 / 4; 1; and at the truncation, where no action followed, the greedy one: 1 + 10 / 2."""
    got, _ = loss(bootstrap="sarsa", batch=experiences())
    assert got.item() == pytest.approx(((3 - 1.5) ** 2 + (3 - 1) ** 2 + (3 - 6) ** 2) / 3)


def test_n_step_target_uses_discount_of_row():
    """y = 1 + 10 / 4; 1; 1 + 10 / 2."""
    got, _ = loss(n_step=2, batch=experiences())
    assert got.item() == pytest.approx(((3 - 3.5) ** 2 + (3 - 1) ** 2 + (3 - 6) ** 2) / 3)


def test_bootstrap_truncated_false_treats_time_limit_as_terminal():
    got, _ = loss(bootstrap_truncated=False)
    assert got.item() == pytest.approx((3 - 1) ** 2)


def test_gradient_does_not_flow_through_target_without_target_network():
    """y = 1 + 6 / 2 = 4 and 1. d/dw of the mean of (w - y)^2 is (3 - 4) + (3 - 1) = 1."""
    algo = dqn(hidden_sizes=[], loss="mse", target_update_every=0)
    assert algo.learner.flat_target is None
    params = {name: tensor.requires_grad_() for name, tensor in linear_q([3.0, 1.0]).items()}
    got, _ = algo.learner._step.loss(params, two_transitions(), EPSILON)
    assert got.item() == pytest.approx(((3 - 4) ** 2 + (3 - 1) ** 2) / 2)
    (gradient,) = torch.autograd.grad(got, params["q.0.weight"])
    assert gradient.tolist() == [[1.0], [0.0]]


def test_q_l1_coef_adds_mean_absolute_q():
    plain, _ = loss()
    got, _ = loss(q_l1_coef=0.1)
    assert got.item() - plain.item() == pytest.approx(0.1 * 3)


def test_importance_weights_scale_loss_and_priority_is_absolute_td_error():
    """Errors 3 - 6 and 3 - 1, weights 2 and 1/2: (2 * 9 + 1/2 * 4) / 2."""
    got, metrics = loss(replay="proportional", extra=[torch.tensor([2.0, 0.5])])
    assert got.item() == pytest.approx(10.0)
    assert metrics["priority"].tolist() == [3.0, 2.0]


def test_noisy_copies_use_separate_noise():
    """Sigma is 1 for weights and 0 for biases; noise is (in, out_0, out_1).

    Online at s: Q(s, 0) = 3 + 1 * 2 = 5. Target at s': Q(s', 1) = 10 + 2 * 1 * 4 = 18. The third copy
    selects action 1, because its Q(s') = (6 + 2 * 1 * -3, 2 + 2 * 1 * 3) = (0, 8); y = 1 + 18 / 2.
    """
    sigma = {"q.0.weight_sigma": torch.ones(2, 1), "q.0.bias_sigma": torch.zeros(2)}
    noise = torch.tensor([[1.0, 2.0, 0.0], [1.0, 0.0, 4.0], [1.0, -3.0, 3.0]])
    got, _ = loss(ONLINE | sigma, TARGET | sigma, extra=[noise], noisy=True, bootstrap="double")
    assert got.item() == pytest.approx(((5 - 10) ** 2 + (5 - 1) ** 2) / 2)


def test_c51_loss_is_kl_from_projected_target():
    """Returns 0 and 1 with probability 1/2 each; r = 1/2, gamma = 1/2: 0.5 and 1, projected (1/4, 3/4)."""
    zero = {"q.0.weight": torch.zeros(4, 1), "q.0.bias": torch.zeros(4)}
    batch = two_transitions()
    batch = batch._replace(reward=batch.reward / 2, terminated=torch.zeros(2))
    got, metrics = loss(
        zero, zero, batch, loss="huber", distributional="c51", num_atoms=2, v_min=0.0, v_max=1.0
    )
    assert got.item() == pytest.approx(0.25 * np.log(0.5) + 0.75 * np.log(1.5))
    assert metrics["q_mean"].item() == pytest.approx(0.5)


def test_qr_loss_is_quantile_huber():
    """theta = (0, 0). Terminated: y = (1, 1), 1/2 * (1/4 + 3/4). Otherwise y = (2, 2): 3/2."""
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


def test_epsilon_factor_decays_epsilon_per_episode():
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


def test_noisy_network_explores_in_training_only():
    """epsilon = 0, one observation: training selects several actions, evaluation one."""
    algo = dqn(num_actions=5, noisy=True, learning_starts=0, epsilon_start=0.0, epsilon_end=0.0)
    obs = np.zeros((1, 1), np.float32)
    assert len({algo.act(obs, 10)[0] for _ in range(50)}) > 1
    assert len({algo.predict(obs, None)[0] for _ in range(50)}) == 1


def test_update_waits_for_batch_size_rows():
    algo = dqn(learning_starts=0, train_every=1, batch_size=4, n_step=2)
    learned = []
    for step in range(1, 8):
        step_of(algo, step)
        learned.append(algo.update(step) is not None)
    assert learned == [
        False,
        False,
        False,
        False,
        True,
        True,
        True,
    ]  # n-step rows arrive one step late


@pytest.mark.parametrize(
    ("switches", "why"),
    [
        ({"target_update_every": 0, "bootstrap": "double"}, "bootstrap=double needs a target"),
        ({"target_update_every": 0, "tau": 0.5}, "tau needs a target"),
        ({"distributional": "c51", "loss": "mse"}, "loss=mse does not apply"),
        ({"distributional": "qr", "loss": "mse"}, "loss=mse does not apply"),
        ({"distributional": "qr", "bootstrap": "expected_sarsa"}, "quantiles of a mixture"),
        ({"distributional": "c51", "v_min": 1.0, "v_max": 1.0}, "not below"),
        ({"layer_norm": True, "hidden_sizes": [1]}, "of one unit is always 0"),
        ({"sort_every": 5}, "sorts by priority"),
        ({"epsilon_decay": "exponential", "epsilon_end": 0.0}, "both ends above 0"),
        ({"batch_size": 50, "buffer_size": 20}, "larger than buffer_size"),
    ],
)
def test_contradicting_keys_raise_bad_input(switches, why):
    with pytest.raises(BadInput, match=why):
        dqn(**switches)


def test_each_env_draws_its_own_epsilon():
    """On average half of the envs explore; a shared draw would give none or all."""
    algo = dqn(
        num_actions=100, num_envs=1_000, learning_starts=0, epsilon_start=0.5, epsilon_end=0.5
    )
    obs = np.zeros((1_000, 1), np.float32)
    greedy = algo.predict(obs[:1], None)[0]
    explored = int((algo.act(obs, step=10) != greedy).sum())
    # binomial(1000, 0.5 * 0.99): mean 495, std 16; the bounds are 5 std
    assert 415 < explored < 575


def test_epsilon_schedule_is_one_before_learning_starts():
    algo = dqn(learning_starts=10, epsilon_start=0.8, epsilon_end=0.2, epsilon_steps=100)
    assert algo.epsilon(9) == 1.0
    assert algo.epsilon(50) == pytest.approx(0.5)
    assert algo.epsilon(1_000) == pytest.approx(0.2)
    algo = dqn(
        learning_starts=0,
        epsilon_start=0.4,
        epsilon_end=0.1,
        epsilon_steps=100,
        epsilon_decay="exponential",
    )
    assert algo.epsilon(50) == pytest.approx(0.2)  # the geometric mean at half time


def count_updates(monkeypatch, algo, num_envs, vector_steps):
    """Number of gradient steps in so many steps of all envs."""
    updates = RecordedUpdates(monkeypatch, algo.learner, result={"loss": torch.zeros(1)})
    zeros = np.zeros(num_envs)
    step = 0
    for _ in range(vector_steps):
        obs = np.zeros((num_envs, 1), np.float32)
        algo.observe(Transition(obs, zeros.astype(int), zeros, obs, zeros > 1, zeros > 1))
        step += num_envs
        algo.update(step)
    return sum(len(inputs[0].positions) for inputs in updates.calls)


@pytest.mark.parametrize("num_envs", [1, 3, 8])
def test_updates_are_counted_in_env_steps(monkeypatch, num_envs):
    """240 env steps, learning_starts=120, then 2 updates every 4 steps: 60."""
    algo = dqn(num_envs=num_envs, learning_starts=120, train_every=4, gradient_steps=2)
    updates = count_updates(monkeypatch, algo, num_envs, 240 // num_envs)
    assert updates == 60


@pytest.mark.parametrize("num_envs", [1, 8])
def test_target_updates_are_counted_in_env_steps(monkeypatch, num_envs):
    """One per env step, for any number of envs."""
    algo = dqn(num_envs=num_envs, learning_starts=0, target_update_every=1, tau=0.5)
    calls = []
    monkeypatch.setattr(algo.learner, "update_target", calls.append)
    count_updates(monkeypatch, algo, num_envs, 80 // num_envs)
    assert calls == [0.5] * 80


def test_hard_target_update_happens_at_its_period():
    algo = dqn(learning_starts=0, train_every=1, target_update_every=10, batch_size=1)
    obs = np.ones((1, 1), np.float32)
    no = np.array([False])
    begin = algo.learner.flat_target.clone()
    for step in range(1, 11):
        algo.observe(Transition(obs, np.array([0]), np.array([1.0]), obs, no, no))
        algo.update(step)
        moved = not torch.equal(algo.learner.flat_target, begin)
        assert moved == (step == 10)
    assert torch.equal(algo.learner.flat_target, algo.learner.flat)


@pytest.mark.parametrize("replay", ["uniform", "proportional", "softmax"])
@pytest.mark.parametrize("noisy", [False, True])
def test_metrics_cover_all_updates_of_a_round(replay, noisy):
    """8 env steps at once, train_every=4, gradient_steps=3: K = 6 updates, whatever the switches."""
    switches = {"replay": replay, "noisy": noisy, "batch_size": 4, "learning_starts": 0}
    algo = dqn(num_envs=8, train_every=4, gradient_steps=3, **switches)
    zeros, rng = np.zeros(8), np.random.default_rng(0)
    obs, next_obs = rng.normal(size=(2, 8, 1)).astype(np.float32)
    algo.observe(
        Transition(obs, zeros.astype(int), rng.normal(size=8), next_obs, zeros > 1, zeros > 1)
    )
    metrics = algo.update(8)
    assert {name: tuple(values.shape) for name, values in metrics.items()} == dict.fromkeys(
        ("loss", "q_mean", "grad_norm"), (6,)
    )
    assert len(set(np.asarray(metrics["loss"]).tolist())) == 6  # six updates, not one repeated


def test_averaged_weights_are_evaluated_and_saved_and_the_last_ones_act():
    """Decay 3/4: the plain mean of four updates, then m <- 3/4 m + theta / 4; a round of two counts twice."""
    algo = dqn(average_decay=0.75, epsilon_start=0.0, epsilon_end=0.0, learning_starts=0)
    flat, average = algo.learner.flat, algo.weight_average
    expected = [0.0, 2.0, 3.0, 4.0, 0.75 * 4 + 8 / 4, 0.75**2 * 5 + (1 - 0.75**2) * 9]
    thetas, rounds = [0.0, 4.0, 5.0, 7.0, 8.0, 9.0], [1, 1, 1, 1, 1, 2]
    for theta, updates, mean in zip(thetas, rounds, expected, strict=True):
        with torch.no_grad():
            flat.fill_(theta)
        algo.learner.updates += updates
        average.update(updates)
        assert average.flat[0].item() == pytest.approx(mean)
    assert all((v == average.flat[0]).all() for v in algo.policy_state().values())
    prefer_first = {name: torch.zeros_like(v) for name, v in algo.learner.params.items()}
    *_, bias = [name for name in prefer_first if name.endswith("bias")]
    prefer_first[bias][0] = 1.0
    algo.load_policy(prefer_first)
    with torch.no_grad():
        algo.learner.params[bias].copy_(
            torch.tensor([0.0, 1.0])
        )  # an update; the average is as before
    obs = np.ones((1, 1), np.float32)
    assert algo.predict(obs, None)[0] == algo.predict(obs, np.random.default_rng(0))[0] == 0
    assert algo.act(obs, step=10)[0] == 1


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
    "averaged": {"average_decay": 0.9},
    "layer norm": {"layer_norm": True},
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
def test_contradicting_pairs_raise_bad_input(pair):
    with pytest.raises(BadInput):
        dqn(**{**TINY, **{k: v for name in pair for k, v in SWITCHES[name].items()}})


def run_steps(algo, begin, end):
    for step in range(begin, end):
        step_of(algo, step, done=step % 7 == 3, cut=step % 11 == 5)
        algo.update(step + 1)


@pytest.mark.parametrize("first", list(SWITCHES)[:-1])
def test_pairs_of_switches_learn_and_resume_exactly(first):
    """40 steps without interruption, and 25 plus 15 from a checkpoint, give the same parameters."""
    for pair in [pair for pair in PAIRS if pair[0] == first]:
        switches = {**TINY, **SWITCHES[pair[0]], **SWITCHES[pair[1]]}
        whole, resumed = dqn(**switches), dqn(**switches)
        initial = whole.learner.flat.clone()
        run_steps(whole, 0, 25)
        resumed.load_policy(whole.policy_state())
        resumed.load_state_dict(through_a_checkpoint(whole.state_dict()))
        for algo in (whole, resumed):
            run_steps(algo, 25, 40)
        assert torch.isfinite(whole.learner.flat).all(), pair
        assert not torch.equal(whole.learner.flat, initial), pair
        assert torch.equal(whole.learner.flat, resumed.learner.flat), pair
        for name, mean in whole.policy_state().items():
            assert torch.equal(mean, resumed.policy_state()[name]), pair


def test_averaging_changes_no_weight_of_training():
    plain, averaged = dqn(**TINY), dqn(**TINY, average_decay=0.9)
    for algo in (plain, averaged):
        run_steps(algo, 0, 40)
    assert torch.equal(plain.learner.flat, averaged.learner.flat)
    assert not torch.equal(averaged.weight_average.flat, averaged.learner.flat)


# Learning

VARIANTS = {
    "c51": {"distributional": "c51", "num_atoms": 21, "v_min": -2.0, "v_max": 2.0},
    "qr": {"distributional": "qr", "num_atoms": 5},
    "noisy dueling": {"noisy": True, "dueling": True, "epsilon_end": 0.3},
    "prioritized 3-step": {"replay": "proportional", "n_step": 3},
    "softmax": {"replay": "softmax", "sort_every": 500},
    "expected sarsa": {"bootstrap": "expected_sarsa"},
    "sarsa": {"bootstrap": "sarsa"},
}


QUICK = ("c51", "noisy dueling", "prioritized 3-step")


@pytest.mark.parametrize("name", VARIANTS if FULL else QUICK)
def test_variants_learn_value_of_delayed_reward(name):
    algo = trained("dqn", "ProbeDelayedReward-v0", **VARIANTS[name])
    assert value(algo, 1.0) == pytest.approx(1.0, abs=0.1)
    assert value(algo, 0.0) == pytest.approx(0.5, abs=0.1)
