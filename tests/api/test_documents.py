"""The page on Python and the notebook run, from top to bottom, with small budgets."""

from __future__ import annotations

import ast
import json
import re

import matplotlib as mpl
import pytest

import rl_cli
from rl_cli.api import training
from tests.conftest import REPO

BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
SMALL = [
    *("compile=false", "log.tensorboard=false", "eval.every=100", "eval.episodes=1"),
    *("total_timesteps=200", "env.max_episode_steps=20", "env.num_envs=2"),
    *("algo.rollout_length=32", "algo.minibatch_size=32", "log.every=50"),
]


@pytest.fixture
def small(here, monkeypatch):
    """Make every training short: 200 steps, 250 of a resumed run. Plots go to no window."""
    original = training.train

    def train(words=(), /, **keys):
        keys = {k: v for k, v in keys.items() if k not in ("eval", "total_timesteps")}
        if "resume" in keys:
            return original(words, **keys, total_timesteps=250)
        return original([*words, *SMALL, "video.episodes=0"], **keys)

    monkeypatch.setattr(training, "train", train)
    backend = mpl.get_backend()
    mpl.use("Agg")
    yield here
    mpl.use(backend)


def execute(sources):
    """Run code cells in one namespace, as a kernel does. -> the value of the last line of each."""
    names, shown = {"__name__": "__main__"}, []
    for source in sources:
        tree = ast.parse(source)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "cell", "exec"), names)
        value = last and eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        shown.append(None if source.rstrip().endswith(";") else value)
    return shown, names


def test_page_on_python_runs(small, capfd):
    blocks = BLOCK.findall((REPO / "docs/python.md").read_text())
    _, names = execute(blocks)
    assert names["run"].step == 250
    assert names["actions"].shape == (4,)
    assert len(names["evaluation"].returns) == 20
    assert "completed" in capfd.readouterr().out


def test_notebook_runs_and_shows_a_run_a_plot_and_a_video(small):
    notebook = json.loads((REPO / "docs/notebook.ipynb").read_text())
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["name"]) == (4, "python3")
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    shown, names = execute(cells)
    values = [value for value in shown if value is not None]
    assert [type(value) for value in values] == [rl_cli.TrainedRun, rl_cli.Video, float]
    assert values[1]._repr_html_().startswith("<video")
    training_curve, evaluations = names["axes"].lines
    assert evaluations.get_xdata().tolist() == [100, 200]
    assert len(training_curve.get_xdata()) == 4
    assert values[2] <= 20
