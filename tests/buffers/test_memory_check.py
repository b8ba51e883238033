"""The memory check before torch is imported gives the same answer as the buffer itself."""

from __future__ import annotations

import pytest
import torch

from rl_cli import algos
from rl_cli.buffers import memory_check
from rl_cli.buffers.n_step import make_lookahead
from rl_cli.buffers.prioritized import make_replay
from rl_cli.buffers.rollout import make_rollout
from rl_cli.core import memory
from rl_cli.core.errors import BadInput
from rl_cli.core.types import ActionSpec, EnvSpec
from tests.config.test_config import compose

VECTOR = EnvSpec((4,), "float32", ActionSpec("discrete", (), (2,)), 3)
PIXELS = EnvSpec((4, 84, 84), "uint8", ActionSpec("discrete", (), (6,)), 1)
BOX = EnvSpec((3,), "float32", ActionSpec("box", (2,), (), (-1.0,) * 2, (1.0,) * 2), 2)


def config(*words):
    return algos.build_run_config(compose("hparams=none", *words)).algo


def replay_of(cfg, spec):
    lookahead = make_lookahead(cfg.n_step, cfg.gamma, cfg.bootstrap == "sarsa", spec)
    return make_replay(
        cfg.replay,
        cfg.buffer_size,
        spec,
        torch.device("cpu"),
        lookahead,
        cfg.priority_alpha,
        cfg.sort_every,
    )


def refusal(check, *args):
    with pytest.raises(BadInput) as caught:
        check(*args)
    return caught.value.what, caught.value.where, caught.value.fix


@pytest.mark.parametrize("spec", [VECTOR, PIXELS])
@pytest.mark.parametrize(
    "words",
    [
        "algo.n_step=1",
        "algo.n_step=3",
        "algo.bootstrap=sarsa",
        "algo.replay=proportional",
        "algo.replay=softmax algo.sort_every=9",
        "algo.replay=proportional algo.n_step=2",
    ],
)
def test_early_check_of_replay_agrees_with_the_buffer(words, spec, monkeypatch):
    monkeypatch.setattr(memory, "limit", lambda: memory.RESERVE + 2_000_000)
    cfg = config("algo.buffer_size=1e9", *words.split())
    early = refusal(memory_check.require_memory, cfg, spec)
    assert early == refusal(replay_of, cfg, spec)
    largest = int(early[2].rpartition("=")[2])
    fits = [*words.split(), "algo.batch_size=1", f"algo.buffer_size={largest}"]
    memory_check.require_memory(config(*fits), spec)


@pytest.mark.parametrize("spec", [VECTOR, BOX])
def test_early_check_of_rollout_agrees_with_the_buffer(spec, monkeypatch):
    monkeypatch.setattr(memory, "limit", lambda: memory.RESERVE + 2_000_000)
    cfg = config("algo=ppo", "algo.rollout_length=1e9")
    early = refusal(memory_check.require_memory, cfg, spec)
    cpu = torch.device("cpu")
    assert early == refusal(make_rollout, cfg.rollout_length, None, spec, cpu)


def test_buffers_of_episodes_have_no_fixed_size():
    cfg = config("algo=ppo", "algo.rollout_length=null", "algo.rollout_episodes=5")
    assert cfg.buffer_memory(VECTOR) is None
    assert config("algo=reinforce").buffer_memory(VECTOR) is None
