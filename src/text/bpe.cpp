#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "io/printable.h"
#include "text/byte_alphabet.h"

namespace intaglio {
namespace {

uint64_t pair_key(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

// Spreads neighbouring ids over the table: the finalizer of a 64-bit mixing function.
uint64_t mix(uint64_t x) {
  x ^= x >> 32;
  x *= 0x9e3779b97f4a7c15u;
  x ^= x >> 29;
  x *= 0xbf58476d1ce4e5b9u;
  return x ^ (x >> 32);
}

size_t table_size(size_t entries) { return std::bit_ceil(std::max<size_t>(16, entries * 2)); }

}  // namespace

Expected<BpeModel> BpeModel::build(const TokenizerFile& file, const std::string& name) {
  BpeModel model;
  model.ignore_merges_ = file.ignore_merges;
  INTAGLIO_TRY(model.add_tokens(file, name));
  INTAGLIO_TRY(model.add_merges(file, name));
  return model;
}

Status BpeModel::add_tokens(const TokenizerFile& file, const std::string& name) {
  int32_t highest = -1;
  for (const int32_t id : file.ids) highest = std::max(highest, id);
  tokens_.resize(static_cast<size_t>(highest) + 1);
  token_table_.assign(table_size(file.tokens.size()), kNoToken);
  for (size_t i = 0; i < file.tokens.size(); ++i) {
    const std::string_view written = file.tokens[i];
    const int32_t id = file.ids[i];
    Token& token = tokens_[static_cast<size_t>(id)];
    if (token.present) {
      return make_error(ErrorCode::kBadFormat, "{}: model.vocab: \"{}\" and \"{}\" share the id {}",
                        name, printable(token_as_written(id)), printable(written), id);
    }
    const std::optional<std::string> bytes = bytes_from_printable(written);
    const std::string_view stored = bytes ? std::string_view(*bytes) : written;
    token = {static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(stored.size()), 1,
             bytes ? 0u : 1u};
    bytes_ += stored;
    if (!bytes) continue;
    const size_t slot = token_slot(stored);
    if (token_table_[slot] != kNoToken) {
      return make_error(ErrorCode::kBadFormat,
                        "{}: model.vocab: \"{}\" comes twice, with the ids {} and {}", name,
                        printable(written), token_table_[slot], id);
    }
    token_table_[slot] = id;
  }
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    const char c = static_cast<char>(byte);
    const std::optional<int32_t> id = find(std::string_view(&c, 1));
    if (!id) {
      return make_error(ErrorCode::kBadFormat,
                        "{}: model.vocab has no token for the byte 0x{:02x} (\"{}\")", name, byte,
                        printable_from_bytes(std::string_view(&c, 1)));
    }
    byte_ids_[byte] = *id;
  }
  return {};
}

Status BpeModel::add_merges(const TokenizerFile& file, const std::string& name) {
  const size_t count = file.merges.size() / 2;
  merge_table_.assign(table_size(count), Merge{});
  std::string joined;
  for (size_t rank = 0; rank < count; ++rank) {
    const std::string_view left = file.merges[2 * rank];
    const std::string_view right = file.merges[2 * rank + 1];
    joined.assign(left).append(right);
    std::array<int32_t, 3> ids{};
    const std::array<std::string_view, 3> parts{left, right, joined};
    for (size_t i = 0; i < parts.size(); ++i) {
      const std::optional<std::string> bytes = bytes_from_printable(parts[i]);
      const std::optional<int32_t> id = bytes && !bytes->empty() ? find(*bytes) : std::nullopt;
      if (!id) {
        return make_error(
            ErrorCode::kBadFormat,
            "{}: model.merges: entry {} (\"{}\" \"{}\") needs the token \"{}\", which {}", name,
            rank, printable(left), printable(right), printable(parts[i]),
            bytes ? "is not in model.vocab" : "is not in the byte alphabet");
      }
      ids[i] = *id;
    }
    const uint64_t pair = pair_key(ids[0], ids[1]);
    // A pair listed twice keeps its last rank, as in the library that defines the format.
    merge_table_[merge_slot(pair)] = {pair, static_cast<uint32_t>(rank), ids[2]};
  }
  return {};
}

// Slot that holds `bytes`, or the free one where they would go.
size_t BpeModel::token_slot(std::string_view bytes) const {
  const size_t mask = token_table_.size() - 1;
  size_t slot = std::hash<std::string_view>{}(bytes)&mask;
  while (token_table_[slot] != kNoToken &&
         bytes_of(tokens_[static_cast<size_t>(token_table_[slot])]) != bytes)
    slot = (slot + 1) & mask;
  return slot;
}

size_t BpeModel::merge_slot(uint64_t pair) const {
  const size_t mask = merge_table_.size() - 1;
  size_t slot = mix(pair) & mask;
  while (merge_table_[slot].pair != kEmptyPair && merge_table_[slot].pair != pair)
    slot = (slot + 1) & mask;
  return slot;
}

std::optional<int32_t> BpeModel::find(std::string_view bytes) const {
  const int32_t id = token_table_[token_slot(bytes)];
  return id == kNoToken ? std::nullopt : std::optional<int32_t>(id);
}

std::optional<std::string_view> BpeModel::token_bytes(int32_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= tokens_.size() ||
      !tokens_[static_cast<size_t>(id)].present)
    return std::nullopt;
  return bytes_of(tokens_[static_cast<size_t>(id)]);
}

std::string BpeModel::token_as_written(int32_t id) const {
  const Token& token = tokens_[static_cast<size_t>(id)];
  return token.verbatim ? std::string(bytes_of(token)) : printable_from_bytes(bytes_of(token));
}

// Finds the merge of symbol `index` with its neighbour and queues it.
void BpeModel::look_up_merge(BpeScratch& scratch, int32_t index) const {
  BpeScratch::Symbol& symbol = scratch.symbols[static_cast<size_t>(index)];
  symbol.rank = kNoMerge;
  if (symbol.next < 0) return;
  const int32_t right = scratch.symbols[static_cast<size_t>(symbol.next)].id;
  const Merge& merge = merge_table_[merge_slot(pair_key(symbol.id, right))];
  if (merge.rank == kNoMerge) return;
  symbol.rank = merge.rank;
  symbol.merged = merge.merged;
  scratch.heap.push_back((static_cast<uint64_t>(merge.rank) << 32) | static_cast<uint32_t>(index));
}

void BpeModel::encode_word(std::string_view word, BpeScratch& scratch,
                           std::vector<int32_t>& ids) const {
  if (ignore_merges_) {
    if (const std::optional<int32_t> id = find(word)) {
      ids.push_back(*id);
      return;
    }
  }
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  const auto count = static_cast<int32_t>(word.size());
  symbols.resize(word.size());
  heap.clear();
  for (int32_t i = 0; i < count; ++i) {
    BpeScratch::Symbol& symbol = symbols[static_cast<size_t>(i)];
    symbol.id = byte_ids_[static_cast<unsigned char>(word[static_cast<size_t>(i)])];
    symbol.previous = i - 1;
    symbol.next = i + 1 < count ? i + 1 : -1;
  }
  for (int32_t i = 0; i < count; ++i) look_up_merge(scratch, i);
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const uint64_t entry = heap.back();
    heap.pop_back();
    ++scratch.steps;
    const auto index = static_cast<int32_t>(entry & 0xffffffffu);
    BpeScratch::Symbol& left = symbols[static_cast<size_t>(index)];
    // A symbol that has changed since (or is gone) has another rank, or kNoMerge: the entry is
    // stale.
    if (left.rank != static_cast<uint32_t>(entry >> 32)) continue;
    BpeScratch::Symbol& right = symbols[static_cast<size_t>(left.next)];
    left.id = left.merged;
    left.next = right.next;
    right.rank = kNoMerge;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = index;
    // The pairs on both sides are new: queue them.
    for (const int32_t changed : {index, left.previous}) {
      if (changed < 0) continue;
      look_up_merge(scratch, changed);
      if (symbols[static_cast<size_t>(changed)].rank != kNoMerge)
        std::push_heap(heap.begin(), heap.end(), std::greater<>());
    }
  }
  for (int32_t i = count > 0 ? 0 : -1; i >= 0; i = symbols[static_cast<size_t>(i)].next)
    ids.push_back(symbols[static_cast<size_t>(i)].id);
}

}  // namespace intaglio
