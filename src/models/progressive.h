// Progressive resolution: the first steps of a picture run at half its width and height, on a
// quarter of its image tokens, the others at full size.
//
// Let x = (1 - s) x0 + s n be a state at noise level s, in planes of latents [H, W]. Let M(N), an
// N / 2 x N matrix, be the orthonormal DCT of N values, of which the lower half is kept, then the
// inverse DCT of N / 2 values. Its rows are orthonormal, so low(x) = M(H) x M(W)^T makes of white
// noise n of variance 1 the same of the half-size plane. A plane of one value becomes one of twice
// the value, sqrt(2) in each direction: low(x0) is twice the half-size picture y0 of x0.
//
//   low(x) = 2 (1 - s) y0 + s low(n) = (2 - s) ((1 - r) y0 + r low(n)),   r = s / (2 - s)
//
// In the outer brackets stands a state of the half-size picture at noise level r. Its odds are half
// as large, r / (1 - r) = s / (1 - s) / 2. Ideogram 4's schedule moves its levels with the size of
// a picture in just this way, so these are the levels that it has for the half-size picture.
//
// The first steps begin with low(n) of the picture's own noise n, so that a seed keeps its picture
// as far as it can, and go from r to the next r. Their state y then becomes, at level s,
//
//   x = (2 - s) low^T(y) + s (n - low^T(low(n)))
//
// of which low(x) is (2 - s) y, as above. Higher frequencies are those of the noise alone: of the
// picture nothing is known there. Neither y0 nor its noise is needed apart, nor a velocity.
#pragma once

#include <cstdint>

#include "core/status.h"

namespace intaglio {

struct PictureRequest;
struct Sampling;

// Of a noise level of a picture, that of the half-size one: r above.
constexpr double half_size_level(double level) { return level / (2.0 - level); }

// How many first steps of a picture run at half size, from PictureRequest::progressive: "off", "0"
// or nothing; a number of steps below the picture's; a share of them below 1, such as 0.4, rounded
// to at least one step. kInvalidArgument starting with "progressive", also where a side of the
// picture is not even in tokens of `pixels_per_token`, and for one that begins from another
// picture.
Expected<int64_t> choose_half_steps(const PictureRequest& request, int64_t pixels_per_token);

// Gives the first steps the times and deltas of the half-size picture. Weights stay those of the
// steps. A pass of the mask is computed in its first step at full size: what the small run left
// has another size.
void begin_at_half_size(int64_t half_steps, Sampling& sampling);

}  // namespace intaglio
