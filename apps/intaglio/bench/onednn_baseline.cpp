#include "bench/onednn_baseline.h"

#if defined(INTAGLIO_HAS_ONEDNN)
#include <dnnl.hpp>
#if defined(_OPENMP)
#include <omp.h>
#endif
#endif

namespace intaglio::cli {

#if defined(INTAGLIO_HAS_ONEDNN)

namespace {

struct Product {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  dnnl::matmul primitive;
  dnnl::memory a, w, out;
};

void set_threads([[maybe_unused]] int threads) {
#if defined(_OPENMP)
  omp_set_num_threads(threads);
#endif
}

}  // namespace

bool has_onednn() { return true; }

Expected<std::function<Status()>> onednn_matmul(DType dtype, int64_t m, int64_t n, int64_t k,
                                                const void* a, const void* w, void* out,
                                                int threads) {
  using dnnl::memory;
  try {
    set_threads(threads);
    const auto in_type = dtype == DType::kI8 ? memory::data_type::s8 : memory::data_type::bf16;
    const auto out_type = dtype == DType::kI8 ? memory::data_type::s32 : memory::data_type::bf16;
    const auto rows = memory::format_tag::ab;
    auto product = std::make_shared<Product>();
    const memory::desc a_desc({m, k}, in_type, rows), out_desc({m, n}, out_type, rows);
    const memory::desc w_any({k, n}, in_type, memory::format_tag::any);
    const dnnl::matmul::primitive_desc desc(dnnl::matmul::desc(a_desc, w_any, out_desc),
                                            product->engine);
    const std::string_view kernel = desc.impl_info_str();
    if (is_reference_kernel(kernel)) {
      return make_error(ErrorCode::kUnsupported, "oneDNN has only its reference kernel, {}",
                        kernel);
    }
    product->primitive = dnnl::matmul(desc);
    product->a = memory(a_desc, product->engine, const_cast<void*>(a));
    product->out = memory(out_desc, product->engine, out);
    product->w = memory(desc.weights_desc(), product->engine);
    // [n, k] row-major is [k, n] column-major.
    memory plain({{k, n}, in_type, memory::format_tag::ba}, product->engine, const_cast<void*>(w));
    dnnl::reorder(plain, product->w).execute(product->stream, plain, product->w);
    product->stream.wait();
    return std::function<Status()>([product, threads]() -> Status {
      try {
        set_threads(threads);
        product->primitive.execute(product->stream, {{DNNL_ARG_SRC, product->a},
                                                     {DNNL_ARG_WEIGHTS, product->w},
                                                     {DNNL_ARG_DST, product->out}});
        product->stream.wait();
        return {};
      } catch (const dnnl::error& error) {
        return make_error(ErrorCode::kInternal, "oneDNN: {}", error.what());
      }
    });
  } catch (const dnnl::error& error) {
    return make_error(ErrorCode::kUnsupported, "oneDNN: {}", error.what());
  }
}

#else

bool has_onednn() { return false; }

Expected<std::function<Status()>> onednn_matmul(DType, int64_t, int64_t, int64_t, const void*,
                                                const void*, void*, int) {
  return make_error(ErrorCode::kUnsupported, "built without oneDNN");
}

#endif

}  // namespace intaglio::cli
