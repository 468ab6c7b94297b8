#include "core/recording.h"

#if defined(INTAGLIO_HAS_CUDA)
#include "core/cuda/stream.h"
#endif

namespace intaglio {

#if defined(INTAGLIO_HAS_CUDA)

Status Recording::run(const Context& context) {
  if (context.gpu == nullptr) return work_();
  INTAGLIO_TRY(check_cancelled(context));
  if (graph_ == nullptr) {
    if (begun_ == nullptr || ended_ == nullptr) return run_timed(context);
    const Expected<double> ms = cuda::elapsed_ms(begun_.get(), ended_.get());
    if (!ms || *ms > kMostRecordedMs) return run_timed(context);
    INTAGLIO_ASSIGN(cuda::Graph graph, cuda::Graph::record(context.stream, work_));
    graph_ = std::make_shared<cuda::Graph>(std::move(graph));
  }
  return static_cast<const cuda::Graph*>(graph_.get())->launch(context.stream);
}

Status Recording::run_timed(const Context& context) {
  begun_ = ended_ = nullptr;
  std::shared_ptr<void> begun(cuda::record_event(context.stream), cuda::free_event);
  INTAGLIO_TRY(work_());
  begun_ = std::move(begun);
  ended_ = std::shared_ptr<void>(cuda::record_event(context.stream), cuda::free_event);
  return {};
}

#else

Status Recording::run(const Context&) { return work_(); }

#endif

}  // namespace intaglio
