/* Forward pass of a small fully connected network on a few rows. Called by forward.py. */

#include <math.h>
#include <stdint.h>

typedef struct {
    int rows, layers;
    int tanh, layer_norm;   /* between layers: tanh or ReLU, of normalized rows or of the rows */
    const int *sizes;       /* layers + 1 */
    const float *const *weights, *const *biases; /* (out, in), (out) of each layer */
    const float *x;         /* (rows, sizes[0]) */
    float *hidden[2];       /* (rows, widest layer) each */
    float *out;             /* (rows, sizes[layers]) */
} Network;

/* Error at most 4e-7, as tracing.rational_tanh: x P(x^2) / Q(x^2) on [-9, 9]. */
static inline float rational_tanh(float x) {
    x = x > 9.0f ? 9.0f : x < -9.0f ? -9.0f : x;
    float s = x * x;
    float odd = 1.3184250320e-8f, even = 7.7026753326e-7f;
    odd = odd * s + 2.0471853138e-5f, even = even * s + 3.2713877851e-4f;
    odd = odd * s + 3.4865834330e-3f, even = even * s + 2.5841985236e-2f;
    odd = odd * s + 0.13373199054f, even = even * s + 0.46706495922f;
    odd = odd * s + 0.99999990637f, even = even * s + 1.0f;
    return x * odd / even;
}

/* y = x W^T + b. Four outputs at a time, so that the processor computes four sums in parallel. */
static void linear(int rows, int inputs, int outputs, const float *restrict weight,
                   const float *restrict bias, const float *restrict x, float *restrict y) {
    int o = 0;
    for (; o + 4 <= outputs; o += 4) {
        const float *restrict w0 = weight + (long)o * inputs, *restrict w1 = w0 + inputs,
                    *restrict w2 = w1 + inputs, *restrict w3 = w2 + inputs;
        for (int r = 0; r < rows; r++) {
            const float *restrict in = x + (long)r * inputs;
            float *restrict out = y + (long)r * outputs + o;
            float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
            for (int i = 0; i < inputs; i++) {
                s0 += w0[i] * in[i], s1 += w1[i] * in[i];
                s2 += w2[i] * in[i], s3 += w3[i] * in[i];
            }
            out[0] = s0 + bias[o], out[1] = s1 + bias[o + 1];
            out[2] = s2 + bias[o + 2], out[3] = s3 + bias[o + 3];
        }
    }
    for (; o < outputs; o++)
        for (int r = 0; r < rows; r++) {
            const float *restrict w = weight + (long)o * inputs, *restrict in = x + (long)r * inputs;
            float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
            for (int i = 0; i < inputs; i++) sum += w[i] * in[i];
            y[(long)r * outputs + o] = sum + bias[o];
        }
}

static void activate(int size, int tanh, float *restrict y) {
    if (tanh) {
#pragma omp simd
        for (int i = 0; i < size; i++) y[i] = rational_tanh(y[i]);
    } else {
#pragma omp simd
        for (int i = 0; i < size; i++) y[i] = y[i] < 0.0f ? 0.0f : y[i]; /* NaN stays NaN */
    }
}

/* Activation.in_numpy of activation.py: each row less its mean, over its standard deviation. */
static void normalize(int rows, int size, float *restrict y) {
    for (int r = 0; r < rows; r++, y += size) {
        float mean = 0.0f, variance = 0.0f;
#pragma omp simd reduction(+ : mean)
        for (int i = 0; i < size; i++) mean += y[i];
        mean /= size;
#pragma omp simd reduction(+ : variance)
        for (int i = 0; i < size; i++) y[i] -= mean, variance += y[i] * y[i];
        float scale = 1.0f / sqrtf(variance / size + 1e-5f);
#pragma omp simd
        for (int i = 0; i < size; i++) y[i] *= scale;
    }
}

void forward(const Network *net) {
    const float *x = net->x;
    for (int l = 0; l < net->layers; l++) {
        int hidden = l < net->layers - 1, outputs = net->sizes[l + 1];
        float *y = hidden ? net->hidden[l % 2] : net->out;
        linear(net->rows, net->sizes[l], outputs, net->weights[l], net->biases[l], x, y);
        if (hidden && net->layer_norm) normalize(net->rows, outputs, y);
        if (hidden) activate(net->rows * outputs, net->tanh, y);
        x = y;
    }
}

/* One output index per row, sampled with the outputs as logits: the index at points[r], in [0, 1), of the
   cumulative distribution, as Categorical.sample in action_distributions.py. */
void choose(const Network *net, const double *points, int64_t *picks) {
    int choices = net->sizes[net->layers];
    forward(net);
    for (int r = 0; r < net->rows; r++) {
        const float *logits = net->out + (long)r * choices;
        int top = 0, pick = -1;
        double total = 0.0;
        for (int c = 1; c < choices; c++)
            if (logits[c] > logits[top]) top = c;
        for (int c = 0; c < choices; c++) total += exp((double)logits[c] - logits[top]);
        double left = points[r] * total;
        for (int c = 0; c < choices && pick < 0; c++) {
            left -= exp((double)logits[c] - logits[top]);
            if (left < 0.0) pick = c;
        }
        picks[r] = pick < 0 ? top : pick; /* rounding left the sum below 1 */
    }
}
