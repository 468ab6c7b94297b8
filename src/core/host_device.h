// Marks what kernels use and the host uses or checks too: index arithmetic, formulas.
//
// Inlined at any level of optimisation: kernel files of one instruction set may define no function
// that another file defines as well.
#pragma once

#if defined(__CUDACC__)
#define INTAGLIO_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define INTAGLIO_HOST_DEVICE __attribute__((always_inline)) inline
#endif

// Before a template of such a function that calls what it is given: that runs where its caller
// does.
#if defined(__CUDACC__)
#define INTAGLIO_CALLS_BACK _Pragma("nv_exec_check_disable")
#else
#define INTAGLIO_CALLS_BACK
#endif
