#include "models/parts/selection.h"

#include <gtest/gtest.h>

#include <tuple>

namespace intaglio {
namespace {

TEST(NameMatches, StarsStandForAnyRun) {
  EXPECT_TRUE(name_matches("layers.*.attention.to_q", "layers.12.attention.to_q"));
  EXPECT_FALSE(name_matches("layers.*.attention.to_q", "layers.12.attention.to_q2"));
  EXPECT_FALSE(name_matches("layers.*.attention.to_q", "xlayers.12.attention.to_q"));
  EXPECT_TRUE(name_matches("*", ""));
  EXPECT_TRUE(name_matches("a*b*c", "a-b-b-c"));
  EXPECT_FALSE(name_matches("a*b*c", "a-c-b"));
  EXPECT_TRUE(name_matches("", ""));
  EXPECT_FALSE(name_matches("", "a"));
}

TEST(LayerSelection, KeepListWinsAndFusedLinearsTakeTheMostPrecise) {
  const LayerSelection selection{
      .precision = Precision::kInt8,
      .keep_bf16 = {"layers.*.feed_forward.w2", "layers.0.attention.to_k"}};
  EXPECT_EQ(selection.kind_of({"layers.7.feed_forward.w2"}, true), LinearKind::kBF16);
  EXPECT_EQ(selection.kind_of({"layers.7.feed_forward.w1"}, true), LinearKind::kS8);
  EXPECT_EQ(selection.kind_of({"layers.7.feed_forward.w1"}, false), LinearKind::kBF16);
  EXPECT_EQ(selection.kind_of({"layers.0.attention.to_q", "layers.0.attention.to_k"}, true),
            LinearKind::kBF16);
}

TEST(LayerSelection, PrecisionDecidesTheKind) {
  for (const auto& [precision, quantized, other] :
       {std::tuple{Precision::kFp32, LinearKind::kF32, LinearKind::kF32},
        {Precision::kBf16, LinearKind::kBF16, LinearKind::kBF16},
        {Precision::kInt8Dequant, LinearKind::kS8Dequant, LinearKind::kBF16},
        {Precision::kFp8, LinearKind::kF8, LinearKind::kBF16},
        {Precision::kNf4, LinearKind::kNf4, LinearKind::kBF16}}) {
    const LayerSelection selection{.precision = precision, .keep_bf16 = {"layers.1.*"}};
    EXPECT_EQ(selection.kind_of({"layers.0.feed_forward.w2"}, true), quantized);
    EXPECT_EQ(selection.kind_of({"layers.1.feed_forward.w2"}, true), other);
    EXPECT_EQ(selection.kind_of({"adaln_proj"}, false), other);
    EXPECT_EQ(selection.activation_dtype(),
              precision == Precision::kFp32 ? DType::kF32 : DType::kBF16);
  }
}

// Reason of the refusal of a device, or "" if it is taken.
std::string refusal_of(Precision precision, const CudaDevice* gpu) {
  Context context;
  context.gpu = gpu;
  const Status status =
      LayerSelection{.precision = precision, .keep_bf16 = {}}.check_device(context);
  if (status) return "";
  EXPECT_EQ(status.error().code, ErrorCode::kUnsupported);
  return status.error().message;
}

TEST(LayerSelection, Fp8AndNf4NeedTheirDevices) {
  CudaDevice ampere, ada;
  ampere.name = "NVIDIA GeForce RTX 3090";
  ampere.compute_capability = 86;
  ada.compute_capability = 89;
  EXPECT_EQ(refusal_of(Precision::kFp8, nullptr),
            "fp8 needs a GPU of compute capability 8.9 or newer; the device is the CPU");
  EXPECT_EQ(refusal_of(Precision::kFp8, &ampere),
            "fp8 needs a GPU of compute capability 8.9 or newer; the device is NVIDIA GeForce RTX "
            "3090 of compute capability 8.6");
  EXPECT_EQ(refusal_of(Precision::kFp8, &ada), "");
  EXPECT_EQ(refusal_of(Precision::kNf4, nullptr), "nf4 needs a GPU; the device is the CPU");
  EXPECT_EQ(refusal_of(Precision::kNf4, &ampere), "");
  for (Precision p :
       {Precision::kFp32, Precision::kBf16, Precision::kInt8, Precision::kInt8Dequant})
    EXPECT_EQ(refusal_of(p, nullptr), "");
}

TEST(Precision, NamesRoundTrip) {
  for (Precision p : {Precision::kFp32, Precision::kBf16, Precision::kInt8, Precision::kInt8Dequant,
                      Precision::kFp8, Precision::kNf4}) {
    EXPECT_EQ(precision_from_name(precision_name(p)), p);
  }
  EXPECT_EQ(precision_name(Precision::kFp8), "fp8");
  EXPECT_EQ(precision_name(Precision::kNf4), "nf4");
  EXPECT_EQ(precision_names().size(), 6u);
  EXPECT_EQ(precision_from_name("int4"), std::nullopt);
}

TEST(LayerSelection, AKeepPatternMustNameAQuantizedLinear) {
  LayerSelection selection{.precision = Precision::kInt8, .keep_bf16 = {"layers.*.w2"}};
  const std::vector<std::string> names{"layers.0.feed_forward.w2"};
  EXPECT_TRUE(selection.check_keep_bf16(names));
  selection.keep_bf16.push_back("input_proj");  // exists, but is bf16 anyway
  const Status status = selection.check_keep_bf16(names);
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("\"input_proj\""), std::string::npos);
}

}  // namespace
}  // namespace intaglio
