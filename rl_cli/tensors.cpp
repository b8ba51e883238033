/* The few functions of torch that a compiled step asks for, on tensors that are no more than a pointer and
   their shape. torch's own take longer than the arithmetic of a small network. The names are those of
   torch's stable interface for compiled models (torch/csrc/inductor/aoti_torch/c/shim.h). */

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

namespace {

enum { DIMS = 8, FLOAT32 = 6, INT64 = 4 };

struct Block { /* memory that tensors share */
    int64_t bytes;
    int refs;
    void *memory;
    Block *next;
};

struct Tensor {
    void *data;
    int64_t dims, numel, sizes[DIMS], strides[DIMS];
    int32_t dtype;
    Block *block; /* null: somebody else's memory */
    Tensor *next;
};

Tensor *unused = nullptr; /* kept for the next of their kind */
Block *free_blocks = nullptr;

int64_t item(int32_t dtype) { return dtype == INT64 ? 8 : 4; }

Tensor *make(void *data, int64_t dims, const int64_t *sizes, const int64_t *strides, int32_t dtype) {
    if (dims > DIMS) throw std::runtime_error("a tensor of too many dimensions");
    Tensor *t = unused;
    if (t) unused = t->next;
    else t = new Tensor;
    t->data = data, t->dims = dims, t->numel = 1, t->dtype = dtype, t->block = nullptr;
    for (int64_t d = 0; d < dims; d++)
        t->sizes[d] = sizes[d], t->strides[d] = strides[d], t->numel *= sizes[d];
    return t;
}

Block *block_of(int64_t bytes) {
    for (Block **b = &free_blocks; *b; b = &(*b)->next)
        if ((*b)->bytes == bytes) {
            Block *found = *b;
            *b = found->next, found->refs = 1;
            return found;
        }
    void *memory = std::aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (!memory) throw std::bad_alloc();
    return new Block{bytes, 1, memory, nullptr};
}

int64_t extent(int64_t dims, const int64_t *sizes, const int64_t *strides) {
    int64_t last = 0;
    for (int64_t d = 0; d < dims; d++) {
        if (sizes[d] == 0) return 0;
        last += (sizes[d] - 1) * strides[d];
    }
    return last + 1;
}

Tensor *fresh(int64_t dims, const int64_t *sizes, const int64_t *strides, int32_t dtype) {
    Block *block = block_of(extent(dims, sizes, strides) * item(dtype));
    Tensor *t = make(block->memory, dims, sizes, strides, dtype);
    t->block = block;
    return t;
}

Tensor *view(const Tensor *of, int64_t dims, const int64_t *sizes, const int64_t *strides, int64_t offset) {
    Tensor *t = make((char *)of->data + offset * item(of->dtype), dims, sizes, strides, of->dtype);
    if ((t->block = of->block)) t->block->refs++;
    return t;
}

}  // namespace

extern "C" {

void sgemm_(const char *, const char *, const int *, const int *, const int *, const float *, const float *,
            const int *, const float *, const int *, const float *, float *, const int *);

Tensor *tensor_at(void *data, int64_t dims, const int64_t *sizes, const int64_t *strides, int32_t dtype) {
    return make(data, dims, sizes, strides, dtype);
}

int32_t aoti_torch_device_type_cpu() { return 0; }
int32_t aoti_torch_device_type_cuda() { return 1; }
int32_t aoti_torch_dtype_float32() { return FLOAT32; }
int32_t aoti_torch_dtype_int64() { return INT64; }
bool aoti_torch_grad_mode_is_enabled() { return false; }
void aoti_torch_grad_mode_set_enabled(bool) {}

void aoti_torch_check(bool good, const char *, const char *, uint32_t, const char *why) {
    if (!good) throw std::runtime_error(why);
}

int32_t aoti_torch_get_data_ptr(Tensor *t, void **found) { return *found = t->data, 0; }
int32_t aoti_torch_get_storage_size(Tensor *t, int64_t *found) {
    return *found = extent(t->dims, t->sizes, t->strides) * item(t->dtype), 0;
}
int32_t aoti_torch_get_storage_offset(Tensor *, int64_t *found) { return *found = 0, 0; }
int32_t aoti_torch_get_dim(Tensor *t, int64_t *found) { return *found = t->dims, 0; }
int32_t aoti_torch_get_numel(Tensor *t, int64_t *found) { return *found = t->numel, 0; }
int32_t aoti_torch_get_sizes(Tensor *t, int64_t **found) { return *found = t->sizes, 0; }
int32_t aoti_torch_get_strides(Tensor *t, int64_t **found) { return *found = t->strides, 0; }
int32_t aoti_torch_get_dtype(Tensor *t, int32_t *found) { return *found = t->dtype, 0; }
int32_t aoti_torch_get_device_type(Tensor *, int32_t *found) { return *found = 0, 0; }

int32_t aoti_torch_empty_strided(int64_t dims, const int64_t *sizes, const int64_t *strides, int32_t dtype,
                                 int32_t, int32_t, Tensor **made) {
    return *made = fresh(dims, sizes, strides, dtype), 0;
}
int32_t aoti_torch__reinterpret_tensor(Tensor *t, int64_t dims, const int64_t *sizes,
                                       const int64_t *strides, int64_t offset, Tensor **made) {
    return *made = view(t, dims, sizes, strides, offset), 0;
}
int32_t aoti_torch_new_tensor_handle(Tensor *t, Tensor **made) {
    return *made = view(t, t->dims, t->sizes, t->strides, 0), 0;
}
int32_t aoti_torch_clone(Tensor *t, Tensor **made) {
    *made = fresh(t->dims, t->sizes, t->strides, t->dtype);
    std::memcpy((*made)->data, t->data, extent(t->dims, t->sizes, t->strides) * item(t->dtype));
    return 0;
}
int32_t aoti_torch_delete_tensor_object(Tensor *t) {
    if (t->block && --t->block->refs == 0) t->block->next = free_blocks, free_blocks = t->block;
    t->next = unused, unused = t;
    return 0;
}
int32_t aoti_torch_create_tensor_from_blob(void *data, int64_t dims, const int64_t *sizes,
                                           const int64_t *strides, int64_t offset, int32_t dtype, int32_t,
                                           int32_t, Tensor **made) {
    return *made = make((char *)data + offset * item(dtype), dims, sizes, strides, dtype), 0;
}
int32_t aoti_torch_create_tensor_from_blob_v2(void *data, int64_t dims, const int64_t *sizes,
                                              const int64_t *strides, int64_t offset, int32_t dtype,
                                              int32_t type, int32_t index, Tensor **made, int32_t,
                                              const uint8_t *, int64_t) {
    return aoti_torch_create_tensor_from_blob(data, dims, sizes, strides, offset, dtype, type, index, made);
}

/* A matrix as sgemm, which goes column by column, is told of it; how is 0 where it cannot be. */
struct Sides {
    char how;
    int lead;
};
static Sides sides(const Tensor *t) {
    for (int inner = 1; inner >= 0; inner--) { /* along which numbers are neighbours */
        int64_t lead = t->strides[1 - inner], least = t->sizes[inner];
        if (t->strides[inner] != 1 && t->sizes[inner] != 1) continue;
        if (lead < least && t->sizes[1 - inner] != 1) continue;
        return {inner ? 'n' : 't', (int)(lead < least ? least : lead)};
    }
    return {0, 0};
}

static Tensor transposed(const Tensor *t) {
    Tensor turned = *t;
    turned.sizes[0] = t->sizes[1], turned.sizes[1] = t->sizes[0];
    turned.strides[0] = t->strides[1], turned.strides[1] = t->strides[0];
    return turned;
}

/* out = a b + share * out. -> 0, or 1 where a matrix lies as sgemm cannot read it. */
static int32_t product(const Tensor *out, const Tensor *a, const Tensor *b, float share) {
    Sides to = sides(out), left = sides(a), right = sides(b);
    if (!to.how || !left.how || !right.how) return 1;
    if (to.how == 't') { /* out^T = b^T a^T */
        Tensor o = transposed(out), l = transposed(b), r = transposed(a);
        return product(&o, &l, &r, share);
    }
    int rows = out->sizes[0], columns = out->sizes[1], inner = a->sizes[1];
    float one = 1.0f;
    sgemm_(&right.how, &left.how, &columns, &rows, &inner, &one, (const float *)b->data, &right.lead,
           (const float *)a->data, &left.lead, &share, (float *)out->data, &to.lead);
    return 0;
}

int32_t aoti_torch_cpu_mm_out(Tensor *out, Tensor *a, Tensor *b) { return product(out, a, b, 0.0f); }

int32_t aoti_torch_cpu_addmm_out(Tensor *out, Tensor *bias, Tensor *a, Tensor *b, double beta, double alpha) {
    if (beta != 1.0 || alpha != 1.0) return 1;
    bool one_row = bias->dims == 1;
    int64_t down = one_row || bias->sizes[0] == 1 ? 0 : bias->strides[0];
    int64_t across = bias->sizes[!one_row] == 1 ? 0 : bias->strides[!one_row];
    bool plain = out->strides[1] == 1 && across == 1;
    for (int64_t r = 0; plain && r < out->sizes[0]; r++)
        std::memcpy((float *)out->data + r * out->strides[0], (const float *)bias->data + r * down,
                    out->sizes[1] * sizeof(float));
    for (int64_t r = 0; !plain && r < out->sizes[0]; r++)
        for (int64_t c = 0; c < out->sizes[1]; c++)
            ((float *)out->data)[r * out->strides[0] + c * out->strides[1]] =
                ((const float *)bias->data)[r * down + c * across];
    return product(out, a, b, 1.0f);
}
}
