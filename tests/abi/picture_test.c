/* Pictures of the C interface, as a C99 program draws them with the bundled model: picture_test MODEL. */
#define _POSIX_C_SOURCE 200809L
#include <intaglio/intaglio.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures = 0;
static const char* folder;

static void expect(int good, const char* what) {
  if (good) return;
  fprintf(stderr, "failed: %s; last error: %s\n", what, intaglio_last_error());
  ++failures;
}

/* The status, and a part of its message. */
static void expect_error(intaglio_status found, intaglio_status expected, const char* part) {
  char what[200];
  snprintf(what, sizeof what, "%s \"%s\" (found %s)", intaglio_status_name(expected), part,
           intaglio_status_name(found));
  expect(found == expected && strstr(intaglio_last_error(), part) != NULL, what);
}

static intaglio_model_options model_options(void) {
  intaglio_model_options options = INTAGLIO_MODEL_OPTIONS_INIT;
  options.model = folder;
  options.device = "cpu";
  return options;
}

static intaglio_picture_options small_picture(void) {
  intaglio_picture_options options = INTAGLIO_PICTURE_OPTIONS_INIT;
  options.prompt = "a red circle on white";
  options.width = 96;
  options.height = 64;
  options.steps = 2;
  options.seed = 3;
  return options;
}

static intaglio_model* open_model(void) {
  const intaglio_model_options options = model_options();
  intaglio_model* model = NULL;
  expect(intaglio_model_open(&options, &model) == INTAGLIO_OK && model != NULL, "open");
  if (model == NULL) exit(1);
  return model;
}

/* A copy of the pixels, the caller's to free; null on failure. */
static uint8_t* draw(intaglio_model* model, const intaglio_picture_options* options) {
  intaglio_picture_info info = INTAGLIO_PICTURE_INFO_INIT;
  intaglio_picture* picture = NULL;
  uint8_t* pixels = NULL;
  if (intaglio_generate(model, options, NULL, &picture) == INTAGLIO_OK &&
      intaglio_picture_get(picture, &info) == INTAGLIO_OK) {
    const size_t size = (size_t)(info.width * info.height * 3);
    pixels = malloc(size);
    if (pixels != NULL) memcpy(pixels, info.pixels, size);
  }
  intaglio_picture_free(picture);
  return pixels;
}

static int same_pixels(const uint8_t* a, const uint8_t* b) {
  return a != NULL && b != NULL && memcmp(a, b, 96 * 64 * 3) == 0;
}

/* Size first, then zeros alone. */
static int is_initial(const void* data, size_t size) {
  const unsigned char* bytes = data;
  uint64_t stored = 0;
  size_t i;
  memcpy(&stored, bytes, sizeof stored);
  for (i = sizeof stored; i < size; ++i)
    if (bytes[i] != 0) return 0;
  return stored == size;
}

static void test_initialisers(void) {
  const intaglio_model_options model = INTAGLIO_MODEL_OPTIONS_INIT;
  const intaglio_picture_options picture = INTAGLIO_PICTURE_OPTIONS_INIT;
  const intaglio_picture_plan plan = INTAGLIO_PICTURE_PLAN_INIT;
  const intaglio_callbacks callbacks = INTAGLIO_CALLBACKS_INIT;
  const intaglio_adapters adapters = INTAGLIO_ADAPTERS_INIT;
  const intaglio_picture_info info = INTAGLIO_PICTURE_INFO_INIT;
  const intaglio_int8_linear_desc desc = INTAGLIO_INT8_LINEAR_DESC_INIT;
  const intaglio_int8_linear_args args = INTAGLIO_INT8_LINEAR_ARGS_INIT;
  const intaglio_int8_quantize_rows_args rows = INTAGLIO_INT8_QUANTIZE_ROWS_ARGS_INIT;
  expect(is_initial(&model, sizeof model), "model options");
  expect(is_initial(&picture, sizeof picture), "picture options");
  expect(is_initial(&plan, sizeof plan), "plan");
  expect(is_initial(&callbacks, sizeof callbacks), "callbacks");
  expect(is_initial(&adapters, sizeof adapters), "adapters");
  expect(is_initial(&info, sizeof info), "info");
  expect(is_initial(&desc, sizeof desc), "linear desc");
  expect(is_initial(&args, sizeof args), "linear args");
  expect(is_initial(&rows, sizeof rows), "quantize rows args");
}

static void refuse_model(const intaglio_model_options* options, intaglio_status status,
                         const char* part) {
  intaglio_model* model = (intaglio_model*)(void*)&failures;
  expect_error(intaglio_model_open(options, &model), status, part);
  expect(model == NULL, "no model of a failure");
}

static void test_models_that_are_refused(void) {
  const char* patterns[2] = {"layers.0.*", "no such linear"};
  intaglio_model_options options = model_options();
  intaglio_model* model = NULL;
  struct {
    intaglio_model_options known;
    uint64_t later;
  } longer;

  expect_error(intaglio_model_open(&options, NULL), INTAGLIO_INVALID_ARGUMENT, "model: null");
  refuse_model(NULL, INTAGLIO_INVALID_ARGUMENT, "options: null");
  options.struct_size = 8;
  refuse_model(&options, INTAGLIO_INVALID_ARGUMENT, "options.struct_size: 8, expected");
  options.struct_size = 1u << 20;
  refuse_model(&options, INTAGLIO_INVALID_ARGUMENT, "options.struct_size: 1048576, expected");

  /* Of a header that had no adapters yet: what lies behind is none of the struct. */
  options = model_options();
  options.struct_size = 112;
  options.adapter_count = 1;
  expect(intaglio_model_open(&options, &model) == INTAGLIO_OK, "options of an older header");
  expect(intaglio_model_close(model) == INTAGLIO_OK, "close");

  longer.known = model_options();
  longer.known.struct_size = sizeof longer;
  longer.later = 1;
  refuse_model(&longer.known, INTAGLIO_UNSUPPORTED, "options: sets a field after byte");

  options = model_options();
  options.model = NULL;
  refuse_model(&options, INTAGLIO_INVALID_ARGUMENT, "options.model: null");
  options.model = "no/such/model";
  refuse_model(&options, INTAGLIO_NOT_FOUND, "options.model no/such/model: no such folder");
  options.model = "synthetic:nobody";
  refuse_model(&options, INTAGLIO_NOT_FOUND, "nobody");
  options = model_options();
  options.vae = "no/such/vae";
  refuse_model(&options, INTAGLIO_NOT_FOUND, "options.vae no/such/vae: no such folder or file");
  options = model_options();
  options.precision = "int7";
  refuse_model(&options, INTAGLIO_INVALID_ARGUMENT, "options.precision: expected auto or one of");
  options = model_options();
  options.device = "tpu";
  refuse_model(&options, INTAGLIO_INVALID_ARGUMENT, "options.device: expected auto, cpu, cuda");
  options = model_options();
  options.parallel = "auto";
  refuse_model(&options, INTAGLIO_INVALID_ARGUMENT,
               "options.parallel: expected off, ulysses or cfg+ulysses, found \"auto\"");
  options.parallel = "ulysses";
  refuse_model(&options, INTAGLIO_INVALID_ARGUMENT, "options.device: ");
  options.parallel = "off";
  options.device = "cuda:0,cuda:1,cuda:2";
  refuse_model(&options, INTAGLIO_INVALID_ARGUMENT, "options.device: 3 GPUs, at most 2");
  options = model_options();
  options.threads = -1;
  refuse_model(&options, INTAGLIO_INVALID_ARGUMENT, "options.threads: -1, expected 0 to 1024");
  options = model_options();
  options.flags = 2;
  refuse_model(&options, INTAGLIO_UNSUPPORTED, "options.flags: 0x2");
  options = model_options();
  options.keep_bf16_count = 2;
  refuse_model(&options, INTAGLIO_INVALID_ARGUMENT, "options.keep_bf16: null");
  options.keep_bf16 = patterns;
  refuse_model(&options, INTAGLIO_INVALID_ARGUMENT, "no such linear");
}

/* A low rank of one linear of the model [384, 1024], all numbers the same. */
static void write_adapter(const char* path, float value) {
  enum { kRank = 2, kN = 384, kK = 1024 };
  static const char header[] =
      "{\"transformer.layers.0.feed_forward.w2.lora_A.weight\":{\"dtype\":\"F32\",\"shape\":[2,"
      "1024],"
      "\"data_offsets\":[0,8192]},\"transformer.layers.0.feed_forward.w2.lora_B.weight\":{"
      "\"dtype\":"
      "\"F32\",\"shape\":[384,2],\"data_offsets\":[8192,11264]}}";
  const uint64_t length = sizeof header - 1;
  FILE* file = fopen(path, "wb");
  int i;
  if (file == NULL) exit(1);
  fwrite(&length, sizeof length, 1, file); /* of a machine that counts from the low byte on */
  fwrite(header, 1, sizeof header - 1, file);
  for (i = 0; i < kRank * kK + kN * kRank; ++i) {
    const float sign = i % 3 == 0 ? -1.0f : 1.0f;
    const float number = sign * value;
    fwrite(&number, sizeof number, 1, file);
  }
  if (fclose(file) != 0) exit(1);
}

static uint8_t* draw_with(const char* const* files, const float* strengths, uint64_t count) {
  intaglio_model_options options = model_options();
  const intaglio_picture_options picture = small_picture();
  intaglio_model* model = NULL;
  uint8_t* pixels = NULL;
  options.adapters = files;
  options.adapter_strengths = strengths;
  options.adapter_count = count;
  expect(intaglio_model_open(&options, &model) == INTAGLIO_OK, "open with adapters");
  if (model != NULL) pixels = draw(model, &picture);
  intaglio_model_close(model);
  return pixels;
}

/* A model takes other adapters between pictures, and draws what one that was opened with them does. */
static void test_adapters(intaglio_model* model, const uint8_t* without) {
  static const char* const one[] = {"adapter_one.safetensors"};
  static const char* const both[] = {"adapter_one.safetensors", "adapter_two.safetensors"};
  static const char* const nowhere[] = {"adapter_one.safetensors", "no/such.safetensors"};
  const float strengths[] = {0.5f, 1.5f};
  const intaglio_picture_options options = small_picture();
  intaglio_model_options refused = model_options();
  intaglio_adapters adapters = INTAGLIO_ADAPTERS_INIT;
  intaglio_picture* picture = NULL;
  const uint8_t* png = NULL;
  uint64_t size = 0, i;
  uint8_t *with_one, *with_both, *swapped;
  int named = 0;

  write_adapter("adapter_one.safetensors", 0.05f);
  write_adapter("adapter_two.safetensors", 0.03f);
  with_one = draw_with(one, NULL, 1);
  with_both = draw_with(both, strengths, 2);
  expect(with_one != NULL && !same_pixels(with_one, without), "an adapter changes the picture");
  expect(with_both != NULL && !same_pixels(with_both, with_one), "two change it otherwise");

  adapters.files = one;
  adapters.count = 1;
  expect(intaglio_set_adapters(model, &adapters) == INTAGLIO_OK, "set an adapter");
  swapped = draw(model, &options);
  expect(same_pixels(swapped, with_one), "an adapter that is set draws as one opened with");
  free(swapped);
  adapters.files = both;
  adapters.strengths = strengths;
  adapters.count = 2;
  expect(intaglio_set_adapters(model, &adapters) == INTAGLIO_OK, "set two");
  swapped = draw(model, &options);
  expect(same_pixels(swapped, with_both), "two that are set draw as two opened with");
  free(swapped);
  expect(intaglio_generate(model, &options, NULL, &picture) == INTAGLIO_OK &&
             intaglio_picture_png(picture, &png, &size) == INTAGLIO_OK,
         "a PNG");
  for (i = 0; i + 15 < size && !named; ++i) named = memcmp(png + i, "adapter_two:1.5", 15) == 0;
  expect(named, "that names its adapters");
  intaglio_picture_free(picture);

  adapters.files = nowhere;
  expect_error(intaglio_set_adapters(model, &adapters), INTAGLIO_NOT_FOUND,
               "adapters.files[1]: no/such.safetensors");
  adapters.files = NULL;
  expect_error(intaglio_set_adapters(model, &adapters), INTAGLIO_INVALID_ARGUMENT,
               "adapters.files: null, expected 2 files");
  adapters.struct_size = 4;
  expect_error(intaglio_set_adapters(model, &adapters), INTAGLIO_INVALID_ARGUMENT,
               "adapters.struct_size: 4, expected");
  expect_error(intaglio_set_adapters(model, NULL), INTAGLIO_INVALID_ARGUMENT, "adapters: null");
  expect_error(intaglio_set_adapters(NULL, &adapters), INTAGLIO_INVALID_ARGUMENT, "model: null");
  swapped = draw(model, &options);
  expect(same_pixels(swapped, with_both), "those before stay after a failure");
  free(swapped);

  refused.adapters = nowhere;
  refused.adapter_count = 2;
  refuse_model(&refused, INTAGLIO_NOT_FOUND, "options.adapters[1]: no/such.safetensors");
  refused.adapters = NULL;
  refuse_model(&refused, INTAGLIO_INVALID_ARGUMENT, "options.adapters: null, expected 2 files");

  adapters.struct_size = sizeof adapters;
  adapters.count = 0;
  expect(intaglio_set_adapters(model, &adapters) == INTAGLIO_OK, "set none");
  swapped = draw(model, &options);
  expect(same_pixels(swapped, without), "as before all adapters");
  free(swapped);
  free(with_one);
  free(with_both);
  remove("adapter_one.safetensors");
  remove("adapter_two.safetensors");
}

static void refuse_picture(intaglio_model* model, const intaglio_picture_options* options,
                           intaglio_status status, const char* part) {
  intaglio_picture_plan plan = INTAGLIO_PICTURE_PLAN_INIT;
  intaglio_picture* picture = (intaglio_picture*)(void*)&failures;
  expect_error(intaglio_plan(model, options, &plan), status, part);
  expect(is_initial(&plan, sizeof plan), "the plan of a failure is left as it was");
  expect_error(intaglio_generate(model, options, NULL, &picture), status, part);
  expect(picture == NULL, "no picture of a failure");
}

static void test_pictures_that_are_refused(intaglio_model* model) {
  const float guidance[3] = {4.0f, 4.0f, 1.0f};
  const double shift = 3.0;
  const double no_number = -1.0;
  intaglio_picture_options options = small_picture();
  intaglio_picture_plan plan = INTAGLIO_PICTURE_PLAN_INIT;
  intaglio_callbacks callbacks = INTAGLIO_CALLBACKS_INIT;
  intaglio_picture* picture = NULL;

  expect_error(intaglio_plan(NULL, &options, &plan), INTAGLIO_INVALID_ARGUMENT, "model: null");
  expect_error(intaglio_plan(model, &options, NULL), INTAGLIO_INVALID_ARGUMENT, "plan: null");
  plan.struct_size = 4;
  expect_error(intaglio_plan(model, &options, &plan), INTAGLIO_INVALID_ARGUMENT,
               "plan.struct_size: 4, expected");
  expect_error(intaglio_generate(NULL, &options, NULL, &picture), INTAGLIO_INVALID_ARGUMENT,
               "model: null");
  expect_error(intaglio_generate(model, &options, NULL, NULL), INTAGLIO_INVALID_ARGUMENT,
               "picture: null");
  callbacks.struct_size = 1;
  expect_error(intaglio_generate(model, &options, &callbacks, &picture), INTAGLIO_INVALID_ARGUMENT,
               "callbacks.struct_size: 1");

  refuse_picture(model, NULL, INTAGLIO_INVALID_ARGUMENT, "options: null");
  options.struct_size = 0;
  refuse_picture(model, &options, INTAGLIO_INVALID_ARGUMENT, "options.struct_size: 0, expected");
  options = small_picture();
  options.prompt = NULL;
  refuse_picture(model, &options, INTAGLIO_INVALID_ARGUMENT, "options.prompt: null");
  options.prompt = " \n";
  refuse_picture(model, &options, INTAGLIO_INVALID_ARGUMENT, "options.prompt: blank");
  options.prompt = "a \xff circle";
  refuse_picture(model, &options, INTAGLIO_INVALID_ARGUMENT, "UTF-8");
  options = small_picture();
  options.negative_prompt = "blue";
  refuse_picture(model, &options, INTAGLIO_INVALID_ARGUMENT, "options.negative_prompt: mini");
  options = small_picture();
  options.preset = "nobody's";
  refuse_picture(model, &options, INTAGLIO_INVALID_ARGUMENT, "nobody's");
  options = small_picture();
  options.height = 0;
  refuse_picture(model, &options, INTAGLIO_INVALID_ARGUMENT, "96x0, expected both or neither");
  options.height = 65;
  refuse_picture(model, &options, INTAGLIO_INVALID_ARGUMENT, "size 96x65");
  options.height = -64;
  refuse_picture(model, &options, INTAGLIO_INVALID_ARGUMENT, "size 96x-64");
  options = small_picture();
  options.steps = 1001;
  refuse_picture(model, &options, INTAGLIO_INVALID_ARGUMENT, "options.steps: 1001, expected 1 to");
  options = small_picture();
  options.std = &no_number;
  refuse_picture(model, &options, INTAGLIO_INVALID_ARGUMENT, "options.std: -1");
  options = small_picture();
  options.guidance_count = 3;
  refuse_picture(model, &options, INTAGLIO_INVALID_ARGUMENT, "options.guidance: null");
  options.guidance = guidance;
  refuse_picture(model, &options, INTAGLIO_INVALID_ARGUMENT, "guidance has 3 values for 2 steps");
  options = small_picture();
  options.cache = "nearly all";
  refuse_picture(model, &options, INTAGLIO_INVALID_ARGUMENT, "found \"nearly all\"");
  options.cache = "share-0.5";
  refuse_picture(model, &options, INTAGLIO_INVALID_ARGUMENT, "share-0.5 (24 steps)");
  options = small_picture();
  options.progressive = "5";
  refuse_picture(model, &options, INTAGLIO_INVALID_ARGUMENT, "progressive");
  options = small_picture();
  options.shift = &shift;
  refuse_picture(model, &options, INTAGLIO_INVALID_ARGUMENT, "options.shift: mini has none");
  options = small_picture();
  options.strength = 0.5;
  refuse_picture(model, &options, INTAGLIO_INVALID_ARGUMENT, "options.init_pixels: null");
  options.init_pixels = (const uint8_t*)guidance;
  refuse_picture(model, &options, INTAGLIO_INVALID_ARGUMENT, "0x0, expected 1x1");
  options.init_width = options.init_height = 2;
  refuse_picture(model, &options, INTAGLIO_INVALID_ARGUMENT, "2x2, expected the picture's");
  options.width = options.height = 0;
  options.strength = 1.5;
  refuse_picture(model, &options, INTAGLIO_INVALID_ARGUMENT, "options.strength: 1.5");
  options = small_picture();
  options.flags = 4;
  refuse_picture(model, &options, INTAGLIO_UNSUPPORTED, "options.flags: 0x4");
}

/* A mask of zeros gives the picture back, of whose steps half ran. */
static void test_a_picture_from_another(intaglio_model* model) {
  static const uint8_t kept[96 * 64] = {0};
  intaglio_picture_options options = small_picture();
  intaglio_picture_plan plan = INTAGLIO_PICTURE_PLAN_INIT;
  intaglio_picture_info info = INTAGLIO_PICTURE_INFO_INIT;
  intaglio_picture* picture = NULL;
  uint8_t* const given = draw(model, &options);
  options.seed = 4;
  options.width = options.height = 0;
  options.init_pixels = given;
  options.init_width = 96;
  options.init_height = 64;
  options.strength = 0.5;
  expect(intaglio_plan(model, &options, &plan) == INTAGLIO_OK, "plan from a picture");
  expect(plan.width == 96 && plan.height == 64, "the picture has the size of the given one");
  expect(plan.steps == 2 && plan.run_steps == 1, "half of the steps run");
  expect(plan.encode_bytes > 0 && plan.encode_bytes <= plan.peak_bytes, "encoding is planned");
  expect(intaglio_generate(model, &options, NULL, &picture) == INTAGLIO_OK, "from a picture");
  expect(intaglio_picture_get(picture, &info) == INTAGLIO_OK, "get");
  expect(info.steps == 1 && info.encode_ms > 0, "one step ran, behind the encoder");
  expect(given != NULL && memcmp(info.pixels, given, sizeof kept * 3) != 0, "another picture");
  intaglio_picture_free(picture);
  options.init_mask = kept;
  expect(intaglio_generate(model, &options, NULL, &picture) == INTAGLIO_OK, "with a mask");
  expect(intaglio_picture_get(picture, &info) == INTAGLIO_OK, "get");
  expect(given != NULL && memcmp(info.pixels, given, sizeof kept * 3) == 0, "kept to the bit");
  intaglio_picture_free(picture);
  free(given);
}

static void test_a_plan(intaglio_model* model) {
  const intaglio_picture_options options = small_picture();
  intaglio_picture_options defaults = INTAGLIO_PICTURE_OPTIONS_INIT;
  intaglio_picture_plan plan = INTAGLIO_PICTURE_PLAN_INIT, other = INTAGLIO_PICTURE_PLAN_INIT;
  struct {
    intaglio_picture_options known;
    uint64_t later;
  } longer;

  expect(intaglio_plan(model, &options, &plan) == INTAGLIO_OK, "plan");
  expect(plan.width == 96 && plan.height == 64 && plan.steps == 2, "sizes of the plan");
  expect(plan.image_tokens == 24 && plan.text_tokens > 5, "tokens of the plan");
  expect(strcmp(plan.precision, "int8") == 0 && strcmp(plan.device, "cpu") == 0, "what will run");
  expect(strncmp(plan.schedule, "2 steps", 7) == 0 && plan.threads >= 1, "schedule and threads");
  expect(plan.peak_bytes >= plan.denoise_bytes && plan.denoise_bytes > 0 && plan.decode_bytes > 0,
         "memory of the plan");
  defaults.prompt = options.prompt;
  expect(intaglio_plan(model, &defaults, &other) == INTAGLIO_OK, "the model's defaults");
  expect(other.width == 256 && other.height == 256 && other.steps > 2, "sizes of the defaults");
  expect(other.peak_bytes > plan.peak_bytes, "a larger picture takes more");

  memset(&longer, 0, sizeof longer);
  longer.known = options;
  longer.known.struct_size = sizeof longer;
  memset(&other, 0, sizeof other);
  other.struct_size = sizeof other;
  expect(intaglio_plan(model, &longer.known, &other) == INTAGLIO_OK &&
             memcmp(&plan, &other, sizeof plan) == 0,
         "a struct of a newer header whose new fields are zero");
}

/* Whether the bytes of the PNG hold a text. */
static int png_says(intaglio_picture* picture, const char* text) {
  const uint8_t* png = NULL;
  uint64_t size = 0, i;
  const size_t length = strlen(text);
  if (intaglio_picture_png(picture, &png, &size) != INTAGLIO_OK) return 0;
  for (i = 0; i + length <= size; ++i)
    if (memcmp(png + i, text, length) == 0) return 1;
  return 0;
}

static void test_step_masks(intaglio_model* model) {
  intaglio_picture_options options = small_picture();
  intaglio_picture_plan plan = INTAGLIO_PICTURE_PLAN_INIT;
  intaglio_picture* picture = NULL;
  uint8_t *whole, *masked;
  options.steps = 6;
  whole = draw(model, &options);
  expect(intaglio_plan(model, &options, &plan) == INTAGLIO_OK && plan.cache[0] == '\0' &&
             plan.computed_share == 1.0,
         "a plan without a mask");
  options.cache = "off";
  masked = draw(model, &options);
  expect(same_pixels(masked, whole), "off is the default");
  free(masked);
  options.cache = "0.5";
  expect(intaglio_plan(model, &options, &plan) == INTAGLIO_OK &&
             strcmp(plan.cache, "spread-0.5") == 0 && plan.computed_share == 0.5,
         "half of the passes, by the rule");
  masked = draw(model, &options);
  expect(masked != NULL && !same_pixels(masked, whole), "a mask changes the picture");
  expect(intaglio_generate(model, &options, NULL, &picture) == INTAGLIO_OK &&
             png_says(picture, "Cache: \"spread-0.5\""),
         "the PNG names the mask");
  intaglio_picture_free(picture);
  free(masked);
  options.cache = NULL;
  options.progressive = "0.5";
  masked = draw(model, &options);
  expect(masked != NULL && !same_pixels(masked, whole), "half-size steps change the picture");
  expect(intaglio_generate(model, &options, NULL, &picture) == INTAGLIO_OK &&
             png_says(picture, "Progressive: 3"),
         "the PNG says how many steps were of half size");
  intaglio_picture_free(picture);
  options.cache = "0.5";
  /* A caller of the first header has no such field. */
  options.struct_size = 104;
  free(masked);
  masked = draw(model, &options);
  expect(same_pixels(masked, whole), "a struct of the first version");
  free(masked);
  free(whole);
  options = small_picture();
  options.steps = 24;
  options.cache = "share-0.5";
  expect(intaglio_plan(model, &options, &plan) == INTAGLIO_OK &&
             strcmp(plan.cache, "share-0.5") == 0 && plan.computed_share <= 0.5,
         "a mask of the model by its name");
}

static void test_memory_that_does_not_suffice(void) {
  intaglio_model_options options = model_options();
  const intaglio_picture_options picture = small_picture();
  intaglio_picture_plan plan = INTAGLIO_PICTURE_PLAN_INIT;
  intaglio_model* model = NULL;
  options.memory_limit = 1 << 20;
  expect(intaglio_model_open(&options, &model) == INTAGLIO_OK, "opening takes no such memory");
  refuse_picture(model, &picture, INTAGLIO_OUT_OF_MEMORY, "a 96x64 picture at int8: ");
  expect(strstr(intaglio_last_error(), "needs ") != NULL &&
             strstr(intaglio_last_error(), "(1048576 bytes) is available") != NULL,
         "both numbers");
  expect(intaglio_model_close(model) == INTAGLIO_OK, "close");
  options.precision = "auto";
  expect(intaglio_model_open(&options, &model) == INTAGLIO_OK, "auto");
  refuse_picture(model, &picture, INTAGLIO_OUT_OF_MEMORY, "(1048576 bytes) is available");
  intaglio_model_close(model);
  options.memory_limit = 0;
  expect(intaglio_model_open(&options, &model) == INTAGLIO_OK, "auto");
  expect(intaglio_plan(model, &picture, &plan) == INTAGLIO_OK, "auto plans");
  expect(strcmp(plan.precision, "int8") == 0 && strstr(plan.precision_reason, "fastest") != NULL,
         "auto says why");
  intaglio_model_close(model);
}

/* A callback's doings: it stops at a step, and tries the model that is at work. */
struct Calls {
  intaglio_model* model;
  int64_t stop_at, steps_seen;
  int reports, after_stop;
  intaglio_status plan, close;
};

static int32_t progress(void* user, const char* phase, int64_t done, int64_t total) {
  struct Calls* calls = user;
  const intaglio_picture_options options = small_picture();
  intaglio_picture_plan plan = INTAGLIO_PICTURE_PLAN_INIT;
  ++calls->reports;
  calls->plan = intaglio_plan(calls->model, &options, &plan);
  calls->close = intaglio_model_close(calls->model);
  if (calls->stop_at >= 0 && calls->steps_seen >= calls->stop_at) ++calls->after_stop;
  if (strcmp(phase, "denoise") != 0) return 0;
  expect(done >= 0 && done <= total, "done of total");
  calls->steps_seen = done;
  return calls->stop_at >= 0 && done >= calls->stop_at;
}

static void test_drawing_and_stopping(intaglio_model* model, const uint8_t* expected) {
  intaglio_picture_options options = small_picture();
  intaglio_callbacks callbacks = INTAGLIO_CALLBACKS_INIT;
  intaglio_picture_info info = INTAGLIO_PICTURE_INFO_INIT;
  intaglio_picture* picture = NULL;
  uint8_t* again;
  struct Calls calls = {NULL, -1, 0, 0, 0, 0, 0};

  calls.model = model;
  callbacks.progress = progress;
  callbacks.user = &calls;
  expect(intaglio_generate(model, &options, &callbacks, &picture) == INTAGLIO_OK, "with progress");
  expect(calls.steps_seen == 2 && calls.reports > 4, "phases and steps are told");
  expect(calls.plan == INTAGLIO_INVALID_ARGUMENT && calls.close == INTAGLIO_INVALID_ARGUMENT,
         "the model is at work in a callback");
  expect(strcmp(intaglio_last_error(),
                "model: another call is using it; expected one call at a time") == 0,
         "and says so");
  expect(intaglio_picture_get(picture, &info) == INTAGLIO_OK && info.seed == 3 &&
             info.width == 96 && info.height == 64 && info.steps == 2,
         "the picture's settings");
  expect(info.total_ms > 0 && info.denoise_ms > 0 && info.total_ms >= info.denoise_ms &&
             info.step_ms[0] > 0 && info.step_ms[1] > 0,
         "the picture's times");
  expect(same_pixels(info.pixels, expected), "the same pixels with callbacks");
  intaglio_picture_free(picture);

  options.steps = 1000;
  calls.stop_at = 3;
  picture = (intaglio_picture*)(void*)&failures;
  expect_error(intaglio_generate(model, &options, &callbacks, &picture), INTAGLIO_CANCELLED, "");
  expect(picture == NULL && calls.steps_seen == 3 && calls.after_stop == 0,
         "stops at once, without a picture");
  options.steps = 2;
  again = draw(model, &options);
  expect(same_pixels(again, expected), "a model that was stopped draws as before");
  free(again);
  options.seed = 4;
  again = draw(model, &options);
  expect(again != NULL && !same_pixels(again, expected), "another seed, another picture");
  free(again);
  options.flags = INTAGLIO_RANDOM_SEED;
  expect(intaglio_generate(model, &options, NULL, &picture) == INTAGLIO_OK, "a random seed");
  expect(intaglio_picture_get(picture, &info) == INTAGLIO_OK && info.seed != 4, "is told");
  intaglio_picture_free(picture);
}

/* Stops the model as soon as the first step is done. */
struct Stopper {
  intaglio_model* model;
  pthread_mutex_t mutex;
  pthread_cond_t begun;
  int steps;
};

static int32_t wake_stopper(void* user, const char* phase, int64_t done, int64_t total) {
  struct Stopper* stopper = user;
  (void)total;
  pthread_mutex_lock(&stopper->mutex);
  if (strcmp(phase, "denoise") == 0) stopper->steps = (int)done;
  pthread_cond_signal(&stopper->begun);
  pthread_mutex_unlock(&stopper->mutex);
  return 0;
}

static void* stop_model(void* data) {
  struct Stopper* stopper = data;
  pthread_mutex_lock(&stopper->mutex);
  while (stopper->steps < 1) pthread_cond_wait(&stopper->begun, &stopper->mutex);
  pthread_mutex_unlock(&stopper->mutex);
  intaglio_cancel(stopper->model);
  return NULL;
}

static void test_stopping_from_another_thread(intaglio_model* model, const uint8_t* expected) {
  intaglio_picture_options options = small_picture();
  intaglio_callbacks callbacks = INTAGLIO_CALLBACKS_INIT;
  intaglio_picture* picture = NULL;
  uint8_t* again;
  pthread_t thread;
  struct Stopper stopper = {NULL, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
  stopper.model = model;
  callbacks.progress = wake_stopper;
  callbacks.user = &stopper;
  options.steps = 1000;
  intaglio_cancel(NULL);
  intaglio_cancel(model); /* draws nothing: the next picture is not stopped by it */
  if (pthread_create(&thread, NULL, stop_model, &stopper) != 0) exit(1);
  expect_error(intaglio_generate(model, &options, &callbacks, &picture), INTAGLIO_CANCELLED, "");
  pthread_join(thread, NULL);
  expect(picture == NULL && stopper.steps < 1000, "stopped before its end");
  options.steps = 2;
  again = draw(model, &options);
  expect(same_pixels(again, expected), "draws as before");
  free(again);
}

/* Draws twice with a model of its own; the pixels of the second. */
static void* draw_twice(void* unused) {
  const intaglio_picture_options options = small_picture();
  intaglio_model* model = open_model();
  uint8_t* pixels;
  (void)unused;
  free(draw(model, &options));
  pixels = draw(model, &options);
  expect(intaglio_model_close(model) == INTAGLIO_OK, "close");
  return pixels;
}

static void test_models_on_threads(const uint8_t* expected) {
  pthread_t threads[2];
  int i;
  for (i = 0; i < 2; ++i)
    if (pthread_create(&threads[i], NULL, draw_twice, NULL) != 0) exit(1);
  for (i = 0; i < 2; ++i) {
    void* pixels = NULL;
    pthread_join(threads[i], &pixels);
    expect(same_pixels(pixels, expected), "two models on two threads draw the same picture");
    free(pixels);
  }
}

static void test_files(void) {
  const intaglio_picture_options options = small_picture();
  intaglio_picture_info info = INTAGLIO_PICTURE_INFO_INIT;
  intaglio_model* model = open_model();
  intaglio_picture* picture = NULL;
  const uint8_t* png = NULL;
  uint64_t size = 0;
  char file[] = "/tmp/intaglio_picture_XXXXXX", *contents;
  const int descriptor = mkstemp(file);
  FILE* stream;
  expect(intaglio_generate(model, &options, NULL, &picture) == INTAGLIO_OK, "generate");
  expect(intaglio_model_close(model) == INTAGLIO_OK, "the picture outlives its model");
  expect(intaglio_picture_png(picture, &png, &size) == INTAGLIO_OK && size > 8 &&
             memcmp(png, "\x89PNG\r\n\x1a\n", 8) == 0,
         "PNG in memory");
  expect(descriptor >= 0 && intaglio_picture_save_png(picture, file) == INTAGLIO_OK, "PNG file");
  contents = malloc((size_t)size + 1);
  stream = fopen(file, "rb");
  expect(contents != NULL && stream != NULL &&
             fread(contents, 1, (size_t)size + 1, stream) == (size_t)size &&
             memcmp(contents, png, (size_t)size) == 0,
         "the file holds the same bytes");
  if (stream != NULL) fclose(stream);
  free(contents);
  remove(file);
  expect_error(intaglio_picture_save_png(picture, "/no/such/folder/x.png"), INTAGLIO_IO_ERROR,
               "/no/such/folder");
  expect_error(intaglio_picture_save_png(NULL, file), INTAGLIO_INVALID_ARGUMENT, "picture: null");
  expect_error(intaglio_picture_save_png(picture, NULL), INTAGLIO_INVALID_ARGUMENT, "path: null");
  expect_error(intaglio_picture_png(NULL, &png, &size), INTAGLIO_INVALID_ARGUMENT, "picture: null");
  expect_error(intaglio_picture_png(picture, NULL, &size), INTAGLIO_INVALID_ARGUMENT,
               "bytes: null");
  expect_error(intaglio_picture_png(picture, &png, NULL), INTAGLIO_INVALID_ARGUMENT, "size: null");
  expect_error(intaglio_picture_get(NULL, &info), INTAGLIO_INVALID_ARGUMENT, "picture: null");
  expect_error(intaglio_picture_get(picture, NULL), INTAGLIO_INVALID_ARGUMENT, "info: null");
  info.struct_size = 7;
  expect_error(intaglio_picture_get(picture, &info), INTAGLIO_INVALID_ARGUMENT,
               "info.struct_size: 7, expected");
  intaglio_picture_free(picture);
  intaglio_picture_free(NULL);
  expect(intaglio_model_close(NULL) == INTAGLIO_OK, "null is fine");
}

static char logged[200];

static void keep_message(void* user, intaglio_log_level level, const char* message) {
  snprintf(user, sizeof logged, "%d %s", (int)level, message);
}

static void test_the_log(void) {
  intaglio_model_options options = model_options();
  intaglio_model* model = NULL;
  options.threads = 1024;
  intaglio_set_log_callback(keep_message, logged);
  expect(intaglio_model_open(&options, &model) == INTAGLIO_OK, "more threads than processors");
  expect(strncmp(logged, "2 1024 threads asked for", 24) == 0, "are worth a warning");
  intaglio_model_close(model);
  intaglio_set_log_callback(NULL, NULL);
}

int main(int argc, char** argv) {
  const intaglio_picture_options options = small_picture();
  intaglio_model* model;
  uint8_t* expected;
  if (argc != 2) return 2;
  folder = argv[1];
  test_initialisers();
  test_the_log();
  test_models_that_are_refused();
  model = open_model();
  test_pictures_that_are_refused(model);
  test_a_plan(model);
  test_a_picture_from_another(model);
  test_memory_that_does_not_suffice();
  expected = draw(model, &options);
  expect(expected != NULL, "draw");
  test_drawing_and_stopping(model, expected);
  test_adapters(model, expected);
  test_step_masks(model);
  test_stopping_from_another_thread(model, expected);
  test_models_on_threads(expected);
  test_files();
  free(expected);
  expect(intaglio_model_close(model) == INTAGLIO_OK, "close");
  return failures == 0 ? 0 : 1;
}
