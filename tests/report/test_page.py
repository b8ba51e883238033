"""The page in a real browser: charts are drawn, and react to the pointer and to switches."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import pytest

from rl_cli.report import report
from rl_cli.storage.provenance_file import Start, write_starts
from tests.report.folders import write_run
from tests.report.test_searches import record as search_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--virtual-time-budget=4000",
]

PROBE = """
<script>
const found = {errors: []};
addEventListener("error", (event) => { found.errors.push(event.message); document.title = JSON.stringify(found); });
const one = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];
const chart = charts[0];
const inputs = (name) => [...chart.box.querySelectorAll(`.${name} input`)];
const mouse = (kind, target, step) => {
  const over = chart.plot.over.getBoundingClientRect();
  const at = {clientX: over.left + chart.plot.valToPos(step, "x"), clientY: over.top + 40, movementX: 5};
  target.dispatchEvent(new MouseEvent(kind, {...at, bubbles: true, button: 0}));
};
const over = (target) => target.dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
over(one("[data-search] circle.t1"));
found.hot = all(".hot").map((node) => node.tagName);
over(one("h1"));
found.cold = all(".hot").length;
found.charts = all("section#envs canvas, #envs canvas").length;
found.series = chart.plot.series.length;
mouse("mousemove", chart.plot.over, 200);
found.read = [...chart.box.querySelectorAll(".legend output")].map((o) => o.textContent);
inputs("legend")[2].click();  // each seed
found.withSeeds = chart.plot.series.length;
found.names = inputs("seeds").map((input) => input.parentNode.textContent);
inputs("seeds")[1].click();  // seed 1 of the first group
found.seed = chart.plot.series.slice(4, 7).map((s) => s.show);
inputs("legend")[0].click();  // the first group
found.shown = chart.plot.series.slice(1, 3).map((s) => s.show);
found.left = inputs("seeds").length;
const later = (act) => setTimeout(act, 50);  // after the new plot is laid out
later(() => {
  mouse("mousedown", chart.plot.over, 150);
  mouse("mousemove", chart.plot.over, 250);
  mouse("mouseup", document, 250);
  later(finish);
});
function finish() {
  found.zoom = [chart.plot.scales.x.min, chart.plot.scales.x.max].map(Math.round);
  one("#runs details").open = true;
  all("#runs th button")[5].click();  // by final return
  found.runs = all("#runs tbody tr").map((row) => row.cells[5].textContent);
  const row = all("#runs tbody tr").find((row) => row.textContent.includes("a1"));
  row.querySelector("button.open").click();
  found.details = row.nextSibling.textContent;
  found.curves = row.nextSibling.querySelectorAll("canvas").length;
  found.video = row.nextSibling.querySelector("video").getAttribute("src");
  found.overflow = document.documentElement.scrollWidth > innerWidth;
  row.querySelector("button.open").click();
  found.closed = all("#runs tr.more").length;
  document.title = JSON.stringify(found);
}
</script>
"""


def in_chromium(page, tmp_path, width):
    """What PROBE found in the page."""
    page.write_text(page.read_text().replace("</body>", PROBE + "</body>"))
    flags = [*FLAGS, f"--window-size={width},900", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [CHROMIUM, *flags, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)[1]
    return json.loads(html.unescape(title))


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [500, 1400])
def test_page_in_chromium(tmp_path, width):
    for seed in range(5):
        first = {100: 0.0, 200: 10.0, 300: 20.0 + seed}
        write_run(
            tmp_path / f"a{seed}", first, seed=seed, log__every=100 + seed, env__success_at=22.0
        )
        second = {100: 5.0, 300: 25.0 - seed}
        write_run(tmp_path / f"b{seed}", second, seed=seed, algo__gamma=0.9, env__success_at=22.0)
    (tmp_path / "a1" / "videos").mkdir()
    (tmp_path / "a1" / "videos" / "step_000000300.mp4").touch()
    (tmp_path / "a1" / "metrics.csv").write_text("step,rollout/episode_return\n100,1.0\n300,3.0\n")
    write_starts(tmp_path / "a1", [Start(machine={"host": "node7"}, packages={"torch": "2.13.0"})])
    (tmp_path / "search.json").write_text(json.dumps(search_of()))
    found = in_chromium(report.write(report.make([tmp_path]), tmp_path)[0], tmp_path, width)
    assert found["errors"] == []
    assert (found["hot"], found["cold"]) == (
        ["circle", "polyline", "TR"],
        0,
    )  # of the trial pointed at
    assert found["charts"] == 2  # learning curves, and the runs that reached the threshold
    assert found["series"] == 1 + 2 * 3  # steps; of each group the IQM and its two bounds
    # at step 200: 10; the IQM of (5 + 25 - seed) / 2
    assert found["read"] == ["10 (5 runs)", "14 (5 runs)"]
    assert found["withSeeds"] == found["series"] + 10
    assert found["names"] == [f"seed {seed}" for seed in [*range(5), *range(5)]]
    assert found["seed"] == [True, False, True]
    assert found["shown"] == [False, False]
    assert found["left"] == 5
    assert found["zoom"] == [150, 250]
    assert found["runs"] == ["20", "21", "21", "22", "22", "23", "23", "24", "24", "25"]
    for words in ("log.every", "101", "node7", "torch 2.13.0", "training episodes", "evaluations"):
        assert words in found["details"]
    assert (found["curves"], found["video"]) == (1, "a1/videos/step_000000300.mp4")
    assert found["closed"] == 0
    assert not found["overflow"]
