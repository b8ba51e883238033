"use strict";
// Pendulum. The state is [angle, angular speed]; angle 0 points up. The torque is float32, as in gymnasium.

RL.envs.PendulumEnv = {
  actions: ["torque"],
  bounds: [-2, 2],
  help: "Swing up and balance. Arrow keys turn the pendulum.",

  reset: (random) => [(2 * random() - 1) * Math.PI, 2 * random() - 1],

  observe: ([angle, speed]) => [Math.cos(angle), Math.sin(angle), speed],

  step([angle, speed], [action], c) {
    const f = Math.fround, torque = Math.min(Math.max(action, -c.max_torque), c.max_torque);
    let turned = (angle + Math.PI) % (2 * Math.PI);
    turned = (turned < 0 ? turned + 2 * Math.PI : turned) - Math.PI;
    const cost = turned * turned + 0.1 * (speed * speed) + f(f(0.001) * f(torque * torque));
    const push = f(f(3 / (c.m * (c.l * c.l))) * torque);
    speed += (((3 * c.g) / (2 * c.l)) * Math.sin(angle) + push) * c.dt;
    speed = Math.min(Math.max(speed, -c.max_speed), c.max_speed);
    return { state: [angle + speed * c.dt, speed], reward: -cost, terminated: false };
  },

  disturb: ([angle, speed], direction, c) => [
    angle,
    Math.min(Math.max(speed - 3 * direction, -c.max_speed), c.max_speed),
  ],

  manual: (direction) => [-2 * direction],

  draw(paint, [angle], action) {
    const x = 300, y = 210, reach = 150;
    paint.ring(x, y, reach, "faint", 2, [4, 8]);
    const end = [x - Math.sin(angle) * reach, y - Math.cos(angle) * reach];
    paint.line(x, y, ...end, "body", 16);
    paint.disc(...end, 19, "accent");
    paint.disc(x, y, 9, "ink");
    if (action) paint.turn(x, y, 46, -action[0] / 2, "accent");
  },
};
