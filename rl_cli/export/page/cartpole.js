"use strict";
// CartPole, with gymnasium's constants c and equations. The state is [x, speed, angle, angular speed].

RL.envs.CartPoleEnv = {
  actions: ["left", "right"],
  help: "Keep the pole up. Arrow keys push the cart.",

  reset: (random) => [0, 0, 0, 0].map(() => random() * 0.1 - 0.05),

  observe: (s) => s,

  step(s, [action], c) {
    let [x, speed, angle, turn] = s;
    const force = action === 1 ? c.force_mag : -c.force_mag;
    const cos = Math.cos(angle), sin = Math.sin(angle);
    const temp = (force + c.polemass_length * (turn * turn) * sin) / c.total_mass;
    const turning =
      (c.gravity * sin - cos * temp) / (c.length * (4 / 3 - (c.masspole * (cos * cos)) / c.total_mass));
    const moving = temp - (c.polemass_length * turning * cos) / c.total_mass;
    x += c.tau * speed;
    speed += c.tau * moving;
    angle += c.tau * turn;
    turn += c.tau * turning;
    const terminated = Math.abs(x) > c.x_threshold || Math.abs(angle) > c.theta_threshold_radians;
    return { state: [x, speed, angle, turn], reward: 1, terminated };
  },

  // A push: direction -1 or 1.
  disturb: ([x, speed, angle, turn], direction) => [x, speed + 0.6 * direction, angle, turn - 0.35 * direction],

  manual: (direction, before) => [direction === 0 ? before[0] : direction > 0 ? 1 : 0],

  draw(paint, s, action, c) {
    const scale = 250 / c.x_threshold, ground = 300, x = 300 + s[0] * scale;
    paint.line(50 - 20, ground, 550 + 20, ground, "faint", 4);
    for (const end of [50, 550]) paint.line(end, ground - 14, end, ground + 14, "faint", 4);
    const top = ground - 44, reach = 190;
    for (const side of [-1, 1]) {
      const limit = side * c.theta_threshold_radians;
      const from = [x + Math.sin(limit) * 150, top - Math.cos(limit) * 150];
      paint.line(...from, x + Math.sin(limit) * reach, top - Math.cos(limit) * reach, "faint", 2, [4, 6]);
    }
    for (const side of [-24, 24]) paint.disc(x + side, ground - 8, 9, "ink");
    paint.box(x - 46, ground - 46, 92, 36, 8, "body");
    paint.line(x, top, x + Math.sin(s[2]) * reach, top - Math.cos(s[2]) * reach, "accent", 13);
    paint.disc(x, top, 5, "paper");
    if (action) paint.arrow(x, ground + 34, action[0] === 1 ? 44 : -44, "accent");
  },
};
