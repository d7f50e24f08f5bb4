// Connection: everything a shard keeps of one client, as one explicit state machine.
//
// Owner: the shard's slab. Thread: its shard's. Connections never migrate.
//
//   state      what it is                           received     send done            timer
//   http       answering HTTP requests              HttpSurface  flush                408, cut
//   open       an upgraded WebSocket                Session      flush, resume        ping, evict
//   closing    the last bytes are on their way      discarded    lingering if all     joining
//   lingering  writing is shut down; waits for FIN  discarded    –                    joining
//   joining    shut down both ways; waits for what  discarded    close if all home    –
//              is in flight
//   closed     close is requested                   CHECK        CHECK                –
//
// The end of the peer's stream, or an error, leads from http and open to closing (when answers are
// still queued) or joining, from closing and lingering to joining. The transitions stand in
// Lifecycle.
//
// Invariants:
//  1. recv_armed is true exactly while a receive is armed; queue.is_in_flight() exactly while a
//     send is.
//  2. `http` exists exactly in state http; `stash` exactly while reading is paused.
//  3. A connection has subscriptions, live or catching up, only in state open.
//  4. The slot is released by the event of close, which is the last one.
//  5. is_slow is true exactly while the connection is doomed, has a stream_lag, or an overflow with
//     messages or losses in it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "broker/catch_up.h"
#include "broker/close_codes.h"
#include "broker/compression.h"
#include "broker/connection_state.h"
#include "broker/http_batch.h"
#include "broker/outbound_queue.h"
#include "broker/overflow.h"
#include "broker/pacing.h"
#include "codec/frame_decoder.h"
#include "codec/http.h"
#include "io/base/slab.h"
#include "io/reactor.h"

namespace broker {

// Why nothing is read from a connection for a while.
enum class Pause : uint8_t {
    none,
    lanes,    // no room towards another shard; tried again every turn
    backlog,  // the client does not read what was sent to it; a completed send resumes
    join,     // a command must wait for something that another shard or a replay has to do first
    rate,     // more bytes came than inbound_bytes_per_second; a time resumes
    answer,   // an HTTP request waits for its answer, and enough of the next ones is here already
};

// An HTTP connection's requests, as far as they have arrived.
struct HttpProgress {
    std::vector<uint8_t> bytes;  // followed by the readable padding
    size_t used_bytes = 0;       // of bytes, without the padding
    size_t wanted_bytes = 0;     // of head and body, once the head is known and the body incomplete
    codec::HttpHeadParser parser;
    bool awaits_answer = false;  // a publish was forwarded; its answer completes the response
    bool is_answered = false;    // a response was sent
    bool keep_alive = true;      // of the request that is being answered
    bool is_head = false;        // the same: its answer has no body
    bool continue_sent = false;
    bool awaits_introduction = false;  // a PROXY protocol header must come first
    std::string cors_origin;           // whose pages may read the answer; empty: no others'
    std::unique_ptr<HttpBatch> batch;  // of POST /api/publish, until it is answered
};

// What was received but could not be handled yet.
struct Stash {
    // A message whose commands were executed up to next_command; padded.
    std::vector<uint8_t> frame;
    size_t frame_bytes = 0;  // 0: none
    uint32_t next_command = 0;
    std::vector<uint8_t> input;  // what followed; padded
    size_t input_begin = 0;
    size_t input_end = 0;
};

struct Connection {
    Connection(io::Socket accepted, uint16_t accepting_listener, uint64_t now_ns)
        : socket(accepted),
          listener(accepting_listener),
          last_life_ns(now_ns),
          accepted_ns(now_ns) {}

    // Constant after construction.
    const io::Socket socket;
    const uint16_t listener;

    ConnectionState state = ConnectionState::http;
    Pause pause = Pause::none;
    bool recv_armed = false;
    bool recv_stopping : 1 = false;    // recv_stop was called; the last event is still to come
    bool recv_starved : 1 = false;     // waits for a buffer in the shard's list
    bool is_dirty = false;             // stands in the outbox's list
    bool is_prompt_dirty = false;      // stands in the outbox's list of those that go first
    bool is_prompt = false;            // something is queued that does not wait behind big fan-outs
    bool is_slow = false;              // messages for it take the way of SlowConsumers and Replays
    bool is_doomed : 1 = false;        // passed the hard limit; is closed at the end of the turn
    bool is_over_limit : 1 = false;    // accepted only to be told that it is too many
    bool is_over_address : 1 = false;  // the same, because its address has too many
    bool is_counted : 1 = false;       // at the gate, for its address
    bool is_browser : 1 = false;       // sent an Origin
    bool is_echo : 1 = false;          // upgraded at /echo: messages go back as they came
    bool peer_ended : 1 = false;       // the peer's end of stream has arrived
    bool was_upgraded : 1 = false;
    bool is_ping_awaited = false;       // no sign of life has come since the last ping was queued
    bool is_ping_queued = false;        // its ping has not left yet
    bool history_pending : 1 = false;   // another shard was asked for a page of history
    bool close_frame_owed : 1 = false;  // it follows when nothing is in flight any more
    uint8_t deflate_window_bits = 0;    // of what we send; 0: compression was not negotiated
    uint16_t close_code = 0;            // sent or received; 0: none
    uint16_t ping_number = 0;           // of the last ping, which its pong repeats
    uint32_t joins_pending = 0;         // subscribe commands that wait for acknowledgements
    uint32_t joining_filters = 0;       // and how many filters they name
    uint32_t reassembly_bytes = 0;      // of received bytes, as they stand in the gauge
    uint32_t discarded_bytes = 0;       // received in closing and lingering
    uint32_t position_version = 0;      // of the heads that the client was told last (Heads)

    uint64_t last_life_ns;       // of the last received byte, or send that had waited for the peer
    uint64_t send_began_ns = 0;  // of the send in flight, or the last one
    // When the last ping left, or was queued while it has not; 0: its pong has come, or none was
    // sent.
    uint64_t ping_sent_ns = 0;
    uint64_t waits_since_ns = 0;  // since when the oldest bytes of the queue wait (Outbox); 0: none
    const uint64_t accepted_ns;

    OutboundQueue queue;
    codec::FrameDecoder decoder{codec::Role::server};
    std::string_view close_reason;  // static text
    std::unique_ptr<HttpProgress> http = std::make_unique<HttpProgress>();
    std::unique_ptr<Stash> stash;
    std::unique_ptr<Pace> pace;  // null unless a rate is limited and it has said something
    std::unique_ptr<DeflateContext> deflate;  // null unless a context was granted
    std::unique_ptr<CatchUp> catch_up;        // null unless a subscription is not live yet
    std::unique_ptr<CatchUp> stream_lag;      // null unless the live stream is read from history
    std::unique_ptr<Overflow> overflow;       // null unless it was slow of late

    void update_slow() {
        is_slow =
            is_doomed || stream_lag != nullptr || (overflow != nullptr && !overflow->is_idle());
    }
    bool wants_bytes() const {
        return state != ConnectionState::joining && state != ConnectionState::closed &&
               !peer_ended && pause == Pause::none;
    }
};
static_assert(sizeof(Connection) <= 248);  // with the slab's eight bytes four lines of the cache

}  // namespace broker
