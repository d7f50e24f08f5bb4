#include "topics/filter_relation.h"

#include <cstddef>

namespace topics {

namespace {

bool begins_with_wildcard(std::string_view filter) {
    return filter.front() == '+' || filter.front() == '#';
}

// '#' may stand for no level at all, but where nothing else is left, the topic would be empty.
// There it is read as "+/#", which matches the same, so that the rules below need no case for it.
std::string_view without_empty_topic(std::string_view filter) {
    if (filter == "#") return "+/#";
    return filter == "/#" ? "/+/#" : filter;
}

// The levels of a filter, one after the other.
class Levels {
  public:
    explicit Levels(std::string_view filter) : rest_(without_empty_topic(filter)) { next(); }

    bool is_at_end() const { return is_at_end_; }
    bool is_at_hash() const { return !is_at_end_ && level_ == "#"; }
    bool is_at_plus() const { return !is_at_end_ && level_ == "+"; }
    std::string_view level() const { return level_; }

    void next() {
        is_at_end_ = is_last_;
        if (is_last_) return;
        const size_t end = rest_.find('/');
        level_ = rest_.substr(0, end);
        is_last_ = end == std::string_view::npos;
        if (!is_last_) rest_.remove_prefix(end + 1);
    }

  private:
    std::string_view rest_;  // behind the level
    std::string_view level_;
    bool is_last_ = false;
    bool is_at_end_ = false;
};

}  // namespace

bool covers(std::string_view general, std::string_view special) {
    if (begins_with_wildcard(general) && special.front() == '$') return false;
    Levels wide(general);
    Levels narrow(special);
    for (;; wide.next(), narrow.next()) {
        if (wide.is_at_hash()) return true;
        if (wide.is_at_end() || narrow.is_at_end()) return wide.is_at_end() && narrow.is_at_end();
        // What stands for many levels or for any word is matched only by its like.
        if (narrow.is_at_hash()) return false;
        if (!wide.is_at_plus() && (narrow.is_at_plus() || wide.level() != narrow.level())) {
            return false;
        }
    }
}

bool overlaps(std::string_view left, std::string_view right) {
    if (begins_with_wildcard(left) && right.front() == '$') return false;
    if (begins_with_wildcard(right) && left.front() == '$') return false;
    Levels one(left);
    Levels other(right);
    for (;; one.next(), other.next()) {
        // '#' takes whatever the other one still wants, nothing included.
        if (one.is_at_hash() || other.is_at_hash()) return true;
        if (one.is_at_end() || other.is_at_end()) return one.is_at_end() && other.is_at_end();
        if (!one.is_at_plus() && !other.is_at_plus() && one.level() != other.level()) return false;
    }
}

}  // namespace topics
