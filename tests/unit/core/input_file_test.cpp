#include "core/input_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <string_view>

#include "support/temp_folder.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;

std::string message_of(const fs::path& path) {
  const auto file = InputFile::open(path);
  return file ? "" : file.error().message;
}

TEST(InputFile, ReadsPieces) {
  const TempFolder folder;
  const auto file = InputFile::open(folder.write("a", "0123456789"));
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ((*file)->size(), 10u);
  std::array<char, 4> piece{};
  ASSERT_TRUE((*file)->read(3, std::as_writable_bytes(std::span(piece))));
  EXPECT_EQ(std::string_view(piece.data(), 4), "3456");
  ASSERT_TRUE((*file)->read(6, std::as_writable_bytes(std::span(piece))));
  EXPECT_EQ(std::string_view(piece.data(), 4), "6789");
  EXPECT_TRUE((*file)->read(10, {}));
}

TEST(InputFile, AFileThatChangesIsAnError) {
  const TempFolder folder;
  std::array<char, 4> piece{};
  const auto bytes = std::as_writable_bytes(std::span(piece));
  const auto error_after = [&](auto&& change) {
    const fs::path path = folder.write("a", "0123456789");
    // The clock that stamps a file may tick less often than two writes follow each other.
    fs::last_write_time(path, fs::last_write_time(path) - std::chrono::seconds(1));
    const auto file = InputFile::open(path);
    EXPECT_TRUE((*file)->read(0, bytes));
    change(path);
    const Status status = (*file)->read(4, bytes);
    return status ? "" : status.error().message.substr(path.string().size());
  };
  EXPECT_EQ(error_after([](const fs::path& path) { fs::resize_file(path, 6); }),
            ": changed while it was read: 10 bytes when it was opened, 6 now");
  EXPECT_EQ(error_after([](const fs::path& path) { fs::resize_file(path, 20); }),
            ": changed while it was read: 10 bytes when it was opened, 20 now");
  EXPECT_EQ(error_after([](const fs::path& path) {
              std::fstream(path, std::ios::in | std::ios::out | std::ios::binary) << "x";
            }),
            ": changed while it was read");
  // What was opened is still whole when the name goes to another file.
  EXPECT_EQ(
      error_after([&](const fs::path& path) { fs::rename(folder.write("b", "another"), path); }),
      "");
  EXPECT_EQ(error_after([&](const fs::path& path) { fs::remove(path); }), "");
}

TEST(InputFile, OnlyRegularFiles) {
  const TempFolder folder;
  EXPECT_EQ(InputFile::open(folder / "absent").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(message_of(folder.path()), folder.path().string() + ": cannot read: is a folder");
  EXPECT_EQ(message_of("/dev/zero"), "/dev/zero: cannot read: not a regular file");
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_NE(message_of(folder / "pipe").find("not a regular file"), std::string::npos);
}

// Files of proc claim to be empty.
TEST(InputFile, EmptyFilesAreEmpty) {
  const auto file = InputFile::open("/proc/self/status");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ((*file)->size(), 0u);
}

TEST(InputFile, SparseFilesBeyondFourGigabytes) {
  const TempFolder folder;
  const fs::path path = folder.write("a", "");
  constexpr uint64_t kSize = (uint64_t{5} << 30) + 3;
  fs::resize_file(path, kSize);
  {
    std::fstream out(path, std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(static_cast<std::streamoff>(kSize - 3));
    out << "end";
  }
  const auto file = InputFile::open(path);
  ASSERT_TRUE(file);
  EXPECT_EQ((*file)->size(), kSize);
  std::array<char, 3> piece{};
  ASSERT_TRUE((*file)->read(kSize - 3, std::as_writable_bytes(std::span(piece))));
  EXPECT_EQ(std::string_view(piece.data(), 3), "end");
}

}  // namespace
}  // namespace intaglio
