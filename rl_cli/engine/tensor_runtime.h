/* The part of torch's runtime that compiled steps use, on tensors that are a pointer and a shape. With torch's
   own tensors the calls take longer than the arithmetic of a small network, and torch's headers take longer to
   compile than everything else.

   inductor.py puts this file before the function that Inductor has written. The names and signatures are those
   of torch/csrc/inductor/aoti_runtime. A function that uses another name is compiled with torch's runtime. */

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <new>
#include <stdexcept>
#include <utility>

extern "C" void sgemm_(const char *, const char *, const int *, const int *, const int *, const float *,
                       const float *, const int *, const float *, const int *, const float *, float *, const int *);

#define AOTI_TORCH_ERROR_CODE_CHECK(call) \
    if (call) throw std::runtime_error(#call)

namespace torch::aot_inductor {

constexpr int32_t cached_torch_device_type_cpu = 0;
constexpr int32_t cached_torch_dtype_float32 = 6, cached_torch_dtype_int64 = 4, cached_torch_dtype_bool = 11;
using DeviceStreamType = void *;
using AOTIProxyExecutorHandle = void *;

struct Block { /* reference-counted memory that tensors share */
    int64_t bytes;
    int refs;
    void *memory;
    Block *next;
};
static Block *free_blocks = nullptr; /* reused for tensors of the same size */

struct Tensor {
    void *data;
    int64_t dims;
    const int64_t *sizes, *strides; /* owned by the library, or for inputs by the caller */
    int64_t item;                   /* bytes per element */
    Block *block;                   /* null: the memory belongs to the caller */
};
using AtenTensorHandle = Tensor;

inline Block *block_of(int64_t bytes) {
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

inline void release_block(Block *block) {
    if (block && --block->refs == 0) block->next = free_blocks, free_blocks = block;
}

/* A tensor that releases its memory in its destructor. */
class RAIIAtenTensorHandle {
  public:
    RAIIAtenTensorHandle(const Tensor &tensor) : tensor(tensor) {}
    RAIIAtenTensorHandle(RAIIAtenTensorHandle &&other) : tensor(other.release()) {}
    RAIIAtenTensorHandle(const RAIIAtenTensorHandle &) = delete;
    ~RAIIAtenTensorHandle() { release_block(tensor.block); }
    operator const Tensor &() const { return tensor; }
    void *data_ptr() const { return tensor.data; }
    void reset() { release_block(release().block); }
    Tensor release() {
        Tensor given = tensor;
        tensor.block = nullptr;
        return given;
    }

  private:
    Tensor tensor;
};

inline int64_t bytes_of(int32_t dtype) {
    return dtype == cached_torch_dtype_int64 ? 8 : dtype == cached_torch_dtype_bool ? 1 : 4;
}

inline int64_t extent(int64_t dims, const int64_t *sizes, const int64_t *strides) {
    int64_t last = 0;
    for (int64_t d = 0; d < dims; d++) {
        if (sizes[d] == 0) return 0;
        last += (sizes[d] - 1) * strides[d];
    }
    return last + 1;
}

inline int32_t aoti_torch_empty_strided(int64_t dims, const int64_t *sizes, const int64_t *strides,
                                        int32_t dtype, int32_t, int32_t, Tensor *made) {
    Block *block = block_of(extent(dims, sizes, strides) * bytes_of(dtype));
    *made = Tensor{block->memory, dims, sizes, strides, bytes_of(dtype), block};
    return 0;
}

inline Tensor reinterpret_tensor_wrapper(const Tensor &of, int64_t dims, const int64_t *sizes,
                                         const int64_t *strides, int64_t offset) {
    if (of.block) of.block->refs++;
    return Tensor{(char *)of.data + offset * of.item, dims, sizes, strides, of.item, of.block};
}

inline RAIIAtenTensorHandle wrap_with_raii_handle_if_needed(const Tensor &tensor) { return {tensor}; }

/* How to pass a matrix to sgemm, which is column-major; transposed is 0 if sgemm cannot read the matrix. */
struct Layout {
    char transposed; /* 'n' or 't' */
    int lead;        /* leading dimension */
};
inline Layout layout_of(const Tensor &t) {
    for (int inner = 1; inner >= 0; inner--) { /* the dimension with stride 1 */
        int64_t lead = t.strides[1 - inner], least = t.sizes[inner];
        if (t.strides[inner] != 1 && t.sizes[inner] != 1) continue;
        if (lead < least && t.sizes[1 - inner] != 1) continue;
        return {inner ? 'n' : 't', (int)(lead < least ? least : lead)};
    }
    return {0, 0};
}

/* The layout of the transposed matrix. */
inline Layout transpose(Layout l) { return {l.transposed == 'n' ? 't' : 'n', l.lead}; }

/* out = a b + share * out. Returns 1 if sgemm cannot read one of the matrices, else 0. */
inline int32_t product(const Tensor &out, const Tensor &a, const Tensor &b, float share) {
    if (out.item != 4 || a.item != 4 || b.item != 4) return 1; /* not float32 */
    Layout to = layout_of(out), left = layout_of(a), right = layout_of(b);
    if (!to.transposed || !left.transposed || !right.transposed) return 1;
    int rows = out.sizes[0], columns = out.sizes[1], inner = a.sizes[1];
    const void *first = b.data, *second = a.data;
    if (to.transposed == 't') { /* out^T = b^T a^T */
        std::swap(rows, columns), std::swap(first, second), std::swap(left, right);
        left = transpose(left), right = transpose(right);
    }
    float one = 1.0f;
    sgemm_(&right.transposed, &left.transposed, &columns, &rows, &inner, &one, (const float *)first, &right.lead,
           (const float *)second, &left.lead, &share, (float *)out.data, &to.lead);
    return 0;
}

inline int32_t aoti_torch_cpu_mm_out(const Tensor &out, const Tensor &a, const Tensor &b) {
    return product(out, a, b, 0.0f);
}

inline int32_t aoti_torch_cpu_addmm_out(const Tensor &out, const Tensor &bias, const Tensor &a, const Tensor &b,
                                        double beta, double alpha) {
    if (beta != 1.0 || alpha != 1.0) return 1;
    int64_t last = bias.dims - 1; /* the bias is a scalar, a row or a matrix */
    int64_t down = bias.dims < 2 || bias.sizes[0] == 1 ? 0 : bias.strides[0];
    int64_t across = bias.dims < 1 || bias.sizes[last] == 1 ? 0 : bias.strides[last];
    bool plain = out.strides[1] == 1 && across == 1;
    const float *from = (const float *)bias.data;
    float *to = (float *)out.data;
    for (int64_t r = 0; plain && r < out.sizes[0]; r++)
        std::memcpy(to + r * out.strides[0], from + r * down, out.sizes[1] * sizeof(float));
    for (int64_t r = 0; !plain && r < out.sizes[0]; r++)
        for (int64_t c = 0; c < out.sizes[1]; c++)
            to[r * out.strides[0] + c * out.strides[1]] = from[r * down + c * across];
    return product(out, a, b, 1.0f);
}

/* What the function refers to. Shapes are not checked: the library was compiled for them. */
struct AOTInductorModelKernels {};
extern RAIIAtenTensorHandle constants[]; /* written by inductor.py */
struct Constants {
    RAIIAtenTensorHandle &at(int i) const { return constants[i]; }
};
struct AOTInductorModel {
    int32_t device_idx_ = 0;
    Constants all, *constants_ = &all;
    struct {
        AOTInductorModelKernels *get() const { return nullptr; }
    } kernels_;
    void run_impl(Tensor *inputs, Tensor *outputs, DeviceStreamType, AOTIProxyExecutorHandle);
};
static size_t inputs_given = 0;
struct Inputs {
    Tensor *given;
    RAIIAtenTensorHandle operator[](int i) { return given[i]; }
    void clear() {}
};
inline Inputs steal_from_raw_handles_to_raii_handles(Tensor *given, size_t count) {
    if (count != inputs_given) throw std::runtime_error("wrong number of inputs");
    return {given};
}
inline void __check_inputs_outputs(Tensor *, Tensor *) {}
constexpr bool _check_aoti_runtime_check_inputs_env() { return false; }
using Shape = std::initializer_list<int64_t>;
inline void assert_size_stride(const Tensor &, Shape, Shape, const char *) {}

}  // namespace torch::aot_inductor

/* Called by compiled_step.c and compiled_step.py. Return values: 0 is success. */
extern "C" {

using torch::aot_inductor::Tensor;
enum { MOST_OF_EITHER = 64 }; /* inputs, or outputs */

void *step_tensor(void *data, int64_t dims, const int64_t *sizes, const int64_t *strides, int64_t item) {
    int64_t *shape = new int64_t[2 * dims + 1];
    for (int64_t d = 0; d < dims; d++) shape[d] = sizes[d], shape[dims + d] = strides[d];
    return new Tensor{data, dims, shape, shape + dims, item, nullptr};
}
int32_t step_forget(void *tensor) { /* a tensor made by step_tensor */
    delete[] ((Tensor *)tensor)->sizes;
    delete (Tensor *)tensor;
    return 0;
}

int32_t step_run(void *, void **in, size_t inputs, void **out, size_t outputs, void *, void *) {
    static Tensor results[MOST_OF_EITHER];
    Tensor given[MOST_OF_EITHER];
    torch::aot_inductor::inputs_given = inputs;
    for (size_t i = 0; i < inputs; i++) given[i] = *(Tensor *)in[i];
    for (size_t i = 0; i < outputs; i++) out[i] = &results[i];
    try {
        torch::aot_inductor::AOTInductorModel().run_impl(given, results, nullptr, nullptr);
    } catch (...) {
        return 1;
    }
    return 0;
}
int32_t step_another(void *tensor, void **same) { return *same = tensor, 0; }
int32_t step_release(void *result) { return torch::aot_inductor::release_block(((Tensor *)result)->block), 0; }
int32_t step_memory(void *result, void **found) { return *found = ((Tensor *)result)->data, 0; }
}
