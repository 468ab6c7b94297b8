#include "ops/cuda/lt_products.h"

#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "core/cuda/device.h"
#include "ops/cuda/device_types.h"

namespace intaglio::cuda::op {
namespace {

class Products {
 public:
  static Products& instance() {
    static Products products;
    return products;
  }

  std::mutex& mutex() { return mutex_; }

  // With the mutex held.
  Expected<LtProduct*> find(const Context& context, LtKind kind, const LtShape& shape,
                            const LtScales& scales) {
    const auto key = std::tuple(context.gpu->ordinal, kind, shape.m, shape.n, shape.k);
    std::unique_ptr<LtProduct>& product = products_[key];
    if (product == nullptr) {
      std::string error;
      product = LtProduct::make(kind, shape, scales, error);
      if (product == nullptr)
        return make_error(ErrorCode::kDevice, "product of {}x{}x{}: {}", shape.m, shape.n, shape.k,
                          error);
    }
    return product.get();
  }

 private:
  std::mutex mutex_;
  std::map<std::tuple<int, LtKind, int, int, int>, std::unique_ptr<LtProduct>> products_;
};

}  // namespace

Status prepare_lt_product(const Context& context, LtKind kind, const LtShape& shape,
                          const LtScales& scales) {
  Products& products = Products::instance();
  const std::scoped_lock lock(products.mutex());
  return products.find(context, kind, shape, scales).map([](LtProduct*) {});
}

Status run_lt_product(const Context& context, LtKind kind, const LtShape& shape,
                      const LtCall& call) {
  const Arena::Scope scope(*context.scratch);
  INTAGLIO_ASSIGN(void* const workspace, take_workspace(context, LtProduct::kWorkspaceBytes));
  Products& products = Products::instance();
  const std::scoped_lock lock(products.mutex());
  INTAGLIO_ASSIGN(LtProduct* const product, products.find(context, kind, shape, call.scales));
  const bool accepted =
      call.scales.a != nullptr ? product->set_scales(call.scales) : product->set_bias(call.bias);
  if (!accepted)
    return make_error(ErrorCode::kDevice, "cuBLASLt: the {} refused",
                      call.scales.a != nullptr ? "scales were" : "bias was");
  return device_status(product->run(call.a, call.w, call.out, workspace, stream_of(context)),
                       "cublasLtMatmul");
}

}  // namespace intaglio::cuda::op
