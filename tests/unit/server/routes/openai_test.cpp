// Pictures as OpenAI's clients ask for them.
#include "server/routes/openai_request.h"
#include "unit/server/routes/site_fixture.h"
#include "unit/server/sent_picture.h"

namespace intaglio::server {
namespace {

using Json = nlohmann::json;

Accepted<OpenAiRequest> parse(const Json& body) {
  return parse_openai_request(body.dump(), FakeJobs().models());
}
Json with(const std::string& name, const Json& value) {
  return {{"prompt", "a cat"}, {name, value}};
}

TEST(OpenAiRequest, DefaultsAreTheModelsAndPngInBase64) {
  const auto request = parse({{"prompt", "a cat"}});
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->job.prompt, "a cat");
  EXPECT_EQ(request->job.model, "mini");
  EXPECT_EQ(request->job.count, 1);
  EXPECT_EQ(request->job.width, std::nullopt);
  EXPECT_EQ(request->job.seed, std::nullopt);
  EXPECT_EQ(request->job.previews, 0);
  EXPECT_EQ(request->format, PictureFormat::kPng);
  EXPECT_FALSE(request->as_address);
  EXPECT_FALSE(request->stream);
}

TEST(OpenAiRequest, MapsEveryField) {
  const auto request = parse({{"prompt", "a cat"},
                              {"model", "dall-e-3"},
                              {"n", 3},
                              {"size", "256x128"},
                              {"quality", "standard"},
                              {"style", "vivid"},
                              {"background", "opaque"},
                              {"moderation", "low"},
                              {"output_format", "webp"},
                              {"output_compression", 80},
                              {"response_format", "b64_json"},
                              {"user", "someone"},
                              {"stream", true},
                              {"partial_images", 2},
                              {"seed", 5},
                              {"steps", 12},
                              {"guidance", 3.5},
                              {"negative_prompt", "dogs"},
                              {"lora", {"style:0.5", {{"name", "other"}, {"strength", 2}}}}});
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->job.model, "mini");
  EXPECT_EQ(request->job.count, 3);
  EXPECT_EQ(request->job.width, 256);
  EXPECT_EQ(request->job.height, 128);
  EXPECT_EQ(request->job.seed, 5u);
  EXPECT_EQ(request->job.steps, 12);
  EXPECT_EQ(request->job.guidance, "3.5");
  EXPECT_EQ(request->job.negative_prompt, "dogs");
  ASSERT_EQ(request->job.loras.size(), 2u);
  EXPECT_EQ(request->job.loras[0].name, "style");
  EXPECT_EQ(request->job.loras[0].strength, 0.5f);
  EXPECT_EQ(request->job.loras[1].strength, 2.0f);
  EXPECT_EQ(request->job.previews, 2);
  EXPECT_EQ(request->format, PictureFormat::kWebp);
  EXPECT_EQ(request->quality, 80);
  EXPECT_TRUE(request->stream);
}

TEST(OpenAiRequest, AutoNullAndMinusOneAreTheServersChoice) {
  const auto request = parse({{"prompt", "a cat"},
                              {"size", "auto"},
                              {"model", nullptr},
                              {"n", nullptr},
                              {"seed", -1},
                              {"quality", "auto"},
                              {"output_format", nullptr},
                              {"partial_images", nullptr}});
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->job.width, std::nullopt);
  EXPECT_EQ(request->job.seed, std::nullopt);
}

TEST(OpenAiRequest, QualityIsAPresetWhereTheModelHasSome) {
  EXPECT_EQ(parse(with("quality", "low"))->job.preset, "FAST");
  EXPECT_EQ(parse(with("quality", "high"))->job.preset, "BEST");
  EXPECT_EQ(parse(with("quality", "medium"))->job.preset, std::nullopt);
  Json body = with("quality", "low");
  body["model"] = "plain";
  EXPECT_EQ(parse(body)->job.preset, std::nullopt);
  body = with("quality", "high");
  body["steps"] = 3;
  EXPECT_EQ(parse(body)->job.preset, std::nullopt);
}

TEST(OpenAiRequest, RefusalsNameTheField) {
  const std::tuple<const char*, Json> wrong[] = {{"n", 0},
                                                 {"n", 11},
                                                 {"n", "2"},
                                                 {"size", "large"},
                                                 {"size", 5},
                                                 {"quality", "best"},
                                                 {"background", "transparent"},
                                                 {"moderation", "none"},
                                                 {"output_format", "gif"},
                                                 {"output_compression", 101},
                                                 {"output_compression", 1.5},
                                                 {"response_format", "file"},
                                                 {"stream", "yes"},
                                                 {"partial_images", 4},
                                                 {"partial_images", -1},
                                                 {"seed", 1.5},
                                                 {"steps", 0},
                                                 {"colour", "red"},
                                                 {"guidance", true},
                                                 {"lora", 5}};
  for (const auto& [name, value] : wrong) {
    const auto request = parse(with(name, value));
    ASSERT_FALSE(request) << name << value;
    EXPECT_EQ(request.error().parameter.substr(0, std::string(name).size()), name);
    EXPECT_TRUE(request.error().message.starts_with(name)) << request.error().message;
  }
  EXPECT_EQ(parse(Json::object()).error().parameter, "prompt");
  EXPECT_FALSE(parse(Json::array()));
  EXPECT_FALSE(parse_openai_request("{", FakeJobs().models()));
}

TEST(OpenAiRequest, APresetGoesWithNoSteps) {
  Json body = with("preset", "FAST");
  EXPECT_EQ(parse(body)->job.preset, "FAST");
  body["steps"] = 4;
  ASSERT_FALSE(parse(body));
  EXPECT_EQ(parse(body).error().parameter, "preset");
}

TEST(OpenAiRequest, AnUnknownModelIsNotFound) {
  const auto request = parse(with("model", "nothing"));
  ASSERT_FALSE(request);
  EXPECT_EQ(request.error().reason, Refusal::Reason::kNotFound);
}

using Parts = std::vector<std::pair<std::string, std::string>>;

std::string grey_png() { return test::png_of(test::plain_image(4, 4, 9)); }

// Its left half is transparent.
std::string alpha_png() {
  return decoded_base64(
             "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAYAAAD0In+KAAAAEUlEQVR4nGNgYGBg4OTk/A8AAVkBGwqG"
             "QcMAAAAASUVORK5CYII=")
      .value();
}

Accepted<OpenAiRequest> parse_edit(Parts more) {
  more.emplace_back("prompt", "a cat");
  return parse_openai_edit(test::form_of(more), "x", FakeJobs().models());
}

TEST(OpenAiEdit, TakesAPictureAndTheFieldsOfAGeneration) {
  const auto request = parse_edit({{"image[]@a.png", grey_png()},
                                   {"n", "2"},
                                   {"size", "auto"},
                                   {"seed", "7"},
                                   {"strength", "0.25"},
                                   {"input_fidelity", "high"},
                                   {"output_format", "webp"}});
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->job.count, 2);
  EXPECT_EQ(request->job.seed, 7u);
  EXPECT_EQ(request->job.strength, 0.25);
  EXPECT_EQ(request->job.sent->image->pixels, test::plain_image(4, 4, 9).pixels);
  EXPECT_FALSE(request->job.sent->mask);
  EXPECT_FALSE(parse_edit({{"image@a.png", grey_png()}})->job.strength);
}

TEST(OpenAiEdit, WhatIsTransparentInTheMaskIsDrawnAnew) {
  const auto request = parse_edit({{"image@a.png", grey_png()}, {"mask@b.png", alpha_png()}});
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->job.sent->mask->pixels, (std::vector<uint8_t>{255, 255, 255, 0, 0, 0}));
  EXPECT_EQ(request->job.strength, 1);
}

TEST(OpenAiEdit, RefusalsNameTheField) {
  for (const auto& [parts, parameter] : std::vector<std::pair<Parts, std::string>>{
           {{}, "image"},
           {{{"image@a", "no picture"}}, "image"},
           {{{"image[]@a", grey_png()}, {"image[]@b", grey_png()}}, "image"},
           {{{"image@a", grey_png()}, {"mask@b", grey_png()}}, "mask"},
           {{{"image@a", grey_png()}, {"photo@b", grey_png()}}, "photo"},
           {{{"image@a", grey_png()}, {"strength", "0"}}, "strength"},
           {{{"image@a", grey_png()}, {"n", "0"}}, "n"},
           {{{"image@a", grey_png()}, {"size", "0x512"}}, "size"},
           {{{"image@a", grey_png()}, {"size", "512x-5"}}, "size"},
           {{{"image@a", grey_png()}, {"size", "0"}}, "size"},
           {{{"image@a", grey_png()}, {"colour", "red"}}, "colour"}}) {
    const auto request = parse_edit(parts);
    ASSERT_FALSE(request) << parameter;
    EXPECT_EQ(request.error().parameter, parameter) << request.error().message;
  }
  EXPECT_FALSE(parse(with("strength", 0.5)));  // a generation has none
}

// As forms send it whose writer forgot the filename: bytes of a PNG are no text either.
TEST(OpenAiEdit, APictureIsAFileOfTheForm) {
  for (const std::string& bytes : {grey_png(), base64(grey_png()), std::string()}) {
    for (const auto& [parts, parameter, name] :
         std::vector<std::tuple<Parts, const char*, const char*>>{
             {{{"image", bytes}}, "image", "image"},
             {{{"image[]", bytes}}, "image", "image[]"},
             {{{"image@a", grey_png()}, {"mask", bytes}}, "mask", "mask"}}) {
      const auto request = parse_edit(parts);
      ASSERT_FALSE(request) << name;
      EXPECT_EQ(request.error().parameter, parameter);
      EXPECT_EQ(request.error().message,
                fmt::format("{}: expected a file, which is a part with a filename, found a text "
                            "field of {} bytes",
                            name, bytes.size()));
    }
  }
}

class OpenAiRoutes : public SiteTest {};

TEST_F(OpenAiRoutes, EditsAPicture) {
  start();
  const std::string form = test::form_of({{"image@a.png", grey_png()}, {"prompt", "a cat"}});
  HttpClient client(server_->port());
  client.send(http_request("POST /v1/images/edits", form, test::kFormType));
  ASSERT_TRUE(eventually([&] { return jobs_.count() == 1; }));
  jobs_.finish(id_of(0));
  const std::string answer = client.read_all();
  EXPECT_EQ(status_of(answer), 200);
  EXPECT_TRUE(json_of(answer)["data"][0]["b64_json"].get<std::string>().starts_with("iVBORw0KGgo"));
  EXPECT_EQ(status_of(ask("POST /v1/images/edits", R"({"prompt": "x"})")), 415);
  jobs_.refusal = Refusal{.reason = Refusal::Reason::kInvalid,
                          .parameter = "init_image",
                          .message = "init_image: it has no encoder"};
  const Json refused = json_of(ask("POST /v1/images/edits", form, test::kFormType));
  EXPECT_EQ(refused["error"]["param"], "image");
  EXPECT_EQ(refused["error"]["message"], "image: it has no encoder");
}

TEST_F(OpenAiRoutes, StreamsAnEdit) {
  start();
  HttpClient client(server_->port());
  client.send(http_request(
      "POST /v1/images/edits",
      test::form_of({{"image@a.png", grey_png()}, {"prompt", "a cat"}, {"stream", "true"}}),
      test::kFormType));
  ASSERT_TRUE(eventually([&] { return jobs_.listeners() == 1; }));
  jobs_.finish(id_of(0));
  EXPECT_NE(client.read_all().find("event: image_edit.completed\ndata: "
                                   "{\"type\":\"image_edit.completed\""),
            std::string::npos);
}

TEST_F(OpenAiRoutes, DrawsAndAnswersInBase64) {
  start();
  const std::string answer =
      ask_and("POST /v1/images/generations", R"({"prompt": "a cat", "n": 2, "seed": 9})",
              [&](const std::string& id) { jobs_.finish(id); });
  EXPECT_EQ(status_of(answer), 200);
  const Json body = json_of(answer);
  ASSERT_EQ(body["data"].size(), 2u);
  EXPECT_TRUE(body["data"][0]["b64_json"].get<std::string>().starts_with("iVBORw0KGgo"));
  EXPECT_EQ(body["data"][1]["seed"], 10);
  EXPECT_EQ(body["size"], "128x128");
  EXPECT_EQ(body["output_format"], "png");
  EXPECT_EQ(body["usage"]["total_tokens"], 2 * 8 * 8);
}

TEST_F(OpenAiRoutes, OtherFormatsAreWhatTheySay) {
  start();
  for (const auto& [format, begin] :
       {std::pair("jpeg", "/9j/"), std::pair("webp", "UklGR"), std::pair("png", "iVBOR")}) {
    const std::string answer =
        ask_and("POST /v1/images/generations",
                fmt::format(R"({{"prompt": "a cat", "output_format": "{}"}})", format),
                [&](const std::string& id) { jobs_.finish(id); });
    EXPECT_TRUE(json_of(answer)["data"][0]["b64_json"].get<std::string>().starts_with(begin))
        << format;
  }
}

TEST_F(OpenAiRoutes, AnAddressCanBeFetched) {
  start();
  const std::string answer =
      ask_and("POST /v1/images/generations", R"({"prompt": "a cat", "response_format": "url"})",
              [&](const std::string& id) { jobs_.finish(id); });
  const std::string url = json_of(answer)["data"][0]["url"];
  ASSERT_TRUE(url.starts_with("http://localhost/api/jobs/")) << url;
  EXPECT_EQ(status_of(ask("GET " + url.substr(std::string("http://localhost").size()))), 200);
}

TEST_F(OpenAiRoutes, StreamsPartialPicturesAndTheWholeOne) {
  start();
  HttpClient client(server_->port());
  client.send(http_request("POST /v1/images/generations",
                           R"({"prompt": "a cat", "stream": true, "partial_images": 1})"));
  EXPECT_NE(client.read_until("\r\n\r\n").find("text/event-stream"), std::string::npos);
  ASSERT_TRUE(eventually([&] { return jobs_.listeners() == 1; }));
  jobs_.preview(id_of(0), "first");
  client.read_until("partial_image_index");
  jobs_.preview(id_of(0), "one too many");
  jobs_.finish(id_of(0));
  const std::string all = client.read_all();
  EXPECT_NE(all.find("event: image_generation.partial_image\ndata: "
                     "{\"type\":\"image_generation.partial_image\""),
            std::string::npos);
  EXPECT_NE(all.find("event: image_generation.completed"), std::string::npos);
  EXPECT_EQ(all.find("partial_image_index"), all.rfind("partial_image_index"));
  EXPECT_TRUE(eventually([&] { return jobs_.listeners() == 0; }));
}

TEST_F(OpenAiRoutes, AClientThatLeavesCancelsItsJob) {
  start();
  for (const char* more : {"", R"(, "stream": true)"}) {
    const auto number = static_cast<int>(jobs_.count());
    HttpClient client(server_->port());
    client.send(http_request("POST /v1/images/generations",
                             std::string(R"({"prompt": "a cat")") + more + "}"));
    ASSERT_TRUE(eventually([&] { return jobs_.listeners() == 1; }));
    client.close();
    EXPECT_TRUE(eventually([&] { return jobs_.get(id_of(number))->state == JobState::kCancelled; }))
        << more;
    EXPECT_TRUE(eventually([&] { return jobs_.listeners() == 0; }));
  }
}

TEST_F(OpenAiRoutes, ErrorsHaveOpenAisForm) {
  start();
  const std::string unknown =
      ask("POST /v1/images/generations", R"({"prompt": "a", "model": "nothing"})");
  EXPECT_EQ(status_of(unknown), 404);
  EXPECT_EQ(json_of(unknown)["error"]["code"], "model_not_found");
  EXPECT_EQ(json_of(unknown)["error"]["param"], "model");
  EXPECT_EQ(json_of(unknown)["error"]["type"], "invalid_request_error");
  const std::string failed =
      ask_and("POST /v1/images/generations", R"({"prompt": "a cat"})",
              [&](const std::string& id) { jobs_.fail(id, "out_of_memory"); });
  EXPECT_EQ(status_of(failed), 500);
  EXPECT_EQ(json_of(failed)["error"]["code"], "out_of_memory");
  const std::string cancelled = ask_and("POST /v1/images/generations", R"({"prompt": "a cat"})",
                                        [&](const std::string& id) { jobs_.cancel(id); });
  EXPECT_EQ(status_of(cancelled), 409);
  const std::string stream =
      ask_and("POST /v1/images/generations", R"({"prompt": "a cat", "stream": true})",
              [&](const std::string& id) { jobs_.fail(id, "internal"); });
  EXPECT_NE(stream.find("event: error\n"), std::string::npos);
}

TEST_F(OpenAiRoutes, ListsModels) {
  start();
  const Json list = json_of(ask("GET /v1/models"));
  EXPECT_EQ(list["object"], "list");
  EXPECT_EQ(list["data"][0]["id"], "mini");
  EXPECT_EQ(json_of(ask("GET /v1/models/plain"))["object"], "model");
  EXPECT_EQ(status_of(ask("GET /v1/models/none")), 404);
}

}  // namespace
}  // namespace intaglio::server
