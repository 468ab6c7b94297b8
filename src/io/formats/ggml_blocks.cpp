#include "io/formats/ggml_blocks.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "io/printable.h"

namespace intaglio {
namespace {

// ---- What blocks are made of.

int byte_at(const std::byte* bytes, int64_t i) { return static_cast<int>(bytes[i]); }

float half_at(const std::byte* bytes) {
  Float16 value;
  std::memcpy(&value.bits, bytes, sizeof(value.bits));
  return static_cast<float>(value);
}

uint32_t word_at(const std::byte* bytes) {
  uint32_t value = 0;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

// The codes of 32 elements in 16 bytes: low nibbles are elements 0 to 15, high ones 16 to 31. Loops
// of one shift each, which compilers make vectors of.
template <typename Value>
void each_nibble(const std::byte* q, float* out, Value&& value) {
  for (int e = 0; e < 16; ++e) out[e] = value(byte_at(q, e) & 15, e);
  for (int e = 0; e < 16; ++e) out[16 + e] = value(byte_at(q, e) >> 4, 16 + e);
}

// The levels of IQ4_NL and IQ4_XS.
constexpr std::array<float, 16> kLevels{-127, -104, -83, -65, -49, -35, -22, -10,
                                        1,    13,   25,  38,  53,  69,  89,  113};

// ---- Blocks of 32.

// d, 32 x i8.
void decode_q8_0(const std::byte* block, float* out) {
  const float d = half_at(block);
  for (int e = 0; e < 32; ++e)
    out[e] = d * static_cast<float>(static_cast<int8_t>(byte_at(block, 2 + e)));
}

// d, 16 bytes of nibbles: d (q - 8).
void decode_q4_0(const std::byte* block, float* out) {
  const float d = half_at(block);
  each_nibble(block + 2, out, [&](int q, int) { return d * static_cast<float>(q - 8); });
}

// d, m, 16 bytes of nibbles: d q + m.
void decode_q4_1(const std::byte* block, float* out) {
  const float d = half_at(block), m = half_at(block + 2);
  each_nibble(block + 4, out, [&](int q, int) { return d * static_cast<float>(q) + m; });
}

// Bit e of `high` is the fifth of element e.
int five_bits(int nibble, uint32_t high, int e) {
  return nibble | static_cast<int>((high >> e & 1u) << 4);
}

// d, u32, 16 bytes of nibbles: d (q - 16).
void decode_q5_0(const std::byte* block, float* out) {
  const float d = half_at(block);
  const uint32_t high = word_at(block + 2);
  each_nibble(block + 6, out, [&](int nibble, int e) {
    return d * static_cast<float>(five_bits(nibble, high, e) - 16);
  });
}

// d, m, u32, 16 bytes of nibbles: d q + m.
void decode_q5_1(const std::byte* block, float* out) {
  const float d = half_at(block), m = half_at(block + 2);
  const uint32_t high = word_at(block + 4);
  each_nibble(block + 8, out, [&](int nibble, int e) {
    return d * static_cast<float>(five_bits(nibble, high, e)) + m;
  });
}

// d, 16 bytes of nibbles: d times a level.
void decode_iq4_nl(const std::byte* block, float* out) {
  const float d = half_at(block);
  each_nibble(block + 2, out, [&](int q, int) { return d * kLevels[static_cast<size_t>(q)]; });
}

// ---- Blocks of 256, whose sub-blocks have scales of few bits.

struct ScaleAndMin {
  float scale, min;
};

// Of sub-block j of 8, six bits each, from 12 bytes: those of the first four have bytes of their
// own, whose upper two bits are the upper bits of the last four's.
ScaleAndMin six_bit_scale(const std::byte* s, int j) {
  if (j < 4)
    return {static_cast<float>(byte_at(s, j) & 63), static_cast<float>(byte_at(s, j + 4) & 63)};
  const int scale = (byte_at(s, j + 4) & 15) | byte_at(s, j - 4) >> 6 << 4;
  const int min = byte_at(s, j + 4) >> 4 | byte_at(s, j) >> 6 << 4;
  return {static_cast<float>(scale), static_cast<float>(min)};
}

// d, dmin, 12 bytes of scales, 128 bytes of which 32 hold two sub-blocks of 32, the low nibbles
// first: d scale q - dmin min.
void decode_q4_k(const std::byte* block, float* out) {
  const float d = half_at(block), dmin = half_at(block + 2);
  const std::byte* const q = block + 16;
  for (int j = 0; j < 8; ++j) {
    const ScaleAndMin s = six_bit_scale(block + 4, j);
    const float scale = d * s.scale, min = dmin * s.min;
    for (int l = 0; l < 32; ++l) {
      const int code = byte_at(q, j / 2 * 32 + l) >> (j % 2 * 4) & 15;
      *out++ = scale * static_cast<float>(code) - min;
    }
  }
}

// As Q4_K, with 32 bytes before the nibbles: bit j of byte l is the fifth bit of element l of
// sub-block j.
void decode_q5_k(const std::byte* block, float* out) {
  const float d = half_at(block), dmin = half_at(block + 2);
  const std::byte* const high = block + 16;
  const std::byte* const q = block + 48;
  for (int j = 0; j < 8; ++j) {
    const ScaleAndMin s = six_bit_scale(block + 4, j);
    const float scale = d * s.scale, min = dmin * s.min;
    for (int l = 0; l < 32; ++l) {
      const int low = byte_at(q, j / 2 * 32 + l) >> (j % 2 * 4) & 15;
      const int code = low | (byte_at(high, l) >> j & 1) << 4;
      *out++ = scale * static_cast<float>(code) - min;
    }
  }
}

// 128 bytes of low nibbles, 64 of upper two bits, 16 x i8 scales, d: d scale (q - 32), a scale for
// 16 elements. Of each half of 128, part p of 32 has nibble p / 2 of 32 bytes, and bits 2p of
// another 32.
void decode_q6_k(const std::byte* block, float* out) {
  const float d = half_at(block + 208);
  for (int g = 0; g < 16; ++g) {
    const int half = g / 8, part = g / 2 % 4;
    const std::byte* const low = block + 64 * half + part % 2 * 32 + g % 2 * 16;
    const std::byte* const high = block + 128 + 32 * half + g % 2 * 16;
    const float scale = d * static_cast<float>(static_cast<int8_t>(byte_at(block, 192 + g)));
    for (int l = 0; l < 16; ++l) {
      const int nibble = byte_at(low, l) >> (part / 2 * 4) & 15;
      const int code = nibble | (byte_at(high, l) >> (2 * part) & 3) << 4;
      *out++ = scale * static_cast<float>(code - 32);
    }
  }
}

// Element l of part p of 32: two bits of a byte, four parts in the same 32 bytes.
int two_bits(const std::byte* q, int p, int l) {
  return byte_at(q, p / 4 * 32 + l) >> (p % 4 * 2) & 3;
}

// 16 scales and mins of four bits, 64 bytes of two bits, d, dmin: d scale q - dmin min, a scale for
// 16 elements.
void decode_q2_k(const std::byte* block, float* out) {
  const float d = half_at(block + 80), dmin = half_at(block + 82);
  for (int g = 0; g < 16; ++g) {
    const float scale = d * static_cast<float>(byte_at(block, g) & 15);
    const float min = dmin * static_cast<float>(byte_at(block, g) >> 4);
    for (int l = 0; l < 16; ++l)
      *out++ = scale * static_cast<float>(two_bits(block + 16, g / 2, g % 2 * 16 + l)) - min;
  }
}

// 32 bytes of third bits, 64 of two bits, 12 of 16 scales of six bits, d: d (scale - 32) (q - 4).
void decode_q3_k(const std::byte* block, float* out) {
  const std::byte *const high = block, *const q = block + 32, *const scales = block + 96;
  const float d = half_at(block + 108);
  for (int g = 0; g < 16; ++g) {
    const int low = byte_at(scales, g % 8) >> (g / 8 * 4) & 15;
    const int upper = byte_at(scales, 8 + g % 4) >> (g / 4 * 2) & 3;
    const float scale = d * static_cast<float>((low | upper << 4) - 32);
    const int p = g / 2;
    for (int l = g % 2 * 16; l < g % 2 * 16 + 16; ++l) {
      const int code = two_bits(q, p, l) | (byte_at(high, l) >> p & 1) << 2;
      *out++ = scale * static_cast<float>(code - 4);
    }
  }
}

// d, u16 of upper two bits of 8 scales, 4 bytes of their nibbles, 8 x 16 bytes as IQ4_NL's:
// d (scale - 32) times a level.
void decode_iq4_xs(const std::byte* block, float* out) {
  const float d = half_at(block);
  const int upper = byte_at(block, 2) | byte_at(block, 3) << 8;
  for (int j = 0; j < 8; ++j) {
    const int low = byte_at(block, 4 + j / 2) >> (j % 2 * 4) & 15;
    const float scale = d * static_cast<float>((low | (upper >> (2 * j) & 3) << 4) - 32);
    each_nibble(block + 8 + 16 * j, out + 32 * j,
                [&](int q, int) { return scale * kLevels[static_cast<size_t>(q)]; });
  }
}

// ---- The table.

using Decode = void (*)(const std::byte* blocks, int64_t count, float* out);

template <int64_t kElements, int64_t kBytes, void (*kBlock)(const std::byte*, float*)>
void decode_blocks(const std::byte* blocks, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) kBlock(blocks + i * kBytes, out + i * kElements);
}

template <int64_t kElements, int64_t kBytes, void (*kBlock)(const std::byte*, float*)>
constexpr GgmlType decoded(uint32_t id, const char* name) {
  return {id, name, kElements, kBytes, {}, decode_blocks<kElements, kBytes, kBlock>};
}
constexpr GgmlType plain(uint32_t id, const char* name, int64_t bytes, DType dtype) {
  return {id, name, 1, bytes, dtype, nullptr};
}
// Known by its size alone.
constexpr GgmlType other(uint32_t id, const char* name, int64_t elements, int64_t bytes) {
  return {id, name, elements, bytes, {}, nullptr};
}

constexpr std::array kTypes{plain(0, "F32", 4, DType::kF32),
                            plain(1, "F16", 2, DType::kF16),
                            decoded<32, 18, decode_q4_0>(2, "Q4_0"),
                            decoded<32, 20, decode_q4_1>(3, "Q4_1"),
                            decoded<32, 22, decode_q5_0>(6, "Q5_0"),
                            decoded<32, 24, decode_q5_1>(7, "Q5_1"),
                            decoded<32, 34, decode_q8_0>(8, "Q8_0"),
                            other(9, "Q8_1", 32, 36),
                            decoded<256, 84, decode_q2_k>(10, "Q2_K"),
                            decoded<256, 110, decode_q3_k>(11, "Q3_K"),
                            decoded<256, 144, decode_q4_k>(12, "Q4_K"),
                            decoded<256, 176, decode_q5_k>(13, "Q5_K"),
                            decoded<256, 210, decode_q6_k>(14, "Q6_K"),
                            other(15, "Q8_K", 256, 292),
                            other(16, "IQ2_XXS", 256, 66),
                            other(17, "IQ2_XS", 256, 74),
                            other(18, "IQ3_XXS", 256, 98),
                            other(19, "IQ1_S", 256, 50),
                            decoded<32, 18, decode_iq4_nl>(20, "IQ4_NL"),
                            other(21, "IQ3_S", 256, 110),
                            other(22, "IQ2_S", 256, 82),
                            decoded<256, 136, decode_iq4_xs>(23, "IQ4_XS"),
                            plain(24, "I8", 1, DType::kI8),
                            plain(25, "I16", 2, DType::kI16),
                            plain(26, "I32", 4, DType::kI32),
                            plain(27, "I64", 8, DType::kI64),
                            plain(28, "F64", 8, DType::kF64),
                            other(29, "IQ1_M", 256, 56),
                            plain(30, "BF16", 2, DType::kBF16),
                            other(34, "TQ1_0", 256, 54),
                            other(35, "TQ2_0", 256, 66),
                            other(39, "MXFP4", 32, 17)};

}  // namespace

const GgmlType* find_ggml_type(uint32_t id) {
  const auto found =
      std::find_if(kTypes.begin(), kTypes.end(), [&](const GgmlType& t) { return t.id == id; });
  return found == kTypes.end() ? nullptr : &*found;
}

Status read_block_floats(const TensorEntry& entry, int64_t first, int64_t count, float* out) {
  if (!has_decoded_blocks(entry)) {
    return make_error(ErrorCode::kUnsupported, "tensor \"{}\" is {}, a type that is not read",
                      printable(entry.name), entry.foreign);
  }
  constexpr int64_t kPieceBytes = 64 << 10;
  const GgmlType& type = *entry.blocks->type;
  const int64_t piece = std::max<int64_t>(1, kPieceBytes / type.bytes) * type.elements;
  std::vector<std::byte> blocks;
  std::vector<float> values;
  for (const int64_t end = first + count; first < end;) {
    // Rows of a shape that was folded may begin or end within a block.
    const int64_t begin = first / type.elements * type.elements;
    const int64_t last = std::min(begin + piece, end);
    const int64_t n = (last - begin + type.elements - 1) / type.elements;
    blocks.resize(static_cast<size_t>(n * type.bytes));
    INTAGLIO_TRY(read_tensor_bytes(entry, static_cast<uint64_t>(begin / type.elements * type.bytes),
                                   blocks));
    if (begin == first && n * type.elements == last - first) {
      type.decode(blocks.data(), n, out);
    } else {
      values.resize(static_cast<size_t>(n * type.elements));
      type.decode(blocks.data(), n, values.data());
      std::copy_n(values.data() + (first - begin), last - first, out);
    }
    out += last - first;
    first = last;
  }
  return {};
}

}  // namespace intaglio
