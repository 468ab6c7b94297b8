// Time per named part of a forward pass, gathered only when somebody asks: wall time on the CPU,
// time between events on a GPU.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <string_view>
#include <vector>

#include "core/context.h"
#include "core/status.h"

namespace intaglio {

enum class ProfilePart { kLinear, kQuantize, kAttention, kNorm, kRope, kConv, kGroupNorm, kOther };
inline constexpr std::array<std::string_view, 8> kProfilePartNames{
    "linear", "quantize", "attention", "norm", "rope", "conv", "group_norm", "other"};

struct Profile {
  std::array<double, kProfilePartNames.size()> time_ms{};

  // What a GPU was given, in order: `collect_gpu_spans` fills the times in.
  struct Span {
    ProfilePart part;
    const char* detail;  // which of its kind, e.g. "qkv"; a literal
    void* begin;         // events of the device
    void* end;
    double start_ms, time_ms;  // from the first span's begin
  };
  std::vector<Span> spans;
};

// Waits for the context's work, fills in the times of all spans, adds them to time_ms and frees
// their events. For a CPU context it does nothing.
Status collect_gpu_spans(const Context& context, Profile& profile);

// Adds the time from its construction to its end to one part; does nothing when `profile` is null.
class ProfileScope {
 public:
  ProfileScope(const Context& context, Profile* profile, ProfilePart part, const char* detail = "")
      : context_(context), profile_(profile), part_(part) {
    if (profile_ == nullptr) return;
    if (context_.gpu != nullptr) {
      begin_span(detail);
    } else {
      start_ = Clock::now();
    }
  }
  ~ProfileScope() {
    if (profile_ == nullptr) return;
    if (context_.gpu != nullptr) {
      end_span();
    } else {
      profile_->time_ms[static_cast<size_t>(part_)] +=
          std::chrono::duration<double, std::milli>(Clock::now() - start_).count();
    }
  }
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  void begin_span(const char* detail);
  void end_span();

  const Context& context_;
  Profile* profile_;
  ProfilePart part_;
  [[maybe_unused]] size_t span_ = 0;  // where there is CUDA
  Clock::time_point start_;
};

}  // namespace intaglio
