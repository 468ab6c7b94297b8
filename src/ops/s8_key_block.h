// Tokens of k that share a scale in int8 attention. For kernels too: nothing but the number.
#pragma once

namespace intaglio {

inline constexpr int kS8KeyBlock = 64;

}  // namespace intaglio
