// JsonReader: one JSON text (RFC 8259), checked to the letter, walked token by token.
//
// simdjson's first stage finds where the tokens begin, checks UTF-8 and the control characters in
// strings at several gigabytes per second; this class walks those places and checks everything
// else. simdjson's own On-Demand walk is not used: it accepts broken values that it does not visit,
// has no verbatim big numbers, and reads lone low surrogates.
//
// Owner: a CommandParser holds one. Thread: its shard's.
// Invariants:
//  1. What a walking function has passed without answering false is valid: grammar, depth at most
//     json_depth_max, no duplicate keys (compared after unescaping), no lone surrogates in escapes.
//  2. After an answer of false, reason() tells why, and the text must not be walked further.
//  3. Time is linear in the text, whatever the keys are; hashing is seeded.
//  4. Nothing is allocated once the buffers have grown to the largest text seen.
//  5. Views point into the text or into the scratch; they die at the next begin().
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace simdjson::internal {
class dom_parser_implementation;
}

namespace codec {

inline constexpr uint32_t json_depth_max = 64;

enum class JsonType : uint8_t { object, array, string, number, boolean, null };

struct JsonValue {
    JsonType type = JsonType::null;
    bool has_escapes = false;  // a string, with at least one backslash
    // The value's text without the white space around it; of a string with its quotes.
    std::string_view raw;
    uint32_t first_token = 0;  // to walk it again, see go_to()
};

class JsonReader {
  public:
    // `seed` makes the hashing of keys unpredictable to peers.
    explicit JsonReader(uint64_t seed);
    ~JsonReader();

    // Takes a text, which must be followed by base::readable_padding_bytes readable bytes. False:
    // it is empty or not UTF-8, or a string in it does not end or has a control character.
    [[nodiscard]] bool begin(std::string_view text);

    // The first character of the next token; NUL at the end of the text.
    char peek() const;
    bool is_at_end() const { return token_ == tokens_count_; }

    // Walks over the next value, whatever is in it.
    [[nodiscard]] bool read_value(JsonValue& value);
    // Walks over the next key and its colon, inside an object that was entered. False also for a
    // duplicate.
    [[nodiscard]] bool read_key(std::string_view& key);

    // Walks into the object or array that comes next; the caller then walks its members with
    // next_member().
    [[nodiscard]] bool enter();
    // Inside a container that was entered: `has_member` tells whether another member begins here
    // (for an object: its key) or the container has ended, which has been walked over then.
    [[nodiscard]] bool next_member(bool& has_member);

    // To walk a value again that was read before, go to its first_token; then go back to where the
    // walk stood, from wherever the second walk was left, before anything else is read. The keys
    // and strings of a value may be read a second time, but not a third (there is scratch for two).
    struct Place {
        uint32_t token;
        uint32_t depth;
        size_t keys_count;
    };
    Place place() const { return {token_, depth_, keys_.size()}; }
    void go_to(uint32_t first_token);
    void go_back(const Place& place);

    // The text of a string that was read, without quotes and escapes. Once for each string at most.
    std::string_view unescape(const JsonValue& string);
    // Room in the scratch for so many bytes; for one value at most as many as its raw text has.
    char* take_scratch(size_t bytes_count);

    const char* reason() const { return reason_; }

  private:
    struct Level {
        bool is_object = false;
        bool is_fresh = true;  // no member was read yet
        uint32_t keys_begin = 0;
    };

    bool fail(const char* reason);
    bool grow(size_t text_bytes);
    bool open(char byte);
    bool close();
    bool read_scalar(JsonValue& value);
    bool read_string(JsonValue& value);
    bool read_container(JsonValue& value);
    bool check_escapes(std::string_view content);
    bool add_key(std::string_view key);
    bool has_duplicates_hashed(uint32_t keys_begin);
    std::string_view token_text() const;
    std::string_view write_unescaped(std::string_view content);

    // Constant after construction.
    const uint64_t seed_;
    const std::unique_ptr<simdjson::internal::dom_parser_implementation> stage1_;

    // Buffers that are kept from text to text.
    std::unique_ptr<char[]> scratch_;
    size_t capacity_bytes_ = 0;           // the longest text that the buffers are made for
    std::vector<std::string_view> keys_;  // of all objects that are open, the outermost's first
    std::vector<uint32_t> hash_table_;    // key index + 1, or 0

    // The text and the place in it.
    std::string_view text_;
    const uint32_t* tokens_ = nullptr;  // where tokens begin; the text's length follows the last
    uint32_t tokens_count_ = 0;
    uint32_t token_ = 0;
    uint32_t depth_ = 0;
    size_t scratch_bytes_ = 0;
    std::array<Level, json_depth_max> levels_;
    const char* reason_ = "";
};

// Asked for every member of every command, hence inline.
inline char JsonReader::peek() const {
    return token_ < tokens_count_ ? text_[tokens_[token_]] : '\0';
}

inline bool JsonReader::next_member(bool& has_member) {
    Level& level = levels_[depth_ - 1];
    const char byte = peek();
    has_member = false;
    if (byte == (level.is_object ? '}' : ']')) return close();
    if (level.is_fresh) {
        level.is_fresh = false;
    } else {
        if (byte != ',') return fail("a comma or the end of an object or array is missing");
        ++token_;
    }
    has_member = true;
    return true;
}

}  // namespace codec
