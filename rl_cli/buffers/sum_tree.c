/* Sum tree with 16 children per node; additions in the order of numpy. Called by sum_tree.py. */

enum { WIDTH = 16 };

typedef struct {
    int levels;
    const long *groups; /* nodes of each level that have children */
    double *const *level; /* leaves first; the children of node k are [WIDTH k, WIDTH (k + 1)) */
} Tree;

/* The order in which numpy sums 16 numbers: eight partial sums, then pairs. */
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

/* Returns how many were found: fewer than count if a weight is NaN. */
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
            if (chosen < 0) { /* rounding: take the last child with a weight */
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
