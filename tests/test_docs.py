"""Every command in the documentation runs, every link resolves, and the site builds."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import io
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pygame
import pytest
import yaml

from rl_cli.cli import evaluate as rl_eval
from rl_cli.cli import play as rl_play
from rl_cli.cli import report as rl_report
from rl_cli.cli import runs as rl_runs
from rl_cli.cli import search as rl_search
from rl_cli.cli import train as rl_train
from rl_cli.cli.search_plan import Composer
from rl_cli.config.dqn import DQNConfig
from rl_cli.config.other_names import OTHER_NAMES
from rl_cli.config.ppo import PPOConfig
from rl_cli.config.run import RunConfig
from rl_cli.config.schema import keys
from rl_cli.training.callbacks.base import Callback
from rl_cli.training.trainer import Trainer
from tests.bars.kill_points import run_digests
from tests.conftest import REPO
from tests.documentation import (
    CPU_ONLY,
    EXTRAS,
    NAMED_FILE,
    PAGES,
    PROJECT,
    blocks,
    commands,
    install_plugins,
    missing_extra,
    shortened,
    write_data,
    write_files,
)
from tests.report.folders import write_run
from tests.search.plans import HandWritten


@pytest.fixture
def workspace(here, monkeypatch):
    """An empty current folder with the files that the documentation shows."""
    write_files(here)
    write_data(here)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield here
    for name in ("my_module", "corridor", "tunnel"):  # another test's file has the same name
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Finished runs by env, made once."""
    folder = tmp_path_factory.mktemp("runs")
    write_files(folder)
    before = Path.cwd(), list(sys.path)
    os.chdir(folder)
    try:
        for name, env in {"cartpole": "cartpole", "corridor": "corridor:Corridor-v0"}.items():
            env = f"env={env}" if env == name else f"env.id={env}"
            words = ["algo=dqn", env, "algo.learning_starts=100", f"run_dir={name}"]
            assert rl_train.run(shortened(words)) == 0
    finally:
        os.chdir(before[0])
        sys.path[:] = before[1]
        sys.modules.pop("corridor", None)
    return folder


@pytest.fixture
def run_folder(runs, workspace):
    """Copy a finished run to the current folder. -> function: words -> words without placeholders."""

    def placed(words):
        env = "corridor" if any("corridor" in word for word in words) else "cartpole"
        run = workspace / "copy"
        shutil.copytree(runs / env, run)
        step = min(path.name for path in run.glob("checkpoints/0*"))
        words = [re.sub(r"(runs/\w+/\w+/)?<run>", "copy", word) for word in words]
        return [re.sub(r"checkpoints/\d+", f"checkpoints/{step}", word) for word in words]

    return placed


PLUGIN = re.compile(r"algo=clipped|callbacks\.|log\.sinks\.")  # from a package of CONTRIBUTING
CLUSTER = re.compile(r"hydra/launcher=(slurm|ray)")
ELSEWHERE = re.compile(f"{PLUGIN.pattern}|{CLUSTER.pattern}")
IN_PROCESS = [p for p in commands("rl-train") if not ELSEWHERE.search(" ".join(p.values[0]))]
OF_CLUSTERS = [p for p in commands("rl-train") if CLUSTER.search(" ".join(p.values[0]))]
OF_PLUGINS = [p for p in commands("rl-train") if PLUGIN.search(" ".join(p.values[0]))]


@pytest.mark.parametrize("words", IN_PROCESS)
def test_training_command_runs(words, workspace, run_folder, capfd):
    _, *words = words
    if missing_extra(words):  # the command composes, but cannot run
        words += ["--cfg", "job"]
    is_shown = {"--help", "--cfg", "--completion", "--doctor"} & set(words)
    if "--doctor" in words:
        words += ["compile=false", "video.episodes=0"]
    again = any(word.startswith("reproduce=<") for word in words)
    if again:
        words = [*run_folder(words), "quiet=true"]
    elif any(word.startswith("resume=<") for word in words):
        words = [*run_folder(words), "total_timesteps=400", "quiet=true"]
    elif not is_shown:
        words = shortened(words)
    assert rl_train.run(words) == 0
    if is_shown:
        assert len(capfd.readouterr().out) > 60
        return
    records = [json.loads(path.read_text()) for path in workspace.glob("**/status.json")]
    swept = [word for word in words if "," in word and "[" not in word]  # two values each
    assert [record["state"] for record in records] == ["completed"] * 2 ** (len(swept) + again)


@pytest.mark.parametrize("words", OF_CLUSTERS)
def test_command_for_a_cluster_composes(words, here, capfd):
    """Its first job; tests/services runs sweeps on real clusters."""
    first = [re.sub(r"^([\w./]+=[^,\[{]+),[^\[{]*$", r"\1", w) for w in words[1:] if w != "-m"]
    assert rl_train.run([*first, "--cfg", "hydra"]) == 0
    name = CLUSTER.search(" ".join(words))[1]
    assert f"_target_: hydra_plugins.rl_train.{name}." in capfd.readouterr().out


def names_several(words):
    return any(re.match(r"runs/[^<]*(<stamp>)?$", word) for word in words)


OF_RUNS = list(commands("rl-eval"))
OF_SEVERAL = [param for param in OF_RUNS if names_several(param.values[0])]


@pytest.mark.parametrize("words", OF_SEVERAL)
def test_evaluation_command_of_several_runs_runs(words, workspace, runs):
    folders = [f"runs/{algo}/cartpole/{name}" for algo in ("dqn", "ppo") for name in "ab"]
    for folder in folders:
        shutil.copytree(runs / "cartpole", workspace / folder)
    (workspace / "runs/sweeps/night").mkdir(parents=True)
    for i, folder in enumerate(folders):
        (workspace / f"runs/sweeps/night/job_{i:04d}.json").write_text(
            json.dumps({"run_dir": folder})
        )
    words = [word.replace("<stamp>", "night") for word in words[1:]]
    assert rl_eval.run([*words, "episodes=2"]) == 0
    (path,) = workspace.glob("runs/evals/*/evaluations.json")
    assert [run["run"] for run in json.loads(path.read_text())["runs"]] == sorted(folders)


@pytest.mark.parametrize("words", [param for param in OF_RUNS if param not in OF_SEVERAL])
def test_evaluation_command_runs(words, workspace, run_folder, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")  # for render=human, which SDL's dummy driver shows
    _, *words = run_folder(words)
    words += [] if "render=human" in words else ["episodes=3"]
    assert rl_eval.run(words) == 0
    (path,) = workspace.glob("runs/evals/*/evaluation.json")
    assert len(json.loads(path.read_text())["episodes"]) == (1 if "render=human" in words else 3)
    videos = len(list(path.parent.glob("**/*.mp4")))
    assert videos == ("video=true" in words) * (3 if "video_episodes=3" in words else 1)


@pytest.mark.parametrize("words", commands("rl-report"))
def test_report_command_runs(words, here):
    for place in ("runs/dqn/cartpole/a", "runs/ppo/cartpole/b", "runs/sweeps/night/c"):
        write_run(here / place, {100: 1.0})
    words = [word.replace("<stamp>", "night") for word in words[1:]]
    assert rl_report.run(words) == 0
    assert len(list(here.glob("**/report.html"))) == 1


@pytest.mark.parametrize("words", commands("rl-search"))
def test_search_command_runs(words, workspace, monkeypatch):
    """Without training: the runs are written to disk."""
    executor = HandWritten(lambda config, seed: [1.0, 2.0, 3.0], 2)
    monkeypatch.setattr(Composer, "executor", lambda composer, plan: executor)
    monkeypatch.setattr("rl_cli.search.worker.time.sleep", lambda seconds: None)
    monkeypatch.setattr("os.fsync", lambda file: None)
    words = [w for w in words[1:] if not w.startswith(("trials=", "seeds="))]
    assert rl_search.run([*words, "trials=2", "seeds=1", "verify=0", "display=none"]) == 0
    assert len(executor.log) == (0 if "--help" in words else 2)


@pytest.mark.parametrize("words", commands("rl-runs"))
def test_listing_command_runs(words, here, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    for place in ("runs/dqn/cartpole/a", "runs/ppo/cartpole/b"):
        write_run(here / place, {100: 1.0})
    assert rl_runs.run(words[1:]) == 0
    assert len(list(here.glob("runs/*/cartpole/*"))) == (1 if "yes=true" in words else 2)


@pytest.mark.parametrize("words", commands("rl-play"))
def test_play_command_runs(words, workspace, monkeypatch):
    """Press space, hold an arrow key for some frames, quit."""
    down = [pygame.event.Event(pygame.KEYDOWN, key=key) for key in (pygame.K_SPACE, pygame.K_LEFT)]
    script = iter([[down[0]], [down[1]], [], [], [], [pygame.event.Event(pygame.QUIT)]])
    monkeypatch.setattr(pygame.event, "get", lambda: next(script))
    shutil.rmtree(workspace / "mine")
    assert rl_play.run([*words[1:], "fps=2000"]) == 0
    rows = list(workspace.glob("mine/transitions.safetensors"))
    assert len(rows) == ("record=true" in words)


@pytest.mark.parametrize("words", commands("make"))
def test_make_target_exists(words):
    targets = set(re.findall(r"^(\w+):", (REPO / "Makefile").read_text(), re.MULTILINE))
    assert words[1] in targets


@pytest.mark.parametrize("words", commands("pip", "tensorboard", "python"))
def test_other_program_gets_what_exists(words):
    """Extras, pinned versions, scripts and their options: running them takes minutes."""
    program, *words = words
    if program == "tensorboard":
        assert any(name.startswith("tensorboard") for name in PROJECT["dependencies"])
        assert words == ["--logdir", "runs"]
    elif program == "pip":
        pins = (REPO / "constraints.txt").read_text().splitlines()
        for word in words[1:]:
            extra = re.fullmatch(r"\.\[(\w+)\]", word)
            assert word in {"-c", "-e", "constraints.txt", ".", *pins, *CPU_ONLY} or (
                extra and extra[1] in EXTRAS
            )
    else:
        source = (REPO / words[0]).read_text()
        for word in words[1:]:
            assert word.startswith("<") or f'"{word}"' in source


def test_every_command_is_of_a_tested_program():
    programs = {
        shlex.split(line, comments=True)[0]
        for _, text in blocks("sh")
        for line in text.splitlines()
        if shlex.split(line, comments=True)
    }
    assert programs <= {
        "rl-train", "rl-eval", "rl-play", "rl-export", "rl-report", "rl-runs", "rl-search", "make", "pip", "tensorboard", "python", "cc",
    }  # fmt: skip


def run_program(words, folder):
    """rl-train in a process in which the packages in `folder` are installed."""
    ran = subprocess.run(
        [sys.executable, "-c", "from rl_cli.cli.train import main; main()", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(REPO)])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("words", OF_PLUGINS)
def test_example_plugin_runs(words, workspace):
    install_plugins(workspace)
    run_program(shortened(words[1:]), workspace)
    (config,) = workspace.glob("runs/*/cartpole/*/config.yaml")
    recorded = yaml.safe_load(config.read_text())
    for key, value in (word.split("=") for word in words[1:] if "." in word.split("=")[0]):
        assert functools.reduce(dict.__getitem__, key.split("."), recorded) == yaml.safe_load(value)


def test_example_plugins_take_ten_lines_at_most():
    pages = [text for page, text in blocks("python") if page.name == "CONTRIBUTING.md"]
    shown = {NAMED_FILE.match(text)[1]: text.splitlines()[1:] for text in pages}
    assert set(shown) == {
        "my_algos.py", "my_callbacks.py", "my_sinks.py", "my_exporters.py", "example_buffer.py",
    }  # fmt: skip
    assert all(sum(map(bool, lines)) <= 10 for lines in shown.values()), shown


def test_example_buffer_resumes_exactly(workspace):
    """The Q-learning of tests/extension with the buffer that CONTRIBUTING shows."""
    example = REPO / "tests/extension/example"
    shutil.copy(example / "example_algorithm.py", workspace)
    shutil.copy(example / "conf/algo/q_learning.yaml", workspace / "conf/algo")
    info = workspace / "example-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1\n")
    entry = "[rl_cli.algos]\nq_learning = example_algorithm:QLearning\n"
    (info / "entry_points.txt").write_text(entry)
    new = shortened(["algo=q_learning", "env=corridor", "hparams=none"])
    rest = ["env.id=corridor:Corridor-v0", "total_timesteps=450", "quiet=true"]
    longer = [word for word in new if not word.startswith("total_timesteps")] + rest[1:2]
    run_program([*longer, "run_dir=whole"], workspace)
    run_program([*new, "run_dir=part"], workspace)
    run_program(["resume=part", *rest], workspace)
    assert run_digests(workspace / "part") == run_digests(workspace / "whole")


def test_policy_loader_of_the_start_page_acts_as_rl_eval_does(run_folder, workspace):
    run_folder(["<run>"])
    assert rl_eval.run(["copy", "episodes=1"]) == 0
    (path,) = workspace.glob("runs/evals/*/evaluation.json")
    evaluation = json.loads(path.read_text())
    shutil.copy(workspace / evaluation["checkpoint"] / "policy.safetensors", workspace)
    act = runpy.run_path("act.py")["act"]
    env, total, is_over = gym.make("CartPole-v1"), 0.0, False
    obs, _ = env.reset(seed=evaluation["episodes"][0]["seed"])
    while not is_over:
        obs, reward, terminated, truncated, _ = env.step(act(obs))
        total, is_over = total + float(reward), terminated or truncated
    assert total == evaluation["episodes"][0]["return"]


def test_links_and_pictures_exist():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_files_named_by_the_architecture_page_exist():
    text = (REPO / "docs/architecture.md").read_text()
    named = set(re.findall(r"`((?:\w+/)+\w+\.(?:py|c|yaml))`", text))
    assert len(named) > 40
    missing = {p for p in named if not any((REPO / top / p).exists() for top in ("", "rl_cli"))}
    assert not missing
    functions = re.findall(r"`((?:\w+/)+\w+\.py)`: `([\w.]+)`", text)
    assert len(functions) > 15
    for path, name in functions:
        defined = rf"(?:def|class) {name.split('.')[-1]}\b"
        assert re.search(defined, (REPO / "rl_cli" / path).read_text()), f"{path}: {name}"


def test_architecture_page_shows_the_training_loop_and_the_interface_of_callbacks():
    text = (REPO / "docs/architecture.md").read_text()
    shown = re.search(r"```python\n(while .*?)```", text, re.DOTALL)[1]
    loop = [re.sub(r"  # .*", "", line).strip() for line in shown.splitlines()]
    code = [line.strip() for line in inspect.getsource(Trainer.train).splitlines()]
    start = code.index(loop[0])
    assert code[start : start + len(loop)] == loop
    named = re.search(r"\| callback \| (.*?); all optional", text)[1]
    methods = [name for name in vars(Callback) if not name.startswith("_") and name != "name"]
    assert named.replace("`", "").split(", ") == methods


def test_navigation_names_every_page_once():
    """Also where mkdocs is not installed."""
    config = yaml.safe_load((REPO / "mkdocs.yml").read_text())

    def pages(node):
        if isinstance(node, str):
            return [node]
        return [
            page
            for item in (node.values() if isinstance(node, dict) else node)
            for page in pages(item)
        ]

    hooks = runpy.run_path(str(REPO / "docs/site_hooks.py"))
    there = [path.name for path in (REPO / "docs").glob("*.md")]
    assert sorted(pages(config["nav"])) == sorted([*there, *hooks["PAGES"].values()])


def test_links_out_of_the_documentation_become_text_on_the_site():
    site_links = runpy.run_path(str(REPO / "docs/site_hooks.py"))["site_links"]
    text = (
        "[a](docs/x.md#y) ![b](docs/img/z.png) [c](rl_cli/d.py) [e](CHANGELOG.md) [f](https://g.h)"
    )
    assert site_links(text, "") == (
        "[a](x.md#y) ![b](img/z.png) c [e](changelog.md) [f](https://g.h)"
    )
    assert site_links("[a](../CONTRIBUTING.md#b) [c](d.md) [e](#f)", "docs") == (
        "[a](contributing.md#b) [c](d.md) [e](#f)"
    )


@pytest.mark.skipif(not importlib.util.find_spec("material"), reason="pip install '.[docs]'")
def test_site_builds_without_warnings(tmp_path):
    words = ["-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    ran = subprocess.run(
        [sys.executable, *words],
        cwd=REPO,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    pages = {path.name for path in (tmp_path / "site").glob("*.html")}
    assert {"index.html", "overview.html", "contributing.html", "reliability.html"} <= pages
    text = "".join(path.read_text() for path in (tmp_path / "site").glob("*.html"))
    assert not re.search(r"<(?:script|link)[^>]*(?:src|href)=\"https?://", text)  # no other host


def test_table_of_other_names_is_what_the_command_line_answers():
    """Names of SB3 and CleanRL in docs/getting-started.md, against the table behind the errors."""
    text = (REPO / "docs/getting-started.md").read_text().split("## Names of other programs")[1]
    rows = [
        [cell.strip(" `") for cell in line.split("|")[1:5]]
        for line in text.splitlines()
        if line.startswith("| `") or line.startswith("| |")
    ]
    assert len(rows) > 30
    known = keys(RunConfig) | keys(DQNConfig, "algo") | keys(PPOConfig, "algo")
    for *theirs, ours, _ in rows:
        assert ours in known
        for name in filter(None, theirs):
            same = name in (ours, ours.removeprefix("algo."))
            assert same or ours in OTHER_NAMES[name].ours, name


def test_readme_lists_every_algorithm_and_env():
    text = (REPO / "README.md").read_text()
    for path in (REPO / "conf/algo").glob("*.yaml"):
        assert f"`algo={path.stem}`" in text
    for path in (REPO / "conf/env").glob("*.yaml"):
        if path.stem[0] != "_" and path.stem != "custom":
            assert f"| `{path.stem}` |" in text
    for path in (REPO / "conf/hparams").glob("*_*.yaml"):
        algo, env = path.stem.split("_", 1)
        row = re.search(rf"^\| `{env}` \|.*$", text, re.MULTILINE)
        assert row
        assert algo in row[0]
