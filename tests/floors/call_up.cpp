// What no source of core may do: it calls a floor above it. link_test.sh wants this refused.
#include "quant/rotation.h"

int main() {
  float row[16] = {1};
  intaglio::rotate_row(row, 16, 16);
  return row[0] == 0.25f ? 0 : 1;
}
