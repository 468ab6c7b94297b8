// Where the keys of V lie in int8 attention. For kernels too: numbers and index arithmetic.
#pragma once

#include "core/host_device.h"

namespace intaglio {

// Keys of a group: what one m16n8k32 product takes. Their exponentials share a reference.
inline constexpr int kS8ValueKeys = 32;
// Tokens whose sum is one term of the mean of a channel: it fixes the order of the additions.
inline constexpr int kS8MeanTokens = 128;

// The key of a group whose value is byte `position` of a channel's 32. A lane of m16n8k32 holds, of
// a row of scores, keys 2 t and 2 t + 1 of each 8 (t = lane % 4), and takes as its A fragment bytes
// 4 t to 4 t + 3 of each 16: this order makes the one the other, without a shuffle.
INTAGLIO_HOST_DEVICE constexpr int s8_value_key(int position) {
  return position / 16 * 16 + position / 2 % 2 * 8 + position / 4 % 4 * 2 + position % 2;
}

}  // namespace intaglio
