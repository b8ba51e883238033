"""Answers about ids of installed packages, and MinAtar games."""

import sys
import types
from importlib import metadata

import gymnasium as gym
import numpy as np
import pytest

from rl_cli.core.errors import BadInput
from rl_cli.envs import minatar, packages
from rl_cli.envs.make import make_env
from rl_cli.envs.registered_ids import module_of
from rl_cli.envs.vector import VectorEnv
from tests.algos.test_algorithms import env_config
from tests.probe_envs import Probe

SOURCE = "from gymnasium import register\nregister(id={}, entry_point='lab.line:Line')\n"


def install(folder, name, files, requires="gymnasium>=1", editable=False):
    """A package as pip leaves it."""
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\nRequires-Dist: {requires}\n"
    )
    top = folder / "source" if editable else folder
    for path, text in files.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)
    listed = list(files)
    if editable:
        (folder / f"{name}.pth").write_text(f"{top}\n")
        listed = [f"{name}.pth"]
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in listed))


@pytest.mark.parametrize("editable", [False, True])
@pytest.mark.parametrize("written", ['"lab/DictLine-v1"', "'DictLine-v1'"])
def test_id_of_a_package_that_is_not_imported_names_its_module(
    here, monkeypatch, editable, written
):
    files = {"lab/__init__.py": "", "lab/envs/__init__.py": SOURCE.format(written)}
    if editable:
        files = {"lab/__init__.py": SOURCE.format(written)}
    install(here, "lab", files, editable=editable)
    monkeypatch.syspath_prepend(here)
    with pytest.raises(BadInput) as refused:
        make_env(env_config("lab/DictLine-v1"))
    module = "lab" if editable else "lab.envs"
    assert refused.value.fix.endswith(f": env.id={module}:lab/DictLine-v1")
    assert "lab" not in sys.modules


def test_only_sources_of_packages_that_need_gymnasium_are_searched(here, monkeypatch):
    install(here, "other", {"other/__init__.py": SOURCE.format('"Line-v7"')}, requires="numpy")
    install(here, "near", {"near/__init__.py": SOURCE.format('"Line-v70"')})
    monkeypatch.syspath_prepend(here)
    assert module_of("Line-v7") is None
    assert module_of("Line-v70") == "near"


LOOP = "from gymnasium import register\nfor size in (3, 5):\n    env_id = {}\n    register(id=env_id)\n"
BUILT = {
    "f-string": 'f"Maze{size}x{size}-v0"',
    "format": '"Maze{}x{}-v0".format(size, size)',
    "percent": '"Maze%dx%d-v0" % (size, size)',
    "sum": '"Maze" + str(size) + "x" + str(size) + "-v0"',
}


@pytest.mark.parametrize("way", BUILT)
def test_id_that_is_built_names_the_module_that_builds_it(way, here, monkeypatch):
    files = {"maze/__init__.py": "from maze import tasks", "maze/tasks.py": LOOP.format(BUILT[way])}
    install(here, "maze", files)
    install(here, "any", {"any/__init__.py": LOOP.format('f"{size}-v0"')})  # says nothing
    install(here, "broken", {"broken/__init__.py": "register("})
    monkeypatch.syspath_prepend(here)
    assert module_of("Maze5x5-v0") == module_of("lab/Maze9x9-v0") == "maze"
    assert module_of("Maze5x5-v1") is module_of("Line5x5-v0") is None
    assert not {"maze", "any", "broken"} & set(sys.modules)


def test_source_that_registers_an_id_comes_before_one_that_names_it(here, monkeypatch):
    mention = (
        'from gymnasium import register\n"Example: make(\'Line-v7\')"\nids = ["Line-v7", "Dot-v7"]'
    )
    install(here, "a", {"a/__init__.py": mention})
    install(here, "b", {"b/__init__.py": "", "b/deep/lines.py": SOURCE.format('"Line-v7"')})
    (here / "b/deep/__init__.py").write_text("from .lines import *")
    monkeypatch.syspath_prepend(here)
    assert module_of("Line-v7") == "b.deep"
    assert module_of("Dot-v7") == "a"
    assert module_of("a/Other-v7") == "a"  # by its namespace


def test_ids_that_an_entry_point_registers(here, monkeypatch):
    """A package that registers nothing on import, as those for earlier versions of gymnasium."""
    source = "from gymnasium import register\ndef register_all():\n"
    source += "    register('PointLine-v7', 'gymnasium.envs.classic_control:CartPoleEnv')\n"
    install(here, "pointed", {"pointed/__init__.py": source})
    entry = "[gymnasium.envs]\n__root__ = pointed:register_all\n"
    (here / "pointed-1.dist-info/entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(here)
    with pytest.raises(BadInput) as refused:
        make_env(env_config("PointLine-v7"))
    assert refused.value.fix.endswith(": env.id=pointed:PointLine-v7")
    assert make_env(env_config("pointed:PointLine-v7")).observation_space.shape == (4,)
    gym.registry.pop("PointLine-v7")


def failing(name, text=""):
    """A function of a module of this name that raises AssertionError."""
    module = types.ModuleType(f"{name}.deep")
    exec(f"def fail():\n    assert False{text}\n", vars(module))
    return module.fail


@pytest.mark.parametrize(
    ("name", "version", "advice"),
    [
        ("robots", "4.0.0", 'pip install "mujoco<4"'),
        ("robots", "3.17.0", None),
        ("gymnasium_robotics", "3.17.0", 'pip install "mujoco==3.3.7"'),
        ("gymnasium_robotics", "3.3.7", None),
        ("dm_control", "4.0.0", 'pip install "mujoco==3.17.0"'),
        ("plain", "4.0.0", None),  # does not need mujoco
    ],
)
def test_error_of_a_package_for_an_earlier_mujoco_names_the_version(
    here, monkeypatch, name, version, advice
):
    requires = "gymnasium" if name == "plain" else "mujoco>=2"
    install(here, name, {f"{name}/__init__.py": ""}, requires=requires)
    monkeypatch.syspath_prepend(here)
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda n: version if n == "mujoco" else real(n))
    answer = packages.too_new_mujoco(_raised(name))
    assert answer == advice if advice is None else answer.endswith(advice)


def _raised(name):
    with pytest.raises(AssertionError) as raised:
        failing(name)()
    return raised.value


class OldGenerator(Probe):
    """The generator is a RandomState, as in dm_control."""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=None)
        if seed is not None:
            self._np_random = np.random.RandomState(seed)
        return self.obs, {}

    def step(self, action):
        self.obs = np.array([self._np_random.rand()], np.float32)
        return self.obs, float(self.obs[0]), True, False, {}


gym.register("TestOldGenerator-v0", OldGenerator)


def test_env_with_a_generator_of_its_own_kind_gets_a_seed_per_episode():
    def rewards():
        envs = VectorEnv(env_config("TestOldGenerator-v0", num_envs=2), [1, 2])
        envs.reset()
        return [envs.step(np.zeros(2, np.int64))[0].reward.tolist() for _ in range(3)]

    first = rewards()
    assert first == rewards()
    assert len({value for row in first for value in row}) == 6


def test_exception_without_text_is_described_by_its_line():
    with pytest.raises(AssertionError) as raised:
        assert sys.maxsize < 0
    raised.value.args = ()
    text = packages.described(raised.value)
    assert text.startswith("AssertionError at test_packages.py:")
    assert text.endswith(": assert sys.maxsize < 0")
    assert packages.described(ValueError("no")) == "ValueError: no"


class Game:
    """The interface of minatar.Environment: the state depends on its generator and on sticky actions."""

    n_channels = 2

    def __init__(self, name, sticky_action_prob, difficulty_ramping):
        assert (name, sticky_action_prob, difficulty_ramping) == ("breakout", 0.5, False)
        self.sticky, self.last_action, self.at = sticky_action_prob, 0, 0

    def seed(self, seed):
        self.random = np.random.RandomState(seed)

    def minimal_action_set(self):
        return [0, 1, 3]

    def state_shape(self):
        return [10, 10, 2]

    def reset(self):
        self.at = self.random.randint(10)

    def act(self, action):
        if self.random.rand() < self.sticky:
            action = self.last_action
        self.last_action = action
        self.at += {0: 0, 1: -1, 3: 1}[action]
        return int(action == 3), not 0 <= self.at < 10

    def state(self):
        state = np.zeros((10, 10, 2), bool)
        state[0, self.at % 10, 1] = True
        return state


@pytest.fixture
def breakout(monkeypatch):
    module = types.ModuleType("minatar")
    module.Environment = Game
    module.__spec__ = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "minatar", module)
    kwargs = {"sticky_action_prob": 0.5, "difficulty_ramping": False}
    return env_config("MinAtar/Breakout-v1", kwargs=kwargs)


def test_minatar_episodes_follow_from_seed_and_actions(breakout):
    def played(seed):
        env = make_env(breakout)
        episodes = []
        for s in (seed, None, None):
            obs, _ = env.reset(seed=s)
            seen = [obs.copy()]
            for action in (2, 2, 1, 2, 0, 1):
                obs, _reward, over, _, _ = env.step(action)
                seen.append(obs.copy())
                if over:
                    break
            episodes.append(np.array(seen))
        return episodes

    first, again, other = played(1), played(1), played(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=False))


def test_minatar_run_resumes_its_episode(breakout):
    whole, part = VectorEnv(breakout, [3]), VectorEnv(breakout, [3])
    actions = np.random.default_rng(0).integers(3, size=(40, 1))
    whole.reset(), part.reset()
    for action in actions[:25]:
        whole.step(action), part.step(action)
    resumed = VectorEnv(breakout, [3])
    assert resumed.load_state_dict(part.state_dict()) == []
    for action in actions[25:]:
        a, b = whole.step(action)[0], resumed.step(action)[0]
        assert np.array_equal(a.next_obs, b.next_obs)
        assert a.reward == b.reward


def test_minatar_frames_show_each_kind_of_object_in_a_color(breakout):
    minatar.register()
    env = minatar.MinAtar("breakout", "rgb_array", 0.5, False)
    env.reset(seed=0)
    frame = env.render()
    assert frame.shape == (160, 160, 3)
    assert len(np.unique(frame.reshape(-1, 3), axis=0)) == 2
