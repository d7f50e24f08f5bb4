// Fuzzes topic names, filters and the router: bytes become operations, which the Router and the
// NaiveRouter carry out side by side.
//
// An operation is one byte (what and who), followed by a name: bytes up to the next 0x00, where the
// bytes 0x01 to 0x08 stand for frequent pieces, so that short inputs reach deep tries. Names that
// do not pass their check are not given to the router; the checks are asked about every one.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/check.h"
#include "tests/topics/naive_router.h"
#include "topics/name.h"
#include "topics/router.h"

namespace topics {
namespace {

constexpr uint32_t subscribers_count = 8;
// The naive model is quadratic; a longer input finds nothing that a shorter one does not.
constexpr uint32_t operations_count_max = 256;

class Input {
  public:
    explicit Input(std::span<const uint8_t> bytes) : bytes_(bytes) {}

    bool is_empty() const { return bytes_.empty(); }

    uint8_t byte() {
        const uint8_t value = bytes_.front();
        bytes_ = bytes_.subspan(1);
        return value;
    }

    std::string name() {
        static constexpr std::array<std::string_view, 9> pieces = {"",   "/",  "+", "#", "a",
                                                                   "/+", "/a", "$", "/#"};
        std::string name;
        while (!is_empty()) {
            const uint8_t value = byte();
            if (value == 0) break;
            if (value < pieces.size()) {
                name += pieces[value];
            } else {
                name += static_cast<char>(value);
            }
        }
        return name;
    }

  private:
    std::span<const uint8_t> bytes_;
};

class Pair {
  public:
    void step(Input& input) {
        const uint8_t choice = input.byte();
        const SubscriberId subscriber = choice % subscribers_count;
        const std::string name = input.name();
        const bool is_filter = check_filter(name) == NameError::none;
        const bool is_topic = check_topic(name) == NameError::none;
        // A topic is a filter without a wildcard.
        CHECK(is_topic == (is_filter && !has_wildcard(name)));
        CHECK(check_publishable(name) != NameError::none || is_topic);
        if (is_topic) match(name);
        switch (choice / subscribers_count % 4) {
            case 0:
            case 1:
                if (is_filter) subscribe(subscriber, name);
                break;
            case 2:
                if (is_filter) unsubscribe(subscriber, name);
                break;
            case 3: leave(subscriber); break;
        }
        CHECK(naive_.filters_count() == router_.filters_count());
        CHECK(naive_.subscriptions_count() == router_.subscriptions_count());
        CHECK(naive_.trie_nodes_count() == router_.trie_nodes_count());
    }

    void finish() {
        for (SubscriberId subscriber = 0; subscriber < subscribers_count; ++subscriber) {
            leave(subscriber);
        }
        CHECK(router_.filters_count() == 0);
        CHECK(router_.subscriptions_count() == 0);
        CHECK(router_.trie_nodes_count() == 1);
    }

  private:
    void match(const std::string& topic) {
        std::vector<SubscriberId> matched;
        router_.match(topic, matched);
        std::sort(matched.begin(), matched.end());
        CHECK(naive_.match(topic) == matched);
    }

    void subscribe(SubscriberId subscriber, const std::string& filter) {
        CHECK(naive_.subscribe(subscriber, filter) == router_.subscribe(subscriber, filter));
        CHECK(router_.is_subscribed(subscriber, filter) && router_.has_filter(filter));
    }

    void unsubscribe(SubscriberId subscriber, const std::string& filter) {
        CHECK(naive_.unsubscribe(subscriber, filter) == router_.unsubscribe(subscriber, filter));
        CHECK(!router_.is_subscribed(subscriber, filter));
    }

    void leave(SubscriberId subscriber) {
        std::vector<std::string> gone;
        router_.unsubscribe_all(subscriber, gone);
        std::sort(gone.begin(), gone.end());
        CHECK(naive_.unsubscribe_all(subscriber) == gone);
        CHECK(router_.subscriptions_count(subscriber) == 0);
    }

    Router router_{0x5eed};
    NaiveRouter naive_;
};

}  // namespace
}  // namespace topics

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes_count) {
    topics::Input input({data, bytes_count});
    topics::Pair pair;
    for (uint32_t count = 0; count < topics::operations_count_max && !input.is_empty(); ++count) {
        pair.step(input);
    }
    pair.finish();
    return 0;
}
