// Outbox: everything that a shard sends goes through here: encoding into chunks, queueing, and one
// send per connection and turn.
//
// Owner: a shard. Thread: its shard's.
// Invariants:
//  1. A frame is encoded and appended once, however many queues refer to it.
//  2. A connection stands in each of the two dirty lists at most once, and whoever has bytes to
//     send and no send in flight stands in one of them.
//  3. flush() starts at most sends_per_turn_max sends, first of those that were queued for few,
//     then of those for many, each in the order in which connections became dirty: so a huge topic
//     does not delay a small room for longer than a turn, and a part of every turn is left to it.
//  4. A message is queued up to the soft limit only; what becomes of it above is decided by others
//     (SlowConsumers), who may queue it up to the hard limit.
//  5. waits_since_ns of a connection is when the oldest bytes of its queue were queued, or, when
//     that was while a send was in flight, when that send began: at most that much too early. It
//     costs a store per send, and nothing per message.
//  6. Passing the hard limit does not close at once (the caller may be in the middle of a fan-out):
//     the connection is doomed, gets nothing more, and the shard closes it in the same turn.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "broker/chunk.h"
#include "broker/compression.h"
#include "broker/connection.h"
#include "broker/metrics.h"
#include "broker/settings.h"
#include "broker/slot_fifo.h"
#include "codec/frame.h"
#include "io/base/slab.h"
#include "io/reactor.h"

namespace broker {

// One message on its way to many queues, each of its forms encoded when the first queue needs it.
struct OutboundMessage {
    std::string_view json;
    Range plain;
    Range compressed;
    Range plain_alone;  // in chunks of their own, for queues where they will wait for long
    Range compressed_alone;
    bool compression_was_tried = false;
};

class Outbox {
  public:
    Outbox(io::Reactor& reactor, base::Slab<Connection>& connections, Compression& compression,
           ShardMetrics& metrics, const Settings& settings);
    ~Outbox();

    // One message for many subscribers, by the index of their slots: as a text frame, or as a
    // compressed one for those who negotiated it. Those for whom there is no room are appended to
    // `slow`. The message is to be released in the end.
    void fan_out(OutboundMessage& message, std::span<const uint32_t> subscribers,
                 std::vector<uint32_t>& slow);
    // The same for one subscriber, in steps. A full queue is one above the soft limit; an empty one
    // takes any message, or one larger than the limit would reach nobody.
    bool has_room(const Connection& connection, OutboundMessage& message);
    void push(base::Slot slot, Connection& connection, OutboundMessage& message);
    void push_or_doom(base::Slot slot, Connection& connection, OutboundMessage& message);
    // The frame in a chunk of its own, which the message holds.
    const Range& frame_alone(const Connection& connection, OutboundMessage& message);
    void push_frame(base::Slot slot, Connection& connection, const Range& frame);
    void release(OutboundMessage& message);
    void doom(base::Slot slot, Connection& connection);

    // One text frame in the ordered stream of one connection.
    void send_ordered(base::Slot slot, std::string_view json);
    // One frame that may overtake the stream.
    void send_control(base::Slot slot, codec::Opcode opcode, std::string_view payload);
    // The same for frames that are stored, and how soon they leave is watched (OutboundQueue).
    // False: they would pass the hard limit.
    bool send_control_watched(base::Slot slot, const Range& frames);
    // A text frame that may overtake the stream, whatever the limits say: a goodbye, and the answer
    // to what was taken over while the client had room for it.
    void send_control_unlimited(base::Slot slot, std::string_view json);
    // One frame in the ordered stream, whatever the limits say: a Close frame, which is the last
    // word, and what is echoed, which pauses its own source.
    void send_unlimited(base::Slot slot, codec::Opcode opcode, std::string_view payload);
    // The same for an echoed message, compressed when that was negotiated.
    void send_echo(base::Slot slot, codec::Opcode opcode, std::string_view payload);
    // An announcement and what it announces, one behind the other in the ordered stream. The caller
    // has looked for room.
    void send_announced(base::Slot slot, std::string_view announcement,
                        std::span<const Range> frames);
    void send_announced_text(base::Slot slot, std::string_view announcement, std::string_view json);
    // The same without one.
    void send_stored(base::Slot slot, std::span<const Range> frames);
    // Bytes of an HTTP response.
    void send_raw(base::Slot slot, std::string_view bytes);

    // Frames that are kept for later queues, with one reference for the caller.
    [[nodiscard]] Range store(std::string_view frames);
    void release(const Range& range) { chunks_.release(range); }
    // Appends a text as a compressed frame, if it is worth it; else false, and nothing is appended.
    [[nodiscard]] bool append_compressed_text(std::string& frames, std::string_view json);

    // The result of a send (bytes or -errno, which sends nothing).
    void sent(base::Slot slot, Connection& connection, int32_t result);
    // Has what is queued sent, after a send that took nothing.
    void send_again(base::Slot slot);
    // Drops what is queued, down to the frame that has begun to leave, or all of it. Nothing may be
    // in flight.
    void drop_to_boundary(Connection& connection);
    void drop_all(Connection& connection);

    uint64_t newest_chunk_number() const { return chunks_.newest_number(); }
    // Gives back what is kept for later frames.
    void drop_spare_memory() { chunks_.drop_spares(); }

    void flush();
    // What waits in the queues of all connections.
    uint64_t outbound_bytes() const { return outbound_bytes_; }
    bool has_dirty() const { return !prompt_.is_empty() || !bulk_.is_empty(); }
    // The connections that passed the hard limit since the last call.
    [[nodiscard]] std::vector<base::Slot> take_doomed();

  private:
    // Few, because what arrives while a turn sends is queued only in the next one: then a message
    // waits for so many sends, and who is still in line gets it in the same send as what came
    // before. With a thousand, sixteen messages on the way to a thousand subscribers left in twice
    // as many sends.
    static constexpr uint32_t sends_per_turn_max = 64;
    // So many of a turn are left to those that wait behind big fan-outs.
    static constexpr uint32_t bulk_sends_per_turn_min = 16;
    // A message for more subscribers is a big fan-out.
    static constexpr size_t prompt_subscribers_max = 256;

    enum class Urgency : uint8_t { prompt, bulk };

    [[nodiscard]] Range append_frame(codec::Opcode opcode, std::string_view payload);
    bool wants_compressed(const Connection& connection, const OutboundMessage& message) const;
    const Range& frame_of(const Connection& connection, OutboundMessage& message);
    // None (a null chunk) when the message is not worth it.
    [[nodiscard]] Range append_compressed(std::string_view json);
    [[nodiscard]] Range append_compressed_frame(codec::Opcode opcode,
                                                std::span<const uint8_t> payload);
    // False when the range would pass the hard limit; the connection is doomed then.
    [[nodiscard]] bool admit(base::Slot slot, Connection& connection, const Range& range);
    // After a range was pushed: accounts for it, and has it sent.
    void pushed(base::Slot slot, Connection& connection, const Range& range,
                Urgency urgency = Urgency::prompt);
    void mark_dirty(base::Slot slot, Connection& connection);
    // Sends what is queued, if that can be done now.
    bool send(base::Slot slot, Connection& connection);
    void account(Connection& connection, uint32_t before_bytes);

    io::Reactor& reactor_;
    base::Slab<Connection>& connections_;
    Compression& compression_;
    ShardMetrics& metrics_;
    const Settings& settings_;
    ChunkPool chunks_;
    // A connection may stand in both.
    SlotFifo prompt_;
    SlotFifo bulk_;
    std::vector<base::Slot> doomed_;
    uint64_t outbound_bytes_ = 0;
};

}  // namespace broker
