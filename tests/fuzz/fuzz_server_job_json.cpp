// Bodies of POST /api/jobs. What is taken is the same once it was written and read again.
#include <string_view>

#include "core/utf8.h"
#include "fuzz/fuzz_check.h"
#include "server/job_json.h"

using namespace intaglio::server;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto request = parse_job_request({reinterpret_cast<const char*>(data), size});
  if (!request) {
    FUZZ_CHECK(!request.error().message.empty());
    FUZZ_CHECK(intaglio::is_utf8(request.error().message));
    FUZZ_CHECK(request.error().reason == Refusal::Reason::kInvalid);
    return 0;
  }
  const std::string text = json_text(request_json(*request));
  const auto again = parse_job_request(text);
  FUZZ_CHECK(again.has_value());
  FUZZ_CHECK(json_text(request_json(*again)) == text);
  return 0;
}
