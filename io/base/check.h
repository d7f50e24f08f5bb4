// Checks: a programmer's error ends the process at once, with the place and the expression.
//
// CHECK is always on, in production too: a broker that goes on after a broken invariant delivers
// wrong messages. DCHECK is for what is too dear to ask on every delivery; it is on in debug and
// sanitizer builds. Neither is ever a reaction to what a peer sent or what the kernel answered:
// those are values, not errors of ours.
#pragma once

namespace base {

[[noreturn, gnu::cold]] void check_failed(const char* file, int line, const char* what);

}  // namespace base

#define CHECK(condition)                                          \
    do {                                                          \
        if (!(condition)) [[unlikely]]                            \
            ::base::check_failed(__FILE__, __LINE__, #condition); \
    } while (false)

#if !defined(NDEBUG) || defined(FANFARE_DCHECK)
#define DCHECK(condition) CHECK(condition)
#else
#define DCHECK(condition)                        \
    do {                                         \
        if (false) static_cast<void>(condition); \
    } while (false)
#endif

#define UNREACHABLE() ::base::check_failed(__FILE__, __LINE__, "unreachable")
