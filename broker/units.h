// Numbers, durations and sizes as people write them: "25s", "250ms", "64KiB", "1MiB". Pure; any
// thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace broker {

// Digits and nothing else.
std::optional<uint64_t> parse_number(std::string_view text);
// "10ms", "25s", "5m", "2h"; a unit is required. Answers nothing for anything else or beyond 2^63
// ns.
std::optional<uint64_t> parse_duration_ns(std::string_view text);
// "100B", "64KiB", "1MiB", "2GiB", also "64KB" (decimal) and a plain number of bytes.
std::optional<uint64_t> parse_size_bytes(std::string_view text);

// The shortest exact form that parses back.
std::string format_duration(uint64_t ns);
std::string format_size(uint64_t bytes);

}  // namespace broker
