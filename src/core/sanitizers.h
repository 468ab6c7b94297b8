// Which sanitizer this is compiled with: g++ says so by macros, clang by features.
#pragma once

#if defined(__has_feature)
#define INTAGLIO_HAS_FEATURE_(name) __has_feature(name)
#else
#define INTAGLIO_HAS_FEATURE_(name) 0
#endif

namespace intaglio {

#if defined(__SANITIZE_ADDRESS__) || INTAGLIO_HAS_FEATURE_(address_sanitizer)
#define INTAGLIO_ADDRESS_SANITIZER 1
inline constexpr bool kAddressSanitizer = true;
#else
inline constexpr bool kAddressSanitizer = false;
#endif

#if defined(__SANITIZE_THREAD__) || INTAGLIO_HAS_FEATURE_(thread_sanitizer)
#define INTAGLIO_THREAD_SANITIZER 1
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif

}  // namespace intaglio

#undef INTAGLIO_HAS_FEATURE_
