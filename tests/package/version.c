/* A program of others: the library that it runs with is the one whose header it was compiled with. */
#include <intaglio/intaglio.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  const int32_t header =
      INTAGLIO_VERSION_MAJOR * 10000 + INTAGLIO_VERSION_MINOR * 100 + INTAGLIO_VERSION_PATCH;
  printf("intaglio %d, %s\n", (int)intaglio_version(),
         intaglio_status_name(INTAGLIO_OUT_OF_MEMORY));
  return intaglio_version() == header && strcmp(intaglio_status_name(INTAGLIO_OK),
                                                intaglio_status_name(INTAGLIO_INTERNAL)) != 0
             ? 0
             : 1;
}
