"""Updates on the way, in the call of C that takes the steps: the bits of `update`, one at a time."""

import ctypes

import numpy as np
import pytest
import torch

from rl_cli.algos.base import Algorithm
from rl_cli.collectors import inline_updates, native_envs
from rl_cli.core.errors import NonFinite
from rl_cli.engine.compiler import StepCompiler
from tests.collectors.test_native_envs import BUDGET, Loop, same
from tests.engine.test_compiler import needs_compiler
from tests.training.test_trainer import run

pytestmark = needs_compiler

WRAPS = {"buffer_size": 200}  # the same everywhere: of one size is one library


class Learning(Loop):
    """With compiled steps, and what they told."""

    def __init__(self, stretches, changes=None, compiled=True, **more):
        super().__init__("dqn", "CartPole-v1", stretches, changes=WRAPS | (changes or {}), **more)
        if compiled:
            learner = self.algo.learner
            learner.compile_with(StepCompiler("lessons", print), learner.native)
        self.told, self.on_the_way = [], 0
        update = self.algo.update

        def noted(step):
            if self.stretch and self.stretch.learned is not None:
                self.note(self.stretch.learned)
                self.on_the_way += len(self.stretch.learned["loss"])
            metrics = update(step)
            if metrics is not None:
                self.note(metrics)

        self.algo.update = noted

    def note(self, metrics):
        self.told += zip(*(np.asarray(values).tolist() for values in metrics.values()), strict=True)


CASES = [
    {},
    {"num_envs": 3},
    {"num_envs": 3, "changes": {"train_every": 3, "target_update_every": 50}},
    {"changes": {"train_every": 1, "anneal_learning_rate": True}},
    {"changes": {"gradient_steps": 3, "train_every": 4, "epsilon_decay": "exponential"}},
    {"normalize_obs": True, "changes": {"train_every": 2, "tau": 0.1}},
    {"sign_reward": True, "changes": {"train_every": 2}},  # steps that only Python can take
    {"num_envs": 3, "normalize_obs": True},
    {"changes": {"train_every": 2, "target_update_every": 2, "tau": 0.01}},
    {
        "changes": {"train_every": 4, "target_update_every": 7, "tau": 0.3}
    },  # also when nothing is learned
    {
        "num_envs": 3,
        "changes": {"train_every": 3, "target_update_every": 1, "tau": 0.2},
    },  # thrice a step
    {"changes": {"train_every": 2, "target_update_every": 0}},
    {"sign_reward": True, "changes": {"train_every": 2, "target_update_every": 3, "tau": 0.5}},
]


@pytest.mark.parametrize("more", CASES)
def test_learning_on_the_way_is_update_to_the_bit(more):
    """Weights, replay, generators, counts, metrics; also where one takes over from the other."""
    plain, quick, other = (Learning(on, **more) for on in (False, True, True))
    for until in (50, 301, 703, BUDGET):
        if until == 703:
            other.stretch = None
        for loop in (plain, quick, other):
            loop.run(until)
        same(plain.state(), quick.state())
        same(plain.state(), other.state())
    assert plain.told == quick.told == other.told
    assert len(plain.told) == plain.algo.learner.updates > 100
    assert plain.on_the_way == 0
    assert other.on_the_way > 0
    assert quick.on_the_way > len(quick.told) / 2  # the others are due where a stretch ends


def test_an_env_step_with_two_updates_is_left_to_update():
    assert Learning(True, num_envs=3, changes={"train_every": 2}).stretch.lessons is None


def test_a_plain_step_is_left_to_update():
    loop = Learning(True, compiled=False).run(301)
    assert loop.algo.learner.updates > 0
    assert loop.on_the_way == 0


def ready():
    loop = Learning(True, changes={"train_every": 1, "target_update_every": 500}).run(301)
    assert loop.stretch.lessons.ready()
    return loop


def test_rows_of_another_size_are_left_to_update():
    """The step that is at hand is for others; so it is once the learner has made another ready."""
    loop = ready()
    rows = loop.algo.replay.sample(16, loop.algo.sample_rng, batches=2)
    loop.algo.learner.update(rows, 0.1, learning_rate=1e-3)
    assert not loop.stretch.lessons.ready()
    loop.algo.update(302)
    assert loop.stretch.lessons.ready()


def test_nothing_is_done_with_a_gradient_that_is_no_number():
    loop = ready()
    with torch.no_grad():
        loop.algo.learner.flat[0] = torch.nan
    updates = loop.algo.learner.updates
    assert loop.stretch(301, 400) == 1
    assert np.isnan(loop.stretch.learned["grad_norm"]).tolist() == [True]
    assert loop.algo.learner.updates == updates + 1
    assert loop.algo.updated_at == 302


def test_a_signal_is_heard_after_so_many_updates():
    """As in any call of C; of large networks those of a whole stretch take minutes."""
    changes = {"train_every": 1, "target_update_every": 500, "gradient_steps": 100}
    loop = Learning(True, changes=changes).run(101)
    assert loop.stretch(101, 501) == 2
    assert len(loop.stretch.learned["loss"]) == 100


def test_a_step_that_fails_is_told_of():
    loop = ready()
    failing = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 4)(lambda *_: 1)
    loop.stretch.lessons.struct.repeat = ctypes.cast(failing, ctypes.c_void_p).value
    with pytest.raises(RuntimeError, match="the compiled learning step failed"):
        loop.stretch(301, 400)


def test_numbers_are_worked_out_for_more_than_one_stretch(monkeypatch):
    """Episodes are short at first; each would pay for hundreds of updates to come."""
    written, write = [], inline_updates.InlineUpdates._write_table
    monkeypatch.setattr(
        inline_updates.InlineUpdates,
        "_write_table",
        lambda self, step: (written.append(step), write(self, step)),
    )
    loop = Learning(True, changes={"train_every": 1}).run(BUDGET)
    assert loop.calls[True] > 30
    assert len(written) <= 2


def test_it_is_told_at_which_step_a_run_was_lost(here, tiny, monkeypatch):
    """The same with stretches and without: not where the stretch would have ended."""
    changes = [word for word in tiny if not word.startswith(("compile", "checkpoint"))]
    changes += ["compile=true", "checkpoint.every=0", "algo.hidden_sizes=[16]"]
    changes += ["algo.learning_starts=50", "algo.train_every=2", "algo.target_update_every=200"]
    lost_at = lambda _, step: np.nan if step > 270 else 1e-3  # noqa: E731
    monkeypatch.setattr(Algorithm, "learning_rate", lost_at)
    where = []
    for name in ("quick", "plain"):
        with pytest.raises(NonFinite) as told:
            run(here, name, *changes)
        where.append(told.value.where)
        monkeypatch.setattr(native_envs, "prepared", lambda *_: None)
    assert where[0] == where[1] == "step=274, train/grad_norm"
