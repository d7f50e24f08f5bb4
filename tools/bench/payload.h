// What the load publishes: how long each message is, what stands in it, and how it is known again.
// Pure; any thread.
//
// A payload is `<`, filler, and 32 hexadecimal digits, `>`: letters that stand in JSON, in a URL
// and in a text frame as they are. The digits are the Stamp, at a fixed place from the end, in a
// cipher of the load's own: another load in the same topics reads nonsense, and does not take the
// message for one of its own. The length and the filler follow from the publisher, topic and
// sequence number, so that the receiver can check every byte without remembering anything.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

// `<`, 32 digits, `>`.
inline constexpr uint32_t payload_bytes_min = 34;
inline constexpr uint32_t payload_bytes_ceiling = 1024 * 1024;

// Which message it is, and when it should have been published.
struct Stamp {
    static constexpr uint32_t digits_count = 32;
    static constexpr uint32_t publisher_bits = 20;
    static constexpr uint32_t topic_bits = 24;
    static constexpr uint32_t sequence_bits = 36;
    static constexpr uint32_t time_bits = 48;  // of nanoseconds: 78 hours, then it wraps

    uint64_t time_ns = 0;
    uint32_t publisher = 0;
    uint32_t topic = 0;
    uint64_t sequence = 0;  // of this publisher in this topic, from 0

    friend bool operator==(const Stamp&, const Stamp&) = default;
};

// How long ago the stamp was made; 0 when the clocks of two machines disagree.
uint64_t age_ns(const Stamp& stamp, uint64_t now_ns);

// One size, a range, or a choice with weights: how long the messages are.
class PayloadSizes {
  public:
    PayloadSizes() = default;

    // "64", "64..1000" (each size alike), "64:90,1000:10" (weights). Answers what is wrong, in a
    // sentence; empty when all is well.
    [[nodiscard]] static std::string parse(std::string_view text, PayloadSizes& sizes);

    // Always the same for the same message.
    uint32_t size_of(const Stamp& stamp) const;
    uint32_t size_max() const;
    double size_mean() const;

  private:
    struct Choice {
        uint32_t low = 64;
        uint32_t high = 64;
        uint64_t weight = 1;
    };

    static std::string parse_choice(std::string_view text, Choice& choice);

    std::vector<Choice> choices_ = std::vector<Choice>(1);
    uint64_t weights_sum_ = 1;
};

// Appends the payload of the message. `load` is a number that no other load has; 0: no cipher.
void append_payload(std::string& out, const Stamp& stamp, uint32_t payload_bytes,
                    uint64_t load = 0);

// The stamp at the end of a payload; nothing when there is none. Of another load's message it is
// one of nonsense.
[[nodiscard]] std::optional<Stamp> read_stamp(std::string_view payload, uint64_t load = 0);

// Whether the payload, whose stamp was read, has this length and the filler that belongs to it.
[[nodiscard]] bool is_payload_intact(std::string_view payload, const Stamp& stamp,
                                     uint32_t payload_bytes);

}  // namespace bench
