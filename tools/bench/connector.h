// Connector: opens the load's connections without waiting for any of them.
//
// Owner: a LoadShard has one. Thread: its shard's.
// Invariants:
//  1. Every start() that answered 0 comes back from collect() once, with a connected descriptor or
//     an error.
//  2. A pair of addresses has some 28,000 ports, so connections to a loopback address spread over
//     many source addresses of 127.0.0.0/8; to others, over those that the user gave.
// Limits: connecting_max descriptors at a time. Later they live in the ring's table, not in the
// process', so that a low limit on open files does not bound the load.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tools/url.h"

namespace bench {

struct Address {
    sockaddr_storage storage{};
    socklen_t bytes = 0;
};

// Resolves where to connect to. Answers what is wrong; empty when all is well.
[[nodiscard]] std::string resolve(const tools::Url& url, Address& address);
// An address to connect from, without a port. The same.
[[nodiscard]] std::string parse_source(const std::string& text, Address& address);
// Whether one can connect from it to the target. The same.
[[nodiscard]] std::string check_source(const Address& source, const Address& target);

class Connector {
  public:
    // Also the usual backlog of a listener, beyond which the kernel drops and retries after 1 s.
    static constexpr uint32_t connecting_max = 512;

    struct Outcome {
        uint32_t client;
        int fd;     // -1: failed
        int error;  // errno
    };

    // `first_number` and `step` number the connections of all shards together, so that they share
    // the source addresses.
    Connector(const Address& target, std::span<const Address> sources, uint32_t first_number,
              uint32_t step);
    ~Connector();
    Connector(const Connector&) = delete;
    Connector& operator=(const Connector&) = delete;

    // False when there was no descriptor for it: then nothing else may be called.
    bool is_made() const { return epoll_ >= 0; }
    bool is_full() const { return connecting_count_ == connecting_max; }
    uint32_t connecting_count() const { return connecting_count_; }

    // Answers 0, or the error number of an attempt that failed at once.
    [[nodiscard]] int start(uint32_t client);
    // Those whose attempt has ended, valid until the next call.
    std::span<const Outcome> collect();

  private:
    int bind_source(int fd);

    const Address& target_;
    const std::span<const Address> sources_;
    const uint32_t step_;
    uint64_t number_;
    int epoll_ = -1;
    uint32_t connecting_count_ = 0;
    std::vector<int> fds_;  // by client; -1: not connecting
    std::vector<Outcome> outcomes_;
};

}  // namespace bench
