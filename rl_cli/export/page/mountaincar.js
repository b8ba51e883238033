"use strict";
// MountainCar with discrete and with continuous actions. The state is [position, velocity].

{
  const clip = (x, low, high) => Math.min(Math.max(x, low), high);
  const height = (x) => Math.sin(3 * x) * 0.45 + 0.55;

  const draw = (paint, [position], push, c) => {
    const sx = 560 / (c.max_position - c.min_position), sy = 300;
    const at = (x) => [20 + (x - c.min_position) * sx, 370 - height(x) * sy];
    const hill = [];
    for (let i = -4; i <= 104; i++) hill.push(at(c.min_position + (i / 100) * (c.max_position - c.min_position)));
    paint.area([[0, 400], ...hill, [600, 400]], "hill");
    paint.path(hill, "faint", 4);
    const [fx, fy] = at(c.goal_position);
    paint.line(fx, fy, fx, fy - 62, "ink", 3);
    paint.area([[fx, fy - 62], [fx + 34, fy - 51], [fx, fy - 40]], "accent");
    const [x, y] = at(position);
    const slope = -Math.atan((Math.cos(3 * position) * 3 * 0.45 * sy) / sx);
    paint.turned(x, y, slope, () => {
      paint.box(-24, -31, 48, 18, 7, "body");
      paint.box(-13, -43, 27, 15, 6, "body");
      for (const side of [-14, 14]) {
        paint.disc(side, -9, 9, "ink");
        paint.disc(side, -9, 3, "paper");
      }
    });
    if (push) paint.arrow(x, y - 68, push * 44, "accent");
  };

  const shared = {
    reset: (random) => [-0.6 + random() * 0.2, 0],
    observe: (s) => s,
    disturb: ([position, velocity], direction, c) => [
      position,
      clip(velocity + 0.015 * direction, -c.max_speed, c.max_speed),
    ],
  };

  RL.envs.MountainCarEnv = {
    ...shared,
    actions: ["left", "nothing", "right"],
    help: "Reach the flag: swing to gain speed. Arrow keys push the car.",

    step([position, velocity], [action], c) {
      velocity += (action - 1) * c.force + Math.cos(3 * position) * -c.gravity;
      velocity = clip(velocity, -c.max_speed, c.max_speed);
      position = clip(position + velocity, c.min_position, c.max_position);
      if (position === c.min_position && velocity < 0) velocity = 0;
      const terminated = position >= c.goal_position && velocity >= c.goal_velocity;
      return { state: [position, velocity], reward: -1, terminated };
    },

    manual: (direction) => [direction + 1],
    draw: (paint, s, action, c) => draw(paint, s, action ? action[0] - 1 : 0, c),
  };

  // gymnasium keeps this state in float32, except for the one of the reset.
  RL.envs.Continuous_MountainCarEnv = {
    ...shared,
    actions: ["force"],
    bounds: [-1, 1],
    help: "Reach the flag with little force. Arrow keys push the car.",

    step([position, velocity, moved], [action], c) {
      const f = Math.fround, force = clip(action, c.min_action, c.max_action);
      const round = moved ? f : (x) => x;
      const slope = Math.cos(moved ? f(3 * position) : 3 * position);
      velocity = round(velocity + f(f(force * f(c.power)) - f(0.0025 * slope)));
      velocity = clip(velocity, -c.max_speed, c.max_speed);
      position = clip(round(position + round(velocity)), c.min_position, c.max_position);
      if (f(position) === f(c.min_position) && velocity < 0) velocity = 0;
      const terminated = f(position) >= f(c.goal_position) && velocity >= c.goal_velocity;
      const reward = (terminated ? 100 : 0) - action * action * 0.1;
      return { state: [f(position), f(velocity), 1], reward, terminated };
    },

    observe: ([position, velocity]) => [position, velocity],
    disturb: ([position, velocity, moved], direction, c) => [
      ...shared.disturb([position, velocity], direction, c).map(Math.fround),
      moved,
    ],
    manual: (direction) => [direction],
    draw: (paint, s, action, c) => draw(paint, s, action ? clip(action[0], -1, 1) : 0, c),
  };
}
