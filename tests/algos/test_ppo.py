"""PPO: loss, targets, minibatches and switches, with hand-worked values."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from rl_cli import algos
from rl_cli.buffers.rollout import filled_minibatches, minibatches
from rl_cli.core.types import ActionSpec, Batch, EnvSpec, Transition
from tests.algos.test_algorithms import (
    RecordedUpdates,
    choice,
    filled,
    ppo,
    settings,
    trained,
    value,
)

CPU = torch.device("cpu")
FULL = os.environ.get("RL_CLI_BARS") == "full"
EPISODES = {"rollout_length": None, "rollout_episodes": 2}


# Discrete actions, two envs


def test_ratio_is_one_before_the_first_update():
    """Before any update the policy is the one that acted: approx_kl and clip_fraction are 0."""
    algo = filled(ppo())
    samples = algo.estimate(algo.rollout.batch())
    _, metrics = algo.loss(algo.learner.params, samples, 0.2, 0.0)
    assert metrics["approx_kl"].item() == pytest.approx(0.0, abs=1e-6)
    assert metrics["clip_fraction"].item() == 0.0


def test_value_target_equals_advantage_plus_value():
    algo = filled(ppo())
    samples = algo.estimate(algo.rollout.batch())
    assert torch.allclose(samples.target, samples.advantage + samples.old_value)


@pytest.mark.parametrize("minibatch_size", [2, 7, 64, 1_000])
def test_epoch_uses_every_row_once(minibatch_size):
    """Three epochs use each row three times, in different orders; same as three single epochs."""
    rng, other = np.random.default_rng(0), np.random.default_rng(0)
    parts = [row for part in minibatches(64, minibatch_size, rng, 3) for row in part]
    assert max(map(len, parts)) <= minibatch_size
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    rows = torch.cat(parts).view(3, 64).tolist()
    assert [sorted(epoch) for epoch in rows] == [list(range(64))] * 3
    assert rows[0] != rows[1] != rows[2]
    alone = [torch.cat([p.flatten() for p in minibatches(64, minibatch_size, other)]) for _ in rows]
    assert rows == torch.stack(alone).tolist()


def test_consecutive_minibatches_of_one_size_are_stacked():
    """Ten rows, size 4, two epochs: 4, 3, 3, twice. Size 5: four minibatches of 5."""
    rng = np.random.default_rng(0)
    assert [tuple(p.shape) for p in minibatches(10, 4, rng, 2)] == [(1, 4), (2, 3)] * 2
    assert [tuple(p.shape) for p in minibatches(10, 5, rng, 2)] == [(4, 5)]
    filled = filled_minibatches(10, 4, rng)
    assert [len(part) for part in filled] == [4, 4, 4]
    order = torch.cat(filled).tolist()
    assert sorted(order[:10]) == list(range(10))
    assert order[10:] == order[:2]


def test_target_kl_stops_the_epochs():
    few, many = (filled(ppo(target_kl=kl, learning_rate=0.1, num_epochs=5)) for kl in (1e-9, 1e9))
    few.update(100), many.update(100)
    # one minibatch per epoch; the KL is 0 in the first and above the target in the second
    assert few.learner.updates == 2
    assert many.learner.updates == 5


def test_clip_value_loss_takes_the_larger_error():
    """V changed from 0 to 1, target 0.5, clip 0.2: max((1 - 0.5)^2, (0.2 - 0.5)^2) = 0.25."""
    algo = ppo(hidden_sizes=[], clip_value_loss=True)
    params = {k: torch.zeros_like(v) for k, v in algo.learner.params.items()}
    params["critic.0.bias"] = torch.ones(1)
    zeros = torch.zeros(4)
    rows = (torch.zeros(4, 1), zeros.long(), zeros - np.log(2), zeros, zeros + 0.5, zeros)
    samples = type(algo.estimate(filled(algo).rollout.batch()))(*rows)
    _, metrics = algo.loss(params, samples, 0.2, 0.0)
    assert metrics["value_loss"].item() == pytest.approx(0.25)


def test_update_waits_for_full_rollout_and_learning_rate_anneals_to_zero():
    algo = ppo(anneal_learning_rate=True)
    assert algo.update(1) is None
    assert algo.learning_rate(0) == pytest.approx(3e-3)
    assert algo.learning_rate(500) == pytest.approx(1.5e-3)
    assert algo.learning_rate(1_000) == 0.0


def test_annealing_uses_step_at_rollout_start(monkeypatch):
    """Four rollouts of 64 steps in 256: factors 1, 3/4, 1/2 and 1/4, so that the last one still learns."""
    algo = ppo(anneal_learning_rate=True, anneal_clip_coef=True, num_epochs=1)
    algo.total_timesteps = 256
    updates = RecordedUpdates(monkeypatch, algo.learner, result={"approx_kl": torch.zeros(1)})
    for end in (64, 128, 192, 256):
        filled(algo)
        algo.update(end)
    factors = np.array([1.0, 0.75, 0.5, 0.25])
    assert updates.learning_rates == pytest.approx(3e-3 * factors)
    assert [clip_coef for _, clip_coef, _ in updates.calls] == pytest.approx(0.2 * factors)


def test_next_value_evaluates_network_only_at_episode_ends(monkeypatch):
    """Two envs, 8 steps, two episode ends: equal to evaluating every row, with 4 evaluations."""
    algo = ppo()
    rng = np.random.default_rng(0)
    obs = torch.from_numpy(rng.normal(size=(9, 2, 1)).astype(np.float32))
    next_obs = obs[1:].clone()
    next_obs[3, 0], next_obs[5, 1] = 7.0, -7.0  # the next row starts another episode
    evaluated = []
    zeros = torch.zeros(8, 2)
    batch = Batch(obs[:8], zeros.long(), zeros, next_obs, zeros, zeros)
    net, params = algo.net, algo.learner.params
    with torch.no_grad():
        value = net.value(params, batch.obs.flatten(0, 1)).view(8, 2)
        expected = net.value(params, next_obs.flatten(0, 1)).view(8, 2)
        plain = net.value
        monkeypatch.setattr(net, "value", lambda p, o: evaluated.append(len(o)) or plain(p, o))
        found = algo.policy.next_value(batch, value)
    torch.testing.assert_close(found, expected)
    assert evaluated == [2 + 2]  # the episode ends, and the last row of each env


# Continuous actions


def box_ppo(num_envs=1, **changes):
    spec = EnvSpec((1,), "float32", ActionSpec("box", (1,), (), (-1.0,), (1.0,)), num_envs)
    return algos.load("ppo")(settings("ppo", **changes), spec, 1_000, 0, CPU)


def three_steps(terminated=(0, 0, 0), truncated=(0, 0, 0)):
    """Rewards 1, 2, 4 in one state that leads to itself. (3, 1, ...)."""
    obs = torch.zeros(3, 1, 1)
    ends = (torch.tensor(e, dtype=torch.float32)[:, None] for e in (terminated, truncated))
    return Batch(obs, obs, torch.tensor([[1.0], [2.0], [4.0]]), obs, *ends)


def valued(algo, v):
    """The agent with V = v in every state."""
    for name, parameter in algo.learner.params.items():
        if name.startswith("critic"):
            parameter.data.zero_()
    algo.learner.params[f"critic.{len(algo.cfg.hidden_sizes)}.bias"].data.fill_(v)
    return algo


@pytest.mark.parametrize(
    ("ends", "bootstrap", "returns"),
    [
        # gamma = 1/2, V = 8 after the rollout: 4 + 4 = 8, 2 + 4 = 6, 1 + 3 = 4
        ({}, True, [4.0, 6.0, 8.0]),
        ({}, False, [4.0, 6.0, 8.0]),  # the end of the rollout does not end the episode
        ({"terminated": (0, 0, 1)}, True, [3.0, 4.0, 4.0]),
        ({"truncated": (0, 1, 0)}, True, [4.0, 6.0, 8.0]),  # 2 + V / 2 at the time limit
        ({"truncated": (0, 1, 0)}, False, [2.0, 2.0, 8.0]),
        ({"terminated": (1, 0, 0)}, True, [1.0, 6.0, 8.0]),
    ],
)
def test_monte_carlo_advantage_is_return_minus_value(ends, bootstrap, returns):
    algo = valued(
        box_ppo(advantage="monte_carlo", bootstrap_truncated=bootstrap, normalize_advantage="none"),
        8.0,
    )
    samples = algo.estimate(three_steps(**ends))
    assert samples.target.tolist() == pytest.approx(returns)
    assert samples.advantage.tolist() == pytest.approx([r - 8.0 for r in returns])


def test_bootstrap_truncated_false_treats_time_limit_as_terminal():
    """Lambda 1/2, V = 8: deltas 1 + 4 - 8 = -3, 2 - 8 = -6, 4 + 4 - 8 = 0; A_0 = -3 - 6 / 4."""
    algo = valued(box_ppo(bootstrap_truncated=False, gae_lambda=0.5), 8.0)
    samples = algo.estimate(three_steps(truncated=(0, 1, 0)))
    assert samples.advantage.tolist() == pytest.approx([-4.5, -6.0, 0.0])
    kept = valued(box_ppo(gae_lambda=0.5), 8.0).estimate(three_steps(truncated=(0, 1, 0)))
    assert kept.advantage.tolist() == pytest.approx([-3.5, -2.0, 0.0])


def test_normalize_advantage_rollout_keeps_targets():
    """Returns 3, 4, 4, V = 8: advantages -5, -4, -4 have mean -13/3 and std sqrt(2)/3."""
    algo = valued(box_ppo(advantage="monte_carlo", normalize_advantage="rollout"), 8.0)
    samples = algo.estimate(three_steps(terminated=(0, 0, 1)))
    root = 2**0.5
    assert samples.advantage.tolist() == pytest.approx([-root, 1 / root, 1 / root], rel=1e-5)
    assert samples.target.tolist() == pytest.approx([3.0, 4.0, 4.0])
    halved = algo.estimate(three_steps(terminated=(0, 0, 1)))
    _, first = algo.loss(algo.learner.params, halved, 0.2, 0.0)
    # standardized within a minibatch of two rows it would be 0
    _, part = algo.loss(algo.learner.params, type(halved)(*(c[:2] for c in halved)), 0.2, 0.0)
    assert first["policy_loss"].item() == pytest.approx(0.0, abs=1e-6)
    assert part["policy_loss"].item() == pytest.approx((root - 1 / root) / 2, rel=1e-5)


@pytest.mark.parametrize("normalize", ["minibatch", "rollout"])
@pytest.mark.parametrize(
    "rollout",
    [
        {"rollout_length": 1},
        {"rollout_length": 3, "minibatch_size": 2},  # minibatches of 2 rows and of 1
        {"rollout_length": None, "rollout_episodes": 1},  # a single row would be repeated
    ],
)
def test_a_single_advantage_has_a_gradient(normalize, rollout):
    """One minibatch of the smallest rollouts consists of one row, in which all normalized rows are 0."""
    algo = box_ppo(normalize_advantage=normalize, num_epochs=1, ent_coef=0.0, **rollout)
    obs, yes, no = np.ones((1, 1), np.float32), np.ones(1, bool), np.zeros(1, bool)
    while not algo.rollout.full:  # equal steps, so that only a single row can give a gradient
        action = np.full((1, 1), 0.5, np.float32)
        algo.observe(Transition(obs, action, np.ones(1, np.float32), obs, yes, no))
    before = [p.clone() for name, p in algo.learner.params.items() if name.startswith("actor")]
    metrics = algo.update(algo.rollout.steps)
    after = [p for name, p in algo.learner.params.items() if name.startswith("actor")]
    moved = any(not torch.equal(b, a) for b, a in zip(before, after, strict=True))
    of_rollout = normalize == "rollout" and rollout.get("rollout_length") == 3
    assert moved is not of_rollout  # three equal advantages are normalized to 0 together
    assert bool((np.asarray(metrics["policy_loss"]) != 0.0).any()) is not of_rollout


def full(algo, seed=0):
    """The agent with a full rollout of random steps; episodes end every third step."""
    rng, n, step = np.random.default_rng(seed), algo.spec.num_envs, 0
    while not algo.rollout.full:
        obs, next_obs = rng.normal(size=(2, n, 1)).astype(np.float32)
        step += 1
        over, no = np.full(n, step % 3 == 0), np.zeros(n, bool)
        algo.observe(Transition(obs, algo.act(obs, 0), rng.normal(size=n), next_obs, over, no))
    return algo


def inputs_of_update(monkeypatch, algo, step=1_000):
    """Inputs of each call of `learner.update` in one update of the agent."""
    with monkeypatch.context() as patch:
        updates = RecordedUpdates(patch, algo.learner)
        algo.update(step)
    return updates.calls


def test_recompute_advantage_updates_advantages_and_keeps_old_log_prob(monkeypatch):
    changes = {"num_epochs": 3, "learning_rate": 0.05, "normalize_advantage": "none"}
    once, anew = (
        [
            rows.table
            for rows, *_ in inputs_of_update(
                monkeypatch, full(box_ppo(recompute_advantage=recompute, **changes))
            )
        ]
        for recompute in (False, True)
    )
    assert all(torch.equal(once[0].advantage, table.advantage) for table in once)
    assert torch.equal(once[0].advantage, anew[0].advantage)
    assert not torch.equal(anew[0].advantage, anew[1].advantage)
    assert not torch.equal(anew[1].target, anew[2].target)
    for table in anew:
        assert torch.equal(table.old_log_prob, anew[0].old_log_prob)
        assert torch.equal(table.old_value, anew[0].old_value)


def test_recomputed_advantages_use_current_critic(monkeypatch):
    algo = full(box_ppo(num_epochs=2, minibatch_size=1_000, recompute_advantage=True))
    batch = algo.rollout.batch()
    params, seen, plain = [], [], algo.learner.update

    def recorded(rows, *coefs, learning_rate):
        params.append({k: v.detach().clone() for k, v in algo.learner.params.items()})
        seen.append(rows.table.advantage.clone())
        return plain(rows, *coefs, learning_rate=learning_rate)

    monkeypatch.setattr(algo.learner, "update", recorded)
    algo.update(1_000)
    for weights, advantage in zip(params, seen, strict=True):
        algo.load_policy(weights)
        with torch.no_grad():
            assert torch.equal(algo.estimate(batch).advantage, advantage)


def test_entropy_coefficient_anneals_to_zero(monkeypatch):
    algo = box_ppo(ent_coef=0.4, anneal_ent_coef=True, rollout_length=10, num_epochs=1)
    weights = [inputs_of_update(monkeypatch, full(algo), step)[0][2] for step in (10, 510, 1_000)]
    assert weights == pytest.approx(
        [0.4, 0.2, 0.4 * 0.01]
    )  # at the step at which each rollout started
    samples = full(box_ppo(rollout_length=10)).rollout.batch()
    algo = box_ppo(vf_coef=0.0)
    estimated = algo.estimate(samples)
    heavy, metrics = algo.loss(algo.learner.params, estimated, 0.2, 2.0)
    light, _ = algo.loss(algo.learner.params, estimated, 0.2, 0.0)
    assert (light - heavy).item() == pytest.approx(2.0 * metrics["entropy"].item())


def test_vf_learning_rate_applies_to_critic_only():
    """The first step of Adam has the size of the learning rate, for any gradient."""
    algo = full(
        box_ppo(learning_rate=1e-3, vf_learning_rate=5e-2, num_epochs=1, minibatch_size=1_000)
    )
    before = {k: v.detach().clone() for k, v in algo.learner.params.items()}
    algo.update(1_000)
    for name, was in before.items():
        moved = (algo.learner.params[name] - was).abs().max().item()
        assert moved == pytest.approx(5e-2 if name.startswith("critic") else 1e-3, rel=0.05), name


def test_shared_network_has_one_trunk_with_gradients_of_both_losses():
    algo = box_ppo(shared_network=True, hidden_sizes=[4, 3])
    shapes = {k: tuple(v.shape) for k, v in algo.learner.params.items()}
    assert shapes == {
        "shared.0.weight": (4, 1),
        "shared.0.bias": (4,),
        "shared.1.weight": (3, 4),
        "shared.1.bias": (3,),
        "actor.0.weight": (1, 3),
        "actor.0.bias": (1,),
        "critic.0.weight": (1, 3),
        "critic.0.bias": (1,),
        "log_std": (1,),
    }
    net, params = algo.net, algo.learner.params
    obs = torch.randn(5, 1, generator=torch.Generator().manual_seed(0))
    for output in (net.value(params, obs), net.actor(params, net.encoder(params, obs))):
        (gradient,) = torch.autograd.grad(output.sum(), params["shared.0.weight"])
        assert gradient.abs().sum() > 0
    with torch.no_grad():  # acting runs in NumPy
        expected = net.actor(params, net.encoder(params, obs)).numpy()
    for rows in (slice(0, 5), slice(0, 1)):
        np.testing.assert_allclose(algo.predict(obs[rows].numpy(), None), expected[rows], rtol=1e-5)


def test_rollout_of_episodes_uses_every_row(monkeypatch):
    """Five episodes of three steps: 15 rows in minibatches of 4; the last one is filled up."""
    five = EPISODES | {"rollout_episodes": 5}
    algo = full(box_ppo(**five, num_epochs=1, minibatch_size=4))
    assert algo.rollout.steps == 15
    marks = torch.arange(15.0)
    plain = algo.estimate
    monkeypatch.setattr(algo, "estimate", lambda batch: plain(batch)._replace(old_value=marks))
    calls = inputs_of_update(monkeypatch, algo, 15)
    assert {len(column) for rows, *_ in calls for column in rows} == {4}
    drawn = [int(mark) for rows, *_ in calls for mark in rows.old_value]
    assert len(drawn) == 16
    assert sorted(set(drawn)) == list(range(15))
    assert algo.rollout.steps == 0
    assert algo.planned_updates() == algo.total_timesteps // 4


def test_episodes_of_several_envs_have_separate_advantages():
    """Two envs, one episode each: the same advantages as each episode alone."""
    algo = full(box_ppo(num_envs=2, rollout_length=None, rollout_episodes=2))
    together = algo.estimate(algo.rollout.batch())
    alone = [algo.estimate(Batch(*(c[:, None] for c in e))) for e in algo.rollout.episodes()]
    assert len(alone) == 2
    torch.testing.assert_close(together.advantage, torch.cat([s.advantage for s in alone]))


def test_gsde_noise_is_resampled_after_update_and_unused_in_evaluation(monkeypatch):
    algo = box_ppo(std="gsde", sde_sample_every=None, rollout_length=4)
    obs = np.ones((1, 1), np.float32)
    no = np.zeros(1, bool)
    actions = []
    for step in range(8):
        actions.append(algo.act(obs, step).item())
        algo.observe(Transition(obs, np.array([[actions[-1]]]), np.zeros(1), obs, no, no))
        if step == 3:
            mean = algo.predict(obs, None).item()
            assert mean != actions[-1]
            no_update = {"approx_kl": torch.zeros(1)}  # the parameters stay
            RecordedUpdates(monkeypatch, algo.learner, result=no_update)
            algo.update(4)
    assert len(set(actions[:4])) == len(set(actions[4:])) == 1  # one state and one noise matrix
    assert actions[3] != actions[4]
    assert algo.predict(obs, None).item() == mean


def test_annealed_std_decays_linearly_over_the_budget_and_has_no_gradient():
    """Rollouts of 4 steps, 1,000 in all, from 0 to -2: after n steps the log std is -n / 500."""
    algo = full(box_ppo(std="annealed", log_std_init=0.0, log_std_final=-2.0, rollout_length=4))
    before = algo.learner.params["actor.0.weight"].detach().clone()
    assert algo.learner.params["log_std"].item() == 0.0
    run = algo.run_epochs(algo.estimate(algo.rollout.batch()), 1, (0.2, 0.0), 0.1)
    assert run
    assert algo.learner.params["log_std"].item() == 0.0
    assert not torch.equal(algo.learner.params["actor.0.weight"], before)
    for step, expected in ((4, -0.008), (500, -1.0), (1_000, -2.0), (2_000, -2.0)):
        algo.update(step)
        assert algo.learner.params["log_std"].item() == pytest.approx(expected)
        full(algo)
    obs = np.zeros((20_000, 1), np.float32)
    assert algo.act(obs, 1_000).std() == pytest.approx(np.exp(-2.0), rel=0.03)  # 4 sigma: 0.02


@pytest.mark.parametrize("changes", [{"std": "gsde"}, {"std": "gsde", "squash_actions": True}])
def test_gsde_ratio_is_one_before_the_first_update(changes):
    algo = full(box_ppo(**changes))
    samples = algo.estimate(algo.rollout.batch())
    _, metrics = algo.loss(algo.learner.params, samples, 0.2, 0.0)
    assert metrics["approx_kl"].item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("changes", [{"std": "gsde"}, {"shared_network": True}])
def test_update_on_images_moves_convolutions(changes):
    spec = EnvSpec((2, 36, 36), "uint8", ActionSpec("box", (1,), (), (-1.0,), (1.0,)), 1)
    cfg = settings("ppo", **changes, rollout_length=4, minibatch_size=4, num_epochs=1)
    algo = algos.load("ppo")(cfg, spec, 100, 0, CPU)
    before = algo.learner.params["encoder.0.weight"].detach().clone()
    rng, no = np.random.default_rng(0), np.array([False])
    for step in range(1, 5):
        obs, next_obs = rng.integers(256, size=(2, 1, 2, 36, 36), dtype=np.uint8)
        reward = rng.normal(size=1)
        algo.observe(Transition(obs, algo.act(obs, step), reward, next_obs, no, no))
        algo.update(step)
    assert not torch.equal(before, algo.learner.params["encoder.0.weight"])


SOLVING = [{"std": "gsde", "log_std_init": -2.0, "squash_actions": True, "shared_network": True}]
if FULL:
    SOLVING += [
        {"std": "gsde", "log_std_init": -2.0, "recompute_advantage": True},
        {"std": "state_dependent", "squash_actions": True},
        {"std": "fixed", **EPISODES, "rollout_episodes": 128, "advantage": "monte_carlo"},
        {"squash_actions": True, "ent_coef": 0.003},
    ]


@pytest.mark.parametrize("changes", SOLVING, ids=" ".join)
def test_switches_approach_optimal_continuous_action(changes):
    algo = trained("ppo", "ProbeMatchBox-v0", **{"log_std_init": -1.0, **changes})
    assert choice(algo, 1.0)[0] == pytest.approx(0.5, abs=0.15)
    assert choice(algo, -1.0)[0] == pytest.approx(-0.5, abs=0.15)


@pytest.mark.skipif(not FULL, reason="hand-worked above; set RL_CLI_BARS=full")
def test_value_without_bootstrap_at_time_limit_is_learned():
    """Reward 1 five times, gamma = 1/2: returns 2 - 1/16, ..., 1; one value for all is their mean."""
    algo = trained("ppo", "ProbeForeverOne-v0", bootstrap_truncated=False)
    mean = np.mean([2 - 2**-k for k in range(5)])  # 1.6125
    assert value(algo, 0.0) == pytest.approx(mean, abs=0.12)
