// The engine's noise: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011), counter-based, so that any element can be made anywhere, in any order, with the same
// bits.
#pragma once

#include <array>
#include <cstdint>

namespace intaglio {

// Four 32-bit words for a counter and a key.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// Element `index` of the standard normal stream of `seed`. Elements 4 i .. 4 i + 3 come from
// counter (i, 0) by two Box-Muller pairs whose logarithm, sine and cosine are our own polynomials
// in float64 over + - * / sqrt alone: IEEE 754 fixes those, so every machine gives the same
// float32.
float normal_at(uint64_t seed, uint64_t index);

// Elements first .. first + count - 1; `first` is a multiple of 4.
void fill_normal(uint64_t seed, float* out, int64_t count, int64_t first = 0);

}  // namespace intaglio
