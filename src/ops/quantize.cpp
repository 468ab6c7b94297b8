#include "ops/quantize.h"

#include <array>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/first_error.h"
#include "core/parallel_tasks.h"
#include "ops/cpu/quantize_kernels.h"
#if defined(INTAGLIO_HAS_CUDA)
#include "ops/cuda/linear.h"
#endif

namespace intaglio {
namespace {

// Rows are handed out in pieces of about this many elements.
constexpr int64_t kPieceElements = 32 << 10;
// Of rows that are read first: a call of the system each, and still in a cache when they are used.
constexpr int64_t kReadElements = 128 << 10;
// One thread quantizes 128 Ki elements in about 12 us; starting a second one does not pay below.
constexpr int64_t kSerialElements = 128 << 10;

// The row kernels of an instruction set.
struct RowKernels {
  float (*f32)(const float*, int64_t, int8_t*);
  float (*bf16)(const uint16_t*, int64_t, int8_t*);
  float (*smooth_f32)(const float*, const float*, int64_t, int8_t*);
  float (*smooth_bf16)(const uint16_t*, const float*, int64_t, int8_t*);
  float (*rotate_f32)(const float*, int64_t, int64_t, int8_t*);
  float (*rotate_bf16)(const uint16_t*, int64_t, int64_t, int8_t*);
  void (*map_bytes)(const uint8_t*, const int8_t*, int64_t, int8_t*);
};

template <typename T>
const T* row_of(const QuantizeRowsArgs& args, int64_t r) {
  return static_cast<const T*>(args.x) + r * args.ldx;
}

// A row has at most 128 magnitudes, so that these alone are quantized: the row of floats that has
// each of them once has the same largest one, hence the same factor, and gives each its q.
template <const RowKernels& kKernels>
float quantize_e4m3_row(const uint8_t* x, float scale, int64_t cols, int8_t* q) {
  uint8_t most = 0;
  for (int64_t c = 0; c < cols; ++c) most = std::max<uint8_t>(most, x[c] & 0x7F);
  uint8_t codes[kE4m3Magnitudes] = {};
  for (int i = 0; i <= most; ++i) codes[i] = static_cast<uint8_t>(i);
  float values[kE4m3Magnitudes];
  convert_to_f32(codes, DType::kF8E4M3, values, kE4m3Magnitudes);
  for (float& value : values) value *= scale;
  int8_t table[kE4m3Magnitudes];
  const float row_scale = kKernels.f32(values, kE4m3Magnitudes, table);
  kKernels.map_bytes(x, table, cols, q);
  return row_scale;
}

template <const RowKernels& kKernels>
float quantize_row(const QuantizeRowsDesc& desc, const QuantizeRowsArgs& args, int64_t r) {
  int8_t* const q = args.q + r * args.cols;
  if (desc.input == DType::kF8E4M3)
    return quantize_e4m3_row<kKernels>(row_of<uint8_t>(args, r), args.x_scale[r], args.cols, q);
  const bool is_f32 = desc.input == DType::kF32;
  if (desc.rotation.kind == RotationKind::kConvRot) {
    const int64_t group = desc.rotation.group;
    return is_f32 ? kKernels.rotate_f32(row_of<float>(args, r), group, args.cols, q)
                  : kKernels.rotate_bf16(row_of<uint16_t>(args, r), group, args.cols, q);
  }
  if (desc.smooth) {
    return is_f32 ? kKernels.smooth_f32(row_of<float>(args, r), args.smooth, args.cols, q)
                  : kKernels.smooth_bf16(row_of<uint16_t>(args, r), args.smooth, args.cols, q);
  }
  return is_f32 ? kKernels.f32(row_of<float>(args, r), args.cols, q)
                : kKernels.bf16(row_of<uint16_t>(args, r), args.cols, q);
}

template <const RowKernels& kKernels>
Status run(const Context& context, const QuantizeRowsDesc& desc, const QuantizeRowsArgs& args) {
  const int64_t grain = std::max<int64_t>(1, kPieceElements / std::max<int64_t>(1, args.cols));
  const int threads = args.rows * args.cols <= kSerialElements ? 1 : context.threads;
  INTAGLIO_TRY(
      parallel_tasks(context, threads, args.rows, grain, [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r) args.scale[r] = quantize_row<kKernels>(desc, args, r);
      }));
  return {};
}

constexpr RowKernels kRef{ref_quantize_row_f32,
                          ref_quantize_row_bf16,
                          ref_smooth_quantize_row_f32,
                          ref_smooth_quantize_row_bf16,
                          ref_rotate_quantize_row_f32,
                          ref_rotate_quantize_row_bf16,
                          ref_map_bytes};

Refusal refuse(const QuantizeRowsDesc& desc) {
  if (desc.input == DType::kF8E4M3) {
    const bool plain = desc.rotation.kind == RotationKind::kNone && !desc.smooth;
    return plain ? nullptr : "F8_E4M3 rows are neither rotated nor smoothed";
  }
  return desc.input == DType::kF32 || desc.input == DType::kBF16
             ? nullptr
             : "the input must be F32, BF16 or F8_E4M3";
}

#if defined(INTAGLIO_X86)
constexpr RowKernels kAvx512{avx512_quantize_row_f32,
                             avx512_quantize_row_bf16,
                             avx512_smooth_quantize_row_f32,
                             avx512_smooth_quantize_row_bf16,
                             avx512_rotate_quantize_row_f32,
                             avx512_rotate_quantize_row_bf16,
                             avx512_map_bytes};
constexpr RowKernels kAvx2{avx2_quantize_row_f32,
                           avx2_quantize_row_bf16,
                           avx2_smooth_quantize_row_f32,
                           avx2_smooth_quantize_row_bf16,
                           avx2_rotate_quantize_row_f32,
                           avx2_rotate_quantize_row_bf16,
                           avx2_map_bytes};

Refusal avx512_can_run(const QuantizeRowsDesc& desc, const Context& context) {
  if (context.cpu.isa < CpuIsa::kAvx512Vnni) return "needs AVX-512";
  return refuse(desc);
}
Refusal avx2_can_run(const QuantizeRowsDesc& desc, const Context& context) {
  if (context.cpu.isa < CpuIsa::kAvx2) return "needs AVX2";
  return refuse(desc);
}
#endif
Refusal ref_can_run(const QuantizeRowsDesc& desc, const Context&) { return refuse(desc); }

std::string describe(const QuantizeRowsDesc& desc) {
  std::string text(dtype_name(desc.input));
  if (desc.rotation.kind == RotationKind::kConvRot)
    text += fmt::format(" rotated in {}", desc.rotation.group);
  if (desc.smooth) text += " smoothed";
  return text;
}

Status to_e4m3([[maybe_unused]] const Context& context, [[maybe_unused]] const TensorView& x,
               [[maybe_unused]] const Activation& out) {
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) {
    return cuda::op::quantize_e4m3_rows(context, x,
                                        {.q = out.as<uint8_t>(), .scale = out.scale_row});
  }
#endif
  return make_error(ErrorCode::kUnsupported, "quantize_rows: e4m3 rows are made on a GPU");
}

}  // namespace

std::span<const QuantizeRowsImplementation> quantize_rows_implementations() {
  static constexpr std::array list {
#if defined(INTAGLIO_HAS_CUDA)
    QuantizeRowsImplementation{"cuda_quantize_rows", cuda::op::quantize_rows_refusal,
                               cuda::op::run_quantize_rows, DeviceKind::kGpu},
#endif
#if defined(INTAGLIO_X86)
        QuantizeRowsImplementation{"avx512_quantize_rows", avx512_can_run, run<kAvx512>},
        QuantizeRowsImplementation{"avx2_quantize_rows", avx2_can_run, run<kAvx2>},
#endif
        QuantizeRowsImplementation {
      "ref_quantize_rows", ref_can_run, run<kRef>
    }
  };
  return list;
}

namespace {

Status check(const TensorView& x, const Activation& out, const ColumnTransform& columns) {
  if (x.shape.rank != 2 || x.shape[0] != out.rows || x.shape[1] != out.cols || out.cols < 1 ||
      out.rows < 0) {
    return make_error(ErrorCode::kShapeMismatch, "quantize_rows: x is {}, [{}, {}] expected",
                      to_string(x.shape), out.rows, out.cols);
  }
  if (!has_row_scales(out.dtype) || x.data == nullptr || out.data == nullptr ||
      out.scale_row == nullptr) {
    return make_error(ErrorCode::kInvalidArgument,
                      "quantize_rows: the output is {}, I8 or F8_E4M3 with row scales expected, "
                      "and no null pointers",
                      dtype_name(out.dtype));
  }
  const bool rotated = columns.rotation.kind != RotationKind::kNone;
  if (const char* reason = rotation_refusal(out.cols, columns.rotation)) {
    return make_error(ErrorCode::kInvalidArgument, "quantize_rows: {} columns in groups of {}: {}",
                      out.cols, columns.rotation.group, reason);
  }
  if (rotated && columns.smooth != nullptr) {
    return make_error(ErrorCode::kInvalidArgument,
                      "quantize_rows: rotation and smoothing of the same rows, one expected");
  }
  if (out.dtype == DType::kF8E4M3 && (rotated || columns.smooth != nullptr)) {
    return make_error(ErrorCode::kUnsupported,
                      "quantize_rows: e4m3 rows are neither rotated nor smoothed");
  }
  return {};
}

}  // namespace

Status quantize_rows(const Context& context, TensorView x, Activation out,
                     const ColumnTransform& columns) {
  INTAGLIO_TRY(check(x, out, columns));
  if (out.dtype == DType::kF8E4M3) return to_e4m3(context, x, out);
  const QuantizeRowsDesc desc{x.dtype, columns.rotation, columns.smooth != nullptr};
  INTAGLIO_ASSIGN(const QuantizeRowsImplementation* implementation,
                  choose(OpName{"quantize_rows", "int8 quantization"},
                         quantize_rows_implementations(), desc, context, describe));
  return implementation->run(context, desc,
                             {.x = x.data,
                              .ldx = out.cols,
                              .rows = out.rows,
                              .cols = out.cols,
                              .smooth = columns.smooth,
                              .q = out.as<int8_t>(),
                              .scale = out.scale_row});
}

Status quantize_weight_rows(const Context& context, const StoredLinear& w, int8_t* q,
                            float* scale) {
  if (w.values.shape.rank != 2 || w.n() < 1 || w.k() < 1) return {};
  const int64_t k = w.k();
  const bool is_e4m3 = w.encoding == Encoding::kFloat && w.values.dtype == DType::kF8E4M3 &&
                       w.scales.dtype == DType::kF32 && w.scales.shape == Shape{w.n()};
  const QuantizeRowsDesc desc{.input = is_e4m3 ? DType::kF8E4M3 : DType::kF32};
  INTAGLIO_ASSIGN(const QuantizeRowsImplementation* implementation,
                  choose(OpName{"quantize_weight_rows", "int8 quantization"},
                         quantize_rows_implementations(), desc, context, describe));
  const auto run_e4m3 = [&](const Context& by, const StoredLinear& rows, int64_t at) {
    return implementation->run(by, desc,
                               {.x = rows.values.data,
                                .x_scale = rows.scales.as<float>(),
                                .ldx = k,
                                .rows = rows.n(),
                                .cols = k,
                                .q = q + at * k,
                                .scale = scale + at});
  };
  if (is_e4m3 && w.reader == nullptr) return run_e4m3(context, w, 0);
  Context serial = context;
  serial.threads = 1;
  const auto quantize = [&](int64_t begin, int64_t end) -> Status {
    AlignedBuffer memory;
    INTAGLIO_ASSIGN(const StoredLinear rows, w.read(begin, end - begin, memory));
    if (is_e4m3) return run_e4m3(serial, rows, begin);
    // Weights come in any float type and unaligned; a row at a time goes through float.
    std::vector<float> row(static_cast<size_t>(k));
    for (int64_t r = begin; r < end; ++r) {
      dequantize_row(rows, r - begin, row.data());
      static_cast<void>(implementation->run(
          serial, desc,
          {.x = row.data(), .ldx = k, .rows = 1, .cols = k, .q = q + r * k, .scale = scale + r}));
    }
    return {};
  };
  const int64_t piece = w.reader == nullptr ? kPieceElements : kReadElements;
  FirstError failed;
  INTAGLIO_TRY(parallel_tasks(
      context, w.n(), std::max<int64_t>(1, piece / k),
      [&](int64_t begin, int64_t end, int) { failed.keep(begin, quantize(begin, end)); }));
  return failed.status();
}

}  // namespace intaglio
