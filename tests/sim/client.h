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
// Every answer is matched with a command that was sent and waits; every message is told to the
// oracle.
#pragma once

#include <cstdint>
#include <map>
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
    uint64_t think_ns_max = 0;          // between actions
    uint32_t actions_max = 0;           // per run
    uint32_t commands_waiting_max = 8;  // unanswered ones
    // The weights by which it chooses what to do.
    uint32_t publish = 10;
    uint32_t subscribe = 4;
    uint32_t unsubscribe = 1;
    uint32_t ping = 1;
    uint32_t leave = 0;
    uint32_t reset = 0;
    uint32_t vanish = 0;
    bool answers_pings = true;
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
    enum class Kind : uint8_t { subscribe, unsubscribe, publish, ping };
    struct Waiting {
        Kind kind;
        std::vector<std::string> filters;
        MessageId message = no_message;
    };
    using Members = std::vector<JsonMember>;

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
    void on_message(const Members& members);
    void on_answer(std::string_view op, const Members& members);
    void on_error(const Waiting& waiting, const Members& members);
    void on_gap(const Members& members);
    [[noreturn]] void complain(const std::string& text) const;

    bool may_act() const;
    void act();
    void act_once();
    std::string next_id();
    std::string command_publish();
    std::string command_subscribe();
    std::string command_unsubscribe();
    std::string command_ping();
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
    std::map<std::string, Waiting, std::less<>> waiting_;  // by the id's token
    std::string swapped_;  // a planted mistake holds this frame back
    std::string trace_text_;
};

}  // namespace sim
