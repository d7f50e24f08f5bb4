// Hostile: a simulated peer that breaks the rules on purpose and checks how it is told so.
//
// Owner: World. Thread: the World's.
// Invariant: every offence has its expected end: a status, a close code, or an error and a
// connection that lives on. Another end is a violation of P7 unless the line broke or the broker
// stops. Whoever reads nothing for as long as the broker waits for the end of a closing handshake
// may miss it; it must have been sent, or have found no room.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/payloads.h"
#include "tests/sim/peer.h"
#include "tests/sim/rates.h"
#include "tests/sim/websocket.h"

namespace sim {

// What an offence is answered with.
struct Offence {
    std::string name;
    std::string bytes;              // after the upgrade, or instead of it
    bool is_http = false;           // instead of the upgrade
    uint32_t status_expected = 0;   // of an HTTP offence
    uint16_t close_expected = 0;    // of a WebSocket's; 0: the connection lives on
    std::string error_expected;     // the code of the error that comes back
    uint32_t answers_expected = 1;  // how many errors or pongs, when the connection lives on
    // Pings in a row, whose ids count from 0; all are answered unless the connection is closed.
    uint32_t pings_count = 0;
};

class Hostile final : public Peer {
  public:
    Hostile(Surroundings& surroundings, std::string name, uint64_t seed);

    void step() override;
    uint64_t ready_at_ns() const override;
    void heal() override;
    bool is_settled() const override { return !wire_.is_open(); }
    std::string describe() const override;

  private:
    enum class State : uint8_t { absent, handshake, waiting, leaving, babbling };

    void begin();
    void read_all();
    void read_handshake();
    void read_status();
    void read_frames();
    void on_text(const std::string& text);
    void on_ping_answered(const std::vector<JsonMember>& members);
    void on_close(uint16_t code);
    void babble();
    void on_over();
    void look_whether_given_up();
    bool was_answered_in_vain();
    bool is_closing_asked() const;  // by an operator
    void go();
    [[noreturn]] void complain(const std::string& text) const;

    const uint32_t visits_max_;
    const uint64_t think_ns_max_;
    State state_ = State::absent;
    uint32_t visits_count_ = 0;
    uint64_t next_action_ns_;
    uint64_t next_read_ns_ = 0;
    uint64_t next_babble_ns_ = 0;
    uint64_t read_at_ns_ = 0;
    // The broker has given it up after it had not read for close-timeout.
    bool was_deaf_ = false;
    uint32_t offers_count_ = 0;  // of new settings, when it began
    bool is_healed_ = false;
    bool is_answered_ = false;
    uint32_t answers_count_ = 0;
    std::string incoming_;
    WebSocketSide side_;
    Offence offence_;
    std::optional<Rates> rates_;  // of this connection
    std::string goodbye_code_;
};

// One of the known offences against the limits of the scenario.
Offence draw_offence(base::Prng& prng, const Limits& limits);

}  // namespace sim
