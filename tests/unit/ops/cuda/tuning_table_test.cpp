#include "ops/cuda/tuning/tuning_table.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "gpus.h"
#include "ops/cuda/tuning/shape_bucket.h"
#include "ops/cuda/tuning/tuning_data.h"

namespace intaglio::cuda {
namespace {

TuningEntry entry_of(int64_t m, const std::string& config, double ms = 0.75) {
  return {{m, 4608, 4608}, {S8GemmFamily::kSm80, config, 12, 1}, ms};
}

TuningTable small_table() {
  TuningTable table;
  table.key = tuning_key(rtx_3090());
  table.set(entry_of(4608, "128x256x64", 0.8125));
  table.set(entry_of(512, "128x128x64", 1));
  table.set({{64, 24576, 4608, GemmEpilogue::kSwiglu, DType::kF16},
             {S8GemmFamily::kSmallM, "64x32", 1, 4},
             0.1234567890123});
  return table;
}

TEST(TuningTable, FindsByBucket) {
  TuningTable table;
  table.set(entry_of(4100, "128x256x64"));
  ASSERT_NE(table.find({4608, 4608, 4608}), nullptr);
  EXPECT_EQ(table.find({4097, 4608, 4608})->shape.m, 4608);
  EXPECT_EQ(table.find({4096, 4608, 4608}), nullptr);
  EXPECT_EQ(table.find({4608, 4608, 4608, GemmEpilogue::kSwiglu}), nullptr);
  EXPECT_EQ(table.find({4608, 4608, 4608, GemmEpilogue::kNone, DType::kF32}), nullptr);
  EXPECT_EQ(table.find({4608, 4609, 4608}), nullptr);
  table.set(entry_of(4200, "64x64x64"));
  EXPECT_EQ(table.size(), 1u);
  EXPECT_EQ(table.find({4608, 4608, 4608})->choice.config, "64x64x64");
}

TEST(TuningTable, MergeTakesTheNewer) {
  TuningTable old = small_table(), newer;
  newer.set(entry_of(512, "64x64x64"));
  newer.set(entry_of(1024, "64x64x64"));
  old.merge(newer);
  EXPECT_EQ(old.size(), 4u);
  EXPECT_EQ(old.find({512, 4608, 4608})->choice.config, "64x64x64");
  EXPECT_EQ(old.find({4608, 4608, 4608})->choice.config, "128x256x64");
}

TEST(TuningTable, TextReadsBackTheSame) {
  const TuningTable table = small_table();
  const std::string text = tuning_table_text(table);
  const Expected<ParsedTuningTable> back = parse_tuning_table(text, "t");
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_TRUE(back->skipped.empty());
  EXPECT_EQ(back->table.key, table.key);
  ASSERT_EQ(back->table.size(), 3u);
  EXPECT_EQ(tuning_table_text(back->table), text);
  const TuningEntry* entry =
      back->table.find({64, 24576, 4608, GemmEpilogue::kSwiglu, DType::kF16});
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->median_ms, 0.1234567890123);
  EXPECT_EQ(entry->choice, (S8GemmChoice{S8GemmFamily::kSmallM, "64x32", 1, 4}));
  TuningTable empty;
  empty.key = table.key;
  EXPECT_TRUE(parse_tuning_table(tuning_table_text(empty), "t"));
}

TEST(TuningTable, ForeignFilesAreRefusedByName) {
  const nlohmann::json good = nlohmann::json::parse(tuning_table_text(small_table()));
  const auto message = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json bad = good;
    bad[key] = value;
    const Expected<ParsedTuningTable> parsed = parse_tuning_table(bad.dump(), "f.json");
    return parsed ? std::string("parsed") : parsed.error().message;
  };
  EXPECT_NE(message("format", "other").find("f.json: format"), std::string::npos);
  EXPECT_NE(message("version", 2).find("f.json: version"), std::string::npos);
  EXPECT_NE(message("card", "").find("card"), std::string::npos);
  EXPECT_NE(message("card", "a\nb").find("card"), std::string::npos);
  EXPECT_NE(message("compute_capability", "86").find("compute_capability"), std::string::npos);
  EXPECT_NE(message("entries", 3).find("entries"), std::string::npos);
  EXPECT_FALSE(parse_tuning_table("", "f"));
  EXPECT_FALSE(parse_tuning_table("[]", "f"));
  EXPECT_FALSE(parse_tuning_table(std::string(1000, '['), "f"));
}

TEST(TuningTable, WrongEntriesAreSkippedAndNamed) {
  const std::pair<const char*, nlohmann::json> kChanges[] = {{"m", 4600},
                                                             {"m", -1},
                                                             {"n", 0},
                                                             {"k", 130001},
                                                             {"fusion", "gelu"},
                                                             {"out", "f64"},
                                                             {"family", "x"},
                                                             {"config", ""},
                                                             {"config", "a\u0001"},
                                                             {"band", 0},
                                                             {"split_k", 65},
                                                             {"median_ms", 0},
                                                             {"median_ms", -1.5},
                                                             {"band", 1e10},
                                                             {"config", std::string(41, 'a')},
                                                             {"median_ms", nullptr},
                                                             {"k", "4608"}};
  for (const auto& [key, value] : kChanges) {
    nlohmann::json bad = nlohmann::json::parse(tuning_table_text(small_table()));
    bad["entries"][1][key] = value;
    const Expected<ParsedTuningTable> parsed = parse_tuning_table(bad.dump(), "f.json");
    ASSERT_TRUE(parsed) << key;
    EXPECT_EQ(parsed->table.size(), 2u) << key << " " << value;
    ASSERT_EQ(parsed->skipped.size(), 1u) << key;
    EXPECT_NE(parsed->skipped[0].find("f.json: entries[1]: "), std::string::npos);
    EXPECT_NE(parsed->skipped[0].find(key), std::string::npos) << parsed->skipped[0];
  }
  nlohmann::json flood = nlohmann::json::parse(tuning_table_text(small_table()));
  for (int i = 0; i < 1000; ++i) flood["entries"].push_back(i);
  const Expected<ParsedTuningTable> parsed = parse_tuning_table(flood.dump(), "f");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->table.size(), 3u);
  EXPECT_LT(parsed->skipped.size(), 30u);
}

TEST(TuningTable, DamagedTextNeverCrashes) {
  const std::string good = tuning_table_text(small_table());
  std::mt19937 random(7);
  int readable = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string bad = good;
    const size_t edits = 1 + random() % 4;
    for (size_t edit = 0; edit < edits; ++edit) {
      const size_t at = random() % bad.size();
      switch (random() % 4) {
        case 0:
          bad[at] = static_cast<char>(random());
          break;
        case 1:
          bad.erase(at, random() % 20);
          break;
        case 2:
          bad.insert(at, bad.substr(random() % bad.size(), random() % 60));
          break;
        default:
          bad[at] = "0123456789-.eE{}[]\",:"[random() % 21];
      }
      if (bad.empty()) bad = "x";
    }
    const Expected<ParsedTuningTable> parsed = parse_tuning_table(bad, "bad");
    if (!parsed) continue;
    ++readable;
    for (const TuningEntry& entry : parsed->table.entries()) {
      ASSERT_EQ(bucket_m(entry.shape.m), entry.shape.m);
      ASSERT_GE(entry.choice.band, 1);
      ASSERT_GE(entry.choice.split_k, 1);
      ASSERT_GT(entry.median_ms, 0);
    }
    ASSERT_TRUE(parse_tuning_table(tuning_table_text(parsed->table), "again"));
  }
  EXPECT_GT(readable, 100);
}

TEST(TuningTable, ShippedTablesAreGood) {
  int shipped = 0;
  for (const EmbeddedFile& file : tuning_data_files()) {
    if (!file.name.starts_with("shipped_")) continue;
    ++shipped;
    const Expected<ParsedTuningTable> parsed =
        parse_tuning_table(file.text, std::string(file.name));
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_TRUE(parsed->skipped.empty());
    EXPECT_EQ(parsed->table.key.kernel_version, kS8GemmKernelVersion)
        << file.name << " is of older kernels: measure it again or delete it";
  }
  EXPECT_GE(shipped, 1);
}

TEST(TuningTable, KeyOfADeviceFitsItsFile) {
  CudaDevice device = rtx_3090();
  EXPECT_EQ(tuning_key(device), (TuningKey{"NVIDIA GeForce RTX 3090", 86, 12040, 1}));
  EXPECT_EQ(describe(tuning_key(device)),
            "NVIDIA GeForce RTX 3090, compute capability 8.6, driver 12.4, kernels 1");
  device.name = std::string(500, 'x') + "\n\xff";
  TuningTable table;
  table.key = tuning_key(device);
  ASSERT_TRUE(parse_tuning_table(tuning_table_text(table), "t"));
  device.name = "\xff\n";
  table.key = tuning_key(device);
  EXPECT_EQ(parse_tuning_table(tuning_table_text(table), "t")->table.key, table.key);
}

}  // namespace
}  // namespace intaglio::cuda
