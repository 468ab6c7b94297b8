#include "server/input_pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>

#include "core/base64.h"
#include "core/out_of_memory.h"
#include "io/decode_picture.h"
#include "io/fit_picture.h"
#include "server/refusal.h"
#include "server/sha256.h"

namespace intaglio::server {
namespace {

constexpr size_t kIdDigits = 64;

std::atomic<bool> stops_decoding{false};

// One at a time: the largest takes some hundred megabytes.
template <typename Convert>
Accepted<RgbImage> decode(const std::string& name, std::string_view bytes, Convert&& convert) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (stops_decoding) return refused(Refusal::Reason::kStopping, "the server is stopping");
  auto image = guard_memory(fmt::format("decoding {}", name), [&]() -> Expected<RgbImage> {
    INTAGLIO_ASSIGN(
        const RgbaImage rgba,
        decode_rgba_picture({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, name));
    return convert(rgba);
  });
  if (image) return std::move(*image);
  if (image.error().code == ErrorCode::kOutOfMemory)
    return refused(Refusal::Reason::kUnavailable, image.error().message, 1);
  return invalid(name, image.error().message);
}

RgbImage grey_image(const std::vector<uint8_t>& values, int64_t width, int64_t height) {
  RgbImage image{width, height, {}};
  image.pixels.reserve(values.size() * 3);
  for (const uint8_t value : values) image.pixels.insert(image.pixels.end(), 3, value);
  return image;
}

Accepted<KeptPicture> keep(const RgbImage& image, std::vector<InputPicture>& inputs) {
  const auto png = encode_png(image, {});
  if (!png) return refused(Refusal::Reason::kInternal, png.error().message);
  InputPicture input{.id = {}, .png = {png->begin(), png->end()}};
  input.id = sha256(input.png);
  const KeptPicture kept{.id = input.id, .width = image.width, .height = image.height};
  const bool there = std::any_of(inputs.begin(), inputs.end(),
                                 [&](const InputPicture& other) { return other.id == input.id; });
  if (!there) inputs.push_back(std::move(input));
  return kept;
}

// One of the field `name` that an earlier request has brought.
Accepted<std::optional<RgbImage>> read_named(const std::string& name,
                                             const std::optional<KeptPicture>& named,
                                             const InputFile& kept) {
  if (!named) return std::optional<RgbImage>();
  const auto file = kept(named->id);
  if (!file && file.error().code != ErrorCode::kNotFound)
    return refused(Refusal::Reason::kUnavailable, file.error().message, 1);
  auto image = file ? read_png(*file) : tl::unexpected<Error>(file.error());
  if (!image)
    return invalid(name, fmt::format("{}: there is no picture {} here any more", name, named->id));
  return std::optional(std::move(image->first));
}

}  // namespace

Accepted<RgbImage> decode_sent_picture(const std::string& name, std::string_view bytes) {
  return decode(name, bytes, on_white);
}

Accepted<RgbImage> decode_sent_base64(const std::string& name, std::string_view text) {
  const std::optional<std::string> bytes = decoded_base64(text);
  if (!bytes || bytes->empty())
    return invalid(name, name + ": expected a picture in base64, or a data: address of one");
  return decode_sent_picture(name, *bytes);
}

Accepted<RgbImage> decode_sent_transparency(const std::string& name, std::string_view bytes) {
  return decode(name, bytes, [](const RgbaImage& image) {
    return grey_image(mask_of_transparency(image, image.width, image.height), image.width,
                      image.height);
  });
}

void stop_decoding() { stops_decoding = true; }

void choose_size_of_init(const ModelInfo& model, JobRequest& request) {
  if (request.width || request.height || !request.sent || !request.sent->image) return;
  const auto unit = static_cast<double>(model.pixels_per_token);
  const auto ratio = static_cast<double>(request.sent->image->width) /
                     static_cast<double>(request.sent->image->height);
  const double area = static_cast<double>(model.default_width * model.default_height);
  const auto side = [&](double pixels) {
    return std::max<int64_t>(std::llround(pixels / unit), 1) * model.pixels_per_token;
  };
  // Of a strip, whose short side would be none.
  constexpr double kMostRatio = 4.0;
  const double bounded = std::clamp(ratio, 1.0 / kMostRatio, kMostRatio);
  request.width = side(std::sqrt(area * bounded));
  request.height = side(std::sqrt(area / bounded));
}

Accepted<std::vector<InputPicture>> fit_input_pictures(JobRequest& request, const InputFile& kept) {
  static const SentPictures kNothing;
  std::vector<InputPicture> inputs;
  const std::shared_ptr<const SentPictures> held = std::move(request.sent);
  const SentPictures& sent = held ? *held : kNothing;
  const auto named_image = read_named("init_image", request.init_image, kept);
  if (!named_image) return tl::unexpected<Refusal>(named_image.error());
  const auto named_mask = read_named("mask", request.mask, kept);
  if (!named_mask) return tl::unexpected<Refusal>(named_mask.error());
  const std::optional<RgbImage>& image = sent.image ? sent.image : *named_image;
  const std::optional<RgbImage>& mask = sent.mask ? sent.mask : *named_mask;
  request.sent.reset();
  request.init_image.reset();
  request.mask.reset();
  const int64_t width = *request.width, height = *request.height;
  if (image) {
    const Accepted<KeptPicture> picture = keep(fit_picture(*image, width, height), inputs);
    if (!picture) return tl::unexpected<Refusal>(picture.error());
    request.init_image = *picture;
  }
  if (mask) {
    std::vector<uint8_t> values = mask_of(*mask, width, height);
    blur_mask(values, width, height, sent.mask_blur);
    const Accepted<KeptPicture> picture = keep(grey_image(values, width, height), inputs);
    if (!picture) return tl::unexpected<Refusal>(picture.error());
    request.mask = *picture;
  }
  return inputs;
}

Expected<std::optional<InitPicture>> read_init_picture(const JobRequest& request,
                                                       const InputFile& kept) {
  if (!request.init_image) return std::optional<InitPicture>();
  InitPicture init;
  init.strength = request.strength.value_or(init.strength);
  INTAGLIO_ASSIGN(const std::filesystem::path file, kept(request.init_image->id));
  INTAGLIO_ASSIGN(auto image, read_png(file));
  init.image = std::move(image.first);
  if (request.mask) {
    INTAGLIO_ASSIGN(const std::filesystem::path mask_file, kept(request.mask->id));
    INTAGLIO_ASSIGN(const auto mask, read_png(mask_file));
    init.mask = mask_of(mask.first, init.image.width, init.image.height);
  }
  return std::optional(std::move(init));
}

std::vector<std::string> input_ids(const JobRequest& request) {
  std::vector<std::string> ids;
  for (const std::optional<KeptPicture>* picture : {&request.init_image, &request.mask})
    if (*picture && (ids.empty() || ids.front() != (*picture)->id)) ids.push_back((*picture)->id);
  return ids;
}

bool is_input_id(std::string_view text) {
  return text.size() == kIdDigits && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

std::string input_name(const std::string& id) { return fmt::format("inputs/{}.png", id); }

}  // namespace intaglio::server
