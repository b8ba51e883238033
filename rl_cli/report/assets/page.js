// Tables and sections of the report from the JSON in #data (rl_cli/report/page.py).
const ROWS = 200;  // of the table of runs before "show all"

// ---- tables -------------------------------------------------------------------------------------

// On a narrow screen a row is a block, and each cell shows the head of its column.
function labeled(cell, head) { cell.dataset.head = head; return cell; }

function table(head, rows) {
  const node = element("table", {className: "stacked"});
  node.append(element("thead", {}, element("tr", {}, ...head.map((text) => element("th", {scope: "col"}, text)))));
  const body = node.appendChild(element("tbody"));
  for (const row of rows) body.append(element("tr", {}, ...row.map((cell, i) => labeled(element("td", {}, cell), head[i]))));
  return element("div", {className: "wide"}, node);
}

const swatched = (text, i) => element("span", {className: "named"}, swatch(color(i)), element("span", {}, text));

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
  if (from !== null) add("rect", {x: x(from), y: 7, width: Math.max(2, x(to) - x(from)), height: 8, fill: color(i), opacity: 0.3, rx: 2});
  for (const v of group.finals) if (v !== null) add("circle", {cx: x(v), cy: H / 2, r: 2.6, fill: color(i), opacity: 0.75});
  if (value !== null) add("rect", {x: x(value) - 1, y: 3, width: 2.5, height: H - 6, fill: color(i)});
  return svg;
}

function groupsTable(env) {
  const every = env.groups.flatMap((g) => [...g.finals, ...g.iqm]).filter((v) => v !== null);
  const low = Math.min(...every), high = Math.max(...every);
  const solved = env.threshold !== null;
  const head = ["group", "IQM of\u00a0final returns [95\u00a0%]", "each seed", "worst", "seeds",
    ...(solved ? [`solved (≥\u00a0${number(env.threshold)})`, "steps and time to\u00a0it"] : []),
    ...(env.groups.length > 1 ? ["P(better than first)", "seeds to show it"] : [])];
  return table(head, env.groups.map((g, i) => [
    swatched(g.method, i), interval(g.iqm), strip(g, i, low, high), number(g.worst), g.seeds,
    ...(solved ? [`${g.solved} of ${g.count}`, time(g.steps, g.seconds)] : []),
    ...(env.groups.length > 1 ? [g.improvement ? share(g.improvement) : "–", g.needed === null ? "–" : number(g.needed)] : []),
  ]));
}

const CHOSEN = "These runs chose the trials. So the best trial looks better here than it is; runs with fresh seeds are unbiased.";

const caption = (text) => element("p", {className: "caption", textContent: text});

function drawEnv(env) {
  const section = element("section", {}, element("h2", {textContent: env.env}));
  section.append(env.chosen ? caption(CHOSEN) : groupsTable(env));
  document.getElementById("envs").append(section);
  const named = (g, i) => ({name: g.method, color: color(i), dash: dashes(i)});
  const lines = env.groups.map((g, i) => ({...named(g, i), ...g.curve})).filter((line) => line.x.length);
  if (!lines.length) return;
  section.append(element("h3", {textContent: "Learning curves"}), caption("Line: IQM of the runs. Band: its 95\u00a0% bootstrap interval, from 5 runs on."));
  new Chart(section, lines, {label: "evaluation return", unit: "env steps", seeds: lines.some((line) => line.each.length > 1)});
  const reached = env.groups.map((g, i) => ({...named(g, i), ...staircase(g)})).filter((line) => line.x);
  if (!reached.some((line) => line.x.length > 2)) return;
  const what = env.threshold === null ? "its threshold" : number(env.threshold);
  section.append(element("h3", {textContent: `Runs that reached ${what}`}), caption("Share of the runs of which an evaluation had reached it by each step (Kaplan-Meier estimate)."));
  new Chart(section, reached, {label: "share of runs", unit: "env steps", stepped: true, range: [0, 1]});
}

// Of a group: the share of runs from step 0 to its last evaluation.
function staircase(group) {
  if (!group.reached || !group.curve.x.length) return {};
  const {x, y} = group.reached;
  return {x: [0, ...x.filter((v) => v > 0), group.curve.x.at(-1) + 1e-6], y: [0, ...y.filter((_, k) => x[k] > 0), y.length ? y.at(-1) : 0]};
}

function drawAcross(across) {
  const section = document.getElementById("across"), several = across.methods.length > 1;
  section.hidden = false;
  const missing = across.missing.length ? ` Not on every env, and left out: ${across.missing.join("; ")}.` : "";
  const note = "Returns are scaled per env: 0 is the lowest and 1 the highest mean return of an evaluation in this report. Every env counts " +
    "the same in P(better) and in the profile. Intervals: bootstrap stratified by env." + missing;
  const head = ["method", "runs", "IQM of scaled returns [95\u00a0%]", ...(several ? ["P(better than first)"] : [])];
  section.append(element("h2", {textContent: `Over ${across.envs.length} envs`}), element("p", {className: "soft", textContent: note}),
    table(head, across.methods.map((m, i) => [swatched(m.method, i), String(m.runs), interval(m.iqm), ...(several ? [m.improvement ? share(m.improvement) : "–"] : [])])));
  const lines = (part, x) => across.methods.map((m, i) => ({name: m.method, color: color(i), dash: dashes(i), x, ...m[part]}));
  section.append(element("h3", {textContent: "Performance profile"}), caption("Share of the runs whose scaled return is above each value; the higher a line, the better. Band: 95\u00a0% bootstrap interval."));
  new Chart(section, lines("profile", across.tau), {label: "share of runs above", unit: "scaled return", range: [0, 1]});
  section.append(element("h3", {textContent: "Sample efficiency"}),
    caption("IQM of the scaled returns that were reached with so many steps. After its end a completed run counts with its last return."));
  new Chart(section, lines("efficiency", across.steps), {label: "scaled return, IQM", unit: "env steps", log: true});
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
  const open = element("button", {className: "open", type: "button", textContent: "▸", title: "curve, video, configuration, machine"});
  open.setAttribute("aria-label", `details of ${run.folder}`);
  open.setAttribute("aria-expanded", "false");
  const cells = [element("span", {}, open, folder), run.env, run.method, String(run.seed), ended, number(run.final), number(run.best), number(run.step), duration(run.seconds), videos];
  const row = element("tr", {}, ...cells.map((cell, i) => labeled(element("td", {className: i < 3 ? "text" : ""}, cell), COLUMNS[i][0])));
  let shown = null;
  open.onclick = () => {
    if (shown) { if (shown.chart) shown.chart.remove(); shown.row.remove(); shown = null; }
    else { shown = runDetails(run); row.after(shown.row); if (shown.draw) shown.chart = shown.draw(); }
    open.textContent = shown ? "▾" : "▸";
    open.setAttribute("aria-expanded", String(Boolean(shown)));
  };
  return row;
}

function runDetails(run) {
  const cell = element("td", {colSpan: COLUMNS.length}), box = cell.appendChild(element("div", {className: "details"}));
  const curve = element("div", {className: "curve"}), facts = element("div", {className: "facts"});
  box.append(curve, facts);
  if (run.reason) facts.append(element("p", {textContent: `${run.state}: ${run.reason}`}));
  if (run.videos.length) facts.append(element("video", {controls: true, preload: "metadata", src: run.videos.at(-1)}));
  facts.append(differences(run), machine(run));
  const lines = [["training episodes", run.training, color(5)], ["evaluations", run.evaluations, color(0)]]
    .filter(([, points]) => points && points[0].length).map(([name, [x, y], shade]) => ({name, color: shade, x, y}));
  const draw = () => new Chart(curve, lines, {label: "return", unit: "env steps", height: 0.8});
  return {row: element("tr", {className: "more"}, cell), draw: lines.length ? draw : null};
}

function differences(run) {
  const keys = Object.keys(run.differs), text = (v) => v === null ? "null" : String(v);
  if (!keys.length) return element("p", {className: "soft", textContent: "Configuration: that of the first run of the group, except the seed."});
  return element("div", {}, element("p", {className: "soft", textContent: "Configuration that differs from the first run of the group:"}),
    table(["key", "this run", "first run"], keys.map((key) => [key, ...run.differs[key].map(text)])));
}

function machine(run) {
  if (run.machine === null) return element("p", {className: "soft", textContent: "Machine and versions: not recorded."});
  const {machine, versions} = data.machines[run.machine];
  const list = Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ");
  return element("p", {className: "soft", textContent: `Machine: ${machine}. Versions: ${list}.`});
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
  details.append(element("div", {className: "wide"}, element("table", {className: "stacked"}, element("thead", {}, element("tr", {}, ...head)), body)), more);
  document.getElementById("runs").append(details);
  let before = false;
  addEventListener("beforeprint", () => { before = details.open; details.open = true; });
  addEventListener("afterprint", () => { details.open = before; });
  fill();
}

// ---- page ---------------------------------------------------------------------------------------

function list(id, title, lines) {
  if (!lines.length) return;
  document.getElementById(id).append(element("h2", {textContent: title}), element("ul", {}, ...lines.map((line) => element("li", {textContent: line}))));
}

document.getElementById("made").textContent = data.made;
list("answers", "Results", data.answers);
data.envs.forEach(drawEnv);
if (data.across) drawAcross(data.across);
drawRuns();
list("notes", "How to read this", data.notes);
