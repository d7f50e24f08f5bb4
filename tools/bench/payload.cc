#include "tools/bench/payload.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

namespace bench {
namespace {

constexpr std::string_view hex_digits = "0123456789abcdef";

// Longer than any alignment or compressor's run, so that shifted filler differs; letters only.
constexpr uint32_t filler_period = 1'009;

const std::string& filler_twice() {
    static const std::string text = [] {
        std::string letters(2 * filler_period, '\0');
        uint32_t state = 1;
        for (uint32_t index = 0; index < filler_period; ++index) {
            state = state * 1'664'525 + 1'013'904'223;
            letters[index] = static_cast<char>('a' + (state >> 24) % 26);
            letters[filler_period + index] = letters[index];
        }
        return letters;
    }();
    return text;
}

// A message's own number, mixed so that neighbours differ in all bits (splitmix64's finish).
uint64_t mixed(const Stamp& stamp) {
    uint64_t word =
        stamp.sequence * 0x9e3779b97f4a7c15 + (uint64_t{stamp.publisher} << 32) + stamp.topic;
    word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9;
    word = (word ^ (word >> 27)) * 0x94d049bb133111eb;
    return word ^ (word >> 31);
}

void write_hex(char* out, uint64_t word) {
    for (int digit = 15; digit >= 0; --digit, word >>= 4) out[digit] = hex_digits[word & 0xf];
}

// Eight digits at once: each byte becomes its value, and neighbours are put together. Anything but
// 0-9 and a-f is refused.
std::optional<uint32_t> read_hex_8(const char* digits) {
    uint64_t word = 0;
    std::memcpy(&word, digits, sizeof word);
    const uint64_t is_letter = (word >> 6) & 0x0101010101010101;
    const uint64_t values = (word & 0x0f0f0f0f0f0f0f0f) + 9 * is_letter;
    // What the values would have been written as; unequal where the digits were none. The values
    // reach 24 at most, so adding does not carry from one byte into the next.
    const uint64_t above_9 = ((values + 0x0606060606060606) >> 4) & 0x0101010101010101;
    const uint64_t rewritten = values + 0x3030303030303030 + above_9 * ('a' - '0' - 10);
    if (rewritten != word || (values & 0xf0f0f0f0f0f0f0f0) != 0) return std::nullopt;
    const uint64_t pairs = (values << 4 | values >> 8) & 0x00ff00ff00ff00ff;
    const uint64_t fours = (pairs << 8 | pairs >> 16) & 0x0000ffff0000ffff;
    return static_cast<uint32_t>(fours << 16 | fours >> 32);
}

std::optional<uint64_t> read_hex_16(const char* digits) {
    const std::optional<uint32_t> high = read_hex_8(digits);
    const std::optional<uint32_t> low = read_hex_8(digits + 8);
    if (!high || !low) return std::nullopt;
    return uint64_t{*high} << 32 | *low;
}

constexpr uint64_t mask_of(uint32_t bits) {
    return (uint64_t{1} << bits) - 1;
}

// What the stamp's two words are combined with. Odd factors, so that different loads differ.
uint64_t first_cipher(uint64_t load) {
    return load * 0x9e3779b97f4a7c15;
}
uint64_t second_cipher(uint64_t load) {
    return load * 0xbf58476d1ce4e5b9;
}

}  // namespace

uint64_t age_ns(const Stamp& stamp, uint64_t now_ns) {
    const uint64_t age = (now_ns - stamp.time_ns) & mask_of(Stamp::time_bits);
    const bool is_ahead = age > mask_of(Stamp::time_bits) / 2;
    return is_ahead ? 0 : age;
}

std::string PayloadSizes::parse_choice(std::string_view text, Choice& choice) {
    const std::string quoted = "'" + std::string(text) + "'";
    const auto read = [](std::string_view digits, auto& number) {
        const char* const end = digits.data() + digits.size();
        const auto [parsed, error] = std::from_chars(digits.data(), end, number);
        return error == std::errc{} && parsed == end;
    };
    const size_t colon = text.find(':');
    if (colon != std::string_view::npos) {
        if (!read(text.substr(colon + 1), choice.weight) || choice.weight == 0 ||
            choice.weight > 1'000'000) {
            return "the weight in " + quoted + " is not a number from 1 to 1,000,000";
        }
        text = text.substr(0, colon);
    }
    const size_t dots = text.find("..");
    const bool is_range = dots != std::string_view::npos;
    if (!read(text.substr(0, dots), choice.low) ||
        !read(is_range ? text.substr(dots + 2) : text, choice.high)) {
        return quoted + " is neither a size in bytes (64) nor a range (64..1000)";
    }
    if (choice.low > choice.high) return "the range " + quoted + " ends before it begins";
    if (choice.low < payload_bytes_min || choice.high > payload_bytes_ceiling) {
        return "a payload has 34 bytes, which name the message, to 1048576; " + quoted +
               " does not";
    }
    return "";
}

std::string PayloadSizes::parse(std::string_view text, PayloadSizes& sizes) {
    sizes.choices_.clear();
    sizes.weights_sum_ = 0;
    while (true) {
        const size_t comma = text.find(',');
        Choice choice;
        std::string problem = parse_choice(text.substr(0, comma), choice);
        if (!problem.empty()) return problem;
        sizes.choices_.push_back(choice);
        sizes.weights_sum_ += choice.weight;
        if (comma == std::string_view::npos) return "";
        text.remove_prefix(comma + 1);
    }
}

uint32_t PayloadSizes::size_of(const Stamp& stamp) const {
    if (choices_.size() == 1 && choices_[0].low == choices_[0].high) return choices_[0].low;
    const uint64_t word = mixed(stamp);
    uint64_t drawn = (word >> 32) % weights_sum_;
    for (const Choice& choice : choices_) {
        if (drawn < choice.weight) {
            const uint32_t span = choice.high - choice.low + 1;
            return choice.low + static_cast<uint32_t>((word & UINT32_MAX) % span);
        }
        drawn -= choice.weight;
    }
    return choices_.back().high;
}

uint32_t PayloadSizes::size_max() const {
    uint32_t most = 0;
    for (const Choice& choice : choices_) most = std::max(most, choice.high);
    return most;
}

double PayloadSizes::size_mean() const {
    double sum = 0;
    for (const Choice& choice : choices_) {
        sum += (static_cast<double>(choice.low) + choice.high) / 2 *
               static_cast<double>(choice.weight);
    }
    return sum / static_cast<double>(weights_sum_);
}

void append_payload(std::string& out, const Stamp& stamp, uint32_t payload_bytes, uint64_t load) {
    out += '<';
    uint32_t left = payload_bytes - payload_bytes_min;
    uint64_t phase = mixed(stamp) % filler_period;
    while (left > 0) {
        const uint32_t part = std::min(left, filler_period);
        out.append(filler_twice(), phase, part);
        left -= part;
    }
    std::array<char, Stamp::digits_count> digits;
    const uint64_t time_ns = stamp.time_ns & mask_of(Stamp::time_bits);
    // Two words: 48 bits of time and the upper 16 of the publisher's 20, then the rest. Fields that
    // are too large are a programmer's error that the layout's limits exclude.
    const uint64_t publisher = stamp.publisher;
    const uint64_t first = time_ns << 16 | publisher >> 4;
    const uint64_t second = (publisher & 0xf) << 60 |
                            uint64_t{stamp.topic} << Stamp::sequence_bits |
                            (stamp.sequence & mask_of(Stamp::sequence_bits));
    write_hex(digits.data(), first ^ first_cipher(load));
    write_hex(digits.data() + 16, second ^ second_cipher(load));
    out.append(digits.data(), digits.size());
    out += '>';
}

std::optional<Stamp> read_stamp(std::string_view payload, uint64_t load) {
    if (payload.size() < payload_bytes_min || payload.back() != '>') return std::nullopt;
    const char* const digits = payload.data() + payload.size() - 1 - Stamp::digits_count;
    const std::optional<uint64_t> first_read = read_hex_16(digits);
    const std::optional<uint64_t> second_read = read_hex_16(digits + 16);
    if (!first_read || !second_read) return std::nullopt;
    const uint64_t first = *first_read ^ first_cipher(load);
    const uint64_t second = *second_read ^ second_cipher(load);
    return Stamp{
        .time_ns = first >> 16,
        .publisher = static_cast<uint32_t>((first & 0xffff) << 4 | second >> 60),
        .topic = static_cast<uint32_t>(second >> Stamp::sequence_bits & mask_of(Stamp::topic_bits)),
        .sequence = second & mask_of(Stamp::sequence_bits)};
}

bool is_payload_intact(std::string_view payload, const Stamp& stamp, uint32_t payload_bytes) {
    if (payload.size() != payload_bytes || payload[0] != '<') return false;
    std::string_view filler = payload.substr(1, payload_bytes - payload_bytes_min);
    const std::string_view letters =
        std::string_view(filler_twice()).substr(mixed(stamp) % filler_period, filler_period);
    while (!filler.empty()) {
        const std::string_view part = filler.substr(0, filler_period);
        if (part != letters.substr(0, part.size())) return false;
        filler.remove_prefix(part.size());
    }
    return true;
}

}  // namespace bench
