// Marks index arithmetic that kernels use and CPU tests check.
#pragma once

#if defined(__CUDACC__)
#define INTAGLIO_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define INTAGLIO_HOST_DEVICE inline
#endif
