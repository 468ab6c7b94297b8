/* The header is C99, the library links from C, and what needs no GPU answers as documented. */
#include <intaglio/intaglio.h>
#include <stdio.h>
#include <string.h>

static int failures = 0;

static void expect(int good, const char* what) {
  if (good) return;
  fprintf(stderr, "failed: %s; last error: %s\n", what, intaglio_last_error());
  ++failures;
}

int main(void) {
  intaglio_int8_linear_desc desc;
  intaglio_int8_linear_args args;
  uint64_t bytes = 1;

  expect(intaglio_version() == 100, "version 0.1.0");
  expect(strcmp(intaglio_status_name(INTAGLIO_OK), "ok") == 0, "name of ok");
  expect(strcmp(intaglio_status_name(99), "unknown") == 0, "name of 99");
  expect(strcmp(intaglio_last_error(), "") == 0, "no error yet");

  memset(&desc, 0, sizeof desc);
  memset(&args, 0, sizeof args);
  expect(intaglio_int8_linear(NULL, &args) == INTAGLIO_INVALID_ARGUMENT, "null desc");
  expect(strncmp(intaglio_last_error(), "desc: null", 10) == 0, "null desc named");
  expect(intaglio_int8_linear(&desc, &args) == INTAGLIO_INVALID_ARGUMENT, "size 0");
  expect(strstr(intaglio_last_error(), "desc.struct_size: 0") != NULL, "size named");

  desc.struct_size = sizeof desc;
  args.struct_size = sizeof args;
  desc.m = 2;
  desc.n = 3;
  desc.a_type = INTAGLIO_TYPE_BF16;
  desc.out_type = INTAGLIO_TYPE_BF16;
  expect(intaglio_int8_linear(&desc, &args) == INTAGLIO_INVALID_ARGUMENT, "k = 0");
  expect(strcmp(intaglio_last_error(), "desc.k: 0, expected 1 to 130000") == 0, "k named");
  desc.k = 16;
  expect(intaglio_int8_linear(&desc, &args) == INTAGLIO_INVALID_ARGUMENT, "null a");
  expect(strcmp(intaglio_last_error(), "args.a: null, expected a device pointer") == 0, "a named");

  desc.m = 0;
  expect(intaglio_int8_linear(&desc, &args) == INTAGLIO_OK, "m = 0 does nothing");
  expect(intaglio_int8_linear_workspace(&desc, &bytes) == INTAGLIO_OK && bytes == 0, "m = 0");
  expect(intaglio_int8_linear_workspace(&desc, NULL) == INTAGLIO_INVALID_ARGUMENT, "null bytes");
  return failures == 0 ? 0 : 1;
}
