// Pictures as clients send them, for tests.
#pragma once

#include <string>

#include "core/base64.h"
#include "io/png.h"
#include "server/job.h"

namespace intaglio::server::test {

inline RgbImage plain_image(int64_t width, int64_t height, uint8_t value) {
  return {width, height, std::vector<uint8_t>(static_cast<size_t>(width * height * 3), value)};
}

inline std::string png_of(const RgbImage& image) {
  const auto png = encode_png(image, {}).value();
  return {png.begin(), png.end()};
}

inline std::string base64_png(int64_t width, int64_t height, uint8_t value) {
  return base64(png_of(plain_image(width, height, value)));
}

// Begins from a grey picture, with the left half of it kept.
inline JobRequest beginning_from(const std::string& prompt, uint8_t grey, bool masked = false) {
  JobRequest request;
  request.prompt = prompt;
  SentPictures sent{.image = plain_image(20, 10, grey), .mask = {}, .mask_blur = 0};
  if (masked) {
    sent.mask = plain_image(20, 10, 0);
    for (size_t i = 0; i < sent.mask->pixels.size(); ++i)
      if (i / 3 % 20 >= 10) sent.mask->pixels[i] = 255;
  }
  request.sent = std::make_shared<const SentPictures>(std::move(sent));
  request.width = request.height = 16;
  return request;
}

// A body of multipart/form-data with the boundary "x"; a file's name stands behind '@':
// {"image@a.png", bytes}.
inline std::string form_of(const std::vector<std::pair<std::string, std::string>>& parts) {
  std::string body;
  for (const auto& [name, data] : parts) {
    const size_t at = std::min(name.find('@'), name.size());
    body += "--x\r\nContent-Disposition: form-data; name=\"" + name.substr(0, at) + "\"";
    if (at < name.size()) body += "; filename=\"" + name.substr(at + 1) + "\"";
    body += "\r\n\r\n" + data + "\r\n";
  }
  return body + "--x--\r\n";
}
inline constexpr const char* kFormType = "Content-Type: multipart/form-data; boundary=x\r\n";

}  // namespace intaglio::server::test
