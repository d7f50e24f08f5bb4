// StreamReader: what one client got since it began, read as PROTOCOL.md says: which messages a
// `replay` announced and which came by themselves, and how far everything has come.
//
// Whatever it reads it checks: announced messages are the very next ones, positions of a replay
// rise in each partition, and so do those of what comes unannounced.
//
// Owner: a test. Thread: the test's.
#pragma once

#include <gtest/gtest.h>

#include <charconv>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tests/broker/shard_world.h"

namespace broker::testing {

// Texts around a replay; `start` is the value of the member, `positions` those of a cursor.
inline std::string replay_text(std::string_view id, int count) {
    return R"({"op":"replay","id":)" + std::string(id) + R"(,"count":)" + std::to_string(count) +
           "}";
}

inline std::string live_text(std::string_view id, const std::vector<std::string>& positions) {
    return R"({"op":"live","id":)" + std::string(id) + R"(,"cursor":)" + cursor_text(positions) +
           "}";
}

inline std::string subscribe_text(std::string_view id, const std::vector<std::string>& filters,
                                  std::string_view start) {
    std::vector<std::string> quoted;
    for (const std::string& filter : filters) quoted.push_back("\"" + filter + "\"");
    return R"({"op":"subscribe","id":)" + std::string(id) + R"(,"filters":)" + array_of(quoted) +
           R"(,"start":)" + std::string(start) + "}";
}

inline std::string last(int count) {
    return R"({"last":)" + std::to_string(count) + "}";
}

inline std::string after(const std::vector<std::string>& positions) {
    return R"({"after":)" + cursor_text(positions) + "}";
}

class StreamReader {
  public:
    struct Message {
        std::string topic;
        std::string position;  // empty: none
        std::string payload;   // the whole member
        bool is_replayed = false;
    };

    void read(const Peer& peer) {
        for (const std::string& text : peer.take_texts()) take(text);
    }
    void take(const std::string& text) {
        if (text.starts_with(R"({"op":"message",)")) {
            take_message(text);
            return;
        }
        if (text.starts_with(R"({"op":"replay",)")) {
            EXPECT_EQ(announced_left_, 0u) << "an announcement in the middle of another one";
            announced_left_ = number_behind(text, "\"count\":");
            EXPECT_GT(announced_left_, 0u) << text;
            ++announcements_count;
        } else if (text.starts_with(R"({"op":"live",)")) {
            EXPECT_EQ(announced_left_, 0u) << "live before all announced messages came";
            replayed_upto_.clear();
        }
        others.push_back(text);
    }

    // The payloads in their order, all or those of one kind.
    std::vector<std::string> payloads() const {
        std::vector<std::string> found;
        for (const Message& message : messages) found.push_back(message.payload);
        return found;
    }
    std::vector<std::string> payloads(bool is_replayed) const {
        std::vector<std::string> found;
        for (const Message& message : messages) {
            if (message.is_replayed == is_replayed) found.push_back(message.payload);
        }
        return found;
    }
    std::vector<std::string> payloads_of(std::string_view topic) const {
        std::vector<std::string> found;
        for (const Message& message : messages) {
            if (message.topic == topic) found.push_back(message.payload);
        }
        return found;
    }
    uint32_t count_of(std::string_view op) const {
        const std::string begin = "{\"op\":\"" + std::string(op) + "\"";
        uint32_t count = 0;
        for (const std::string& text : others) count += text.starts_with(begin) ? 1u : 0u;
        return count;
    }

    std::vector<Message> messages;
    std::vector<std::string> others;  // everything but messages, in its order
    uint32_t announcements_count = 0;

  private:
    static uint64_t number_behind(std::string_view text, std::string_view name) {
        uint64_t number = 0;
        const size_t at = text.find(name);
        EXPECT_NE(at, std::string_view::npos) << text;
        if (at == std::string_view::npos) return 0;
        std::from_chars(text.data() + at + name.size(), text.data() + text.size(), number);
        return number;
    }

    void take_message(const std::string& text) {
        constexpr std::string_view opening = R"({"op":"message","topic":")";
        ASSERT_TRUE(text.starts_with(opening)) << text;
        Message message;
        std::string_view rest = std::string_view(text).substr(opening.size());
        message.topic = rest.substr(0, rest.find('"'));
        rest.remove_prefix(message.topic.size() + 2);
        if (rest.starts_with("\"pos\":\"")) {
            rest.remove_prefix(7);
            message.position = rest.substr(0, rest.find('"'));
            rest.remove_prefix(message.position.size() + 2);
        }
        message.payload = rest.substr(0, rest.size() - 1);
        message.is_replayed = announced_left_ > 0;
        if (message.is_replayed) --announced_left_;
        if (!message.position.empty()) {
            const size_t colon = message.position.find(':');
            const std::string partition = message.position.substr(0, colon);
            const uint64_t offset = number_behind(message.position, ":");
            uint64_t& upto = (message.is_replayed ? replayed_upto_ : live_upto_)[partition];
            EXPECT_GT(offset, upto) << "positions rise: " << text;
            upto = offset;
        } else {
            EXPECT_FALSE(message.is_replayed) << "a replay has positions: " << text;
        }
        messages.push_back(message);
    }

    uint64_t announced_left_ = 0;
    std::map<std::string, uint64_t> replayed_upto_;  // by partition, of the running replay
    std::map<std::string, uint64_t> live_upto_;
};

}  // namespace broker::testing
