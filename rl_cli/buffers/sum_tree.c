/* A tree of sums, 16 children to a node: numpy's additions in numpy's order. Called by sum_tree.py. */

enum { WIDTH = 16 };

typedef struct {
    int levels;
    const long *groups; /* nodes of each level that have children */
    double *const *level; /* leaves first; the children of node k are [WIDTH k, WIDTH (k + 1)) */
} Tree;

/* As numpy adds up a short row: eight sums under way, then in pairs. */
static double sum(const double *x) {
    double s[8];
    for (int i = 0; i < 8; i++) s[i] = x[i] + x[i + 8];
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

void set(const Tree *tree, long count, const long *rows, const double *weights) {
    for (long i = 0; i < count; i++) tree->level[0][rows[i]] = weights[i];
    long below = WIDTH; /* rows under a node of the next level */
    for (int l = 1; l < tree->levels; l++, below *= WIDTH)
        for (long i = 0; i < count; i++) {
            long node = rows[i] / below;
            tree->level[l][node] = sum(tree->level[l - 1] + node * WIDTH);
        }
}

/* Returns how many were found: not all where a weight is no number. */
long find(const Tree *tree, long count, const double *points, long *rows) {
    for (long i = 0; i < count; i++) {
        double left = points[i];
        long node = 0;
        for (int l = tree->levels - 1; l >= 0; l--) {
            if (node >= tree->groups[l]) return i;
            const double *child = tree->level[l] + node * WIDTH;
            double end = 0.0, begin = 0.0;
            int chosen = -1, last = WIDTH - 1;
            for (int c = 0; c < WIDTH && chosen < 0; c++) {
                end = c ? end + child[c] : child[c];
                if (end > left) chosen = c, begin = end - child[c];
            }
            if (chosen < 0) { /* rounding ate the rest: the last that weighs anything */
                while (last > 0 && !(child[last] > 0.0)) last--;
                if (!(child[last] > 0.0)) last = WIDTH - 1;
                chosen = last, end = child[0];
                for (int c = 1; c <= last; c++) end += child[c];
                begin = end - child[last];
            }
            left -= begin;
            node = node * WIDTH + chosen;
        }
        rows[i] = node;
    }
    return count;
}
