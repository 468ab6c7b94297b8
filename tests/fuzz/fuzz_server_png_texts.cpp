// What /sdapi/v1/png-info reads: base64, and the text chunks of a PNG.
#include <string_view>

#include "core/base64.h"
#include "core/utf8.h"
#include "fuzz/fuzz_check.h"
#include "server/http_message.h"
#include "server/routes/a1111_request.h"

using namespace intaglio::server;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes{reinterpret_cast<const char*>(data), size};
  FUZZ_CHECK(intaglio::decoded_base64(intaglio::base64(bytes)) == bytes);
  if (const auto decoded = intaglio::decoded_base64(bytes)) FUZZ_CHECK(decoded->size() <= size);
  for (const auto& [name, text] : png_texts(bytes)) {
    FUZZ_CHECK(intaglio::is_utf8(name) && intaglio::is_utf8(text));
    FUZZ_CHECK(name.size() + text.size() <= 2 * size);
  }
  return 0;
}
