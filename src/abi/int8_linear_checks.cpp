#include "abi/int8_linear_checks.h"

#include <initializer_list>
#include <iterator>
#include <limits>
#include <optional>

namespace intaglio::abi {
namespace {

constexpr int64_t kMaxSize = std::numeric_limits<int32_t>::max();

int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

// INVALID_ARGUMENT with a message.
template <typename... Args>
tl::unexpected<Error> bad(fmt::format_string<Args...> format, Args&&... args) {
  return make_error(ErrorCode::kInvalidArgument, format, std::forward<Args>(args)...);
}

std::optional<DType> float_type(intaglio_type type) {
  switch (type) {
    case INTAGLIO_TYPE_F32:
      return DType::kF32;
    case INTAGLIO_TYPE_BF16:
      return DType::kBF16;
    case INTAGLIO_TYPE_F16:
      return DType::kF16;
    default:
      return std::nullopt;
  }
}

std::optional<DType> out_type(intaglio_type type) {
  return type == INTAGLIO_TYPE_I32 ? DType::kI32 : float_type(type);
}

// The public numbers are those of the enum.
static_assert(static_cast<int>(GemmEpilogue::kNone) == INTAGLIO_FUSION_NONE);
static_assert(static_cast<int>(GemmEpilogue::kSwiglu) == INTAGLIO_FUSION_SWIGLU);
static_assert(static_cast<int>(GemmEpilogue::kGeluTanh) == INTAGLIO_FUSION_GELU_TANH);
static_assert(std::size(kGemmEpilogues) == 3, "each has a public number, asserted above");

// "SWIGLU": what follows INTAGLIO_FUSION_ in the public header.
std::string fusion_name(GemmEpilogue epilogue) {
  std::string name = epilogue_name(epilogue);
  for (char& c : name)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return name;
}

Expected<GemmEpilogue> epilogue_of(intaglio_fusion fusion) {
  std::string names;
  for (const GemmEpilogue epilogue : kGemmEpilogues) {
    if (fusion == static_cast<intaglio_fusion>(epilogue)) return epilogue;
    const bool is_last = epilogue == *std::rbegin(kGemmEpilogues);
    names += (names.empty() ? "" : is_last ? " or " : ", ") + fusion_name(epilogue);
  }
  return bad("desc.fusion: {}, expected {}", fusion, names);
}

Status check_size(const char* name, int64_t found, int64_t least, int64_t most) {
  if (found < least || found > most)
    return bad("{}: {}, expected {} to {}", name, found, least, most);
  return {};
}

struct Matrix {
  const char* stride_name;
  int64_t rows, columns, element_bytes;
};

// Fills in a stride of 0 and checks it, and that the last element's address can be computed.
Status check_stride(const Matrix& matrix, int64_t& stride) {
  if (stride == 0) stride = matrix.columns;
  if (stride < matrix.columns || stride > kMaxSize)
    return bad("{}: {}, expected 0, or {} to {} elements", matrix.stride_name, stride,
               matrix.columns, kMaxSize);
  int64_t bytes = 0;
  if (__builtin_mul_overflow(stride * matrix.element_bytes, matrix.rows, &bytes))
    return bad("{}: {} rows of {} elements of {} bytes overflow 64 bits", matrix.stride_name,
               matrix.rows, stride, matrix.element_bytes);
  return {};
}

Status check_flags(const char* name, uint32_t flags) {
  if ((flags & ~uint32_t{INTAGLIO_TRUST_POINTERS}) != 0)
    return bad("{}: {:#x}, expected 0 or INTAGLIO_TRUST_POINTERS", name, flags);
  return {};
}

struct Pointer {
  const char* name;
  const void* address;
  uint64_t alignment;
  bool required = true;
};

Status check_memory(const Pointer& pointer, int device, const DeviceQueries& queries) {
  INTAGLIO_ASSIGN(const cuda::MemoryInfo memory, queries.memory_info(pointer.address));
  if (memory.kind == cuda::MemoryKind::kHost)
    return bad("{}: {} is host memory, expected memory of CUDA device {}", pointer.name,
               fmt::ptr(pointer.address), device);
  if (memory.kind == cuda::MemoryKind::kDevice && memory.device != device)
    return bad("{}: {} is memory of CUDA device {}, expected the current device {}", pointer.name,
               fmt::ptr(pointer.address), memory.device, device);
  return {};
}

// Null and alignment first, for all: they need no driver.
Status check_pointers(std::initializer_list<Pointer> pointers) {
  for (const Pointer& pointer : pointers) {
    if (pointer.address == nullptr && pointer.required)
      return bad("{}: null, expected a device pointer", pointer.name);
    if (reinterpret_cast<uintptr_t>(pointer.address) % pointer.alignment != 0)
      return bad("{}: at {}, expected a multiple of {} bytes", pointer.name,
                 fmt::ptr(pointer.address), pointer.alignment);
  }
  return {};
}

// The current device, to which the stream and the pointers must belong.
Expected<int> check_device(std::initializer_list<Pointer> pointers, void* stream, bool trusted,
                           const DeviceQueries& queries) {
  INTAGLIO_ASSIGN(const int device, queries.current_device());
  if (trusted) return device;
  INTAGLIO_ASSIGN(const int stream_device, queries.stream_device(stream));
  if (stream_device != device)
    return bad("args.stream: of CUDA device {}, expected the current device {}", stream_device,
               device);
  for (const Pointer& pointer : pointers) {
    if (pointer.address != nullptr) INTAGLIO_TRY(check_memory(pointer, device, queries));
  }
  return device;
}

Status check_types(const intaglio_int8_linear_desc& desc, LinearPlan& plan) {
  if (desc.a_type != INTAGLIO_TYPE_I8) {
    const std::optional<DType> type = float_type(desc.a_type);
    if (!type) return bad("desc.a_type: {}, expected I8, BF16, F16 or F32", desc.a_type);
    plan.a_type = *type;
  }
  const std::optional<DType> out = out_type(desc.out_type);
  if (!out) return bad("desc.out_type: {}, expected BF16, F16, F32 or I32", desc.out_type);
  plan.gemm.out_type = *out;
  INTAGLIO_ASSIGN(plan.gemm.epilogue, epilogue_of(desc.fusion));
  if (*out == DType::kI32 && plan.a_type != DType::kI8)
    return bad("desc.a_type: {}, expected I8 with out_type I32", dtype_name(plan.a_type));
  const std::string fusion = fusion_name(plan.gemm.epilogue);
  if (*out == DType::kI32 && desc.fusion != INTAGLIO_FUSION_NONE)
    return bad("desc.fusion: {}, expected NONE with out_type I32", fusion);
  if (is_gated(plan.gemm.epilogue) && desc.n % (2 * kSwigluGroup) != 0)
    return bad("desc.n: {}, expected a multiple of 32 with {}", desc.n, fusion);
  return check_flags("desc.flags", desc.flags);
}

}  // namespace

Expected<LinearPlan> plan_linear(const intaglio_int8_linear_desc& desc) {
  INTAGLIO_TRY(check_size("desc.m", desc.m, 0, kMaxSize));
  INTAGLIO_TRY(check_size("desc.n", desc.n, 1, kMaxSize));
  INTAGLIO_TRY(check_size("desc.k", desc.k, 1, kMaxK));
  LinearPlan plan;
  INTAGLIO_TRY(check_types(desc, plan));
  plan.flags = desc.flags;

  cuda::S8GemmParams& gemm = plan.gemm;
  gemm.m = static_cast<int32_t>(desc.m);
  gemm.n = static_cast<int32_t>(desc.n);
  gemm.k = static_cast<int32_t>(desc.k);
  plan.lda = desc.lda;
  gemm.ldw = desc.ldw;
  gemm.ldo = desc.ldo;
  const int64_t out_columns = epilogue_columns(gemm.epilogue, desc.n);
  const auto a_bytes = static_cast<int64_t>(dtype_size(plan.a_type));
  const auto out_bytes = static_cast<int64_t>(dtype_size(gemm.out_type));
  INTAGLIO_TRY(check_stride({"desc.lda", desc.m, desc.k, a_bytes}, plan.lda));
  INTAGLIO_TRY(check_stride({"desc.ldw", desc.n, desc.k, 1}, gemm.ldw));
  INTAGLIO_TRY(check_stride({"desc.ldo", desc.m, out_columns, out_bytes}, gemm.ldo));

  gemm.lda = plan.quantizes() ? round_up(desc.k, kQuantizedStride) : plan.lda;
  if (plan.quantizes()) {
    const auto align = static_cast<int64_t>(kWorkspaceAlignment);
    const int64_t scale_offset = round_up(desc.m * gemm.lda, align);
    const int64_t scale_bytes = desc.m * static_cast<int64_t>(sizeof(float));
    plan.scale_offset = static_cast<uint64_t>(scale_offset);
    plan.gemm_offset = static_cast<uint64_t>(scale_offset + round_up(scale_bytes, align));
  }
  return plan;
}

uint64_t workspace_bytes(const LinearPlan& plan, size_t gemm_bytes) {
  return plan.gemm_offset + gemm_bytes;
}

Expected<int> check_linear_args(const LinearPlan& plan, const intaglio_int8_linear_args& args,
                                const DeviceQueries& queries) {
  const bool raw = plan.gemm.out_type == DType::kI32;
  if (plan.quantizes() && args.a_scale != nullptr)
    return bad("args.a_scale: {}, expected null with a of type {}", fmt::ptr(args.a_scale),
               dtype_name(plan.a_type));
  if (raw && args.bias != nullptr)
    return bad("args.bias: {}, expected null with out_type I32", fmt::ptr(args.bias));
  const std::initializer_list<Pointer> pointers = {
      {"args.a", args.a, dtype_size(plan.a_type)},
      {"args.a_scale", args.a_scale, sizeof(float), !raw && !plan.quantizes()},
      {"args.w", args.w, 1},
      {"args.w_scale", args.w_scale, sizeof(float), !raw},
      {"args.bias", args.bias, sizeof(float), false},
      {"args.out", args.out, dtype_size(plan.gemm.out_type)},
  };
  INTAGLIO_TRY(check_pointers(pointers));
  const bool trusted = (plan.flags & INTAGLIO_TRUST_POINTERS) != 0;
  return check_device(pointers, args.stream, trusted, queries);
}

Status check_workspace(const intaglio_int8_linear_args& args, uint64_t needed, int device,
                       bool trusted, const DeviceQueries& queries) {
  if (needed == 0) return {};
  if (args.workspace_bytes < needed)
    return bad("args.workspace_bytes: {}, expected at least {}", args.workspace_bytes, needed);
  const Pointer workspace{"args.workspace", args.workspace, kWorkspaceAlignment};
  INTAGLIO_TRY(check_pointers({workspace}));
  return trusted ? Status{} : check_memory(workspace, device, queries);
}

Expected<cuda::Int8RowsCall> check_quantize_rows(const intaglio_int8_quantize_rows_args& args,
                                                 const DeviceQueries& queries) {
  INTAGLIO_TRY(check_size("args.rows", args.rows, 0, kMaxSize));
  INTAGLIO_TRY(check_size("args.cols", args.cols, 1, kMaxSize));
  INTAGLIO_TRY(check_flags("args.flags", args.flags));
  const std::optional<DType> type = float_type(args.x_type);
  if (!type) return bad("args.x_type: {}, expected BF16, F16 or F32", args.x_type);
  cuda::Int8RowsCall call{.x = args.x,
                          .x_type = *type,
                          .ldx = args.ldx,
                          .q = static_cast<int8_t*>(args.q),
                          .ldq = args.ldq,
                          .scale = static_cast<float*>(args.scale),
                          .rows = static_cast<int32_t>(args.rows),
                          .cols = static_cast<int32_t>(args.cols)};
  const auto x_bytes = static_cast<int64_t>(dtype_size(*type));
  INTAGLIO_TRY(check_stride({"args.ldx", args.rows, args.cols, x_bytes}, call.ldx));
  INTAGLIO_TRY(check_stride({"args.ldq", args.rows, args.cols, 1}, call.ldq));
  if (call.ldq % kQuantizedStride != 0)
    return bad("args.ldq: {}, expected a multiple of {}", call.ldq, kQuantizedStride);
  if (args.rows == 0) return call;
  const std::initializer_list<Pointer> pointers = {
      {"args.x", args.x, static_cast<uint64_t>(x_bytes)},
      {"args.q", args.q, static_cast<uint64_t>(kQuantizedStride)},
      {"args.scale", args.scale, sizeof(float)},
  };
  INTAGLIO_TRY(check_pointers(pointers));
  const bool trusted = (args.flags & INTAGLIO_TRUST_POINTERS) != 0;
  INTAGLIO_TRY(check_device(pointers, args.stream, trusted, queries));
  return call;
}

}  // namespace intaglio::abi
