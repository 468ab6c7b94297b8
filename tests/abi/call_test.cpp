// Whole calls of the C interface over the host double: a float a gives what its quantized form
// gives, with strides, bias and SwiGLU.
#include <cstdio>
#include <cstring>
#include <intaglio/intaglio.hpp>
#include <memory>
#include <string>
#include <vector>

namespace {

using namespace intaglio::api;

int failures = 0;

void expect(bool good, const std::string& what) {
  if (good) return;
  std::fprintf(stderr, "failed: %s; last error: %s\n", what.c_str(), intaglio_last_error());
  ++failures;
}

struct Aligned {
  std::vector<unsigned char> bytes;
  void* data = nullptr;
  explicit Aligned(size_t size) : bytes(size + 256) {
    data = bytes.data();
    size_t space = bytes.size();
    std::align(256, size, data, space);
  }
};

constexpr int64_t kM = 5, kN = 64, kK = 35, kLda = 37, kLdq = 48, kLdo = 70;

void run(Fusion fusion, bool with_bias) {
  const std::string name = fusion == Fusion::kSwiglu     ? "swiglu"
                           : fusion == Fusion::kGeluTanh ? "gelu_tanh"
                                                         : "plain";
  std::vector<float> a(kM * kLda, 1e9f), w_scale(kN, 0.01f), bias(kN);
  std::vector<int8_t> w(kN * kK);
  for (int64_t r = 0; r < kM; ++r) {
    for (int64_t k = 0; k < kK; ++k)
      a[static_cast<size_t>(r * kLda + k)] = static_cast<float>((r * 31 + k * 17) % 23 - 11);
  }
  for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<int8_t>(i * 37 % 256);
  for (size_t i = 0; i < bias.size(); ++i) bias[i] = static_cast<float>(i) * 0.25f;
  const float* bias_or_null = with_bias ? bias.data() : nullptr;

  Aligned q(kM * kLdq);
  std::vector<float> scale(kM), first(kM * kLdo, -7.0f), second(kM * kLdo, -7.0f);
  expect(static_cast<bool>(int8_quantize_rows({.rows = kM,
                                               .cols = kK,
                                               .ldx = kLda,
                                               .ldq = kLdq,
                                               .x = a.data(),
                                               .q = static_cast<int8_t*>(q.data),
                                               .scale = scale.data(),
                                               .x_type = Type::kF32})),
         name + ": quantize");

  Int8LinearDesc desc{.m = kM,
                      .n = kN,
                      .k = kK,
                      .lda = kLda,
                      .ldo = kLdo,
                      .a_type = Type::kF32,
                      .out_type = Type::kF32,
                      .fusion = fusion};
  uint64_t bytes = 0;
  expect(static_cast<bool>(int8_linear_workspace(desc, bytes)), name + ": workspace");
  Aligned workspace(bytes);
  Int8LinearArgs args{.a = a.data(),
                      .w = w.data(),
                      .w_scale = w_scale.data(),
                      .bias = bias_or_null,
                      .out = first.data(),
                      .workspace = workspace.data,
                      .workspace_bytes = bytes};
  expect(static_cast<bool>(int8_linear(desc, args)), name + ": float a");
  args.workspace_bytes = bytes - 1;
  expect(int8_linear(desc, args).message == "args.workspace_bytes: " + std::to_string(bytes - 1) +
                                                ", expected at least " + std::to_string(bytes),
         name + ": too little workspace");

  desc.a_type = Type::kI8;
  desc.lda = kLdq;
  expect(static_cast<bool>(int8_linear_workspace(desc, bytes)), name + ": int8 workspace");
  args.a = q.data;
  args.a_scale = scale.data();
  args.out = second.data();
  args.workspace_bytes = bytes;
  expect(static_cast<bool>(int8_linear(desc, args)), name + ": int8 a");
  expect(std::memcmp(first.data(), second.data(), first.size() * sizeof(float)) == 0,
         name + ": float a and its quantized form give the same bits");
  const int64_t columns = fusion == Fusion::kSwiglu ? kN / 2 : kN;
  expect(first[0] != -7.0f && first[static_cast<size_t>(columns)] == -7.0f,
         name + ": writes its columns and no more");
}

}  // namespace

int main() {
  run(Fusion::kNone, false);
  run(Fusion::kNone, true);
  run(Fusion::kSwiglu, true);
  run(Fusion::kGeluTanh, true);
  const Result host = int8_quantize_rows({.rows = 1,
                                          .cols = 16,
                                          .x = reinterpret_cast<const void*>(16),
                                          .q = reinterpret_cast<int8_t*>(0x10000),
                                          .scale = reinterpret_cast<float*>(0x20000)});
  expect(host.message == "args.x: 0x10 is host memory, expected memory of CUDA device 0", "host");
  expect(device_check(0).code == Code::kOk && device_check(1).code == Code::kUnsupported, "device");
  return failures == 0 ? 0 : 1;
}
