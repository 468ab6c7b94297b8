// The INT8 linear of include/intaglio/intaglio.h: read the structs, check, call the GPU.
#include "abi/int8_device.h"
#include "abi/int8_linear_checks.h"
#include "abi/last_error.h"
#include "abi/read_struct.h"
#include "intaglio/intaglio.h"

namespace intaglio::abi {
namespace {

// Sizes of the first version of each struct. A field added later does not change them.
constexpr uint64_t kDescSize = 72;
constexpr uint64_t kArgsSize = 80;
constexpr uint64_t kRowsSize = 80;
static_assert(sizeof(intaglio_int8_linear_desc) == kDescSize);
static_assert(sizeof(intaglio_int8_linear_args) == kArgsSize);
static_assert(sizeof(intaglio_int8_quantize_rows_args) == kRowsSize);

Status quantize_rows(const intaglio_int8_quantize_rows_args* args) {
  intaglio_int8_quantize_rows_args read{};
  INTAGLIO_TRY(read_struct(args, "args", kRowsSize, read));
  INTAGLIO_ASSIGN(const cuda::Int8RowsCall call, check_quantize_rows(read, int8_device()));
  if (call.rows == 0) return {};
  return int8_device().quantize_rows(call, read.stream);
}

Expected<uint64_t> needed_workspace(const LinearPlan& plan, int device) {
  INTAGLIO_ASSIGN(const size_t gemm, int8_device().gemm_workspace(plan.gemm, device));
  return workspace_bytes(plan, gemm);
}

Status linear_workspace(const intaglio_int8_linear_desc* desc, uint64_t* bytes) {
  intaglio_int8_linear_desc read{};
  INTAGLIO_TRY(read_struct(desc, "desc", kDescSize, read));
  if (bytes == nullptr)
    return make_error(ErrorCode::kInvalidArgument, "bytes: null, expected a place for the answer");
  INTAGLIO_ASSIGN(const LinearPlan plan, plan_linear(read));
  *bytes = 0;
  if (plan.gemm.m == 0) return {};
  INTAGLIO_ASSIGN(const int device, int8_device().current_device());
  INTAGLIO_ASSIGN(*bytes, needed_workspace(plan, device));
  return {};
}

Status linear(const intaglio_int8_linear_desc* desc, const intaglio_int8_linear_args* args) {
  intaglio_int8_linear_desc read_desc{};
  intaglio_int8_linear_args read{};
  INTAGLIO_TRY(read_struct(desc, "desc", kDescSize, read_desc));
  INTAGLIO_TRY(read_struct(args, "args", kArgsSize, read));
  INTAGLIO_ASSIGN(const LinearPlan plan, plan_linear(read_desc));
  if (plan.gemm.m == 0) return {};
  INTAGLIO_ASSIGN(const int device, check_linear_args(plan, read, int8_device()));
  INTAGLIO_ASSIGN(const uint64_t needed, needed_workspace(plan, device));
  const bool trusted = (plan.flags & INTAGLIO_TRUST_POINTERS) != 0;
  INTAGLIO_TRY(check_workspace(read, needed, device, trusted, int8_device()));

  cuda::S8GemmParams gemm = plan.gemm;
  gemm.a = static_cast<const int8_t*>(read.a);
  gemm.a_scale_row = static_cast<const float*>(read.a_scale);
  gemm.w = static_cast<const int8_t*>(read.w);
  gemm.w_scale_col = static_cast<const float*>(read.w_scale);
  gemm.bias = static_cast<const float*>(read.bias);
  gemm.out = read.out;
  auto* workspace = static_cast<unsigned char*>(read.workspace);
  if (plan.quantizes()) {
    const cuda::Int8RowsCall rows{.x = read.a,
                                  .x_type = plan.a_type,
                                  .ldx = plan.lda,
                                  .q = reinterpret_cast<int8_t*>(workspace),
                                  .ldq = gemm.lda,
                                  .scale = reinterpret_cast<float*>(workspace + plan.scale_offset),
                                  .rows = gemm.m,
                                  .cols = gemm.k};
    INTAGLIO_TRY(int8_device().quantize_rows(rows, read.stream));
    gemm.a = rows.q;
    gemm.a_scale_row = rows.scale;
  }
  const size_t gemm_bytes = needed - plan.gemm_offset;
  const cuda::Int8Workspace rest{gemm_bytes > 0 ? workspace + plan.gemm_offset : nullptr,
                                 gemm_bytes};
  return int8_device().gemm(gemm, device, rest, read.stream);
}

}  // namespace
}  // namespace intaglio::abi

using intaglio::abi::guarded;

intaglio_status intaglio_device_check(int32_t device) {
  return guarded([&] { return intaglio::abi::int8_device().check_device(device); });
}

intaglio_status intaglio_int8_quantize_rows(const intaglio_int8_quantize_rows_args* args) {
  return guarded([&] { return intaglio::abi::quantize_rows(args); });
}

intaglio_status intaglio_int8_linear_workspace(const intaglio_int8_linear_desc* desc,
                                               uint64_t* bytes) {
  return guarded([&] { return intaglio::abi::linear_workspace(desc, bytes); });
}

intaglio_status intaglio_int8_linear(const intaglio_int8_linear_desc* desc,
                                     const intaglio_int8_linear_args* args) {
  return guarded([&] { return intaglio::abi::linear(desc, args); });
}
