"use strict";
// Draws the report from the JSON in #data (rl_cli/report/page.py). Text from run folders is only ever set as
// textContent, never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d3b", "#7f7f7f"];  // Okabe and Ito
const colour = (i) => COLOURS[i % COLOURS.length];
const ROWS = 200;  // of the table of runs before "show all"

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 10000) return Math.round(value).toLocaleString("en");
  return Number(value.toPrecision(size >= 1000 ? 5 : 4)).toLocaleString("en", {maximumFractionDigits: 4});
}

const interval = ([value, low, high]) =>
  value === null ? "–" : low === null ? number(value) : `${number(value)} [${number(low)}, ${number(high)}]`;

const share = ([value, low, high]) => value === null ? "–" : `${Math.round(100 * value)} %` +
  (low === null ? "" : ` [${Math.round(100 * low)}, ${Math.round(100 * high)}]`);

function duration(seconds) {
  if (seconds === null) return "–";
  if (seconds < 100) return `${number(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`;
}

function time(threshold) {
  if (!threshold) return "–";
  const median = threshold.median === null ? "not by half" : number(threshold.median);
  return `${median} (${threshold.reached} of ${threshold.runs})`;
}

// ---- charts -------------------------------------------------------------------------------------

const charts = [];
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

class Chart {
  // lines: [{name, colour, x, y, low, high, each: [{name, y}]}]
  constructor(parent, lines, {label, unit, seeds}) {
    this.lines = lines; this.label = label; this.unit = unit;
    this.shown = lines.map(() => true); this.each = false; this.outputs = [];
    this.box = parent.appendChild(element("div", {className: "chart"}));
    this.legend = this.box.appendChild(element("div", {className: "legend"}));
    this.canvas = this.box.appendChild(element("div"));
    lines.forEach((line, i) => this.legend.append(this.toggle(line, i)));
    if (seeds) {
      const box = element("input", {type: "checkbox", className: "seeds", onchange: () => { this.each = box.checked; this.draw(); }});
      this.legend.append(element("label", {}, box, " each seed"));
    }
    this.box.append(element("p", {className: "hint", textContent: "Drag to zoom, double-click to reset, point to read values."}));
    new ResizeObserver(() => this.plot && this.plot.width !== this.width() && this.plot.setSize(this.size())).observe(this.box);
    charts.push(this);
    this.draw();
  }

  toggle(line, i) {
    const box = element("input", {type: "checkbox", checked: true, onchange: () => { this.shown[i] = box.checked; this.draw(); }});
    const swatch = element("span", {className: "swatch"});
    swatch.style.background = line.colour;
    this.outputs[i] = element("output");
    return element("label", {}, box, " ", swatch, line.name, this.outputs[i]);
  }

  width() { return Math.max(260, this.box.clientWidth - 14); }
  size() { return {width: this.width(), height: Math.min(380, Math.max(240, this.width() * 0.42))}; }

  draw() {
    const tables = [], series = [{}], bands = [];
    this.first = [];  // line -> index of its series
    this.lines.forEach((line, i) => {
      const columns = [line.x, line.y], at = series.length;
      this.first[i] = at;
      series.push({show: this.shown[i], stroke: line.colour, width: 2, points: {show: line.x.length === 1}});
      if (line.low && line.low.some((v) => v !== null)) {
        columns.push(line.high, line.low);
        for (let k = 0; k < 2; k++) series.push({show: this.shown[i], stroke: "transparent", width: 0, points: {show: false}});
        bands.push({series: [at + 1, at + 2], fill: line.colour + "26"});
      }
      for (const seed of this.each ? line.each : []) {
        columns.push(seed.y);
        series.push({show: this.shown[i], stroke: line.colour + "88", width: 1, dash: [4, 3], points: {show: false}});
      }
      tables.push(columns);
    });
    const axis = {stroke: style("--soft"), grid: {stroke: style("--line"), width: 1}, ticks: {stroke: style("--line")}};
    if (this.plot) this.plot.destroy();
    this.plot = new uPlot({
      ...this.size(), series, bands, legend: {show: false}, scales: {x: {time: false}},
      axes: [{...axis, label: this.unit, labelSize: 22}, {...axis, label: this.label, size: 62, labelSize: 22}],
      hooks: {setCursor: [(plot) => this.read(plot)]},
    }, uPlot.join(tables, tables.map((t) => t.map(() => 1))), this.canvas);
  }

  // The values at the cursor, interpolated where another group was evaluated.
  read(plot) {
    const at = plot.cursor.idx;
    this.outputs.forEach((output, i) => {
      const value = at === null || at === undefined ? null : between(plot.data[0], plot.data[this.first[i]], at);
      output.textContent = value === null ? "" : number(value);
    });
  }
}

function between(x, y, at) {
  const known = (v) => v !== null && v !== undefined;
  let left = at, right = at;
  while (left >= 0 && !known(y[left])) left--;
  while (right < y.length && !known(y[right])) right++;
  if (left < 0 || right >= y.length) return null;
  return left === right ? y[at] : y[left] + (y[right] - y[left]) * (x[at] - x[left]) / (x[right] - x[left]);
}

function redraw() { for (const chart of charts) chart.draw(); }
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
matchMedia("print").addEventListener("change", redraw);

// ---- tables -------------------------------------------------------------------------------------

function table(head, rows) {
  const node = element("table");
  node.append(element("thead", {}, element("tr", {}, ...head.map((text) => element("th", {scope: "col"}, text)))));
  const body = node.appendChild(element("tbody"));
  for (const row of rows) body.append(element("tr", {}, ...row.map((cell) => element("td", {}, cell))));
  return element("div", {className: "wide"}, node);
}

function swatched(text, i) {
  const swatch = element("span", {className: "swatch"});
  swatch.style.background = colour(i);
  return element("span", {}, swatch, text);
}

// A point per seed, the IQM and its interval, on one scale for all groups of an env.
function strip(group, i, low, high) {
  const SVG = "http://www.w3.org/2000/svg", W = 180, H = 22;
  const svg = document.createElementNS(SVG, "svg");
  const x = (v) => 6 + (W - 12) * (high > low ? (v - low) / (high - low) : 0.5);
  const add = (tag, attributes) => {
    const node = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    svg.append(node);
  };
  svg.setAttribute("viewBox", `0 0 ${W} ${H}`); svg.setAttribute("width", W); svg.setAttribute("height", H);
  svg.setAttribute("role", "img"); svg.setAttribute("aria-label", `returns of ${group.finals.length} seeds`);
  const [value, from, to] = group.iqm;
  if (from !== null) add("rect", {x: x(from), y: 7, width: Math.max(2, x(to) - x(from)), height: 8, fill: colour(i), opacity: 0.3, rx: 2});
  for (const v of group.finals) if (v !== null) add("circle", {cx: x(v), cy: H / 2, r: 2.6, fill: colour(i), opacity: 0.75});
  if (value !== null) add("rect", {x: x(value) - 1, y: 3, width: 2.5, height: H - 6, fill: colour(i)});
  return svg;
}

function groupsTable(env) {
  const every = env.groups.flatMap((g) => [...g.finals, ...g.iqm]).filter((v) => v !== null);
  const low = Math.min(...every), high = Math.max(...every);
  const solved = env.threshold !== null;
  const head = ["group", "final return, IQM [95 %]", "each seed", "worst", "seeds",
    ...(solved ? [`solved (≥ ${number(env.threshold)})`, "steps to it", "time to it"] : []),
    ...(env.groups.length > 1 ? ["P(better than first)", "seeds to show it"] : [])];
  return table(head, env.groups.map((g, i) => [
    swatched(g.method, i), interval(g.iqm), strip(g, i, low, high), number(g.worst), g.seeds,
    ...(solved ? [`${g.solved} of ${g.count}`, time(g.steps), g.seconds && g.seconds.median !== null ? duration(g.seconds.median) : "–"] : []),
    ...(env.groups.length > 1 ? [g.improvement ? share(g.improvement) : "–", g.needed === null ? "–" : number(g.needed)] : []),
  ]));
}

function drawEnv(env) {
  const section = element("section", {}, element("h2", {textContent: env.env}), groupsTable(env));
  document.getElementById("envs").append(section);
  const lines = env.groups.map((g, i) => ({name: g.method, colour: colour(i), ...g.curve})).filter((line) => line.x.length);
  if (lines.length) new Chart(section, lines, {label: "evaluation return", unit: "env steps", seeds: lines.some((line) => line.each.length > 1)});
}

function drawAcross(across) {
  const section = document.getElementById("across");
  section.hidden = false;
  section.append(element("h2", {textContent: `Over ${across.envs.length} envs`}),
    element("p", {className: "soft", textContent: across.note}),
    table(["method", "runs", "scaled return, IQM [95 %]"], across.methods.map((m, i) => [swatched(m.method, i), String(m.runs), interval(m.iqm)])),
    element("h3", {textContent: "Performance profile"}));
  new Chart(section, across.methods.map((m, i) => ({name: m.method, colour: colour(i), x: across.tau, y: m.profile, each: []})),
    {label: "share of runs above", unit: "scaled return", seeds: false});
}

// ---- runs ---------------------------------------------------------------------------------------

const COLUMNS = [
  ["run", (r) => r.folder], ["env", (r) => r.env], ["group", (r) => r.method], ["seed", (r) => r.seed],
  ["ended", (r) => r.state], ["final", (r) => r.final], ["best", (r) => r.best], ["steps", (r) => r.step],
  ["time", (r) => r.seconds], ["videos", (r) => r.videos.length],
];

function runRow(run) {
  const folder = element("a", {href: run.href, textContent: run.folder});
  const videos = element("span");
  run.videos.forEach((href, k) => videos.append(element("a", {href, textContent: `${k + 1}`}), " "));
  const ended = element("span", {title: run.reason, textContent: run.state});
  const cells = [folder, run.env, run.method, String(run.seed), ended, number(run.final), number(run.best), number(run.step), duration(run.seconds), videos];
  return element("tr", {}, ...cells.map((cell, i) => element("td", {className: i < 3 ? "text" : ""}, cell)));
}

function drawRuns() {
  const details = element("details", {}, element("summary", {textContent: `Runs (${data.runs.length.toLocaleString("en")})`}));
  const body = element("tbody"), more = element("button", {className: "more", type: "button"});
  let order = data.runs.slice(), limit = ROWS, sorted = null;
  const fill = () => {
    body.replaceChildren(...order.slice(0, limit).map(runRow));
    more.hidden = order.length <= limit;
    more.textContent = `show all ${order.length.toLocaleString("en")}`;
  };
  const compare = (key) => (a, b) => { const x = key(a), y = key(b); return x === null ? 1 : y === null ? -1 : x < y ? -1 : x > y ? 1 : 0; };
  const head = COLUMNS.map(([name, key], i) => {
    const sort = () => { order.sort(compare(key)); if (sorted === name) { order.reverse(); sorted = null; } else sorted = name; fill(); };
    return element("th", {scope: "col", className: i < 3 ? "text" : ""}, element("button", {type: "button", onclick: sort, textContent: name}));
  });
  more.onclick = () => { limit = Infinity; fill(); };
  details.append(element("div", {className: "wide"}, element("table", {}, element("thead", {}, element("tr", {}, ...head)), body)), more);
  document.getElementById("runs").append(details);
  fill();
}

// ---- page ---------------------------------------------------------------------------------------

function list(id, title, lines) {
  if (!lines.length) return;
  document.getElementById(id).append(element("h2", {textContent: title}), element("ul", {}, ...lines.map((line) => element("li", {textContent: line}))));
}

document.getElementById("made").textContent = data.made;
list("answers", "Results", data.envs.map((env) => env.answer));
data.envs.forEach(drawEnv);
if (data.across) drawAcross(data.across);
drawRuns();
list("notes", "How to read this", data.notes);
