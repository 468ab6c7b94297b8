#include <gtest/gtest.h>

#include "eval/variant.h"

namespace intaglio::cli {
namespace {

Expected<Variant> parse(const std::string& text) {
  return parse_variant("--candidate", text, "mini");
}

TEST(EvalVariant, IsAPrecisionAndKeys) {
  const auto variant = parse(
      "int8,model=/models/"
      "smooth,steps=12,guidance=7x11;3,progressive=0.4,lora=a.safetensors,lora=b.safetensors:0.5");
  ASSERT_TRUE(variant) << variant.error().message;
  EXPECT_EQ(variant->precision, "int8");
  EXPECT_EQ(variant->model.model, "/models/smooth");
  EXPECT_EQ(variant->schedule.steps, "12");
  EXPECT_EQ(variant->schedule.guidance, "7x11,3");
  EXPECT_EQ(variant->progressive, "0.4");
  EXPECT_EQ(variant->loras, (std::vector<std::string>{"a.safetensors", "b.safetensors:0.5"}));
}

TEST(EvalVariant, HasTheNameItIsGivenOrOneOfItsText) {
  EXPECT_EQ(parse("int8")->name, "int8");
  EXPECT_EQ(parse("bf16,steps=12")->name, "bf16-steps12");
  EXPECT_EQ(parse("precision=bf16,model=/a/b c")->name, "precisionbf16-model-a-b-c");
  EXPECT_EQ(parse("int8,name=smooth.1")->name, "smooth.1");
  EXPECT_EQ(parse("int8")->model.model, "mini");
}

TEST(EvalVariant, RefusesWhatIsNone) {
  const std::pair<const char*, const char*> cases[] = {
      {"int9",
       "--candidate: unknown precision \"int9\", expected fp32, bf16, int8, int8-dequant, fp8, "
       "nf4, nearest: int8"},
      {"", "--candidate: \"\" has no value, expected precision=VALUE"},
      {"int8,step=3", "--candidate: unknown key \"step\""},
      {"int8,steps", "--candidate: \"steps\" has no value, expected steps=VALUE"},
      {"int8,steps=", "--candidate: \"steps=\" has no value, expected steps=VALUE"},
      {"int8,steps=2,mu=1,steps=2", "--candidate: \"steps\" is there twice"},
      {"int8,precision=bf16", "--candidate: \"precision\" is there twice"},
      {"int8,name=../x", "--candidate: the name \"../x\" cannot be a folder's"},
      {"int8,name=.", "--candidate: the name \".\" cannot be a folder's"}};
  for (const auto& [text, message] : cases) {
    const auto refused = parse(text);
    ASSERT_FALSE(refused) << text;
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(refused.error().message.substr(0, std::string_view(message).size()), message);
  }
}

}  // namespace
}  // namespace intaglio::cli
