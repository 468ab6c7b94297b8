// What AUTOMATIC1111's clients send and read.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/job.h"
#include "server/job_json.h"
#include "server/job_service.h"

namespace intaglio::server {

// The body of POST /sdapi/v1/txt2img. These clients send whatever they know, so fields that no job
// has are passed over; sides become multiples of what the model takes; "<lora:NAME:STRENGTH>" leaves
// the prompt and becomes an adapter. `chosen`: the model of earlier options; empty: the first.
Accepted<JobRequest> parse_a1111_request(std::string_view body,
                                         const std::vector<ServedModel>& models,
                                         const std::string& chosen);

struct A1111Img2Img {
  JobRequest job;
  Json init_images, mask;  // as they came, where the answer is to have them; else null
};
// The body of POST /sdapi/v1/img2img, which has the same fields and the pictures. White of a mask
// is drawn anew, or black with "inpainting_mask_invert".
Accepted<A1111Img2Img> parse_a1111_img2img(std::string_view body,
                                           const std::vector<ServedModel>& models,
                                           const std::string& chosen);

// "mini", "mini [a1b2c3]" or "mini.safetensors" -> "mini"; nullopt: there is no such model.
std::optional<std::string> a1111_model(std::string_view title,
                                       const std::vector<ServedModel>& models);

// The text chunks of a PNG: tEXt, and iTXt where it is not compressed; empty: none, or no PNG.
std::vector<std::pair<std::string, std::string>> png_texts(std::string_view png);
std::string png_text(std::string_view png, std::string_view name);

}  // namespace intaglio::server
