/* Draws one picture with libintaglio:
 *
 *   generate_picture MODEL PROMPT OUTPUT.png [WIDTH HEIGHT STEPS SEED]
 *
 * Ctrl-C stops it within a layer's time. */
#include <intaglio/intaglio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static intaglio_model* model;

/* intaglio_cancel is made for signal handlers. */
static void stop(int signal) {
  (void)signal;
  intaglio_cancel(model);
}

static int32_t show_progress(void* user, const char* phase, int64_t done, int64_t total) {
  (void)user;
  fprintf(stderr, "%s %d/%d\n", phase, (int)done, (int)total);
  return 0; /* anything else stops the picture */
}

/* Every status but INTAGLIO_OK has a text. */
static int failed(intaglio_status status) {
  fprintf(stderr, "%s: %s\n", intaglio_status_name(status), intaglio_last_error());
  intaglio_model_close(model);
  return 1;
}

int main(int argc, char** argv) {
  intaglio_model_options options = INTAGLIO_MODEL_OPTIONS_INIT;
  intaglio_picture_options request = INTAGLIO_PICTURE_OPTIONS_INIT;
  intaglio_picture_plan plan = INTAGLIO_PICTURE_PLAN_INIT;
  intaglio_callbacks callbacks = INTAGLIO_CALLBACKS_INIT;
  intaglio_picture_info info = INTAGLIO_PICTURE_INFO_INIT;
  intaglio_picture* picture;
  intaglio_status status;

  if (argc != 4 && argc != 8) {
    fprintf(stderr, "usage: %s MODEL PROMPT OUTPUT.png [WIDTH HEIGHT STEPS SEED]\n", argv[0]);
    return 2;
  }

  /* Zero is the default of every field: here the device is the first GPU, else the CPU. */
  options.model = argv[1];
  status = intaglio_model_open(&options, &model);
  if (status != INTAGLIO_OK) return failed(status);

  request.prompt = argv[2];
  request.flags = INTAGLIO_RANDOM_SEED;
  if (argc == 8) {
    request.width = strtoll(argv[4], NULL, 10);
    request.height = strtoll(argv[5], NULL, 10);
    request.steps = strtoll(argv[6], NULL, 10);
    request.seed = strtoull(argv[7], NULL, 10);
    request.flags = 0;
  }

  /* Costs no time worth naming, reads no weight, and refuses what does not fit. */
  status = intaglio_plan(model, &request, &plan);
  if (status != INTAGLIO_OK) return failed(status);
  fprintf(stderr, "%dx%d, %s, %s on %s, %.1f MiB\n", (int)plan.width, (int)plan.height,
          plan.schedule, plan.precision, plan.device, (double)plan.peak_bytes / (1 << 20));

  signal(SIGINT, stop);
  callbacks.progress = show_progress;
  status = intaglio_generate(model, &request, &callbacks, &picture);
  signal(SIGINT, SIG_DFL);
  if (status != INTAGLIO_OK) return failed(status);

  /* A picture needs its model no more; close and free take null, too. */
  status = intaglio_picture_save_png(picture, argv[3]);
  if (status == INTAGLIO_OK) status = intaglio_picture_get(picture, &info);
  if (status == INTAGLIO_OK)
    fprintf(stderr, "%s: seed %llu, %.0f ms\n", argv[3], (unsigned long long)info.seed,
            info.total_ms);
  intaglio_picture_free(picture);
  if (status != INTAGLIO_OK) return failed(status);
  intaglio_model_close(model);
  return 0;
}
