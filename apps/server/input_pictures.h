// Pictures that requests bring along: decoded, brought to the size that is drawn, kept as PNG under
// the hash of their bytes, and read again by whoever draws.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/init_picture.h"
#include "models/model_info.h"
#include "server/job.h"
#include "server/job_service.h"

namespace intaglio::server {

// One that is to be kept.
struct InputPicture {
  std::string id;   // KeptPicture::id
  std::string png;  // its bytes
};

// The file of a kept picture; kNotFound: there is none.
using InputFile = std::function<Expected<std::filesystem::path>(const std::string& id)>;

// What a client has sent as the field `name`: the bytes of a PNG, JPEG or WebP file, as a mask by
// how bright it is, or in base64, also as a data: address.
Accepted<RgbImage> decode_sent_picture(const std::string& name, std::string_view bytes);
Accepted<RgbImage> decode_sent_base64(const std::string& name, std::string_view text);
// A mask of OpenAI's clients: what is transparent becomes white.
Accepted<RgbImage> decode_sent_transparency(const std::string& name, std::string_view bytes);

// The size of a picture that asks for none: the proportions of the one it begins from, about as
// many pixels as the model's own pictures have.
void choose_size_of_init(const ModelInfo& model, JobRequest& request);

// From now on no picture is decoded: kStopping. Of a server whose process ends.
void stop_decoding();

// Brings the pictures of `request`, whose size is chosen, to that size: init_image and mask become
// ids of what is returned. `kept`: where those lie that the request names by their ids.
Accepted<std::vector<InputPicture>> fit_input_pictures(JobRequest& request, const InputFile& kept);

// What a job begins from; nullopt: noise alone.
Expected<std::optional<InitPicture>> read_init_picture(const JobRequest& request,
                                                       const InputFile& kept);

// Ids that a request names, each once.
std::vector<std::string> input_ids(const JobRequest& request);
bool is_input_id(std::string_view text);
// Where it lies, below the folder or bucket of pictures: "inputs/ID.png".
std::string input_name(const std::string& id);

}  // namespace intaglio::server
