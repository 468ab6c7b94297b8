// The C interface (intaglio.h) with C++20 types: designated initialisers, enum classes, a Result that
// carries its message, handles that free themselves. Its rules, of threads too, are those of intaglio.h.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "intaglio/intaglio.h"

namespace intaglio::api {

enum class Code : int32_t {
  kOk = INTAGLIO_OK,
  kInvalidArgument = INTAGLIO_INVALID_ARGUMENT,
  kUnsupported = INTAGLIO_UNSUPPORTED,
  kOutOfMemory = INTAGLIO_OUT_OF_MEMORY,
  kDeviceError = INTAGLIO_DEVICE_ERROR,
  kInternal = INTAGLIO_INTERNAL,
  kCancelled = INTAGLIO_CANCELLED,
  kNotFound = INTAGLIO_NOT_FOUND,
  kBadFormat = INTAGLIO_BAD_FORMAT,
  kIoError = INTAGLIO_IO_ERROR,
};

enum class Type : int32_t {
  kI8 = INTAGLIO_TYPE_I8,
  kI32 = INTAGLIO_TYPE_I32,
  kF32 = INTAGLIO_TYPE_F32,
  kBF16 = INTAGLIO_TYPE_BF16,
  kF16 = INTAGLIO_TYPE_F16,
};

enum class Fusion : int32_t {
  kNone = INTAGLIO_FUSION_NONE,
  kSwiglu = INTAGLIO_FUSION_SWIGLU,
  kGeluTanh = INTAGLIO_FUSION_GELU_TANH
};

struct [[nodiscard]] Result {
  Code code = Code::kOk;
  std::string message;  // empty if ok

  explicit operator bool() const { return code == Code::kOk; }
  // "ok", "invalid_argument", ...
  const char* name() const { return intaglio_status_name(static_cast<intaglio_status>(code)); }

  static Result from(intaglio_status status) {
    if (status == INTAGLIO_OK) return {};
    return {static_cast<Code>(status), intaglio_last_error()};
  }
};

struct Int8LinearDesc {
  int64_t m = 0, n = 0, k = 0;
  int64_t lda = 0, ldw = 0, ldo = 0;  // 0 = dense
  Type a_type = Type::kBF16;
  Type out_type = Type::kBF16;
  Fusion fusion = Fusion::kNone;
  uint32_t flags = 0;

  intaglio_int8_linear_desc c() const {
    return {.struct_size = sizeof(intaglio_int8_linear_desc),
            .m = m,
            .n = n,
            .k = k,
            .lda = lda,
            .ldw = ldw,
            .ldo = ldo,
            .a_type = static_cast<intaglio_type>(a_type),
            .out_type = static_cast<intaglio_type>(out_type),
            .fusion = static_cast<intaglio_fusion>(fusion),
            .flags = flags};
  }
};

struct Int8LinearArgs {
  const void* a = nullptr;
  const float* a_scale = nullptr;
  const int8_t* w = nullptr;
  const float* w_scale = nullptr;
  const float* bias = nullptr;
  void* out = nullptr;
  void* workspace = nullptr;
  uint64_t workspace_bytes = 0;
  void* stream = nullptr;

  intaglio_int8_linear_args c() const {
    return {.struct_size = sizeof(intaglio_int8_linear_args),
            .a = a,
            .a_scale = a_scale,
            .w = w,
            .w_scale = w_scale,
            .bias = bias,
            .out = out,
            .workspace = workspace,
            .workspace_bytes = workspace_bytes,
            .stream = stream};
  }
};

struct Int8QuantizeRowsArgs {
  int64_t rows = 0, cols = 0;
  int64_t ldx = 0, ldq = 0;  // 0 = dense
  const void* x = nullptr;
  int8_t* q = nullptr;
  float* scale = nullptr;
  void* stream = nullptr;
  Type x_type = Type::kBF16;
  uint32_t flags = 0;

  intaglio_int8_quantize_rows_args c() const {
    return {.struct_size = sizeof(intaglio_int8_quantize_rows_args),
            .rows = rows,
            .cols = cols,
            .ldx = ldx,
            .ldq = ldq,
            .x = x,
            .q = q,
            .scale = scale,
            .stream = stream,
            .x_type = static_cast<intaglio_type>(x_type),
            .flags = flags};
  }
};

inline Result device_check(int32_t device) { return Result::from(intaglio_device_check(device)); }

inline Result int8_quantize_rows(const Int8QuantizeRowsArgs& args) {
  const intaglio_int8_quantize_rows_args c = args.c();
  return Result::from(intaglio_int8_quantize_rows(&c));
}

inline Result int8_linear_workspace(const Int8LinearDesc& desc, uint64_t& bytes) {
  const intaglio_int8_linear_desc c = desc.c();
  return Result::from(intaglio_int8_linear_workspace(&c, &bytes));
}

inline Result int8_linear(const Int8LinearDesc& desc, const Int8LinearArgs& args) {
  const intaglio_int8_linear_desc c_desc = desc.c();
  const intaglio_int8_linear_args c_args = args.c();
  return Result::from(intaglio_int8_linear(&c_desc, &c_args));
}

// Pictures. What is not said the model decides; texts that are null are not said.
struct ModelOptions {
  const char* model = nullptr;
  const char* transformer = nullptr;
  const char* unconditional = nullptr;
  const char* text_encoder = nullptr;
  const char* vae = nullptr;
  const char* tokenizer = nullptr;
  const char* device = nullptr;
  const char* precision = nullptr;
  std::vector<const char*> keep_bf16 = {};
  uint64_t memory_limit = 0;
  uint64_t vram_budget = 0;
  int32_t threads = 0;
  std::vector<const char*> adapters = {};
  std::vector<float> adapter_strengths = {};  // one each, or none: all at 1
  const char* parallel = nullptr;

  // Refers to what this refers to.
  intaglio_model_options c() const {
    return {.struct_size = sizeof(intaglio_model_options),
            .model = model,
            .transformer = transformer,
            .unconditional = unconditional,
            .text_encoder = text_encoder,
            .vae = vae,
            .tokenizer = tokenizer,
            .device = device,
            .precision = precision,
            .keep_bf16 = keep_bf16.data(),
            .keep_bf16_count = keep_bf16.size(),
            .memory_limit = memory_limit,
            .vram_budget = vram_budget,
            .threads = threads,
            .flags = 0,
            .adapters = adapters.data(),
            .adapter_strengths =
                adapter_strengths.size() == adapters.size() ? adapter_strengths.data() : nullptr,
            .adapter_count = adapters.size(),
            .parallel = parallel};
  }
};

struct PictureOptions {
  std::string prompt;
  std::optional<std::string> negative_prompt = {};
  std::optional<std::string> preset = {};
  int64_t width = 0, height = 0, steps = 0;
  std::optional<double> mu = {}, std = {};
  std::vector<float> guidance = {};   // one value, or one a step
  std::optional<uint64_t> seed = {};  // a random one unless it is said
  std::optional<std::string> cache = {};
  // [init_height, init_width, 3] and [init_height, init_width], as intaglio_picture_options has them.
  std::vector<uint8_t> init_pixels = {}, init_mask = {};
  int64_t init_width = 0, init_height = 0;
  double strength = 0.0;
  std::optional<std::string> progressive = {};
  std::optional<double> shift = {};

  // Refers to this.
  intaglio_picture_options c() const {
    return {.struct_size = sizeof(intaglio_picture_options),
            .prompt = prompt.c_str(),
            .negative_prompt = negative_prompt ? negative_prompt->c_str() : nullptr,
            .preset = preset ? preset->c_str() : nullptr,
            .width = width,
            .height = height,
            .steps = steps,
            .mu = mu ? &*mu : nullptr,
            .std = std ? &*std : nullptr,
            .guidance = guidance.data(),
            .guidance_count = guidance.size(),
            .seed = seed.value_or(0),
            .flags = seed ? 0u : static_cast<uint32_t>(INTAGLIO_RANDOM_SEED),
            .reserved = 0,
            .cache = cache ? cache->c_str() : nullptr,
            .init_pixels = init_pixels.empty() ? nullptr : init_pixels.data(),
            .init_width = init_width,
            .init_height = init_height,
            .init_mask = init_mask.empty() ? nullptr : init_mask.data(),
            .strength = strength,
            .progressive = progressive ? progressive->c_str() : nullptr,
            .shift = shift ? &*shift : nullptr};
  }
};

struct PicturePlan : intaglio_picture_plan {
  PicturePlan() : intaglio_picture_plan(INTAGLIO_PICTURE_PLAN_INIT) {}
};

struct PictureInfo : intaglio_picture_info {
  PictureInfo() : intaglio_picture_info(INTAGLIO_PICTURE_INFO_INIT) {}
};

// Phase, done, total; false stops the picture.
using Progress = std::function<bool(std::string_view phase, int64_t done, int64_t total)>;

class Picture {
 public:
  Picture() = default;
  Picture(Picture&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Picture& operator=(Picture&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Picture() { intaglio_picture_free(handle_); }

  explicit operator bool() const { return handle_ != nullptr; }
  // Of zeros if there is no picture. Pixels and times are valid as long as this is.
  PictureInfo info() const {
    PictureInfo info;
    static_cast<void>(intaglio_picture_get(handle_, &info));
    return info;
  }
  std::span<const uint8_t> pixels() const {
    const PictureInfo i = info();
    return {i.pixels, static_cast<size_t>(i.width * i.height * 3)};
  }
  Result save_png(const std::string& path) const {
    return Result::from(intaglio_picture_save_png(handle_, path.c_str()));
  }
  // `bytes` are valid until the next call of this.
  Result png(std::span<const uint8_t>& bytes) {
    const uint8_t* data = nullptr;
    uint64_t size = 0;
    const Result result = Result::from(intaglio_picture_png(handle_, &data, &size));
    bytes = {data, static_cast<size_t>(size)};
    return result;
  }

 private:
  friend class Model;
  intaglio_picture* handle_ = nullptr;
};

class Model {
 public:
  Model() = default;
  Model(Model&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Model& operator=(Model&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Model() { static_cast<void>(intaglio_model_close(handle_)); }

  explicit operator bool() const { return handle_ != nullptr; }

  // Closes the one that is open first.
  Result open(const ModelOptions& options) {
    if (const Result closed = close(); !closed) return closed;
    const intaglio_model_options c = options.c();
    return Result::from(intaglio_model_open(&c, &handle_));
  }
  Result close() {
    const Result result = Result::from(intaglio_model_close(handle_));
    if (result) handle_ = nullptr;
    return result;
  }
  // From the next picture on; one strength each, or none: all at 1.
  Result set_adapters(const std::vector<const char*>& files,
                      const std::vector<float>& strengths = {}) {
    intaglio_adapters c = INTAGLIO_ADAPTERS_INIT;
    c.files = files.data();
    c.strengths = strengths.size() == files.size() ? strengths.data() : nullptr;
    c.count = files.size();
    return Result::from(intaglio_set_adapters(handle_, &c));
  }
  Result plan(const PictureOptions& options, PicturePlan& plan) {
    const intaglio_picture_options c = options.c();
    return Result::from(intaglio_plan(handle_, &c, &plan));
  }
  // An exception of `progress` stops the picture and comes out here.
  Result generate(const PictureOptions& options, Picture& picture, const Progress& progress = {}) {
    struct Calls {
      const Progress& progress;
      std::exception_ptr thrown;
    } calls{progress, nullptr};
    intaglio_callbacks callbacks = INTAGLIO_CALLBACKS_INIT;
    callbacks.user = &calls;
    if (progress) {
      callbacks.progress = [](void* user, const char* phase, int64_t done, int64_t total) noexcept {
        auto* const c = static_cast<Calls*>(user);
        try {
          return c->thrown != nullptr || !c->progress(phase, done, total) ? 1 : 0;
        } catch (...) {
          c->thrown = std::current_exception();
          return 1;
        }
      };
    }
    const intaglio_picture_options c = options.c();
    Picture drawn;
    const Result result = Result::from(intaglio_generate(handle_, &c, &callbacks, &drawn.handle_));
    if (calls.thrown != nullptr) std::rethrow_exception(calls.thrown);
    if (result) picture = std::move(drawn);
    return result;
  }
  // From any thread, and from a signal handler, while the model is open.
  void cancel() { intaglio_cancel(handle_); }

 private:
  intaglio_model* handle_ = nullptr;
};

}  // namespace intaglio::api
