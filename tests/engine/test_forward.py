"""Forward passes in C equal numpy's except for rounding, and are used for training only."""

import os
import shutil

import numpy as np
import pytest
import torch
import yaml

from rl_cli import algos
from rl_cli.config.schema import build
from rl_cli.core.types import ActionSpec, EnvSpec, Transition
from rl_cli.engine import build_cache, forward
from rl_cli.models.action_distributions import Categorical
from rl_cli.models.networks import MLP
from tests.conftest import REPO

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")


def arrays_of(net, seed=0):
    return {k: v.numpy() for k, v in net.init(torch.Generator().manual_seed(seed)).items()}


@needs_compiler
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize(
    ("inputs", "hidden", "outputs"),
    [(4, (64, 64), 2), (8, (120, 84), 4), (3, (17,), 5), (2, (), 7), (1, (5, 9, 6), 1)],
)
def test_forward_equals_numpy(inputs, hidden, outputs, layer_norm, activation):
    net, quick = MLP("q", inputs, hidden, outputs, activation, layer_norm), forward.load()
    arrays = arrays_of(net)
    for rows in (1, 3, 8):
        x = np.random.default_rng(rows).normal(0.0, 3.0, (rows, inputs)).astype(np.float32)
        found = quick(net, arrays, x)
        assert found.shape == (rows, outputs)
        np.testing.assert_allclose(found, net.in_numpy(arrays, x), rtol=2e-5, atol=2e-6)


@needs_compiler
def test_forward_of_a_hand_computed_network():
    net = MLP("q", 2, (3,), 2, "relu")
    arrays = {
        "q.0.weight": np.array([[1, 2], [-1, 0], [0, 1]], np.float32),
        "q.0.bias": np.array([0, 0, -1], np.float32),
        "q.1.weight": np.array([[1, 10, 100], [2, 0, -1]], np.float32),
        "q.1.bias": np.array([0.5, 0], np.float32),
    }
    # hidden of (3, 4): 11, -3 -> 0, 3; of (-3, 1): -1 -> 0, 3, 0
    found = forward.load()(net, arrays, np.array([[3, 4], [-3, 1]], np.float32))
    assert found.tolist() == [[11 + 300 + 0.5, 22 - 3], [30 + 0.5, 0]]


@needs_compiler
@pytest.mark.parametrize("outputs", [1, 2, 5])
def test_samples_equal_those_of_categorical(outputs):
    net, quick = MLP("q", 3, (6,), outputs, "tanh"), forward.load()
    arrays, kind = arrays_of(net), Categorical(ActionSpec("discrete", (), (outputs,)))
    arrays["q.1.weight"] *= 20.0  # some choices likely, some not
    counts = np.zeros(outputs, int)
    for seed in range(200):
        x = np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32)
        one, other = np.random.default_rng(seed), np.random.default_rng(seed)
        found = quick.sample(net, arrays, x, one)
        assert found.dtype == np.int64
        assert found.tolist() == kind.sample({}, quick(net, arrays, x), other).tolist()
        assert one.random() == other.random()  # as many numbers were drawn
        counts += np.bincount(found, minlength=outputs)
    assert counts.min() > 0


@needs_compiler
def test_samples_at_both_ends_of_the_distribution():
    """Logits 0, log 3, -inf: 0 below a quarter, 1 above, 2 never, also after rounding."""
    net = MLP("q", 1, (), 3, "relu")
    bias = np.array([0.0, np.log(3.0), -np.inf], np.float32)
    arrays = {"q.0.weight": np.zeros((3, 1), np.float32), "q.0.bias": bias}

    class Points:
        def random(self, out):
            out[:] = [0.0, 0.2499, 0.2501, np.nextafter(1.0, 0.0)]

    found = forward.load().sample(net, arrays, np.zeros((4, 1), np.float32), Points())
    assert found.tolist() == [0, 0, 1, 1]


@needs_compiler
def test_forward_reads_current_parameters_and_propagates_nan():
    net, quick = MLP("q", 2, (8,), 3, "relu"), forward.load()
    arrays, x = arrays_of(net), np.ones((1, 2), np.float32)
    before = quick(net, arrays, x).copy()
    arrays["q.1.bias"] += 1.0
    np.testing.assert_allclose(quick(net, arrays, x), before + 1.0, rtol=1e-6)
    arrays["q.0.weight"][0, 0] = np.nan
    assert np.isnan(quick(net, arrays, x)).all()


@needs_compiler
def test_damaged_library_is_rebuilt(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    forward.load()
    (path,) = (tmp_path / "rl-cli").glob("forward_*.so")
    path.unlink()
    path.write_text("junk")
    os.utime(path, (0, 0))
    net = MLP("q", 2, (8,), 3, "relu")
    assert forward.load()(net, arrays_of(net), np.ones((2, 2), np.float32)).shape == (2, 3)

    os.utime(path, (0, 0))
    monkeypatch.setattr(build_cache, "_build", None)  # must not build again
    forward.load()
    assert path.stat().st_mtime > 0  # marked as used, or it would be pruned first


def make(name):
    kind = ActionSpec("discrete", (), (3,))
    keys = yaml.safe_load((REPO / "conf/algo" / f"{name}.yaml").read_text())
    keys |= {"learning_rate": 0.001, "adam_eps": 1e-5}  # YAML 1.1 reads 1e-3 as text
    cls, spec = algos.load(name), EnvSpec((5,), "float32", kind, 2)
    return cls(build(cls.Config, keys, "algo"), spec, 10_000, 0, torch.device("cpu"))


@pytest.mark.parametrize("name", ["dqn", "ppo"])
def test_only_training_uses_native_forward(name):
    algo, calls = make(name), []

    class Spy:
        def __call__(self, net, arrays, x):
            calls.append(len(x))
            return net.in_numpy(arrays, x)

        def sample(self, net, arrays, x, rng):
            calls.append(len(x))
            return np.zeros(len(x), np.int64)

    algo.learner.compile_with(None, Spy())
    obs = np.ones((2, 5), np.float32)
    algo.predict(obs, None), algo.predict(obs, np.random.default_rng(0))
    assert calls == []
    for _ in range(20):  # some of DQN's actions are random
        algo.act(obs, 10**6)
    assert set(calls) == {2}


def test_run_without_compiled_step_uses_numpy():
    algo = make("dqn")
    algo.learner.compile_with(None, lambda *_: None)
    saved = algo.learner.state_dict()
    assert saved["native"] is True
    algo.learner.load_state_dict({**saved, "compiled": True})
    assert algo.learner.native is not None
    algo.learner.load_state_dict({**saved, "compiled": True, "native": False})
    assert algo.learner.native is None  # the saved run used numpy
    assert algo.learner.state_dict()["native"] is False

    before = make("dqn").learner
    before.compile_with(None, lambda *_: None)
    del saved["native"]  # a checkpoint from before native forward passes
    before.load_state_dict({**saved, "compiled": True})
    assert before.native is None

    other = make("dqn")
    other.learner.compile_with(lambda *_: None, lambda *_: None)
    for _ in range(1_200):
        obs = np.zeros((2, 5), np.float32)
        flags = np.zeros(2, bool)
        other.observe(Transition(obs, np.zeros(2, np.int64), np.zeros(2), obs, flags, flags))
    assert other.update(5_000) is not None
    assert (other.learner.native, other.learner.is_compiled) == (None, False)


def test_run_without_compiler_prints_reason_once(command, tiny, tmp_path):
    words = [w for w in tiny if not w.startswith("compile")]
    done = command(
        "rl-train", "algo=dqn", "env=cartpole", *words, "algo.learning_starts=100", "compile=true",
        env={"PATH": "", "XDG_CACHE_HOME": str(tmp_path / "empty")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("uncompiled") + done.stdout.count("uncompiled") == 1
    assert "no C++ compiler is installed (g++)" in done.stderr + done.stdout


@needs_compiler
def test_network_with_the_id_of_a_deleted_one_is_prepared_anew():
    """An object made after another was deleted often has its id."""
    native, x = forward.load(), np.ones((1, 1), np.float32)
    for i in range(50):
        net = MLP("q", 1, (), 1 + i % 3, "relu")
        arrays = arrays_of(net, i)
        found = native(net, arrays, x)
        np.testing.assert_allclose(found, net.in_numpy(arrays, x), rtol=1e-6)
        del net, arrays


@needs_compiler
def test_forward_pass_reads_the_arrays_it_is_called_with():
    net, native, x = MLP("q", 1, (), 1, "relu"), forward.load(), np.ones((1, 1), np.float32)
    for seed in range(3):
        arrays = arrays_of(net, seed)
        np.testing.assert_allclose(native(net, arrays, x), net.in_numpy(arrays, x), rtol=1e-6)
