/* The steps of envs/fast_classic_control.py in C: the same operations in the same order on doubles, so the
   results are equal to the bit. Called by collect_envs.c, and by native_envs.py to compare with Python. */

#include <math.h>
#include <stdint.h>

/* Python's max and min, which return the first argument if both are equal or one is NaN. */
static double max(double a, double b) { return b > a ? b : a; }
static double min(double a, double b) { return b < a ? b : a; }
static double clip(double x, double low, double high) { return min(max(x, low), high); }

/* Python's x % y for y > 0. */
static double modulo(double x, double y) {
    double rest = fmod(x, y);
    return rest < 0.0 ? rest + y : rest;
}

/* volatile: a compiler would replace pow(x, 2.0) by x * x, which may round otherwise. */
static volatile double two = 2.0;
static double square(double x) { return pow(x, two); }
static float square_f(float x) { return powf(x, (float)two); }

enum Env { CART_POLE, MOUNTAIN_CAR, PENDULUM, ACROBOT };

typedef struct {
    double reward;
    int terminated;
} Result;

static Result cart_pole(const double *c, double *s, int64_t action, float *obs) {
    double length = c[0], polemass_length = c[1], total_mass = c[2], masspole = c[3], x_limit = c[4],
           theta_limit = c[5];
    double force = action == 1 ? 10.0 : -10.0, cosine = cos(s[2]), sine = sin(s[2]);
    double temp = (force + polemass_length * (s[3] * s[3]) * sine) / total_mass;
    double theta_acc = (9.8 * sine - cosine * temp) /
                       (length * (4.0 / 3.0 - masspole * (cosine * cosine) / total_mass));
    double x_acc = temp - polemass_length * theta_acc * cosine / total_mass;
    double x = s[0] + 0.02 * s[1], theta = s[2] + 0.02 * s[3];
    s[1] = s[1] + 0.02 * x_acc, s[3] = s[3] + 0.02 * theta_acc;
    s[0] = x, s[2] = theta;
    for (int i = 0; i < 4; i++) obs[i] = (float)s[i];
    int terminated = x < -x_limit || x > x_limit || theta < -theta_limit || theta > theta_limit;
    return (Result){1.0, terminated};
}

static Result mountain_car(const double *c, double *s, int64_t action, float *obs) {
    double force = c[0], gravity = c[1], goal_velocity = c[2], position = s[0], velocity = s[1];
    velocity += (double)(action - 1) * force + cos(3 * position) * (-gravity);
    velocity = clip(velocity, -0.07, 0.07);
    position = clip(position + velocity, -1.2, 0.6);
    if (position == -1.2 && velocity < 0) velocity = 0.0;
    s[0] = position, s[1] = velocity;
    obs[0] = (float)position, obs[1] = (float)velocity;
    return (Result){-1.0, position >= 0.5 && velocity >= goal_velocity};
}

/* The torque and its products are float, as in gymnasium. */
static Result pendulum(const double *c, double *s, float action, float *obs) {
    double gravity_term = c[0], angle = s[0], speed = s[1];
    float torque_factor = (float)c[1], torque = action < -2.0f ? -2.0f : action > 2.0f ? 2.0f : action;
    double wrapped = modulo(angle + M_PI, 2 * M_PI) - M_PI;
    double cost = square(wrapped) + 0.1 * square(speed) + (double)(0.001f * square_f(torque));
    speed += (gravity_term * sin(angle) + (double)(torque_factor * torque)) * 0.05;
    speed = clip(speed, -8.0, 8.0);
    angle += speed * 0.05;
    s[0] = angle, s[1] = speed;
    obs[0] = (float)cos(angle), obs[1] = (float)sin(angle), obs[2] = (float)speed;
    return (Result){-cost, 0};
}

/* The time derivative of Acrobot's state s: both angles, both velocities. */
static void acrobot_derivative(const double *s, double torque, double *out) {
    double angle1 = s[0], angle2 = s[1], speed1 = s[2], speed2 = s[3];
    double cosine = cos(angle2), sine = sin(angle2);
    double d1 = 0.25 + (1.25 + cosine) + 1.0 + 1.0, d2 = 0.25 + 0.5 * cosine + 1.0;
    double phi2 = 0.5 * 9.8 * cos(angle1 + angle2 - M_PI / 2);
    double phi1 = -0.5 * square(speed2) * sine - speed2 * speed1 * sine;
    phi1 = phi1 + 1.5 * 9.8 * cos(angle1 - M_PI / 2) + phi2;
    double inertia = 1.25 - square(d2) / d1;
    double acc2 = (torque + d2 / d1 * phi1 - 0.5 * square(speed1) * sine - phi2) / inertia;
    out[0] = speed1, out[1] = speed2, out[2] = -(d2 * acc2 + phi1) / d1, out[3] = acc2;
}

/* The angle in [-pi, pi]. */
static double wrap(double angle) {
    while (angle > M_PI) angle -= 2 * M_PI;
    while (angle < -M_PI) angle += 2 * M_PI;
    return angle;
}

static Result acrobot(double *s, int64_t action, float *obs) {
    static const double offsets[4] = {0.0, 0.1, 0.1, 0.2};
    double k[4][4], at[4], torque = (double)action - 1.0, sixth = 0.2 / 6.0;
    for (int j = 0; j < 4; j++) { /* Runge-Kutta of fourth order */
        for (int i = 0; i < 4; i++) at[i] = j ? s[i] + offsets[j] * k[j - 1][i] : s[i];
        acrobot_derivative(at, torque, k[j]);
    }
    for (int i = 0; i < 4; i++) s[i] = s[i] + sixth * (k[0][i] + 2 * k[1][i] + 2 * k[2][i] + k[3][i]);
    s[0] = wrap(s[0]), s[1] = wrap(s[1]);
    s[2] = clip(s[2], -4 * M_PI, 4 * M_PI), s[3] = clip(s[3], -9 * M_PI, 9 * M_PI);
    double cosine = cos(s[0]);
    int terminated = -cosine - cos(s[1] + s[0]) > 1.0;
    double values[6] = {cosine, sin(s[0]), cos(s[1]), sin(s[1]), s[2], s[3]};
    for (int i = 0; i < 6; i++) obs[i] = (float)values[i];
    return (Result){terminated ? 0.0 : -1.0, terminated};
}

/* Sine and cosine of each x, for the comparison with numpy's. */
void sines(const double *x, double *sine, double *cosine, int64_t count) {
    for (int64_t i = 0; i < count; i++) sine[i] = sin(x[i]), cosine[i] = cos(x[i]);
}

/* One step of one env. state is updated; action is int64, or float for the pendulum; obs and reward are
   written. -> whether the episode terminated. */
int step_classic(int env, const double *constants, double *state, const void *action, float *obs,
                 double *reward) {
    Result result;
    switch (env) {
    case CART_POLE: result = cart_pole(constants, state, *(const int64_t *)action, obs); break;
    case MOUNTAIN_CAR: result = mountain_car(constants, state, *(const int64_t *)action, obs); break;
    case PENDULUM: result = pendulum(constants, state, *(const float *)action, obs); break;
    default: result = acrobot(state, *(const int64_t *)action, obs);
    }
    *reward = result.reward;
    return result.terminated;
}
