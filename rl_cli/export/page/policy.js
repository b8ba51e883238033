"use strict";
// The policy: the operations of rl_cli/export/graph.py, on one observation.

const RL = { envs: {} };

RL.Policy = class {
  // program: {values, outputs, weights}; weights: all float32 arrays, one after the other, in base64.
  constructor(program) {
    const bytes = Uint8Array.from(atob(program.weights), (c) => c.charCodeAt(0));
    const floats = new Float32Array(bytes.buffer);
    this.outputs = program.outputs;
    this.values = program.values.map((value) => ({
      ...value,
      size: value.shape.reduce((a, b) => a * b, 1),
      arrays: value.arrays.map((array) =>
        Array.isArray(array) ? array.map(Number) : floats.subarray(array.begin, array.end)
      ),
    }));
  }

  // An observation, a flat array of numbers -> {action, scores}, flat arrays.
  run(observation) {
    const found = [];
    for (const value of this.values) {
      const out = value.dtype === "float32" ? new Float32Array(value.size) : new Float64Array(value.size);
      if (value.op === "input") out.set(observation);
      else RL.operations[value.op](out, value, ...value.inputs.map((i) => found[i]));
      found.push(out);
    }
    const named = Object.entries(this.outputs).map(([name, i]) => [name, Array.from(found[i])]);
    return Object.fromEntries(named);
  }
};

{
  const each = (f) => (out, value, x) => {
    const w = value.arrays[0];
    for (let i = 0; i < out.length; i++) out[i] = f(x[i], w ? w[i] : 0);
  };

  const toEven = (x) => {
    const down = Math.floor(x);
    if (x - down !== 0.5) return Math.round(x);
    return down % 2 === 0 ? down : down + 1;
  };

  RL.operations = {
    add: each((x, w) => x + w),
    subtract: each((x, w) => x - w),
    multiply: each((x, w) => x * w),
    divide: each((x, w) => x / w),
    minimum: each((x, w) => Math.min(x, w)),
    maximum: each((x, w) => Math.max(x, w)),
    relu: each((x) => Math.max(x, 0)),
    tanh: each((x) => Math.tanh(x)),
    round: each(toEven),

    cast(out, value, x) {
      const whole = value.dtype.includes("int");
      for (let i = 0; i < out.length; i++) out[i] = whole ? Math.trunc(x[i]) : x[i];
    },

    reshape(out, value, x) {
      out.set(x);
    },

    part(out, value, x) {
      out.set(x.subarray(...value.numbers));
    },

    layer_norm(out, value, x) {
      let mean = 0, variance = 0;
      for (let i = 0; i < x.length; i++) mean += x[i] / x.length;
      for (let i = 0; i < x.length; i++) variance += (x[i] - mean) ** 2 / x.length;
      const scale = Math.sqrt(variance + 1e-5); // EPSILON of activation.py
      for (let i = 0; i < x.length; i++) out[i] = (x[i] - mean) / scale;
    },

    linear(out, value, x) {
      const [weight, bias] = value.arrays;
      for (let o = 0; o < out.length; o++) {
        let sum = bias[o];
        for (let i = 0; i < x.length; i++) sum += weight[o * x.length + i] * x[i];
        out[o] = sum;
      }
    },

    dueling(out, value, state, advantage) {
      const [actions, atoms] = value.numbers;
      for (let k = 0; k < atoms; k++) {
        let sum = 0;
        for (let a = 0; a < actions; a++) sum += advantage[a * atoms + k];
        for (let a = 0; a < actions; a++)
          out[a * atoms + k] = state[k] + advantage[a * atoms + k] - sum / actions;
      }
    },

    expectation(out, value, x) {
      const [atoms] = value.numbers, support = value.arrays[0];
      for (let a = 0; a < out.length; a++) {
        const logits = x.subarray(a * atoms, (a + 1) * atoms), top = Math.max(...logits);
        let total = 0, mean = 0;
        logits.forEach((logit, k) => {
          const weight = Math.exp(logit - top);
          total += weight;
          mean += weight * support[k];
        });
        out[a] = mean / total;
      }
    },

    group_mean(out, value, x) {
      const [atoms] = value.numbers;
      for (let a = 0; a < out.length; a++)
        out[a] = x.subarray(a * atoms, (a + 1) * atoms).reduce((sum, each) => sum + each, 0) / atoms;
    },

    sum(out, value, x, y) {
      for (let i = 0; i < out.length; i++) out[i] = x[i] + y[i];
    },

    concat(out, value, ...parts) {
      let begin = 0;
      for (const part of parts) {
        out.set(part, begin);
        begin += part.length;
      }
    },

    argmax(out, value, x) {
      out[0] = x.indexOf(Math.max(...x));
    },

    stack(out, value, ...parts) {
      parts.forEach((part, i) => (out[i] = part[0]));
    },
  };
}

// The largest difference of an action from the recorded ones, over the recorded observations.
RL.selfTest = (policy, recorded) => {
  let largest = 0;
  recorded.obs.forEach((obs, i) => {
    const { action } = policy.run(obs);
    action.forEach((each, k) => (largest = Math.max(largest, Math.abs(each - recorded.actions[i][k]))));
  });
  return largest;
};
