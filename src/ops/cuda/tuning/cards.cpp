#include "ops/cuda/tuning/cards.h"

#include <cctype>

namespace intaglio::cuda {
namespace {

constexpr std::string_view kSheet = "data sheet", kPaper = "white paper";

// clang-format off
constexpr Card kCards[] = {
    // name              capability SMs  GHz   int8  bf16   fp8    GB/s    GB  host  peer
    {"H100 80GB HBM3",    90, 132, 1.98,  1979,  989, 1979,   3350,  80, 55,   450, kSheet},
    {"H100 PCIe",         90, 114, 1.755, 1513,  756, 1513,   2039,  80, 55,     0, kSheet},
    {"H100 NVL",          90, 132, 1.785, 1671,  835, 1671,   3938,  94, 55,   300, kSheet},
    {"H200 NVL",          90, 132, 1.785, 1671,  835, 1671,   4800, 141, 55,   450, kSheet},
    {"H200",              90, 132, 1.98,  1979,  989, 1979,   4800, 141, 55,   450, kSheet},
    {"A100-SXM4-80GB",    80, 108, 1.41,   624,  312,    0,   2039,  80, 25,   300, kSheet},
    {"A100-SXM4-40GB",    80, 108, 1.41,   624,  312,    0,   1555,  40, 25,   300, kSheet},
    {"A100-PCIE-40GB",    80, 108, 1.41,   624,  312,    0,   1555,  40, 25,     0, kSheet},
    {"A100 80GB PCIe",    80, 108, 1.41,   624,  312,    0,   1935,  80, 25,     0, kSheet},
    {"L40S",              89, 142, 2.52,   733,  362,  733,    864,  48, 25,     0, kSheet},
    {"NVIDIA L4",         89,  58, 2.04,   242,  121,  242,    300,  24, 25,     0, kSheet},
    {"Tesla T4",          75,  40, 1.59,   130,    0,    0,    320,  16, 12,     0, kSheet},
    {"RTX 3060",          86,  28, 1.777,  102, 25.6,    0,    360,  12, 25,     0, "white paper, scaled by multiprocessors"},
    {"RTX 3090 Ti",       86,  84, 1.86,   320,   80,    0,   1008,  24, 25, 56.25, kPaper},
    {"RTX 3090",          86,  82, 1.695,  284,   71,    0,    936,  24, 25, 56.25, kPaper},
    {"RTX 4090",          89, 128, 2.52,   661,  165,  330,   1008,  24, 25,     0, kPaper},
    {"RTX 5090",         120, 170, 2.41,   838,  210,  419,   1792,  32, 50,     0, kPaper},
    {"B200",             100, 148, 1.965, 4500, 2250, 4500,   8000, 180, 50,   900, kSheet},
};
// clang-format on

// Other cards of these names' first words.
constexpr std::string_view kNamesakes[] = {"RTX 4090 D",      "RTX 4090 Laptop", "RTX 3060 Ti",
                                           "RTX 3060 Laptop", "RTX 5090 D",      "RTX 5090 Laptop"};

// As whole words: "NVIDIA L4" names no L40.
bool names(std::string_view device, std::string_view name) {
  const size_t at = device.find(name);
  if (at == std::string_view::npos) return false;
  const size_t end = at + name.size();
  return end == device.size() || std::isalnum(static_cast<unsigned char>(device[end])) == 0;
}

}  // namespace

std::span<const Card> cards() { return kCards; }

const Card* find_card(std::string_view device_name) {
  for (const std::string_view other : kNamesakes)
    if (names(device_name, other)) return nullptr;
  for (const Card& card : kCards)
    if (names(device_name, card.name)) return &card;
  return nullptr;
}

}  // namespace intaglio::cuda
