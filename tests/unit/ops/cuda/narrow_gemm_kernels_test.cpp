// The bf16 product of few columns, run on the CPU (emulation/lanes.h) against a plain loop: ragged
// rows and k, strides, both outputs, guards around the output.
#include <gtest/gtest.h>

#include "dynamic_shared.h"
#include "lanes.h"
// Kernels after the emulation, which defines what they are written in.
#include "ops/cuda/kernels/narrow_gemm.cuh"

namespace intaglio::cuda {
namespace {

using emulation::machine;

struct Case {
  int64_t m = 1, k = 8;
  int64_t more_a = 0, more_out = 0;  // strides beyond the rows
};

// At a multiple of 16 bytes.
template <typename T>
class Memory {
 public:
  explicit Memory(int64_t count) : storage_(static_cast<size_t>(count) * sizeof(T) / 16 + 1) {}
  T* data() { return reinterpret_cast<T*>(storage_.data()); }
  T& operator[](int64_t i) { return data()[i]; }

 private:
  std::vector<uint4> storage_;
};

// Quarters of small integers: sums are exact in float, whatever their order.
template <int kBlocks, typename Out>
void check(const Case& c) {
  using C = NarrowGemmConfig<kBlocks>;
  const int64_t n = C::kColumns, lda = c.k + c.more_a, ldo = n + c.more_out;
  SCOPED_TRACE(testing::Message() << c.m << "x" << n << "x" << c.k);
  std::mt19937 random(7);
  Memory<BFloat16> a(c.m * lda), w(n * c.k);
  Memory<Out> out(c.m * ldo);
  const auto value = [&] {
    return 0.25f * static_cast<float>(static_cast<int>(random() % 33) - 16);
  };
  // What lies between the rows is no number.
  for (int64_t i = 0; i < c.m * lda; ++i) a[i] = BFloat16(i % lda < c.k ? value() : std::nanf(""));
  for (int64_t i = 0; i < n * c.k; ++i) w[i] = BFloat16(value());
  for (int64_t i = 0; i < c.m * ldo; ++i) out[i] = Out(-77.0f);
  const PlainGemmParams p{.a = a.data(),
                          .w = w.data(),
                          .out = out.data(),
                          .lda = lda,
                          .ldw = c.k,
                          .ldo = ldo,
                          .m = c.m,
                          .n = n,
                          .k = c.k,
                          .out_type = std::is_same_v<Out, float> ? DType::kF32 : DType::kBF16};
  machine.fault = nullptr;
  machine.kernel = [&] { narrow_gemm_kernel<C>(p); };
  for (int64_t block = 0; block * C::kRows < c.m; ++block) {
    machine.block = {static_cast<unsigned>(block), 0, 0};
    emulation::run_block(C::kThreads);
  }
  EXPECT_EQ(machine.fault, nullptr);
  for (int64_t r = 0; r < c.m; ++r) {
    for (int64_t col = 0; col < ldo; ++col) {
      double sum = 0.0;
      for (int64_t k = 0; k < c.k && col < n; ++k)
        sum += static_cast<double>(static_cast<float>(a[r * lda + k])) *
               static_cast<double>(static_cast<float>(w[col * c.k + k]));
      const auto expected = static_cast<float>(Out(col < n ? static_cast<float>(sum) : -77.0f));
      ASSERT_EQ(static_cast<float>(out[r * ldo + col]), expected) << r << ", " << col;
    }
  }
}

template <int kBlocks>
void check_outputs(const Case& c) {
  check<kBlocks, float>(c);
  check<kBlocks, BFloat16>(c);
}

TEST(NarrowGemm, AgreesWithThePlainLoop) {
  for (const Case& c :
       {Case{.m = 1, .k = 8}, Case{.m = 16, .k = 32}, Case{.m = 17, .k = 40, .more_out = 3},
        Case{.m = 33, .k = 600, .more_a = 8}, Case{.m = 5, .k = 1024, .more_a = 16}}) {
    check_outputs<2>(c);
    check_outputs<4>(c);
    check_outputs<6>(c);
    check_outputs<8>(c);
  }
}

}  // namespace
}  // namespace intaglio::cuda
