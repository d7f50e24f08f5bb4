#include "topics/filter_set.h"

#include "topics/name.h"
#include "topics/router.h"

namespace topics {

FilterSet::FilterSet(std::span<const std::string_view> filters, uint64_t hash_seed)
    : filters_(filters) {
    if (filters.size() <= linear_count_max) return;
    router_ = std::make_unique<Router>(hash_seed);
    for (uint32_t index = 0; index < filters.size(); ++index) {
        router_->subscribe(index, filters[index]);
    }
}

FilterSet::~FilterSet() = default;

std::span<const uint32_t> FilterSet::matching(std::string_view topic) {
    if (router_ != nullptr) {
        router_->match(topic, indices_);
        return indices_;
    }
    indices_.clear();
    for (uint32_t index = 0; index < filters_.size(); ++index) {
        if (matches(filters_[index], topic)) indices_.push_back(index);
    }
    return indices_;
}

}  // namespace topics
