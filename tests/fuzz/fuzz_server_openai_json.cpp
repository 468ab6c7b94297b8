// Bodies of POST /v1/images/generations.
#include <string_view>

#include "core/utf8.h"
#include "fuzz/fuzz_check.h"
#include "fuzz/served_models.h"
#include "server/routes/openai_request.h"

using namespace intaglio::server;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto request =
      parse_openai_request({reinterpret_cast<const char*>(data), size}, served_models());
  if (!request) {
    FUZZ_CHECK(!request.error().message.empty());
    FUZZ_CHECK(intaglio::is_utf8(request.error().message));
    return 0;
  }
  FUZZ_CHECK(request->job.count >= 1 && request->job.count <= 10);
  FUZZ_CHECK(request->job.model == "mini" || request->job.model == "plain");
  FUZZ_CHECK(request->quality >= 0 && request->quality <= 100);
  FUZZ_CHECK(request->job.previews >= 0 && request->job.previews <= 3);
  FUZZ_CHECK(!(request->stream && request->as_address));
  return 0;
}
