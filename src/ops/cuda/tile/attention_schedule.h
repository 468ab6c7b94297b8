// Which rows and keys a block of an attention kernel works on. Host and device; checked on the CPU.
//
// A block takes `tile_rows` queries of one head. Without a causal mask all blocks cost the same,
// and the blocks of a head come one after another: those that run at once share a few heads' keys
// and values in L2. With it the blocks with most keys come first, over all heads, so that what is
// left at the end is short; neighbouring blocks are then neighbouring heads, which share keys and
// values when queries are grouped.
// Rows past the last token belong to nobody.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace intaglio::cuda {

struct AttentionSchedule {
  int32_t tokens, heads;
  int32_t tile_rows, tile_keys;
  int32_t causal;  // 0 or 1

  struct Item {
    int32_t head, row;  // the first of tile_rows
    int32_t key_tiles;  // >= 1, from key 0 on
  };

  INTAGLIO_HOST_DEVICE constexpr int32_t blocks_of_head() const {
    return (tokens - 1) / tile_rows + 1;
  }
  INTAGLIO_HOST_DEVICE constexpr int64_t blocks() const {
    return int64_t{blocks_of_head()} * heads;
  }

  INTAGLIO_HOST_DEVICE constexpr Item at(int32_t block) const {
    const int32_t per_head = blocks_of_head();
    const int32_t head = causal != 0 ? block % heads : block / per_head;
    const int32_t tile = causal != 0 ? per_head - 1 - block / heads : block % per_head;
    const int32_t row = tile * tile_rows, past = row + tile_rows;
    const int32_t keys = causal != 0 && past < tokens ? past : tokens;
    return {head, row, (keys - 1) / tile_keys + 1};
  }
};

}  // namespace intaglio::cuda
