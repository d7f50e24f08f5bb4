// SubscriptionState: how far the one subscription of `fanfare sub` has come, and with what it is to
// be asked for again after a lost connection: the client's bookkeeping of PROTOCOL.md, "Coming
// back".
//
// Owner: `fanfare sub` holds one by value. Thread: one. Pure.
// Invariants:
//  1. While can_resume(), a subscription that starts after cursor() misses nothing but what the
//     broker has told to be missing, and repeats nothing.
//  2. Before `live` only announced messages move the cursor, for each partition's come in order;
//     after it every message with a position does, and so does `position`.
//  3. A start with the last messages that was cut before its `live` is asked for again as it was,
//     since nothing yet tells what lies between the old messages. What it has shown by then is not
//     shown again: is_new() says so.
#pragma once

#include <cstdint>
#include <string>

#include "codec/position.h"
#include "tools/cursor.h"

namespace tools {

class SubscriptionState {
  public:
    // Starts after `cursor` unless that is none, else with the last `last_count` messages of each
    // topic, or for 0 with what comes from now on.
    SubscriptionState(uint32_t last_count, Cursor cursor);

    // Appends what a subscribe command says about its start: nothing, or `,"start":…`.
    void append_start(std::string& command) const;
    // Whether the next subscribe command, or the one that is under way, starts after cursor().
    bool can_resume() const { return last_count_ == 0 && !cursor_.is_none(); }
    bool starts_now() const { return last_count_ == 0 && cursor_.is_none(); }
    const Cursor& cursor() const { return cursor_; }
    // Between `live` (or `subscribed` without a start) and the end of the connection.
    bool is_live() const { return is_live_; }

    // What the broker says, in its order.
    void note_subscribed(const Cursor& cursor);
    void note_replay(uint64_t messages_count) { announced_count_ = messages_count; }
    // Answers whether the message was announced, so belongs to the replay, and whether it is new.
    struct Arrival {
        bool is_replayed;
        bool is_new;
    };
    [[nodiscard]] Arrival note_message(const codec::Position& position);
    void note_live(const Cursor& cursor);
    void note_position(const Cursor& cursor);
    // The connection has ended, wherever it stood.
    void note_end();

  private:
    uint32_t last_count_;  // not 0: the next start asks for so many
    Cursor cursor_;        // with last_count_, only what of the replay was shown
    bool is_live_ = false;
    uint64_t announced_count_ = 0;  // so many of the next messages belong to the replay
};

}  // namespace tools
