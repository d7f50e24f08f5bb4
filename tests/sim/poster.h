// Poster: a simulated HTTP client that publishes with POST /topics/<topic>, keeps its connection
// and pipelines.
//
// Owner: World. Thread: the World's.
// Invariant: responses are matched with requests in order; 200 means acknowledged.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "tests/sim/http_answer.h"
#include "tests/sim/peer.h"

namespace sim {

class Poster final : public Peer {
  public:
    Poster(Surroundings& surroundings, std::string name, uint64_t seed);

    void step() override;
    uint64_t ready_at_ns() const override;
    void heal() override { is_healed_ = true; }
    bool is_settled() const override { return waiting_.empty() && !wire_.has_outgoing(); }
    std::string describe() const override;

  private:
    void act();
    void post();
    void read_responses();
    // False when no whole response has arrived.
    bool read_response();
    struct Post {
        MessageId message = no_message;
        Rates::Id ask = 0;
    };
    void on_response(const HttpAnswer& response);
    void on_rate_limited(const Post& post, const HttpAnswer& response);
    void acknowledged(MessageId message, std::string_view body);
    void end(bool is_by_broker);

    const uint32_t posts_max_;
    const uint32_t pipelined_max_;
    const uint64_t think_ns_max_;
    uint32_t posts_count_ = 0;
    uint64_t next_action_ns_;
    bool is_healed_ = false;
    bool is_refused_ = false;  // a response said that the connection closes
    SessionId session_ = 0;
    std::string incoming_;
    std::deque<Post> waiting_;
};

}  // namespace sim
