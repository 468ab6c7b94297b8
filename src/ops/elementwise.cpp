#include "ops/elementwise.h"

#include <initializer_list>

#include "ops/cpu/float_row_kernels.h"
#include "ops/cuda/elementwise.h"
#include "ops/elementwise_implementations.h"

namespace intaglio {
namespace {

struct Size {
  const char* name;
  int64_t value;
};
struct Pointer {
  const char* name;
  const void* value;
};

// That no size is negative and, where none is 0, every pointer is given.
Status check(std::string_view op, std::initializer_list<Size> sizes,
             std::initializer_list<Pointer> pointers) {
  bool empty = false;
  for (const Size& size : sizes) {
    if (size.value < 0) {
      return make_error(ErrorCode::kInvalidArgument, "{}: {} is {}; expected 0 or more", op,
                        size.name, size.value);
    }
    empty |= size.value == 0;
  }
  for (const Pointer& pointer : pointers) {
    if (!empty && pointer.value == nullptr)
      return make_error(ErrorCode::kInvalidArgument, "{}: {} is null", op, pointer.name);
  }
  return {};
}

Status check_float(std::string_view op, const char* name, DType dtype) {
  if (dtype == DType::kF32 || dtype == DType::kBF16) return {};
  return make_error(ErrorCode::kUnsupported, "{}: {} is {}; expected F32 or BF16", op, name,
                    dtype_name(dtype));
}

const char* name_of(Nonlinearity function) {
  return visit_nonlinearity(function, [](auto f) { return f.kName; });
}

constexpr auto kConvertElements = op_list<OpImplementation<ConvertElements>>(
    GpuEntry<cuda::op::convert_elements_refusal, cuda::op::convert_elements>{
        "cuda_convert_elements"},
    {{"cpu_convert_elements", takes_all, cpu::convert_elements},
     {"ref_convert_elements", takes_all, ref::convert_elements}});

constexpr auto kActivateInPlace = op_list<OpImplementation<ActivateInPlace>>(
    GpuEntry<cuda::op::activate_in_place_refusal, cuda::op::activate_in_place>{
        "cuda_activate_in_place"},
    {{"cpu_activate_in_place", takes_all, cpu::activate_in_place},
     {"ref_activate_in_place", takes_all, ref::activate_in_place}});

constexpr auto kAddInPlace = op_list<OpImplementation<AddInPlace>>(
    GpuEntry<cuda::op::add_in_place_refusal, cuda::op::add_in_place>{"cuda_add_in_place"},
    {{"cpu_add_in_place", takes_all, cpu::add_in_place},
     {"ref_add_in_place", takes_all, ref::add_in_place}});

template <const cpu::FloatRowKernels* kKernels>
Status gate_rows_of(const Context& context, const GateRows& op) {
  return cpu::gate_rows_by(*kKernels, context, op);
}

constexpr auto kScatterTap = op_list<OpImplementation<ScatterTap>>(
    GpuEntry<cuda::op::scatter_tap_refusal, cuda::op::scatter_tap>{"cuda_scatter_tap"},
    {{"cpu_scatter_tap", takes_all, cpu::scatter_tap},
     {"ref_scatter_tap", takes_all, ref::scatter_tap}});

constexpr auto kPlaceTile = op_list<OpImplementation<PlaceTile>>(
    GpuEntry<cuda::op::place_tile_refusal, cuda::op::place_tile>{"cuda_place_tile"},
    {{"cpu_place_tile", takes_all, cpu::place_tile},
     {"ref_place_tile", takes_all, ref::place_tile}});

template <const cpu::FloatRowKernels* kKernels>
Status softmax_rows_of(const Context& context, const SoftmaxRows& op) {
  return cpu::softmax_rows_by(*kKernels, context, op);
}

#if defined(INTAGLIO_X86)
template <typename Op>
Refusal needs_avx512(const Op&, const Context& context) {
  return context.cpu.isa < CpuIsa::kAvx512Vnni ? "needs AVX-512" : nullptr;
}

template <typename Op>
Refusal needs_avx2(const Op&, const Context& context) {
  return context.cpu.isa < CpuIsa::kAvx2 ? "needs AVX2 and FMA" : nullptr;
}
#endif

constexpr auto kGateRows = op_list<OpImplementation<GateRows>>(
    GpuEntry<cuda::op::gate_rows_refusal, cuda::op::gate_rows>{"cuda_gate_rows"}, {
#if defined(INTAGLIO_X86)
      {"avx512_gate_rows", needs_avx512<GateRows>, gate_rows_of<&cpu::kAvx512FloatRows>},
          {"avx2_gate_rows", needs_avx2<GateRows>, gate_rows_of<&cpu::kAvx2FloatRows>},
#endif
          {"cpu_gate_rows", takes_all, gate_rows_of<&cpu::kGenericFloatRows>}, {
        "ref_gate_rows", takes_all, ref::gate_rows
      }
    });

constexpr auto kSoftmaxRows = op_list<OpImplementation<SoftmaxRows>>(
    GpuEntry<cuda::op::softmax_rows_refusal, cuda::op::softmax_rows>{"cuda_softmax_rows"}, {
#if defined(INTAGLIO_X86)
      {"avx512_softmax_rows", needs_avx512<SoftmaxRows>, softmax_rows_of<&cpu::kAvx512FloatRows>},
          {"avx2_softmax_rows", needs_avx2<SoftmaxRows>, softmax_rows_of<&cpu::kAvx2FloatRows>},
#endif
          {"cpu_softmax_rows", takes_all, softmax_rows_of<&cpu::kGenericFloatRows>}, {
        "ref_softmax_rows", takes_all, ref::softmax_rows
      }
    });

template <const cpu::FloatRowKernels* kKernels>
Status epilogue_rows_of(const Context& context, const EpilogueRows& op) {
  return cpu::epilogue_rows_by(*kKernels, context, op);
}

#if defined(INTAGLIO_X86)
Refusal epilogue_needs_avx512(const EpilogueRows&, const Context& context) {
  return context.cpu.isa < CpuIsa::kAvx512Vnni ? "needs AVX-512" : nullptr;
}

Refusal epilogue_needs_avx2(const EpilogueRows&, const Context& context) {
  return context.cpu.isa < CpuIsa::kAvx2 ? "needs AVX2 and FMA" : nullptr;
}
#endif

constexpr auto kEpilogueRows = op_list<OpImplementation<EpilogueRows>>(
    GpuEntry<cuda::op::epilogue_rows_refusal, cuda::op::epilogue_rows>{"cuda_epilogue_rows"}, {
#if defined(INTAGLIO_X86)
      {"avx512_epilogue_rows", epilogue_needs_avx512, epilogue_rows_of<&cpu::kAvx512FloatRows>},
          {"avx2_epilogue_rows", epilogue_needs_avx2, epilogue_rows_of<&cpu::kAvx2FloatRows>},
#endif
          {"cpu_epilogue_rows", takes_all, epilogue_rows_of<&cpu::kGenericFloatRows>}, {
        "ref_epilogue_rows", takes_all, ref::epilogue_rows
      }
    });

}  // namespace

OpList<ConvertElements> convert_elements_implementations() { return kConvertElements; }

Status convert_elements(const Context& context, const ConvertElements& op) {
  constexpr std::string_view kName = "convert_elements";
  INTAGLIO_TRY(check_float(kName, "source", op.source_dtype));
  INTAGLIO_TRY(check_float(kName, "target", op.target_dtype));
  INTAGLIO_TRY(check(kName, {{"count", op.count}}, {{"source", op.source}, {"target", op.target}}));
  return run_first(OpName{kName, "a conversion"}, convert_elements_implementations(), context, op,
                   [](const ConvertElements& o) {
                     return fmt::format("{} {} to {}", o.count, dtype_name(o.source_dtype),
                                        dtype_name(o.target_dtype));
                   });
}

OpList<ActivateInPlace> activate_in_place_implementations() { return kActivateInPlace; }

Status activate_in_place(const Context& context, const ActivateInPlace& op) {
  constexpr std::string_view kName = "activate_in_place";
  INTAGLIO_TRY(check(kName, {{"rows", op.rows}, {"cols", op.cols}}, {{"x", op.x}}));
  if (op.ld < op.cols) {
    return make_error(ErrorCode::kInvalidArgument, "{}: ld is {}; expected cols, {}, or more",
                      kName, op.ld, op.cols);
  }
  return run_first(OpName{kName, "an activation"}, activate_in_place_implementations(), context, op,
                   [](const ActivateInPlace& o) {
                     return fmt::format("{} [{}, {}]", name_of(o.function), o.rows, o.cols);
                   });
}

OpList<AddInPlace> add_in_place_implementations() { return kAddInPlace; }

Status add_in_place(const Context& context, const AddInPlace& op) {
  constexpr std::string_view kName = "add_in_place";
  INTAGLIO_TRY(check_float(kName, "y", op.y_dtype));
  INTAGLIO_TRY(check(kName, {{"count", op.count}}, {{"h", op.h}, {"y", op.y}}));
  return run_first(OpName{kName, "a sum"}, add_in_place_implementations(), context, op,
                   [](const AddInPlace& o) {
                     return fmt::format("{} F32 and {}", o.count, dtype_name(o.y_dtype));
                   });
}

OpList<GateRows> gate_rows_implementations() { return kGateRows; }

Status gate_rows(const Context& context, const GateRows& op) {
  constexpr std::string_view kName = "gate_rows";
  INTAGLIO_TRY(check_float(kName, "x", op.dtype));
  INTAGLIO_TRY(
      check(kName, {{"rows", op.rows}, {"cols", op.cols}}, {{"x", op.x}, {"gate", op.gate}}));
  if (op.ld < op.cols) {
    return make_error(ErrorCode::kInvalidArgument, "{}: ld is {}; expected cols, {}, or more",
                      kName, op.ld, op.cols);
  }
  if (op.rows == 0 || op.cols == 0) return {};
  return run_first(OpName{kName, "a gate"}, gate_rows_implementations(), context, op,
                   [](const GateRows& o) {
                     return fmt::format("[{}, {}] {}", o.rows, o.cols, dtype_name(o.dtype));
                   });
}

OpList<ScatterTap> scatter_tap_implementations() { return kScatterTap; }

Status scatter_tap(const Context& context, const ScatterTap& op) {
  constexpr std::string_view kName = "scatter_tap";
  INTAGLIO_TRY(check(kName, {{"rows", op.rows}, {"cols", op.cols}},
                     {{"h", op.h}, {"features", op.features}}));
  if (op.channel_stride < 1 || op.offset < 0 ||
      (op.cols > 0 && op.offset + (op.cols - 1) * op.channel_stride >= op.ld)) {
    return make_error(ErrorCode::kInvalidArgument,
                      "{}: {} channels, {} apart, from {} on do not fit into rows of {}", kName,
                      op.cols, op.channel_stride, op.offset, op.ld);
  }
  return run_first(OpName{kName, "text features"}, scatter_tap_implementations(), context, op,
                   [](const ScatterTap& o) {
                     return fmt::format("[{}, {}] into [{}, {}], {} apart", o.rows, o.cols, o.rows,
                                        o.ld, o.channel_stride);
                   });
}

OpList<SoftmaxRows> softmax_rows_implementations() { return kSoftmaxRows; }

Status softmax_rows(const Context& context, const SoftmaxRows& op) {
  constexpr std::string_view kName = "softmax_rows";
  INTAGLIO_TRY(check_float(kName, "out", op.out_dtype));
  INTAGLIO_TRY(check(kName, {{"rows", op.rows}, {"cols", op.cols}},
                     {{"scores", op.scores}, {"out", op.out}}));
  if (!(op.scale >= 0.0f)) {
    return make_error(ErrorCode::kInvalidArgument, "{}: scale is {}; expected 0 or more", kName,
                      op.scale);
  }
  if (op.rows == 0 || op.cols == 0) return {};
  return run_first(OpName{kName, "a softmax"}, softmax_rows_implementations(), context, op,
                   [](const SoftmaxRows& o) {
                     return fmt::format("[{}, {}] -> {}", o.rows, o.cols, dtype_name(o.out_dtype));
                   });
}

OpList<EpilogueRows> epilogue_rows_implementations() { return kEpilogueRows; }

Status epilogue_rows(const Context& context, const EpilogueRows& op) {
  constexpr std::string_view kName = "epilogue_rows";
  INTAGLIO_TRY(check_float(kName, "product", op.product_dtype));
  INTAGLIO_TRY(check_float(kName, "out", op.out_dtype));
  INTAGLIO_TRY(check(kName, {{"rows", op.rows}, {"cols", op.cols}},
                     {{"product", op.product}, {"out", op.out}}));
  if (op.epilogue == GemmEpilogue::kNone) {
    return make_error(ErrorCode::kInvalidArgument,
                      "{}: the epilogue is none; expected one that changes the product", kName);
  }
  if (op.ldo < op.cols) {
    return make_error(ErrorCode::kInvalidArgument, "{}: ldo is {}; expected cols, {}, or more",
                      kName, op.ldo, op.cols);
  }
  if (op.product_stride() < op.product_cols()) {
    return make_error(ErrorCode::kInvalidArgument,
                      "{}: ld is {}; expected 0 (dense) or the product's columns, {}, or more",
                      kName, op.ld, op.product_cols());
  }
  if (op.rows == 0 || op.cols == 0) return {};
  if (const auto* chosen = first_taker(epilogue_rows_implementations(), op, context))
    return chosen->run(context, op);
  return make_error(ErrorCode::kUnsupported,
                    "{}: {} of [{}, {}] {} to rows of {} {} cannot run on this device", kName,
                    epilogue_name(op.epilogue), op.rows, op.cols, dtype_name(op.product_dtype),
                    op.ldo, dtype_name(op.out_dtype));
}

OpList<PlaceTile> place_tile_implementations() { return kPlaceTile; }

Status place_tile(const Context& context, const PlaceTile& op) {
  constexpr std::string_view kName = "place_tile";
  INTAGLIO_TRY(check(kName, {{"tile_height", op.tile_height}, {"tile_width", op.tile_width}},
                     {{"tile", op.tile},
                      {"picture", op.picture},
                      {"row_share", op.row_share},
                      {"column_share", op.column_share}}));
  if (op.first_row < 0 || op.first_column < 0 || op.first_row > op.height - op.tile_height ||
      op.first_column > op.width - op.tile_width) {
    return make_error(
        ErrorCode::kInvalidArgument, "{}: {}x{} at row {}, column {} does not lie inside {}x{}",
        kName, op.tile_width, op.tile_height, op.first_row, op.first_column, op.width, op.height);
  }
  return run_first(OpName{kName, "a tile of the picture"}, place_tile_implementations(), context,
                   op, [](const PlaceTile& o) {
                     return fmt::format("{}x{} in {}x{}", o.tile_width, o.tile_height, o.width,
                                        o.height);
                   });
}

}  // namespace intaglio
