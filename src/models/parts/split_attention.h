// Attention of a pass whose rows are split over several devices: Ulysses (Jacobs et al. 2023,
// arXiv 2309.14509, section 3). Each rank gives each other one that one's heads of its own rows,
// attends over all tokens with its own heads, and gives each its rows back.
//
//   rank r has    q, k, v of its rows, all heads
//   all to all    -> q, k, v of all rows, r's heads
//   attention     -> out of all rows, r's heads
//   all to all    -> out of its rows, all heads
//
// On the wire q, k, v and out go in the type of q. With AttentionScores::kS8 q goes as the int8
// rows that it was quantized to, with their scales. k does not: its mean is taken over all tokens
// and its scales over 64 of them each, so its int8 heads are made of the whole where they are read.
// Every number is what one device computes.
#pragma once

#include <cstddef>

#include "core/collective.h"
#include "core/context.h"
#include "models/parts/row_split.h"
#include "ops/attention.h"

namespace intaglio {

// kInvalidArgument for fewer rows or key heads than ranks: each has at least one of both.
Status check_split(const AttentionDesc& desc, int ranks);

// What attention of a block runs over, and who shares it.
struct SharedAttention {
  AttentionDesc desc;                // of all rows and heads
  Collective* collective = nullptr;  // of the ranks that share its rows; nullptr: they are at hand
  // Rows of the sequence that is split over the ranks, of which attention's are the first; 0:
  // attention's.
  int64_t sequence = 0;

  // The same of the rows at hand: what heads are normed, turned and quantized by.
  AttentionDesc own(int64_t rows) const {
    AttentionDesc own = desc;
    own.tokens = rows;
    return own;
  }
};

// Bytes from context.scratch: of int8 heads of the rows at hand, and of what runs beside them,
// attention and the quantization of the heads.
struct AttentionBytes {
  size_t heads = 0, work = 0;
};
AttentionBytes shared_attention_bytes(const Context& context, const AttentionDesc& desc,
                                      RowSplit split = {}, int64_t sequence = 0);

// `args`: of the rows at hand, with all heads; so are the int8 heads of kS8, of which split rows
// read those of q, and k beside them.
Status shared_attention(const Context& context, const SharedAttention& shared,
                        const AttentionArgs& args);

}  // namespace intaglio
