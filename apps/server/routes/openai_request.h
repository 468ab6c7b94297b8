// What OpenAI's clients ask for, as a job.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/encode_picture.h"
#include "server/job.h"
#include "server/job_service.h"

namespace intaglio::server {

struct OpenAiRequest {
  JobRequest job;
  PictureFormat format = PictureFormat::kPng;
  int quality = 100;                  // of JPEG and WebP: "output_compression"
  std::string quality_name = "auto";  // "quality", as it came
  bool as_address = false;            // "response_format": "url"
  bool stream = false;
};

// The body of POST /v1/images/generations. The names of OpenAI's own models stand for the first of
// `models`; "quality" low and high for the shortest and the longest preset of a model that has any,
// unless steps or a preset are asked for. kInvalid names the field, kNotFound the model.
Accepted<OpenAiRequest> parse_openai_request(std::string_view body,
                                             const std::vector<ServedModel>& models);

// The same fields out of a form, POST /v1/images/edits: "image", of which exactly one may come,
// "mask", whose transparent parts are drawn anew, and "strength"; without it 1 with a mask.
Accepted<OpenAiRequest> parse_openai_edit(std::string_view body, std::string_view boundary,
                                          const std::vector<ServedModel>& models);

// A refusal of a job with the names that these clients know.
Refusal as_openai(const Refusal& refusal);

// Whether `name` is one of OpenAI's picture models.
bool is_openai_model(std::string_view name);

}  // namespace intaglio::server
