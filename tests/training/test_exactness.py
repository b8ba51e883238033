"""A resumed run says that it is exact only if nothing is known that makes it differ."""

import hashlib
import importlib
import json
import shutil
from types import SimpleNamespace

import pytest
import scipy
import torch

from rl_cli.algos import dqn
from rl_cli.engine import build_cache
from rl_cli.engine import compiler as compiler_module
from rl_cli.engine.forward import NativeForward
from rl_cli.engine.functions import eager_loop
from rl_cli.storage import checkpoint_writer, manifest, run_folder
from rl_cli.training import conditions
from rl_cli.training.exactness import MOST, Exactness, moved_schedules
from tests.config.test_config import compose
from tests.engine.test_compiler import needs_compiler
from tests.runs import train

NOW = {
    "torch": "2.13.0", "numpy": "2.4.6", "processor": "A", "instructions": "avx avx2 fma", "threads": "1",
    "torch kernels": "AVX2", "environment": "nothing", "source": "abc", "libc": "glibc 2.36",
}  # fmt: skip


def test_equal_or_unknown_conditions_do_not_differ():
    assert conditions.different(NOW, dict(NOW)) == {}
    assert conditions.different({"torch": "2.13.0"}, NOW) == {}  # an older version recorded less
    assert conditions.different({**NOW, "later": "x"}, NOW) == {}


@pytest.mark.parametrize(
    ("name", "before", "words"),
    [
        ("torch", "2.12.0", "torch 2.12.0 before, 2.13.0 now (may change bits)"),
        ("torch kernels", "AVX512", "torch kernels AVX512 before, AVX2 now"),
        ("threads", "2", "threads 2 before, 1 now (may change bits)"),
        ("environment", "MKL_CBWR=AVX", "environment MKL_CBWR=AVX before, nothing now (may change bits)"),
        ("instructions", "avx avx512f fma", "instructions of the processor: -avx512f +avx2 (may change bits)"),
        ("source", "abd", "the source of rl-cli or of the algorithm has changed (may change bits)"),
    ],
)  # fmt: skip
def test_each_condition_is_named_with_both_values(name, before, words):
    assert conditions.different({**NOW, name: before}, NOW) == {name: words}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (("source",), "the source of the algorithm has changed (may change bits)"),
        (("env source",), "the source of the env has changed (may change bits)"),
        (
            ("source", "env source"),
            "the source of rl-cli, or of the algorithm and the env, has changed (may change bits)",
        ),
    ],
)
def test_source_that_has_changed_is_named(changed, words):
    """Both digests hold the source of rl-cli, so one that changes alone says which it is."""
    now = {**NOW, "env source": "def"}
    before = now | dict.fromkeys(changed, "older")
    assert list(conditions.different(before, now).values()) == [words]


def test_words_from_a_folder_cannot_control_the_terminal():
    (words,) = conditions.different({"numpy": "\x1b[2J" + "9" * 10_000}, {"numpy": "1"}).values()
    assert "\x1b" not in words
    assert len(words) < 1_000
    exactness = Exactness()
    exactness.load_state_dict(["\x1b]0;x\x07", 3, None, {"a": 1}, *["b"] * 1_000])
    assert exactness.differs[:2] == ["\\x1b]0;x\\x07", "b"]
    assert len(exactness.differs) == MOST
    for other in (None, {}, "text", 7):
        exactness.load_state_dict(other)
        assert exactness.differs == []


def algorithm():
    base = {"learner": SimpleNamespace(compilers=("GCC 1", ""), flat=torch.zeros(1))}
    algo = object.__new__(dqn.DQN)
    vars(algo).update(base, buffer=SimpleNamespace())
    return algo


def test_every_file_of_a_package_that_is_not_installed_is_part_of_its_source(tmp_path, monkeypatch):
    package = tmp_path / "lab_of_mine"
    package.mkdir()
    for name in ("__init__", "rules", "helpers"):
        (package / f"{name}.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    rules = importlib.import_module("lab_of_mine.rules")
    names = [path.name for path in conditions._files([rules])]
    assert names == ["__init__.py", "helpers.py", "rules.py"]
    assert [path.name for path in conditions._files([json])] == ["__init__.py"]  # Python's own


def test_sources_of_the_users_own_are_digests_and_those_of_packages_are_versions(
    tmp_path, monkeypatch
):
    assert conditions.own_sources(algorithm(), compose_env("CartPole-v1")) == {}
    (tmp_path / "maze_of_mine.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("maze_of_mine")
    monkeypatch.setattr(conditions, "defining_module", lambda env: module)
    digest = hashlib.sha256(hashlib.sha256(b"x = 1\n").digest()).hexdigest()
    assert conditions.own_sources(algorithm(), None) == {"env": digest}


def test_version_of_an_installed_package_of_the_env_is_a_condition(monkeypatch):
    module = SimpleNamespace(__name__="scipy.stats", __file__="/x/site-packages/scipy/stats.py")
    monkeypatch.setattr(conditions, "defining_module", lambda env: module)
    assert conditions.packages(algorithm(), None)["scipy"] == scipy.__version__
    assert conditions._distributions("yaml") == ("PyYAML",)
    assert conditions._distributions("no_such_module") == ()


@pytest.mark.parametrize(
    "name",
    ["ATEN_CPU_CAPABILITY", "MKL_CBWR", "OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES", "GLIBC_TUNABLES"],
)  # fmt: skip
def test_variables_that_choose_kernels_are_conditions(name, monkeypatch):
    env = compose_env("CartPole-v1")
    monkeypatch.delenv(name, raising=False)
    before = conditions.conditions(algorithm(), env)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")  # changes no bits
    monkeypatch.setenv("SOMETHING", "else")
    assert conditions.conditions(algorithm(), env) == before
    monkeypatch.setenv(name, "x")
    found = conditions.different(before, conditions.conditions(algorithm(), env))
    assert found == {"environment": f"environment {before['environment']} before, {name}=x now (may change bits)"}  # fmt: skip
    assert {"python", "platform", "torch kernels", "threads", "device", "compiler", "source"} <= {
        *before
    }


def compose_env(name):
    return SimpleNamespace(id=name)


def test_source_of_a_plugin_and_of_an_env_are_conditions(tmp_path, monkeypatch):
    file = tmp_path / "plug.py"
    file.write_text("class Plug: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    import plug

    before = compiler_module.source_digest(plug)
    assert before != compiler_module.source_digest()
    file.write_text("class Plug: ...  # changed\n")
    assert compiler_module.source_digest(plug) == before  # this process holds what it read before
    compiler_module._file_digest.cache_clear()
    assert compiler_module.source_digest(plug) != before


def learner(was, now, awaits=False, native=(False, None), compiler=""):
    return SimpleNamespace(
        was_compiled=was, is_compiled=now, awaits_compiling=awaits, was_native=native[0],
        native=native[1], compilers=("", compiler),
    )  # fmt: skip


def test_steps_are_compared_at_the_start_and_again_when_they_are_compiled():
    exactness = Exactness()
    exactness.resume(7, {"step compiler": "GCC 12"}, {})
    assert not exactness.compare_steps(learner(True, None, awaits=True))
    assert exactness.differs == []  # compiled before; there is a compiler now
    assert exactness.compare_steps(learner(True, False))  # which fails
    assert exactness.differs == ["the update step was compiled before and is plain now"]
    assert exactness.compare_steps(learner(True, True, compiler="GCC 13"))
    assert exactness.differs == ["step compiler GCC 12 before, GCC 13 now (may change bits)"]
    assert exactness.compare_steps(learner(True, True, compiler="GCC 12"))
    assert exactness.differs == []
    assert not exactness.compare_steps(learner(None, None, awaits=True))  # no update was made
    assert exactness.compare_steps(learner(False, None, awaits=True))
    assert exactness.differs == ["the update step was plain before and is compiled now"]
    exactness.compare_steps(learner(False, False, native=(True, None)))
    assert exactness.differs == ["action selection was compiled before and is plain now"]
    assert exactness.state_dict() == [
        "since step 7: action selection was compiled before and is plain now"
    ]


def test_new_budget_differs_where_a_schedule_ends_with_it():
    flat = SimpleNamespace(anneal_learning_rate=False, replay="uniform")
    moving = SimpleNamespace(anneal_learning_rate=True, anneal_clip_coef=True)
    changed = {"total_timesteps": (400, 600)}
    assert moved_schedules(flat, changed) == moved_schedules(moving, {"threads": (1, 2)}) == ""
    assert moved_schedules(moving, changed) == (
        "total_timesteps 400 before, 600 now, which moves anneal_learning_rate, anneal_clip_coef"
    )
    assert "log_std" in moved_schedules(SimpleNamespace(std="annealed"), changed)
    assert "priority_beta" in moved_schedules(SimpleNamespace(replay="proportional"), changed)


SETTINGS = [
    "algo=reinforce",
    "env=cartpole",
    "hparams=none",
    "algo.hidden_sizes=[8]",
    "checkpoint.keep=9",
]


def killed_at(step, folder):
    """As if the process had been killed after this checkpoint."""
    for later in manifest.steps_in(folder / "checkpoints"):
        if later > step:
            shutil.rmtree(folder / f"checkpoints/{later:09d}")
    (folder / "checkpoints/best.json").unlink(missing_ok=True)
    status = folder / "status.json"
    status.write_text(json.dumps({**json.loads(status.read_text()), "state": "running"}))


def status_of(folder):
    return json.loads((folder / "status.json").read_text())


def test_lost_exactness_stays_visible_until_its_steps_are_lost(here, tiny, capsys, monkeypatch):
    config = compose(*SETTINGS, *tiny)
    folder = here / "r"
    assert train({**config, "run_dir": str(folder)}, ("a", "b")).exit_code == 0
    assert status_of(folder)["exact"] is True
    killed_at(200, folder)
    config["resume"] = str(folder)
    assert train(config, ("a", "b")).exit_code == 0
    assert status_of(folder)["resumed"] == [{"step": 200, "changed": {}, "exact": True}]
    assert "inexact" not in json.loads((folder / "checkpoints/000000400/state.json").read_text())

    killed_at(200, folder)
    other = f"torch kernels {torch.backends.cpu.get_cpu_capability()} before, Z80 now"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "Z80")
    assert train({**config, "quiet": False}, ("a", "b")).exit_code == 0
    out = capsys.readouterr().out
    assert out.index(f"resume is not bit-exact: {other}") < out.index("step 300")
    assert f"exact:   no; 1 difference in `resumed` of status.json, the first: {other}" in out
    assert status_of(folder)["exact"] is False
    assert status_of(folder)["resumed"][-1] == {
        "step": 200, "changed": {}, "exact": False, "differs": [other]
    }  # fmt: skip

    killed_at(300, folder)  # written after that resume
    assert train(config, ("a", "b")).exit_code == 0
    assert status_of(folder)["resumed"][-1]["differs"] == [f"since step 200: {other}"]
    assert f"the run is not bit-exact: since step 200: {other}" in capsys.readouterr().err
    killed_at(200, folder)  # written before it
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert train(config, ("a", "b")).exit_code == 0
    assert [r["exact"] for r in status_of(folder)["resumed"]] == [True, False, False, True]
    assert status_of(folder)["exact"] is True


def test_checkpoint_of_an_earlier_version_is_exact_if_nothing_is_known_to_differ(here, tiny, monkeypatch):  # fmt: skip
    config, folder = compose(*SETTINGS, *tiny), here / "r"
    monkeypatch.setattr(checkpoint_writer, "RECORDED", ("torch", "numpy"))
    monkeypatch.setattr("rl_cli.training.build.conditions", lambda *_: {})
    assert train({**config, "run_dir": str(folder)}, ("a", "b")).exit_code == 0
    monkeypatch.undo()
    monkeypatch.chdir(here)
    killed_at(200, folder)
    assert train({**config, "resume": str(folder)}, ("a", "b")).exit_code == 0
    assert status_of(folder)["resumed"] == [{"step": 200, "changed": {}, "exact": True}]


def test_compilers_of_what_is_loaded_are_known():
    library = SimpleNamespace(compiler="GCC: (x) 1.2")
    assert NativeForward(library).compiler == "GCC: (x) 1.2"
    found = build_cache.COMPILERS.search(b"\0\0GCC: (Debian 12.2.0-14) 12.2.0\0\0.symtab")
    assert found[0] == b"GCC: (Debian 12.2.0-14) 12.2.0"


@needs_compiler
def test_build_that_fails_later_corrects_the_record_at_that_moment(here, tiny, capsys, monkeypatch):
    def compiled(self, function, arguments, changing):
        return eager_loop(function, changing)

    def fails(self, function, arguments, changing):
        return None

    words = [
        "algo=dqn",
        "env=cartpole",
        "hparams=none",
        "algo.learning_starts=50",
        "checkpoint.keep=9",
    ]
    config, folder = compose(*words, *tiny, "compile=true"), here / "r"
    monkeypatch.setattr(compiler_module.StepCompiler, "__call__", compiled)
    assert train({**config, "run_dir": str(folder)}, ("a", "b")).exit_code == 0
    killed_at(200, folder)
    written = []
    write = run_folder.write_status
    monkeypatch.setattr(
        run_folder, "write_status", lambda *a, **k: (written.append(k), write(*a, **k))
    )
    monkeypatch.setattr(compiler_module.StepCompiler, "__call__", fails)
    assert train({**config, "resume": str(folder)}, ("a", "b")).exit_code == 0
    assert [(k["state"], k["exact"]) for k in written] == [
        ("running", True), ("running", False), ("completed", False)
    ]  # fmt: skip
    differs = [
        "the update step was compiled before and is plain now",
        "action selection was compiled before and is plain now",
    ]
    assert status_of(folder)["resumed"][-1]["differs"] == differs
    assert f"resume is not bit-exact: {'; '.join(differs)}" in capsys.readouterr().err
