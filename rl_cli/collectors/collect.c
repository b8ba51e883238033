/* Steps of the loop: act, step the envs, remember; and learn, where Python has said how. Called by
   strides.py and stretch.py.

   What trainer, vector, normalization and buffers do one step at a time, on their memory and in their
   order of operations, drawing from numpy's own generator: the same bits. */

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct { /* numpy's bitgen_t */
    void *state;
    uint64_t (*next_uint64)(void *);
    uint32_t (*next_uint32)(void *);
    double (*next_double)(void *);
    uint64_t (*next_raw)(void *);
} Bits;

typedef struct { /* updates on the way, which lessons.py prepares */
    int64_t at, every, num_envs, filled, capacity; /* env steps so far; rows of replay */
    int64_t target_update_every, parameters;
    float tau;
    const float *online;
    float *target; /* (parameters,) each */
    int32_t batches, batch_size, numbers, metrics, norm;
    Bits *bits;
    int (*repeat)(const void *, int, const char *const *, char *const *);
    const void *step;
    int64_t *positions;   /* (batches, batch_size) rows drawn */
    const float *scalars; /* (batches, numbers) of the next update, and so on */
    float *told;          /* (updates, batches, metrics) */
    int64_t done;
    int32_t failed;
} Lesson;

typedef struct { /* running mean and variance */
    double count, *mean, *variance;
} Moments;

enum { EPSILON_GREEDY, CATEGORICAL, GAUSSIAN };

typedef struct {
    int32_t env, num_envs, state_size, obs_size; /* the envs */
    const double *constants;
    double *state;     /* (N, state_size) */
    float *raw, *seen; /* (N, obs_size) observations to act on: as the envs gave them; normalised */
    double *returns, time_limit;
    int64_t *lengths;
    uint8_t *ended; /* of the last step */
    int32_t over;   /* whether to stop here */
    int32_t normalizes_obs, normalizes_reward; /* both of an only env */
    Moments obs_moments, reward_moments;
    double clip_obs, clip_reward, gamma, *discounted;

    int32_t rule, outputs; /* the policy */
    const void *net;
    void (*forward)(const void *), (*choose)(const void *, const double *, int64_t *);
    float *x;         /* (N, obs_size) the network reads */
    const float *out; /* (N, outputs) it writes */
    Bits *bits;
    float (*normal)(Bits *);
    const double *epsilons; /* of each step, for the first rule */
    const float *std;       /* (outputs,), for the last */
    double *points;         /* (N,) */
    char *acted;            /* (MOST, N, ...) actions */
    int64_t logged;         /* steps of them */

    char *actions; /* the memory, from which row on; (capacity, ...) each */
    float *obs, *reward, *next_obs, *terminated, *truncated;
    int64_t capacity, row;
    Lesson *lesson; /* or null */
} Stretch;

int step_classic(int, const double *, double *, const void *, float *, double *);

static double most(double a, double b) { return b > a ? b : a; }
static double least(double a, double b) { return b < a ? b : a; }

static void take_in(double *mean, double *variance, double count, double value) {
    double total = count + 1, shift = value - *mean;
    double squares = *variance * count + shift * shift * (count / total);
    *mean = *mean + shift * (1 / total), *variance = squares / total;
}

static double scaled(double value, double variance, double clip) {
    return least(most(value / sqrt(variance + 1e-8), -clip), clip);
}

static void normalize(Stretch *s, const float *raw, float *seen) {
    Moments *m = &s->obs_moments;
    for (int i = 0; i < s->obs_size; i++) {
        take_in(&m->mean[i], &m->variance[i], m->count, raw[i]);
        seen[i] = (float)scaled(raw[i] - m->mean[i], m->variance[i], s->clip_obs);
    }
    m->count += 1;
}

static double normalized_reward(Stretch *s, double reward, int over) {
    Moments *m = &s->reward_moments;
    double total = *s->discounted * s->gamma + reward;
    take_in(m->mean, m->variance, m->count, total);
    m->count += 1;
    *s->discounted = over ? 0.0 : total;
    return scaled(reward, *m->variance, s->clip_reward);
}

static void see(Stretch *s) {
    memcpy(s->x, s->seen, sizeof(float) * s->num_envs * s->obs_size);
}

static void epsilon_greedy(Stretch *s, double epsilon, int64_t *actions) {
    double highest = -1.0;
    for (int i = 0; i < s->num_envs; i++) {
        s->points[i] = s->bits->next_double(s->bits->state);
        highest = most(highest, s->points[i]);
    }
    if (highest >= epsilon) {
        see(s);
        s->forward(s->net);
    }
    for (int i = 0; i < s->num_envs; i++) {
        const float *q = s->out + i * s->outputs;
        int best = 0;
        for (int a = 1; a < s->outputs; a++)
            if (q[a] > q[best] || (isnan(q[a]) && !isnan(q[best]))) best = a; /* as numpy's argmax */
        int chance = s->points[i] < epsilon;
        actions[i] = chance ? (int64_t)(s->points[i] / epsilon * s->outputs) : best;
    }
}

static void act(Stretch *s, int64_t step, void *actions) {
    if (s->rule == EPSILON_GREEDY) {
        epsilon_greedy(s, s->epsilons[step], actions);
        return;
    }
    see(s);
    if (s->rule == CATEGORICAL) {
        for (int i = 0; i < s->num_envs; i++) s->points[i] = s->bits->next_double(s->bits->state);
        s->choose(s->net, s->points, actions);
        return;
    }
    s->forward(s->net);
    for (int i = 0; i < s->num_envs * s->outputs; i++)
        ((float *)actions)[i] = s->out[i] + s->std[i % s->outputs] * s->normal(s->bits);
}

/* Step env i with its action, write the transition to a row of the memory. -> whether to stop here. */
static int step_env(Stretch *s, int i, const char *action, int64_t row, int action_bytes) {
    int size = s->obs_size;
    float *raw = s->raw + i * size, *seen = s->seen + i * size;
    double reward;
    memcpy(s->obs + row * size, seen, sizeof(float) * size);
    memcpy(s->actions + row * action_bytes, action, action_bytes);
    int over = step_classic(s->env, s->constants, s->state + i * s->state_size, action, raw, &reward);
    s->returns[i] += reward;
    int cut = ++s->lengths[i] >= s->time_limit;
    if (s->normalizes_obs) normalize(s, raw, seen);
    else if (seen != raw) memcpy(seen, raw, sizeof(float) * size);
    memcpy(s->next_obs + row * size, seen, sizeof(float) * size);
    s->reward[row] = (float)(s->normalizes_reward ? normalized_reward(s, reward, over || cut) : reward);
    s->terminated[row] = (float)over, s->truncated[row] = (float)cut;
    s->ended[i] = over || cut;
    return s->ended[i] || !isfinite(raw[0]); /* of which the envs tell */
}

/* Multiples of a period that the last step of all envs has come to, or past. */
static int64_t crossed(const Lesson *l, int64_t every) { return l->at / every - (l->at - l->num_envs) / every; }

/* -> whether to stop here: nothing more is to be done with a gradient that is no number. */
static int learn(Lesson *l) {
    for (int i = 0; i < l->batches * l->batch_size; i++)
        l->positions[i] = (int64_t)(l->bits->next_double(l->bits->state) * (double)l->filled);
    float *told = l->told + l->done++ * l->batches * l->metrics;
    const char *given[] = {(const char *)l->scalars, (const char *)l->positions};
    char *results[] = {(char *)told};
    l->scalars += l->batches * l->numbers;
    l->failed = l->repeat(l->step, l->batches, given, results);
    int stop = l->failed;
    for (int b = 0; b < l->batches; b++) stop |= !isfinite(told[b * l->metrics + l->norm]);
    return stop;
}

/* target <- target + tau (online - target), of which every operation rounds. */
static void move_target(const Lesson *l) {
    float *target = l->target, tau = l->tau;
    const float *online = l->online;
    if (tau == 1.0f) memcpy(target, online, sizeof(float) * l->parameters);
    else
        for (int64_t i = 0; i < l->parameters; i++) target[i] += tau * (online[i] - target[i]);
}

/* What there is to do after a step of all envs that is not the last. -> whether to stop here. */
static int attend(Lesson *l) {
    l->at += l->num_envs;
    l->filled = l->filled + l->num_envs < l->capacity ? l->filled + l->num_envs : l->capacity;
    if (crossed(l, l->every) && learn(l)) return 1;
    if (l->target_update_every)
        for (int64_t times = crossed(l, l->target_update_every); times > 0; times--) move_target(l);
    return 0;
}

/* Actions of all envs in the step-th of some steps, and first what was to do after the last.
   -> whether to stop here. */
int choose_actions(Stretch *s, int64_t step) {
    int bytes = s->rule == GAUSSIAN ? (int)sizeof(float) * s->outputs : (int)sizeof(int64_t);
    if (step > 0 && s->lesson && attend(s->lesson)) return 1;
    act(s, step, s->acted + step * s->num_envs * bytes);
    return 0;
}

/* At most so many steps of all envs; the one in which an episode ends is the last.
   -> how many were taken. */
int64_t stretch(Stretch *s, int64_t steps) {
    int bytes = s->rule == GAUSSIAN ? (int)sizeof(float) * s->outputs : (int)sizeof(int64_t);
    int64_t step = 0;
    s->over = 0;
    while (step < steps && !s->over) {
        char *actions = s->acted + s->logged++ * s->num_envs * bytes;
        act(s, step++, actions);
        for (int i = 0; i < s->num_envs; i++) {
            s->over |= step_env(s, i, actions + i * bytes, s->row, bytes);
            s->row = s->row + 1 == s->capacity ? 0 : s->row + 1;
        }
        if (s->lesson && !s->over && step < steps) s->over = attend(s->lesson);
    }
    return step;
}
