"""Installs the built wheel in an environment of its own and types what the documentation shows there.

    python benchmarks/wheel.py --python python3.13                 about a quarter of an hour on two processors
    python benchmarks/wheel.py --python python3.13 --only rl-export
    python benchmarks/wheel.py --venv FOLDER                       an environment that is there, with what it has

Each command of the pages runs as a process in a new folder outside of the repository, which holds the files that
the pages show and nothing else; budgets are small. Then the programs and the notebook of the pages run, and
runs with trackers that are offline. A step fails if its exit code is another one, if it prints a traceback, or
if Python warns of something deprecated in this package. Prints a line for each step; exit code 1 if one fails.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from tests.documentation import (  # noqa: E402
    NEEDS_EXTRA,
    blocks,
    commands,
    install_plugins,
    shortened,
    write_data,
    write_files,
)

EXTRAS = "onnx,hub,minari,minatar,atari,search,plots,wandb,trackio,mlflow"
OTHERS = ("nbclient", "ipykernel")  # what runs a notebook
BASE = ("algo=dqn", "algo.learning_starts=100")
CLUSTER = re.compile(r"hydra/launcher=(slurm|ray)")
PLACES = ("runs/dqn/cartpole/a", "runs/ppo/cartpole/b", "runs/sweeps/night/c")
SMALL = {
    **{"onnx": "observations=30", "pt2": "observations=30", "c": "observations=30"},
    **{"hub": "hub.episodes=3", "minari": "minari.episodes=3"},
}
OFFLINE = {"WANDB_MODE": "offline", "TRACKIO_DIR": "trackio"}
NOTEBOOK = """import nbformat, nbclient
notebook = nbformat.read("notebook.ipynb", 4)
nbclient.NotebookClient(notebook, timeout=600).execute()
shown = [o for c in notebook.cells for o in c.get("outputs", []) if "data" in o]
assert any("image/png" in o["data"] for o in shown), "no plot"
assert any("<video" in o["data"].get("text/html", "") for o in shown), "no video"
"""


class Step(NamedTuple):
    """A command, and what it is to do."""

    words: list[str]
    stop_after: float | None = None  # seconds until SIGINT
    codes: tuple[int, ...] = (0,)
    variables: dict[str, str] = {}  # noqa: RUF012
    before: tuple[list[str], ...] = ()  # commands that make what it reads


class Place:
    """The environment with the wheel, and the folders in which steps run."""

    def __init__(self, venv: Path, folder: Path) -> None:
        self.venv, self.folder = venv, folder
        self.base = folder / "base"

    def variables(self, more: dict[str, str]) -> dict[str, str]:
        """Those of a new user: no PYTHONPATH, an empty cache, no display."""
        kept = {k: v for k, v in os.environ.items() if k in ("LANG", "TERM", "TMPDIR", "USER")}
        return {
            **kept,
            "PATH": f"{self.venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder / "home"),
            "SDL_VIDEODRIVER": "dummy",
            "PYTHONWARNINGS": "default::DeprecationWarning",
            **more,
        }

    def new_folder(self, number: int) -> Path:
        """The files that the pages show."""
        here = self.folder / f"step_{number:03d}"
        here.mkdir(parents=True)
        write_files(here)
        write_data(here)
        install_plugins(here)
        for _, text in blocks("c"):
            if text.startswith("/* agent.c"):
                (here / "agent.c").write_text(text)
        shutil.copy(REPO / "docs/notebook.ipynb", here)
        return here

    def make_base(self) -> None:
        """Two finished runs, and the files of the pages."""
        here = self.new_folder(0)
        for name, env in {
            "cartpole": "env=cartpole",
            "corridor": "env.id=corridor:Corridor-v0",
        }.items():
            words = ["rl-train", *shortened([*BASE, env, f"run_dir={name}"])]
            code, text = self.run(Step(words), here)
            if code:
                raise SystemExit(text)
        here.rename(self.base)

    def run(self, step: Step, here: Path) -> tuple[int, str]:
        """-> exit code, output."""
        words = [str(self.venv / "bin" / step.words[0]), *step.words[1:]]
        if not Path(words[0]).exists():
            words[0] = step.words[0]
        process = subprocess.Popen(
            words,
            cwd=here,
            env=self.variables(step.variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        try:
            text, _ = process.communicate(timeout=step.stop_after or 900)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT if step.stop_after else signal.SIGKILL)
            text, _ = process.communicate()
        return process.returncode, text

    def wrong(self, step: Step, number: int) -> tuple[str, float]:
        """Run a step in a folder of its own. -> what is wrong with it or "", seconds."""
        here = self.new_folder(number)
        for name in ("cartpole", "corridor"):
            shutil.copytree(self.base / name, here / name)
        begin = time.perf_counter()
        problem = ""
        for words in step.before:
            code, text = self.run(Step(words, variables=step.variables), here)
            problem = problem or problem_of(code, text, (0,))
        if not problem:
            code, text = self.run(step, here)
            problem = problem_of(code, text, step.codes)
        if not problem:
            shutil.rmtree(here)
        return problem, time.perf_counter() - begin


def problem_of(code: int, text: str, codes: tuple[int, ...]) -> str:
    """What is wrong with an exit code and an output, or an empty text."""
    deprecated = re.search(r"(rl_cli|hydra_plugins)/[^\n]*(Deprecation|Syntax)Warning[^\n]*", text)
    if code not in codes:
        return f"exit code {code}\n{text[-2000:]}"
    if "Traceback (most recent call last)" in text:
        return f"a traceback\n{text[-2000:]}"
    return deprecated[0] if deprecated else ""


def copies(places: tuple[str, ...]) -> list[str]:
    """The command that copies the finished run to several places."""
    lines = [f"mkdir -p {Path(place).parent} && cp -r cartpole {place}" for place in places]
    record = 'echo \'{"run_dir": "runs/sweeps/night/c"}\' > runs/sweeps/night/job_0000.json'
    return ["sh", "-c", " && ".join([*lines, record])]


def of_train(words: list[str]) -> Step:
    """A command of rl-train with a small budget."""
    text = " ".join(words)
    if CLUSTER.search(text):
        first = [re.sub(r"^([\w./]+=[^,\[{]+),[^\[{]*$", r"\1", w) for w in words if w != "-m"]
        return Step([*first, "--cfg", "hydra"])
    if any(re.search(p, text) and e not in EXTRAS for p, e in NEEDS_EXTRA.items()):
        return Step([*words, "--cfg", "job"])
    if {"--help", "--cfg", "--completion", "--doctor"} & set(words):
        return Step(words)
    plugins = (
        {"PYTHONPATH": "."} if re.search(r"algo=clipped|callbacks\.|log\.sinks\.", text) else {}
    )
    if "<run>" in text:
        more = ["total_timesteps=400"] if "resume=" in text else []
        return Step([*in_copy(words), *more, "quiet=true"], variables=plugins)
    short = shortened(words)
    if any(word.startswith("compile=") for word in words):
        short.remove("compile=false")  # the one that is added
    return Step(short, variables=plugins)


def in_copy(words: list[str]) -> list[str]:
    """A command for the finished run."""
    name = "corridor" if any("corridor" in word for word in words) else "cartpole"
    words = [re.sub(r"(runs/\w+/\w+/)?<run>", name, word) for word in words]
    return [re.sub(r"checkpoints/\d+", "checkpoints/000000300", word) for word in words]


def of_run(words: list[str]) -> Step:
    """A command of rl-eval, rl-report, rl-runs or rl-export."""
    text = " ".join(words)
    if words[0] == "rl-export":
        formats = re.findall(r"\w+", next((w[7:] for w in words if w.startswith("format=")), ""))
        if "hub.push" in text:  # there is no token
            return Step(in_copy(words), codes=(2,))
        plugins = {"PYTHONPATH": "."} if "weights" in formats else {}
        return Step(in_copy(words) + [SMALL[f] for f in formats if f in SMALL], variables=plugins)
    if re.search(r"runs/[^<]*(<stamp>)?( |$)", text) or words[0] in ("rl-runs", "rl-report"):
        words = [word.replace("<stamp>", "night") for word in words]
        more = ["episodes=2"] if words[0] == "rl-eval" else []
        more += ["yes=true"] if words[1:2] == ["delete"] else []
        return Step([*words, *more], before=(copies(PLACES),))
    human = "render=human" in words
    more = [] if human else ["episodes=3"]
    return Step([*in_copy(words), *more], variables={"DISPLAY": ":0"} if human else {})


def of_search(words: list[str]) -> Step:
    """Three trials."""
    if "--help" in words:
        return Step(words)
    kept = [w for w in words if not re.match(r"(trials|seeds|verify|top|total_timesteps)=", w)]
    small = ["trials=3", "seeds=1", "verify=0", "compile=false", "total_timesteps=300"]
    return Step([*kept, *small])


def steps() -> list[Step]:
    """All that is tried, in the order of the pages."""
    found = [of_train(p.values[0]) for p in commands("rl-train")]
    found += [of_run(p.values[0]) for p in commands("rl-eval", "rl-export", "rl-report", "rl-runs")]
    found += [of_search(p.values[0]) for p in commands("rl-search")]
    for param in commands("rl-play"):  # no key is pressed
        words = [word for word in param.values[0] if word != "output=mine"]  # which has a file
        found.append(Step(words, stop_after=15, codes=(0, 130)))
    page = "\n".join(text for page, text in blocks("python") if page.name == "python.md")
    found.append(Step(["python", "-c", page]))
    found.append(Step(["python", "-c", NOTEBOOK]))
    for name in ("onnx", "pt2", "minari"):
        export = f"rl-export cartpole format={name} output=. {SMALL[name]}".split()
        program = {"minari": "read_dataset.py"}.get(name, f"play_{name}.py")
        found.append(Step(["python", program], before=(export,)))
    export = ["rl-export", "cartpole", "format=c", "output=."]
    builds = tuple(p.values[0] for p in commands("cc"))
    found.append(Step(["./self_test"], before=(export, *builds)))
    for name in ("wandb", "trackio", "mlflow"):
        words = shortened(["algo=ppo", "env=cartpole", f"log.{name}=true", "run_dir=tracked"])
        again = ["rl-train", "resume=tracked", "total_timesteps=400", "quiet=true"]
        found.append(Step(again, before=(["rl-train", *words],), variables=OFFLINE))
    found.append(Step(["tensorboard", "--logdir", "."], stop_after=20, codes=(0, -2, 1, 130)))
    return found


def install(python: str, folder: Path) -> Path:
    """Build the wheel and install it with its extras. -> the environment."""
    venv = folder / "venv"
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    build += ["--outdir", str(folder), str(REPO)]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([python, "-m", "venv", venv], check=True)
    pip = [str(venv / "bin/python"), "-m", "pip", "install", "-q"]
    pip += ["-c", str(REPO / "constraints.txt")]
    subprocess.run([*pip, f"{wheel}[{EXTRAS}]", *OTHERS], check=True)
    return venv


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", default=sys.executable, help="the interpreter")
    parser.add_argument("--venv", type=Path, help="an environment in which rl-cli is installed")
    parser.add_argument(
        "--only", nargs="+", default=[""], help="steps whose command holds one of these texts"
    )
    parser.add_argument("--jobs", type=int, default=2, help="steps at a time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rl-cli-wheel-") as name:
        folder = Path(name)
        venv = options.venv.resolve() if options.venv else install(options.python, folder)
        version = subprocess.check_output([venv / "bin/python", "--version"], text=True).strip()
        place = Place(venv, folder / "work")
        place.make_base()
        wanted = [
            step for step in steps() if any(text in " ".join(step.words) for text in options.only)
        ]
        with ThreadPoolExecutor(options.jobs) as pool:
            found = list(pool.map(lambda i: shown(place, wanted[i], i + 1), range(len(wanted))))
    failed = sum(map(bool, found))
    print(f"{version}: {len(wanted)} steps, {failed} failed")
    sys.exit(1 if failed else 0)


def shown(place: Place, step: Step, number: int) -> str:
    """Run a step and print a line. -> what is wrong."""
    problem, seconds = place.wrong(step, number)
    command = " ".join(step.words).replace("\n", " ")[:110]
    print(f"{'FAIL' if problem else 'ok  '} {seconds:6.1f} s  {command}", flush=True)
    if problem:
        print(problem, flush=True)
    return problem


if __name__ == "__main__":
    main()
