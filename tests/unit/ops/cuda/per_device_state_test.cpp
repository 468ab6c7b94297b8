// What a process learns of one GPU is not true of the next: no source of the CUDA part keeps it in
// a `static` of its own. A rule of the house, held on the sources, since it takes a machine with
// two GPUs to see it broken.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "support/source_folder.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;

struct Found {
  std::string file, line;
};

std::vector<std::string> lines_of(const fs::path& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::vector<fs::path> sources() {
  std::vector<fs::path> files;
  for (const char* folder : {"src/ops/cuda", "src/core/cuda"}) {
    for (const auto& entry : fs::recursive_directory_iterator(test::source_path(folder))) {
      const std::string extension = entry.path().extension().string();
      if (extension == ".cu" || extension == ".cuh" || extension == ".cpp" || extension == ".h")
        files.push_back(entry.path());
    }
  }
  return files;
}

// A variable that lives as long as the process; its name is the first group. Not what is constexpr,
// nor functions.
bool is_static_variable(const std::string& line, std::string* name = nullptr) {
  static const std::regex kPattern(
      R"(^\s*(?:inline )?static (?!constexpr|inline|__device__|__host__)(?:const )?[\w:<>,\s\*&]*?(\w+)\s*(?:=|;|\{).*)");
  static const std::regex kLast(
      R"(^\s*(?:inline )?static (?!constexpr|inline|__device__|__host__)(?:const )?[\w:<>,\s\*&]*?(\w+)\s*=$)");
  std::smatch match;
  if (!std::regex_match(line, match, kPattern) && !std::regex_match(line, match, kLast))
    return false;
  if (name != nullptr) *name = match[1];
  return true;
}

TEST(PerDeviceState, ThePatternSeesWhatItIsFor) {
  EXPECT_TRUE(is_static_variable("  static const cudaError_t raised ="));
  EXPECT_TRUE(is_static_variable("  static std::mutex mutex;"));
  EXPECT_TRUE(is_static_variable("  static std::map<int, std::unique_ptr<Chooser>> choosers;"));
  EXPECT_TRUE(is_static_variable("    static Products products;"));
  EXPECT_TRUE(is_static_variable("  static int blocks = 0;"));
  EXPECT_FALSE(is_static_variable("  static constexpr int kTile = 64;"));
  EXPECT_FALSE(is_static_variable("  static Expected<Event> make() {"));
  EXPECT_FALSE(
      is_static_variable("  static __device__ __forceinline__ float load(const float* at) {"));
  EXPECT_FALSE(is_static_variable("  return static_cast<int>(x);"));
  EXPECT_FALSE(is_static_variable("  static_assert(kTile == 64);"));
}

TEST(PerDeviceState, StaticsOfTheCudaPartAreOfTheProcessOrKeyedByDevice) {
  // True of the process, whichever device is current: libraries and the driver's entry points, the
  // environment, data that was compiled in, the list of devices itself.
  const std::set<std::string> of_the_process{"loaded",       "function", "found",
                                             "kept_to_sm80", "all",      "devices"};
  int seen = 0;
  for (const fs::path& path : sources()) {
    for (const std::string& line : lines_of(path)) {
      std::string name;
      if (!is_static_variable(line, &name)) continue;
      ++seen;
      if (line.find("static PerDevice<") != std::string::npos || of_the_process.contains(name))
        continue;
      ADD_FAILURE() << path.filename().string() << ": " << line
                    << "\nkeep it in the context, or in a PerDevice (core/per_device.h)";
    }
  }
  EXPECT_GE(seen, 4);
}

// The attribute holds for the current device alone: launches ask for it each time, in one place.
TEST(PerDeviceState, SharedMemoryIsRaisedByEveryLaunch) {
  std::vector<std::string> callers;
  for (const fs::path& path : sources()) {
    for (const std::string& line : lines_of(path)) {
      if (line.find("cudaFuncSetAttribute(") != std::string::npos)
        callers.push_back(path.filename().string());
    }
  }
  EXPECT_EQ(callers, std::vector<std::string>{"dynamic_shared.h"});
}

}  // namespace
}  // namespace intaglio
