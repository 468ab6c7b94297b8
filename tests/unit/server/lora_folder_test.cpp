#include "server/lora_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/temp_folder.h"

namespace intaglio::server {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(LoraFolder, NamesAreThoseOfFilesOfTheFolderAlone) {
  const TempFolder top;
  const auto file = top.write("loras/style.safetensors", "x");
  top.write("loras/ink wash.safetensors", "x");
  top.write("loras/notes.txt", "x");
  top.write("loras/.hidden.safetensors", "x");
  top.write("loras/deeper/below.safetensors", "x");
  const auto secret = top.write("secret.safetensors", "x");
  std::filesystem::create_symlink(secret, top / "loras/out.safetensors");
  std::filesystem::create_symlink(file, top / "loras/alias.safetensors");
  std::filesystem::create_directory(top / "loras/folder.safetensors");
  const LoraFolder folder(top / "loras");
  EXPECT_THAT(folder.names(), ElementsAre("alias", "ink wash", "style"));
  EXPECT_EQ(folder.file("style").value(), file);
  for (const std::string& name :
       {std::string("out"), std::string("../secret"), std::string(".."), std::string(""),
        std::string("deeper/below"), std::string("/etc/passwd"), secret.string(),
        std::string("style\0x", 7), std::string("folder"), std::string(5000, 'a')}) {
    const auto found = folder.file(name);
    ASSERT_FALSE(found.has_value()) << name;
    EXPECT_EQ(found.error().code, ErrorCode::kNotFound);
  }
}

TEST(LoraFolder, NoneIsNoFault) {
  EXPECT_THAT(LoraFolder({}).names(), IsEmpty());
  EXPECT_FALSE(LoraFolder({}).file("x").has_value());
  EXPECT_THAT(LoraFolder("/nowhere").names(), IsEmpty());
}

}  // namespace
}  // namespace intaglio::server
