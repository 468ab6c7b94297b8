#include "server/routes/a1111_request.h"

#include <algorithm>
#include <cmath>

#include "core/utf8.h"
#include "server/input_pictures.h"
#include "server/job_json.h"
#include "server/refusal.h"

namespace intaglio::server {
namespace {

constexpr std::string_view kLoraTag = "<lora:";
constexpr double kDefaultMaskBlur = 4, kMostMaskBlur = 64;  // pixels
constexpr double kDefaultDenoising = 0.75;

// Takes the tags out of `prompt`.
Json take_loras(std::string& prompt) {
  Json list = Json::array();
  for (size_t at = prompt.find(kLoraTag); at != std::string::npos; at = prompt.find(kLoraTag, at)) {
    const size_t end = prompt.find('>', at);
    if (end == std::string::npos) break;
    const std::string tag = prompt.substr(at + kLoraTag.size(), end - at - kLoraTag.size());
    const size_t colon = tag.find(':');
    const Json strength =
        colon == std::string::npos ? Json(1.0) : parse_request_json(tag.substr(colon + 1));
    list.push_back({{"name", tag.substr(0, colon)},
                    {"strength", strength.is_number() ? strength : Json(1.0)}});
    prompt.erase(at, end + 1 - at);
  }
  return list;
}

const Json* find(const Json& body, const char* name) {
  const auto found = body.find(name);
  return found == body.end() || found->is_null() ? nullptr : &*found;
}

Accepted<double> number_of(const Json& body, const char* name, double least, double most,
                           double fallback) {
  const Json* const value = find(body, name);
  if (value == nullptr) return fallback;
  if (!value->is_number() || !(value->get<double>() >= least && value->get<double>() <= most))
    return invalid(name, fmt::format("{}: expected a number from {} to {}, found {}", name, least,
                                     most, shown_json(*value)));
  return value->get<double>();
}

// Pixels, rounded to what the model draws.
Accepted<int64_t> side_of(const Json& body, const char* name, int64_t unit) {
  const Accepted<double> pixels = number_of(body, name, 1, kMaxSide, kMaxSide);
  if (!pixels) return tl::unexpected<Refusal>(pixels.error());
  const auto units = static_cast<int64_t>(std::llround(*pixels / static_cast<double>(unit)));
  return std::max<int64_t>(units, 1) * unit;
}

// As a flag or as 0 and 1.
bool is_on(const Json& body, const char* name) {
  const Json* const value = find(body, name);
  return value != nullptr && (*value == Json(true) || *value == Json(1));
}

Accepted<RgbImage> picture_of(const std::string& name, const Json& value) {
  if (!value.is_string())
    return invalid(
        name, fmt::format("{}: expected a picture in base64, found {}", name, shown_json(value)));
  return decode_sent_base64(name, value.get_ref<const std::string&>());
}

Accepted<SentPictures> pictures_of(const Json& body) {
  const Json* const images = find(body, "init_images");
  if (images == nullptr || !images->is_array() || images->size() != 1)
    return invalid("init_images",
                   fmt::format("init_images: expected an array of one picture in base64{}",
                               images != nullptr && images->is_array()
                                   ? fmt::format(", found {}", images->size())
                                   : ""));
  SentPictures sent;
  Accepted<RgbImage> image = picture_of("init_images", images->front());
  if (!image) return tl::unexpected<Refusal>(std::move(image.error()));
  sent.image = std::move(*image);
  const Json* const mask_json = find(body, "mask");
  if (mask_json == nullptr || *mask_json == Json("")) return sent;
  Accepted<RgbImage> mask = picture_of("mask", *mask_json);
  if (!mask) return tl::unexpected<Refusal>(std::move(mask.error()));
  if (is_on(body, "inpainting_mask_invert"))
    for (uint8_t& value : mask->pixels) value = static_cast<uint8_t>(255 - value);
  sent.mask = std::move(*mask);
  const Accepted<double> blur = number_of(body, "mask_blur", 0, kMostMaskBlur, kDefaultMaskBlur);
  if (!blur) return tl::unexpected<Refusal>(blur.error());
  sent.mask_blur = *blur;
  return sent;
}

uint32_t big_endian(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

// Latin-1 as UTF-8; what is UTF-8 already stays.
std::string as_utf8(std::string_view text) {
  if (is_utf8(text)) return std::string(text);
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      result += c;
    } else {
      result += static_cast<char>(0xc0 | byte >> 6);
      result += static_cast<char>(0x80 | (byte & 0x3f));
    }
  }
  return result;
}

// keyword NUL compressed method language NUL translated NUL text; nullopt: compressed or broken.
std::optional<std::string_view> itxt_text(std::string_view rest) {
  if (rest.size() < 2 || rest[0] != 0) return std::nullopt;
  rest.remove_prefix(2);
  for (int i = 0; i < 2; ++i) {
    const size_t end = rest.find('\0');
    if (end == std::string_view::npos) return std::nullopt;
    rest.remove_prefix(end + 1);
  }
  return rest;
}

}  // namespace

std::optional<std::string> a1111_model(std::string_view title,
                                       const std::vector<ServedModel>& models) {
  for (const ServedModel& model : models) {
    if (title == model.name || title == model.name + ".safetensors" ||
        title.starts_with(model.name + " [")) {
      return model.name;
    }
  }
  return std::nullopt;
}

namespace {

Accepted<JobRequest> read_a1111_body(const Json& body, const std::vector<ServedModel>& models,
                                     const std::string& chosen) {
  if (!body.is_object())
    return invalid("", "the body: expected a JSON object with \"prompt\", in UTF-8");
  if (models.empty()) return invalid("", "this server has no model");
  std::string name = chosen.empty() ? models.front().name : chosen;
  if (const Json* const settings = find(body, "override_settings");
      settings && settings->is_object()) {
    if (const Json* const title = find(*settings, "sd_model_checkpoint")) {
      const std::optional<std::string> known =
          title->is_string() ? a1111_model(title->get<std::string>(), models) : std::nullopt;
      if (!known)
        return invalid("override_settings", "sd_model_checkpoint: there is no such model");
      name = *known;
    }
  }
  const auto model = std::find_if(models.begin(), models.end(),
                                  [&](const ServedModel& m) { return m.name == name; });
  if (model == models.end()) return invalid("model", "there is no such model any more");
  const ModelInfo& info = model->info;

  Json own{{"model", name}};
  const Json* const prompt = find(body, "prompt");
  if (prompt != nullptr && prompt->is_string()) {
    auto words = prompt->get<std::string>();
    if (Json loras = take_loras(words); !loras.empty()) own["loras"] = std::move(loras);
    own["prompt"] = words;
  } else if (prompt != nullptr) {
    own["prompt"] = *prompt;
  }
  if (const Json* const negative = find(body, "negative_prompt");
      negative != nullptr && *negative != Json("") && info.negative_prompt_refusal.empty()) {
    own["negative_prompt"] = *negative;
  }
  for (const char* side : {"width", "height"}) {
    if (find(body, side) == nullptr) continue;
    const Accepted<int64_t> pixels = side_of(body, side, info.pixels_per_token);
    if (!pixels) return tl::unexpected<Refusal>(pixels.error());
    own[side] = *pixels;
  }
  if (const Json* const seed = find(body, "seed")) own["seed"] = *seed;
  if (const Json* const steps = find(body, "steps"); steps != nullptr && *steps != Json(-1))
    own["steps"] = *steps;
  if (const Json* const scale = find(body, "cfg_scale")) {
    if (!scale->is_number())
      return invalid("cfg_scale",
                     fmt::format("cfg_scale: expected a number, found {}", shown_json(*scale)));
    if (info.unguided_reason.empty()) own["guidance"] = *scale;
  }
  int64_t count = 1;
  for (const char* factor : {"batch_size", "n_iter"}) {
    const Json* const value = find(body, factor);
    if (value == nullptr) continue;
    constexpr int64_t kMost = 1000;
    if (!value->is_number_integer() || *value < 1 || *value > kMost)
      return invalid(factor,
                     fmt::format("{}: expected a whole number from 1 to {}", factor, kMost));
    count *= value->get<int64_t>();
  }
  own["count"] = count;
  return parse_job_request(json_text(own));
}

}  // namespace

Accepted<A1111Img2Img> parse_a1111_img2img(std::string_view text,
                                           const std::vector<ServedModel>& models,
                                           const std::string& chosen) {
  const Json body = parse_request_json(text);
  Accepted<JobRequest> job = read_a1111_body(body, models, chosen);
  if (!job) return tl::unexpected<Refusal>(std::move(job.error()));
  const Accepted<double> denoising = number_of(body, "denoising_strength", 0, 1, kDefaultDenoising);
  if (!denoising) return tl::unexpected<Refusal>(denoising.error());
  if (*denoising == 0)
    return invalid("denoising_strength",
                   "denoising_strength: expected more than 0, which changes nothing");
  Accepted<SentPictures> sent = pictures_of(body);
  if (!sent) return tl::unexpected<Refusal>(std::move(sent.error()));
  job->strength = *denoising;
  job->sent = std::make_shared<const SentPictures>(std::move(*sent));
  A1111Img2Img wanted{.job = std::move(*job), .init_images = nullptr, .mask = nullptr};
  if (!is_on(body, "include_init_images")) return wanted;
  wanted.init_images = body["init_images"];
  if (const Json* const mask = find(body, "mask")) wanted.mask = *mask;
  return wanted;
}

Accepted<JobRequest> parse_a1111_request(std::string_view text,
                                         const std::vector<ServedModel>& models,
                                         const std::string& chosen) {
  return read_a1111_body(parse_request_json(text), models, chosen);
}

std::vector<std::pair<std::string, std::string>> png_texts(std::string_view png) {
  constexpr std::string_view kSignature = "\x89PNG\r\n\x1a\n";
  constexpr size_t kFrame = 12;  // length, type, checksum
  std::vector<std::pair<std::string, std::string>> texts;
  if (!png.starts_with(kSignature)) return texts;
  png.remove_prefix(kSignature.size());
  while (png.size() >= kFrame) {
    const size_t length = big_endian(png);
    if (length > png.size() - kFrame) break;
    const std::string_view type = png.substr(4, 4), data = png.substr(8, length);
    const size_t end = data.find('\0');
    if (end != std::string_view::npos) {
      std::optional<std::string_view> text;
      if (type == "tEXt") text = data.substr(end + 1);
      if (type == "iTXt") text = itxt_text(data.substr(end + 1));
      if (text) texts.emplace_back(as_utf8(data.substr(0, end)), as_utf8(*text));
    }
    png.remove_prefix(length + kFrame);
  }
  return texts;
}

std::string png_text(std::string_view png, std::string_view name) {
  for (auto& [keyword, text] : png_texts(png))
    if (keyword == name) return text;
  return "";
}

}  // namespace intaglio::server
