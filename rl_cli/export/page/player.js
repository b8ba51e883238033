"use strict";
// The loop of episodes, the figures next to it, and keys and buttons to disturb the agent or to take over.

RL.Player = class {
  constructor(data) {
    this.data = data;
    this.env = RL.envs[data.env];
    this.policy = new RL.Policy(data.program);
    this.episode = 0;
    this.returns = [];
    this.direction = 0; // of the keys held: -1, 0, 1
    this.human = false;
    this.running = true;
    this.speed = 1;
    this.reset();
  }

  reset() {
    this.episode += 1;
    this.length = 0;
    this.total = 0;
    this.over = "";
    this.action = null;
    this.scores = null;
    this.state = this.env.reset(Math.random);
    const first = this.observed();
    this.stack = Array.from({ length: this.data.frame_stack }, () => first);
  }

  observed() {
    return this.env.observe(this.state).map(Math.fround);
  }

  // One action of the policy, or of the person.
  step() {
    const { action, scores } = this.policy.run(this.stack.flat());
    this.scores = scores || null;
    this.action = this.human ? this.env.manual(this.direction, this.action || action) : action;
    for (let i = 0; i < this.data.frame_skip && !this.over; i++) {
      const { state, reward, terminated } = this.env.step(this.state, this.action, this.data.constants);
      this.state = state;
      this.total += reward;
      this.length += 1;
      if (terminated) this.over = "terminated";
      else if (this.length >= this.data.limit) this.over = "time limit";
    }
    this.stack = [...this.stack.slice(1), this.observed()];
    if (this.over) this.returns = [...this.returns, this.total].slice(-40);
  }

  disturb(direction) {
    this.state = this.env.disturb(this.state, direction, this.data.constants);
  }
};

RL.start = (data) => {
  const $ = (name) => document.getElementById(name);
  const player = new RL.Player(data), paint = new RL.Paint($("stage"));
  const number = (x) => (Math.abs(x) >= 100 ? x.toFixed(0) : x.toFixed(Number.isInteger(x) ? 0 : 2));
  let wait = 0, owed = 0, before = 0;

  const bars = $("bars");
  const labels = player.env.actions;
  bars.innerHTML = labels.map(() => '<div class="bar"><span></span><i><b></b></i><output></output></div>').join("");

  const showAction = () => {
    [...bars.children].forEach((bar, i) => {
      const [name, , value] = bar.children, fill = bar.querySelector("b");
      name.textContent = labels[i];
      let share = 0, text = "", left = 0;
      if (player.env.bounds) {
        const at = player.action ? player.action[0] : 0, half = Math.abs(at) / player.env.bounds[1] / 2;
        [share, left, text] = [Math.min(half, 0.5), at < 0 ? 0.5 - Math.min(half, 0.5) : 0.5, at.toFixed(2)];
      } else if (player.scores) {
        const scores = player.scores, top = Math.max(...scores), low = Math.min(...scores);
        if (data.scores === "logits") {
          const weights = scores.map((s) => Math.exp(s - top)), sum = weights.reduce((a, b) => a + b);
          share = weights[i] / sum;
          text = `${(100 * share).toFixed(0)} %`;
        } else {
          share = top > low ? 0.1 + (0.9 * (scores[i] - low)) / (top - low) : 1;
          text = number(scores[i]);
        }
      }
      Object.assign(fill.style, { width: `${100 * share}%`, left: `${100 * left}%` });
      value.textContent = text;
      bar.classList.toggle("chosen", !player.env.bounds && player.action !== null && player.action[0] === i);
    });
  };

  const showReturns = () => {
    const returns = player.returns, low = Math.min(0, ...returns), high = Math.max(0, ...returns);
    const height = (x) => (high > low ? (40 * (x - low)) / (high - low) : 0), zero = 42 - height(0);
    $("returns").innerHTML = returns
      .map((x, i) => {
        const y = 42 - height(x);
        return `<rect x="${i * 5}" width="4" y="${Math.min(y, zero)}" height="${Math.max(Math.abs(y - zero), 1.5)}"/>`;
      })
      .join("");
  };

  const show = () => {
    paint.clear();
    player.env.draw(paint, player.state, player.action, data.constants);
    $("episode").textContent = player.episode;
    $("step").textContent = player.length;
    $("total").textContent = number(player.total);
    $("over").textContent = player.over;
    showAction();
  };

  const press = (name, pressed) => $(name).setAttribute("aria-pressed", pressed);
  const commands = {
    pause() {
      player.running = !player.running;
      $("pause").textContent = player.running ? "Pause" : "Play";
    },
    restart() {
      player.reset();
      show();
    },
    slower: () => setSpeed(player.speed / 2),
    faster: () => setSpeed(player.speed * 2),
    left: () => push(-1),
    right: () => push(1),
    human() {
      player.human = !player.human;
      press("human", player.human);
      document.body.classList.toggle("human", player.human);
      $("left").textContent = player.human ? "◀ steer" : "◀ push";
      $("right").textContent = player.human ? "steer ▶" : "push ▶";
    },
  };

  const setSpeed = (speed) => {
    player.speed = Math.min(Math.max(speed, 0.25), 8);
    $("speed").textContent = `${player.speed}×`;
  };

  const push = (direction) => {
    if (!player.human && !player.over) player.disturb(direction);
    show();
  };

  for (const [name, act] of Object.entries(commands)) $(name).addEventListener("click", act);
  const hold = (direction) => (player.direction = direction);
  for (const [name, direction] of [["left", -1], ["right", 1]]) {
    $(name).addEventListener("pointerdown", () => hold(direction));
    for (const end of ["pointerup", "pointerleave", "pointercancel"]) $(name).addEventListener(end, () => hold(0));
  }
  const keys = { " ": "pause", r: "restart", t: "human", "-": "slower", "+": "faster", "=": "faster" };
  const arrows = { ArrowLeft: -1, ArrowRight: 1, a: -1, d: 1 };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const onButton = event.target.tagName === "BUTTON" && (event.key === " " || event.key === "Enter");
    if (onButton) return; // the button has its own click
    if (event.key in arrows) {
      hold(arrows[event.key]);
      if (!event.repeat) push(arrows[event.key]);
    } else if (event.key in keys && !event.repeat) commands[keys[event.key]]();
    else return;
    event.preventDefault();
  });
  addEventListener("keyup", (event) => {
    if (arrows[event.key] === player.direction) hold(0);
  });

  // One step each 1 / fps seconds, times the speed; the end of an episode is shown for a moment.
  const frame = (now) => {
    const passed = Math.min((now - before) / 1000, 0.1);
    before = now;
    if (player.running) {
      owed += passed * player.speed * data.fps;
      wait -= passed;
      while (owed >= 1) {
        owed -= 1;
        if (player.over && wait <= 0) player.reset();
        if (player.over) continue;
        player.step();
        if (player.over) {
          wait = 0.8;
          showReturns();
        }
      }
    }
    show();
    requestAnimationFrame(frame);
  };

  const largest = RL.selfTest(player.policy, data.recorded), same = largest <= data.bound;
  $("check").textContent = same
    ? `Checked: the policy in this page acts as the trained one on ${data.recorded.obs.length} recorded observations` +
      (largest ? ` (largest difference ${largest.toExponential(1)}).` : ".")
    : `The policy in this page differs from the trained one by ${largest.toExponential(1)}.`;
  $("check").className = same ? "" : "wrong";
  document.documentElement.dataset.check = same ? "passed" : "failed";
  $("help").textContent = player.env.help;
  const repaint = () => {
    paint.refresh();
    show();
  };
  addEventListener("resize", repaint);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) commands.pause();
  setSpeed(1);
  repaint();
  requestAnimationFrame((now) => {
    before = now;
    frame(now);
  });
  return player;
};
