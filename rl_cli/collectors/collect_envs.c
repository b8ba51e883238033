/* Many steps of classic envs in one call: choose actions, step the envs, normalize, write to the buffer.
   Called by native_envs.py.

   It does what algorithm, VectorEnv, normalizers and buffer do in Python, on the same memory and in the same
   order of operations. The results are equal to the bit. */

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct Policy Policy; /* of collect.c */
typedef struct Window Window; /* of n_step.c */

void choose_actions(const Policy *, double);
int step_classic(int, const double *, double *, const void *, float *, double *);
int64_t window_row(const Window *, int);
void complete_experiences(Window *);

typedef struct { /* running mean and variance */
    double count, *mean, *variance;
} Moments;

typedef struct { /* N envs of one class, O values of an observation */
    int32_t env, num_envs, state_size, obs_size, action_bytes; /* env: an Env of classic_control.c */
    int32_t normalize_obs, normalize_reward;                   /* only if N is 1 */
    const Policy *policy;
    const char *actions;      /* (N, ...), written by choose_actions */
    const double *epsilons;   /* of each step of this call */
    const double *constants;  /* of the env's class */
    double *state, *backup;   /* (N, state_size); backup: before the current step */
    float *raw, *obs, *next;  /* (N, O): to act on, not normalized; normalized; after the current step */
    double *returns, *reward; /* (N,): of the current episodes; of the current step */
    int64_t *lengths;         /* (N,) of the current episodes */
    uint8_t *terminated, *truncated; /* (N,) of the current step */
    double time_limit;               /* steps of an episode */
    Moments obs_moments, reward_moments;
    double clip_obs, clip_reward, gamma, *discounted; /* discounted: the return so far */
    char *action_log;                                 /* (steps, N, ...) of this collection */
    int64_t logged;                                   /* steps in it */
    char *column_action; /* columns of the buffer or of the window, (capacity, ...) each */
    float *column_obs, *column_reward, *column_next_obs, *column_terminated, *column_truncated;
    int64_t capacity, row; /* row: to write next, if there is no window */
    Window *window;        /* combines steps to n-step experiences; NULL: the buffer has steps */
} EnvLoop;

enum Stop { ALL_STEPS, EPISODE_END, NOT_FINITE };

/* RunningMoments.update with one value. */
static void update_moments(double *mean, double *variance, double count, double value) {
    double total = count + 1, shift = value - *mean;
    double squares = *variance * count + shift * shift * (count / total);
    *mean = *mean + shift * (1 / total), *variance = squares / total;
}

static double scale(double value, double variance, double clip) {
    double scaled = value / sqrt(variance + 1e-8);
    scaled = -clip > scaled ? -clip : scaled;
    return clip < scaled ? clip : scaled;
}

static void normalize_obs(EnvLoop *s) {
    Moments *m = &s->obs_moments;
    for (int i = 0; i < s->obs_size; i++) {
        update_moments(&m->mean[i], &m->variance[i], m->count, s->raw[i]);
        s->obs[i] = (float)scale(s->raw[i] - m->mean[i], m->variance[i], s->clip_obs);
    }
    m->count += 1;
}

static double normalize_reward(EnvLoop *s, double reward, int ended) {
    Moments *m = &s->reward_moments;
    double total = *s->discounted * s->gamma + reward;
    update_moments(m->mean, m->variance, m->count, total);
    m->count += 1;
    *s->discounted = ended ? 0.0 : total;
    return scale(reward, *m->variance, s->clip_reward);
}

/* Step all envs. -> whether rewards and observations are finite; if not, the envs are as before. */
static int step_envs(EnvLoop *s) {
    int finite = 1;
    memcpy(s->backup, s->state, sizeof(double) * s->num_envs * s->state_size);
    for (int i = 0; i < s->num_envs; i++) {
        s->terminated[i] = step_classic(s->env, s->constants, s->state + i * s->state_size,
                                        s->actions + i * s->action_bytes, s->next + i * s->obs_size,
                                        &s->reward[i]);
        s->truncated[i] = s->lengths[i] + 1 >= s->time_limit;
        finite &= isfinite(s->reward[i]) != 0;
    }
    for (int i = 0; i < s->num_envs * s->obs_size; i++) finite &= isfinite(s->next[i]) != 0;
    if (!finite) memcpy(s->state, s->backup, sizeof(double) * s->num_envs * s->state_size);
    return finite;
}

/* The row of the columns for the current step of an env. */
static int64_t row_of(const EnvLoop *s, int env) {
    return s->window ? window_row(s->window, env) : (s->row + env) % s->capacity;
}

/* Write the step to the columns and make its observations the current ones. -> whether an episode ended. */
static int store(EnvLoop *s) {
    int n = s->num_envs, size = s->obs_size, any_ended = 0;
    size_t obs_bytes = sizeof(float) * size;
    memcpy(s->action_log + s->logged++ * n * s->action_bytes, s->actions, (size_t)n * s->action_bytes);
    for (int i = 0; i < n; i++) {
        int64_t row = row_of(s, i);
        memcpy(s->column_obs + row * size, s->obs + i * size, obs_bytes);
        memcpy(s->column_action + row * s->action_bytes, s->actions + i * s->action_bytes, s->action_bytes);
        s->column_terminated[row] = s->terminated[i], s->column_truncated[row] = s->truncated[i];
        int ended = s->terminated[i] || s->truncated[i];
        s->returns[i] += s->reward[i], s->lengths[i] += 1, any_ended |= ended;
        s->column_reward[row] = (float)(s->normalize_reward ? normalize_reward(s, s->reward[i], ended)
                                                            : s->reward[i]);
    }
    memcpy(s->raw, s->next, obs_bytes * n);
    if (s->normalize_obs) normalize_obs(s);
    else memcpy(s->obs, s->raw, obs_bytes * n);
    for (int i = 0; i < n; i++)
        memcpy(s->column_next_obs + row_of(s, i) * size, s->obs + i * size, obs_bytes);
    if (s->window) complete_experiences(s->window);
    else s->row = (s->row + n) % s->capacity;
    return any_ended;
}

/* At most `steps` steps of all envs, up to the one in which an episode ends, or before the one with a value
   that is not finite. stop: why it returns, a Stop. -> steps taken. */
int64_t collect_steps(EnvLoop *s, int64_t steps, int32_t *stop) {
    for (int64_t step = 0; step < steps; step++) {
        choose_actions(s->policy, s->epsilons[step]);
        if (!step_envs(s)) return *stop = NOT_FINITE, step;
        if (store(s)) return *stop = EPISODE_END, step + 1;
    }
    return *stop = ALL_STEPS, steps;
}
