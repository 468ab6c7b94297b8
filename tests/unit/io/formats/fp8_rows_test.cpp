// FP8 linears as bytes and scales are the floats that their decoder makes, bit for bit.
#include "io/formats/fp8_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <span>
#include <utility>

#include "io/formats/fp8.h"
#include "io/safetensors.h"
#include "ops/quantize.h"
#include "support/source_folder.h"
#include "support/temp_folder.h"

namespace intaglio {
namespace {

TEST(E4m3, EveryByteIsThatOfTheTable) {
  for (int byte = 0; byte < 256; ++byte) {
    const auto bits = static_cast<uint8_t>(byte);
    const float expected = e4m3_values()[static_cast<size_t>(byte)];
    float found = 0.0f;
    convert_to_f32(&bits, DType::kF8E4M3, &found, 1);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(found)) << byte;
    } else {
      EXPECT_EQ(std::memcmp(&found, &expected, sizeof(found)), 0) << byte;
    }
  }
}

std::vector<float> rows_of(const StoredLinear& linear) {
  std::vector<float> rows(static_cast<size_t>(linear.n() * linear.k()));
  for (int64_t r = 0; r < linear.n(); ++r) dequantize_row(linear, r, rows.data() + r * linear.k());
  return rows;
}

TEST(ReadE4m3Rows, AreTheDecodersFloats) {
  const Context context{.threads = 2};
  const auto checkpoint =
      Checkpoint::open(test::source_path("tests/formats/ideogram_fp8/transformer")).value();
  const auto stored = StoredWeights::open(checkpoint).value();
  int found = 0;
  for (const auto& [name, entry] : stored->linears()) {
    const LinearPart whole{0, entry.n, entry.k};
    const auto bytes = read_e4m3_rows(entry, context, whole);
    ASSERT_TRUE(bytes) << bytes.error().message;
    ASSERT_EQ(bytes->has_value(), entry.decoder != nullptr) << name;
    if (!bytes->has_value()) continue;
    ++found;
    EXPECT_EQ((*bytes)->linear.values.dtype, DType::kF8E4M3);
    EXPECT_TRUE((*bytes)->linear.decoded);
    const auto floats = stored->linear(name, &context).value();
    EXPECT_EQ(rows_of((*bytes)->linear), rows_of(floats.linear)) << name;
    const LinearPart some{entry.n / 3, entry.n / 3, entry.k};
    const auto part = read_e4m3_rows(entry, context, some).value();
    const auto part_floats = stored->linear(name, &context, some).value();
    EXPECT_EQ(rows_of(part->linear), rows_of(part_floats.linear)) << name;
    // Columns that pad it are the decoder's affair.
    EXPECT_FALSE(read_e4m3_rows(entry, context, {0, entry.n, entry.k - 1})->has_value());
  }
  EXPECT_GT(found, 10);
}

// By whoever quantizes them: the numbers, and the error, of rows that lie in memory.
TEST(DeferE4m3Rows, GiveTheSameInt8Rows) {
  const Context context{.threads = 2};
  const auto checkpoint =
      Checkpoint::open(test::source_path("tests/formats/ideogram_fp8/transformer")).value();
  const auto stored = StoredWeights::open(checkpoint).value();
  int found = 0;
  for (const auto& [name, entry] : stored->linears()) {
    if (entry.decoder == nullptr) continue;
    SCOPED_TRACE(name);
    ++found;
    const LinearPart some{entry.n / 3, entry.n - entry.n / 3, entry.k};
    const auto deferred = defer_e4m3_rows("x", entry, some).value();
    const auto read = read_e4m3_rows(entry, context, some).value();
    ASSERT_TRUE(deferred && read);
    EXPECT_EQ(deferred->linear.values.data, nullptr);
    const auto int8 = [&](const StoredLinear& linear) {
      const StoredLinear part = linear.rows(1, some.count - 1);
      std::vector<int8_t> q(static_cast<size_t>(part.n() * part.k()));
      std::vector<float> scales(static_cast<size_t>(part.n()));
      EXPECT_TRUE(quantize_weight_rows(context, part, q.data(), scales.data()));
      return std::pair(q, scales);
    };
    EXPECT_EQ(int8(deferred->linear), int8(read->linear));
    AlignedBuffer memory;
    EXPECT_EQ(rows_of(deferred->linear.read(0, some.count, memory).value()), rows_of(read->linear));
    EXPECT_FALSE(defer_e4m3_rows("x", entry, {0, entry.n, entry.k - 1})->has_value());
  }
  EXPECT_GT(found, 10);
}

TEST(DeferE4m3Rows, NameTheRowThatIsNotFinite) {
  const TempFolder folder;
  std::vector<uint8_t> w(6 * 32, 0x38);
  w[70] = 0xFF;
  const TensorEntry entry{"a.weight", {w.data(), DType::kF8E4M3, Shape{6, 32}}};
  EXPECT_TRUE(write_safetensors(folder / "model.safetensors", std::span(&entry, 1)));
  const auto stored = StoredWeights::open(Checkpoint::open(folder.path()).value()).value();
  const auto deferred = defer_e4m3_rows("x", *stored->find_linear("a"), {1, 5, 32}).value();
  ASSERT_TRUE(deferred);
  std::vector<int8_t> q(5 * 32);
  std::vector<float> scales(5);
  const Status status =
      quantize_weight_rows({.threads = 2}, deferred->linear, q.data(), scales.data());
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "x: a.weight: row 2 holds an Inf or a NaN");
}

// Whatever is not finite is left to the reader that names the row.
TEST(ReadE4m3Rows, LeaveWhatIsNotFinite) {
  const Context context{.threads = 2};
  const auto reads = [&](uint8_t byte, float scale) {
    const TempFolder folder;
    std::vector<uint8_t> w(6 * 32, 0x38);
    w[70] = byte;
    std::vector<float> scales(6, 0.5f);
    scales[2] = scale;
    const TensorEntry entries[] = {{"a.weight", {w.data(), DType::kF8E4M3, Shape{6, 32}}},
                                   {"a.weight_scale", {scales.data(), DType::kF32, Shape{6}}}};
    EXPECT_TRUE(write_safetensors(folder / "model.safetensors", entries));
    const auto stored = StoredWeights::open(Checkpoint::open(folder.path()).value()).value();
    return read_e4m3_rows(*stored->find_linear("a"), context, {0, 6, 32}).value().has_value();
  };
  EXPECT_TRUE(reads(0x7E, 1.0f));
  EXPECT_FALSE(reads(0x7F, 1.0f));
  EXPECT_FALSE(reads(0xFF, 1.0f));
  EXPECT_FALSE(reads(0x38, std::nanf("")));
  EXPECT_FALSE(reads(0x38, 1e38f));
}

}  // namespace
}  // namespace intaglio
