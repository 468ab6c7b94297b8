// What is done to the columns of a linear's input before it is quantized, undone by the weight:
// ConvRot rotation and SmoothQuant division.
//
// Rotation: the row is cut in consecutive groups of G = 4^n values, each multiplied by H_G, the
// n-fold Kronecker product of H_4 / 2 with itself,
//   H_4 = [1 1 1 -1; 1 1 -1 1; 1 -1 1 1; -1 1 1 1].
// H_G is symmetric and orthogonal: the same function rotates rows, rotates weights [n, k] along k,
// and turns both back. The format knows no shorter last group: a K that G does not divide cannot be
// rotated (such layers are stored unrotated).
//
// The product is formed in n stages, strides 1, 4, 16, ..., each over four values:
//   s = ((x0 + x1) + (x2 + x3)) * 0.5;  y_i = s - x_(3-i)        every step rounded to float
// This order is the contract: kernels give the same bits.
#pragma once

#include <cstdint>

namespace intaglio {

// Group sizes that files use and kernels know.
inline constexpr int64_t kRotationGroups[] = {16, 64, 256, 1024, 4096};

// nullptr if rows of `cols` values can be rotated in groups of `group`, else the reason, a string
// literal. Here, not in the .cpp file: the launchers of CUDA kernels need it and link to nothing of
// the engine.
inline const char* rotation_refusal(int64_t cols, int64_t group) {
  bool known = false;
  for (const int64_t one : kRotationGroups) known = known || one == group;
  if (!known) return "rotation group is not 16, 64, 256, 1024 or 4096";
  if (cols < 1 || cols % group != 0) return "columns are not a multiple of the rotation group";
  return nullptr;
}

// How the columns of a linear were turned, as its file says it. Never guessed: what a file does not
// say is not there.
enum class RotationKind : uint8_t {
  kNone,
  kConvRot,  // consecutive groups of `group` columns, each times H_group above
};

struct Rotation {
  RotationKind kind = RotationKind::kNone;
  int64_t group = 0;  // 0 for kNone

  static Rotation convrot(int64_t group) { return {RotationKind::kConvRot, group}; }
  bool operator==(const Rotation&) const = default;
};

// nullptr if rows of `cols` values can be turned so, else the reason, a string literal.
inline const char* rotation_refusal(int64_t cols, const Rotation& rotation) {
  return rotation.kind == RotationKind::kNone ? nullptr : rotation_refusal(cols, rotation.group);
}

// Element (i, j) of H_group, 0 <= i, j < group = 4^n: +-1 / sqrt(group).
double rotation_entry(int64_t group, int64_t i, int64_t j);

// Rotates a row in place. rotation_refusal(cols, group) is nullptr.
void rotate_row(float* x, int64_t cols, int64_t group);

// SmoothQuant: y[c] = x[c] / smooth[c], one rounding. The weight's column c was multiplied by
// smooth[c]. y may be x.
void smooth_row(const float* x, const float* smooth, int64_t cols, float* y);

}  // namespace intaglio
