/* The native collector's work between two steps of the envs: choose actions, make updates.
   Called by native.py, inline_updates.py and, for classic envs, collect_envs.c.

   Both functions do what the eager way does with numpy and torch: in the same order of operations, on the
   same memory, drawing from numpy's own generators. The results are equal to the bit. */

#include <math.h>
#include <stdint.h>

typedef struct { /* numpy's bitgen_t */
    void *state;
    uint64_t (*next_uint64)(void *);
    uint32_t (*next_uint32)(void *);
    double (*next_double)(void *);
    uint64_t (*next_raw)(void *);
} BitGenerator;

enum Rule { EPSILON_GREEDY, CATEGORICAL, GAUSSIAN };

typedef struct Policy { /* how actions are chosen; N envs, A outputs of the network */
    int32_t rule, num_envs, num_outputs;
    const void *network; /* of forward.c */
    void (*forward)(const void *);
    void (*choose)(const void *, const double *, int64_t *);
    const float *outputs; /* (N, A), written by forward */
    BitGenerator *bits;
    float (*normal)(BitGenerator *);
    const float *std; /* (A,), of the Gaussian rule */
    double *uniforms; /* (N,) */
    void *actions;    /* (N,) int64, or (N, A) float of the Gaussian rule */
} Policy;

static void epsilon_greedy(const Policy *p, double epsilon, int64_t *actions) {
    double largest = -1.0;
    for (int i = 0; i < p->num_envs; i++) {
        p->uniforms[i] = p->bits->next_double(p->bits->state);
        if (p->uniforms[i] > largest) largest = p->uniforms[i];
    }
    if (largest >= epsilon) p->forward(p->network);
    for (int i = 0; i < p->num_envs; i++) {
        const float *q = p->outputs + i * p->num_outputs;
        int best = 0;
        for (int a = 1; a < p->num_outputs; a++)
            if (q[a] > q[best] || (isnan(q[a]) && !isnan(q[best]))) best = a; /* as numpy's argmax */
        int explores = p->uniforms[i] < epsilon;
        actions[i] = explores ? (int64_t)(p->uniforms[i] / epsilon * p->num_outputs) : best;
    }
}

static void gaussian(const Policy *p, float *actions) {
    p->forward(p->network);
    for (int i = 0; i < p->num_envs * p->num_outputs; i++)
        actions[i] = p->outputs[i] + p->std[i % p->num_outputs] * p->normal(p->bits);
}

/* Actions for the observations in the network's input. epsilon: of the epsilon-greedy rule. */
void choose_actions(const Policy *p, double epsilon) {
    switch (p->rule) {
    case EPSILON_GREEDY:
        epsilon_greedy(p, epsilon, p->actions);
        return;
    case CATEGORICAL:
        for (int i = 0; i < p->num_envs; i++)
            p->uniforms[i] = p->bits->next_double(p->bits->state);
        p->choose(p->network, p->uniforms, p->actions);
        return;
    default:
        gaussian(p, p->actions);
    }
}

typedef struct { /* K updates on batches of B replay rows each */
    int32_t num_batches, batch_size, num_metrics, grad_norm; /* grad_norm: its column of metrics */
    BitGenerator *bits;
    int (*run)(const void *, int, const char *const *, char *const *); /* of compiled_step.c */
    const void *step;
    const float *scalars; /* (K, ...) of each update */
    int64_t *positions;   /* (K, B) rows drawn */
    float *metrics;       /* (rounds, K, num_metrics), written */
} Updates;

enum Outcome { DONE, NOT_FINITE, FAILED };

/* Draw the batches evenly from the first `rows` rows of the replay buffer and run the compiled step on each.
   round: the row of metrics to write. -> Outcome; NOT_FINITE if a gradient is. */
int run_updates(const Updates *u, int64_t rows, int64_t round) {
    float *metrics = u->metrics + round * u->num_batches * u->num_metrics;
    for (int i = 0; i < u->num_batches * u->batch_size; i++)
        u->positions[i] = (int64_t)(u->bits->next_double(u->bits->state) * (double)rows);
    const char *arguments[] = {(const char *)u->scalars, (const char *)u->positions};
    char *results[] = {(char *)metrics};
    if (u->run(u->step, u->num_batches, arguments, results)) return FAILED;
    for (int k = 0; k < u->num_batches; k++)
        if (!isfinite(metrics[k * u->num_metrics + u->grad_norm])) return NOT_FINITE;
    return DONE;
}
