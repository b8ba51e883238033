"""Which collector a run gets."""

import pytest

from rl_cli.collectors import native, native_envs
from rl_cli.collectors.base import EagerCollector
from rl_cli.collectors.factory import DESCRIBED, make_collector
from rl_cli.collectors.native import NativeCollector
from rl_cli.collectors.native_envs import NativeEnvCollector
from tests.collectors.loop import BUDGET, Loop, never
from tests.engine.test_compiler import needs_compiler

pytestmark = needs_compiler


def made_for(loop):
    return type(make_collector(loop.algo, loop.envs, BUDGET, never))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("dqn", {"noisy": True}),
        ("dqn", {"dueling": True}),
        ("dqn", {"distributional": "c51"}),
        ("dqn", {"replay": "proportional"}),
        ("dqn", {"epsilon_factor": 0.99}),
        ("ppo", {"rollout_length": None, "rollout_episodes": 4}),
    ],
)
def test_algorithm_without_native_spec_gets_the_eager_collector(name, changes):
    assert made_for(Loop(name, "CartPole-v1", False, changes=changes)) is EagerCollector


@pytest.mark.parametrize("changes", [{"std": "gsde"}, {"std": "fixed"}, {"squash_actions": True}])
def test_other_action_distributions_get_the_eager_collector(changes):
    assert made_for(Loop("ppo", "Pendulum-v1", False, changes=changes)) is EagerCollector


def test_uncompiled_forward_pass_gets_the_eager_collector():
    loop = Loop("dqn", "CartPole-v1", False)
    loop.algo.learner.compile_with(None)
    assert made_for(loop) is EagerCollector


@pytest.mark.parametrize("error", [OSError, RuntimeError, AttributeError])
def test_missing_c_library_gets_the_eager_collector(monkeypatch, error):
    """No place to write, no compiler, another library."""

    def fails():
        raise error

    loop = Loop("dqn", "CartPole-v1", False)
    assert made_for(loop) is NativeEnvCollector
    monkeypatch.setattr(native_envs, "load", fails)
    assert made_for(loop) is NativeCollector
    monkeypatch.setattr(native, "load", fails)
    assert made_for(loop) is EagerCollector


@pytest.mark.parametrize(
    ("name", "part"),
    [(name, part) for name in ("dqn", "ppo") for part in ("buffer", "learner", "net")],
)
def test_subclass_of_a_part_gets_the_eager_collector(name, part):
    """It may store, update or act otherwise than the class whose work C does."""
    loop = Loop(name, "CartPole-v1", False)
    assert made_for(loop) is NativeEnvCollector
    own = getattr(loop.algo, part)
    own.__class__ = type("Mine", (type(own),), {})
    assert made_for(loop) is EagerCollector


@pytest.mark.parametrize("name", DESCRIBED)
def test_algorithm_that_overrides_a_described_method_gets_the_eager_collector(name):
    """The `native_spec` that it inherits describes another class."""
    loop = Loop("dqn", "CartPole-v1", False)
    inherited = type(loop.algo)
    loop.algo.__class__ = type("Mine", (inherited,), {name: lambda self, *args: None})
    assert made_for(loop) is EagerCollector
    loop.algo.__class__ = type("Mine", (inherited,), {"predict": None})
    assert made_for(loop) is NativeEnvCollector


def test_envs_or_buffer_that_c_does_not_know_are_stepped_in_python():
    """Other rewards, statistics of several envs, a window of n steps that is a subclass, a subclass of the
    envs or of one."""
    assert made_for(Loop("dqn", "CartPole-v1", False)) is NativeEnvCollector
    for more in (
        {"sign_reward": True},
        {"num_envs": 2, "normalize_obs": True},
        {"num_envs": 2, "normalize_reward": True},
    ):
        assert made_for(Loop("dqn", "CartPole-v1", False, **more)) is NativeCollector
    assert made_for(Loop("dqn", "LunarLander-v3", False)) is NativeCollector
    parts = (
        lambda loop: loop.envs,
        lambda loop: loop.envs.envs[0],
        lambda loop: loop.algo.replay.gatherer,
    )
    for subclassed in parts:
        loop = Loop("dqn", "CartPole-v1", False, changes={"n_step": 3})
        assert made_for(loop) is NativeEnvCollector
        part = subclassed(loop)
        part.__class__ = type("Mine", (type(part),), {})
        assert made_for(loop) is NativeCollector
