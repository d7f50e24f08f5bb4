// Peer: someone on the other side of the network, and Wire, the connection it holds.
//
// Owner: World. Thread: the World's.
// Invariants of a peer:
//  1. It decides by its own generator and what it read alone, so that a seed reproduces it.
//  2. After heal() it begins nothing new and settles: is_settled() becomes true if the broker does
//     its part.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/network.h"
#include "tests/sim/oracle.h"
#include "tests/sim/reloads.h"
#include "tests/sim/scenario.h"

namespace sim {

// What all peers of a world share.
struct Surroundings {
    Network& network;
    Oracle& oracle;
    const Scenario& scenario;
    const Reloads& reloads;
    // A line of the trace, when one is wanted.
    std::function<void(const std::string&)> trace;
};

class Wire {
  public:
    explicit Wire(Network& network) : network_(network) {}

    void open(io::ShardId shard, const ConnectionOptions& options);
    bool is_open() const { return id_ != no_connection; }
    ConnectionId id() const { return id_; }

    void queue(std::string_view bytes) { outgoing_.append(bytes); }
    bool has_outgoing() const { return !outgoing_.empty(); }
    // Hands at most that many queued bytes to the network.
    void flush(uint64_t bytes_max);
    // Appends what has arrived, at most that many bytes, to `incoming`.
    void read(std::string& incoming, uint64_t bytes_max);
    // Nothing more will come: the end of the stream, or a broken line.
    bool is_over() const;
    bool is_broken() const { return network_.is_broken(id_); }
    bool is_broken_by_fault() const { return network_.at(id_).is_broken_by_fault; }
    uint64_t look_at_ns() const { return network_.at(id_).look_at_ns; }

    void finish();  // FIN once all is flushed
    void close();
    void reset();
    void vanish();

  private:
    void forget();

    Network& network_;
    ConnectionId id_ = no_connection;
    std::string outgoing_;
    bool is_finishing_ = false;
    bool is_finished_ = false;
};

class Peer {
  public:
    Peer(Surroundings& surroundings, std::string name, uint64_t seed)
        : around_(surroundings), name_(std::move(name)), prng_(seed), wire_(surroundings.network) {}
    virtual ~Peer() = default;
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;

    virtual void step() = 0;
    virtual uint64_t ready_at_ns() const = 0;
    // The faults are over: become well-behaved, or leave.
    virtual void heal() = 0;
    // Owes nothing and waits for nothing but deliveries.
    virtual bool is_settled() const = 0;
    // The broker will be stopped soon: publish some last words if that is the peer's nature.
    virtual void say_last_words() {}
    // What it waits for, for the report of a hang.
    virtual std::string describe() const = 0;
    const std::string& name() const { return name_; }
    bool has_connection() const { return wire_.is_open(); }

  protected:
    uint64_t now_ns() const { return around_.network.clock().now_ns; }
    void trace(const std::string& text) {
        if (around_.trace) around_.trace(name_ + ": " + text);
    }
    // A connection to any shard, with properties drawn from the scenario.
    void connect();
    const std::string& any_topic();
    const std::string& any_filter();

    Surroundings& around_;
    const std::string name_;
    base::Prng prng_;
    Wire wire_;
};

// The small alphabet of names, chosen so that filters overlap.
const std::vector<std::string>& topics_alphabet();
const std::vector<std::string>& filters_alphabet();

}  // namespace sim
