// EchoShard: the smallest shard there is, to test the simulator without the broker: it sends back
// what it received.
//
// Owner and thread: as for any shard. A connection's bytes go out in the order in which they came;
// while a send is in flight what arrives meanwhile waits. After the peer's end of stream all is
// sent, then the connection is closed. Limit: bytes that wait per connection are not bounded; this
// is a test.
#pragma once

#include <cstdint>
#include <string>

#include "io/base/slab.h"
#include "io/mesh.h"
#include "io/reactor.h"
#include "tests/sim/world.h"

namespace sim {

class EchoShard final : public AnyShard {
  public:
    EchoShard(io::ShardId id, io::Reactor& reactor, io::Mesh& mesh);

    void turn() override;
    bool is_stopped() const override {
        return is_stopping_ && !is_listening_ && echoes_.size() == 0;
    }

  private:
    struct Echo {
        io::Socket socket;
        std::string waiting;
        std::string in_flight;
        bool is_receiving = true;
        bool is_ended = false;
        bool is_closing = false;
    };

    void dispatch(const io::Event& event);
    void on_accept(const io::Event& event);
    void on_recv(const io::Event& event);
    void on_send(const io::Event& event);
    void advance(base::Slot slot, Echo& echo);

    const io::ShardId id_;
    io::Reactor& reactor_;
    io::Mesh& mesh_;
    base::Slab<Echo> echoes_{1'024};
    bool is_listening_ = true;
    bool is_stopping_ = false;
};

}  // namespace sim
