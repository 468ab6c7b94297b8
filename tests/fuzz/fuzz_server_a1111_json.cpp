// Bodies of POST /sdapi/v1/txt2img and img2img.
#include <string_view>

#include "core/utf8.h"
#include "fuzz/fuzz_check.h"
#include "fuzz/served_models.h"
#include "server/routes/a1111_request.h"

using namespace intaglio::server;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body{reinterpret_cast<const char*>(data), size};
  for (const char* const chosen : {"", "plain"}) {
    const auto request = parse_a1111_request(body, served_models(), chosen);
    if (!request) {
      FUZZ_CHECK(!request.error().message.empty());
      FUZZ_CHECK(intaglio::is_utf8(request.error().message));
      continue;
    }
    FUZZ_CHECK(request->model == "mini" || request->model == "plain");
    FUZZ_CHECK(request->count >= 1 && request->count <= 1'000'000);
    for (const auto& side : {request->width, request->height})
      FUZZ_CHECK(!side || (*side > 0 && *side % 16 == 0));
    if (request->model == "plain") FUZZ_CHECK(!request->negative_prompt && !request->guidance);
    const auto img2img = parse_a1111_img2img(body, served_models(), chosen);
    if (!img2img) FUZZ_CHECK(intaglio::is_utf8(img2img.error().message));
    if (img2img)
      FUZZ_CHECK(*img2img->job.strength > 0 && *img2img->job.strength <= 1 &&
                 img2img->job.sent->image);
  }
  return 0;
}
