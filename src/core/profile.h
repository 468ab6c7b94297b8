// Wall time per named part of a forward pass, gathered only when somebody asks.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <string_view>

namespace intaglio {

enum class ProfilePart { kLinear, kQuantize, kAttention, kNorm, kRope, kConv, kGroupNorm, kOther };
inline constexpr std::array<std::string_view, 8> kProfilePartNames{
    "linear", "quantize", "attention", "norm", "rope", "conv", "group_norm", "other"};

struct Profile {
  std::array<double, kProfilePartNames.size()> time_ms{};
};

// Adds the time from its construction to its end to one part; does nothing when `profile` is null.
class ProfileScope {
 public:
  ProfileScope(Profile* profile, ProfilePart part) : profile_(profile), part_(part) {
    if (profile_ != nullptr) start_ = Clock::now();
  }
  ~ProfileScope() {
    if (profile_ == nullptr) return;
    profile_->time_ms[static_cast<size_t>(part_)] +=
        std::chrono::duration<double, std::milli>(Clock::now() - start_).count();
  }
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  Profile* profile_;
  ProfilePart part_;
  Clock::time_point start_;
};

}  // namespace intaglio
