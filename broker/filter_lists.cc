#include "broker/filter_lists.h"

namespace broker {

FilterLists::Id FilterLists::acquire(std::span<const std::string_view> filters) {
    CHECK(!filters.empty());
    std::string joined;
    for (const std::string_view filter : filters) joined.append(filter).push_back('\0');
    const auto found = ids_.find(joined);
    if (found != ids_.end()) {
        retain(found->second);
        return found->second;
    }
    Id id = static_cast<Id>(lists_.size());
    if (free_.empty()) {
        lists_.emplace_back();
    } else {
        id = free_.back();
        free_.pop_back();
    }
    ids_.emplace(joined, id);
    List& list = lists_[id];
    // The text is moved first: a short one stands inside of the string.
    list.joined = std::move(joined);
    list.holders_count = 1;
    std::string_view rest = list.joined;
    while (!rest.empty()) {
        const size_t end = rest.find('\0');
        list.filters.push_back(rest.substr(0, end));
        rest.remove_prefix(end + 1);
    }
    return id;
}

void FilterLists::release(Id id) {
    List& list = lists_[id];
    CHECK(list.holders_count > 0);
    if (--list.holders_count > 0) return;
    ids_.erase(list.joined);
    list = List{};
    free_.push_back(id);
}

}  // namespace broker
