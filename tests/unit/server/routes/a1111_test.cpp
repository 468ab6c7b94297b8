// What AUTOMATIC1111's clients send and expect.
#include "core/base64.h"
#include "server/routes/a1111_request.h"
#include "unit/server/routes/site_fixture.h"
#include "unit/server/sent_picture.h"

namespace intaglio::server {
namespace {

using Json = nlohmann::json;

Accepted<JobRequest> parse(const Json& body, const std::string& chosen = "") {
  return parse_a1111_request(body.dump(), FakeJobs().models(), chosen);
}

TEST(A1111Request, TakesWhatAJobHasAndPassesOverTheRest) {
  const auto request = parse({{"prompt", "a cat<lora:style:0.5> asleep"},
                              {"negative_prompt", "dogs"},
                              {"width", 130},
                              {"height", 1},
                              {"steps", 20},
                              {"cfg_scale", 7},
                              {"seed", -1},
                              {"batch_size", 2},
                              {"n_iter", 3},
                              {"sampler_name", "DPM++ 2M"},
                              {"enable_hr", false},
                              {"clip_skip", 2},
                              {"override_settings", {{"sd_model_checkpoint", "mini [abc]"}}}});
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->prompt, "a cat asleep");
  ASSERT_EQ(request->loras.size(), 1u);
  EXPECT_EQ(request->loras[0].name, "style");
  EXPECT_EQ(request->loras[0].strength, 0.5f);
  EXPECT_EQ(request->negative_prompt, "dogs");
  EXPECT_EQ(request->width, 128);
  EXPECT_EQ(request->height, 16);
  EXPECT_EQ(request->guidance, "7");
  EXPECT_EQ(request->seed, std::nullopt);
  EXPECT_EQ(request->count, 6);
  EXPECT_EQ(request->model, "mini");
}

TEST(A1111Request, LeavesOutWhatTheModelDoesNotTake) {
  const auto request = parse(
      {{"prompt", "a cat"}, {"negative_prompt", "dogs"}, {"cfg_scale", 7}, {"steps", -1}}, "plain");
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->model, "plain");
  EXPECT_EQ(request->negative_prompt, std::nullopt);
  EXPECT_EQ(request->guidance, std::nullopt);
  EXPECT_EQ(request->steps, std::nullopt);
}

TEST(A1111Request, RefusesWhatCannotBe) {
  for (const Json& body :
       {Json::array(), Json{{"prompt", 5}}, Json{{"steps", 3}},
        Json{{"prompt", "a"}, {"batch_size", 0}}, Json{{"prompt", "a"}, {"n_iter", "x"}},
        Json{{"prompt", "a"}, {"override_settings", {{"sd_model_checkpoint", "none"}}}},
        Json{{"prompt", "a"}, {"override_settings", {{"sd_model_checkpoint", 5}}}}}) {
    EXPECT_FALSE(parse(body)) << body;
  }
}

// No side is none: neither the model's own, nor the smallest that it draws.
TEST(A1111Request, SidesAreSomePixels) {
  for (const char* side : {"width", "height"}) {
    for (const Json& wrong : {Json(0), Json(-5), Json(0.5), Json("512"), Json(false), Json(1e9)}) {
      Json body{{"prompt", "a"}, {"width", 64}, {"height", 64}};
      body[side] = wrong;
      const auto request = parse(body);
      ASSERT_FALSE(request) << side << wrong;
      EXPECT_EQ(request.error().parameter, side);
      EXPECT_EQ(
          request.error().message,
          fmt::format("{}: expected a number from 1 to 1048576, found {}", side, wrong.dump()));
    }
  }
  EXPECT_EQ(parse({{"prompt", "a"}, {"cfg_scale", "7"}}).error().message,
            "cfg_scale: expected a number, found \"7\"");
}

Json img2img(const Json& more = Json::object()) {
  Json body{{"prompt", "a cat"},
            {"init_images", {"data:image/png;base64," + test::base64_png(4, 4, 9)}}};
  body.update(more);
  return body;
}

Accepted<A1111Img2Img> parse_img2img(const Json& body) {
  return parse_a1111_img2img(body.dump(), FakeJobs().models(), "");
}

TEST(A1111Img2Img, TakesPicturesAndTheirSettings) {
  const auto plain = parse_img2img(img2img({{"resize_mode", 1}, {"inpainting_fill", 1}}));
  ASSERT_TRUE(plain) << plain.error().message;
  EXPECT_EQ(plain->job.strength, 0.75);
  EXPECT_EQ(plain->job.sent->image->pixels, test::plain_image(4, 4, 9).pixels);
  EXPECT_FALSE(plain->job.sent->mask);
  EXPECT_TRUE(plain->init_images.is_null());
  const auto masked = parse_img2img(img2img({{"denoising_strength", 0.3},
                                             {"mask", test::base64_png(4, 4, 10)},
                                             {"inpainting_mask_invert", 1},
                                             {"include_init_images", true}}));
  ASSERT_TRUE(masked) << masked.error().message;
  EXPECT_EQ(masked->job.strength, 0.3);
  EXPECT_EQ(masked->job.sent->mask->pixels[0], 245);
  EXPECT_EQ(masked->job.sent->mask_blur, 4);
  EXPECT_EQ(masked->init_images.size(), 1u);
  EXPECT_TRUE(masked->mask.is_string());
  EXPECT_EQ(parse_img2img(img2img({{"mask", test::base64_png(4, 4, 10)}, {"mask_blur", 0}}))
                ->job.sent->mask_blur,
            0);
}

TEST(A1111Img2Img, RefusalsNameTheField) {
  for (const auto& [name, value] :
       std::vector<std::pair<std::string, Json>>{{"init_images", Json::array()},
                                                 {"init_images", {"x", "y"}},
                                                 {"init_images", {3}},
                                                 {"init_images", {"aGVsbG8="}},
                                                 {"mask", "?"},
                                                 {"width", 0},
                                                 {"height", -5},
                                                 {"denoising_strength", 0},
                                                 {"denoising_strength", 1.5},
                                                 {"denoising_strength", "0.5"}}) {
    const auto request = parse_img2img(img2img({{name, value}}));
    ASSERT_FALSE(request) << name << value;
    EXPECT_EQ(request.error().parameter, name);
    EXPECT_TRUE(request.error().message.starts_with(name)) << request.error().message;
  }
}

TEST(PngTexts, StaysWithinItsBytes) {
  const std::string head("\x89PNG\r\n\x1a\n", 8);
  const std::string chunk("\0\0\0\x07tEXtkey\0abcCRC!", 19);
  EXPECT_EQ(png_text(head + chunk, "key"), "abc");
  for (size_t length = 0; length < chunk.size(); ++length)
    EXPECT_TRUE(png_texts(head + chunk.substr(0, length)).empty()) << length;
  EXPECT_TRUE(png_texts(head + std::string("\xff\xff\xff\xfftEXtkey\0abcCRC!", 19)).empty());
  EXPECT_TRUE(png_texts("no PNG").empty());
}

class A1111Routes : public SiteTest {};

TEST_F(A1111Routes, AClientsSequence) {
  start();
  EXPECT_EQ(json_of(ask("GET /sdapi/v1/options"))["sd_model_checkpoint"], "mini");
  EXPECT_EQ(json_of(ask("GET /sdapi/v1/sd-models"))[1]["title"], "plain");
  EXPECT_EQ(json_of(ask("GET /sdapi/v1/samplers"))[0]["name"], "Euler");
  EXPECT_EQ(json_of(ask("GET /sdapi/v1/schedulers"))[0]["name"], "automatic");
  EXPECT_EQ(json_of(ask("GET /sdapi/v1/loras"))[0]["name"], "style");
  EXPECT_EQ(json_of(ask("GET /sdapi/v1/upscalers")), Json::array());
  EXPECT_EQ(status_of(ask("POST /sdapi/v1/options", R"({"sd_model_checkpoint": "plain"})")), 200);
  EXPECT_EQ(status_of(ask("POST /sdapi/v1/options", R"({"sd_model_checkpoint": "none"})")), 404);
  EXPECT_EQ(status_of(ask("POST /sdapi/v1/options", R"({"sd_model_checkpoint": 5})")), 422);
  const std::string answer = ask_and(
      "POST /sdapi/v1/txt2img", R"({"prompt": "a cat", "steps": 4})", [&](const std::string& id) {
        EXPECT_EQ(json_of(ask("GET /sdapi/v1/progress"))["state"]["job"], id);
        EXPECT_EQ(jobs_.get(id)->request.model, "plain");
        jobs_.finish(id);
      });
  EXPECT_EQ(status_of(answer), 200);
  const Json body = json_of(answer);
  EXPECT_TRUE(body["images"][0].get<std::string>().starts_with("iVBORw0KGgo"));
  const Json info = Json::parse(body["info"].get<std::string>());
  EXPECT_EQ(info["seed"], 7);
  EXPECT_EQ(info["infotexts"][0], "a cat\nSteps: 4");
  EXPECT_EQ(json_of(ask("GET /sdapi/v1/progress"))["state"]["job"], "");
  const std::string read =
      ask("POST /sdapi/v1/png-info", Json{{"image", body["images"][0]}}.dump());
  EXPECT_EQ(json_of(read)["info"], "a cat\nSteps: 4");
}

TEST_F(A1111Routes, DrawsFromAPicture) {
  start();
  const std::string answer =
      ask_and("POST /sdapi/v1/img2img", img2img({{"include_init_images", true}}).dump(),
              [&](const std::string& id) {
                EXPECT_EQ(jobs_.get(id)->request.strength, 0.75);
                jobs_.finish(id);
              });
  EXPECT_EQ(status_of(answer), 200);
  const Json body = json_of(answer);
  EXPECT_TRUE(body["images"][0].get<std::string>().starts_with("iVBORw0KGgo"));
  EXPECT_EQ(body["parameters"]["denoising_strength"], 0.75);
  EXPECT_EQ(body["parameters"]["init_images"], img2img()["init_images"]);
  EXPECT_EQ(status_of(ask("POST /sdapi/v1/img2img", R"({"prompt": "x"})")), 400);
  const std::string narrow =
      ask("POST /sdapi/v1/img2img", img2img({{"width", 0}, {"height", 64}}).dump());
  EXPECT_EQ(status_of(narrow), 400);
  EXPECT_EQ(json_of(narrow)["detail"], "width: expected a number from 1 to 1048576, found 0");
  for (const auto& [own, name] : {std::pair("init_image", "init_images"),
                                  {"strength", "denoising_strength"},
                                  {"guidance", "cfg_scale"}}) {
    jobs_.refusal = Refusal{.reason = Refusal::Reason::kInvalid,
                            .parameter = own,
                            .message = fmt::format("{}: it is wrong", own)};
    EXPECT_EQ(json_of(ask("POST /sdapi/v1/img2img", img2img().dump()))["detail"],
              fmt::format("{}: it is wrong", name));
  }
}

TEST_F(A1111Routes, ProgressHasTheLastPreview) {
  start();
  const auto image = [&](std::string_view query = "") {
    return json_of(ask(fmt::format("GET /sdapi/v1/progress{}", query)))["current_image"];
  };
  EXPECT_EQ(image(), nullptr);
  const std::string answer =
      ask_and("POST /sdapi/v1/txt2img", R"({"prompt": "a cat"})", [&](const std::string& id) {
        EXPECT_EQ(jobs_.get(id)->request.previews, 4);
        EXPECT_EQ(image(), nullptr);
        ASSERT_TRUE(eventually([&] { return jobs_.listeners() > 0; }));
        for (const std::string png : {"first", "second"}) {
          jobs_.preview(id, png);
          EXPECT_TRUE(eventually([&] { return image() == base64(png); })) << png;
        }
        EXPECT_EQ(image("?skip_current_image=true"), nullptr);
        EXPECT_EQ(image("?skip_current_image=False"), base64("second"));
        jobs_.finish(id);
      });
  EXPECT_EQ(status_of(answer), 200);
  EXPECT_EQ(image(), nullptr);
  // The next job does not begin with the picture of the last.
  ask_and("POST /sdapi/v1/txt2img", R"({"prompt": "a dog"})", [&](const std::string& id) {
    EXPECT_EQ(image(), nullptr);
    jobs_.finish(id);
  });
}

TEST_F(A1111Routes, DeepJsonIsRefusedWithoutHarm) {
  start();
  const std::string deep = std::string(400000, '[') + std::string(400000, ']');
  for (const auto& [line, field] :
       {std::pair("POST /sdapi/v1/txt2img", "negative_prompt"),
        std::pair("POST /sdapi/v1/txt2img", "prompt"), std::pair("POST /sdapi/v1/options", "x"),
        std::pair("POST /sdapi/v1/png-info", "image"),
        std::pair("POST /v1/images/generations", "prompt"),
        std::pair("POST /v1/images/generations", "n")}) {
    const int status = status_of(ask(line, fmt::format(R"({{"{}": {}}})", field, deep)));
    EXPECT_TRUE(status == 400 || status == 422) << line << " " << field << ": " << status;
  }
  // Of a prompt's adapter the strength is JSON, too.
  const auto request = parse_a1111_request(Json{{"prompt", "a<lora:style:" + deep + ">b"}}.dump(),
                                           jobs_.models(), "");
  ASSERT_TRUE(request);
  EXPECT_EQ(request->loras[0].strength, 1.0f);
}

TEST_F(A1111Routes, InterruptCancelsTheJob) {
  start();
  const std::string answer =
      ask_and("POST /sdapi/v1/txt2img", R"({"prompt": "a cat"})", [&](const std::string& id) {
        EXPECT_EQ(status_of(ask("POST /sdapi/v1/interrupt")), 200);
        EXPECT_EQ(jobs_.get(id)->state, JobState::kCancelled);
      });
  EXPECT_EQ(status_of(answer), 500);
  EXPECT_NE(json_of(answer)["detail"], nullptr);
}

}  // namespace
}  // namespace intaglio::server
