/* The steps of classic.py in C: the same operations in the same order, and so the same bits.
   Called by collect.c, and by stretch.py to see whether they are. */

#include <math.h>
#include <stdint.h>

/* Python's max and min, which keep the first of equals. */
static double most(double a, double b) { return b > a ? b : a; }
static double least(double a, double b) { return b < a ? b : a; }

/* Python's x % y, y > 0. */
static double modulo(double x, double y) {
    double rest = fmod(x, y);
    return rest < 0.0 ? rest + y : rest;
}

/* Not x * x, which a compiler would make of it: the library's power may round otherwise. */
static volatile double two = 2.0;
static double square(double x) { return pow(x, two); }
static float square_f(float x) { return powf(x, (float)two); }

typedef struct {
    double reward;
    int terminated;
} Outcome;

static Outcome cart_pole(const double *c, double *s, int64_t action, float *obs) {
    double length = c[0], polemass_length = c[1], total_mass = c[2], masspole = c[3], far = c[4],
           steep = c[5];
    double force = action == 1 ? 10.0 : -10.0, cosine = cos(s[2]), sine = sin(s[2]);
    double temp = (force + polemass_length * (s[3] * s[3]) * sine) / total_mass;
    double theta_acc = (9.8 * sine - cosine * temp) /
                       (length * (4.0 / 3.0 - masspole * (cosine * cosine) / total_mass));
    double x_acc = temp - polemass_length * theta_acc * cosine / total_mass;
    double x = s[0] + 0.02 * s[1], theta = s[2] + 0.02 * s[3];
    s[1] = s[1] + 0.02 * x_acc, s[3] = s[3] + 0.02 * theta_acc;
    s[0] = x, s[2] = theta;
    for (int i = 0; i < 4; i++) obs[i] = (float)s[i];
    return (Outcome){1.0, x < -far || x > far || theta < -steep || theta > steep};
}

static Outcome mountain_car(const double *c, double *s, int64_t action, float *obs) {
    double force = c[0], gravity = c[1], goal = c[2], position = s[0], velocity = s[1];
    velocity += (double)(action - 1) * force + cos(3 * position) * (-gravity);
    velocity = least(most(velocity, -0.07), 0.07);
    position = least(most(position + velocity, -1.2), 0.6);
    if (position == -1.2 && velocity < 0) velocity = 0.0;
    s[0] = position, s[1] = velocity;
    obs[0] = (float)position, obs[1] = (float)velocity;
    return (Outcome){-1.0, position >= 0.5 && velocity >= goal};
}

static Outcome pendulum(const double *c, double *s, float action, float *obs) {
    double pull = c[0], angle = s[0], speed = s[1];
    float push = (float)c[1], torque = action < -2.0f ? -2.0f : action > 2.0f ? 2.0f : action;
    double turned = modulo(angle + M_PI, 2 * M_PI) - M_PI;
    double cost = square(turned) + 0.1 * square(speed) + (double)(0.001f * square_f(torque));
    speed += (pull * sin(angle) + (double)(push * torque)) * 0.05;
    speed = least(most(speed, -8.0), 8.0);
    angle += speed * 0.05;
    s[0] = angle, s[1] = speed;
    obs[0] = (float)cos(angle), obs[1] = (float)sin(angle), obs[2] = (float)speed;
    return (Outcome){-cost, 0};
}

/* The derivative of Acrobot's state. */
static void acrobot_rate(const double *s, double torque, double *rate) {
    double first = s[0], second = s[1], speed = s[2], speed2 = s[3];
    double cosine = cos(second), sine = sin(second);
    double d1 = 0.25 + (1.25 + cosine) + 1.0 + 1.0, d2 = 0.25 + 0.5 * cosine + 1.0;
    double phi2 = 0.5 * 9.8 * cos(first + second - M_PI / 2);
    double phi1 = -0.5 * square(speed2) * sine - speed2 * speed * sine;
    phi1 = phi1 + 1.5 * 9.8 * cos(first - M_PI / 2) + phi2;
    double inertia = 1.25 - square(d2) / d1;
    double turn2 = (torque + d2 / d1 * phi1 - 0.5 * square(speed) * sine - phi2) / inertia;
    rate[0] = speed, rate[1] = speed2, rate[2] = -(d2 * turn2 + phi1) / d1, rate[3] = turn2;
}

static double wrapped(double angle) {
    while (angle > M_PI) angle -= 2 * M_PI;
    while (angle < -M_PI) angle += 2 * M_PI;
    return angle;
}

static Outcome acrobot(double *s, int64_t action, float *obs) {
    static const double ahead[4] = {0.0, 0.1, 0.1, 0.2};
    double rate[4][4], at[4], torque = (double)action - 1.0, sixth = 0.2 / 6.0;
    for (int k = 0; k < 4; k++) { /* Runge and Kutta's of fourth order */
        for (int i = 0; i < 4; i++) at[i] = k ? s[i] + ahead[k] * rate[k - 1][i] : s[i];
        acrobot_rate(at, torque, rate[k]);
    }
    for (int i = 0; i < 4; i++)
        s[i] = s[i] + sixth * (rate[0][i] + 2 * rate[1][i] + 2 * rate[2][i] + rate[3][i]);
    s[0] = wrapped(s[0]), s[1] = wrapped(s[1]);
    s[2] = least(most(s[2], -4 * M_PI), 4 * M_PI), s[3] = least(most(s[3], -9 * M_PI), 9 * M_PI);
    double cosine = cos(s[0]);
    int up = -cosine - cos(s[1] + s[0]) > 1.0;
    double seen[6] = {cosine, sin(s[0]), cos(s[1]), sin(s[1]), s[2], s[3]};
    for (int i = 0; i < 6; i++) obs[i] = (float)seen[i];
    return (Outcome){up ? 0.0 : -1.0, up};
}

/* Of each number, for a comparison with numpy's. */
void sines(const double *x, double *sine, double *cosine, int64_t count) {
    for (int64_t i = 0; i < count; i++) sine[i] = sin(x[i]), cosine[i] = cos(x[i]);
}

/* A step of one env. state, obs: its own, written over; action: int64 or float.
   -> whether the episode ended by itself. */
int step_classic(int env, const double *constants, double *state, const void *action, float *obs,
                 double *reward) {
    int64_t choice = env == 2 ? 0 : *(const int64_t *)action;
    Outcome done = env == 0   ? cart_pole(constants, state, choice, obs)
                   : env == 1 ? mountain_car(constants, state, choice, obs)
                   : env == 2 ? pendulum(constants, state, *(const float *)action, obs)
                              : acrobot(state, choice, obs);
    *reward = done.reward;
    return done.terminated;
}
