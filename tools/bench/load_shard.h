// LoadShard: a part of the load's connections on a ring and a thread of its own.
//
// Owner: the run. Thread: built anywhere, run() on its own; results are read after that has ended.
//
// A connection's life (Client::State):
//
//     closed → connecting → upgrading → opening → live → closing → closed
//               TCP          HTTP        waits for the answers    close(2) is due once nothing is
//                                        of its dialect           in flight
//
// Invariants:
//  1. At most one send of a connection is in flight; what is appended meanwhile waits in `waiting`.
//  2. A message's latency counts from when it should have been published (open loop) or was
//     composed (closed loop) to the turn in which its bytes were here. So a stall of the server, or
//     of ours, is not left out.
//  3. counters.delivered never exceeds what arrived; counters.expected is added before the message
//     is sent. So their difference is what may still come.
// Limits: as many connections as the ring's table has room for; publisher_waiting_bytes_max of a
// publisher that the server does not read from (then messages leave late, which is counted).
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "codec/frame_decoder.h"
#include "io/base/prng.h"
#include "io/reactor.h"
#include "tools/bench/board.h"
#include "tools/bench/connector.h"
#include "tools/bench/dialect.h"
#include "tools/bench/histogram.h"
#include "tools/bench/layout.h"
#include "tools/bench/plan.h"
#include "tools/bench/sequence_check.h"
#include "tools/broker_message.h"
#include "tools/cursor.h"

namespace bench {

struct ShardResult {
    Histogram latency_ns;   // of deliveries published while it was measured
    Histogram lateness_ns;  // open loop: how late messages (churn: connections) left
    Histogram connect_ns;   // from connect(2) to a live connection
    Histogram resume_ns;    // reconnect: from the cut to a live connection
    CheckSums check;
    uint64_t all_live_ns = 0;      // when the last one became live
    uint64_t foreign = 0;          // messages that nobody here has published
    uint64_t not_recovered = 0;    // reconnect: resumes that the server could not prove exact
    uint64_t not_recoverable = 0;  // reconnect: subscriptions whose topics keep no history
};

class LoadShard {
  public:
    struct Shared {
        const Plan& plan;
        const Layout& layout;
        const Dialect& dialect;
        const tools::Url& url;
        const Address& target;
        std::span<const Address> sources;
        Board& board;
    };

    LoadShard(const Shared& shared, uint32_t self, io::Reactor& reactor);
    ~LoadShard();
    LoadShard(const LoadShard&) = delete;
    LoadShard& operator=(const LoadShard&) = delete;

    // False when there was no descriptor for it: then it cannot run.
    bool is_made() const { return connector_.is_made(); }
    // Until the phase is `end`.
    void run();

    const ShardResult& result() const { return result_; }
    static uint32_t clients_count(const Layout& layout, uint32_t self, uint32_t shards_count);

  private:
    struct Client {
        enum class State : uint8_t { closed, connecting, upgrading, opening, live, closing };

        explicit Client(uint32_t connection_given, const Role& role_given)
            : connection(connection_given), role(role_given) {}

        const uint32_t connection;
        const Role role;
        State state = State::closed;
        bool is_receiving = false;  // a receive is armed
        bool is_sending = false;    // a send is in flight
        bool is_mid_frame = false;  // the decoder holds a part of a frame
        bool is_dirty = false;      // in dirty_
        bool is_leaving = false;    // our Close frame is on its way
        bool is_resuming = false;   // it had a cursor when it came back
        bool was_live = false;
        uint32_t answers_left = 0;
        uint32_t sent_bytes = 0;  // of `sending`
        io::Socket socket;
        uint64_t began_ns = 0;  // of this connection
        std::string sending;    // must not move while it is with the kernel
        std::string waiting;
        std::string unread;  // of the answer to the upgrade, then of a stream
        codec::FrameDecoder decoder{codec::Role::client};
        std::unique_ptr<SequenceCheck> check;
        std::unique_ptr<tools::Cursor> cursor;  // reconnect: of those that are cut
    };

    // load_shard.cc: the loop, and publishing
    void turn();
    uint64_t next_deadline_ns(uint64_t now_ns) const;
    void publish_due(uint64_t now_ns);
    void publish_on_schedule(uint64_t now_ns);
    void publish_by_window();
    void note_lateness(uint64_t due_ns, uint64_t left_ns);
    bool publish(uint64_t number, uint64_t time_ns);
    uint64_t scheduled_ns(uint64_t number) const;
    void flush();
    void post();
    void cut_all();

    // load_connections.cc: from closed to live, and back
    uint64_t connect_due_ns() const;
    void connect_more(uint64_t now_ns);
    void on_connected(const Connector::Outcome& outcome);
    void on_event(const io::Event& event);
    void on_recv(Client& client, const io::Event& event);
    void on_sent(Client& client, const io::Event& event);
    void on_closed(Client& client);
    void on_upgrade_bytes(Client& client, std::span<uint8_t> bytes);
    void open(Client& client);
    void on_answered(Client& client, std::string_view object);
    void become_live(Client& client);
    void leave(Client& client);
    void end(Client& client, const std::string& why);
    void close_if_idle(Client& client);
    void note_cursor(Client& client, std::string_view object);

    // load_receive.cc: frames in
    void on_frame_bytes(Client& client, std::span<uint8_t> bytes);
    size_t take_whole_frames(Client& client, std::span<uint8_t> bytes);
    bool decode(Client& client, std::span<uint8_t>& bytes);
    void on_message(Client& client, std::string_view message);
    void on_things(Client& client, std::string_view& rest);
    bool is_ours(const Stamp& stamp) const;
    void on_delivery(Client& client, const Incoming& incoming);
    void on_close_frame(Client& client, uint16_t code, std::string_view reason);

    void append_frame(Client& client, codec::Opcode opcode, std::string_view payload);
    void mark_dirty(Client& client);
    void arm_recv(Client& client);
    uint32_t index_of(const Client& client) const {
        return client.connection / board_.shards_count;
    }
    base::Slot slot_of(const Client& client) const { return {index_of(client), 1}; }
    bool is_churn_on_schedule() const {
        return plan_.scenario == Scenario::churn && plan_.is_open_loop();
    }
    // A churn goes on over what a server refuses. One that has never been let in has the wrong
    // address.
    bool is_churn_running() const {
        return plan_.scenario == Scenario::churn && board_.sum(&ShardCounters::cycles) > 0;
    }

    const Plan& plan_;
    const Layout& layout_;
    const Dialect& dialect_;
    const tools::Url& url_;
    Board& board_;
    const uint32_t self_;
    io::Reactor& reactor_;
    ShardCounters& counters_;
    Connector connector_;
    base::Prng prng_;
    std::string websocket_key_;

    std::deque<Client> clients_;        // connection = index * shards_count + self
    std::vector<uint32_t> publishers_;  // their indices
    std::deque<uint32_t> to_connect_;   // indices
    std::vector<uint32_t> dirty_;       // indices of those with something to send
    std::deque<uint32_t> starved_;      // indices of those whose receive found no buffer
    uint32_t handshakes_count_ = 0;     // connections between `connecting` and `live`
    uint64_t connects_begin_ns_ = 0;    // when the first one was started
    uint64_t connects_count_ = 0;       // how many were started since then
    uint64_t published_count_ = 0;      // of this shard's publishers
    bool is_cut_done_ = false;
    std::vector<std::string> topic_names_;
    std::string payload_;  // scratch
    std::string message_;  // scratch

    tools::BrokerMessageReader reader_;
    tools::BrokerMessage object_;  // scratch
    std::string padded_;           // scratch
    ShardResult result_;
    // Since the last post().
    uint64_t delivered_now_ = 0;
    uint64_t received_bytes_now_ = 0;
    uint64_t latency_max_now_ns_ = 0;
    uint64_t measure_begin_ns_ = UINT64_MAX;
    uint64_t measure_end_ns_ = UINT64_MAX;
};

}  // namespace bench
