// KeyWindow: the keys of publishes that a partition's owner remembers, so that a publish that is
// repeated with the same key is not sequenced twice.
//
// Owner: a shard holds one for the topics that it owns. Thread: its shard's.
// Invariants:
//  1. A key is remembered per topic for window_ns, unless keys_max newer ones push it out.
//  2. Repeating a key does not make it stay longer.
//  3. Topic and key are remembered by a 128-bit hash with a secret seed: two different ones are
//     taken for the same with a probability of 2^-100 at a million keys.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

namespace topics {

class KeyWindow {
  public:
    struct Options {
        uint64_t hash_seed = 0;
        uint64_t window_ns = 0;
        uint64_t keys_max = 0;  // 0: nothing is remembered; more than 2^31 count as 2^31
    };
    explicit KeyWindow(const Options& options);
    ~KeyWindow();
    KeyWindow(const KeyWindow&) = delete;
    KeyWindow& operator=(const KeyWindow&) = delete;

    // The offset under which the first publish with this key was sequenced (0: without history), if
    // it is remembered.
    std::optional<uint64_t> find(std::string_view topic, std::string_view key, uint64_t now_ns);
    // Must not be remembered yet. Time never falls from call to call.
    void remember(std::string_view topic, std::string_view key, uint64_t offset, uint64_t now_ns);

    // With those that have become too old and were not cleared away yet: each call of find() and
    // remember() clears some.
    uint64_t keys_count() const;
    uint64_t memory_bytes() const;

    // For a clean stop: visits what is remembered, oldest first; restore() takes it back in that
    // order, before anything else. What has become too old, or is too much, is left out.
    struct Entry {
        uint64_t hash_low;
        uint64_t hash_high;
        uint64_t offset;
        uint64_t age_ns;
    };
    class Saver {
      public:
        virtual ~Saver() = default;
        virtual void key(const Entry& entry) = 0;
    };
    void save(Saver& saver, uint64_t now_ns) const;
    void restore(const Entry& entry, uint64_t now_ns);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace topics
