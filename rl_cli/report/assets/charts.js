"use strict";
// Helpers and charts of the report. Text from run folders is only ever set as textContent, never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d3b", "#7f7f7f"];  // Okabe and Ito
const color = (i) => COLORS[i % COLORS.length];
const DASHES = [undefined, [8, 4], [8, 3, 2, 3], [2, 3]];  // of lines that have the same color
const dashes = (i) => DASHES[Math.floor(i / COLORS.length) % DASHES.length];

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

// The medians of steps and seconds to a threshold, and how many runs reached it.
function time(steps, seconds) {
  if (!steps) return "–";
  const known = [steps.median === null ? null : number(steps.median), !seconds || seconds.median === null ? null : duration(seconds.median)];
  return `${known.filter((v) => v !== null).join(", ") || "not by half"} (${steps.reached} of ${steps.runs})`;
}

// The ticks of an axis, all with the same letter: 5k 10k, 0.5M 1M.
function short(ticks) {
  const size = Math.max(...ticks.map((v) => Math.abs(v ?? 0)));
  const [by, letter] = size >= 1e6 ? [1e6, "M"] : size >= 1e4 ? [1e3, "k"] : [1, ""];
  const text = (v) => Number((v / by).toPrecision(6)).toLocaleString("en", {maximumFractionDigits: 4}) + (v === 0 ? "" : letter);
  return ticks.map((v) => v === null ? "" : text(v));
}

function swatch(shade) {
  const node = element("span", {className: "swatch"});
  node.style.background = shade;
  return node;
}

// ---- charts -------------------------------------------------------------------------------------

const charts = [];
const SHOWN = 8;  // lines of a chart at first; the others are switched on in the legend
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

class Chart {
  // lines: [{name, color, x, y, low, high, runs, each: [{name, y}], dash}]; only name, color, x and y are required
  constructor(parent, lines, {label, unit, seeds = false, stepped = false, log = false, height = 1, range = null}) {
    this.lines = lines; this.label = label; this.unit = unit; this.stepped = stepped; this.log = log; this.scale = height; this.range = range;
    this.shown = lines.map((_, i) => i < SHOWN); this.each = false; this.outputs = [];
    this.seed = lines.map((line) => (line.each || []).map(() => true));  // line, seed -> whether it is shown
    this.box = parent.appendChild(element("div", {className: "chart"}));
    this.legend = this.box.appendChild(element("div", {className: "legend"}));
    this.seeds = this.box.appendChild(element("div", {className: "seeds", hidden: true}));
    this.canvas = this.box.appendChild(element("div"));
    lines.forEach((line, i) => this.legend.append(this.toggle(line, i)));
    if (seeds) {
      const box = element("input", {type: "checkbox", className: "each", onchange: () => { this.each = box.checked; this.draw(); }});
      this.legend.append(element("label", {}, box, " each seed"));
    }
    const more = lines.length > SHOWN ? `The first ${SHOWN} of ${lines.length} lines are drawn; the legend switches the others on. ` : "";
    this.box.append(element("p", {className: "hint", textContent: more + "Drag to zoom, double-click to reset, point to read values."}));
    this.observer = new ResizeObserver(() => this.plot && this.plot.width !== this.width() && this.plot.setSize(this.size()));
    this.observer.observe(this.box);
    charts.push(this);
    this.draw();
  }

  remove() {
    this.observer.disconnect();
    this.plot.destroy();
    charts.splice(charts.indexOf(this), 1);
  }

  toggle(line, i) {
    const box = element("input", {type: "checkbox", checked: this.shown[i], onchange: () => { this.shown[i] = box.checked; this.draw(); }});
    this.outputs[i] = element("output");
    return element("label", {}, box, " ", swatch(line.color), line.name, this.outputs[i]);
  }

  // A switch per seed of the shown lines.
  drawSeeds() {
    this.seeds.hidden = !this.each;
    this.seeds.replaceChildren(...(!this.each ? [] : this.lines.flatMap((line, i) => !this.shown[i] ? [] : (line.each || []).map((seed, k) => {
      const box = element("input", {type: "checkbox", checked: this.seed[i][k], onchange: () => { this.seed[i][k] = box.checked; this.plotAll(); }});
      return element("label", {}, box, swatch(line.color), seed.name);
    }))));
  }

  width() { return Math.max(220, this.box.clientWidth - 14); }
  size() { return {width: this.width(), height: this.scale * Math.min(380, Math.max(240, this.width() * 0.42))}; }

  draw() { this.drawSeeds(); this.plotAll(); }

  plotAll() {
    const tables = [], series = [{}], bands = [];
    const paths = this.stepped ? uPlot.paths.stepped({align: 1}) : undefined;
    this.first = [];  // line -> index of its series
    this.lines.forEach((line, i) => {
      const columns = [line.x, line.y], at = series.length;
      this.first[i] = at;
      series.push({show: this.shown[i], stroke: line.color, width: 2, dash: line.dash, paths, points: {show: single(line.y)}});
      if (line.low && line.low.some((v) => v !== null)) {
        columns.push(line.high, line.low);
        for (let k = 0; k < 2; k++) series.push({show: this.shown[i], stroke: "transparent", width: 0, points: {show: false}});
        bands.push({series: [at + 1, at + 2], fill: line.color + "26"});
      }
      (this.each ? line.each || [] : []).forEach((seed, k) => {
        columns.push(seed.y);
        series.push({show: this.shown[i] && this.seed[i][k], stroke: line.color + "88", width: 1, dash: [4, 3], points: {show: single(seed.y)}});
      });
      tables.push(columns);
    });
    const axis = {stroke: style("--soft"), grid: {stroke: style("--line"), width: 1}, ticks: {stroke: style("--line")}};
    const each = (ticks) => ticks.flatMap((v) => short([v]));
    const values = (plot, ticks, i) => this.log && i === 0 ? each(ticks) : short(ticks);
    if (this.plot) this.plot.destroy();
    this.plot = new uPlot({
      ...this.size(), series, bands, legend: {show: false}, scales: {x: {time: false, distr: this.log ? 3 : 1}, y: this.range ? {range: this.range} : {}},
      axes: [{...axis, label: this.unit, labelSize: 22, values}, {...axis, label: this.label, size: 58, labelSize: 22, values}],
      hooks: {setCursor: [(plot) => this.read(plot)]},
    }, uPlot.join(tables, tables.map((t) => t.map(() => 1))), this.canvas);
  }

  // The values at the cursor, interpolated where another group was evaluated, and the number of runs they are from.
  read(plot) {
    const at = plot.cursor.idx;
    this.outputs.forEach((output, i) => {
      const value = at === null || at === undefined ? null : between(plot.data[0], plot.data[this.first[i]], at, this.stepped);
      const runs = value === null ? null : runsAt(this.lines[i], plot.data[0][at]);
      output.textContent = value === null ? "" : number(value) + (runs === null ? "" : ` (${runs} run${runs === 1 ? "" : "s"})`);
    });
  }
}

// One value alone makes no line: it is drawn as a point.
function single(y) { return y.filter((v) => v !== null).length === 1; }

function between(x, y, at, stepped) {
  const known = (v) => v !== null && v !== undefined;
  let left = at, right = at;
  while (left >= 0 && !known(y[left])) left--;
  while (right < y.length && !known(y[right])) right++;
  if (left < 0 || right >= y.length) return null;
  return left === right || stepped ? y[left] : y[left] + (y[right] - y[left]) * (x[at] - x[left]) / (x[right] - x[left]);
}

function runsAt(line, x) {
  if (!line.runs) return null;
  let k = line.x.length - 1;
  while (k > 0 && line.x[k] > x) k--;
  return line.runs[k];
}

function redraw() { for (const chart of charts) chart.draw(); }
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
matchMedia("print").addEventListener("change", redraw);
