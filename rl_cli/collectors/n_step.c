/* n-step experiences from the steps that collect_envs.c takes: `Lookahead` of buffers/n_step.py on the same
   memory and in the same order of operations. The results are equal to the bit. */

#include <stdint.h>
#include <string.h>

typedef struct { /* rows of steps or of experiences; O values of an observation */
    int64_t *action;
    float *obs, *reward, *next_obs, *terminated, *truncated;
    float *discount; /* this and next_action: of experiences only */
    int64_t *next_action;
} Rows;

typedef struct Window { /* the last `depth` steps of N envs */
    int32_t n, depth, num_envs, obs_size, with_next_action;
    double gamma;
    int64_t *taken;  /* (N,) steps of each env so far */
    Rows steps;      /* (depth, N) rows, written by collect_envs.c */
    Rows experiences; /* (capacity,) rows of the replay buffer */
    int64_t capacity, row; /* row: to write next */
    int64_t completed;     /* experiences of this call */
} Window;

/* The row of `steps` for the next step of an env. */
int64_t window_row(const Window *w, int env) {
    return w->taken[env] % w->depth * w->num_envs + env;
}

/* Write the experience of the oldest step of an env. */
static void write_experience(Window *w, int env) {
    const Rows *s = &w->steps, *to = &w->experiences;
    size_t obs_bytes = sizeof(float) * w->obs_size;
    int64_t first = w->taken[env] - w->depth, oldest = first % w->depth * w->num_envs + env, last = oldest;
    double total = 0.0, discount = 1.0;
    int ended = 0, k = 0;
    for (; k < w->n && !ended; k++) {
        last = (first + k) % w->depth * w->num_envs + env;
        total += discount * s->reward[last];
        discount *= w->gamma;
        ended = s->terminated[last] != 0 || s->truncated[last] != 0;
    }
    int follows = w->with_next_action && !ended;
    memcpy(to->obs + w->row * w->obs_size, s->obs + oldest * w->obs_size, obs_bytes);
    memcpy(to->next_obs + w->row * w->obs_size, s->next_obs + last * w->obs_size, obs_bytes);
    to->action[w->row] = s->action[oldest];
    to->reward[w->row] = (float)total, to->discount[w->row] = (float)discount;
    to->terminated[w->row] = s->terminated[last], to->truncated[w->row] = s->truncated[last];
    to->next_action[w->row] = follows ? s->action[(first + k) % w->depth * w->num_envs + env] : -1;
    w->row = w->row + 1 == w->capacity ? 0 : w->row + 1;
    w->completed++;
}

/* After a step of all envs was written: write the experiences that it completes. */
void complete_experiences(Window *w) {
    for (int i = 0; i < w->num_envs; i++) {
        w->taken[i]++;
        if (w->taken[i] >= w->depth) write_experience(w, i);
    }
}
