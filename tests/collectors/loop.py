"""A training loop without callbacks, on either collector, and a comparison of its states to the bit."""

import copy

import numpy as np
import torch

from rl_cli import algos
from rl_cli.collectors import native as native_collector
from rl_cli.collectors.base import EagerCollector
from rl_cli.collectors.factory import make_collector
from rl_cli.collectors.native import NativeCollector
from rl_cli.core.seeding import env_seeds
from rl_cli.engine import forward
from rl_cli.engine.compiler import StepCompiler
from rl_cli.envs.vector import VectorEnv
from rl_cli.training.build import store_raw
from tests.algos.test_algorithms import env_config, settings
from tests.buffers.test_replay import through_a_checkpoint

DQN = {"learning_starts": 60, "train_every": 7, "target_update_every": 25, "batch_size": 16}
PPO = {"rollout_length": 48, "num_epochs": 2, "minibatch_size": 24}
BUDGET = 1_000


def never():
    return False


class Loop:
    """collect, update, take the episodes; as the trainer does.

    Args:
        native: whether to collect with what `make_collector` returns; else eagerly.
        compiled: whether the update step is compiled, which inline updates need.
        raw: whether a replay buffer normalizes what it samples, as in `training.build`.
        python_envs: whether the native collector steps classic envs in Python too.

    """

    def __init__(
        self,
        name,
        env_id,
        native,
        num_envs=1,
        changes=None,
        compiled=False,
        python_envs=False,
        raw=False,
        **env,
    ):
        self.how = {"name": name, "env_id": env_id, "native": native, "num_envs": num_envs}
        self.how |= {
            "changes": changes,
            "compiled": compiled,
            "python_envs": python_envs,
            "raw": raw,
        }
        self.how |= env
        self.envs = VectorEnv(env_config(env_id, num_envs=num_envs, **env), env_seeds(3, num_envs))
        cfg = settings(name, **{"dqn": DQN, "ppo": PPO}.get(name, {}) | (changes or {}))
        cpu = torch.device("cpu")
        self.algo = algos.load(name)(cfg, self.envs.spec, BUDGET, 0, cpu)
        identity = f"collectors {(changes or {}).get('bootstrap')}"
        compiler = StepCompiler(identity, print) if compiled else None
        self.algo.learner.compile_with(compiler, forward.load())
        if raw:
            store_raw(self.algo, self.envs)
        self.eager = EagerCollector(self.algo, self.envs, BUDGET)
        made = make_collector(self.algo, self.envs, BUDGET, never)
        if python_envs:
            spec, library = self.algo.native_spec(), native_collector.load()
            made = NativeCollector(self.algo, self.envs, spec, library, BUDGET, never)
        self.collector = made if native else self.eager
        self.envs.record_episodes(True)
        self.envs.reset()
        self.step, self.episodes, self.calls = 0, [], 0
        self.metrics, self.inline_updates = [], 0  # of all updates; number of the inline ones

    def run(self, until):
        """Whole steps up to `until` or just past it; at the budget's end a part of one."""
        while self.step < until:
            collected = self.collector.collect(self.step, until)
            self.calls += 1
            self.step += collected.steps
            if collected.metrics is not None:
                self.inline_updates += self.note(collected.metrics)
            if (metrics := self.algo.update(self.step)) is not None:
                self.note(metrics)
            self.episodes += self.envs.take_episodes()
        return self

    def note(self, metrics):
        columns = (np.asarray(x).tolist() for x in metrics.values() if np.ndim(x))
        rows = list(zip(*columns, strict=True))
        self.metrics += rows
        return len(rows)

    def state(self):
        return {
            "step": self.step,
            "algo": self.algo.state_dict(),
            "policy": self.algo.policy_state(),
            "envs": self.envs.state_dict(),
            "inner": [np.array(getattr(env, "state", ())) for env in self.envs.envs],
            "moments": self.envs.obs_normalizer and self.envs.obs_normalizer.moments.state_dict(),
            "episodes": self.episodes,
            "recordings": [
                (r.episode, r.start_state, np.array(r.actions)) for r in self.envs.recordings
            ],
        }

    def resumed(self):
        """Another loop in this one's state, taken through a checkpoint; it counts anew."""
        other, state = Loop(**self.how), copy.deepcopy(through_a_checkpoint(self.state()))
        other.algo.load_policy({k: torch.as_tensor(v) for k, v in state["policy"].items()})
        other.algo.load_state_dict(state["algo"])
        if other.envs.obs_normalizer is not None:  # in a run it is in the policy's file
            other.envs.obs_normalizer.moments.load_state_dict(state["moments"])
        assert other.envs.load_state_dict(state["envs"]) == []
        other.envs.take_recordings()
        other.step, other.episodes = self.step, list(self.episodes)
        other.envs.recordings += self.envs.recordings
        return other


def assert_same_bits(a, b, at=""):
    """Every number of two nested states has the same bits."""
    if isinstance(a, torch.Tensor):
        a, b = a.numpy(), b.numpy()
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype, at
        assert a.shape == b.shape, at
        assert a.tobytes() == b.tobytes(), at
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), at
        for key in a:
            assert_same_bits(a[key], b[key], f"{at}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), at
        for i, pair in enumerate(zip(a, b, strict=True)):
            assert_same_bits(*pair, f"{at}[{i}]")
    elif not callable(a):
        assert a == b, at
