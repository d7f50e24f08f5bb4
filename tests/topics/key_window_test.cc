#include "topics/key_window.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "io/base/prng.h"

namespace topics {
namespace {

struct Saved : KeyWindow::Saver {
    void key(const KeyWindow::Entry& entry) override { entries.push_back(entry); }
    std::vector<KeyWindow::Entry> entries;
};

TEST(KeyWindow, a_key_is_remembered_for_the_window_and_no_longer) {
    KeyWindow window({.hash_seed = 1, .window_ns = 100, .keys_max = 10});
    EXPECT_EQ(std::nullopt, window.find("t", "k", 1'000));
    window.remember("t", "k", 42, 1'000);
    EXPECT_EQ(42u, window.find("t", "k", 1'000));
    EXPECT_EQ(42u, window.find("t", "k", 1'099));
    EXPECT_EQ(std::nullopt, window.find("t", "k", 1'100));
    EXPECT_EQ(0u, window.keys_count());
    window.remember("t", "k", 43, 1'100);
    EXPECT_EQ(43u, window.find("t", "k", 1'199));
}

TEST(KeyWindow, the_offset_may_be_none) {
    KeyWindow window({.hash_seed = 1, .window_ns = 100, .keys_max = 10});
    window.remember("t", "k", 0, 0);
    EXPECT_EQ(0u, window.find("t", "k", 0));
}

TEST(KeyWindow, keys_belong_to_their_topic) {
    KeyWindow window({.hash_seed = 1, .window_ns = 100, .keys_max = 10});
    window.remember("ab", "c", 1, 0);
    EXPECT_EQ(std::nullopt, window.find("a", "bc", 0));
    EXPECT_EQ(std::nullopt, window.find("abc", "", 0));
    EXPECT_EQ(std::nullopt, window.find("ab", "d", 0));
    EXPECT_EQ(1u, window.find("ab", "c", 0));
}

TEST(KeyWindow, the_oldest_key_makes_room) {
    KeyWindow window({.hash_seed = 1, .window_ns = 100, .keys_max = 2});
    window.remember("t", "1", 1, 0);
    window.remember("t", "2", 2, 0);
    // Asking does not make it younger.
    EXPECT_EQ(1u, window.find("t", "1", 1));
    EXPECT_EQ(2u, window.keys_count());
    window.remember("t", "3", 3, 1);
    EXPECT_EQ(2u, window.keys_count());
    EXPECT_EQ(std::nullopt, window.find("t", "1", 1));
    EXPECT_EQ(2u, window.find("t", "2", 1));
    EXPECT_EQ(3u, window.find("t", "3", 1));
}

TEST(KeyWindow, without_room_or_time_nothing_is_remembered) {
    KeyWindow roomless({.hash_seed = 1, .window_ns = 100, .keys_max = 0});
    roomless.remember("t", "k", 1, 0);
    EXPECT_EQ(std::nullopt, roomless.find("t", "k", 0));
    roomless.restore({.hash_low = 1, .hash_high = 2, .offset = 3, .age_ns = 0}, 0);
    EXPECT_EQ(0u, roomless.keys_count());
    KeyWindow timeless({.hash_seed = 1, .window_ns = 0, .keys_max = 10});
    timeless.remember("t", "k", 1, 0);
    EXPECT_EQ(std::nullopt, timeless.find("t", "k", 0));
}

TEST(KeyWindow, limits_beyond_all_measure_do_not_overflow) {
    KeyWindow window({.hash_seed = 1, .window_ns = UINT64_MAX, .keys_max = UINT64_MAX});
    window.remember("t", "k", 1, 1'000);
    EXPECT_EQ(1u, window.find("t", "k", uint64_t{1} << 61));
    EXPECT_EQ(std::nullopt, window.find("t", "k", (uint64_t{1} << 62) + 1'000));
}

TEST(KeyWindow, a_burst_is_swept_away_step_by_step_and_never_answered) {
    KeyWindow window({.hash_seed = 1, .window_ns = 100, .keys_max = 1'000});
    for (uint32_t key = 0; key < 1'000; ++key) window.remember("t", std::to_string(key), key, 0);
    EXPECT_EQ(std::nullopt, window.find("t", "999", 100));
    EXPECT_GT(window.keys_count(), 0u);
    EXPECT_LT(window.keys_count(), 1'000u);
    // It still stands there, outlived, and is remembered anew.
    window.remember("t", "999", 7, 100);
    EXPECT_EQ(7u, window.find("t", "999", 100));
    for (uint32_t call = 0; call < 1'000; ++call) window.find("t", "none", 101);
    EXPECT_EQ(1u, window.keys_count());
    EXPECT_EQ(7u, window.find("t", "999", 199));
}

TEST(KeyWindow, what_is_saved_goes_on_where_it_was) {
    KeyWindow before({.hash_seed = 1, .window_ns = 100, .keys_max = 10});
    before.remember("t", "outlived", 1, 0);
    before.remember("t", "old", 2, 50);
    before.remember("t", "new", 3, 90);
    Saved saved;
    before.save(saved, 120);
    ASSERT_EQ(2u, saved.entries.size());
    EXPECT_EQ(70u, saved.entries[0].age_ns);
    EXPECT_EQ(30u, saved.entries[1].age_ns);
    // A clock that starts anew.
    KeyWindow after({.hash_seed = 1, .window_ns = 100, .keys_max = 10});
    for (const KeyWindow::Entry& entry : saved.entries) after.restore(entry, 5);
    EXPECT_EQ(2u, after.find("t", "old", 34));
    EXPECT_EQ(std::nullopt, after.find("t", "old", 35));
    EXPECT_EQ(3u, after.find("t", "new", 74));
    EXPECT_EQ(std::nullopt, after.find("t", "new", 75));
}

TEST(KeyWindow, what_is_too_old_or_too_much_is_not_restored) {
    KeyWindow window({.hash_seed = 1, .window_ns = 100, .keys_max = 2});
    window.restore({.hash_low = 1, .hash_high = 1, .offset = 1, .age_ns = 100}, 0);
    EXPECT_EQ(0u, window.keys_count());
    for (uint64_t key = 2; key < 6; ++key) {
        window.restore({.hash_low = key, .hash_high = 1, .offset = key, .age_ns = 99}, 0);
    }
    // Twice the same.
    window.restore({.hash_low = 5, .hash_high = 1, .offset = 9, .age_ns = 1}, 0);
    Saved saved;
    window.save(saved, 0);
    ASSERT_EQ(2u, saved.entries.size());
    EXPECT_EQ(4u, saved.entries[0].offset);
    EXPECT_EQ(5u, saved.entries[1].offset);
    // Half a hash is another key.
    window.restore({.hash_low = 5, .hash_high = 2, .offset = 10, .age_ns = 0}, 0);
    saved.entries.clear();
    window.save(saved, 0);
    EXPECT_EQ(10u, saved.entries.back().offset);
}

TEST(KeyWindow, memory_is_counted) {
    KeyWindow window({.hash_seed = 1, .window_ns = 100, .keys_max = 100'000});
    const uint64_t before_bytes = window.memory_bytes();
    for (uint32_t key = 0; key < 100'000; ++key) window.remember("t", std::to_string(key), key, 0);
    const uint64_t key_bytes = (window.memory_bytes() - before_bytes) / 100'000;
    EXPECT_GE(key_bytes, 48u);
    EXPECT_LE(key_bytes, 72u);
}

// Against a list of what was remembered.
TEST(KeyWindow, model) {
    struct Key {
        std::string topic;
        std::string key;
        uint64_t offset;
        uint64_t time_ns;
    };
    for (uint64_t seed = 1; seed <= 50; ++seed) {
        base::Prng prng(seed);
        const uint64_t window_ns = prng.between(1, 60);
        const uint64_t keys_max = prng.between(1, 8);
        KeyWindow::Options options = {
            .hash_seed = prng.next(), .window_ns = window_ns, .keys_max = keys_max};
        auto window = std::make_unique<KeyWindow>(options);
        std::deque<Key> model;
        uint64_t now_ns = 0;
        for (uint32_t operation = 0; operation < 2'000; ++operation) {
            now_ns += prng.below(8);
            const std::string topic = std::to_string(prng.below(3));
            const std::string key = std::to_string(prng.below(6));
            while (!model.empty() && now_ns - model.front().time_ns >= window_ns) {
                model.pop_front();
            }
            std::optional<uint64_t> expected;
            for (const Key& known : model) {
                if (known.topic == topic && known.key == key) expected = known.offset;
            }
            ASSERT_EQ(expected, window->find(topic, key, now_ns)) << "seed " << seed;
            if (!expected.has_value()) {
                window->remember(topic, key, operation, now_ns);
                model.push_back({topic, key, operation, now_ns});
                if (model.size() > keys_max) model.pop_front();
            }
            if (prng.chance({1, 100})) {
                Saved saved;
                window->save(saved, now_ns);
                ASSERT_EQ(model.size(), saved.entries.size()) << "seed " << seed;
                window = std::make_unique<KeyWindow>(options);
                for (const KeyWindow::Entry& entry : saved.entries) window->restore(entry, now_ns);
            }
        }
    }
}

}  // namespace
}  // namespace topics
