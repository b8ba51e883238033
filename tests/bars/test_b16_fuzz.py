"""B16: any command line either trains or is refused with a message; the recorded values are those given."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import tempfile
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from rl_cli import algos
from rl_cli.config.run import RunSettings
from rl_cli.config.schema import keys
from rl_cli.core.types import Episode
from rl_cli.tracking.statistics import summarize
from rl_cli.training.resume import HOW
from rl_cli.training.trainer import Trainer
from tests.bars.command_line import run_command
from tests.bars.results import report
from tests.conftest import FULL

EXAMPLES = 1_000 if FULL else 50
SECONDS = 300
"""Time after which an example counts as hung, also on a busy machine."""
BASE = (
    *("total_timesteps=50", "eval.episodes=1", "video.episodes=0", "quiet=true"),
    *("log.tensorboard=false", "compile=false", "algo.hidden_sizes=[8]"),
)
RUN_KEYS = {k: v for k, v in keys(RunSettings).items() if k not in ("algo", "resume", "run_dir")}
KEYS_OF = {name: RUN_KEYS | keys(algos.load(name).Config, "algo") for name in algos.names()}
KEYS = {k: v for known in KEYS_OF.values() for k, v in known.items()}
GROUPS = {
    "algo": ["dqn", "ppo", "reinforce"],
    "env": ["cartpole", "acrobot", "pendulum", "mountaincar"],
    "hparams": ["none", "dqn_cartpole", "ppo_cartpole"],
    "experiment": ["smoke", "null"],
}
COSTLY = {"workers": 2, "threads": 2, "env.num_envs": 64, "algo.hidden_sizes": 32, "env.resize": 64}
"""Largest values drawn for keys whose large values are valid but slow."""

# A value on the command line and its meaning: (text, meaning)

INTEGERS = st.one_of(
    st.sampled_from([-1, 0, 1, 2, 3, 8, 1_000, 2**31, 2**62, 2**63, 10**30]),
    st.integers(-5, 5_000),
)


def integers_for(key):
    most = COSTLY.get(key)
    return INTEGERS.filter(lambda n: most is None or n <= most or n > 2**62)


def notations_of(number):
    """Notations of an integer, each with its meaning."""
    yield str(number), number
    if number >= 1_000 and number % 1_000 == 0:
        yield f"{number // 1_000}e3", number
        yield f"{number:_}", number
    if abs(number) < 2**53:
        yield f"{number}.0", number


FLOATS = st.one_of(
    st.sampled_from([0.0, -0.0, 0.5, 0.99, 1.0, 1e-8, 1e300, math.inf, -math.inf, math.nan]),
    st.floats(-2, 2, allow_nan=False),
).map(lambda x: (str(x), x))
WORDS = st.sampled_from(
    ["auto", "cpu", "cuda", "relu", "tanh", "huber", "mse", "linear", "exponential", "none", "yes"]
).map(lambda w: (w, w))
OTHERS = st.sampled_from(
    [
        *[("true", True), ("False", False), ("null", None), ("''", ""), ('"12"', "12")],
        *[("'true'", "true"), ("[]", []), ("[1,2]", [1, 2]), ("[8]", [8]), ("{a: 1}", {"a": 1})],
        *[("CartPole-v1", "CartPole-v1"), ("é", "é"), ("１２", "１２"), ("0x10", "0x10")],
    ]
)


def values_for(key):
    """Strategy for pairs (text, meaning); most are of the type of the key."""
    whole = integers_for(key).flatmap(lambda n: st.sampled_from(list(notations_of(n))))
    kind = KEYS[key].type
    by_type = {
        "bool": st.sampled_from([("true", True), ("FALSE", False)]),
        "str": st.sampled_from([("CartPole-v1", "CartPole-v1"), ("'Acrobot-v1'", "Acrobot-v1")]),
        "[int, ...]": st.lists(st.integers(1, 32), max_size=3).map(lambda v: (str(v), v)),
    }
    usual = by_type.get(kind, st.one_of(FLOATS, whole) if "float" in kind else whole)
    choices = [word for word in kind.split(" | ") if word not in ("int", "float", "str", "bool")]
    words = st.sampled_from(choices).map(lambda w: (w, None if w == "null" else w))
    likely = [usual, words] if choices and kind not in by_type else [usual]
    return st.one_of(*likely, *likely, WORDS, OTHERS, FLOATS, whole)


@st.composite
def assignment(draw, algo=None):
    """key=value, and the value to be recorded if it is accepted; keys of `algo` only, if given."""
    known = KEYS_OF[algo] if algo else KEYS
    key = draw(st.sampled_from(sorted(known)))
    text, meaning = draw(values_for(key))
    return f"{draw(st.sampled_from(['', '', '', '+', '++']))}{key}={text}", (key, meaning)


@st.composite
def grouped(draw):
    key = draw(st.sampled_from(sorted(GROUPS)))
    return f"{key}={draw(st.sampled_from(GROUPS[key]))}", None


GRAMMAR = [
    *("~{key}", "~{key}={text}", "{key}", "{key}=", "{key}=={text}", "{key}@{key}={text}"),
    *("{key}={text},{text}", "{key}=[{text}", "{key}='{text}", '{key}="{text}', "{key}={text}}}"),
    *("{key}=choice({text},{text})", "{key}=range(1,3)", "{key}=range(3)", "{key}=glob(*)"),
    *("{key}=interval(0,1)", "{key}=int({text})", "{key}=float({text})", "{key}=str({text})"),
    *("{key}=bool({text})", "{key}=tag(a,{text})", "{key}=sort({text})", "{key}=shuffle(1,2)"),
    *("{key}=${{seed}}", "{key}=${{nosuch}}", "{key}=${{{key}}}", "{key}=${{oc.env:NOSUCH}}"),
    *("{key}=${{oc.env:HOME}}", "{key}=${{oc.decode:'1'}}", "{key}=${{seed", "{key}.x={text}"),
    *("x{key}={text}", "{key}x={text}", "{key}={{{key}: {text}}}", "{key}={text} # x"),
]


@st.composite
def by_grammar(draw):
    key = draw(st.sampled_from(sorted(KEYS)))
    form, (text, _) = draw(st.sampled_from(GRAMMAR)), draw(values_for(key))
    return form.format(key=key, text=text), None


ODD = "=[]{}()'\"\\,$@+~:.-_/*#% 0aZé\u202e\x1b\n\x00\udcff\U0001f600"


@st.composite
def mutated(draw):
    """One character removed, inserted or replaced."""
    word, _ = draw(st.one_of(assignment(), grouped(), by_grammar()))
    at = draw(st.integers(0, len(word)))
    kept = at + draw(st.integers(0, 1))
    return word[:at] + draw(st.sampled_from(["", *ODD])) + word[kept:], None


def arguments_for(name):
    """Arguments for an algorithm, most of which are accepted."""
    word = st.one_of(
        assignment(name), assignment(name), assignment(), grouped(), by_grammar(), mutated()
    )
    return st.lists(word, max_size=3).map(lambda words: [(f"algo={name}", None), *words])


ARGUMENTS = st.sampled_from(algos.names()).flatmap(arguments_for)


used: dict[str, object] = {}
"""Typed configuration of the last run: of the algorithm under "algo", the rest under ""."""


@pytest.fixture(autouse=True)
def one_step(monkeypatch):
    """Runs of a single step, independent of the budget; everything before the step is unchanged."""

    def train(self):
        self.collector.envs.reset()
        self.state.add_steps(self.collector.collect(0, 1).steps)
        self.algo.update(self.state.step)
        return "budget"

    def finish(self):
        (evaluation,) = (c for c in self.callbacks.callbacks if c.name == "evaluation")
        evaluation.history.add(self.state.step, summarize([Episode(0.0, 1)], None))

    def build_and_keep(values, build=algos.build_run_config):
        cfg = build(values)
        used.update({"": cfg, "algo": cfg.algo})
        return cfg

    monkeypatch.setattr(algos, "build_run_config", build_and_keep)
    monkeypatch.setattr(Trainer, "train", train)
    monkeypatch.setattr(Trainer, "finish", finish)
    yield
    torch.set_num_threads(1)


class Hung(BaseException):
    """The program does not catch this."""


@contextlib.contextmanager
def time_limit(seconds):
    def on_alarm(*_):
        raise Hung

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def same(recorded, meaning):
    """Equal and of the same type: True is not 1, and "12" is not 12.

    A key of type float records the float nearest to an integer.
    """
    if isinstance(recorded, float) and type(meaning) is int:
        meaning = float(meaning)
    if isinstance(recorded, list | tuple) and isinstance(meaning, list):
        return len(recorded) == len(meaning) and all(map(same, recorded, meaning))
    kinds = [bool, str, type(None), dict]
    return recorded == meaning and all(
        isinstance(recorded, k) == isinstance(meaning, k) for k in kinds
    )


def recorded_in(folder):
    (path,) = Path(folder).glob("runs/*/*/*/config.yaml")
    return yaml.safe_load(path.read_text())


def look_up(config, key):
    for part in key.split("."):
        config = config[part] if isinstance(config, dict) else getattr(config, part)
    return config


def check(words):
    """Run a command line in an empty folder and check the result. Returns whether it was accepted."""
    args = [word for word, _ in words]
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, time_limit(SECONDS):
        os.chdir(folder)
        try:
            result = run_command("rl-train", [*BASE, *args])
            if result.exit_code != 0:
                assert not result.refusal_faults(), (args, result.refusal_faults(), result.stderr)
                return False
            config = recorded_in(folder)
        finally:
            os.chdir(home)
    last = dict(meaning for _, meaning in words if meaning is not None)
    for key, meaning in last.items():
        if key in HOW:  # how a run was started is not recorded
            continue
        typed = look_up(used if key.startswith("algo.") else used[""], key)
        for found in (look_up(config, key), typed):
            assert same(found, meaning), (args, key, found, meaning)
    return True


accepted: list[bool] = []


@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
@given(words=ARGUMENTS)
@example(words=[])
@example(words=[("seed=1.0", ("seed", 1))])
@example(words=[("seed='12'", ("seed", "12"))])
@example(words=[("algo.gamma='0.9'", ("algo.gamma", "0.9"))])
@example(words=[("eval.greedy=1", ("eval.greedy", 1))])
@example(words=[("log.every=true", ("log.every", True))])
@example(words=[("=1", None)])
@example(words=[("seed=" + "9" * 5_000, None)])
@example(words=[("x" * 300 + "=1", None)])
@example(words=[("stop.window=" + "9" * 30, None)])
@example(words=[("env.id='\udcff'", None)])
def fuzz(words):
    accepted.append(check(words))


def test_any_command_line_trains_or_is_refused(here):
    accepted.clear()
    fuzz()
    report(16, len(accepted), EXAMPLES, f"{sum(accepted)} of them trained")
    assert len(accepted) >= EXAMPLES
    # enough examples have to train; about a tenth does, fewer with each key and env that is added
    assert sum(accepted) >= EXAMPLES // 20
