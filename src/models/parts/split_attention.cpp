#include "models/parts/split_attention.h"

#include <algorithm>
#include <vector>

#include "core/memory.h"

namespace intaglio {
namespace {

// What a rank has, and what it gives and gets. Widths are elements of a row.
struct Layout {
  AttentionDesc desc;  // of all rows and heads
  RowSplit split;
  int64_t sequence = 0;  // rows that are split, of which attention's are the first

  bool s8() const { return desc.scores == AttentionScores::kS8; }
  int64_t element() const { return static_cast<int64_t>(dtype_size(desc.dtype)); }
  RowSplit of(int rank) const { return {rank, split.ranks}; }
  SplitRange rows(int rank) const { return part_of_first(desc.tokens, sequence, of(rank)); }
  SplitRange rows() const { return rows(split.rank); }
  SplitRange kv_heads(int rank) const { return part_of(desc.kv_heads, of(rank)); }
  // Those that read the rank's key heads.
  SplitRange heads(int rank) const {
    const int64_t group = desc.heads / desc.kv_heads;
    const SplitRange kv = kv_heads(rank);
    return {kv.first * group, kv.count * group};
  }
  int64_t q_width(int rank) const { return heads(rank).count * desc.head_dim; }
  int64_t kv_width(int rank) const { return kv_heads(rank).count * desc.head_dim; }
  // A row of a rank's heads: q | k | v, or k | v beside int8 rows of q.
  int64_t width(int rank) const { return (s8() ? 0 : q_width(rank)) + 2 * kv_width(rank); }
  // Attention over all rows with the rank's heads.
  AttentionDesc own() const {
    AttentionDesc own = desc;
    own.heads = heads(split.rank).count;
    own.kv_heads = kv_heads(split.rank).count;
    return own;
  }

  // Rows that go out: of q, k and v, later those of the output as they come back.
  int64_t sent_bytes() const {
    const int64_t all = ((s8() ? 0 : desc.heads) + 2 * desc.kv_heads) * desc.head_dim;
    return rows().count * std::max(all, desc.heads * desc.head_dim) * element();
  }
  int64_t received_bytes() const { return desc.tokens * width(split.rank) * element(); }
  int64_t out_bytes() const { return desc.tokens * q_width(split.rank) * element(); }
  // int8 rows of q and their scales as they come, rank by rank.
  int64_t q8_bytes() const { return desc.tokens * q_width(split.rank); }
  int64_t q_scales() const { return desc.tokens * heads(split.rank).count; }
};

// A rank's memory of one call.
struct Work {
  std::byte *sent = nullptr, *received = nullptr, *out = nullptr;
  int8_t* q8 = nullptr;
  float* q_scale = nullptr;
  S8Heads s8;  // of all rows and the rank's heads

  static Expected<Work> take(Arena& arena, const Layout& l) {
    Work w;
    INTAGLIO_ASSIGN(w.sent, arena.take<std::byte>(l.sent_bytes()));
    INTAGLIO_ASSIGN(w.received, arena.take<std::byte>(l.received_bytes()));
    INTAGLIO_ASSIGN(w.out, arena.take<std::byte>(l.out_bytes()));
    if (!l.s8()) return w;
    INTAGLIO_ASSIGN(w.q8, arena.take<int8_t>(l.q8_bytes()));
    INTAGLIO_ASSIGN(w.q_scale, arena.take<float>(l.q_scales()));
    INTAGLIO_ASSIGN(w.s8, take_s8_heads(arena, l.own()));
    return w;
  }
};

size_t size(int64_t bytes) { return static_cast<size_t>(bytes); }

class SplitAttention {
 public:
  SplitAttention(const Context& context, Collective& collective, const Layout& layout,
                 const AttentionArgs& args, const Work& work)
      : context_(context), collective_(collective), l_(layout), args_(args), w_(work) {}

  Status run() {
    INTAGLIO_TRY(send_heads());
    INTAGLIO_TRY(attend());
    return send_rows();
  }

 private:
  int ranks() const { return l_.split.ranks; }
  int rank() const { return l_.split.rank; }

  // Of the rank's rows, `width` elements from column `column` of `from`.
  Status pack(std::byte* to, int64_t to_width, const void* from, int64_t from_width, int64_t column,
              int64_t width) const {
    const int64_t e = l_.element();
    return copy_inside(context_, to, static_cast<const std::byte*>(from) + column * e,
                       StridedCopy{.bytes = size(width * e),
                                   .rows = size(l_.rows().count),
                                   .target_stride = size(to_width * e),
                                   .source_stride = size(from_width * e)});
  }

  Status send_heads() {
    std::vector<Collective::Sent> sent;
    std::vector<Collective::Received> received;
    const int64_t e = l_.element(), d = l_.desc.head_dim, own_rows = l_.rows().count;
    std::byte* to = w_.sent;
    for (int r = 0; r < ranks(); ++r) {
      const SplitRange heads = l_.heads(r), kv = l_.kv_heads(r);
      const int64_t width = l_.width(r), kv_width = l_.kv_width(r);
      std::byte* const kv_to = to + (width - 2 * kv_width) * e;
      if (!l_.s8())
        INTAGLIO_TRY(pack(to, width, args_.q, args_.ldq, heads.first * d, l_.q_width(r)));
      INTAGLIO_TRY(pack(kv_to, width, args_.k, args_.ldk, kv.first * d, kv_width));
      INTAGLIO_TRY(pack(kv_to + kv_width * e, width, args_.v, args_.ldv, kv.first * d, kv_width));
      sent.push_back({.to = r, .data = to, .bytes = size(own_rows * width * e)});
      to += own_rows * width * e;
      const SplitRange rows = l_.rows(r);
      const int64_t own_width = l_.width(rank());
      received.push_back({.from = r,
                          .data = w_.received + rows.first * own_width * e,
                          .bytes = size(rows.count * own_width * e)});
      if (!l_.s8()) continue;
      const int64_t own_heads = l_.heads(rank()).count;
      const int64_t scale = sizeof(float);
      sent.push_back({.to = r,
                      .data = args_.s8.q + heads.first * own_rows * d,
                      .bytes = size(heads.count * own_rows * d)});
      sent.push_back({.to = r,
                      .data = args_.s8.q_scale + heads.first * own_rows,
                      .bytes = size(heads.count * own_rows * scale)});
      received.push_back({.from = r,
                          .data = w_.q8 + own_heads * rows.first * d,
                          .bytes = size(own_heads * rows.count * d)});
      received.push_back({.from = r,
                          .data = w_.q_scale + own_heads * rows.first,
                          .bytes = size(own_heads * rows.count * scale)});
    }
    return collective_.all_to_all(context_, sent, received);
  }

  // int8 rows of each rank become heads of all rows, and k is quantized.
  Status make_s8_heads(const AttentionDesc& own, const void* k, int64_t ld) {
    const int64_t d = own.head_dim, scale = sizeof(float);
    for (int r = 0; r < ranks(); ++r) {
      const SplitRange rows = l_.rows(r);
      const auto place = [&](void* to, const void* from, int64_t row) {
        return copy_inside(context_, to, from,
                           StridedCopy{.bytes = size(rows.count * row),
                                       .rows = size(own.heads),
                                       .target_stride = size(own.tokens * row),
                                       .source_stride = size(rows.count * row)});
      };
      INTAGLIO_TRY(place(w_.s8.q + rows.first * d, w_.q8 + own.heads * rows.first * d, d));
      INTAGLIO_TRY(place(w_.s8.q_scale + rows.first, w_.q_scale + own.heads * rows.first, scale));
    }
    return qk_norm_rope(context_, own,
                        {.k = const_cast<void*>(k), .ld = ld, .rope = {}, .s8 = w_.s8});
  }

  Status attend() {
    const AttentionDesc own = l_.own();
    const int64_t e = l_.element(), width = l_.width(rank()), kv_width = l_.kv_width(rank());
    std::byte* const k = w_.received + (width - 2 * kv_width) * e;
    if (l_.s8()) INTAGLIO_TRY(make_s8_heads(own, k, width));
    // Where the heads are int8 no floats of q are read.
    return attention(context_, own,
                     {.q = w_.received,
                      .k = k,
                      .v = k + kv_width * e,
                      .ldq = l_.s8() ? l_.q_width(rank()) : width,
                      .ldk = width,
                      .ldv = width,
                      .out = w_.out,
                      .s8 = w_.s8});
  }

  Status send_rows() {
    std::vector<Collective::Sent> sent;
    std::vector<Collective::Received> received;
    const int64_t e = l_.element(), own_rows = l_.rows().count;
    std::byte* back = w_.sent;
    for (int r = 0; r < ranks(); ++r) {
      const SplitRange rows = l_.rows(r);
      const int64_t own_row = l_.q_width(rank()) * e, row = l_.q_width(r) * e;
      sent.push_back(
          {.to = r, .data = w_.out + rows.first * own_row, .bytes = size(rows.count * own_row)});
      received.push_back({.from = r, .data = back, .bytes = size(own_rows * row)});
      back += own_rows * row;
    }
    INTAGLIO_TRY(collective_.all_to_all(context_, sent, received));
    const int64_t ldo = args_.ldo != 0 ? args_.ldo : l_.desc.heads * l_.desc.head_dim;
    const std::byte* from = w_.sent;
    for (int r = 0; r < ranks(); ++r) {
      const int64_t width = l_.q_width(r);
      std::byte* const column =
          static_cast<std::byte*>(args_.out) + l_.heads(r).first * l_.desc.head_dim * e;
      INTAGLIO_TRY(pack(column, ldo, from, width, 0, width));
      from += own_rows * width * e;
    }
    return {};
  }

  const Context& context_;
  Collective& collective_;
  const Layout& l_;
  const AttentionArgs& args_;
  const Work& w_;
};

// Bytes that the class takes from context.scratch.
size_t split_attention_bytes(const Context& context, const Layout& l) {
  size_t bytes = attention_scratch_bytes(context, l.own());
  if (l.s8()) {
    bytes = std::max(bytes, qk_norm_rope_scratch_bytes(context, l.own())) +
            arena_bytes<int8_t>(l.q8_bytes()) + arena_bytes<float>(l.q_scales()) +
            s8_heads_bytes(l.own());
  }
  for (const int64_t buffer : {l.sent_bytes(), l.received_bytes(), l.out_bytes()})
    bytes += arena_bytes<std::byte>(buffer);
  return bytes;
}

}  // namespace

Status check_split(const AttentionDesc& desc, int ranks) {
  if (desc.tokens >= ranks && desc.kv_heads >= ranks) return {};
  return make_error(ErrorCode::kInvalidArgument,
                    "a pass of {} tokens and {} key heads is split over {} devices; expected at "
                    "least one of both for each",
                    desc.tokens, desc.kv_heads, ranks);
}

AttentionBytes shared_attention_bytes(const Context& context, const AttentionDesc& desc,
                                      RowSplit split, int64_t sequence) {
  const Layout l{.desc = desc, .split = split, .sequence = sequence == 0 ? desc.tokens : sequence};
  AttentionDesc own = desc;
  own.tokens = l.rows().count;
  AttentionBytes bytes;
  bytes.work =
      split.ranks == 1 ? attention_scratch_bytes(context, desc) : split_attention_bytes(context, l);
  if (desc.scores != AttentionScores::kS8) return bytes;
  bytes.work = std::max(bytes.work, qk_norm_rope_scratch_bytes(context, own));
  bytes.heads = s8_heads_bytes(own);
  return bytes;
}

Status shared_attention(const Context& context, const SharedAttention& shared,
                        const AttentionArgs& args) {
  const AttentionDesc& desc = shared.desc;
  if (shared.collective == nullptr) return attention(context, desc, args);
  Collective& collective = *shared.collective;
  INTAGLIO_TRY(check_split(desc, collective.size()));
  const Layout layout{.desc = desc,
                      .split = {collective.rank(), collective.size()},
                      .sequence = shared.sequence == 0 ? desc.tokens : shared.sequence};
  const Arena::Scope scope(*context.scratch);
  INTAGLIO_ASSIGN(const Work work, Work::take(*context.scratch, layout));
  return SplitAttention(context, collective, layout, args, work).run();
}

}  // namespace intaglio
