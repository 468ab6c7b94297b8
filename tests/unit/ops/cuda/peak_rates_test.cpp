// What cards can do at most: by name, and by size for cards that are not known.
#include "ops/cuda/tuning/peak_rates.h"

#include <gtest/gtest.h>

#include "gpus.h"

namespace intaglio::cuda {
namespace {

CudaDevice named(CudaDevice device, const char* name) {
  device.name = name;
  return device;
}

TEST(PeakRates, KnownCards) {
  EXPECT_EQ(peak_rates(h100(), 1.98).int8_tops, 1979);
  EXPECT_EQ(peak_rates(h100(), 1.98).fp8_tops, 1979);
  EXPECT_EQ(peak_rates(h100(), 1.98).bf16_tops, 989);
  EXPECT_TRUE(peak_rates(h100(), 1.98).data_sheet);
  EXPECT_EQ(peak_rates(named(h100(), "NVIDIA H100 PCIe"), 1.7).int8_tops, 1513);
  EXPECT_EQ(peak_rates(named(h100(), "NVIDIA H200"), 1.98).int8_tops, 1979);
  EXPECT_EQ(peak_rates(a100(), 1.41).int8_tops, 624);
  EXPECT_EQ(peak_rates(a100(), 1.41).fp8_tops, 0);
  EXPECT_EQ(peak_rates(rtx_3090(), 1.7).int8_tops, 284);
  EXPECT_EQ(peak_rates(tesla_t4(), 1.59).int8_tops, 130);
  EXPECT_EQ(peak_rates(tesla_t4(), 1.59).bf16_tops, 0);
}

TEST(PeakRates, OthersByClockAndSize) {
  const CudaDevice half = named({0, "", 80, 54, 0, 0, 0, 0}, "NVIDIA A30X");
  const PeakRates rates = peak_rates(half, 1.41);
  EXPECT_FALSE(rates.data_sheet);
  EXPECT_NEAR(rates.int8_tops, 312, 2);
  EXPECT_NEAR(rates.bf16_tops, 156, 1);
  EXPECT_EQ(rates.fp8_tops, 0);
  EXPECT_EQ(peak_rates({0, "old", 61, 20, 0, 0, 0, 0}, 1.5).int8_tops, 0);
}

TEST(PeakRates, TheWayBySizeAgreesWithTheDataSheets) {
  EXPECT_NEAR(peak_rates(named(h100(), "unknown"), 1.83).int8_tops, 1979, 20);
  EXPECT_NEAR(peak_rates(named(a100(), "unknown"), 1.41).int8_tops, 624, 6);
  EXPECT_NEAR(peak_rates(named(rtx_3090(), "unknown GeForce"), 1.695).int8_tops, 284, 3);
  EXPECT_NEAR(peak_rates(named(rtx_3090(), "unknown GeForce"), 1.695).bf16_tops, 71, 1);
  EXPECT_NEAR(peak_rates(named(tesla_t4(), "unknown"), 1.59).int8_tops, 130, 1.5);
}

TEST(PeakRates, ANameIsNotTakenForALongerOne) {
  CudaDevice ada{0, "NVIDIA L40", 89, 142, 101376, 96 << 20, int64_t{48} << 30, 12040};
  EXPECT_FALSE(peak_rates(ada, 2.49).data_sheet);
  ada.name = "NVIDIA L4";
  EXPECT_EQ(peak_rates(ada, 2.04).int8_tops, 242);
  ada.name = "NVIDIA L40S";
  EXPECT_EQ(peak_rates(ada, 2.52).int8_tops, 733);
  ada.name = "NVIDIA GeForce RTX 4090 D";
  EXPECT_FALSE(peak_rates(ada, 2.52).data_sheet);
}

}  // namespace
}  // namespace intaglio::cuda
