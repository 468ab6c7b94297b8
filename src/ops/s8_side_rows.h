// A low-rank branch (ops/side_branch.h) as an int8 product adds it: plain numbers.
#pragma once

#include <cstdint>

namespace intaglio {

struct S8SideRows {
  const void* x = nullptr;  // BF16 [m, rank] dense, at a multiple of 16 bytes
  // BF16 [n, rank] likewise, rows in the order of the product's columns, each divided by its
  // column's scale.
  const void* w = nullptr;
  int64_t rank = 0;  // a multiple of 16; 0: none
};

}  // namespace intaglio
