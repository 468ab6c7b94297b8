// Files that are wrong in one way each, or look so: what each of tests/formats/bad gets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "unit/io/formats/format_files.h"

namespace intaglio {
namespace {

using testing::HasSubstr;

// Opens the checkpoint as a program does and reads every linear; "" if all is well.
std::string problem_of(const std::filesystem::path& path) {
  const auto checkpoint = Checkpoint::open(path);
  if (!checkpoint) return checkpoint.error().message;
  const auto weights = StoredWeights::open(*checkpoint);
  if (!weights) return weights.error().message;
  for (const auto& [name, entry] : (*weights)->linears()) {
    const auto linear = (*weights)->linear(name);
    if (!linear) return linear.error().message;
  }
  return "";
}

// A part of each message, after the file's name; "": the file is read.
const std::map<std::string, std::string> kBadFiles{
    {"convrot_group_0.safetensors",
     "comfy_quant: convrot_groupsize: expected an integer in [1, 2147483647], found 0"},
    {"convrot_group_1024_over_k.safetensors",
     "layers.0.attention.o: convrot_groupsize 1024 of a weight [6, 32]: columns are not a "
     "multiple"},
    {"convrot_group_2.safetensors",
     "layers.0.attention.o: convrot_groupsize 2 of a weight [6, 32]: rotation group is not 16, 64"},
    {"convrot_group_2p40.safetensors",
     "convrot_groupsize: expected an integer in [1, 2147483647], found 1099"},
    {"convrot_group_48.safetensors",
     "convrot_groupsize 48 of a weight [6, 32]: rotation group is not 16, 64"},
    {"convrot_group_minus4.safetensors",
     "convrot_groupsize: expected an integer in [1, 2147483647], found -4"},
    {"convrot_group_string.safetensors",
     "convrot_groupsize: expected an integer in [1, 2147483647], found \"16\""},
    {"deep_json.safetensors", "tensor \"x\": expected an object"},
    {"deep_json_objects.safetensors", "tensor \"a\": has no dtype"},
    {"descriptor_bomb.safetensors",
     "layers.0.attention.o.comfy_quant: JSON nested more than 100 deep"},
    {"descriptor_float.safetensors", "comfy_quant: found F32"},
    {"descriptor_no_format.safetensors", ""},  // {"convrot": false}: plain int8
    {"descriptor_not_json.safetensors",
     "layers.0.attention.o.comfy_quant: not valid JSON at line 1"},
    {"descriptor_orphan.safetensors", "layers.9.nowhere.weight: missing, expected I8 [n, k]"},
    {"descriptor_unknown_format.safetensors",
     "comfy_quant: format: found \"int3_magic\", supported is \"int8_tensorwise\""},
    {"duplicate_key.safetensors", "layers.0.attention.o.weight"},
    {"empty.safetensors", "empty file"},
    {"float_offset.safetensors", "layers.0.attention.o.weight"},
    {"good.safetensors", ""},
    {"header_2p60.safetensors", "header of 1152921504606846976 bytes"},
    {"header_4gb.safetensors", "header of"},
    {"header_array.safetensors", "header does not start with '{'"},
    {"header_descriptor_conflict.safetensors",
     "_quantization_metadata: layers.0.attention.o says otherwise than "
     "layers.0.attention.o.comfy_quant"},
    {"header_descriptor_not_json.safetensors", "_quantization_metadata: not valid JSON at line 1"},
    {"header_minus1.safetensors", "header of 18446744073709551615 bytes"},
    {"header_nul.safetensors", "the header holds a NUL byte"},
    {"hole.safetensors", "layers.0.attention.o.weight"},
    {"i8_without_anything.safetensors",
     "layers.0.attention.o.weight_scale: missing, the weight is I8"},
    {"metadata_not_strings.safetensors", "metadata"},
    {"missing_scale.safetensors", "layers.0.attention.o.weight_scale: missing, the weight is I8"},
    {"name_escape.safetensors", ""},  // unknown names, never printed raw
    {"name_long.safetensors", ""},
    {"name_not_utf8.safetensors", "header"},
    {"name_nul.safetensors", "its name holds a NUL character"},
    {"name_surrogate.safetensors", "header"},
    {"negative_offset.safetensors", "layers.0.attention.o.weight"},
    {"not_json.safetensors", "header"},
    {"offset_overflow.safetensors", "layers.0.attention.o.weight"},
    {"overlap.safetensors", "layers.0.attention.o.weight"},
    {"past_end.safetensors", "layers.0.attention.o.weight"},
    {"reversed.safetensors", "layers.0.attention.o.weight"},
    {"scale_denormal.safetensors", ""},
    {"scale_i8.safetensors", "weight_scale: found I8 [6, 1], expected F32 [], [1], [6] or [6, 1]"},
    {"scale_inf.safetensors",
     "weight_scale: scale 4 is inf, expected a finite number, not negative"},
    {"scale_minus_inf.safetensors",
     "weight_scale: scale 4 is -inf, expected a finite number, not negative"},
    {"scale_nan.safetensors",
     "weight_scale: scale 4 is nan, expected a finite number, not negative"},
    {"scale_negative.safetensors", "weight_scale: scale 0 is -"},
    {"scale_short.safetensors",
     "weight_scale: found F32 [5, 1], expected F32 [], [1], [6] or [6, 1]"},
    {"scale_transposed.safetensors",
     "weight_scale: found F32 [1, 32], expected F32 [], [1], [6] or [6, 1]"},
    {"scale_zero.safetensors", ""},
    {"seven_bytes.safetensors", "7 bytes"},
    {"shape_9d.safetensors", "layers.0.attention.o.weight: found I8 [1, 1"},
    {"shape_mismatch.safetensors", "layers.0.attention.o.weight"},
    {"shape_negative.safetensors", "layers.0.attention.o.weight"},
    {"shape_product_overflow.safetensors", "layers.0.attention.o.weight"},
    {"shape_string.safetensors", "layers.0.attention.o.weight"},
    {"shape_zero.safetensors", "layers.0.attention.o.weight"},
    {"trailing_bytes.safetensors", "bytes"},
    {"truncated_data.safetensors", "bytes"},
    {"truncated_header.safetensors", "truncated?"},
    {"unknown_dtype.safetensors", "layers.0.attention.o.weight"},
    {"weight_nan.safetensors", "layers.0.attention.o.weight: holds an Inf or a NaN"},
    {"wrong_dtype.safetensors",
     "layers.0.attention.o.weight: found F32 [6, 32], expected I8 [n, k]"},
    {"fp8_nan.safetensors", "layers.0.attention.o.weight: row 2 holds an Inf or a NaN"},
    {"nf4_good.safetensors", ""},
    {"nf4_blocksize_0.safetensors", "blocksize: expected an integer in [1, "},
    {"nf4_shape_large.safetensors", "layers.0.attention.o.weight: found U8 [96, 1], expected U8 ["},
    {"nf4_shape_overflow.safetensors", "bitsandbytes__nf4: shape"},
    {"nf4_absmax_short.safetensors", "weight.absmax: found F32 [2], expected F32 [3]"},
    {"nf4_map_15.safetensors", "weight.quant_map: found F32 [15], expected F32 [16]"},
    {"nf4_nested_no_offset.safetensors", "nested_blocksize: missing, expected an integer"},
    {"nf4_no_absmax.safetensors", "weight.absmax: missing, expected F32 [3]"},
    {"index_missing/model.safetensors.index.json", "model-00001-of-00001.safetensors"},
    {"index_escape/model.safetensors.index.json",
     "weight_map.layers.0.attention.o.weight: expected a file name inside the folder"},
    {"index_absolute/model.safetensors.index.json",
     "weight_map.layers.0.attention.o.weight: expected a file name inside the folder"},
    {"index_lies/model.safetensors.index.json", "\"layers.0.absent\" is not in a.safetensors"},
    {"index_lies/a.safetensors", ""}};

// Other readers' files: adapters and GGUF.
bool is_here(const std::string& name) {
  return !name.starts_with("lora_") && !name.ends_with(".gguf");
}

TEST(BadFiles, AreRefusedInWordsOrRead) {
  for (const auto& [name, words] : kBadFiles) {
    SCOPED_TRACE(name);
    const std::string problem = problem_of(format_path("bad/" + name));
    EXPECT_EQ(problem.empty(), words.empty()) << problem;
    if (problem.empty()) continue;
    const std::string folder = name.substr(0, name.find('/'));
    EXPECT_THAT(problem, HasSubstr("tests/formats/bad/" + folder));
    EXPECT_THAT(problem, HasSubstr(words));
    for (const char c : problem) ASSERT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 32);
    EXPECT_LT(problem.size(), 2000u);
  }
}

// The list that came with the files: every one is in the table above, and what must be read is.
TEST(BadFiles, GetWhatTheirListSays) {
  const auto list = nlohmann::json::parse(text_at(format_path("bad/files.json")));
  std::set<std::string> listed;
  for (const auto& [name, file] : list.items()) {
    if (!is_here(name)) continue;
    listed.insert(name);
    const auto found = kBadFiles.find(name);
    ASSERT_NE(found, kBadFiles.end()) << name;
    const std::string must = file.at("must");
    if (must.starts_with("loads") && must.find(", or ") == std::string::npos)
      EXPECT_EQ(found->second, "") << name;
    if (must.starts_with("a clear error") || must == "an error")
      EXPECT_NE(found->second, "") << name;
  }
  EXPECT_EQ(listed.size(), kBadFiles.size());
}

}  // namespace
}  // namespace intaglio
