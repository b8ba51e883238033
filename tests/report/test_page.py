"""The page in a real browser: charts are drawn, and react to the pointer and to switches."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from rl_cli.report import report
from tests.report.folders import write_run

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
addEventListener("error", (event) => found.errors.push(event.message));
const inputs = () => [...document.querySelectorAll(".legend input")];
const chart = charts[0];
found.charts = document.querySelectorAll(".chart canvas").length;
found.series = chart.plot.series.length;
chart.plot.setCursor({left: chart.plot.valToPos(200, "x"), top: 10});
found.read = [...document.querySelectorAll(".legend output")].map((o) => o.textContent);
inputs()[2].click();  // each seed
found.withSeeds = chart.plot.series.length;
inputs()[0].click();  // the first group
found.shown = chart.plot.series.slice(1, 3).map((s) => s.show);
chart.plot.setScale("x", {min: 150, max: 250});
setTimeout(() => {
  found.zoom = [chart.plot.scales.x.min, chart.plot.scales.x.max];
  document.querySelector("#runs details").open = true;
  document.querySelectorAll("#runs th button")[5].click();  // by final return
  found.runs = [...document.querySelectorAll("#runs tbody tr")].map((row) => row.cells[5].textContent);
  found.overflow = document.documentElement.scrollWidth > innerWidth;
  document.title = JSON.stringify(found);
}, 50);
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [390, 1200])
def test_page_in_chromium(tmp_path, width):
    for seed in range(5):
        write_run(tmp_path / f"a{seed}", {100: 0.0, 200: 10.0, 300: 20.0 + seed}, seed=seed)
        write_run(tmp_path / f"b{seed}", {100: 5.0, 300: 25.0 - seed}, seed=seed, algo__gamma=0.9)
    page = report.write(report.make([tmp_path]), tmp_path)[0]
    page.write_text(page.read_text().replace("</body>", PROBE + "</body>"))
    flags = [*FLAGS, f"--window-size={width},900", f"--user-data-dir={tmp_path / 'profile'}"]
    shown = subprocess.run(
        [CHROMIUM, *flags, "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    title = re.search(r"<title>(.*?)</title>", shown, re.DOTALL)[1]
    found = json.loads(title.replace("&amp;", "&"))
    assert found["errors"] == []
    assert found["charts"] == 1
    assert found["series"] == 1 + 2 * 3  # steps; of each group the IQM and its two bounds
    assert found["read"] == ["10", "14"]  # at step 200: 10; the IQM of (5 + 25 - seed) / 2
    assert found["withSeeds"] == found["series"] + 10
    assert found["shown"] == [False, False]
    assert found["zoom"] == [150, 250]
    assert found["runs"] == ["20", "21", "21", "22", "22", "23", "23", "24", "24", "25"]
    assert not found["overflow"]
