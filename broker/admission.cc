#include "broker/admission.h"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "codec/forwarded_for.h"

namespace broker {

namespace {

codec::IpAddress address_of(const io::PeerAddress& peer) {
    if (peer.storage.ss_family == AF_INET) {
        std::array<uint8_t, 4> bytes{};
        std::memcpy(bytes.data(),
                    reinterpret_cast<const char*>(&peer.storage) + offsetof(sockaddr_in, sin_addr),
                    bytes.size());
        return codec::ip_address_of_v4(bytes);
    }
    codec::IpAddress address;
    if (peer.storage.ss_family != AF_INET6) return address;  // a Unix socket's
    std::memcpy(address.bytes.data(),
                reinterpret_cast<const char*>(&peer.storage) + offsetof(sockaddr_in6, sin6_addr),
                address.bytes.size());
    return address;
}

}  // namespace

Admission::Admission(io::Reactor& reactor, base::Slab<Connection>& connections, Gate& gate,
                     ShardMetrics& metrics, const Settings& settings)
    : reactor_(reactor),
      connections_(connections),
      gate_(gate),
      metrics_(metrics),
      proxies_(settings.trusted_proxies) {}

bool Admission::accepted(base::Slot slot, const io::PeerAddress& peer) {
    if (slot.index >= addresses_.size()) {
        addresses_.resize(size_t{slot.index} + 1);
    }
    addresses_[slot.index] = address_of(peer);
    if (is_trusted(slot)) return true;
    return enter(slot);
}

bool Admission::introduced(base::Slot slot, const codec::IpAddress& source) {
    addresses_[slot.index] = source;
    if (is_trusted(slot)) return true;  // a proxy before the proxy
    return enter(slot);
}

bool Admission::enter(base::Slot slot) {
    Connection& connection = connections_.at(slot);
    if (gate_.enter(addresses_[slot.index])) {
        connection.is_counted = true;
        return true;
    }
    metrics_.count_refusal(Refused::connections_per_address);
    if (refused_count_ == refused_count_max) return false;
    ++refused_count_;
    connection.is_over_address = true;
    if (!connection.is_over_limit) metrics_.add(Metric::connections_refused);
    connection.is_over_limit = true;
    return true;
}

// Who wants it, by what the proxies say: the first from the right that none of us vouches for.
void Admission::believe(base::Slot slot, const codec::HttpRequest& request) {
    codec::ForwardedFor entries(request);
    codec::IpAddress entry;
    while (is_trusted(slot) && entries.next(entry) && !entry.is_none()) {
        addresses_[slot.index] = entry;
    }
}

Admission::Verdict Admission::upgrading(base::Slot slot, const codec::HttpRequest& request) {
    const Connection& connection = connections_.at(slot);
    if (!connection.is_counted && is_trusted(slot)) {
        believe(slot, request);
        if (!is_trusted(slot) && !enter(slot)) return Verdict::address_full;
    }
    if (connection.is_over_address) return Verdict::address_full;
    if (gate_.may_upgrade(reactor_.now_ns())) return Verdict::admitted;
    metrics_.count_refusal(Refused::upgrade_rate);
    return Verdict::too_fast;
}

void Admission::closed(base::Slot slot) {
    const Connection& connection = connections_.at(slot);
    if (connection.is_counted) gate_.leave(addresses_[slot.index]);
    if (connection.is_over_address) --refused_count_;
}

}  // namespace broker
