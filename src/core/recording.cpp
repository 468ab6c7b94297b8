#include "core/recording.h"

#if defined(INTAGLIO_HAS_CUDA)
#include "core/cuda/stream.h"
#endif

namespace intaglio {

Status Recording::run(const Context& context) {
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr && has_run_) {
    INTAGLIO_TRY(check_cancelled(context));
    if (graph_ == nullptr) {
      INTAGLIO_ASSIGN(cuda::Graph graph, cuda::Graph::record(context.stream, work_));
      graph_ = std::make_shared<cuda::Graph>(std::move(graph));
    }
    return static_cast<const cuda::Graph*>(graph_.get())->launch(context.stream);
  }
#endif
  has_run_ = true;
  return work_();
}

}  // namespace intaglio
