#include "io/packed_file.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "core/files.h"
#include "support/temp_folder.h"

namespace intaglio {
namespace {

std::vector<std::byte> counted(size_t size, int first) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(first + static_cast<int>(i));
  return bytes;
}

Context context() { return {.threads = 2}; }

class PackedFileTest : public ::testing::Test {
 protected:
  std::filesystem::path path() const { return folder_ / "a.packed"; }

  void write(uint64_t rows = 3000) const {
    auto file = PackedFileWriter::create(
        path(),
        {.key = "the key", .about = {{"source", "a/b"}, {"precision", "int8"}}, .records = {}});
    ASSERT_TRUE(file) << file.error().message;
    const std::vector<std::byte> a = counted(rows, 1), b = counted(20, 2), c = counted(64, 3);
    ASSERT_TRUE(file->add("layers.0.q", "s8 3x4", {a, b, {}, c}));
    ASSERT_TRUE(file->add("layers.0.o", "bf16", {c, {}, b, {}}));
    ASSERT_TRUE(file->commit());
  }
  std::string bytes() const { return read_file(path()).value(); }
  void put(const std::string& bytes) const {
    std::filesystem::remove(path());
    ASSERT_TRUE(write_file_atomic(path(), bytes));
  }
  // What opening and checking it says; empty: nothing.
  std::string problem() const {
    const auto file = PackedFile::open(path());
    if (!file) return file.error().message;
    const Status sound = (*file)->check(context());
    return sound ? "" : sound.error().message;
  }

  TempFolder folder_;
};

TEST_F(PackedFileTest, HoldsWhatWasWritten) {
  write();
  const auto file = PackedFile::open(path());
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_TRUE((*file)->check(context()));
  EXPECT_EQ((*file)->index().key, "the key");
  EXPECT_EQ((*file)->index().about.at("source"), "a/b");
  const PackedRecord* const q = (*file)->find("layers.0.q");
  ASSERT_NE(q, nullptr);
  EXPECT_EQ(q->attributes, "s8 3x4");
  const auto same = [&](const PackedRun& run, const std::vector<std::byte>& wanted) {
    const auto found = (*file)->bytes(run);
    return std::vector<std::byte>(found.begin(), found.end()) == wanted;
  };
  EXPECT_TRUE(same(q->runs[kPackedRows], counted(3000, 1)));
  EXPECT_TRUE(same(q->runs[kPackedScales], counted(20, 2)));
  EXPECT_TRUE(same(q->runs[kPackedBias], {}));
  EXPECT_TRUE(same(q->runs[kPackedSmooth], counted(64, 3)));
  for (const PackedRun& run : q->runs) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>((*file)->bytes(run).data()) % kPackedAlignment, 0u);
  }
  ASSERT_NE((*file)->find("layers.0.o"), nullptr);
  EXPECT_TRUE(same((*file)->find("layers.0.o")->runs[kPackedBias], counted(20, 2)));
  EXPECT_EQ((*file)->find("layers.0"), nullptr);
}

// Nothing but padding may change unseen.
TEST_F(PackedFileTest, SeesADamagedByteWhereverItIs) {
  write();
  const std::string whole = bytes();
  const auto index = parse_packed(std::as_bytes(std::span(whole)), "a").value();
  std::vector<bool> is_padding(whole.size(), true);
  for (const PackedRecord& record : index.records)
    for (const PackedRun& run : record.runs)
      std::fill_n(is_padding.begin() + static_cast<std::ptrdiff_t>(run.at), run.bytes, false);
  const size_t index_at = whole.find("the key") - sizeof(uint32_t);
  std::fill(is_padding.begin() + static_cast<std::ptrdiff_t>(index_at), is_padding.end() - 8,
            false);
  for (size_t i = 0; i < whole.size(); i += i + 512 < index_at ? 37 : 1) {
    if (is_padding[i]) continue;
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 4);
    put(damaged);
    EXPECT_NE(problem(), "") << "byte " << i << " of " << whole.size();
  }
}

TEST_F(PackedFileTest, SeesThatItWasCutOffOrGrew) {
  write();
  const std::string whole = bytes();
  for (const size_t size : {size_t{0}, size_t{1}, size_t{63}, size_t{64}, whole.size() / 2,
                            whole.size() - 64, whole.size() - 1}) {
    put(whole.substr(0, size));
    EXPECT_NE(problem(), "") << size;
  }
  put(whole + std::string(64, '\0'));
  EXPECT_NE(problem(), "");
  put(whole.substr(1));
  EXPECT_NE(problem(), "");
}

TEST_F(PackedFileTest, RefusesOtherFiles) {
  EXPECT_EQ(PackedFile::open(path()).error().code, ErrorCode::kNotFound);
  put(std::string(4096, 'x'));
  EXPECT_EQ(PackedFile::open(path()).error().code, ErrorCode::kBadFormat);
  std::filesystem::remove(path());
  std::filesystem::create_directory(path());
  EXPECT_NE(PackedFile::open(path()).error().message, "");
  ASSERT_TRUE(write_file_atomic(folder_ / "b", "x"));
  std::filesystem::create_symlink(folder_ / "b", folder_ / "link");
  EXPECT_FALSE(PackedFile::open(folder_ / "link"));
}

// Places beyond the weights are refused, though the hashes are right.
TEST_F(PackedFileTest, RefusesRunsOutsideTheFile) {
  const auto with_run = [](uint64_t at, uint64_t size) {
    std::string index;
    const auto number = [&](auto value) {
      index.append(reinterpret_cast<const char*>(&value), sizeof(value));
    };
    number(uint32_t{1});
    index += "k";
    number(uint32_t{0});
    number(uint32_t{1});
    for (int i = 0; i < 2; ++i) {
      number(uint32_t{1});
      index += "n";
    }
    for (int part = 0; part < 4; ++part) {
      number(part == 0 ? at : uint64_t{0});
      number(part == 0 ? size : uint64_t{0});
      number(uint64_t{0});
    }
    std::vector<std::byte> file(128);
    const auto text = std::as_bytes(std::span(index));
    file.insert(file.end(), text.begin(), text.end());
    const auto trailer = packed_trailer(text, 128);
    file.insert(file.end(), trailer.begin(), trailer.end());
    return parse_packed(file, "made up").has_value();
  };
  EXPECT_TRUE(with_run(0, 128));
  EXPECT_TRUE(with_run(64, 64));
  EXPECT_FALSE(with_run(0, 129));
  EXPECT_FALSE(with_run(64, 65));
  EXPECT_FALSE(with_run(32, 32));
  EXPECT_FALSE(with_run(192, 0));
  EXPECT_FALSE(with_run(~uint64_t{63}, 64));
  EXPECT_FALSE(with_run(64, ~uint64_t{0}));
}

TEST_F(PackedFileTest, IsNotThereUntilItIsCommitted) {
  {
    auto file = PackedFileWriter::create(path(), {.key = "k", .about = {}, .records = {}});
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->add("a", "", {counted(100, 0), {}, {}, {}}));
    EXPECT_FALSE(std::filesystem::exists(path()));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
}

TEST_F(PackedFileTest, StopsWhenAsked) {
  std::atomic<bool> stop{false};
  auto file = PackedFileWriter::create(path(), {.key = "k", .about = {}, .records = {}}, &stop);
  ASSERT_TRUE(file);
  stop = true;
  EXPECT_EQ(file->add("a", "", {counted(100, 0), {}, {}, {}}).error().code, ErrorCode::kCancelled);
}

}  // namespace
}  // namespace intaglio
