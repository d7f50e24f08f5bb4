#include "broker/subscriptions.h"

#include <algorithm>

namespace broker {

void Subscriptions::unsubscribe_all(uint32_t subscriber, std::vector<std::string>& gone) {
    const size_t before_count = gone.size();
    live_.unsubscribe_all(subscriber, gone);
    catching_up_.unsubscribe_all(subscriber, gone);
    // A filter that was both is named twice, and one that others catch up with is not gone.
    std::sort(gone.begin() + static_cast<ptrdiff_t>(before_count), gone.end());
    gone.erase(std::unique(gone.begin() + static_cast<ptrdiff_t>(before_count), gone.end()),
               gone.end());
    std::erase_if(gone, [this](const std::string& filter) { return has_filter(filter); });
}

}  // namespace broker
