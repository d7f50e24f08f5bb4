// FilterLists: the lists of filters that replays read by, each kept once, so that replays of the
// same list can be recognised by a number.
//
// Owner: Replays. Thread: its shard's.
// Invariants:
//  1. A list has one number while somebody holds it; numbers are given again afterwards.
//  2. Nothing iterates over the table.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/check.h"

namespace broker {

class FilterLists {
  public:
    using Id = uint32_t;
    static constexpr Id none = UINT32_MAX;

    ~FilterLists() { CHECK(ids_.empty()); }

    // Holds the list, which must not be empty; one release() per acquire().
    [[nodiscard]] Id acquire(std::span<const std::string_view> filters);
    void retain(Id id) { ++lists_[id].holders_count; }
    void release(Id id);

    // Views live while the list is held.
    std::span<const std::string_view> filters(Id id) const { return lists_[id].filters; }
    uint32_t count() const { return static_cast<uint32_t>(ids_.size()); }

  private:
    struct List {
        std::string joined;                     // by a byte that no filter has
        std::vector<std::string_view> filters;  // into `joined`
        uint32_t holders_count = 0;
    };

    std::deque<List> lists_;  // whose members do not move: views point into their text
    std::vector<Id> free_;
    absl::flat_hash_map<std::string, Id> ids_;
};

}  // namespace broker
