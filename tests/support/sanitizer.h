/* TSAN is defined in a build with ThreadSanitizer, ASAN with AddressSanitizer, by gcc or by
 * clang. */
#ifndef TINE_TESTS_SUPPORT_SANITIZER_H
#define TINE_TESTS_SUPPORT_SANITIZER_H

#if defined(__SANITIZE_THREAD__)
#define TSAN
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TSAN
#endif
#endif

#if defined(__SANITIZE_ADDRESS__)
#define ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN
#endif
#endif

#endif
