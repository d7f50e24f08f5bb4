#include "tests/codec/reference_json.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "codec/json.h"
#include "io/base/check.h"

namespace codec::testing {
namespace {

using Json = nlohmann::json;

// A number that no double holds is no error of grammar; where it ends, in bytes of the text.
struct Overflow {
    size_t end = 0;
    size_t bytes_count = 0;
};

// Takes nlohmann's events and builds nothing from them but the keys of the objects that are open.
class Rules : public Json::json_sax_t {
  public:
    const Overflow& overflow() const { return overflow_; }

    bool null() override { return true; }
    bool boolean(bool) override { return true; }
    bool number_integer(int64_t) override { return true; }
    bool number_unsigned(uint64_t) override { return true; }
    bool number_float(double, const std::string&) override { return true; }
    bool string(std::string&) override { return true; }
    bool binary(Json::binary_t&) override { return false; }
    bool start_object(size_t) override { return open(); }
    bool end_object() override { return close(); }
    bool start_array(size_t) override { return open(); }
    bool end_array() override { return close(); }
    bool key(std::string& key) override { return keys_.back().insert(key).second; }

    bool parse_error(size_t position, const std::string& last_token,
                     const nlohmann::detail::exception& error) override {
        constexpr int number_overflow = 406;
        if (error.id == number_overflow) overflow_ = {position, last_token.size()};
        return false;
    }

  private:
    bool open() {
        keys_.emplace_back();
        return keys_.size() <= json_depth_max;
    }
    bool close() {
        keys_.pop_back();
        return true;
    }

    std::vector<std::set<std::string>> keys_;
    Overflow overflow_;
};

}  // namespace

bool is_reference_json(std::string_view text) {
    if (text.starts_with("\xef\xbb\xbf")) return false;
    if (text.find('\0') != std::string_view::npos) return false;
    std::string copy(text);
    while (true) {
        Rules rules;
        if (Json::sax_parse(copy, &rules)) return true;
        const Overflow& overflow = rules.overflow();
        if (overflow.bytes_count == 0) return false;
        // Its lexer has passed the number, so the grammar is right: a short one takes its place,
        // and a space keeps it apart from what follows.
        CHECK(overflow.end >= overflow.bytes_count && overflow.end <= copy.size());
        const size_t begin = overflow.end - overflow.bytes_count;
        CHECK(copy[begin] == '-' || (copy[begin] >= '0' && copy[begin] <= '9'));
        copy.replace(begin, overflow.bytes_count, "0 ");
    }
}

}  // namespace codec::testing
