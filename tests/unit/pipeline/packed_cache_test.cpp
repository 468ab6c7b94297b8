// Pictures with weights from the cache are those without it, whatever happens to its files.
#include "models/parts/packed_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>
#include <string>
#include <vector>

#include "core/files.h"
#include "core/log.h"
#include "io/packed_folder.h"
#include "models/registry.h"
#include "pipeline/pipeline.h"
#include "support/scoped_environment.h"
#include "support/source_folder.h"
#include "support/temp_folder.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t kMiB = uint64_t{1} << 20;

class PackedCacheTest : public ::testing::Test {
 protected:
  PackedCacheTest() {
    set_log_callback([this](LogLevel level, std::string_view message) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (level == LogLevel::kWarning) warnings_ += std::string(message) + "\n";
    });
    fs::copy(test::source_path("tests/formats/ideogram_fp8"), model_ / "fp8",
             fs::copy_options::recursive);
  }
  ~PackedCacheTest() override {
    set_packed_cache({});
    set_log_callback({});
  }

  void turn_on(uint64_t limit = 64 * kMiB, uint64_t least = 0) const {
    set_packed_cache({.folder = cache(), .limit = limit, .least = least, .cancel = nullptr});
  }
  fs::path cache() const { return folder_ / "packed"; }
  std::vector<PackedEntry> files() const { return list_packed(cache()).value(); }
  std::string names() const {
    std::string names;
    for (const PackedEntry& entry : files()) names += entry.name() + " ";
    return names;
  }

  // Of the FP8 files in model_, which are converted for every precision.
  std::vector<float> latents(Precision precision, std::vector<std::string> keep = {}) {
    warnings_.clear();
    const ModelPaths paths{.folder = test::source_path("tests/reference/data/tiny"),
                           .transformer = model_ / "fp8/transformer",
                           .text_encoder = model_ / "fp8/text_encoder",
                           .without_unconditional = true};
    const auto model = open_model(paths);
    if (!model) throw std::runtime_error(model.error().message);
    auto pipeline = Pipeline::open(
        *model,
        {.selection = {.precision = precision, .keep_bf16 = std::move(keep)}, .threads = 2});
    if (!pipeline) throw std::runtime_error(pipeline.error().message);
    PictureRequest request;
    request.prompt = "a lighthouse at dusk";
    request.height = request.width = 64;
    request.steps = 1;
    request.guidance = {1.0f};
    const auto picture = (*pipeline)->generate(request, {}, nullptr);
    if (!picture) throw std::runtime_error(picture.error().message);
    pipeline->reset();
    finish_packed_cache();
    return picture->latents;
  }
  std::vector<float> latents_without(Precision precision, std::vector<std::string> keep = {}) {
    const PackedCacheSettings settings = packed_cache();
    set_packed_cache({});
    std::vector<float> values = latents(precision, std::move(keep));
    set_packed_cache(settings);
    return values;
  }

  TempFolder folder_, model_;
  std::mutex mutex_;
  std::string warnings_;
};

TEST_F(PackedCacheTest, DrawsTheSameBitForBitAtEveryPrecision) {
  turn_on();
  size_t before = 0;
  for (const Precision precision :
       {Precision::kFp32, Precision::kBf16, Precision::kInt8, Precision::kInt8Dequant}) {
    const std::vector<float> without = latents_without(precision);
    EXPECT_EQ(latents(precision), without) << precision_name(precision);
    const std::string written = names();
    EXPECT_GT(files().size(), before) << precision_name(precision);
    before = files().size();
    EXPECT_EQ(latents(precision), without) << precision_name(precision);
    EXPECT_EQ(files().size(), before);
    EXPECT_EQ(names().size(), written.size());
    EXPECT_THAT(warnings_, IsEmpty());
  }
  for (const PackedEntry& entry : files()) {
    EXPECT_FALSE(entry.in_use);
    EXPECT_THAT(entry.problem, IsEmpty());
    EXPECT_THAT(entry.about.at("source"), HasSubstr("fp8"));
    EXPECT_THAT(entry.about.at("device"), HasSubstr("cpu"));
  }
}

// Whatever is damaged is told of, not used, and whole again afterwards.
TEST_F(PackedCacheTest, ADamagedFileIsWrittenAnew) {
  turn_on();
  const std::vector<float> without = latents_without(Precision::kInt8);
  latents(Precision::kInt8);
  const std::vector<PackedEntry> whole = files();
  ASSERT_EQ(whole.size(), 2u);  // of the text encoder and of the transformer
  const auto damage = [&](const std::function<void(std::string&)>& change) {
    for (const PackedEntry& entry : whole) {
      std::string bytes = read_file(entry.file).value();
      change(bytes);
      fs::remove(entry.file);
      ASSERT_TRUE(write_file_atomic(entry.file, bytes));
    }
    EXPECT_EQ(latents(Precision::kInt8), without);
    EXPECT_THAT(warnings_, HasSubstr("it is not used and written anew"));
    ASSERT_EQ(files().size(), 2u);
    for (const PackedEntry& entry : files()) {
      const auto file = PackedFile::open(entry.file);
      ASSERT_TRUE(file) << file.error().message;
      EXPECT_TRUE((*file)->check({.threads = 1}));
    }
  };
  damage([](std::string& bytes) { bytes[100] = static_cast<char>(bytes[100] ^ 1); });
  damage([](std::string& bytes) { bytes.resize(bytes.size() - 1); });
  damage([](std::string& bytes) { bytes.resize(bytes.size() / 2); });
  damage([](std::string& bytes) { bytes.clear(); });
  damage([](std::string& bytes) { bytes.assign(5000, 'x'); });
}

// A whole file under another's name.
TEST_F(PackedCacheTest, AFileOfAnotherKeyIsNotUsed) {
  turn_on();
  latents(Precision::kInt8);
  const std::vector<PackedEntry> first = files();
  ASSERT_EQ(first.size(), 2u);
  const std::string a = read_file(first[0].file).value(), b = read_file(first[1].file).value();
  for (const PackedEntry& entry : first) fs::remove(entry.file);
  ASSERT_TRUE(write_file_atomic(first[0].file, b));
  ASSERT_TRUE(write_file_atomic(first[1].file, a));
  EXPECT_EQ(latents(Precision::kInt8), latents_without(Precision::kInt8));
  latents(Precision::kInt8);
  EXPECT_THAT(warnings_, IsEmpty());  // both are there again
}

TEST_F(PackedCacheTest, ChangedWeightsHaveAnotherFile) {
  turn_on();
  const std::vector<float> old = latents(Precision::kInt8);
  ASSERT_EQ(files().size(), 2u);
  // The same size, another number: all scales of a tensor are its neighbour's.
  const fs::path shard =
      model_ / "fp8/transformer/diffusion_pytorch_model-00001-of-00002.safetensors";
  std::string bytes = read_file(shard).value();
  for (size_t i = bytes.size() - 4096; i < bytes.size(); ++i) bytes[i] = bytes[i - 64];
  ASSERT_TRUE(write_file_atomic(shard, bytes));
  const std::vector<float> changed = latents_without(Precision::kInt8);
  EXPECT_NE(changed, old);
  EXPECT_EQ(latents(Precision::kInt8), changed);
  EXPECT_EQ(files().size(), 3u);
  EXPECT_EQ(latents(Precision::kInt8), changed);
}

// What decides over prepared weights is part of the name.
TEST_F(PackedCacheTest, LayersAndProcessorsHaveFilesOfTheirOwn) {
  turn_on();
  latents(Precision::kInt8);
  ASSERT_EQ(files().size(), 2u);
  const std::vector<std::string> keep{"layers.0.*"};
  EXPECT_EQ(latents(Precision::kInt8, keep), latents_without(Precision::kInt8, keep));
  EXPECT_EQ(files().size(), 3u);  // text encoders keep no layers
  EXPECT_EQ(latents(Precision::kInt8, keep), latents_without(Precision::kInt8, keep));
  if (host_cpu_features().isa == CpuIsa::kRef) GTEST_SKIP() << "no other instruction set";
  const test::ScopedEnvironment isa("INTAGLIO_CPU_ISA", "ref");
  EXPECT_EQ(latents(Precision::kInt8), latents_without(Precision::kInt8));
  EXPECT_EQ(files().size(), 5u);
  EXPECT_EQ(latents(Precision::kInt8), latents_without(Precision::kInt8));
}

TEST_F(PackedCacheTest, KeepsNothingWhereItMayNot) {
  const std::vector<float> without = latents_without(Precision::kInt8);
  EXPECT_EQ(latents(Precision::kInt8), without);  // off
  EXPECT_TRUE(files().empty());
  turn_on(64 * kMiB, 32 * kMiB);
  EXPECT_EQ(latents(Precision::kInt8), without);
  EXPECT_TRUE(files().empty());
  turn_on(1000);
  EXPECT_EQ(latents(Precision::kInt8), without);
  EXPECT_TRUE(files().empty());
}

// A folder that cannot be made stands for a disk that takes nothing.
TEST_F(PackedCacheTest, NoPictureFailsForIt) {
  const std::vector<float> without = latents_without(Precision::kInt8);
  ASSERT_TRUE(write_file_atomic(folder_ / "file", "x"));
  set_packed_cache(
      {.folder = folder_ / "file" / "packed", .limit = 64 * kMiB, .least = 0, .cancel = nullptr});
  EXPECT_EQ(latents(Precision::kInt8), without);
  EXPECT_THAT(warnings_, HasSubstr("packed weights are not kept"));
}

TEST_F(PackedCacheTest, AStopEndsWriting) {
  std::atomic<bool> cancel{true};
  set_packed_cache({.folder = cache(), .limit = 64 * kMiB, .least = 0, .cancel = &cancel});
  EXPECT_EQ(latents(Precision::kInt8), latents_without(Precision::kInt8));
  EXPECT_THAT(warnings_, IsEmpty());
}

}  // namespace
}  // namespace intaglio
