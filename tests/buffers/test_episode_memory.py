"""Episodes that are kept for an update are bounded by the memory."""

import pytest

from rl_cli.buffers.rollout import EpisodeBuffer
from rl_cli.core.errors import EnvFault
from tests.buffers.test_replay import CPU, spec, transition


def test_an_episode_that_does_not_fit_into_memory_ends_the_run_with_advice(monkeypatch):
    monkeypatch.setattr("rl_cli.core.memory.limit", lambda: 20_000)
    buffer, resumed = EpisodeBuffer(3, spec(1), CPU), EpisodeBuffer(3, spec(1), CPU)
    most = buffer.most_recorded
    assert 5 < most < 20_000 / 2 / 900
    for t in range(most - 2):
        buffer.add(transition(t, terminated=[t] if t == 2 else []))
    resumed.load_state_dict(buffer.state_dict())
    for full in (buffer, resumed):
        full.add(transition(most))
        full.add(transition(most))
        with pytest.raises(EnvFault) as caught:
            full.add(transition(most))
        assert f"{most + 1} steps are kept" in caught.value.what
        assert "env.max_episode_steps" in caught.value.fix
        full.clear()
        full.add(transition(0))  # there is space again
