// Bodies of multipart/form-data, with their boundary on the first line.
#include <algorithm>
#include <string_view>

#include "core/utf8.h"
#include "fuzz/fuzz_check.h"
#include "server/multipart.h"

using namespace intaglio::server;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  const size_t line = std::min(text.find('\n'), text.size());
  const std::string_view body = text.substr(std::min(line + 1, text.size()));
  const auto boundary = form_boundary(text.substr(0, line));
  const auto parts = parse_form(body, boundary.value_or("x"));
  if (!parts) {
    FUZZ_CHECK(!parts.error().message.empty() && intaglio::is_utf8(parts.error().message));
    return 0;
  }
  FUZZ_CHECK(parts->size() <= 64);
  for (const FormPart& part : *parts) {
    FUZZ_CHECK(!part.name.empty() && intaglio::is_utf8(part.name));
    FUZZ_CHECK(part.data.data() >= body.data() &&
               part.data.data() + part.data.size() <= body.data() + body.size());
  }
  const auto fields = form_fields(*parts);
  if (!fields) FUZZ_CHECK(intaglio::is_utf8(fields.error().message));
  if (fields) FUZZ_CHECK(!json_text(*fields).empty());
  return 0;
}
