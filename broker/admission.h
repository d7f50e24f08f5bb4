// Admission: who each connection of the shard is, and whether it may come in.
//
// The address of a client is that of its socket; where a trusted proxy is at the other end it is
// what the proxy says: a PROXY protocol header for the connection, X-Forwarded-For for a request.
// Proxies themselves are not limited, for they speak for many.
//
//   at             who                               counted from here on
//   accept         whoever is no trusted proxy       its address
//   PROXY header   whoever is behind a proxy         the address in it
//   upgrade        whoever is behind an HTTP proxy   the address in X-Forwarded-For
//
// Owner: a shard. Thread: its shard's; the gate is shared by all of them.
// Invariants:
//  1. A connection is counted at the gate for at most one address, from the moment that its address
//     is known until its socket is closed.
//  2. What somebody says who is not trusted changes nothing.
//  3. Addresses stand here and not in Connection, because they are hardly ever looked at: 16 bytes
//     per slot that was ever used.
#pragma once

#include <cstdint>
#include <vector>

#include "broker/connection.h"
#include "broker/gate.h"
#include "broker/metrics.h"
#include "broker/settings.h"
#include "broker/trusted_proxies.h"
#include "codec/http.h"
#include "codec/ip_address.h"
#include "io/base/slab.h"
#include "io/reactor.h"

namespace broker {

class Admission {
  public:
    Admission(io::Reactor& reactor, base::Slab<Connection>& connections, Gate& gate,
              ShardMetrics& metrics, const Settings& settings);

    // A new connection. False: it is to be cut at once, because enough others wait to be told that
    // their address has too many connections.
    [[nodiscard]] bool accepted(base::Slot slot, const io::PeerAddress& peer);
    // The proxy's header for the whole connection; false as accepted().
    [[nodiscard]] bool introduced(base::Slot slot, const codec::IpAddress& source);
    enum class Verdict : uint8_t { admitted, address_full, too_fast };
    // Decides about an upgrade. From a trusted proxy the request says who wants it.
    [[nodiscard]] Verdict upgrading(base::Slot slot, const codec::HttpRequest& request);
    // The socket is closed, and the slot about to be released.
    void closed(base::Slot slot);

    // Who is at the other end, as far as is known; none for a Unix socket's.
    const codec::IpAddress& client_address(base::Slot slot) const { return addresses_[slot.index]; }
    bool is_trusted(base::Slot slot) const { return proxies_.trusts(addresses_[slot.index]); }

  private:
    // Those that wait to be told so, per shard; more are cut without a word, so that refusing one
    // address takes no sockets from the others.
    static constexpr uint32_t refused_count_max = 32;

    // Counts the connection for its address. False: it is to be cut.
    bool enter(base::Slot slot);
    void believe(base::Slot slot, const codec::HttpRequest& request);

    io::Reactor& reactor_;
    base::Slab<Connection>& connections_;
    Gate& gate_;
    ShardMetrics& metrics_;
    const TrustedProxies proxies_;
    std::vector<codec::IpAddress> addresses_;  // by the slot's index
    uint32_t refused_count_ = 0;               // that are still open
};

}  // namespace broker
