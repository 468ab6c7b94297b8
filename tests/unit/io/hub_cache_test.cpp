#include "io/hub_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "support/scoped_environment.h"
#include "support/temp_folder.h"

namespace intaglio {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(HubCache, KnowsNamesOfRepositories) {
  for (const char* name : {"a/b", "ideogram-ai/ideogram-v4", "o/n.1_x@main", "o/n@refs/pr/3"})
    EXPECT_TRUE(is_hub_name(name)) << name;
  for (const char* name :
       {"", "a", "a/", "/b", "a/b/c", "../b", "./b", "a/..", "a b/c", "a/b@", "a/b@../x", "a/b@/x",
        "a\\b/c", "~/models", "a/b.gguf", "a/b.safetensors"})
    EXPECT_FALSE(is_hub_name(name)) << name;
}

class HubCacheFolders : public ::testing::Test {
 protected:
  TempFolder home_;
  test::ScopedEnvironment hub_cache_{"HF_HUB_CACHE", nullptr},
      old_{"HUGGINGFACE_HUB_CACHE", nullptr}, hf_home_{"HF_HOME", nullptr},
      xdg_{"XDG_CACHE_HOME", nullptr}, home_variable_{"HOME", home_.path().c_str()};
};

TEST_F(HubCacheFolders, AreWhereTheEnvironmentSays) {
  EXPECT_THAT(hub_caches(), ElementsAre(home_ / ".cache/huggingface/hub"));
  const test::ScopedEnvironment xdg("XDG_CACHE_HOME", "/x"), hf("HF_HOME", "/h"),
      cache("HF_HUB_CACHE", "/c");
  EXPECT_THAT(hub_caches(),
              ElementsAre("/c", "/h/hub", "/x/huggingface/hub", home_ / ".cache/huggingface/hub"));
}

TEST_F(HubCacheFolders, RevisionsAreFoundByNameAndByCommit) {
  const std::string repository = ".cache/huggingface/hub/models--own--name/";
  home_.write(repository + "refs/main", "aaaabbbb1\n");
  home_.write(repository + "refs/v2", "ccccdddd2");
  home_.write(repository + "snapshots/aaaabbbb1/model_index.json", "{}");
  home_.write(repository + "snapshots/ccccdddd2/model_index.json", "{}");
  const auto snapshots = home_ / (repository + "snapshots");
  EXPECT_EQ(find_in_hub_cache("own/name").value(), snapshots / "aaaabbbb1");
  EXPECT_EQ(find_in_hub_cache("own/name@main").value(), snapshots / "aaaabbbb1");
  EXPECT_EQ(find_in_hub_cache("own/name@v2").value(), snapshots / "ccccdddd2");
  EXPECT_EQ(find_in_hub_cache("own/name@ccccdddd2").value(), snapshots / "ccccdddd2");
  EXPECT_EQ(find_in_hub_cache("own/name@ccccdd").value(), snapshots / "ccccdddd2");
  const auto other = find_in_hub_cache("own/name@v3");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(other.error().message, HasSubstr("there are main, v2"));
  EXPECT_THAT(other.error().message, HasSubstr("hf download own/name --revision v3"));
}

TEST_F(HubCacheFolders, AnErrorSaysWhereItLooked) {
  const auto found = find_in_hub_cache("own/other");
  ASSERT_FALSE(found);
  EXPECT_THAT(found.error().message,
              HasSubstr((home_ / ".cache/huggingface/hub/models--own--other").string()));
  EXPECT_THAT(found.error().message, HasSubstr("hf download own/other"));
}

// A reference is a file that others wrote: it names a snapshot and nothing else.
TEST_F(HubCacheFolders, AReferenceNamesNothingOutside) {
  const std::string repository = ".cache/huggingface/hub/models--own--name/";
  home_.write(repository + "refs/main", "../../../../outside");
  home_.write("outside/model_index.json", "{}");
  EXPECT_FALSE(find_in_hub_cache("own/name"));
  home_.write(repository + "snapshots/one/model_index.json", "{}");
  EXPECT_EQ(find_in_hub_cache("own/name").value(), home_ / (repository + "snapshots/one"));
}

}  // namespace
}  // namespace intaglio
