"""index.html: a page in which the agent plays a classic-control env, without a server."""

from __future__ import annotations

import base64
import html
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rl_cli.core.errors import BadInput
from rl_cli.envs.spaces import fps_of
from rl_cli.evaluation.watchdog import close_in_time
from rl_cli.export import page
from rl_cli.export.base import Exporter
from rl_cli.export.comparison import TOLERANCE
from rl_cli.export.graph import Graph
from rl_cli.storage.atomic_files import write_atomic

FOLDER = Path(page.__file__).parent

TESTED = 64
"""Recorded observations that the page compares when it opens."""


class Physics(NamedTuple):
    """An env of gymnasium.envs.classic_control that the page simulates."""

    script: str  # file of rl_cli/export/page
    constants: tuple[str, ...]  # attributes of the env that the script reads


_CAR = ("min_position", "max_position", "max_speed", "goal_position", "goal_velocity")
ENVS = {
    "CartPoleEnv": Physics(
        "cartpole.js",
        (
            *("gravity", "total_mass", "masspole", "length", "polemass_length", "force_mag"),
            *("tau", "x_threshold", "theta_threshold_radians"),
        ),
    ),
    "MountainCarEnv": Physics("mountaincar.js", (*_CAR, "force", "gravity")),
    "Continuous_MountainCarEnv": Physics(
        "mountaincar.js", (*_CAR, "power", "min_action", "max_action")
    ),
    "AcrobotEnv": Physics("acrobot.js", ()),
    "PendulumEnv": Physics("pendulum.js", ("max_speed", "max_torque", "dt", "g", "m", "l")),
}
"""Name of the class -> its physics."""

MODULE = "gymnasium.envs.classic_control."


class Html(Exporter):
    """One page with the policy, the physics of the env, and a drawing of it."""

    def export(self) -> list[Path]:
        data = self._data()
        graph = self.context.traced.graph
        data |= {"program": program(graph), "recorded": self._recorded()}
        actions = np.array(data["recorded"]["actions"])
        is_whole = graph.action.dtype.kind in "iu"
        data["bound"] = 0.0 if is_whole else TOLERANCE * max(1.0, float(np.abs(actions).max()))
        difference = self.context.compare(graph.run)
        self.report(
            difference, "computed from the page's program; the page repeats it when it opens"
        )
        path = self.context.output / "index.html"
        write_atomic(path, make_page(data).encode())
        return [path]

    def _data(self) -> dict[str, Any]:
        """The env, as the page simulates it.

        Raises:
            BadInput: the page cannot simulate it.

        """
        agent = self.context.agent
        cfg = agent.env_cfg
        env = agent.make_env()
        inner: Any = env.unwrapped
        kind = type(inner)
        if kind.__name__ not in ENVS or not kind.__module__.startswith(MODULE):
            raise BadInput(
                f"a page can simulate the classic-control envs of gymnasium only, not {cfg.id}",
                "format=html",
                "record a video: rl-eval <run> video=true; or export to format=onnx",
            )
        _refuse_changes(inner, cfg)
        limit = None if env.spec is None else env.spec.max_episode_steps
        facts = {
            "env": kind.__name__,
            "title": f"{cfg.id.rpartition(':')[2]}, played by {agent.algo.cfg.title}",
            "subtitle": f"The greedy policy after {agent.manifest.step:,} steps of training with rl-cli.",
            "constants": {
                name: float(getattr(inner, name)) for name in ENVS[kind.__name__].constants
            },
            "fps": fps_of(env, cfg),
            "limit": limit or 10_000,
            "frame_skip": cfg.frame_skip,
            "frame_stack": cfg.frame_stack,
            "scores": self.context.traced.kind,
        }
        close_in_time(env)
        return facts

    def _recorded(self) -> dict[str, Any]:
        obs = self.context.recorded.obs
        rows = obs[np.linspace(0, len(obs) - 1, min(TESTED, len(obs))).astype(int)]
        actions = np.concatenate([self.context.actions(row[None]) for row in rows])
        flat = [rows.reshape(len(rows), -1), actions.reshape(len(rows), -1)]
        return {"obs": _rounded(flat[0]), "actions": _rounded(flat[1])}


def _refuse_changes(env: Any, cfg: Any) -> None:
    """Refuse what the scripts do not simulate."""
    changed = [
        f"{name}={value}"
        for name, value, plain in (
            ("kinematics_integrator", getattr(env, "kinematics_integrator", "euler"), "euler"),
            ("sutton_barto_reward", getattr(env, "_sutton_barto_reward", False), False),
            ("wrappers", cfg.wrappers, []),
        )
        if value != plain
    ]
    if changed:
        raise BadInput(
            f"a page does not simulate {', '.join(changed)}", "format=html", "use format=onnx"
        )


def _rounded(rows: np.ndarray) -> list[list[float]]:
    """Numbers with as many digits as their dtype holds: a float32 is read back as the same float32."""
    if rows.dtype == np.float32:
        return [[float(f"{x:.9g}") for x in row] for row in rows]
    return rows.tolist()  # type: ignore[no-any-return]


def program(graph: Graph) -> dict[str, Any]:
    """A graph as JSON values; float32 weights as one text in base64, other constants as numbers."""
    blocks: list[np.ndarray] = []
    size = 0
    values = []
    for value in graph.values:
        arrays: list[Any] = []
        for array in value.arrays:
            if array.dtype == np.float32 and np.isfinite(array).all():
                arrays.append({"begin": size, "end": size + array.size})
                blocks.append(array.reshape(-1))
                size += array.size
            else:
                numbers = array.reshape(-1).tolist()
                arrays.append([x if math.isfinite(x) else _infinite(x) for x in numbers])
        values.append({
            "op": value.op,
            "inputs": value.inputs,
            "shape": value.shape,
            "dtype": value.dtype.name,
            "numbers": value.numbers,
            "arrays": arrays,
        })  # fmt: skip
    data = np.concatenate([np.zeros(0, np.float32), *blocks]).astype("<f4").tobytes()
    weights = base64.b64encode(data).decode()
    return {"values": values, "outputs": graph.outputs, "weights": weights}


def _infinite(x: float) -> str:
    """What Number() of JavaScript reads."""
    return "Infinity" if x > 0 else "-Infinity"


HEADINGS = {"q": "Q-values", "logits": "Probabilities", "none": "Action"}


def make_page(data: dict[str, Any]) -> str:
    """The text of the page."""
    scripts = ["policy.js", ENVS[data["env"]].script, "paint.js", "player.js"]
    text = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in scripts)
    parts = {
        "title": html.escape(data["title"]),
        "subtitle": html.escape(data["subtitle"]),
        "scores": HEADINGS[data["scores"]],
        "css": (FOLDER / "page.css").read_text(encoding="utf-8"),
        "script": text.replace('"use strict";\n', ""),
        # a text in the data cannot end the element that holds it
        "data": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("</", "<\\/"),
    }
    page_text = (FOLDER / "page.html").read_text(encoding="utf-8")
    for name, part in parts.items():
        page_text = page_text.replace(f"@{name}@", part)
    return page_text
