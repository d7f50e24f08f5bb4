// FilterTrie: the wildcard filters by level, so that a topic finds those that match it.
//
// A node is a prefix of filters; its children differ in the next level. The child for '+' is a
// field of the node. '#' ends a filter, so it is no node but a second filter that may stand at
// one. The children for words are found in one directory for the whole trie, by parent and word.
//
// Owner: a Router. Thread: its owner's.
// Invariants:
//  1. A node other than the root exists exactly while a filter stands at it or below it.
//  2. collect() names each matching filter once: at every node the one that ends in '#', then what
//     is under '+', then what is under the word. The order depends on the topic and the filters
//     that stand, on nothing else.
// Limits: collect() visits only nodes that exist and whose prefix matches the topic. With each
// level these can double ('+' and the word), but they are never more than all nodes, and these
// never more than the levels of all wildcard filters together. So filters like +/+/+ make a topic
// dear only in proportion to how many of them stand, some 20 ns a node: the limit on subscriptions
// bounds the time, and the 32 levels bound the stack.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "topics/directory.h"
#include "topics/pool.h"

namespace topics {

class FilterTrie {
  public:
    static constexpr uint32_t none = UINT32_MAX;

    explicit FilterTrie(uint64_t hash_seed);

    // The filter must have a wildcard and not stand here yet.
    void insert(std::string_view filter, uint32_t filter_id);
    // The filter must stand here. Prunes what only it needed.
    void erase(std::string_view filter);
    // Appends the ids of the filters that match.
    void collect(std::string_view topic, std::vector<uint32_t>& filter_ids);

    bool is_empty() const { return nodes_.count() == 1 && filters_count_ == 0; }
    uint32_t nodes_count() const { return nodes_.count(); }  // with the root
    uint64_t memory_bytes() const;

  private:
    struct Node {
        uint32_t parent = none;
        uint32_t plus = none;         // the child for '+'
        uint32_t children_count = 0;  // the one for '+' included
        uint32_t filter = none;       // that ends with this level
        uint32_t hash_filter = none;  // that ends with '#' after this level
        std::string level;            // empty for '+' and the root
    };

    uint64_t hash_of(std::string_view level) const;
    uint32_t find_child(uint32_t parent, std::string_view level, uint64_t level_hash);
    uint32_t add_child(uint32_t parent, std::string_view level);
    // The node that stands for the filter without a last '#'; `is_adding` creates what lacks.
    uint32_t walk(std::string_view filter, bool is_adding);
    void prune(uint32_t id);

    const uint64_t hash_seed_;
    Pool<Node> nodes_;
    Directory children_;
    uint32_t filters_count_ = 0;
    uint64_t text_bytes_ = 0;  // of levels that do not fit inside of their string
};

}  // namespace topics
