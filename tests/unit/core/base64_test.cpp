#include "core/base64.h"

#include <gtest/gtest.h>

#include <utility>

namespace intaglio {
namespace {

TEST(Base64, HasThePaddingOfRfc4648) {
  const std::pair<const char*, const char*> cases[] = {{"", ""},
                                                       {"f", "Zg=="},
                                                       {"fo", "Zm8="},
                                                       {"foo", "Zm9v"},
                                                       {"foob", "Zm9vYg=="},
                                                       {"fooba", "Zm9vYmE="},
                                                       {"foobar", "Zm9vYmFy"}};
  for (const auto& [text, encoded] : cases) EXPECT_EQ(base64(text), encoded);
  EXPECT_EQ(base64(std::string("\xff\xfe\x00", 3)), "//4A");
}

TEST(Base64, ReadsWhatBase64Writes) {
  for (const std::string text : {"", "f", "fo", "foo", "foobar"}) {
    EXPECT_EQ(decoded_base64(base64(text)), text);
    EXPECT_EQ(decoded_base64("data:image/png;base64," + base64(text)), text);
  }
  EXPECT_EQ(decoded_base64("a b"), std::nullopt);
  EXPECT_EQ(decoded_base64("data:x"), std::nullopt);
}

}  // namespace
}  // namespace intaglio
