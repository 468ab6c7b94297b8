/* Intaglio as a C library, in two parts: pictures (a model is opened, a picture planned and drawn),
 * and the INT8 linear for those who bring their own tensors. C99 and C++; no CUDA, framework or
 * JSON type.
 *
 * Errors. A function that can fail returns a status; on any but INTAGLIO_OK the thread's
 * intaglio_last_error() says what was wrong, what was found and what is expected, and nothing has
 * been made that must be freed. Nothing prints, ends the process or throws.
 *
 * Memory. What the caller passes stays the caller's and need not outlive the call. What the library
 * makes has a function that frees it, named where it is made; all of these take null.
 *
 * Threads. A model serves one call at a time, from any thread: a call that finds it at work fails
 * with INTAGLIO_INVALID_ARGUMENT, intaglio_cancel excepted, which any thread and any signal handler
 * may call while the model is open. Different models may be used by different threads at the same
 * time; on a CPU they share the process's worker threads, so that while one uses them the other
 * computes on its own thread alone, and there is no time to be gained. A picture belongs to no model
 * and may be used by one thread at a time. All other functions may be called at any time.
 *
 * Structs start with their own size. Begin each with its ..._INIT, which sets that size and zeros,
 * and zero is the default of every field. A library that is older than the header takes a longer
 * struct as long as the fields it does not know are zero; a newer one fills the fields that a
 * shorter struct lacks with zeros.
 */
#ifndef INTAGLIO_INTAGLIO_H_
#define INTAGLIO_INTAGLIO_H_

#include <stdint.h>

#if defined(__GNUC__)
#define INTAGLIO_API __attribute__((visibility("default")))
#else
#define INTAGLIO_API
#endif

#define INTAGLIO_VERSION_MAJOR 0
#define INTAGLIO_VERSION_MINOR 1
#define INTAGLIO_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/* Codes are int32_t, not enums, so that their size is part of the interface. */
typedef int32_t intaglio_status;
enum {
  INTAGLIO_OK = 0,
  /* the message names the argument, what was found and what is expected */
  INTAGLIO_INVALID_ARGUMENT = 1,
  /* understood, but this library, this model or this GPU cannot do it */
  INTAGLIO_UNSUPPORTED = 2,
  /* more memory than there is, or than was allowed: the message has both numbers */
  INTAGLIO_OUT_OF_MEMORY = 3,
  /* the GPU or its driver reported an error, perhaps of an earlier call */
  INTAGLIO_DEVICE_ERROR = 4,
  /* a bug in the library */
  INTAGLIO_INTERNAL = 5,
  /* stopped by intaglio_cancel or by a callback */
  INTAGLIO_CANCELLED = 6,
  /* a model, a file or a device that is not there */
  INTAGLIO_NOT_FOUND = 7,
  /* a file that does not follow its format, or whose tensors are not those of the model */
  INTAGLIO_BAD_FORMAT = 8,
  /* the system refused a read or a write */
  INTAGLIO_IO_ERROR = 9
};

/* 10000 * major + 100 * minor + patch of the library that is loaded. */
INTAGLIO_API int32_t intaglio_version(void);

/* "ok", "invalid_argument", ...; "unknown" for any other number. A constant: not to be freed. */
INTAGLIO_API const char* intaglio_status_name(intaglio_status status);

/* What the last call of this thread that failed had to say; "" if none did. The library's: valid
 * until the thread's next failure. */
INTAGLIO_API const char* intaglio_last_error(void);

typedef int32_t intaglio_log_level;
enum {
  INTAGLIO_LOG_DEBUG = 0,
  INTAGLIO_LOG_INFO = 1,
  INTAGLIO_LOG_WARNING = 2,
  INTAGLIO_LOG_ERROR = 3
};
typedef void (*intaglio_log_callback)(void* user, intaglio_log_level level, const char* message);

/* Takes the place of the process's log callback; null: silence, the default. It is called from any
 * thread, one message at a time, and must not call the library. */
INTAGLIO_API void intaglio_set_log_callback(intaglio_log_callback callback, void* user);

/* ---- Pictures ---- */

/* A model on a device: its weights once they are read, and what one picture leaves the next. */
typedef struct intaglio_model intaglio_model;
/* A picture that was drawn, with its settings: host memory alone. */
typedef struct intaglio_picture intaglio_picture;

/* Texts are UTF-8; null is the default. */
typedef struct intaglio_model_options {
  uint64_t struct_size;
  /* A folder of the diffusers layout; "owner/name" of the Hugging Face cache; "mini", the bundled
   * model; "synthetic:NAME", random weights in a model's sizes. Required. */
  const char* model;
  /* Parts from elsewhere: a folder, a safetensors file or "owner/name". unconditional may be
   * "none": left out, for a distilled transformer, which is drawn at guidance 1. */
  const char* transformer;
  const char* unconditional;
  const char* text_encoder;
  const char* vae;
  const char* tokenizer;
  /* "auto" (default: the first GPU, else the CPU), "cpu", "cuda", "cuda:N"; "cuda:0,cuda:1": GPUs
   * that share each step, without a vram_budget, in the way of `parallel`. */
  const char* device;
  /* "int8" (default), "int8-dequant", "bf16", "fp32", "fp8", "nf4"; "auto": the fastest of which
   * the first picture that is planned or drawn fits. */
  const char* precision;
  /* Patterns of names of linears that stay bf16; '*' stands for anything. */
  const char* const* keep_bf16;
  uint64_t keep_bf16_count;
  /* Bytes of the device's memory that may be planned with; 0: what it has available. */
  uint64_t memory_limit;
  /* Bytes of a GPU's memory to work in: layers that do not fit stream from host memory. 0: none do.
   */
  uint64_t vram_budget;
  /* Of the CPU; 0: as many as the process may use. */
  int32_t threads;
  uint32_t flags; /* none yet: 0 */
  /* Adapters on the transformers (LoRA and its kin), in this order: safetensors files, and a
   * strength each; null: all at 1. */
  const char* const* adapters;
  const float* adapter_strengths;
  uint64_t adapter_count;
  /* What several GPUs do of a step: "off" (default), two of them a pass each, of guided pictures;
   * "ulysses": two to eight of them a part of the rows of every pass each; "cfg+ulysses": of four,
   * six or eight a half each shares one pass. */
  const char* parallel;
} intaglio_model_options;

#define INTAGLIO_MODEL_OPTIONS_INIT \
  { sizeof(intaglio_model_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/* Finds the model and reads its configuration; weights are read when the first picture needs them.
 * *model is the caller's to close; null on failure. */
INTAGLIO_API intaglio_status intaglio_model_open(const intaglio_model_options* options,
                                                 intaglio_model** model);

/* Files and strengths as in intaglio_model_options; a count of 0: none. */
typedef struct intaglio_adapters {
  uint64_t struct_size;
  const char* const* files;
  const float* strengths; /* or null */
  uint64_t count;
} intaglio_adapters;

#define INTAGLIO_ADAPTERS_INIT \
  { sizeof(intaglio_adapters), 0, 0, 0 }

/* From the next picture on the model is drawn with these adapters, in place of those it had. Low
 * rank, which runs beside the weights, is changed without reading a weight again; where what other
 * forms merge into weights differs, the next picture reads the transformers anew. Pictures are
 * those of a model that was opened with these adapters. Files are read by this call and the next
 * picture. On failure the model keeps those it had. */
INTAGLIO_API intaglio_status intaglio_set_adapters(intaglio_model* model,
                                                   const intaglio_adapters* adapters);

/* Frees the model and all it holds on its device. Null is fine. INTAGLIO_INVALID_ARGUMENT while a
 * call uses the model: then it stays open. Pictures outlive it. */
INTAGLIO_API intaglio_status intaglio_model_close(intaglio_model* model);

/* Flags of a picture. */
enum {
  /* A new seed; the picture says which. Else `seed` is it, also if that is 0. */
  INTAGLIO_RANDOM_SEED = 1
};

/* What is zero or null the model decides. */
typedef struct intaglio_picture_options {
  uint64_t struct_size;
  const char* prompt;          /* required */
  const char* negative_prompt; /* of models that take one */
  const char* preset;          /* a schedule of the model by its name */
  /* Both, or neither. Multiples of what the model says: 16 pixels, as a rule. */
  int64_t width, height;
  int64_t steps;     /* 1 to 1000 */
  const double* mu;  /* where noise levels lie, of models whose schedule has it */
  const double* std; /* how wide they spread; likewise */
  /* One value for all steps, or one a step in the order of sampling. */
  const float* guidance;
  uint64_t guidance_count;
  uint64_t seed;
  uint32_t flags;
  uint32_t reserved; /* 0 */
  /* Which passes are computed: "off" (the default: all), a share of them between 0 and 1 such as
   * "0.5", or the name of a step mask of the model. */
  const char* cache;
  /* What the picture begins from in place of noise alone: [init_height][init_width][3], red, green,
   * blue, rows without gaps. Of the picture's width and height, which it says where they are 0. */
  const uint8_t* init_pixels;
  int64_t init_width, init_height;
  /* [init_height][init_width]: 255 is drawn anew, 0 stays as it was to the bit; null: all is drawn. */
  const uint8_t* init_mask;
  double strength; /* the share of the steps that run, above 0 to 1; 0: 0.6 */
  /* First steps at half the width and height: "off" (the default: none), their number, or a share
   * of all steps such as "0.4". */
  const char* progressive;
  const double* shift; /* where noise levels lie, of models without mu and std */
} intaglio_picture_options;

#define INTAGLIO_PICTURE_OPTIONS_INIT                                                             \
  {                                                                                               \
    sizeof(intaglio_picture_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, \
        0                                                                                         \
  }

/* What a picture takes and how it will be drawn. Texts end with a zero, and are cut to their
 * arrays. */
typedef struct intaglio_picture_plan {
  uint64_t struct_size;
  int64_t width, height, steps;
  int64_t text_tokens, image_tokens;
  /* Of the device's memory, weights included, at most and in each phase; see docs/embedding.md. */
  uint64_t peak_bytes;
  uint64_t text_bytes, load_bytes, prepare_bytes, denoise_bytes, decode_bytes;
  uint64_t streamed_bytes; /* that a step copies from host memory */
  int64_t threads;         /* of the CPU */
  char precision[16];
  char precision_reason[256]; /* of "auto"; else empty */
  char device[128];           /* "cpu", or "cuda:0, NVIDIA H100 80GB HBM3"; of several cut */
  char schedule[256];         /* "12 steps, TURBO_12: mu 0.5, std 1.75, guidance 7x11,3" */
  char cache[128];            /* name of the step mask; empty: every pass is computed */
  double computed_share;      /* of all passes */
  int64_t run_steps;          /* of `steps`: fewer where the picture begins from another */
  uint64_t encode_bytes;      /* the phase that reads that one; 0: there is none */
} intaglio_picture_plan;

#define INTAGLIO_PICTURE_PLAN_INIT                                                               \
  {                                                                                              \
    sizeof(intaglio_picture_plan), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, "", "", "", "", "", 0, \
        0, 0                                                                                     \
  }

/* Checks the options and plans the picture without reading a weight. INTAGLIO_OUT_OF_MEMORY where
 * it does not fit, with what is needed and what there is. `plan` is filled, its struct_size kept;
 * on failure it is left as it was. */
INTAGLIO_API intaglio_status intaglio_plan(intaglio_model* model,
                                           const intaglio_picture_options* options,
                                           intaglio_picture_plan* plan);

/* Called by intaglio_generate, on its thread: `phase` is one of "load_text", "text",
 * "load_transformers", "prepare", "denoise", "load_vae", "decode", "finish"; of "denoise" `done`
 * and `total` count steps. Anything but 0 stops the picture. It must not use the model but for
 * intaglio_cancel, and must not throw. */
typedef int32_t (*intaglio_progress_callback)(void* user, const char* phase, int64_t done,
                                              int64_t total);

typedef struct intaglio_callbacks {
  uint64_t struct_size;
  intaglio_progress_callback progress; /* or null */
  void* user;                          /* what progress gets */
} intaglio_callbacks;

#define INTAGLIO_CALLBACKS_INIT \
  { sizeof(intaglio_callbacks), 0, 0 }

/* Draws a picture: plans it as intaglio_plan does, reads the weights that are not there yet,
 * samples, decodes. `callbacks` may be null. The same options on the same kind of device give the
 * same pixels: those of `intaglio generate`. INTAGLIO_CANCELLED if it was stopped; the model is as
 * good as before then, as after any other failure. *picture is the caller's to free; null on
 * failure. On a GPU the model's is the thread's current CUDA device afterwards. */
INTAGLIO_API intaglio_status intaglio_generate(intaglio_model* model,
                                               const intaglio_picture_options* options,
                                               const intaglio_callbacks* callbacks,
                                               intaglio_picture** picture);

/* Stops the picture that `model` is drawing within a layer's time; does nothing if it draws none.
 * From any thread, and from a signal handler. */
INTAGLIO_API void intaglio_cancel(intaglio_model* model);

typedef struct intaglio_picture_info {
  uint64_t struct_size;
  /* [height][width][3]: red, green, blue, rows without gaps. The picture's: valid until it is
   * freed. */
  const uint8_t* pixels;
  int64_t width, height;
  uint64_t seed; /* that was used */
  int64_t steps /* that ran */, text_tokens, image_tokens;
  /* Milliseconds: of the whole call, of its phases, and of each step (the picture's, as pixels). */
  double total_ms;
  double load_text_ms, text_ms, load_transformers_ms, prepare_ms, denoise_ms, load_vae_ms,
      decode_ms, finish_ms;
  const double* step_ms;
  double encode_ms; /* the phase that reads the picture which this one begins from */
} intaglio_picture_info;

#define INTAGLIO_PICTURE_INFO_INIT \
  { sizeof(intaglio_picture_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/* Fills `info`, its struct_size kept. */
INTAGLIO_API intaglio_status intaglio_picture_get(const intaglio_picture* picture,
                                                  intaglio_picture_info* info);

/* Writes the picture as PNG with the settings it was made with, as `intaglio generate` writes them;
 * a file that is there is replaced once the new one is whole. The first of a model's pictures
 * hashes its weights for that, which takes as long as reading the files. */
INTAGLIO_API intaglio_status intaglio_picture_save_png(const intaglio_picture* picture,
                                                       const char* path);

/* The same PNG in memory: *bytes is the picture's, valid until it is freed or asked again. */
INTAGLIO_API intaglio_status intaglio_picture_png(intaglio_picture* picture, const uint8_t** bytes,
                                                  uint64_t* size);

/* Null is fine. */
INTAGLIO_API void intaglio_picture_free(intaglio_picture* picture);

/* ---- The INT8 linear: raw device pointers in, a status out ----
 *
 *   acc[m, n] = sum_k a[m, k] * w[n, k]                              exact in int32
 *   y[m, n]   = acc[m, n] * (a_scale[m] * w_scale[n]) + bias[n]      float, each step rounded
 *   out       = y                                                    INTAGLIO_FUSION_NONE
 *   out[m, j] = silu(y[m, g]) * y[m, u]                              INTAGLIO_FUSION_SWIGLU, n / 2
 *                                                                    columns; see below
 *   out       = 0.5 y (1 + tanh(sqrt(2 / pi) (y + 0.044715 y^3)))    INTAGLIO_FUSION_GELU_TANH
 *
 * What every call that takes a stream promises:
 *   - it allocates nothing, on the host or on the GPU, when it succeeds;
 *   - it does not synchronise, and can be captured in a CUDA graph;
 *   - the same arguments on the same kind of GPU give the same bits each run;
 *   - it runs on the calling thread's current device, to which the stream and all memory must
 * belong;
 *   - on any status but INTAGLIO_OK it has launched nothing that writes `out`.
 * Buffers of one call must not overlap, except that inputs may share memory.
 */

typedef int32_t intaglio_type;
enum {
  INTAGLIO_TYPE_I8 = 1,
  INTAGLIO_TYPE_I32 = 2,
  INTAGLIO_TYPE_F32 = 3,
  INTAGLIO_TYPE_BF16 = 4,
  INTAGLIO_TYPE_F16 = 5
};

typedef int32_t intaglio_fusion;
enum {
  INTAGLIO_FUSION_NONE = 0,
  /* Rows of w, and with them w_scale and bias, are interleaved in groups of 16: rows [32 g, 32 g +
   * 16) are the gate's rows 16 g.., rows [32 g + 16, 32 g + 32) the up projection's rows 16 g... n
   * counts both, and is a multiple of 32. */
  INTAGLIO_FUSION_SWIGLU = 1,
  INTAGLIO_FUSION_GELU_TANH = 2
};

/* Flags. */
enum {
  /* The caller vouches that every pointer is memory of the current device; the driver is not asked.
     Alignment is still checked. */
  INTAGLIO_TRUST_POINTERS = 1
};

/* Sizes, types and fusion: all that the workspace depends on beside the device. */
typedef struct intaglio_int8_linear_desc {
  uint64_t struct_size;
  int64_t m, n, k; /* m >= 0 (0 does nothing), n >= 1, 1 <= k <= 130000 */
  /* Elements from row to row; 0 = dense. int8 rows run fastest if they and their strides are
   * multiples of 16 bytes. */
  int64_t lda, ldw, ldo;
  intaglio_type a_type;   /* I8, or BF16, F16, F32: then a is quantized by row into the workspace */
  intaglio_type out_type; /* BF16, F16, F32; or I32: acc, for int8 a without bias and fusion */
  intaglio_fusion fusion;
  uint32_t flags;
} intaglio_int8_linear_desc;

#define INTAGLIO_INT8_LINEAR_DESC_INIT \
  { sizeof(intaglio_int8_linear_desc), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

typedef struct intaglio_int8_linear_args {
  uint64_t struct_size;
  const void* a;            /* [m, k] of a_type */
  const void* a_scale;      /* float [m]; null if a is not int8; unused if out_type is I32 */
  const void* w;            /* int8 [n, k] */
  const void* w_scale;      /* float [n]; unused if out_type is I32 */
  const void* bias;         /* float [n], or null */
  void* out;                /* [m, n or n / 2] of out_type */
  void* workspace;          /* at a multiple of 256 bytes; may be null if none is needed */
  uint64_t workspace_bytes; /* at least what intaglio_int8_linear_workspace says */
  void* stream;             /* cudaStream_t; null is the current device's default stream */
} intaglio_int8_linear_args;

#define INTAGLIO_INT8_LINEAR_ARGS_INIT \
  { sizeof(intaglio_int8_linear_args), 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/* scale[r] = max(absmax_c |x[r, c]| / 127, 1e-30);  q[r, c] = round_half_even(x[r, c] * (127 /
 * absmax)) A zero row gives zeros; a row with a NaN or an infinity gives zeros and a NaN scale.
 * Columns cols..ldq of q are set to zero. */
typedef struct intaglio_int8_quantize_rows_args {
  uint64_t struct_size;
  int64_t rows, cols; /* rows >= 0 (0 does nothing), cols >= 1 */
  int64_t ldx;        /* elements from row to row of x; 0 = cols */
  int64_t ldq;        /* 0 = cols; a multiple of 16 */
  const void* x;      /* [rows, cols] of x_type */
  void* q;            /* int8 [rows, ldq], at a multiple of 16 bytes */
  void* scale;        /* float [rows] */
  void* stream;
  intaglio_type x_type; /* BF16, F16 or F32 */
  uint32_t flags;
} intaglio_int8_quantize_rows_args;

#define INTAGLIO_INT8_QUANTIZE_ROWS_ARGS_INIT \
  { sizeof(intaglio_int8_quantize_rows_args), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/* INTAGLIO_OK if this library has kernels for CUDA device `device`, else why not. */
INTAGLIO_API intaglio_status intaglio_device_check(int32_t device);

INTAGLIO_API intaglio_status
intaglio_int8_quantize_rows(const intaglio_int8_quantize_rows_args* args);

/* Bytes of workspace for `desc` on the current device. */
INTAGLIO_API intaglio_status intaglio_int8_linear_workspace(const intaglio_int8_linear_desc* desc,
                                                            uint64_t* bytes);

INTAGLIO_API intaglio_status intaglio_int8_linear(const intaglio_int8_linear_desc* desc,
                                                  const intaglio_int8_linear_args* args);

#ifdef __cplusplus
}
#endif

#endif /* INTAGLIO_INTAGLIO_H_ */
