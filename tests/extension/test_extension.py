"""An algorithm, a buffer, an env, a callback and a sink of another package work as the shipped ones do.

The package consists of the modules in `example/`, entry points in the groups `rl_cli.algos`,
`rl_cli.callbacks` and `rl_cli.sinks`, and a conf/ folder in the working folder of the user. Nothing in rl_cli
names them.
"""

from __future__ import annotations

import csv
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rl_cli.storage import checkpoint_reader
from tests.bars.kill_points import run_digests

EXAMPLE = Path(__file__).parent / "example"
ENTRY_POINTS = """
[rl_cli.algos]
q_learning = example_algorithm:QLearning
[rl_cli.callbacks]
success_limit = example_callback:SuccessLimit
broken = example_module_that_does_not_exist:Broken
[rl_cli.sinks]
json_lines = example_sink:JsonLines
"""
METADATA = "Metadata-Version: 2.1\nName: example\nVersion: 1.0\n"
RUN = [
    *("algo=q_learning", "env=corridor", "hparams=none", "env.num_envs=2", "total_timesteps=1600"),
    *(
        "eval.every=800",
        "eval.episodes=2",
        "checkpoint.every=800",
        "log.every=400",
        "compile=false",
    ),
    *("log.tensorboard=false", "video.episodes=0", "quiet=true"),
]
TRUST = "env.id=example_env:Corridor-v0"
LIMIT = "callbacks.success_limit.episodes"
PROGRAM = """
import json, sys
sys.path.insert(0, "site-packages")
from rl_cli.cli import evaluate, train
for program, *args in json.loads(sys.argv[1]):
    if code := {"rl-train": train.run, "rl-eval": evaluate.run}[program](args):
        print("torch" in sys.modules)
        sys.exit(code)
"""


@pytest.fixture
def run_commands(here):
    """A function that runs command lines in a process in which the example package is installed."""
    info = here / "site-packages/example-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (info / "METADATA").write_text(METADATA)
    for path in EXAMPLE.glob("*.py"):
        shutil.copy(path, here / "site-packages")
    shutil.copytree(EXAMPLE / "conf", here / "conf")

    def run(*commands):
        args = [sys.executable, "-I", "-c", PROGRAM, json.dumps(commands)]
        return subprocess.run(args, capture_output=True, text=True, timeout=120, check=False)

    return run


def read_csv(path):
    """Rows of a CSV file as numbers, without empty cells."""
    with path.open() as file:
        rows = csv.DictReader(file)
        return [{k: float(v) for k, v in row.items() if v != ""} for row in rows]


def read_lines(path):
    """-> (rows, evaluations) that the example sink wrote."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [x for x in lines if "seed" not in x], [x for x in lines if "seed" in x]


def status(folder):
    return json.loads((folder / "status.json").read_text())


def test_algorithm_buffer_and_env_of_another_package(here, run_commands):
    """The policy reaches the return 1 of the optimal policy, and resume is exact."""
    done = run_commands(
        ["rl-train", *RUN, "run_dir=whole"],
        ["rl-train", *RUN, "run_dir=r", "total_timesteps=800"],
        ["rl-train", "resume=r", "total_timesteps=1600", TRUST, "quiet=true"],
        ["rl-eval", "r", TRUST, "episodes=2", "output=out"],
    )
    assert done.returncode == 0, done.stderr
    episodes = json.loads((here / "out/evaluation.json").read_text())["episodes"]
    assert [(e["return"], e["length"]) for e in episodes] == [(1.0, 3), (1.0, 3)]
    whole, resumed = run_digests(here / "whole"), run_digests(here / "r")
    assert resumed == whole


def test_callback_of_another_package_ends_the_run_and_keeps_its_state_over_a_resume(
    here, run_commands
):
    """With log.every=1, metrics.csv contains every episode: the run ends at success number 250."""
    base = ["rl-train", *RUN, "log.every=1", f"{LIMIT}=250"]
    done = run_commands(
        [*base, "run_dir=whole"],
        [*base, "run_dir=r", "total_timesteps=800"],
        ["rl-train", "resume=r", "total_timesteps=1600", TRUST, "quiet=true"],
    )
    assert done.returncode == 0, done.stderr
    rows, final = read_csv(here / "whole/metrics.csv"), status(here / "whole")
    episodes = [0.0, *(row["rollout/episodes"] for row in rows)]
    counts = [now - before for before, now in itertools.pairwise(episodes)]
    successes = [
        count * row.get("rollout/episode_return", 0.0)
        for count, row in zip(counts, rows, strict=True)
    ]
    assert 250 <= sum(successes) < 252  # two envs may succeed at the same step
    assert sum(successes[:-1]) < 250
    assert 800 < final["step"] < 1600
    assert final["reason"] == f"{sum(successes):.0f} successful episodes"
    path = checkpoint_reader.find(here / "r")
    state = checkpoint_reader.read_state(path, checkpoint_reader.read_manifest(path))
    assert state["callbacks"]["success_limit"] == {"successes": sum(successes)}
    assert (status(here / "r")["step"], status(here / "r")["reason"]) == (
        final["step"],
        final["reason"],
    )
    assert run_digests(here / "r") == run_digests(here / "whole")


def test_sink_of_another_package_receives_the_rows_of_metrics_csv_once(here, run_commands):
    """Without the checkpoint of step 1600, a resume from 800 writes the later rows again."""
    done = run_commands(
        ["rl-train", *RUN, "run_dir=whole", "log.sinks={json_lines:{}}"],
        ["rl-train", *RUN, "run_dir=r", "log.sinks.json_lines.file=a.jsonl"],
    )
    assert done.returncode == 0, done.stderr
    rows, evaluations = read_lines(here / "whole/rows.jsonl")
    assert rows == read_csv(here / "whole/metrics.csv")
    assert [row["step"] for row in rows] == [400, 800, 1200, 1600]
    assert [(e["step"], e["seed"]) for e in evaluations] == [(800, 10_000), (1600, 10_000)]
    means = {step: [] for step in (800, 1600)}
    for episode in read_csv(here / "whole/eval.csv"):
        means[episode["step"]].append(episode["episode_return"])
    assert [e["eval/episode_return"] for e in evaluations] == [sum(m) / 2 for m in means.values()]

    shutil.rmtree(here / "r/checkpoints/000001600")
    (here / "r/checkpoints/best.json").unlink()
    (here / "r/status.json").write_text(json.dumps(status(here / "r") | {"state": "running"}))
    done = run_commands(["rl-train", "resume=r", TRUST, "quiet=true"])
    assert done.returncode == 0, done.stderr
    again, evaluated = read_lines(here / "r/a.jsonl")
    assert again == read_csv(here / "r/metrics.csv")
    assert [row["step"] for row in again] == [400, 800, 1200, 1600]
    assert [e["step"] for e in evaluated] == [800, 1600]


def test_key_of_an_algorithm_of_another_package_is_checked(run_commands):
    done = run_commands(["rl-train", *RUN, "algo.epsilon=2"])
    assert done.returncode == 2, done.stderr
    assert "algo.epsilon=2" in done.stderr
    assert "[0, 1]" in done.stderr


@pytest.mark.parametrize(
    ("argument", "lines"),
    [
        (
            "callbacks.sucess_limit.episodes=3",
            ["unknown callback sucess_limit", "callbacks.sucess_limit", "did you mean success_limit?"],
        ),
        (
            "callbacks={success_limit:{}}",
            ["callback success_limit: missing a required argument: 'episodes'",
             "callbacks.success_limit", "settings: episodes, threshold"],
        ),
        (
            "callbacks.success_limit={episodes:3,most:4}",
            ["callback success_limit: got an unexpected keyword argument 'most'",
             "callbacks.success_limit.episodes=3 callbacks.success_limit.most=4",
             "settings: episodes, threshold"],
        ),
        (
            "callbacks={broken:{}}",
            ["the callback broken cannot be imported: ModuleNotFoundError: No module named "
             "'example_module_that_does_not_exist'", "callbacks.broken",
             "repair or reinstall the package that provides it"],
        ),
        (
            "log.sinks.xml.file=a",
            ["unknown sink xml", "log.sinks.xml", "one of: json_lines"],
        ),
        (
            "log.sinks.json_lines.path=a",
            ["sink json_lines: got an unexpected keyword argument 'path'",
             "log.sinks.json_lines.path=a", "settings: file"],
        ),
        (
            "callbacks={metrics:{}}",  # a callback that every run has cannot be chosen
            ["unknown callback metrics", "callbacks.metrics", "one of: broken, success_limit"],
        ),
    ],
)  # fmt: skip
def test_wrong_callback_or_sink_is_refused_before_anything_is_written(
    here, run_commands, argument, lines
):
    """In three lines, with exit code 2 and without importing torch."""
    before = sorted(here.iterdir())
    done = run_commands(["rl-train", "algo=dqn", "env=cartpole", argument])
    assert done.returncode == 2, done.stderr
    what, where, fix = lines
    assert done.stderr.splitlines() == [f"error: {what}", f"  where: {where}", f"  do: {fix}"]
    assert done.stdout == "False\n"
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize(
    ("argument", "group", "message"),
    [
        (f"{LIMIT}=150", "rl_cli.callbacks", "unknown callback success_limit"),
        ("log.sinks.json_lines.file=a", "rl_cli.sinks", "unknown sink json_lines"),
    ],
)
def test_resume_without_the_package_of_a_callback_or_sink_is_refused(
    here, run_commands, argument, group, message
):
    tiny = ["algo=dqn", "env=cartpole", *RUN[4:], "total_timesteps=200", "algo.learning_starts=9"]
    done = run_commands(["rl-train", *tiny, "hparams=none", "run_dir=r", argument])
    assert done.returncode == 0, done.stderr
    entry_points = here / "site-packages/example-1.0.dist-info/entry_points.txt"
    entry_points.write_text(ENTRY_POINTS.replace(group, "other_program.plugins"))
    before = {path: path.read_bytes() for path in (here / "r").rglob("*") if path.is_file()}
    done = run_commands(["rl-train", "resume=r", "total_timesteps=400"])
    assert done.returncode == 2, done.stderr
    assert done.stdout == "False\n"
    assert len(done.stderr.splitlines()) == 3
    assert message in done.stderr
    after = {path: path.read_bytes() for path in (here / "r").rglob("*") if path.is_file()}
    assert after == before
