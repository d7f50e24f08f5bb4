// Directory: from the hash of a key to the id of the record that holds the key.
//
// The keys themselves stand with their records, so an entry takes 8 bytes; a lookup brings the
// question "is this the record?" along. Entries keep their hash, so growth reads no keys.
//
// Owner: its holder. Thread: its holder's.
// Invariants:
//  1. An id stands here at most once, under the hash it was inserted with.
//  2. Nothing iterates over it: absl salts its order with addresses, which must not show.
// Limits: the table is cut into 64 parts by the top bits of the hash and each part grows by itself,
// so that the longest pause, the growth of one part, is a 64th of what one big table would take.
// A part tells entries apart by the low 32 bits, enough for tens of millions of entries in each.
#pragma once

#include <absl/container/flat_hash_set.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "io/base/check.h"

namespace topics {

class Directory {
  public:
    static constexpr uint32_t none = UINT32_MAX;

    // The id under `hash` for which `is_it(id)` holds, or none.
    template <class IsIt>
    uint32_t find(uint64_t hash, const IsIt& is_it) const {
        const auto& part = parts_[part_of(hash)];
        const auto found = part.find(Question<IsIt>{static_cast<uint32_t>(hash), is_it});
        return found == part.end() ? none : found->id;
    }

    // The id must not stand here yet.
    void insert(uint64_t hash, uint32_t id) {
        const bool is_new = parts_[part_of(hash)].insert({static_cast<uint32_t>(hash), id}).second;
        CHECK(is_new);
    }

    // The id must stand here under this hash.
    void erase(uint64_t hash, uint32_t id) {
        Part& part = parts_[part_of(hash)];
        const size_t erased_count = part.erase(Entry{static_cast<uint32_t>(hash), id});
        CHECK(erased_count == 1);
        // absl never shrinks by itself. A sixteenth is far from the next growth.
        if (part.bucket_count() >= shrinkable_count && part.size() < part.bucket_count() / 16) {
            part.rehash(0);
        }
    }

    uint64_t memory_bytes() const {
        uint64_t buckets_count = 0;
        for (const Part& part : parts_) buckets_count += part.bucket_count();
        return buckets_count * (sizeof(Entry) + 1);  // absl's control byte
    }

  private:
    static constexpr uint32_t parts_count = 64;
    static constexpr size_t shrinkable_count = 128;

    struct Entry {
        uint32_t hash;
        uint32_t id;
    };
    static_assert(sizeof(Entry) == 8);

    template <class IsIt>
    struct Question {
        uint32_t hash;
        const IsIt& is_it;
    };

    struct Hash {
        using is_transparent = void;
        template <class Key>
        size_t operator()(const Key& key) const {
            return key.hash;
        }
    };
    struct Equal {
        using is_transparent = void;
        bool operator()(const Entry& left, const Entry& right) const { return left.id == right.id; }
        template <class IsIt>
        bool operator()(const Entry& entry, const Question<IsIt>& question) const {
            return entry.hash == question.hash && question.is_it(entry.id);
        }
    };
    using Part = absl::flat_hash_set<Entry, Hash, Equal>;

    static size_t part_of(uint64_t hash) { return hash >> 58; }
    static_assert(parts_count == 1 << (64 - 58));

    std::array<Part, parts_count> parts_;
};

}  // namespace topics
