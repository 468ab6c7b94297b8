// The C++ wrapper fills the C structs and carries the message.
#include <cstdio>
#include <intaglio/intaglio.hpp>

int main() {
  using namespace intaglio::api;
  uint64_t bytes = 1;
  if (!int8_linear_workspace({.m = 0, .n = 32, .k = 64}, bytes) || bytes != 0) return 1;
  const Result result = int8_linear({.m = 2, .n = 33, .k = 64, .fusion = Fusion::kSwiglu}, {});
  if (result.code != Code::kInvalidArgument ||
      result.message != "desc.n: 33, expected a multiple of 32 with SWIGLU") {
    std::fprintf(stderr, "found: %s\n", result.message.c_str());
    return 1;
  }
  const Result rows = int8_quantize_rows({.rows = 4, .cols = 8, .ldq = 16});
  if (rows.message != "args.x: null, expected a device pointer") {
    std::fprintf(stderr, "found: %s\n", rows.message.c_str());
    return 1;
  }
  return 0;
}
