// Scratch that library calls and kernels want at multiples of 256 bytes.
#pragma once

#include <cstddef>

#include "core/context.h"

namespace intaglio::cuda::op {

inline constexpr size_t kWorkspaceAlignment = 256;

// What an arena must hold for take_workspace(bytes); 0 for 0.
constexpr size_t workspace_scratch_bytes(size_t bytes) {
  return bytes == 0 ? 0 : align_up(bytes, kCacheLine) + kWorkspaceAlignment;
}

// Within the caller's Arena::Scope. nullptr for 0 bytes.
inline Expected<void*> take_workspace(const Context& context, size_t bytes) {
  if (bytes == 0) return nullptr;
  INTAGLIO_ASSIGN(std::byte* const block, context.scratch->take<std::byte>(static_cast<int64_t>(
                                              align_up(bytes, kCacheLine) + kWorkspaceAlignment)));
  return reinterpret_cast<void*>(align_up(reinterpret_cast<size_t>(block), kWorkspaceAlignment));
}

}  // namespace intaglio::cuda::op
