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

// Bytes that it takes from context.scratch.
size_t split_attention_bytes(const Context& context, const AttentionDesc& desc, RowSplit split);

// `desc`: of all rows and heads. `args`: of the rank's rows, part_of(desc.tokens), with all heads;
// so are the int8 heads of kS8, of which those of q are read, and k beside them.
Status split_attention(const Context& context, Collective& collective, const AttentionDesc& desc,
                       const AttentionArgs& args);

}  // namespace intaglio
