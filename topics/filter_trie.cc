#include "topics/filter_trie.h"

#include <xxhash.h>

#include <array>
#include <cstddef>

#include "io/base/check.h"
#include "topics/name.h"

namespace topics {

namespace {

constexpr uint32_t root = 0;

// The hash of a word below a node. A word's hash is computed once per topic and then mixed with
// each parent it is looked up under; the multiplication carries the parent's few bits into the high
// ones, which choose the directory's part.
uint64_t mix(uint64_t level_hash, uint32_t parent) {
    const uint64_t mixed = (level_hash ^ (parent * 0x9e3779b97f4a7c15)) * 0xbf58476d1ce4e5b9;
    return mixed ^ (mixed >> 32);
}

uint64_t text_bytes(const std::string& text) {
    const size_t inside_bytes_max = std::string().capacity();
    return text.capacity() > inside_bytes_max ? text.capacity() + 1 : 0;
}

// A name cut at its '/': "a//b" has three levels, the second is empty. Only places are noted, and
// those of absent levels stay unset: a match makes one of these.
class Levels {
  public:
    explicit Levels(std::string_view name) : name_(name) {
        CHECK(name.size() <= topic_bytes_max);
        begins_[0] = 0;
        for (uint32_t place = 0; place < name.size(); ++place) {
            if (name[place] == '/') append(place + 1);
        }
        // As if a '/' followed, so that every level ends before the next one's begin.
        begins_[count_] = static_cast<uint16_t>(name.size() + 1);
    }

    uint32_t count() const { return count_; }

    std::string_view operator[](uint32_t index) const {
        DCHECK(index < count_);
        const uint32_t begin = begins_[index];
        return {name_.data() + begin, begins_[index + 1] - begin - 1};
    }

  private:
    void append(uint32_t begin) {
        CHECK(count_ < topic_levels_max);
        begins_[count_++] = static_cast<uint16_t>(begin);
    }

    const std::string_view name_;
    uint32_t count_ = 1;
    std::array<uint16_t, topic_levels_max + 1> begins_;
};

}  // namespace

FilterTrie::FilterTrie(uint64_t hash_seed) : hash_seed_(hash_seed) {
    const uint32_t id = nodes_.take();
    CHECK(id == root);
}

uint64_t FilterTrie::hash_of(std::string_view level) const {
    return XXH3_64bits_withSeed(level.data(), level.size(), hash_seed_);
}

uint32_t FilterTrie::find_child(uint32_t parent, std::string_view level, uint64_t level_hash) {
    return children_.find(mix(level_hash, parent), [&](uint32_t id) {
        return nodes_[id].parent == parent && nodes_[id].level == level;
    });
}

uint32_t FilterTrie::add_child(uint32_t parent, std::string_view level) {
    const uint32_t id = nodes_.take();
    nodes_[id].parent = parent;
    ++nodes_[parent].children_count;
    if (level == "+") {
        nodes_[parent].plus = id;
    } else {
        nodes_[id].level = level;
        text_bytes_ += text_bytes(nodes_[id].level);
        children_.insert(mix(hash_of(level), parent), id);
    }
    return id;
}

uint32_t FilterTrie::walk(std::string_view filter, bool is_adding) {
    const Levels levels(filter);
    uint32_t id = root;
    for (uint32_t depth = 0; depth < levels.count(); ++depth) {
        const std::string_view level = levels[depth];
        if (level == "#") break;
        const uint32_t child =
            level == "+" ? nodes_[id].plus : find_child(id, level, hash_of(level));
        CHECK(child != none || is_adding);
        id = child == none ? add_child(id, level) : child;
    }
    return id;
}

void FilterTrie::insert(std::string_view filter, uint32_t filter_id) {
    Node& node = nodes_[walk(filter, true)];
    uint32_t& place = filter.back() == '#' ? node.hash_filter : node.filter;
    CHECK(place == none);
    place = filter_id;
    ++filters_count_;
}

void FilterTrie::erase(std::string_view filter) {
    const uint32_t id = walk(filter, false);
    Node& node = nodes_[id];
    uint32_t& place = filter.back() == '#' ? node.hash_filter : node.filter;
    CHECK(place != none);
    place = none;
    --filters_count_;
    prune(id);
}

void FilterTrie::prune(uint32_t id) {
    while (id != root) {
        const Node& node = nodes_[id];
        if (node.children_count > 0 || node.filter != none || node.hash_filter != none) return;
        const uint32_t parent_id = node.parent;
        Node& parent = nodes_[parent_id];
        if (parent.plus == id) {
            parent.plus = none;
        } else {
            children_.erase(mix(hash_of(node.level), parent_id), id);
            text_bytes_ -= text_bytes(node.level);
        }
        --parent.children_count;
        nodes_.release(id);
        id = parent_id;
    }
}

void FilterTrie::collect(std::string_view topic, std::vector<uint32_t>& filter_ids) {
    const Levels levels(topic);
    std::array<uint64_t, topic_levels_max> level_hashes;
    uint32_t hashes_count = 0;

    struct Visit {
        uint32_t id;
        uint32_t depth;  // levels of the topic that the node's prefix stands for
    };
    // A visit leaves at most two, and the next one takes one of them: one more per level.
    std::array<Visit, topic_levels_max + 1> stack;
    uint32_t stack_count = 0;
    stack[stack_count++] = {root, 0};
    while (stack_count > 0) {
        const auto [id, depth] = stack[--stack_count];
        const Node& node = nodes_[id];
        // MQTT 5 §4.7.2: a wildcard in the first level does not match what begins with '$'.
        const bool is_hidden = depth == 0 && topic.front() == '$';
        if (node.hash_filter != none && !is_hidden) filter_ids.push_back(node.hash_filter);
        if (depth == levels.count()) {
            if (node.filter != none) filter_ids.push_back(node.filter);
            continue;
        }
        const uint32_t words_count = node.children_count - (node.plus != none ? 1 : 0);
        if (words_count > 0) {
            for (; hashes_count <= depth; ++hashes_count) {
                level_hashes[hashes_count] = hash_of(levels[hashes_count]);
            }
            const uint32_t child = find_child(id, levels[depth], level_hashes[depth]);
            if (child != none) stack[stack_count++] = {child, depth + 1};
        }
        if (node.plus != none && !is_hidden) stack[stack_count++] = {node.plus, depth + 1};
    }
}

uint64_t FilterTrie::memory_bytes() const {
    return nodes_.memory_bytes() + children_.memory_bytes() + text_bytes_;
}

}  // namespace topics
