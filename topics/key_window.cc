#include "topics/key_window.h"

#include <xxhash.h>

#include <algorithm>
#include <string>

#include "io/base/check.h"
#include "topics/directory.h"
#include "topics/pool.h"

namespace topics {

namespace {

constexpr uint32_t none = UINT32_MAX;
// More than a lifetime; it keeps sums from overflowing.
constexpr uint64_t window_ns_max = uint64_t{1} << 62;
// Ids have 32 bits; what stands between is the width of a margin.
constexpr uint64_t keys_count_max = uint64_t{1} << 31;
// What one call clears away at most. One key comes per call, so two would do; more returns memory
// sooner after a burst.
constexpr uint32_t sweep_count_max = 16;

struct Record {
    uint64_t hash_low = 0;
    uint64_t hash_high = 0;
    uint64_t offset = 0;
    uint64_t expires_ns = 0;
    uint32_t older = none;
    uint32_t newer = none;
};
static_assert(sizeof(Record) == 40);

struct Hash {
    uint64_t low;
    uint64_t high;
};

}  // namespace

struct KeyWindow::Impl {
    Hash hash_of(std::string_view topic, std::string_view key);
    uint32_t find(Hash hash);
    void add(const Record& record);
    void remove(uint32_t id);
    void sweep(uint64_t now_ns);

    uint64_t hash_seed = 0;
    uint64_t window_ns = 0;
    uint64_t keys_max = 0;

    Pool<Record> records;
    Directory by_hash;
    // All records, in the order in which they came.
    uint32_t oldest = none;
    uint32_t newest = none;
    std::string text;  // of one hash_of(); kept for its capacity
};

Hash KeyWindow::Impl::hash_of(std::string_view topic, std::string_view key) {
    CHECK(topic.size() <= UINT32_MAX);
    // With its length before it, a topic and a key cannot be mistaken for others that read the
    // same when they stand side by side.
    const uint32_t topic_bytes = static_cast<uint32_t>(topic.size());
    text.assign(reinterpret_cast<const char*>(&topic_bytes), sizeof(topic_bytes));
    text += topic;
    text += key;
    const XXH128_hash_t hash = XXH3_128bits_withSeed(text.data(), text.size(), hash_seed);
    return {hash.low64, hash.high64};
}

uint32_t KeyWindow::Impl::find(Hash hash) {
    return by_hash.find(hash.low, [&](uint32_t id) {
        return records[id].hash_low == hash.low && records[id].hash_high == hash.high;
    });
}

void KeyWindow::Impl::add(const Record& record) {
    const uint32_t id = records.take();
    records[id] = record;
    records[id].older = newest;
    records[id].newer = none;
    (newest == none ? oldest : records[newest].newer) = id;
    newest = id;
    by_hash.insert(record.hash_low, id);
}

void KeyWindow::Impl::remove(uint32_t id) {
    const Record& record = records[id];
    (record.older == none ? oldest : records[record.older].newer) = record.newer;
    (record.newer == none ? newest : records[record.newer].older) = record.older;
    by_hash.erase(record.hash_low, id);
    records.release(id);
}

void KeyWindow::Impl::sweep(uint64_t now_ns) {
    for (uint32_t count = 0; count < sweep_count_max && oldest != none; ++count) {
        if (now_ns < records[oldest].expires_ns) return;
        remove(oldest);
    }
}

KeyWindow::KeyWindow(const Options& options) : impl_(std::make_unique<Impl>()) {
    impl_->hash_seed = options.hash_seed;
    impl_->window_ns = std::min(options.window_ns, window_ns_max);
    impl_->keys_max = std::min(options.keys_max, keys_count_max);
}

KeyWindow::~KeyWindow() = default;

std::optional<uint64_t> KeyWindow::find(std::string_view topic, std::string_view key,
                                        uint64_t now_ns) {
    impl_->sweep(now_ns);
    if (impl_->records.count() == 0) return std::nullopt;
    const uint32_t id = impl_->find(impl_->hash_of(topic, key));
    if (id == none || now_ns >= impl_->records[id].expires_ns) return std::nullopt;
    return impl_->records[id].offset;
}

void KeyWindow::remember(std::string_view topic, std::string_view key, uint64_t offset,
                         uint64_t now_ns) {
    if (impl_->keys_max == 0) return;
    impl_->sweep(now_ns);
    const Hash hash = impl_->hash_of(topic, key);
    const uint32_t outlived = impl_->find(hash);
    if (outlived != none) {
        CHECK(now_ns >= impl_->records[outlived].expires_ns);
        impl_->remove(outlived);
    }
    if (impl_->records.count() == impl_->keys_max) impl_->remove(impl_->oldest);
    impl_->add({.hash_low = hash.low,
                .hash_high = hash.high,
                .offset = offset,
                .expires_ns = now_ns + impl_->window_ns});
}

uint64_t KeyWindow::keys_count() const {
    return impl_->records.count();
}

uint64_t KeyWindow::memory_bytes() const {
    return sizeof(Impl) + impl_->records.memory_bytes() + impl_->by_hash.memory_bytes();
}

void KeyWindow::save(Saver& saver, uint64_t now_ns) const {
    for (uint32_t id = impl_->oldest; id != none; id = impl_->records[id].newer) {
        const Record& record = impl_->records[id];
        if (now_ns >= record.expires_ns) continue;
        saver.key({.hash_low = record.hash_low,
                   .hash_high = record.hash_high,
                   .offset = record.offset,
                   .age_ns = impl_->window_ns - (record.expires_ns - now_ns)});
    }
}

void KeyWindow::restore(const Entry& entry, uint64_t now_ns) {
    if (impl_->keys_max == 0 || entry.age_ns >= impl_->window_ns) return;
    // What is restored was written by a program, but read from a disk.
    if (impl_->find({entry.hash_low, entry.hash_high}) != none) return;
    if (impl_->records.count() == impl_->keys_max) impl_->remove(impl_->oldest);
    impl_->add({.hash_low = entry.hash_low,
                .hash_high = entry.hash_high,
                .offset = entry.offset,
                .expires_ns = now_ns + (impl_->window_ns - entry.age_ns)});
}

}  // namespace topics
