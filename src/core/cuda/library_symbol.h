// Entry points of libraries that are loaded at run time.
#pragma once

#include <dlfcn.h>

#include <string>

namespace intaglio::cuda {

// `problem` says what the library, by its name to people, lacks first; empty: nothing so far.
template <typename Function>
void find_symbol(void* handle, const char* library, const char* name, Function& function,
                 std::string& problem) {
  function = reinterpret_cast<Function>(dlsym(handle, name));
  if (function == nullptr && problem.empty())
    problem = std::string("the ") + library + " that was found lacks " + name;
}

}  // namespace intaglio::cuda
