"use strict";
// Acrobot ("book" equations; masses and lengths are 1). The state is both angles and their speeds.

{
  const derivative = ([first, second, speed, speed2], torque) => {
    const cos = Math.cos(second), sin = Math.sin(second), g = 9.8;
    const d1 = 0.25 + (1.25 + cos) + 1 + 1;
    const d2 = 0.25 + 0.5 * cos + 1;
    const phi2 = 0.5 * g * Math.cos(first + second - Math.PI / 2);
    let phi1 = -0.5 * speed2 ** 2 * sin - speed2 * speed * sin;
    phi1 += 1.5 * g * Math.cos(first - Math.PI / 2) + phi2;
    const inertia = 1.25 - d2 ** 2 / d1;
    const turn2 = (torque + (d2 / d1) * phi1 - 0.5 * speed ** 2 * sin - phi2) / inertia;
    return [speed, speed2, -(d2 * turn2 + phi1) / d1, turn2];
  };

  const wrapped = (angle) => {
    while (angle > Math.PI) angle -= 2 * Math.PI;
    while (angle < -Math.PI) angle += 2 * Math.PI;
    return angle;
  };

  const clip = (x, most) => Math.min(Math.max(x, -most), most);

  RL.envs.AcrobotEnv = {
    actions: ["left", "nothing", "right"],
    help: "Swing the tip above the line. Arrow keys turn the first link.",

    reset: (random) => [0, 0, 0, 0].map(() => Math.fround(random() * 0.2 - 0.1)),

    observe: ([first, second, speed, speed2]) => [
      Math.cos(first), Math.sin(first), Math.cos(second), Math.sin(second), speed, speed2,
    ],

    step(s, [action]) {
      const torque = action - 1, ahead = (k, dt) => s.map((x, i) => x + dt * k[i]);
      const k1 = derivative(s, torque);
      const k2 = derivative(ahead(k1, 0.1), torque);
      const k3 = derivative(ahead(k2, 0.1), torque);
      const k4 = derivative(ahead(k3, 0.2), torque);
      let [first, second, speed, speed2] = s.map(
        (x, i) => x + (0.2 / 6) * (k1[i] + 2 * k2[i] + 2 * k3[i] + k4[i])
      );
      const state = [wrapped(first), wrapped(second), clip(speed, 4 * Math.PI), clip(speed2, 9 * Math.PI)];
      const terminated = -Math.cos(state[0]) - Math.cos(state[1] + state[0]) > 1;
      return { state, reward: terminated ? 0 : -1, terminated };
    },

    disturb: ([first, second, speed, speed2], direction) => [
      first, second, clip(speed + 1.5 * direction, 4 * Math.PI), speed2,
    ],

    manual: (direction) => [direction + 1],

    draw(paint, [first, second], action) {
      const x = 300, y = 200, reach = 86;
      paint.line(40, y - reach, 560, y - reach, "faint", 3, [6, 8]);
      const middle = [x + Math.sin(first) * reach, y + Math.cos(first) * reach];
      const both = first + second;
      const tip = [middle[0] + Math.sin(both) * reach, middle[1] + Math.cos(both) * reach];
      paint.line(x, y, ...middle, "body", 15);
      paint.line(...middle, ...tip, "accent", 15);
      paint.disc(x, y, 9, "ink");
      paint.disc(...middle, 9, "ink");
      paint.disc(...tip, 5, "paper");
      if (action && action[0] !== 1) paint.turn(...middle, 30, 1 - action[0], "ink");
    },
  };
}
