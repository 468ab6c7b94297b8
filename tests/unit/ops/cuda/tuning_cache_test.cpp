#include "ops/cuda/tuning/tuning_cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>

#include "core/files.h"
#include "gpus.h"
#include "ops/cuda/tuning/s8_gemm_heuristic.h"
#include "support/scoped_environment.h"
#include "support/temp_folder.h"

namespace intaglio::cuda {
namespace {

namespace fs = std::filesystem;
using test::ScopedEnvironment;

const TuningKey kKey = tuning_key(rtx_3090());

TuningEntry entry_of(int64_t n, const std::string& config = "sm80_128x128x64_3") {
  return {{4608, n, 4608}, {S8GemmFamily::kSm80, config, 6, 1}, 0.5};
}

TEST(TuningCache, LooksInUserThenShippedThenHeuristic) {
  const TempFolder folder;
  const CudaDevice device = rtx_3090();
  const auto configs = tile_configs(device);
  TuningCache cache = TuningCache::open(kKey, folder.path());
  EXPECT_TRUE(cache.notes().empty());
  const S8GemmShape shape{4500, 4608, 4608};
  const S8GemmChoice best = heuristic_s8_gemm(device, shape, configs);
  FoundChoice found = cache.choose(device, shape, configs);
  EXPECT_EQ(found.source, ChoiceSource::kHeuristic);
  EXPECT_EQ(found.choice.config, best.config);
  ASSERT_TRUE(cache.save(std::vector{entry_of(4608, "sm80_128x64x64_4")}));
  for (const TuningCache& again : {cache, TuningCache::open(kKey, folder.path())}) {
    found = again.choose(device, shape, configs);
    EXPECT_EQ(found.source, ChoiceSource::kUserCache);
    EXPECT_EQ(found.choice, (S8GemmChoice{S8GemmFamily::kSm80, "sm80_128x64x64_4", 6, 1}));
  }
  // Other drivers measure anew; their files do not meet.
  TuningKey other = kKey;
  other.driver_version = 12050;
  EXPECT_EQ(TuningCache::open(other, folder.path()).choose(device, shape, configs).source,
            ChoiceSource::kHeuristic);
}

TEST(TuningCache, ShippedTablesLieBelowTheUsers) {
  const TempFolder folder;
  const CudaDevice device = rtx_3090();
  TuningTable ours, foreign;
  ours.key = kKey;
  ours.key.driver_version = 1;  // shipped tables serve every driver
  ours.set(entry_of(4608, "sm80_128x64x64_4"));
  ours.set(entry_of(64, "sm80_128x64x64_4"));
  foreign.key = tuning_key(h100());
  foreign.set(entry_of(128, "sm80_128x64x64_4"));
  const std::string texts[] = {tuning_table_text(ours), tuning_table_text(foreign), "{"};
  const EmbeddedFile data[] = {{"shipped_a.json", texts[0]},
                               {"shipped_b.json", texts[1]},
                               {"shipped_broken.json", texts[2]},
                               {"sm86.json", "{}"}};
  TuningCache cache = TuningCache::open(kKey, folder.path(), data);
  EXPECT_EQ(cache.notes().size(), 1u);
  const auto source = [&](int64_t n) {
    return cache.choose(device, {4608, n, 4608}, tile_configs(device)).source;
  };
  EXPECT_EQ(source(4608), ChoiceSource::kShippedTable);
  EXPECT_EQ(source(64), ChoiceSource::kShippedTable);
  EXPECT_EQ(source(128), ChoiceSource::kHeuristic);
  ASSERT_TRUE(cache.save(std::vector{entry_of(4608)}));
  EXPECT_EQ(source(4608), ChoiceSource::kUserCache);
  EXPECT_EQ(source(64), ChoiceSource::kShippedTable);
  EXPECT_EQ(cache.user().size(), 1u) << "what is shipped is not written into the user's file";
}

// A table may name kernels that this build lacks, or that cannot serve an m of the bucket.
TEST(TuningCache, EntriesWithoutAKernelDoNotCount) {
  const TempFolder folder;
  const CudaDevice device = rtx_3090();
  TuningCache cache = TuningCache::open(kKey, folder.path());
  ASSERT_TRUE(cache.save(std::vector{entry_of(4608, "999x999x999")}));
  TuningEntry hopper = entry_of(512, "128x256x128");
  hopper.choice.family = S8GemmFamily::kSm90a;
  ASSERT_TRUE(cache.save(std::vector{hopper}));
  for (const int64_t n : {4608, 512}) {
    EXPECT_EQ(cache.choose(device, {4608, n, 4608}, tile_configs(device)).source,
              ChoiceSource::kHeuristic);
  }
  EXPECT_TRUE(cache.choose(device, {4608, 4608, 4608}, {}).choice.config.empty());
}

TEST(TuningCache, FolderFollowsTheEnvironment) {
  const ScopedEnvironment home("HOME", "/home/me");
  {
    const ScopedEnvironment cache("XDG_CACHE_HOME", "/var/cache/me");
    EXPECT_EQ(*tuning_folder(), fs::path("/var/cache/me/intaglio/tuning"));
  }
  {
    const ScopedEnvironment cache("XDG_CACHE_HOME", "relative");
    EXPECT_EQ(*tuning_folder(), fs::path("/home/me/.cache/intaglio/tuning"));
    const ScopedEnvironment no_home("HOME", "");
    EXPECT_EQ(tuning_folder().error().code, ErrorCode::kNotFound);
  }
}

TEST(TuningCache, NamesOfFilesDiffer) {
  TuningKey a = kKey, b = kKey;
  a.card = "Card (1)";
  b.card = "Card [1]";
  EXPECT_NE(tuning_file_name(a), tuning_file_name(b));
  a.card = std::string(300, '/') + "../x";
  EXPECT_EQ(tuning_file_name(a).find('/'), std::string::npos);
  EXPECT_LT(tuning_file_name(a).size(), 150u);
  EXPECT_TRUE(tuning_file_name(kKey).starts_with("nvidia_geforce_rtx_3090-"))
      << tuning_file_name(kKey);
}

TEST(TuningCache, WithoutAFolderNothingIsLostInMemory) {
  TuningCache cache = TuningCache::open(kKey, make_error(ErrorCode::kNotFound, "nowhere"));
  const Status saved = cache.save(std::vector{entry_of(64)});
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().code, ErrorCode::kNotFound);
  EXPECT_NE(cache.user().find({4608, 64, 4608}), nullptr);
  cache = TuningCache::open(kKey, fs::path("/proc/nowhere"));
  EXPECT_FALSE(cache.save(std::vector{entry_of(64)}));
}

TEST(TuningCache, DamagedFilesAreReportedAndMovedAside) {
  const TempFolder folder;
  const std::string name = tuning_file_name(kKey);
  TuningTable foreign;
  foreign.key = tuning_key(h100());
  const std::string kContents[] = {
      "", "{", "null", std::string(5000, '['), "\xff\xfe", tuning_table_text(foreign)};
  for (const std::string& contents : kContents) {
    folder.write(name, contents);
    TuningCache cache = TuningCache::open(kKey, folder.path());
    EXPECT_EQ(cache.user().size(), 0u);
    ASSERT_EQ(cache.notes().size(), 1u);
    EXPECT_NE(cache.notes()[0].find(name), std::string::npos);
    ASSERT_TRUE(cache.save(std::vector{entry_of(64)}));
    EXPECT_EQ(*read_file(folder / (name + ".bad")), contents);
    EXPECT_EQ(TuningCache::open(kKey, folder.path()).user().size(), 1u);
  }
  fs::remove(folder / name);
  fs::create_directory(folder / name);
  TuningCache cache = TuningCache::open(kKey, folder.path());
  EXPECT_EQ(cache.notes().size(), 1u);
}

TEST(TuningCache, RandomBytesNeverCrash) {
  const TempFolder folder;
  const std::string name = tuning_file_name(kKey);
  {
    TuningCache cache = TuningCache::open(kKey, folder.path());
    ASSERT_TRUE(cache.save(std::vector{entry_of(64), entry_of(128), entry_of(256)}));
  }
  const std::string good = *read_file(folder / name);
  const CudaDevice device = rtx_3090();
  std::mt19937 random(3);
  for (int i = 0; i < 300; ++i) {
    std::string bad = good;
    for (int edit = 0; edit < 4; ++edit) bad[random() % bad.size()] = static_cast<char>(random());
    if (i % 4 == 0) bad.resize(random() % bad.size());
    folder.write(name, bad);
    const TuningCache cache = TuningCache::open(kKey, folder.path());
    for (const int64_t n : {64, 128, 256, 512}) {
      EXPECT_FALSE(
          cache.choose(device, {4608, n, 4608}, tile_configs(device)).choice.config.empty());
    }
  }
}

// Several processes write different entries to one file at once: all must be there in the end.
TEST(TuningCache, ProcessesLoseNoUpdates) {
  const TempFolder folder;
  constexpr int kProcesses = 6, kEach = 15;
  std::vector<pid_t> children;
  for (int process = 0; process < kProcesses; ++process) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      bool good = true;
      TuningCache cache = TuningCache::open(kKey, folder.path());
      for (int i = 0; i < kEach; ++i) {
        good = good && cache.save(std::vector{entry_of(1 + process * kEach + i)}).has_value();
      }
      ::_exit(good ? 0 : 1);
    }
    children.push_back(child);
  }
  // Readers see whole files only.
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(TuningCache::open(kKey, folder.path()).notes().empty());
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  const TuningCache cache = TuningCache::open(kKey, folder.path());
  EXPECT_EQ(cache.user().size(), static_cast<size_t>(kProcesses * kEach));
  EXPECT_EQ(folder.entries(), 2u) << "the table and its lock; no temporary files";
}

TEST(TuningCache, ReadingDoesNotWaitForAWriter) {
  const TempFolder folder;
  TuningCache cache = TuningCache::open(kKey, folder.path());
  ASSERT_TRUE(cache.save(std::vector{entry_of(64)}));
  const int lock = ::open((cache.file().string() + ".lock").c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(lock, 0);
  ASSERT_EQ(::flock(lock, LOCK_EX), 0);
  EXPECT_EQ(TuningCache::open(kKey, folder.path()).user().size(), 1u);
  ::close(lock);
}

TEST(TuningCache, ExportedTablesAreValidated) {
  const TempFolder folder;
  TuningTable table;
  table.key = kKey;
  table.set(entry_of(64));
  const std::string good = tuning_table_text(table);
  ASSERT_TRUE(read_exported_table(folder.write("good.json", good)));
  EXPECT_EQ(read_exported_table(folder / "missing.json").error().code, ErrorCode::kNotFound);
  std::string bad = good;
  bad.replace(bad.find("\"band\": 6"), 9, "\"band\": 0");
  EXPECT_EQ(read_exported_table(folder.write("bad.json", bad)).error().code, ErrorCode::kBadFormat);
  table.key.kernel_version = kS8GemmKernelVersion + 1;
  EXPECT_EQ(read_exported_table(folder.write("new.json", tuning_table_text(table))).error().code,
            ErrorCode::kUnsupported);
}

TEST(TuningCache, ListsTablesAndNotesTheRest) {
  const TempFolder folder;
  EXPECT_TRUE(list_tuning_files(folder / "nothing").tables.empty());
  for (const CudaDevice& device : {rtx_3090(), h100()}) {
    TuningCache cache = TuningCache::open(tuning_key(device), folder.path());
    ASSERT_TRUE(cache.save(std::vector{entry_of(64)}));
  }
  folder.write("junk.json", "{}");
  folder.write("readme.txt", "not a table");
  const TuningFiles files = list_tuning_files(folder.path());
  ASSERT_EQ(files.tables.size(), 2u);
  EXPECT_EQ(files.notes.size(), 1u);
}

}  // namespace
}  // namespace intaglio::cuda
