// Exports the tensors and products of tensor_runtime.h for the tests.

#include "tensor_runtime.h"

namespace torch::aot_inductor {
RAIIAtenTensorHandle constants[] = {Tensor{}};
void AOTInductorModel::run_impl(Tensor *, Tensor *, DeviceStreamType, AOTIProxyExecutorHandle) {}
}  // namespace torch::aot_inductor

using namespace torch::aot_inductor;

extern "C" {
int32_t probe_mm(Tensor *out, Tensor *a, Tensor *b) { return aoti_torch_cpu_mm_out(*out, *a, *b); }
int32_t probe_addmm(Tensor *out, Tensor *bias, Tensor *a, Tensor *b, double beta, double alpha) {
    return aoti_torch_cpu_addmm_out(*out, *bias, *a, *b, beta, alpha);
}
void *probe_empty(int64_t dims, const int64_t *sizes, const int64_t *strides) {
    Tensor made;
    aoti_torch_empty_strided(dims, sizes, strides, cached_torch_dtype_float32, 0, 0, &made);
    return new RAIIAtenTensorHandle(made);
}
void *probe_part(RAIIAtenTensorHandle *of, int64_t dims, const int64_t *sizes, const int64_t *strides,
                 int64_t offset) {
    return new RAIIAtenTensorHandle(reinterpret_tensor_wrapper(*of, dims, sizes, strides, offset));
}
void *probe_moved(RAIIAtenTensorHandle *from) { return new RAIIAtenTensorHandle(std::move(*from)); }
void *probe_memory(RAIIAtenTensorHandle *held) { return held->data_ptr(); }
void probe_end(RAIIAtenTensorHandle *held) { delete held; }
}
