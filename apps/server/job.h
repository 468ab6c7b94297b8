// A job: so many pictures of one request, from the moment it is accepted until it is forgotten.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/png.h"

namespace intaglio::server {

// A picture that a request begins from, or its mask, as the server keeps it: a PNG of the size that
// is drawn.
struct KeptPicture {
  std::string id;  // 64 hexadecimal digits, of what is in it
  int64_t width = 0, height = 0;
};

// The same as a client has sent them, before they are kept.
struct SentPictures {
  std::optional<RgbImage> image, mask;  // white of a mask is drawn anew, black is kept
  double mask_blur = 0;                 // pixels of the size that is drawn
};

// What a client asks for. nullopt and empty: the model's own choice, or the server's.
struct JobRequest {
  std::string prompt;
  std::optional<std::string> negative_prompt;
  std::string model;  // one the server knows
  std::optional<int64_t> width, height;
  std::optional<std::string> preset;
  std::optional<int64_t> steps;
  std::optional<std::string> guidance;     // "7", "7x45,3x3" (models/presets.h)
  std::optional<std::string> cache;        // PictureRequest::cache
  std::optional<std::string> progressive;  // PictureRequest::progressive
  std::optional<uint64_t> seed;  // of the first picture, the next have the next; none: random
  std::shared_ptr<const SentPictures> sent;     // nullptr where all is kept
  std::optional<KeptPicture> init_image, mask;  // ids alone where a client names them
  std::optional<double> strength;               // InitPicture::strength
  int64_t count = 1;
  struct Lora {
    std::string name;  // of a file in the server's folder of adapters
    float strength = 1.0f;
  };
  std::vector<Lora> loras;
  int priority = 0;                        // higher ones first
  std::optional<double> deadline_seconds;  // from acceptance on; later it fails instead
  int previews = 0;                        // pictures of steps on the way, at most so many
  std::vector<std::string> warnings;       // what the server says of it; of no client
};

enum class JobState { kQueued, kRunning, kDone, kFailed, kCancelled };
inline constexpr std::string_view kJobStateNames[] = {"queued", "running", "done", "failed",
                                                      "cancelled"};
inline bool is_ended(JobState state) { return state >= JobState::kDone; }

struct JobPicture {
  int64_t index = 0;
  uint64_t seed = 0;
  int64_t width = 0, height = 0;
  uint64_t bytes = 0;  // of the PNG
};

struct JobProgress {
  std::string phase;            // of pipeline.h's kPhaseNames
  int64_t picture = 0;          // in work
  int64_t step = 0, steps = 0;  // of its sampling
  double fraction = 0.0;        // of the whole job
  std::optional<double> seconds_left;
};

struct JobError {
  std::string code;  // error_code_name, "deadline" or "interrupted"
  std::string message;
};

struct Job {
  std::string id;      // of letters and digits alone; later ones sort behind earlier ones
  std::string client;  // whose limits it counts towards
  JobState state = JobState::kQueued;
  // Seconds since 1970, UTC; 0: not yet.
  double created = 0, started = 0, finished = 0;
  JobRequest request;    // with every choice made: size, steps, guidance, seed
  int64_t position = 0;  // in the queue, from 1 on; 0: not in it
  JobProgress progress;
  std::vector<JobPicture> pictures;  // those that are written
  std::optional<JobError> error;
};

}  // namespace intaglio::server
