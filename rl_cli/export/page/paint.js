"use strict";
// Drawing on a canvas of 600 x 400 units, in the colors of the page (CSS variables).

RL.Paint = class {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.refresh();
  }

  // Read the size and the colors again.
  refresh() {
    const width = this.canvas.clientWidth || 600, ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round((width * ratio * 2) / 3);
    this.scale = this.canvas.width / 600;
    const style = getComputedStyle(this.canvas);
    const names = ["paper", "ink", "faint", "body", "accent", "hill"];
    this.colors = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }

  clear() {
    this.context.setTransform(this.scale, 0, 0, this.scale, 0, 0);
    this.context.clearRect(0, 0, 600, 400);
    this.context.lineCap = this.context.lineJoin = "round";
  }

  stroke(color, width, dash = []) {
    Object.assign(this.context, { strokeStyle: this.colors[color], lineWidth: width });
    this.context.setLineDash(dash);
    this.context.stroke();
  }

  fill(color) {
    this.context.fillStyle = this.colors[color];
    this.context.fill();
  }

  trace(points) {
    this.context.beginPath();
    points.forEach(([x, y], i) => (i ? this.context.lineTo(x, y) : this.context.moveTo(x, y)));
  }

  line(x0, y0, x1, y1, color, width, dash) {
    this.trace([[x0, y0], [x1, y1]]);
    this.stroke(color, width, dash);
  }

  path(points, color, width) {
    this.trace(points);
    this.stroke(color, width);
  }

  area(points, color) {
    this.trace(points);
    this.context.closePath();
    this.fill(color);
  }

  disc(x, y, radius, color) {
    this.context.beginPath();
    this.context.arc(x, y, radius, 0, 2 * Math.PI);
    this.fill(color);
  }

  ring(x, y, radius, color, width, dash) {
    this.context.beginPath();
    this.context.arc(x, y, radius, 0, 2 * Math.PI);
    this.stroke(color, width, dash);
  }

  box(x, y, width, height, radius, color) {
    this.context.beginPath();
    this.context.roundRect(x, y, width, height, radius);
    this.fill(color);
  }

  turned(x, y, angle, draw) {
    this.context.save();
    this.context.translate(x, y);
    this.context.rotate(angle);
    draw();
    this.context.restore();
  }

  // A horizontal arrow of a signed length.
  arrow(x, y, length, color) {
    if (Math.abs(length) < 2) return;
    const side = Math.sign(length), end = x + length, head = Math.min(12, Math.abs(length));
    this.line(x, y, end - side * head, y, color, 5);
    this.area([[end, y], [end - side * head, y - 8], [end - side * head, y + 8]], color);
  }

  // An arc with an arrow head around (x, y); share from -1 to 1, positive: clockwise.
  turn(x, y, radius, share, color) {
    if (Math.abs(share) < 0.04) return;
    const side = Math.sign(share), from = -Math.PI / 2, to = from + Math.min(1, Math.abs(share)) * side * 2.4;
    this.context.beginPath();
    this.context.arc(x, y, radius, from, to, side < 0);
    this.stroke(color, 5);
    const end = [x + Math.cos(to) * radius, y + Math.sin(to) * radius];
    this.turned(...end, to + (side * Math.PI) / 2, () => this.area([[11, 0], [-3, -8], [-3, 8]], color));
  }
};
