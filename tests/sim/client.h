// Client: a simulated subscriber and publisher of fanfare.v1, with habits from model citizen to
// lout.
//
// Owner: World. Thread: the World's.
//
//   state      what it is                    leads to
//   absent     no connection                 handshake (it connects when it thinks of it)
//   handshake  the request is sent           open, or closing when it was refused
//   open       upgraded                      closing, or absent when it resets or vanishes
//   closing    the Close frame was seen      absent with the end of the stream
//
// The connection itself is in client.cc, what the broker says in client_answers.cc, what the client
// says in client_commands.cc. It knows only what the wire told it; a client that comes back goes on
// with the bookmarks of the connection before (Subscriber).
//
// Every answer is matched with a command that was sent and waits; every message is told to the
// oracle.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/payloads.h"
#include "tests/sim/peer.h"
#include "tests/sim/websocket.h"

namespace sim {

struct Habits {
    uint64_t read_bytes_max = UINT64_MAX;  // per step
    uint64_t write_bytes_max = UINT64_MAX;
    uint64_t read_pause_ns_max = 0;     // between reads
    uint64_t stall_ns_max = 0;          // now and then it reads nothing for so long
    uint64_t think_ns_max = 0;          // between actions
    uint32_t actions_max = 0;           // per run
    uint32_t commands_waiting_max = 8;  // unanswered ones
    // The weights by which it chooses what to do.
    uint32_t publish = 10;
    uint32_t subscribe = 4;
    uint32_t unsubscribe = 1;
    uint32_t history = 1;
    uint32_t ping = 1;
    uint32_t leave = 0;
    uint32_t reset = 0;
    uint32_t vanish = 0;
    bool comes_back = false;  // always with its bookmarks; others now and then
    bool answers_pings = true;
    bool heeds_refusals = true;  // comes again when it was told to
    bool may_be_slow = false;
    bool may_be_silent = false;
};

Habits draw_habits(PeerKind kind, base::Prng& prng);

class Client final : public Peer {
  public:
    Client(Surroundings& surroundings, std::string name, uint64_t seed, const Habits& habits);

    void step() override;
    uint64_t ready_at_ns() const override;
    void heal() override;
    bool is_settled() const override;
    void say_last_words() override;
    std::string describe() const override;

  private:
    enum class State : uint8_t { absent, handshake, open, closing };
    enum class Kind : uint8_t { subscribe, unsubscribe, publish, history, ping };
    struct Waiting {
        Kind kind = Kind::ping;
        std::vector<std::string> filters = {};
        Subscriber::Id subscription = 0;
        MessageId message = no_message;
        std::string topic = {};
        std::string key = {};
        HistoryRequest history = {};
        Rates::Id ask = 0;
        uint32_t series = 0;
    };
    // A publish with a key, which can be repeated.
    struct Keyed {
        std::string topic;
        std::string key;
    };
    struct Payload {
        codec::PayloadKind kind = codec::PayloadKind::json;
        std::string bytes;
    };
    using Members = std::vector<JsonMember>;

    bool may_begin() const;
    void begin();
    void read_all();
    void read_handshake();
    void read_frames();
    void on_said(const Said& said);
    void on_text(std::string text);
    void on_close(uint16_t code);
    void on_over();
    void end_session(uint16_t code);

    // A frame's text after the planted mistakes.
    void on_object(const std::string& text);
    void on_goodbye(const Members& members);
    void on_welcome(const Members& members);
    void on_answer(std::string_view op, const Members& members);
    void on_error(const Waiting& waiting, const Members& members);
    void on_rate_limited(const Waiting& waiting, const Members& members);
    void on_unnamed_error(const Members& members);
    uint64_t number_of(const Members& members, std::string_view key) const;
    void on_gap(const Members& members);
    void on_history(const Waiting& waiting, const Members& members);
    std::string text_of(const Members& members, std::string_view key) const;
    bool flag_of(const Members& members, std::string_view key) const;
    Payload payload_of(const Members& members) const;
    std::optional<Place> place_of(const Members& members) const;
    ToldCursor cursor_of(const Members& members) const;
    std::optional<Recovery> recovery_of(const Members& members) const;
    Subscriber::Id subscription_of(const Members& members) const;
    [[noreturn]] void complain(const std::string& text) const;

    bool may_act() const;
    void act();
    void act_once();
    std::string next_id();
    std::string command_publish();
    std::string command_publish(const std::string& topic, const std::string& key);
    std::string command_subscribe();
    std::string command_subscribe(const std::vector<std::string>& filters, Start start);
    Start draw_start();
    // Subscribes again, with the bookmarks of the connection before.
    void come_back();
    // Now and then somebody comes back with another cursor than it was given.
    void disturb(Start& start);
    std::string command_history();
    std::string command_history(const std::string& topic, const Start& start);
    std::string command_unsubscribe();
    std::string command_ping();
    // Notes that it is asked, in the order of sending; answers what to wait with.
    void expect(const std::string& id, Waiting waiting);
    void send_control(codec::Opcode opcode, std::string_view payload);
    void send_commands(std::vector<std::string> commands);
    void leave();

    Habits habits_;
    State state_ = State::absent;
    std::string incoming_;
    WebSocketSide side_;
    SessionId session_ = 0;
    uint32_t sessions_count_ = 0;
    bool is_welcomed_ = false;
    bool is_close_sent_ = false;
    bool is_healed_ = false;
    uint32_t last_words_ = 0;
    uint32_t actions_count_ = 0;
    uint32_t ids_count_ = 0;
    uint64_t next_action_ns_ = 0;
    uint64_t next_read_ns_ = 0;
    uint64_t next_write_ns_ = base::never_ns;
    std::map<std::string, Waiting, std::less<>> waiting_;               // by the id's token
    std::map<std::string, Subscriber::Id, std::less<>> subscriptions_;  // the same, once answered
    bool has_refusals_ = false;  // of subscriptions, on this connection
    std::string goodbye_code_;
    uint64_t goodbye_retry_ms_ = 0;
    uint64_t come_back_at_ns_ = 0;  // not before
    uint32_t series_ = 0;           // of its publishes; 0: none
    uint64_t announced_left_ = 0;
    std::vector<Bookmark> bookmarks_;  // of the connection before
    ToldCursor older_;                 // and the cursor of its end
    std::vector<Keyed> unsure_;        // and what it published without an answer
    std::vector<Keyed> keyed_;         // by it ever
    uint32_t keys_count_ = 0;
    uint32_t returns_left_ = 0;  // after the faults
    std::string swapped_;        // a planted mistake holds this frame back
    std::string trace_text_;
};

}  // namespace sim
