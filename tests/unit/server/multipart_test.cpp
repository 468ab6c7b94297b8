#include "server/multipart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/server/sent_picture.h"

namespace intaglio::server::test {
namespace {

using testing::HasSubstr;

TEST(Multipart, FindsTheBoundary) {
  EXPECT_EQ(form_boundary("multipart/form-data; boundary=abc"), "abc");
  EXPECT_EQ(form_boundary("Multipart/Form-Data ;charset=x; BOUNDARY=\"a b\\\"c\""), "a b\"c");
  EXPECT_EQ(form_boundary("multipart/form-data"), "");
  EXPECT_EQ(form_boundary("application/json"), std::nullopt);
  EXPECT_EQ(form_boundary(""), std::nullopt);
}

TEST(Multipart, ReadsPartsAsTheyCame) {
  const std::string binary("\r\n--y\0--\xff", 9);
  const std::string body =
      "preamble\r\n" + form_of({{"image@a.png", binary}, {"prompt", "a cat"}, {"empty", ""}});
  const auto parts = parse_form(body, "x");
  ASSERT_TRUE(parts) << parts.error().message;
  ASSERT_EQ(parts->size(), 3u);
  EXPECT_EQ((*parts)[0].name, "image");
  EXPECT_TRUE((*parts)[0].is_file);
  EXPECT_EQ((*parts)[0].data, binary);
  EXPECT_FALSE((*parts)[1].is_file);
  EXPECT_EQ((*parts)[1].data, "a cat");
  EXPECT_EQ((*parts)[2].data, "");
  EXPECT_TRUE(parse_form("--x--", "x")->empty());
}

TEST(Multipart, RefusesWhatIsNoForm) {
  const std::string good = form_of({{"prompt", "a cat"}});
  for (const std::string& body :
       {std::string(), std::string("prompt=a"), good.substr(0, good.size() - 8),
        std::string("--x\r\n\r\nno headers\r\n--x--"), std::string("--xy\r\n"),
        std::string("--x\r\nContent-Disposition: form-data\r\n\r\n\r\n--x--"),
        "--x\r\nA: " + std::string(5000, 'b') + "\r\n\r\n\r\n--x--"}) {
    const auto parts = parse_form(body, "x");
    ASSERT_FALSE(parts) << body.substr(0, 40);
    EXPECT_THAT(parts.error().message, HasSubstr("the body is no form: "));
  }
  EXPECT_FALSE(parse_form(good, ""));
  EXPECT_FALSE(parse_form(good, std::string(71, 'x')));
  std::vector<std::pair<std::string, std::string>> many;
  for (int i = 0; i < 65; ++i) many.emplace_back("a" + std::to_string(i), "");
  EXPECT_THAT(parse_form(form_of(many), "x").error().message, HasSubstr("more than 64 parts"));
}

TEST(Multipart, FieldsAreWhatTheySay) {
  const std::string form = form_of({{"prompt", "42"},
                                    {"n", "2"},
                                    {"stream", "true"},
                                    {"lora", "style:0.5"},
                                    {"loras", R"([{"name":"y"}])"},
                                    {"image@a.png", "bytes"}});
  const auto fields = form_fields(parse_form(form, "x").value());
  ASSERT_TRUE(fields);
  EXPECT_EQ(json_text(*fields),
            R"({"prompt":"42","n":2,"stream":true,"lora":"style:0.5","loras":[{"name":"y"}]})");
  EXPECT_THAT(
      form_fields(parse_form(form_of({{"n", "1"}, {"n", "2"}}), "x").value()).error().message,
      HasSubstr("n: is there twice"));
  EXPECT_EQ(
      form_fields(parse_form(form_of({{"init_image", "\xffPNG"}}), "x").value()).error().message,
      "init_image: expected text in UTF-8, or a file, which is a part with a filename; found "
      "4 bytes of neither");
}

}  // namespace
}  // namespace intaglio::server::test
