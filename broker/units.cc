#include "broker/units.h"

#include <charconv>
#include <span>

#include "io/base/units.h"

namespace broker {

namespace {

struct Unit {
    std::string_view name;
    uint64_t factor;
};

constexpr Unit durations[] = {{"ns", 1},
                              {"us", base::ns_per_us},
                              {"ms", base::ns_per_ms},
                              {"s", base::ns_per_s},
                              {"m", 60 * base::ns_per_s},
                              {"h", 3600 * base::ns_per_s}};

constexpr Unit sizes[] = {{"", 1},
                          {"B", 1},
                          {"KB", 1'000},
                          {"MB", 1'000'000},
                          {"GB", 1'000'000'000},
                          {"KiB", base::kib},
                          {"MiB", base::mib},
                          {"GiB", 1024 * base::mib}};

std::optional<uint64_t> parse(std::string_view text, std::span<const Unit> units) {
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{}) return std::nullopt;
    const std::string_view name = text.substr(static_cast<size_t>(end - text.data()));
    for (const Unit& unit : units) {
        if (unit.name != name) continue;
        if (number > static_cast<uint64_t>(INT64_MAX) / unit.factor) return std::nullopt;
        return number * unit.factor;
    }
    return std::nullopt;
}

// In the largest unit that divides the value; the units rise.
std::string format(uint64_t value, std::span<const Unit> units) {
    const Unit* best = &units.front();
    for (const Unit& unit : units) {
        if (value % unit.factor == 0) best = &unit;
    }
    return std::to_string(value / best->factor) + std::string(best->name);
}

}  // namespace

std::optional<uint64_t> parse_number(std::string_view text) {
    uint64_t number = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc{} || stop != end) return std::nullopt;
    return number;
}

std::optional<uint64_t> parse_duration_ns(std::string_view text) {
    return parse(text, durations);
}

std::optional<uint64_t> parse_size_bytes(std::string_view text) {
    return parse(text, sizes);
}

std::string format_duration(uint64_t ns) {
    return ns == 0 ? std::string("0s") : format(ns, durations);
}

std::string format_size(uint64_t bytes) {
    static constexpr Unit binary[] = {
        {"B", 1}, {"KiB", base::kib}, {"MiB", base::mib}, {"GiB", 1024 * base::mib}};
    return bytes == 0 ? std::string("0B") : format(bytes, binary);
}

}  // namespace broker
