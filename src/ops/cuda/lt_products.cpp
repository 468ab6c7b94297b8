#include "ops/cuda/lt_products.h"

#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "core/cuda/device.h"
#include "core/per_device.h"
#include "ops/cuda/stream.h"

namespace intaglio::cuda::op {
namespace {

// What the library said of the shapes of one device. A shape that it has no product for is
// remembered too.
class Products {
 public:
  Expected<const LtProduct*> find(LtKind kind, const LtShape& shape, const LtScales& scales) {
    // Held while the library is asked, not while a product runs.
    const std::scoped_lock lock(mutex_);
    const auto [at, is_new] = entries_.try_emplace({kind, shape.m, shape.n, shape.k});
    Entry& entry = at->second;
    if (is_new) entry.product = LtProduct::make(kind, shape, scales, entry.error);
    if (entry.product == nullptr)
      return make_error(ErrorCode::kUnsupported, "a product of {}x{}x{}: {}", shape.m, shape.n,
                        shape.k, entry.error);
    return entry.product.get();
  }

 private:
  struct Entry {
    std::unique_ptr<LtProduct> product;
    std::string error;
  };
  std::mutex mutex_;
  std::map<std::tuple<LtKind, int, int, int>, Entry> entries_;
};

Products& products_of(const Context& context) {
  static PerDevice<Products> products;
  return products.get(context.gpu->ordinal, [] { return std::make_unique<Products>(); });
}

}  // namespace

Status prepare_lt_product(const Context& context, LtKind kind, const LtShape& shape,
                          const LtScales& scales) {
  return products_of(context).find(kind, shape, scales).map([](const LtProduct*) {});
}

Status run_lt_product(const Context& context, LtKind kind, const LtShape& shape,
                      const LtCall& call) {
  const Arena::Scope scope(*context.scratch);
  INTAGLIO_ASSIGN(void* const workspace, take_workspace(context, LtProduct::kWorkspaceBytes));
  INTAGLIO_ASSIGN(const LtProduct* const product,
                  products_of(context).find(kind, shape, call.scales));
  const cudaError_t status = product->run(call, workspace, stream_of(context));
  if (status == cudaErrorNotSupported)
    return make_error(ErrorCode::kUnsupported, "a product of {}x{}x{}: cuBLASLt does not run it",
                      shape.m, shape.n, shape.k);
  return device_status(status, "a matrix product");
}

}  // namespace intaglio::cuda::op
