"""Compiled steps equal plain ones; a missing compiler or damaged cache never breaks a run."""

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import load_file

from rl_cli import algos
from rl_cli.algos.factory import COMPILE_FROM, settings_of, worth_compiling
from rl_cli.algos.ppo import Samples
from rl_cli.config.schema import build
from rl_cli.core.types import ActionSpec, Batch, EnvSpec, Rows, Transition
from rl_cli.engine import build_cache, trial
from rl_cli.engine import compiler as compiler_module
from rl_cli.engine.compiler import StepCompiler
from rl_cli.engine.functions import copied, eager_loop
from rl_cli.engine.tracing import arithmetic, trace
from tests.conftest import FULL, REPO

CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
COMMON = {
    "gamma": 0.9, "learning_rate": 1e-2, "anneal_learning_rate": False, "adam_eps": 1e-5,
    "max_grad_norm": 0.5, "hidden_sizes": [12, 12],
}  # fmt: skip
KEYS = {
    "dqn": {
        "buffer_size": 50, "batch_size": 16, "learning_starts": 0, "train_every": 1,
        "gradient_steps": 1, "target_update_every": 3, "tau": 1.0, "bootstrap": "double", "loss": "huber",
        "epsilon_start": 1.0, "epsilon_end": 0.1, "epsilon_steps": 10, "epsilon_decay": "linear",
        "activation": "relu",
    },
    "ppo": {
        "rollout_length": 32, "rollout_episodes": None, "num_epochs": 1, "minibatch_size": 16,
        "advantage": "gae", "gae_lambda": 0.9, "bootstrap_truncated": True,
        "recompute_advantage": False, "normalize_advantage": "minibatch", "clip_coef": 0.2,
        "anneal_clip_coef": True, "clip_value_loss": True, "ent_coef": 0.01,
        "anneal_ent_coef": False, "vf_coef": 0.5, "vf_learning_rate": None,
        "shared_network": False, "target_kl": None, "std": "learned", "log_std_init": 0.0,
        "sde_sample_every": 4, "squash_actions": False, "activation": "tanh",
    },
    "reinforce": {
        "episodes_per_update": 1, "normalize_returns": True, "discount_weighting": True,
        "sum_over_steps": True, "baseline": "value", "baseline_decay": 0.9,
        "bootstrap_truncated": True, "vf_coef": 0.5, "ent_coef": 0.01, "log_std_init": 0.0,
        "activation": "tanh",
    },
}  # fmt: skip


def make(name, steps=1_000, **changes):
    cls = algos.load(name)
    kind = ActionSpec("discrete", (), (3,))
    if name != "dqn":
        kind = ActionSpec("box", (2,), (), (-1.0, -1.0), (1.0, 1.0))
    defaults = yaml.safe_load((REPO / "conf/algo" / f"{name}.yaml").read_text())
    cfg = build(cls.Config, {**defaults, **COMMON, **KEYS[name], **changes}, "algo")
    return cls(cfg, EnvSpec((5,), "float32", kind, 1), steps, 0, CPU)


def inputs(name, seed=0, batch=16):
    """Random inputs, as the algorithm passes them to its learner."""
    g = torch.Generator().manual_seed(seed)
    obs, other = torch.randn(50, 5, generator=g), torch.randn(50, 5, generator=g)
    numbers = torch.randn(4, 50, generator=g)
    ends = (torch.rand(50, generator=g) < 0.2).float()
    positions = torch.randint(50, (1, batch), generator=g)
    if name == "dqn":
        action = torch.randint(3, (50,), generator=g)
        return (Rows(Batch(obs, action, numbers[0], other, ends, ends), positions), 0.1)
    action = torch.randn(50, 2, generator=g)
    if name == "reinforce":
        return obs, action, numbers[0], numbers[1].abs()
    return Rows(Samples(obs, action, -numbers[0].abs() - 2, *numbers[1:]), positions), 0.2, 0.01


def no_faster(function, arguments, changing):
    return eager_loop(function, changing)


def tracing(function, arguments, changing):
    return eager_loop(trace(function, copied(arguments)), changing)


def compiler(notes, identity="test"):
    return StepCompiler(identity, notes.append)


@needs_compiler
@pytest.mark.parametrize("name", ["dqn", "ppo"] if FULL else ["dqn"])
def test_compiled_step_equals_plain_step(name, tmp_path, monkeypatch):
    """Parameters and metrics over twenty steps on random rows; then again from the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    notes, plain, fast = [], make(name).learner, make(name).learner
    fast.compile_with(compiler(notes))
    for step in range(20):
        row = inputs(name, step)
        expected = plain.update(*row, learning_rate=1e-3 / (step + 1))
        found = fast.update(*row, learning_rate=1e-3 / (step + 1))
        assert list(expected) == list(found)
        for key, value in expected.items():
            torch.testing.assert_close(torch.as_tensor(found[key]), value, rtol=1e-3, atol=1e-5)
        if step % 5 == 0 and plain.flat_target is not None:
            plain.update_target(0.5), fast.update_target(0.5)
    torch.testing.assert_close(fast.flat, plain.flat, rtol=1e-3, atol=2e-5)
    assert (fast.is_compiled, plain.is_compiled) == (True, False)
    assert notes == [compiler_module.COMPILING]

    def no_tracing(*_):
        raise AssertionError("traced although the cache has it")

    monkeypatch.setattr(compiler_module, "trace", no_tracing)
    again = make(name).learner
    again.compile_with(compiler(notes))
    for step in range(20):
        again.update(*inputs(name, step), learning_rate=1e-3 / (step + 1))
        if step % 5 == 0 and again.flat_target is not None:
            again.update_target(0.5)
    assert torch.equal(again.flat, fast.flat)  # the same library, the same bits
    assert len(notes) == 1


def doubled(x):
    return [2 * x]


def junk(graph, arguments, scratch, threads, notify):
    """In place of `inductor.build`: a file that is not a library."""
    (scratch / "step.so").write_text("junk")
    return scratch / "step.so"


@needs_compiler
def test_damaged_library_is_rebuilt(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiler_module, "build", junk)
    notes, learner = [], make("dqn").learner
    learner.compile_with(compiler(notes))
    learner.update(*inputs("dqn"), learning_rate=1e-3)  # continues uncompiled
    assert learner.is_compiled is False
    assert notes[1].startswith("the update step runs uncompiled, slower: ")

    def failing(graph, arguments, scratch, threads, notify):
        raise ZeroDivisionError("built again")

    monkeypatch.setattr(compiler_module, "build", failing)
    second = make("dqn").learner
    second.compile_with(compiler(notes))
    second.update(*inputs("dqn"), learning_rate=1e-3)
    assert notes[-1] == "the update step runs uncompiled, slower: built again"


@needs_compiler
def test_two_libraries_of_a_run_are_announced_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiler_module, "build", junk)
    notes = []
    build_library = compiler(notes)
    for size in (3, 4):
        build_library(doubled, [torch.ones(size)], [0])
    assert notes[0] == compiler_module.COMPILING
    assert len(list((tmp_path / "rl-cli").glob("*.so"))) == 2  # both were built
    assert notes.count(compiler_module.COMPILING) == 1


FAMILIES = [
    ("ppo", {"std": "fixed", "ent_coef": 0.0, "shared_network": True}),
    ("ppo", {"std": "state_dependent", "normalize_advantage": "rollout", "squash_actions": True}),
    ("ppo", {"std": "gsde", "squash_actions": True, "vf_learning_rate": 0.3}),
    ("reinforce", {}),
    ("reinforce", {"baseline": "none", "bootstrap_truncated": False, "normalize_returns": False}),
]


@pytest.mark.parametrize(("name", "changes"), FAMILIES)
def test_traced_step_of_each_variant_equals_plain_step(name, changes):
    """The traced operations, cheaper substitutes included, give the same numbers."""
    plain, traced = make(name, **changes).learner, make(name, **changes).learner
    traced.compile_with(tracing)
    for _ in range(3):
        expected = plain.update(*inputs(name), learning_rate=1e-2)
        found = traced.update(*inputs(name), learning_rate=1e-2)
        for key, value in expected.items():
            torch.testing.assert_close(torch.as_tensor(found[key]), value, rtol=1e-3, atol=1e-5)
        assert traced.is_compiled
    torch.testing.assert_close(traced.flat, plain.flat, rtol=1e-3, atol=2e-5)


@needs_compiler
@pytest.mark.skipif(not FULL, reason="compiles a library per variant; long form")
@pytest.mark.parametrize(("name", "changes"), FAMILIES)
def test_compiled_step_of_each_variant_equals_plain_step(name, changes):
    """In the tests' shared cache: compiled in the first run of the tests only."""
    notes, plain, fast = [], make(name, **changes).learner, make(name, **changes).learner
    fast.compile_with(compiler(notes, f"{compiler_module.source_digest()} {name} {changes}"))
    for step in range(10):
        expected = plain.update(*inputs(name, step), learning_rate=1e-3)
        found = fast.update(*inputs(name, step), learning_rate=1e-3)
        for key, value in expected.items():
            torch.testing.assert_close(torch.as_tensor(found[key]), value, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(fast.flat, plain.flat, rtol=1e-3, atol=5e-5)
    assert fast.is_compiled, notes


def digest(name, **changes):
    learner = make(name, **changes).learner
    seen = []
    learner.compile_with(lambda function, arguments, changing: seen.append((function, arguments)))
    learner.update(*inputs(name), learning_rate=1e-3)
    return arithmetic(trace(*seen[0]))


def test_runtime_arguments_do_not_change_the_digest():
    assert digest("dqn") == digest("dqn", learning_rate=0.5, epsilon_end=0.0, batch_size=8)
    assert digest("ppo") == digest(
        "ppo", learning_rate=0.5, clip_coef=0.9, ent_coef=0.5, num_epochs=7
    )


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("dqn", {"gamma": 0.99}),
        ("dqn", {"bootstrap": "q_learning"}),
        ("dqn", {"max_grad_norm": None}),
        ("dqn", {"adam_eps": 1e-8}),
        ("ppo", {"vf_learning_rate": 0.1}),
        ("ppo", {"std": "state_dependent"}),
        ("ppo", {"clip_value_loss": False}),
        ("ppo", {"activation": "relu"}),
    ],
)
def test_other_arithmetic_changes_the_digest(name, change):
    assert digest(name) != digest(name, **change)


@pytest.mark.parametrize("place", [0, 1], ids=["parameters", "momentum"])
def test_library_with_other_results_is_rejected(place, tmp_path, monkeypatch):
    """For example a library compiled from a loss whose source the cache key did not cover."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    intended = make("dqn").learner
    seen = []
    intended.compile_with(lambda function, arguments, changing: seen.append(function))
    intended.update(*inputs("dqn"), learning_rate=1e-3)

    def wrong(library, arguments, outputs, changing, constants):
        def run(*arguments):
            values = eager_loop(seen[0], changing)(*arguments)
            arguments[place].mul_(1.1)
            return values

        return run

    notes, learner = [], make("dqn").learner
    monkeypatch.setattr(trial, "CompiledStep", wrong)
    monkeypatch.setattr(compiler_module, "build", junk)
    learner.compile_with(compiler(notes))
    learner.update(*inputs("dqn"), learning_rate=1e-3)
    assert notes[-1].endswith("the compiled step differs from the plain one")
    assert learner.is_compiled is False
    assert torch.equal(learner.flat, intended.flat)  # the trial changes nothing


def test_nan_results_do_not_reject_the_compiled_step():
    """The run fails later, at the check of the policy, with the right message."""
    learner = make("dqn").learner
    learner.compile_with(no_faster)
    rows, epsilon = inputs("dqn")
    rows.table.reward[:] = math.nan
    metrics = learner.update(rows, epsilon, learning_rate=1e-3)
    assert math.isnan(metrics["loss"])


def test_trial_leaves_parameters_unchanged():
    plain, tried = make("dqn").learner, make("dqn").learner
    tried.compile_with(no_faster)
    for learner in (plain, tried):
        learner.update(*inputs("dqn"), learning_rate=1e-3)
    assert torch.equal(plain.flat, tried.flat)
    assert plain.updates == tried.updates == 1


def test_at_most_four_shapes_are_compiled():
    compiled, learner = [], make("dqn").learner
    learner.compile_with(lambda *what: compiled.append(1) or no_faster(*what))
    for batch in range(2, 12):
        learner.update(*inputs("dqn", batch=batch), learning_rate=1e-3)
    assert len(compiled) == 4
    assert learner.updates == 10


@pytest.mark.parametrize(
    ("name", "steps", "wish", "answer"),
    [
        ("dqn", COMPILE_FROM, "auto", True),  # an update per step from step 0
        ("dqn", COMPILE_FROM - 1, "auto", False),
        ("dqn", 10, True, True),
        ("dqn", 10 * COMPILE_FROM, False, False),
        ("ppo", COMPILE_FROM * 16, "auto", True),  # two minibatches of 16 a rollout of 32
        ("ppo", COMPILE_FROM * 16 - 32, "auto", False),
        ("reinforce", COMPILE_FROM, True, False),  # episodes, no two of a length
    ],
)
def test_worth_compiling_depends_on_configuration_alone(name, steps, wish, answer):
    assert worth_compiling(wish, make(name, steps)) is answer


SWITCHES = ["algo=dqn", "hparams=none", "algo.learning_starts=100", "algo.hidden_sizes=[16]"]


def weights(folder):
    return load_file(folder / "checkpoints" / "000000400" / "policy.safetensors")


@needs_compiler
def test_compiled_runs_are_bit_identical(command, tiny, here):
    """Two processes; a run that ends early and is resumed; a plain run with the same parameters."""
    args = [*SWITCHES, *tiny]
    for name in ("one", "two"):
        assert command("rl-train", *args, "compile=true", f"run_dir={name}").returncode == 0
    early = [a for a in args if not a.startswith("total")]
    started = command("rl-train", *early, "total_timesteps=250", "compile=true", "run_dir=half")
    assert started.returncode == 0
    assert command("rl-train", "resume=half", "total_timesteps=400").returncode == 0
    assert command("rl-train", *args, "compile=false", "run_dir=plain").returncode == 0
    one, two, half, plain = (weights(here / name) for name in ("one", "two", "half", "plain"))
    assert all(np.array_equal(one[key], two[key]) for key in one)
    assert all(np.array_equal(one[key], half[key]) for key in one)
    assert plain.keys() == one.keys()
    status = json.loads((here / "one" / "status.json").read_text())
    assert status["compiled"] is True


def test_run_without_compiler_prints_reason_and_continues(command, tiny, here, tmp_path):
    empty = {"PATH": "", "XDG_CACHE_HOME": str(tmp_path / "cache"), "CXX": "no-such-compiler"}
    args = [a for a in tiny if not a.startswith("quiet")]
    done = command("rl-train", *SWITCHES, *args, "compile=true", "run_dir=run", env=empty)
    assert done.returncode == 0, done.stderr
    assert "runs uncompiled, slower: no C++ compiler is installed" in done.stdout + done.stderr
    assert json.loads((here / "run" / "status.json").read_text())["state"] == "completed"


RAINBOW = {
    "bootstrap": "double", "n_step": 3, "dueling": True, "noisy": True, "distributional": "c51",
    "num_atoms": 11, "replay": "proportional",
}  # fmt: skip
OF_DQN = {
    "rainbow": RAINBOW,
    "qr": {"bootstrap": "sarsa", "distributional": "qr", "num_atoms": 7, "replay": "softmax"},
    "online": {"target_update_every": 0, "bootstrap": "expected_sarsa", "q_l1_coef": 0.1},
    "clipped": {"bootstrap_truncated": False, "max_grad_value": 0.01, "loss": "mse"},
}


def trained(algo, steps=40):
    """An agent's first steps, on random observations."""
    rng = np.random.default_rng(0)
    for step in range(steps):
        obs, following = rng.standard_normal((2, 1, 5)).astype(np.float32)
        ends = rng.random((2, 1)) < 0.1
        algo.observe(Transition(obs, algo.act(obs, step), obs[:, 0], following, *ends))
        algo.update(step + 1)


@pytest.mark.parametrize("family", OF_DQN)
def test_trace_of_each_dqn_variant_equals_plain_step(family, monkeypatch):
    algo, seen = make("dqn", **OF_DQN[family]), []

    def traced(library, arguments, outputs, changing, constants):
        return eager_loop(seen[0], changing)

    def compiler(function, arguments, changing):
        seen.append(trace(function, copied(arguments)))
        return trial.load_checked(Path("traced"), function, arguments, changing)

    monkeypatch.setattr(trial, "CompiledStep", traced)
    algo.learner.compile_with(compiler)
    trained(algo)
    plain = make("dqn", **OF_DQN[family])
    trained(plain)
    assert len(seen) == 1
    assert algo.learner.is_compiled
    torch.testing.assert_close(algo.learner.flat, plain.learner.flat, rtol=1e-3, atol=1e-4)


@needs_compiler
@pytest.mark.skipif(os.environ.get("RL_CLI_BARS") != "full", reason="half a minute; make bars")
def test_compiled_rainbow_equals_plain_rainbow(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    notes, plain, fast = [], make("dqn", **RAINBOW), make("dqn", **RAINBOW)
    fast.learner.compile_with(compiler(notes))
    for algo in (plain, fast):
        trained(algo, 30)
    assert notes == [compiler_module.COMPILING]
    torch.testing.assert_close(fast.learner.flat, plain.learner.flat, rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(fast.replay.priority[:20], plain.replay.priority[:20], atol=1e-2)


@needs_compiler
@pytest.mark.skipif(not FULL, reason="a library of its own; set RL_CLI_BARS=full")
def test_runs_with_other_hyper_parameters_share_a_library(tmp_path, monkeypatch):
    """Three gammas, one with another norm: one library, and each run equals its plain one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    notes = []
    for gamma, norm in ((0.9, 0.3), (0.97, 0.3), (0.8, 0.4), (0.8, 0.4)):
        changes = {"gamma": gamma, "max_grad_norm": norm}
        plain, fast = make("dqn", **changes).learner, make("dqn", **changes).learner
        identity = f"{changes}"  # as the configurations are others
        fast.compile_with(
            StepCompiler(identity, notes.append, settings_of(make("dqn", **changes).cfg))
        )
        for step in range(10):
            for learner in (plain, fast):
                learner.update(*inputs("dqn", step), learning_rate=1e-2)
        torch.testing.assert_close(fast.flat, plain.flat, rtol=1e-3, atol=2e-5)
        assert fast.is_compiled
    assert notes == [compiler_module.COMPILING]
    assert len(list((tmp_path / "rl-cli").glob("????????????????????????????????.so"))) == 1


@needs_compiler
@pytest.mark.skipif(not FULL, reason="compiles a library; long form")
def test_entry_without_constants_is_written_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    notes = []
    for _ in range(2):
        learner = make("dqn").learner
        learner.compile_with(StepCompiler("the same", notes.append, {0.9}))
        learner.update(*inputs("dqn"), learning_rate=1e-2)
        assert learner.is_compiled
        (known,) = (tmp_path / "rl-cli").glob("*.txt")
        library, value = build_cache.read(known).split()
        assert value == b"0.9"
        build_cache.publish(library, known)
    assert notes == [compiler_module.COMPILING]  # the library is good
