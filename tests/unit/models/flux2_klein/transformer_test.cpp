// What the reference cases (verify) do not show of the transformer.
#include "models/flux2_klein/transformer.h"

#include <gtest/gtest.h>

#include "core/relative_error.h"
#include "unit/models/flux2_klein/tiny_transformer.h"
#include "verify/tolerances.h"

namespace intaglio::flux2_klein {
namespace {

// The pass takes what was planned, and not a byte less.
TEST(Flux2KleinTransformer, TakesTheScratchThatItPlans) {
  for (const Precision precision : {Precision::kFp32, Precision::kBf16, Precision::kInt8}) {
    const TinyTransformer tiny(tiny_weights(), {.selection = {.precision = precision}});
    tiny.velocity();
    EXPECT_EQ(tiny.peak(), tiny.planned()) << precision_name(precision);
  }
}

// Linears of a stream that stay in floats beside int8 ones, attended rows of both kinds among them.
TEST(Flux2KleinTransformer, StreamsMayDifferInPrecision) {
  for (const char* const kept : {"*.to_add_out", "*.attn.to_out.0", "single_transformer_blocks.1.*",
                                 "transformer_blocks.*"}) {
    SCOPED_TRACE(kept);
    const TinyTransformer tiny(tiny_weights(),
                               {.selection = {.precision = Precision::kInt8, .keep_bf16 = {kept}}});
    EXPECT_LE(relative_error(tiny.velocity(), tiny.reference().velocity),
              tolerances_for(Precision::kInt8).velocity);
  }
}

// The blocks of both kinds count; what those behind the first add to the image is kept.
TEST(Flux2KleinTransformer, AKeptResidualTakesTheirPlace) {
  const TinyTransformer tiny(tiny_weights(), {.selection = {.precision = Precision::kFp32}});
  ASSERT_EQ(tiny.transformer().cached_blocks(), 5);
  const std::vector<float> whole = tiny.velocity();
  std::vector<float> residual(
      static_cast<size_t>(tiny.transformer().residual_values(tiny.reference().size)));
  for (const size_t first : {size_t{1}, size_t{2}, size_t{3}, size_t{4}}) {
    SCOPED_TRACE(first);
    EXPECT_EQ(tiny.velocity({.first = first, .residual = residual.data()}), whole);
    const std::vector<float> again =
        tiny.velocity({.first = first, .residual = residual.data(), .reuse = true});
    EXPECT_LE(relative_error(again, whole), 1e-6);  // a difference and a sum are rounded
  }
}

}  // namespace
}  // namespace intaglio::flux2_klein
