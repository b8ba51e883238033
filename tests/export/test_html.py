"""The page plays in a real browser, with the physics of gymnasium."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import gymnasium as gym
import numpy as np
import pytest

from rl_cli.core.errors import BadInput
from rl_cli.export.formats.html import ENVS, FOLDER, Html, program
from tests.export.agents import make_agent, make_context

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
IDS = {
    "CartPole-v1": {},
    "MountainCar-v0": {"goal_velocity": 0.01},
    "MountainCarContinuous-v0": {},
    "Acrobot-v1": {},
    "Pendulum-v1": {"g": 9.0},
}
SEEDS, STEPS = 3, 120


def trajectory(env_id, seed):
    """What gymnasium does for random actions, and what JavaScript needs to repeat it."""
    env = gym.make(env_id, **IDS[env_id]).unwrapped
    env.action_space.seed(seed)
    first, _ = env.reset(seed=seed)
    kind = type(env).__name__
    start = [float(x) for x in env.state]
    constants = {name: float(getattr(env, name)) for name in ENVS[kind].constants}
    found = {"env": kind, "constants": constants, "start": start, "actions": [], "rows": []}
    found["first"] = [float(x) for x in first]
    for _ in range(STEPS):
        action = env.action_space.sample()
        obs, reward, terminated, _, _ = env.step(action)
        found["actions"].append(np.atleast_1d(action).tolist())
        found["rows"].append([*map(float, obs), float(reward), float(terminated)])
        if terminated:
            break
    return found


REPEAT = """
document.getElementById("data").remove();
const results = TASKS.map(({ env, constants, start, actions }) => {
  const physics = RL.envs[env];
  let state = start;
  const rows = actions.map((action) => {
    const next = physics.step(state, action, constants);
    state = next.state;
    return [...physics.observe(state).map(Math.fround), next.reward, Number(next.terminated)];
  });
  return { first: physics.observe(start).map(Math.fround), rows };
});
const policies = POLICIES.map(({ program, obs }) => {
  const policy = new RL.Policy(program);
  return obs.map((row) => policy.run(row));
});
const resets = {};
for (const [name, physics] of Object.entries(RL.envs)) {
  const ends = [physics.reset(() => 0), physics.reset(() => 1)];
  const c = CONSTANTS[name];
  const push = [-1, 1].map((side) => physics.observe(physics.disturb(ends[1], side, c)));
  const steered = [-1, 0, 1].map((side) => physics.manual(side, [0]));
  resets[name] = { ends, push, steered };
}
const keys = {};
const press = (key, type = "keydown") => dispatchEvent(new KeyboardEvent(type, { key }));
const speed = player.state[1];
press("ArrowRight");
keys.pushed = player.state[1] - speed;
press("t");
press("ArrowLeft");
player.step();
keys.steered = [player.human, player.action[0], document.getElementById("human").ariaPressed];
press("ArrowRight");
player.step();
keys.other = player.action[0];
press("ArrowRight", "keyup");
press("t");
press(" ");
keys.paused = [player.human, player.running];
press(" ");
press("+");
keys.speed = player.speed;
press("r");
keys.restarted = [player.episode, player.length];
const out = document.createElement("pre");
out.id = "results";
out.textContent = JSON.stringify({ results, policies, resets, keys });
document.body.append(out);
"""


def browse(path, *flags):
    """The document after the page has run for some seconds of its own time."""
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", *flags]
    ran = subprocess.run(
        [CHROMIUM, *words, "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return ran.stdout


POLICIES = {  # together with every operation but convolutions
    "rainbow": ("dqn", "NoiseStart-v0", {"normalize_obs": True}, {"dueling": True, "noisy": True, "distributional": "c51", "num_atoms": 5, "v_min": 0.0, "v_max": 9.0}),
    "qr": ("dqn", "NoiseDiscrete-v0", {}, {"distributional": "qr", "num_atoms": 3}),
    "layer norm": ("dqn", "NoiseDiscrete-v0", {}, {"layer_norm": True}),
    "multi": ("ppo", "NoiseMulti-v0", {}, {}),
    "integers": ("ppo", "NoiseWhole-v0", {"scale_actions": True}, {"squash_actions": True}),
    "half": ("ppo", "NoiseHalfOpen-v0", {}, {"std": "state_dependent"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Everything that the tests below look at, from one start of the browser."""
    folder = tmp_path_factory.mktemp("page")
    contexts = {k: make_context(make_agent(a, e, env, **c), folder, 20) for k, (a, e, env, c) in POLICIES.items()}  # fmt: skip
    cartpole = make_context(make_agent("ppo", "CartPole-v1"), folder, 30)
    (path,) = Html(cartpole).export()
    tasks = [trajectory(env_id, seed) for env_id in IDS for seed in range(SEEDS)]
    programs = [
        {"program": program(c.traced.graph), "obs": c.recorded.obs.tolist()}
        for c in contexts.values()
    ]
    scripts = ["mountaincar.js", "acrobot.js", "pendulum.js"]
    values = {"TASKS": tasks, "POLICIES": programs}
    values["CONSTANTS"] = {task["env"]: task["constants"] for task in tasks}
    lines = [f"const {name} = {json.dumps(value)};" for name, value in values.items()]
    added = "\n".join([*((FOLDER / name).read_text() for name in scripts), *lines, REPEAT])
    page = path.with_name("probe.html")
    text = path.read_text().replace("</body>", f"<script>{added}</script></body>")
    page.write_text(text.replace('"use strict";\n', ""))
    dom = browse(page, "--window-size=390,800", "--blink-settings=preferredColorScheme=0")
    results = re.search(r'<pre id="results">(.*?)</pre>', dom, re.DOTALL)
    return dom, json.loads(html.unescape(results[1])), tasks, contexts


@needs_browser
def test_page_opens_checks_itself_and_plays(seen):
    dom = seen[0]
    assert 'data-check="passed"' in dom
    played = int(re.search(r'id="step">(\d+)<', dom)[1]) + int(
        re.search(r'id="episode">(\d+)<', dom)[1]
    )
    assert played > 1  # step 0 of episode 1 is the start; how far it gets depends on the machine
    assert "CartPole-v1, played by ppo" in dom
    assert "://" not in re.sub(r"http://www\.w3\.org/\S+", "", dom)  # nothing is loaded


@needs_browser
def test_physics_are_those_of_gymnasium(seen):
    for task, found in zip(seen[2], seen[1]["results"], strict=True):
        # sines of another browser may differ in the last bit, and Acrobot is chaotic
        bound = 1e-6 if task["env"] == "AcrobotEnv" else 1e-9
        assert found["first"] == pytest.approx(task["first"], abs=1e-7), task["env"]
        ours, theirs = np.array(found["rows"]), np.array(task["rows"])
        assert np.abs(ours - theirs).max() < bound, task["env"]


@needs_browser
def test_policies_in_the_page_do_what_they_do_in_python(seen):
    for (name, context), rows in zip(seen[3].items(), seen[1]["policies"], strict=True):
        found = {
            key: np.array([row[key] for row in rows]).reshape(20, *value.shape).astype(value.dtype)
            for key, value in ((k, context.traced.graph.values[i]) for k, i in context.traced.graph.outputs.items())
        }  # fmt: skip
        assert context.compare(lambda _, found=found: found).largest < 1.1, name


@needs_browser
def test_starts_pushes_and_steering(seen):
    found = seen[1]["resets"]
    bounds = {
        "CartPoleEnv": [[-0.05] * 4, [0.05] * 4],
        "MountainCarEnv": [[-0.6, 0], [-0.4, 0]],
        "Continuous_MountainCarEnv": [[-0.6, 0], [-0.4, 0]],
        "AcrobotEnv": [[-0.1] * 4, [0.1] * 4],
        "PendulumEnv": [[-np.pi, -1], [np.pi, 1]],
    }
    for name, (low, high) in bounds.items():
        assert found[name]["ends"][0] == pytest.approx(low), name
        assert found[name]["ends"][1] == pytest.approx(high), name
        left, right = found[name]["push"]
        assert left != right
    assert found["CartPoleEnv"]["steered"] == [[0], [0], [1]]
    assert found["MountainCarEnv"]["steered"] == found["AcrobotEnv"]["steered"] == [[0], [1], [2]]


@needs_browser
def test_keys_push_steer_pause_and_restart(seen):
    keys = seen[1]["keys"]
    assert keys["pushed"] == pytest.approx(0.6)
    assert keys["steered"] == [True, 0, "true"]
    assert keys["other"] == 1
    assert keys["paused"] == [False, False]
    assert keys["speed"] == 2
    assert keys["restarted"] == [2, 0]


def test_an_env_that_the_page_cannot_simulate_is_refused(tmp_path):
    for env_id, words in (
        ("NoiseDiscrete-v0", "classic-control"),
        ("CartPole-v1", "sutton_barto_reward"),
    ):
        env = {"kwargs": {"sutton_barto_reward": True}} if env_id == "CartPole-v1" else {}
        agent = make_agent("dqn", env_id, env)
        with pytest.raises(BadInput, match=words):
            Html(make_context(agent, tmp_path)).export()


def test_texts_in_the_data_cannot_end_the_script(tmp_path, monkeypatch):
    context = make_context(make_agent("dqn", "CartPole-v1"), tmp_path, 10)
    exporter = Html(context)
    data = exporter._data()
    monkeypatch.setattr(exporter, "_data", lambda: data | {"title": "</script><b>"})
    (path,) = exporter.export()
    text = path.read_text()
    assert "</script><b>" not in text
    assert "&lt;/script&gt;" in text
