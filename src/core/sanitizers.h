// Whether this is compiled with the address or the thread sanitizer, which have an allocator of
// their own, need terabytes of address space and are ten times as slow. g++ says so by macros,
// clang by features.
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INTAGLIO_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define INTAGLIO_SANITIZED 1
#endif
#endif

namespace intaglio {

#if defined(INTAGLIO_SANITIZED)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace intaglio
