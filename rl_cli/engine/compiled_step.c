/* Run a compiled step several times in one call. Called by compiled_step.py.

   Before each run the inputs that change are copied to the memory that the step reads; after it the outputs
   are copied to the memory of the results. The function pointers have the signatures of torch's aoti_torch
   shim. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { MOST = 64 }; /* inputs, or outputs; compiled_step.py refuses more */

typedef struct {
    void *container;
    int32_t (*run)(void *, void **, size_t, void **, size_t, void *, void *);
    int32_t (*another)(void *, void **); /* a second handle of a tensor: `run` takes ownership of its inputs */
    int32_t (*release)(void *);
    int32_t (*memory)(void *, void **);
    int32_t inputs, outputs, changing;
    void **handles;              /* of the inputs */
    void **read;                 /* memory of the inputs that change */
    const size_t *read_bytes;    /* of each of these in one run */
    const size_t *written_bytes; /* of each output in one run */
} Step;

/* rows[i]: values of the i-th input that changes, run after run; results[i]: of the i-th output.
   Returns 0 on success. */
int repeat(const Step *step, int runs, const char *const *rows, char *const *results) {
    for (int r = 0; r < runs; r++) {
        void *in[MOST], *out[MOST], *values;
        for (int i = 0; i < step->changing; i++)
            memcpy(step->read[i], rows[i] + r * step->read_bytes[i], step->read_bytes[i]);
        for (int i = 0; i < step->inputs; i++)
            if (step->another(step->handles[i], &in[i])) return 1;
        if (step->run(step->container, in, step->inputs, out, step->outputs, NULL, NULL)) return 2;
        for (int i = 0; i < step->outputs; i++) {
            if (step->memory(out[i], &values)) return 3;
            memcpy(results[i] + r * step->written_bytes[i], values, step->written_bytes[i]);
            step->release(out[i]);
        }
    }
    return 0;
}
