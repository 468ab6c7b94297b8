#include "eval/towers/lpips.h"

#include "support/tested_cpus.h"
#include "unit/eval/towers/tower_reference.h"

namespace intaglio::towers {
namespace {

using Files = std::vector<std::filesystem::path>;

struct Case {
  std::string network;
  std::vector<std::string> files;
};
const std::vector<Case> kCases{{"alex", {"alex.safetensors", "alex_lin.safetensors"}},
                               {"vgg", {"vgg.safetensors"}}};

Lpips open(const Context& context, const test::TowerReference& reference, const Case& which) {
  Files files;
  for (const std::string& name : which.files) files.push_back(reference.folder() / name);
  auto lpips = Lpips::open(context, files);
  if (!lpips) throw std::runtime_error(lpips.error().message);
  return std::move(*lpips);
}

TEST(Lpips, equals_the_published_distance_depth_by_depth) {
  const test::TowerReference reference("lpips");
  for (const CpuFeatures& cpu : test::tested_cpus())
    for (const Case& which : kCases) {
      Lpips lpips = open({.threads = 2, .cpu = cpu}, reference, which);
      EXPECT_EQ(lpips.network(), which.network);
      for (int i = 0; i < 3; ++i) {
        const RgbImage a = reference.picture(fmt::format("a.{}", i));
        const RgbImage b = reference.picture(fmt::format("b.{}", i));
        const std::vector<float> expected =
            reference.floats(fmt::format("{}.{}", which.network, i));
        const auto found = lpips.distances(a, b);
        ASSERT_TRUE(found) << found.error().message;
        ASSERT_EQ(found->size() + 1, expected.size());
        for (size_t depth = 0; depth < found->size(); ++depth)
          EXPECT_NEAR((*found)[depth], expected[depth + 1], 1e-4 * expected[depth + 1])
              << which.network << i << " depth " << depth;
        EXPECT_NEAR(lpips.distance(a, b).value(), expected[0], 1e-4 * expected[0]);
        EXPECT_EQ(lpips.distance(a, a).value(), 0.0);
      }
    }
}

TEST(Lpips, says_what_pictures_it_cannot_compare) {
  const test::TowerReference reference("lpips");
  const auto flat = [](int64_t width, int64_t height) {
    return RgbImage{width, height, std::vector<uint8_t>(static_cast<size_t>(3 * width * height))};
  };
  for (const Case& which : kCases) {
    Lpips lpips = open(test::host_context(), reference, which);
    const auto sizes = lpips.distance(flat(64, 64), flat(64, 65));
    ASSERT_FALSE(sizes);
    EXPECT_NE(sizes.error().message.find("64x65"), std::string::npos);
    const int64_t least = which.network == "vgg" ? 16 : 31;
    EXPECT_TRUE(lpips.distance(flat(least, least), flat(least, least)));
    EXPECT_FALSE(lpips.distance(flat(least - 1, 64), flat(least - 1, 64)));
    EXPECT_FALSE(lpips.distance(flat(1, 1), flat(1, 1)));
  }
}

TEST(Lpips, says_what_is_missing_of_its_files) {
  const test::TowerReference reference("lpips");
  const auto message = [&](const Files& files) {
    const auto lpips = Lpips::open(test::host_context(), files);
    return lpips ? std::string() : lpips.error().message;
  };
  const std::filesystem::path& folder = reference.folder();
  EXPECT_NE(message({folder / "alex.safetensors"}).find("lin0.model.1.weight"), std::string::npos);
  EXPECT_NE(message({folder / "alex_lin.safetensors"}).find("features.0.weight"),
            std::string::npos);
  EXPECT_NE(message({folder / "vgg16-397923af.pth"}).find("save_file"), std::string::npos);
  EXPECT_NE(message({folder / "nothing.safetensors"}).find("nothing.safetensors"),
            std::string::npos);
}

}  // namespace
}  // namespace intaglio::towers
