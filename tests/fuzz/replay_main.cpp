// Runs one fuzz target over the files of the folders named on the command line: the stored corpus
// as a plain test, with any compiler.
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <vector>

#include "fuzz/fuzz_check.h"

namespace {

// Exactly sized, so that a sanitizer build sees reads past the end.
bool run(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(stream)),
                                std::istreambuf_iterator<char>());
  if (!stream.good() && !stream.eof()) return false;
  const auto copy = std::make_unique<uint8_t[]>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), copy.get());
  LLVMFuzzerTestOneInput(copy.get(), bytes.size());
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::filesystem::path> files;
  for (int i = 1; i < argc; ++i) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(argv[i], error))
      files.push_back(entry.path());
    if (error) {
      std::fprintf(stderr, "%s: %s\n", argv[i], error.message().c_str());
      return 1;
    }
  }
  std::sort(files.begin(), files.end());
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(""), 0);
  for (const std::filesystem::path& file : files) {
    std::printf("%s\n", file.filename().c_str());  // the last line names the file that crashes
    std::fflush(stdout);
    if (!run(file)) {
      std::fprintf(stderr, "%s: cannot read\n", file.c_str());
      return 1;
    }
  }
  if (files.empty()) std::fprintf(stderr, "no corpus files\n");
  return files.empty() ? 1 : 0;
}
