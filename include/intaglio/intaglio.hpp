// The C interface (intaglio.h) with C++20 types: designated initialisers, enum classes, a Result that carries its message.
#pragma once

#include <cstdint>
#include <string>

#include "intaglio/intaglio.h"

namespace intaglio::api {

enum class Code : int32_t {
  kOk = INTAGLIO_OK,
  kInvalidArgument = INTAGLIO_INVALID_ARGUMENT,
  kUnsupported = INTAGLIO_UNSUPPORTED,
  kOutOfMemory = INTAGLIO_OUT_OF_MEMORY,
  kDeviceError = INTAGLIO_DEVICE_ERROR,
  kInternal = INTAGLIO_INTERNAL,
};

enum class Type : int32_t {
  kI8 = INTAGLIO_TYPE_I8,
  kI32 = INTAGLIO_TYPE_I32,
  kF32 = INTAGLIO_TYPE_F32,
  kBF16 = INTAGLIO_TYPE_BF16,
  kF16 = INTAGLIO_TYPE_F16,
};

enum class Fusion : int32_t { kNone = INTAGLIO_FUSION_NONE, kSwiglu = INTAGLIO_FUSION_SWIGLU };

struct [[nodiscard]] Result {
  Code code = Code::kOk;
  std::string message;  // empty if ok

  explicit operator bool() const { return code == Code::kOk; }

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

}  // namespace intaglio::api
