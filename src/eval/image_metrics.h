// How far a picture is from another, in the measures that papers print. Pictures have the same
// size.
#pragma once

#include <optional>

#include "io/png.h"

namespace intaglio {

// Of pictures that are equal, whose signal-to-noise ratio has no number: above what any two others
// of at most 1 << 26 values can have.
inline constexpr double kPsnrOfEqual = 127.0;  // dB

// Peak signal-to-noise ratio over all values, 10 log10(255^2 / mean squared error), in dB.
double psnr(const RgbImage& a, const RgbImage& b);

// Structural similarity (Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error
// visibility to structural similarity", IEEE TIP 2004): a Gaussian window of 11 x 11 with a
// deviation of 1.5 pixels, only where it lies inside the picture, K1 = 0.01, K2 = 0.03; the mean
// over places and channels. nullopt for pictures below 11 pixels.
std::optional<double> ssim(const RgbImage& a, const RgbImage& b);

// Over five scales, each the last one's means of 2 x 2 pixels, with the published weights (Wang,
// Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment", Asilomar
// 2003), channel by channel; a negative mean of a scale counts as 0. nullopt for sides below 176,
// where the window does not fit the smallest scale.
std::optional<double> ms_ssim(const RgbImage& a, const RgbImage& b);

}  // namespace intaglio
