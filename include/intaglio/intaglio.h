/* Intaglio's INT8 linear as a C interface: raw device pointers in, a status out. C99; no CUDA, framework or JSON type.
 *
 *   acc[m, n] = sum_k a[m, k] * w[n, k]                              exact in int32
 *   y[m, n]   = acc[m, n] * (a_scale[m] * w_scale[n]) + bias[n]      float, each step rounded
 *   out       = y                                                    INTAGLIO_FUSION_NONE
 *   out[m, j] = silu(y[m, g]) * y[m, u]                              INTAGLIO_FUSION_SWIGLU, n / 2 columns; see below
 *
 * What every call that takes a stream promises:
 *   - it allocates nothing, on the host or on the GPU, when it succeeds;
 *   - it does not synchronise, and can be captured in a CUDA graph;
 *   - the same arguments on the same kind of GPU give the same bits each run;
 *   - it runs on the calling thread's current device, to which the stream and all memory must belong;
 *   - on any status but INTAGLIO_OK it has launched nothing that writes `out`, and intaglio_last_error() says why.
 * Every function may be called from any thread. Buffers of one call must not overlap, except that inputs may share memory.
 *
 * Structs start with their own size: set it to sizeof the struct and zero the rest first. A library that is older than the header takes a
 * longer struct as long as the fields it does not know are zero; a newer one fills the fields that a shorter struct lacks with zeros.
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
  INTAGLIO_INVALID_ARGUMENT =
      1, /* the message names the argument, what was found and what is expected */
  INTAGLIO_UNSUPPORTED = 2, /* understood, but this library or this GPU cannot do it */
  INTAGLIO_OUT_OF_MEMORY = 3,
  INTAGLIO_DEVICE_ERROR =
      4,                /* the GPU or its driver reported an error, perhaps of an earlier call */
  INTAGLIO_INTERNAL = 5 /* a bug in the library */
};

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
  /* Rows of w, and with them w_scale and bias, are interleaved in groups of 16: rows [32 g, 32 g + 16) are the gate's rows 16 g..,
   * rows [32 g + 16, 32 g + 32) the up projection's rows 16 g... n counts both, and is a multiple of 32. */
  INTAGLIO_FUSION_SWIGLU = 1
};

/* Flags. */
enum {
  /* The caller vouches that every pointer is memory of the current device; the driver is not asked. Alignment is still checked. */
  INTAGLIO_TRUST_POINTERS = 1
};

/* Sizes, types and fusion: all that the workspace depends on beside the device. */
typedef struct intaglio_int8_linear_desc {
  uint64_t struct_size;
  int64_t m, n, k; /* m >= 0 (0 does nothing), n >= 1, 1 <= k <= 130000 */
  /* Elements from row to row; 0 = dense. int8 rows run fastest if they and their strides are multiples of 16 bytes. */
  int64_t lda, ldw, ldo;
  intaglio_type a_type;   /* I8, or BF16, F16, F32: then a is quantized by row into the workspace */
  intaglio_type out_type; /* BF16, F16, F32; or I32: acc, for int8 a without bias and fusion */
  intaglio_fusion fusion;
  uint32_t flags;
} intaglio_int8_linear_desc;

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

/* scale[r] = max(absmax_c |x[r, c]| / 127, 1e-30);  q[r, c] = round_half_even(x[r, c] * (127 / absmax))
 * A zero row gives zeros; a row with a NaN or an infinity gives zeros and a NaN scale. Columns cols..ldq of q are set to zero. */
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

/* 10000 * major + 100 * minor + patch of the library that is loaded. */
INTAGLIO_API int32_t intaglio_version(void);

/* "ok", "invalid_argument", ...; "unknown" for any other number. */
INTAGLIO_API const char* intaglio_status_name(intaglio_status status);

/* What the last call of this thread that failed had to say; "" if none did. Valid until the thread's next failure. */
INTAGLIO_API const char* intaglio_last_error(void);

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
