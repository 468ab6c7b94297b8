#include "core/profile.h"

#if defined(INTAGLIO_HAS_CUDA)
#include "core/cuda/stream.h"
#endif

namespace intaglio {

#if defined(INTAGLIO_HAS_CUDA)

void ProfileScope::begin_span(const char* detail) {
  span_ = profile_->spans.size();
  profile_->spans.push_back(
      {part_, detail, cuda::record_event(context_.stream), nullptr, 0.0, 0.0});
}

void ProfileScope::end_span() { profile_->spans[span_].end = cuda::record_event(context_.stream); }

Status collect_gpu_spans(const Context& context, Profile& profile) {
  if (context.gpu == nullptr) return {};
  INTAGLIO_TRY(cuda::synchronize_stream(context.stream));
  void* const first = profile.spans.empty() ? nullptr : profile.spans.front().begin;
  for (Profile::Span& span : profile.spans) {
    if (span.begin == nullptr || span.end == nullptr)
      return make_error(ErrorCode::kDevice, "profile: an event could not be recorded");
    INTAGLIO_ASSIGN(span.start_ms, cuda::elapsed_ms(first, span.begin));
    INTAGLIO_ASSIGN(span.time_ms, cuda::elapsed_ms(span.begin, span.end));
    profile.time_ms[static_cast<size_t>(span.part)] += span.time_ms;
  }
  for (Profile::Span& span : profile.spans) {
    cuda::free_event(span.begin);
    cuda::free_event(span.end);
    span.begin = span.end = nullptr;
  }
  return {};
}

#else

void ProfileScope::begin_span(const char*) {}
void ProfileScope::end_span() {}
Status collect_gpu_spans(const Context&, Profile&) { return {}; }

#endif

}  // namespace intaglio
