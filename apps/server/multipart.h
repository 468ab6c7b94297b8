// Bodies of multipart/form-data (RFC 7578), as forms and clients of pictures send them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/job_json.h"
#include "server/job_service.h"

namespace intaglio::server {

struct FormPart {
  std::string name;
  bool is_file = false;   // it came with a file name
  std::string_view data;  // of the body
};

// The boundary that a Content-Type of multipart/form-data names; nullopt: it is of something else.
std::optional<std::string> form_boundary(std::string_view content_type);

// At most 64 parts. kInvalid where the body is no such form, or a part has no name.
Accepted<std::vector<FormPart>> parse_form(std::string_view body, std::string_view boundary);

// The parts that are no files as an object: "true", "null", numbers, arrays and objects become what
// they say, unless the field is one whose value is text in any case ("prompt": "42"). kInvalid names
// a part that is there twice.
Accepted<Json> form_fields(const std::vector<FormPart>& parts);

}  // namespace intaglio::server
