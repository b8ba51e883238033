"""Each algorithm solves envs whose answer is known, in seconds; and its loss is the paper's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from rl_cli import algos
from rl_cli.buffers.rollout import filled_minibatches, minibatches
from rl_cli.config.env import EnvConfig
from rl_cli.config.schema import build
from rl_cli.core.seeding import env_seeds
from rl_cli.core.types import ActionSpec, Batch, EnvSpec, Transition
from rl_cli.envs.vector import VectorEnv
from tests import probe_envs  # noqa: F401  (registers the envs)
from tests.conftest import REPO

GAMMA = 0.5
CHANGES = {
    "dqn": {
        "learning_rate": 3e-3,
        "hidden_sizes": [32],
        "buffer_size": 2_000,
        "batch_size": 32,
        "learning_starts": 100,
        "train_every": 2,
        "target_update_every": 50,
        "epsilon_end": 0.3,
        "epsilon_steps": 500,
    },
    "ppo": {
        "learning_rate": 3e-3,
        "hidden_sizes": [32],
        "rollout_length": 32,
        "minibatch_size": 64,
        "num_epochs": 6,
    },
    "reinforce": {
        "learning_rate": 5e-3,
        "hidden_sizes": [32],
        "episodes_per_update": 32,
        "normalize_returns": False,
        "vf_coef": 2.0,
    },
}
STEPS = {"dqn": 3_000, "ppo": 6_000, "reinforce": 16_000}


def settings(name, **changes):
    values = dict(OmegaConf.load(REPO / "conf/algo" / f"{name}.yaml"))
    cls = algos.load(name)
    return build(
        cls.Config,
        values | {"gamma": GAMMA, "hidden_sizes": [32]} | CHANGES[name] | changes,
        "algo",
    )


def env_config(env_id, **changes):
    values = OmegaConf.to_container(OmegaConf.load(REPO / "conf/env/_base.yaml"), resolve=False)
    return build(EnvConfig, values | {"id": env_id, "reward_gamma": GAMMA} | changes, "env")


def trained(name, env_id, num_envs=4, seed=0, **changes):
    """The agent after STEPS[name] steps of the env, by the same calls as the trainer's loop."""
    envs = VectorEnv(env_config(env_id, num_envs=num_envs), env_seeds(seed, num_envs))
    cpu = torch.device("cpu")
    algo = algos.load(name)(settings(name, **changes), envs.spec, STEPS[name], seed, cpu)
    obs, step = envs.reset(), 0
    while step < STEPS[name]:
        transition, obs = envs.step(algo.act(obs, step))
        algo.observe(transition)
        step += num_envs
        algo.update(step)
    return algo


def value(algo, obs, action=0):
    """What the agent thinks a state is worth: V(s), or Q(s, action)."""
    obs = torch.tensor([[obs]], dtype=torch.float32)
    with torch.no_grad():
        if hasattr(algo, "q"):
            return algo.q(algo.learner.params, obs)[0, action].item()
        return algo.net.value(algo.learner.params, obs).item()


def choice(algo, obs):
    return algo.predict(np.array([[obs]], np.float32), None)[0]


@pytest.mark.parametrize("name", STEPS)
def test_value_of_a_constant_reward(name):
    assert value(trained(name, "ProbeConstant-v0"), 0.0) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("name", STEPS)
def test_value_depends_on_the_observation(name):
    algo = trained(name, "ProbeObservationReward-v0")
    assert value(algo, 1.0) == pytest.approx(1.0, abs=0.1)
    assert value(algo, -1.0) == pytest.approx(-1.0, abs=0.1)


@pytest.mark.parametrize("name", STEPS)
def test_reward_one_step_away_is_discounted_once(name):
    algo = trained(name, "ProbeDelayedReward-v0")
    assert value(algo, 1.0) == pytest.approx(1.0, abs=0.1)
    assert value(algo, 0.0) == pytest.approx(GAMMA, abs=0.1)


@pytest.mark.parametrize("name", STEPS)
def test_policy_finds_the_better_action(name):
    algo = trained(name, "ProbeActionReward-v0")
    assert choice(algo, 0.0) == 1
    if name == "dqn":
        assert value(algo, 0.0, action=0) == pytest.approx(-1.0, abs=0.1)


@pytest.mark.parametrize("name", STEPS)
def test_policy_matches_action_to_observation(name):
    algo = trained(name, "ProbeMatchObservation-v0")
    assert choice(algo, 1.0) == 1
    assert choice(algo, -1.0) == 0


@pytest.mark.parametrize("name", ["ppo", "reinforce"])
def test_continuous_action_comes_near_its_best(name):
    algo = trained(name, "ProbeMatchBox-v0", log_std_init=-1.0)
    assert choice(algo, 1.0)[0] == pytest.approx(0.5, abs=0.15)
    assert choice(algo, -1.0)[0] == pytest.approx(-0.5, abs=0.15)


@pytest.mark.parametrize("name", ["ppo", "reinforce"])
def test_independent_choices_are_each_right(name):
    algo = trained(name, "ProbeMatchPair-v0")
    assert choice(algo, 1.0).tolist() == [1, 2]
    assert choice(algo, -1.0).tolist() == [0, 2]


@pytest.mark.parametrize("name", STEPS)
def test_time_limit_keeps_its_bootstrap(name):
    """Reward 1 for ever, cut after 5 steps: 1 / (1 - 0.5) = 2. Without it the mean is about 1.6."""
    assert value(trained(name, "ProbeForeverOne-v0"), 0.0) == pytest.approx(2.0, abs=0.1)


# DQN by hand


def dqn(num_actions=2, num_envs=1, **changes):
    spec = EnvSpec((1,), "float32", ActionSpec("discrete", (), (num_actions,)), num_envs)
    return algos.load("dqn")(settings("dqn", **changes), spec, 1_000, 0, torch.device("cpu"))


def linear_q(weights):
    """Q(s, a) = weights[a] * s as parameters of a net without hidden layers."""
    column = torch.tensor(weights, dtype=torch.float32)[:, None]
    return {"q.0.weight": column, "q.0.bias": torch.zeros(len(weights))}


def two_transitions():
    """s=1, a=0, r=1, s'=2: one cut off by a time limit, one terminated."""
    ones = torch.ones(2)
    return Batch(
        obs=ones[:, None],
        action=torch.zeros(2, dtype=torch.int64),
        reward=ones,
        next_obs=2 * ones[:, None],
        terminated=torch.tensor([0.0, 1.0]),
        truncated=torch.tensor([1.0, 0.0]),
    )


@pytest.mark.parametrize(
    ("bootstrap", "loss", "expected"),
    [
        # online Q(s)=(3, 1), Q(s')=(6, 2); target Q(s')=(2, 10); gamma 0.5.
        # y = 1 + 0.5 * max(2, 10) = 6 and 1 where terminated; Q(s, 0) = 3.
        ("q_learning", "mse", ((3 - 6) ** 2 + (3 - 1) ** 2) / 2),
        ("q_learning", "huber", ((3 - 0.5) + (2 - 0.5)) / 2),
        # double: the online net picks action 0, the target rates it 2: y = 1 + 0.5 * 2 = 2.
        ("double", "mse", ((3 - 2) ** 2 + (3 - 1) ** 2) / 2),
    ],
)
def test_dqn_loss_is_the_papers(bootstrap, loss, expected):
    algo = dqn(hidden_sizes=[], bootstrap=bootstrap, loss=loss)
    online, target = linear_q([3.0, 1.0]), linear_q([1.0, 5.0])
    got, metrics = algo.loss(online, target, two_transitions(), torch.tensor(0.1))
    assert got.item() == pytest.approx(expected)
    assert metrics["q_mean"].item() == pytest.approx(3.0)


def test_each_env_tosses_its_own_coin():
    """Half the envs explore, on average, at each step; one coin for all would give 0 or all."""
    algo = dqn(
        num_actions=100, num_envs=1_000, learning_starts=0, epsilon_start=0.5, epsilon_end=0.5
    )
    obs = np.zeros((1_000, 1), np.float32)
    greedy = algo.predict(obs[:1], None)[0]
    explored = int((algo.act(obs, step=10) != greedy).sum())
    # 1000 coins of 0.5 * 0.99: mean 495, std 16; five of them either side
    assert 415 < explored < 575


def test_dqn_epsilon_falls_from_start_to_end_and_is_one_before_learning():
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
    assert algo.epsilon(50) == pytest.approx(0.2)  # the geometric mean half-way


def count_updates(algo, num_envs, vector_steps):
    calls = []
    algo.learner.step = lambda *inputs, **kw: calls.append(len(inputs[0].positions)) or {}
    zeros = np.zeros(num_envs)
    step = 0
    for _ in range(vector_steps):
        obs = np.zeros((num_envs, 1), np.float32)
        algo.observe(Transition(obs, zeros.astype(int), zeros, obs, zeros > 1, zeros > 1))
        step += num_envs
        algo.update(step)
    return sum(calls)


@pytest.mark.parametrize("num_envs", [1, 3, 8])
def test_dqn_updates_are_counted_in_env_steps(num_envs):
    """240 steps, the first 120 without learning, then a round of 2 updates every 4 steps: 60."""
    algo = dqn(num_envs=num_envs, learning_starts=120, train_every=4, gradient_steps=2)
    updates = count_updates(algo, num_envs, 240 // num_envs)
    assert updates == 60


@pytest.mark.parametrize("num_envs", [1, 8])
def test_soft_target_updates_are_counted_in_env_steps(num_envs):
    """One per env step, however many envs step at once."""
    algo = dqn(num_envs=num_envs, learning_starts=0, target_update_every=1, tau=0.5)
    calls = []
    algo.learner.update_target = calls.append
    count_updates(algo, num_envs, 80 // num_envs)
    assert calls == [0.5] * 80


def test_dqn_target_moves_only_when_due():
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


# PPO by hand


def ppo(**changes):
    spec = EnvSpec((1,), "float32", ActionSpec("discrete", (), (2,)), 2)
    return algos.load("ppo")(settings("ppo", **changes), spec, 1_000, 0, torch.device("cpu"))


def filled(algo, seed=0):
    rng = np.random.default_rng(seed)
    n = algo.spec.num_envs
    while not algo.rollout.full:
        obs, next_obs = rng.normal(size=(2, n, 1)).astype(np.float32)
        ends = rng.random((2, n)) < 0.1
        algo.observe(Transition(obs, algo.act(obs, 0), rng.normal(size=n), next_obs, *ends))
    return algo


def test_ratio_is_one_in_the_first_minibatch():
    """The policy that learns first is the one that acted: no clipping, no KL."""
    algo = filled(ppo())
    samples = algo.estimate(algo.rollout.batch())
    _, metrics = algo.loss(algo.learner.params, samples, 0.2, 0.0)
    assert metrics["approx_kl"].item() == pytest.approx(0.0, abs=1e-6)
    assert metrics["clip_fraction"].item() == 0.0


def test_value_target_is_advantage_plus_value():
    algo = filled(ppo())
    samples = algo.estimate(algo.rollout.batch())
    assert torch.allclose(samples.target, samples.advantage + samples.old_value)


@pytest.mark.parametrize("minibatch_size", [2, 7, 64, 1_000])
def test_an_epoch_covers_every_row_once(minibatch_size):
    """In three epochs three times, each in an order of its own; the same as one epoch at a time."""
    rng, other = np.random.default_rng(0), np.random.default_rng(0)
    parts = [row for part in minibatches(64, minibatch_size, rng, 3) for row in part]
    assert max(map(len, parts)) <= minibatch_size
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    rows = torch.cat(parts).view(3, 64).tolist()
    assert [sorted(epoch) for epoch in rows] == [list(range(64))] * 3
    assert rows[0] != rows[1] != rows[2]
    alone = [torch.cat([p.flatten() for p in minibatches(64, minibatch_size, other)]) for _ in rows]
    assert rows == torch.stack(alone).tolist()


def test_parts_of_one_size_that_follow_each_other_are_told_together():
    """Ten rows in parts of at most four: 4, 3, 3, twice. Of at most five: four of five."""
    rng = np.random.default_rng(0)
    assert [tuple(p.shape) for p in minibatches(10, 4, rng, 2)] == [(1, 4), (2, 3)] * 2
    assert [tuple(p.shape) for p in minibatches(10, 5, rng, 2)] == [(4, 5)]
    filled = filled_minibatches(10, 4, rng)
    assert [len(part) for part in filled] == [4, 4, 4]
    order = torch.cat(filled).tolist()
    assert sorted(order[:10]) == list(range(10))
    assert order[10:] == order[:2]


def test_kl_stop_ends_the_epochs():
    few, many = (filled(ppo(target_kl=kl, learning_rate=0.1, num_epochs=5)) for kl in (1e-9, 1e9))
    few.update(100), many.update(100)
    assert (
        few.learner.updates == 2
    )  # one minibatch an epoch; KL is 0 at the first and seen at the second
    assert many.learner.updates == 5


def test_value_clipping_takes_the_worse_error():
    """V went from 0 to 1, target 0.5, clip 0.2: (1-0.5)^2 = 0.25 against (0.2-0.5)^2 = 0.09."""
    algo = ppo(hidden_sizes=[], clip_value_loss=True)
    params = {k: torch.zeros_like(v) for k, v in algo.learner.params.items()}
    params["critic.0.bias"] = torch.ones(1)
    zeros = torch.zeros(4)
    rows = (torch.zeros(4, 1), zeros.long(), zeros - np.log(2), zeros, zeros + 0.5, zeros)
    samples = type(algo.estimate(filled(algo).rollout.batch()))(*rows)
    _, metrics = algo.loss(params, samples, 0.2, 0.0)
    assert metrics["value_loss"].item() == pytest.approx(0.5 * 0.25)


def test_ppo_waits_for_a_full_rollout_and_anneals_to_zero():
    algo = ppo(anneal_learning_rate=True)
    assert algo.update(1) is None
    assert algo.learning_rate(0) == pytest.approx(3e-3)
    assert algo.learning_rate(500) == pytest.approx(1.5e-3)
    assert algo.learning_rate(1_000) == 0.0


def test_the_first_rollout_has_the_full_step_size_and_the_last_is_not_wasted():
    """Four rollouts of 64 steps in a budget of 256: 1, 3/4, 1/2 and 1/4 of the step size."""
    algo = ppo(anneal_learning_rate=True, anneal_clip_coef=True, num_epochs=1)
    algo.total_timesteps = 256
    rates, clips = [], []

    def step(samples, clip_coef, ent_coef, learning_rate):
        rates.append(learning_rate / 3e-3)
        clips.append(clip_coef / 0.2)
        return {"approx_kl": torch.zeros(1)}

    algo.learner.step = step
    for end in (64, 128, 192, 256):
        filled(algo)
        algo.update(end)
    assert rates == pytest.approx([1.0, 0.75, 0.5, 0.25])
    assert clips == pytest.approx([1.0, 0.75, 0.5, 0.25])


# REINFORCE by hand


def reinforce(**changes):
    spec = EnvSpec((1,), "float32", ActionSpec("discrete", (), (2,)), 1)
    return algos.load("reinforce")(
        settings("reinforce", **changes), spec, 1, 0, torch.device("cpu")
    )


def test_reinforce_loss_weighs_log_probability_by_the_return():
    """Equal logits: log pi = -ln 2. Returns 1 and 3, no baseline: -(1 + 3)/2 * -ln 2 = 2 ln 2."""
    algo = reinforce(hidden_sizes=[], baseline="none", bootstrap_truncated=False)
    params = {k: torch.zeros_like(v) for k, v in algo.learner.params.items()}
    loss, _ = algo.loss(params, torch.zeros(2, 1), torch.tensor([0, 1]), torch.tensor([1.0, 3.0]))
    assert loss.item() == pytest.approx(2 * np.log(2))
    assert not any(name.startswith("critic") for name in params)


def test_the_baseline_gets_no_policy_gradient():
    """V = 2 and returns 1 and 3: weights -1 and 1 cancel; only the value loss 0.5 * 1 is left."""
    algo = reinforce(hidden_sizes=[], vf_coef=1.0)
    params = {k: torch.zeros_like(v) for k, v in algo.learner.params.items()}
    params["critic.0.bias"] = torch.tensor([2.0])
    params = {k: v.requires_grad_() for k, v in params.items()}
    args = torch.zeros(2, 1), torch.tensor([0, 0]), torch.tensor([1.0, 3.0])
    loss, metrics = algo.loss(params, *args)
    assert metrics["policy_loss"].item() == pytest.approx(0.0)
    assert loss.item() == pytest.approx(0.5)
    (gradient,) = torch.autograd.grad(loss, [params["critic.0.bias"]])
    assert gradient.item() == pytest.approx(0.0)  # of 0.5 * ((2-1)^2 + (2-3)^2) / 2


def test_a_cut_episode_is_bootstrapped_by_its_baseline_only():
    """Rewards 1, 1, gamma 0.5, V = 4 beyond the limit: G = (1 + 0.5 * 3, 1 + 0.5 * 4) = (2.5, 3)."""
    rows = torch.zeros(2, 1)
    flags = torch.tensor([0.0, 1.0])
    cut = Batch(rows, torch.zeros(2).long(), torch.ones(2), rows, torch.zeros(2), flags)
    algo = reinforce(hidden_sizes=[])
    algo.learner.params["critic.0.bias"].data.fill_(4.0)
    assert algo.returns(cut).tolist() == [2.5, 3.0]
    ended = cut._replace(terminated=flags, truncated=torch.zeros(2))
    assert algo.returns(ended).tolist() == [1.5, 1.0]
    assert reinforce(baseline="none", bootstrap_truncated=False).returns(cut).tolist() == [1.5, 1.0]


@pytest.mark.parametrize("name", STEPS)
def test_pixels_go_through_convolutions(name):
    """An update on (C, H, W) bytes moves the convolutions' weights."""
    kind = ActionSpec("discrete", (), (3,))
    spec = EnvSpec((2, 36, 36), "uint8", kind, 1)
    changes = {"rollout_length": 8, "minibatch_size": 8} if name == "ppo" else {}
    if name == "reinforce":
        changes = {"episodes_per_update": 1}
    if name == "dqn":
        changes = {"learning_starts": 4, "batch_size": 4}
    algo = algos.load(name)(settings(name, **changes), spec, 100, 0, torch.device("cpu"))
    before = algo.learner.params["encoder.0.weight"].detach().clone()
    rng, no = np.random.default_rng(0), np.array([False])
    for step in range(1, 9):
        obs, next_obs = rng.integers(256, size=(2, 1, 2, 36, 36), dtype=np.uint8)
        end = np.array([step == 8])
        reward = rng.normal(size=1)
        algo.observe(Transition(obs, algo.act(obs, step), reward, next_obs, end, no))
        algo.update(step)
    assert not torch.equal(before, algo.learner.params["encoder.0.weight"])


def test_what_a_step_led_to_is_valued_like_the_next_steps_beginning_unless_an_episode_ended():
    """A walk of two envs with two ends in it, against the network asked for every row."""
    algo = ppo()
    rng = np.random.default_rng(0)
    obs = torch.from_numpy(rng.normal(size=(9, 2, 1)).astype(np.float32))
    next_obs = obs[1:].clone()
    next_obs[3, 0], next_obs[5, 1] = 7.0, -7.0  # the next row begins with another episode
    asked = []
    zeros = torch.zeros(8, 2)
    batch = Batch(obs[:8], zeros.long(), zeros, next_obs, zeros, zeros)
    net, params = algo.net, algo.learner.params
    with torch.no_grad():
        value = net.value(params, batch.obs.flatten(0, 1)).view(8, 2)
        expected = net.value(params, next_obs.flatten(0, 1)).view(8, 2)
        plain, net.value = net.value, lambda p, o: asked.append(len(o)) or plain(p, o)
        found = net.next_value(params, batch, value)
    torch.testing.assert_close(found, expected)
    assert asked == [2 + 2]  # the ends, and the last row
