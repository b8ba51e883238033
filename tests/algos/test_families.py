"""The switches of PPO and REINFORCE: each by hand, each pair for a few updates, killed and gone on."""

from __future__ import annotations

import copy
import dataclasses
import os
from itertools import combinations

import numpy as np
import pytest
import torch

from rl_cli import algos
from rl_cli.config import migrations
from rl_cli.config.schema import build
from rl_cli.core.errors import BadInput
from rl_cli.core.types import ActionSpec, Batch, EnvSpec, Transition
from rl_cli.envs.vector import VectorEnv
from tests.algos.test_algorithms import choice, env_config, settings, trained, value

CPU = torch.device("cpu")
FULL = os.environ.get("RL_CLI_BARS") == "full"
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
    ("ppo", {"shared_network": True, "hidden_sizes": []}, "at least one hidden layer"),
    ("ppo", {"std": "fixed", "ent_coef": 0.1}, "algo.ent_coef=0"),
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
    """Two switches that are not values of one key, and that the schema does not refuse."""
    no_sense = [set(change) for of, change, _ in REFUSED if of == name and len(change) == 2]
    for one, other in combinations(SWITCHES[name], 2):
        both = {**one, **other}
        if set(one) & set(other) or any(
            bad <= set(both) and _refused(name, both) for bad in no_sense
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


def played(name, changes, steps=40, fresh_at=None):
    """An agent trained on the wandering env; at a step it is taken up by a new one from its state."""
    cfg = configured(name, changes)
    envs = VectorEnv(WANDER, [1, 2])
    algo = CLASSES[name](cfg, envs.spec, steps, 0, CPU)
    obs, metrics, begun = envs.reset(), [], algo.learner.flat.clone()
    for step in range(0, steps, 2):
        if step == fresh_at:
            state, policy = copy.deepcopy(algo.state_dict()), algo.policy_state()
            algo = CLASSES[name](cfg, envs.spec, steps, 5, CPU)
            algo.load_policy(policy)
            algo.load_state_dict(state)
        transition, obs = envs.step(algo.act(obs, step))
        algo.observe(transition)
        metrics.append(algo.update(step + 2))
    assert not torch.equal(begun, algo.learner.flat)
    return algo, [m for m in metrics if m is not None]


@pytest.mark.parametrize(("name", "changes"), [*pairs("ppo"), *pairs("reinforce")])
def test_every_pair_of_switches_learns_and_goes_on_exactly(name, changes):
    whole, metrics = played(name, changes)
    assert len(metrics) >= 2
    assert all(bool(v.isfinite().all()) for row in metrics for v in row.values())
    resumed, _ = played(name, changes, fresh_at=22)
    assert torch.equal(whole.learner.flat, resumed.learner.flat)


@pytest.mark.parametrize(("name", "changes", "words"), REFUSED)
def test_what_makes_no_sense_is_refused(name, changes, words):
    with pytest.raises(BadInput, match=words):
        configured(name, changes)


# PPO by hand


def ppo(num_envs=1, **changes):
    spec = EnvSpec((1,), "float32", ActionSpec("box", (1,), (), (-1.0,), (1.0,)), num_envs)
    return algos.load("ppo")(settings("ppo", **changes), spec, 1_000, 0, CPU)


def three_steps(terminated=(0, 0, 0), truncated=(0, 0, 0)):
    """Rewards 1, 2, 4 in a state whose value is 8 and that leads to itself. (3, 1, ...)."""
    obs = torch.zeros(3, 1, 1)
    ends = (torch.tensor(e, dtype=torch.float32)[:, None] for e in (terminated, truncated))
    return Batch(obs, obs, torch.tensor([[1.0], [2.0], [4.0]]), obs, *ends)


def valued(algo, v):
    """The same agent, for which every state is worth `v`."""
    for name, parameter in algo.learner.params.items():
        if name.startswith("critic"):
            parameter.data.zero_()
    algo.learner.params[f"critic.{len(algo.cfg.hidden_sizes)}.bias"].data.fill_(v)
    return algo


@pytest.mark.parametrize(
    ("ends", "bootstrap", "returns"),
    [
        # gamma 1/2, V = 8 beyond the rollout: 4 + 4 = 8, 2 + 4 = 6, 1 + 3 = 4
        ({}, True, [4.0, 6.0, 8.0]),
        ({}, False, [4.0, 6.0, 8.0]),  # the rollout's end is none of the episode's
        ({"terminated": (0, 0, 1)}, True, [3.0, 4.0, 4.0]),
        ({"truncated": (0, 1, 0)}, True, [4.0, 6.0, 8.0]),  # 2 + V / 2 at the limit
        ({"truncated": (0, 1, 0)}, False, [2.0, 2.0, 8.0]),
        ({"terminated": (1, 0, 0)}, True, [1.0, 6.0, 8.0]),
    ],
)
def test_monte_carlo_advantage_is_the_return_less_the_value(ends, bootstrap, returns):
    algo = valued(
        ppo(advantage="monte_carlo", bootstrap_truncated=bootstrap, normalize_advantage="none"), 8.0
    )
    samples = algo.estimate(three_steps(**ends))
    assert samples.target.tolist() == pytest.approx(returns)
    assert samples.advantage.tolist() == pytest.approx([r - 8.0 for r in returns])


def test_without_its_bootstrap_a_time_limit_is_an_end():
    """Lambda 1/2, V = 8: deltas 1 + 4 - 8 = -3, 2 - 8 = -6, 4 + 4 - 8 = 0; A_0 = -3 - 6 / 4."""
    algo = valued(ppo(bootstrap_truncated=False, gae_lambda=0.5), 8.0)
    samples = algo.estimate(three_steps(truncated=(0, 1, 0)))
    assert samples.advantage.tolist() == pytest.approx([-4.5, -6.0, 0.0])
    kept = valued(ppo(gae_lambda=0.5), 8.0).estimate(three_steps(truncated=(0, 1, 0)))
    assert kept.advantage.tolist() == pytest.approx([-3.5, -2.0, 0.0])


def test_advantages_are_normalised_over_the_rollout_and_targets_are_not():
    """Returns 3, 4, 4, V = 8: advantages -5, -4, -4 have mean -13/3 and std sqrt(2)/3."""
    algo = valued(ppo(advantage="monte_carlo", normalize_advantage="rollout"), 8.0)
    samples = algo.estimate(three_steps(terminated=(0, 0, 1)))
    root = 2**0.5
    assert samples.advantage.tolist() == pytest.approx([-root, 1 / root, 1 / root], rel=1e-5)
    assert samples.target.tolist() == pytest.approx([3.0, 4.0, 4.0])
    halved = algo.estimate(three_steps(terminated=(0, 0, 1)))
    _, first = algo.loss(algo.learner.params, halved, 0.2, 0.0)
    _, alone = algo.loss(
        algo.learner.params, type(halved)(*(c[:1] for c in halved)), 0.2, 0.0
    )  # standardised in the minibatch it would be 0
    assert first["policy_loss"].item() == pytest.approx(0.0, abs=1e-6)
    assert alone["policy_loss"].item() == pytest.approx(root, rel=1e-5)


def full(algo, seed=0):
    """A filled rollout of random steps; episodes end every third step."""
    rng, n, step = np.random.default_rng(seed), algo.spec.num_envs, 0
    while not algo.rollout.full:
        obs, next_obs = rng.normal(size=(2, n, 1)).astype(np.float32)
        step += 1
        over, no = np.full(n, step % 3 == 0), np.zeros(n, bool)
        algo.observe(Transition(obs, algo.act(obs, 0), rng.normal(size=n), next_obs, over, no))
    return algo


def steps_of(algo, step=1_000):
    """What each gradient step of an update is called with."""
    calls, plain = [], algo.learner.step

    def watched(rows, clip_coef, ent_coef, learning_rate):
        calls.append((rows, clip_coef, ent_coef, learning_rate))
        return plain(rows, clip_coef, ent_coef, learning_rate=learning_rate)

    algo.learner.step = watched
    algo.update(step)
    return calls


def test_advantages_are_computed_anew_in_each_epoch_and_the_ratio_is_not():
    changes = {"num_epochs": 3, "learning_rate": 0.05, "normalize_advantage": "none"}
    once, anew = (
        [rows.table for rows, *_ in steps_of(full(ppo(recompute_advantage=again, **changes)))]
        for again in (False, True)
    )
    assert all(torch.equal(once[0].advantage, table.advantage) for table in once)
    assert torch.equal(once[0].advantage, anew[0].advantage)
    assert not torch.equal(anew[0].advantage, anew[1].advantage)
    assert not torch.equal(anew[1].target, anew[2].target)
    for table in anew:
        assert torch.equal(table.old_log_prob, anew[0].old_log_prob)
        assert torch.equal(table.old_value, anew[0].old_value)


def test_advantages_computed_anew_are_those_of_the_critic_of_then():
    algo = full(ppo(num_epochs=2, minibatch_size=1_000, recompute_advantage=True))
    batch = algo.rollout.batch()
    params, seen, plain = [], [], algo.learner.step

    def watched(rows, *coefs, learning_rate):
        params.append({k: v.detach().clone() for k, v in algo.learner.params.items()})
        seen.append(rows.table.advantage.clone())
        return plain(rows, *coefs, learning_rate=learning_rate)

    algo.learner.step = watched
    algo.update(1_000)
    for then, advantage in zip(params, seen, strict=True):
        algo.load_policy(then)
        with torch.no_grad():
            assert torch.equal(algo.estimate(batch).advantage, advantage)


def test_the_entropys_weight_falls_to_zero():
    algo = ppo(ent_coef=0.4, anneal_ent_coef=True, rollout_length=10, num_epochs=1)
    weights = [steps_of(full(algo), step)[0][2] for step in (10, 510, 1_000)]
    assert weights == pytest.approx([0.4, 0.2, 0.4 * 0.01])  # of the step each rollout began at
    samples = full(ppo(rollout_length=10)).rollout.batch()
    algo = ppo(vf_coef=0.0)
    estimated = algo.estimate(samples)
    heavy, metrics = algo.loss(algo.learner.params, estimated, 0.2, 2.0)
    light, _ = algo.loss(algo.learner.params, estimated, 0.2, 0.0)
    assert (light - heavy).item() == pytest.approx(2.0 * metrics["entropy"].item())


def test_the_critic_has_a_step_size_of_its_own():
    """Adam's first step is the step size, whatever the gradient."""
    algo = full(ppo(learning_rate=1e-3, vf_learning_rate=5e-2, num_epochs=1, minibatch_size=1_000))
    before = {k: v.detach().clone() for k, v in algo.learner.params.items()}
    algo.update(1_000)
    for name, was in before.items():
        moved = (algo.learner.params[name] - was).abs().max().item()
        assert moved == pytest.approx(5e-2 if name.startswith("critic") else 1e-3, rel=0.05), name


def test_a_shared_network_has_one_trunk_that_both_losses_move():
    algo = ppo(shared_network=True, hidden_sizes=[4, 3])
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
    with torch.no_grad():  # acting, in numpy, goes the same way
        expected = net.actor(params, net.encoder(params, obs)).numpy()
    for rows in (slice(0, 5), slice(0, 1)):
        np.testing.assert_allclose(algo.predict(obs[rows].numpy(), None), expected[rows], rtol=1e-5)


def test_whole_episodes_are_learned_from_row_by_row():
    """Five episodes of three steps from one env: 15 rows in parts of 4, the last one filled up."""
    five = EPISODES | {"rollout_episodes": 5}
    algo = full(ppo(**five, num_epochs=1, minibatch_size=4))
    assert algo.rollout.steps == 15
    marks = torch.arange(15.0)
    plain = algo.estimate
    algo.estimate = lambda batch: plain(batch)._replace(old_value=marks)
    calls = steps_of(algo, 15)
    assert {len(column) for rows, *_ in calls for column in rows} == {4}
    drawn = [int(mark) for rows, *_ in calls for mark in rows.old_value]
    assert len(drawn) == 16
    assert sorted(set(drawn)) == list(range(15))
    assert algo.rollout.steps == 0
    assert algo.planned_updates() == algo.total_timesteps // 4


def test_episodes_of_several_envs_have_the_advantages_of_each():
    """Two envs, one episode each, as if each had been alone."""
    algo = full(ppo(num_envs=2, rollout_length=None, rollout_episodes=2))
    together = algo.estimate(algo.rollout.batch())
    alone = [algo.estimate(Batch(*(c[:, None] for c in e))) for e in algo.rollout.episodes()]
    assert len(alone) == 2
    torch.testing.assert_close(together.advantage, torch.cat([s.advantage for s in alone]))


def test_gsdes_noise_is_drawn_anew_after_an_update_and_evaluation_has_none():
    algo = ppo(std="gsde", sde_sample_every=None, rollout_length=4)
    obs = np.ones((1, 1), np.float32)
    no = np.zeros(1, bool)
    actions = []
    for step in range(8):
        actions.append(algo.act(obs, step).item())
        algo.observe(Transition(obs, np.array([[actions[-1]]]), np.zeros(1), obs, no, no))
        if step == 3:
            mean = algo.predict(obs, None).item()
            assert mean != actions[-1]
            algo.learner.step = lambda *a, **k: {"approx_kl": torch.zeros(1)}  # moves nothing
            algo.update(4)
    assert len(set(actions[:4])) == len(set(actions[4:])) == 1  # one state, one noise
    assert actions[3] != actions[4]
    assert algo.predict(obs, None).item() == mean


@pytest.mark.parametrize("changes", [{"std": "gsde"}, {"std": "gsde", "squash_actions": True}])
def test_the_ratio_is_one_at_first_under_held_noise(changes):
    algo = full(ppo(**changes))
    samples = algo.estimate(algo.rollout.batch())
    _, metrics = algo.loss(algo.learner.params, samples, 0.2, 0.0)
    assert metrics["approx_kl"].item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("changes", [{"std": "gsde"}, {"shared_network": True}])
def test_pixels_go_with_it_too(changes):
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
def test_continuous_action_comes_near_its_best(changes):
    algo = trained("ppo", "ProbeMatchBox-v0", **{"log_std_init": -1.0, **changes})
    assert choice(algo, 1.0)[0] == pytest.approx(0.5, abs=0.15)
    assert choice(algo, -1.0)[0] == pytest.approx(-0.5, abs=0.15)


@pytest.mark.skipif(not FULL, reason="by hand above; RL_CLI_BARS=full")
def test_a_limit_that_counts_as_an_end_is_in_the_value():
    """Reward 1 five times, gamma 1/2: 2 - 1/16, ..., 1, which one value for all has the mean of."""
    algo = trained("ppo", "ProbeForeverOne-v0", bootstrap_truncated=False)
    mean = np.mean([2 - 2**-k for k in range(5)])  # 1.6125
    assert value(algo, 0.0) == pytest.approx(mean, abs=0.12)


# REINFORCE by hand


def reinforce(num_envs=1, **changes):
    spec = EnvSpec((1,), "float32", ActionSpec("discrete", (), (2,)), num_envs)
    return algos.load("reinforce")(settings("reinforce", **changes), spec, 1, 0, CPU)


PLAIN = {"baseline": "none", "bootstrap_truncated": False, "hidden_sizes": []}


def episode(*rewards, truncated=False):
    n = len(rewards)
    flags = torch.zeros(n)
    flags[-1] = 1.0
    rows = torch.zeros(n, 1)
    ends = (torch.zeros(n), flags) if truncated else (flags, torch.zeros(n))
    return Batch(rows, torch.zeros(n).long(), torch.tensor(rewards), rows, *ends)


def test_each_step_counts_by_its_own_discount():
    algo = reinforce(**PLAIN, discount_weighting=True)  # gamma 1/2
    found = algo.importance([episode(1.0, 1.0, 1.0), episode(1.0, 1.0)])
    assert found.tolist() == [1.0, 0.5, 0.25, 1.0, 0.5]


def test_an_episode_counts_with_the_sum_over_its_steps():
    """Mean over 5 rows times 5/2: the sum over all steps, divided by two episodes."""
    algo = reinforce(**PLAIN, sum_over_steps=True)
    found = algo.importance([episode(1.0, 1.0, 1.0), episode(1.0, 1.0)])
    assert found.tolist() == [2.5] * 5
    both = reinforce(**PLAIN, sum_over_steps=True, discount_weighting=True)
    assert both.importance([episode(1.0, 1.0)]).tolist() == [2.0, 1.0]


def test_the_notebooks_loss_by_hand():
    """Returns 1.5 and 1 weighted 1 and 1/2, log pi = -ln 2, summed: 2 ln 2."""
    algo = reinforce(**PLAIN, sum_over_steps=True, discount_weighting=True, normalize_returns=False)
    params = {k: torch.zeros_like(v) for k, v in algo.learner.params.items()}
    one = episode(1.0, 1.0)
    loss, _ = algo.loss(params, one.obs, one.action, algo.returns(one), algo.importance([one]))
    assert loss.item() == pytest.approx((1.5 + 0.5) * np.log(2))


def test_weights_are_normalised_before_they_are_discounted():
    """Returns 1.5 and 1 become 1 and -1, weighted 1 and 1/2: -(1 - 0.5) / 2 * -ln 2."""
    algo = reinforce(**PLAIN, discount_weighting=True, normalize_returns=True)
    params = {k: torch.zeros_like(v) for k, v in algo.learner.params.items()}
    one = episode(1.0, 1.0)
    loss, _ = algo.loss(params, one.obs, one.action, algo.returns(one), algo.importance([one]))
    assert loss.item() == pytest.approx(0.25 * np.log(2), rel=1e-4)


def test_the_mean_of_earlier_returns_is_the_baseline():
    """Decay 1/2. Nothing before the first; 4 before the second; (0.25 * 4 + 0.5 * 1) / 0.75 = 2."""
    algo = reinforce(**PLAIN | {"baseline": "mean"}, baseline_decay=0.5)
    assert algo.less_the_mean(torch.tensor([3.0, 5.0])).tolist() == [3.0, 5.0]
    assert algo.less_the_mean(torch.tensor([1.0, 1.0])).tolist() == [-3.0, -3.0]
    assert algo.less_the_mean(torch.tensor([2.0])).tolist() == [0.0]
    assert not any(name.startswith("critic") for name in algo.learner.params)


def test_a_cut_tail_is_dropped_at_ones_word():
    algo = reinforce(hidden_sizes=[], bootstrap_truncated=False)
    algo.learner.params["critic.0.bias"].data.fill_(4.0)
    assert algo.returns(episode(1.0, 1.0, truncated=True)).tolist() == [1.5, 1.0]


@pytest.mark.skipif(not FULL, reason="by hand above; RL_CLI_BARS=full")
@pytest.mark.parametrize(
    "changes",
    [
        {**PLAIN, "sum_over_steps": True, "discount_weighting": True, "hidden_sizes": [32]},
        {**PLAIN, "baseline": "mean", "hidden_sizes": [32]},
    ],
)
def test_policy_matches_action_to_observation(changes):
    algo = trained("reinforce", "ProbeMatchObservation-v0", **changes)
    assert choice(algo, 1.0) == 1
    assert choice(algo, -1.0) == 0


# runs of earlier versions


def test_what_was_true_or_false_is_read_in_words():
    then = {"name": "ppo", "normalize_advantage": True}
    assert migrations.algo(then)["normalize_advantage"] == "minibatch"
    assert migrations.algo({**then, "normalize_advantage": False})["normalize_advantage"] == "none"
    assert (
        migrations.algo({**then, "normalize_advantage": "rollout"})["normalize_advantage"]
        == "rollout"
    )
    for baseline, words, bootstrap in ((True, "value", True), (False, "none", False)):
        now = migrations.algo({"name": "reinforce", "baseline": baseline})
        assert (now["baseline"], now["bootstrap_truncated"]) == (words, bootstrap)
    now = {"name": "reinforce", "baseline": "value", "bootstrap_truncated": False}
    assert migrations.algo(now)["bootstrap_truncated"] is False
