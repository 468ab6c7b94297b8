// Operand lists of wgmma: a warpgroup's D of n columns is n / 2 registers of a thread, all of them
// named one by one in the instruction.
//
// INTAGLIO_WGMMA_TEXT_r   "%0, %1, ..., %(r - 1)", the first r operands of an asm statement, as text
// INTAGLIO_WGMMA_LIST_r   c(d[0]), c(d[1]), ..., c(d[r - 1]), the same operands with constraint c
#pragma once

#define INTAGLIO_WGMMA_LIST_8(c, d, i)                                                            \
  c((d)[i]), c((d)[(i) + 1]), c((d)[(i) + 2]), c((d)[(i) + 3]), c((d)[(i) + 4]), c((d)[(i) + 5]), \
      c((d)[(i) + 6]), c((d)[(i) + 7])
#define INTAGLIO_WGMMA_LIST_32(c, d)                                                               \
  INTAGLIO_WGMMA_LIST_8(c, d, 0), INTAGLIO_WGMMA_LIST_8(c, d, 8), INTAGLIO_WGMMA_LIST_8(c, d, 16), \
      INTAGLIO_WGMMA_LIST_8(c, d, 24)
#define INTAGLIO_WGMMA_LIST_40(c, d) INTAGLIO_WGMMA_LIST_32(c, d), INTAGLIO_WGMMA_LIST_8(c, d, 32)
#define INTAGLIO_WGMMA_LIST_48(c, d) INTAGLIO_WGMMA_LIST_40(c, d), INTAGLIO_WGMMA_LIST_8(c, d, 40)
#define INTAGLIO_WGMMA_LIST_64(c, d) \
  INTAGLIO_WGMMA_LIST_48(c, d), INTAGLIO_WGMMA_LIST_8(c, d, 48), INTAGLIO_WGMMA_LIST_8(c, d, 56)
#define INTAGLIO_WGMMA_LIST_96(c, d)                                                              \
  INTAGLIO_WGMMA_LIST_64(c, d), INTAGLIO_WGMMA_LIST_8(c, d, 64), INTAGLIO_WGMMA_LIST_8(c, d, 72), \
      INTAGLIO_WGMMA_LIST_8(c, d, 80), INTAGLIO_WGMMA_LIST_8(c, d, 88)
#define INTAGLIO_WGMMA_LIST_128(c, d)                                                              \
  INTAGLIO_WGMMA_LIST_96(c, d), INTAGLIO_WGMMA_LIST_8(c, d, 96), INTAGLIO_WGMMA_LIST_8(c, d, 104), \
      INTAGLIO_WGMMA_LIST_8(c, d, 112), INTAGLIO_WGMMA_LIST_8(c, d, 120)

#define INTAGLIO_WGMMA_TEXT_32                                        \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, " \
  "%15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, " \
  "%28, %29, %30, %31"
#define INTAGLIO_WGMMA_TEXT_40 INTAGLIO_WGMMA_TEXT_32 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define INTAGLIO_WGMMA_TEXT_48 INTAGLIO_WGMMA_TEXT_40 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define INTAGLIO_WGMMA_TEXT_64                                     \
  INTAGLIO_WGMMA_TEXT_48                                           \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, " \
  "%60, %61, %62, %63"
#define INTAGLIO_WGMMA_TEXT_96                                          \
  INTAGLIO_WGMMA_TEXT_64                                                \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, " \
  "%77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, "   \
  "%90, %91, %92, %93, %94, %95"
#define INTAGLIO_WGMMA_TEXT_128                                              \
  INTAGLIO_WGMMA_TEXT_96                                                     \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, "   \
  "%108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, " \
  "%120, %121, %122, %123, %124, %125, %126, %127"
