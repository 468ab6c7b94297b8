#include "core/registry.h"

#include <mutex>
#include <unordered_set>

namespace intaglio {

void trace_decision(std::string_view line) {
  static std::mutex mutex;
  static std::unordered_set<std::string> told;
  {
    const std::scoped_lock lock(mutex);
    if (!told.emplace(line).second) return;
  }
  log_message(LogLevel::kInfo, line);
}

tl::unexpected<Error> no_implementation_error(const OpName& op, std::string_view shape,
                                              const Context& context, Refusal reason) {
  const std::string device =
      context.gpu == nullptr ? std::string("the CPU")
                             : fmt::format("cuda:{} ({})", context.gpu->ordinal, context.gpu->name);
  return make_error(ErrorCode::kUnsupported, "{} of {} cannot run on {}: {}", op.words, shape,
                    device, reason != nullptr ? reason : "this build has no code for the device");
}

}  // namespace intaglio
