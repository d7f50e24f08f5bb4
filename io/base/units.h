// Units: the names of sizes and durations, and the small arithmetic that goes with them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace base {

inline constexpr uint64_t kib = 1024;
inline constexpr uint64_t mib = 1024 * kib;

inline constexpr uint64_t ns_per_us = 1'000;
inline constexpr uint64_t ns_per_ms = 1'000'000;
inline constexpr uint64_t ns_per_s = 1'000'000'000;

// A deadline that never comes.
inline constexpr uint64_t never_ns = UINT64_MAX;

template <class Integer>
constexpr Integer div_ceil(Integer value, Integer divisor) {
    return (value + divisor - 1) / divisor;
}

// `alignment` is a power of two.
template <class Integer>
constexpr Integer align_up(Integer value, Integer alignment) {
    return (value + alignment - 1) & ~(alignment - 1);
}

// The bytes that must be readable (not meaningful) after every buffer of text that is parsed:
// simdjson reads whole vectors. Equal to simdjson::SIMDJSON_PADDING, which codec asserts.
inline constexpr size_t readable_padding_bytes = 64;

}  // namespace base
