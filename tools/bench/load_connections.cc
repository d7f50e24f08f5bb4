// LoadShard's connections: from closed to live, and back.

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tools/bench/load_shard.h"
#include "tools/clock.h"
#include "tools/handshake.h"

namespace bench {
namespace {

std::string path_for(std::string_view path, std::string_view topic) {
    std::string flat(topic);
    std::replace(flat.begin(), flat.end(), '/', '-');
    return filled_in(path, flat, "", "");
}

}  // namespace

// When the next connection is to be started, by the rate; 0: at once.
uint64_t LoadShard::connect_due_ns() const {
    const double rate = is_churn_on_schedule() ? plan_.rate : plan_.connect_rate;
    if (rate <= 0 || connects_begin_ns_ == 0) return 0;
    const double mine = rate / board_.shards_count;
    return connects_begin_ns_ + ns_of(static_cast<double>(connects_count_) / mine);
}

void LoadShard::connect_more(uint64_t now_ns) {
    if (to_connect_.empty()) return;
    if (connects_begin_ns_ == 0) connects_begin_ns_ = now_ns;
    while (!to_connect_.empty() && handshakes_count_ < Connector::connecting_max &&
           !connector_.is_full()) {
        const uint64_t due_ns = connect_due_ns();
        if (due_ns > now_ns) return;
        const uint32_t index = to_connect_.back();
        Client& client = clients_[index];
        client.began_ns = tools::monotonic_ns();
        const int error = connector_.start(index);
        // Nothing free at this moment: ports, descriptors, or the backlog of a Unix socket.
        if (error == EADDRNOTAVAIL || error == EAGAIN || error == EMFILE) {
            board_.connect_shortage.store(error, std::memory_order_relaxed);
            return;
        }
        if (is_churn_on_schedule()) {
            // Counted from when it was due, as messages are: while all clients wait for a server
            // that has stalled, nobody is there to begin in time.
            note_lateness(due_ns, client.began_ns);
            client.began_ns = due_ns;
        }
        to_connect_.pop_back();
        ++connects_count_;
        if (error != 0) {
            board_.fail("cannot connect to " + url_.place() + ": " + std::strerror(error));
            return;
        }
        client.state = Client::State::connecting;
        ++handshakes_count_;
    }
}

void LoadShard::on_connected(const Connector::Outcome& outcome) {
    Client& client = clients_[outcome.client];
    if (outcome.error != 0) {
        client.state = Client::State::closed;
        --handshakes_count_;
        counters_.refused.add(1);
        const bool is_storm =
            is_churn_running() || board_.cut_at_ns.load(std::memory_order_relaxed) != 0;
        if (is_storm) {
            to_connect_.push_back(outcome.client);
            return;
        }
        const bool is_absent = outcome.error == ECONNREFUSED;
        board_.fail("cannot connect to " + url_.place() + ": " + std::strerror(outcome.error) +
                    (is_absent ? ". Is the broker running? Start it with 'fanfare serve'" : ""));
        return;
    }
    client.socket = reactor_.adopt(outcome.fd);
    CHECK(!client.socket.is_none());  // the table has room for all of the shard's clients
    client.state = Client::State::upgrading;
    tools::Url url = url_;
    const std::string& path = client.role.subscribes ? plan_.subscribe_path : plan_.publish_path;
    if (!path.empty()) {
        const Turn first =
            client.role.publishes() ? layout_.turn_of(client.role.publisher, 0) : Turn{};
        url.target = path_for(path, client.role.subscribes ? layout_.filter_of(client.connection)
                                                           : topic_names_[first.topic]);
    }
    tools::append_handshake_request(client.waiting, url, websocket_key_, dialect_.subprotocol());
    mark_dirty(client);
    arm_recv(client);
}

void LoadShard::on_event(const io::Event& event) {
    Client& client = clients_[event.slot.index];
    switch (event.op) {
        case io::Op::recv: on_recv(client, event); return;
        case io::Op::send: on_sent(client, event); return;
        case io::Op::close: on_closed(client); return;
        case io::Op::accept: return;  // there is no listener
    }
}

void LoadShard::on_recv(Client& client, const io::Event& event) {
    if (!event.more) client.is_receiving = false;
    if (event.result > 0) {
        received_bytes_now_ += event.bytes.size();
        if (client.state == Client::State::upgrading) {
            on_upgrade_bytes(client, event.bytes);
        } else {
            on_frame_bytes(client, event.bytes);
        }
        if (!event.more && client.state != Client::State::closing) arm_recv(client);
    } else if (event.result == -ENOBUFS) {
        if (!event.more) starved_.push_back(event.slot.index);
    } else if (!event.more && client.state != Client::State::closing) {
        const std::string why =
            event.result == 0 ? "the server ended the connection" : std::strerror(-event.result);
        end(client, why);
    }
    close_if_idle(client);
}

void LoadShard::on_sent(Client& client, const io::Event& event) {
    client.is_sending = false;
    if (event.result < 0) {
        if (client.state != Client::State::closing) end(client, std::strerror(-event.result));
        close_if_idle(client);
        return;
    }
    client.sent_bytes += static_cast<uint32_t>(event.result);
    if (client.sent_bytes < client.sending.size() && client.state != Client::State::closing) {
        client.is_sending = true;
        const iovec part{.iov_base = client.sending.data() + client.sent_bytes,
                         .iov_len = client.sending.size() - client.sent_bytes};
        reactor_.send(client.socket, slot_of(client), {&part, 1});
        return;
    }
    if (!client.waiting.empty()) mark_dirty(client);
    close_if_idle(client);
}

void LoadShard::on_upgrade_bytes(Client& client, std::span<uint8_t> bytes) {
    client.unread.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const tools::HandshakeAnswer answer =
        tools::read_handshake_answer(client.unread, websocket_key_, dialect_.subprotocol());
    switch (answer.kind) {
        case tools::HandshakeAnswer::Kind::need_more: return;
        case tools::HandshakeAnswer::Kind::refused:
            end(client, "the upgrade was refused with status " + std::to_string(answer.status) +
                            (answer.status == 503 ? ": it is stopping, or full; Fanfare takes more "
                                                    "with --connections-max"
                                                  : ""));
            return;
        case tools::HandshakeAnswer::Kind::not_a_websocket:
            end(client, std::string(answer.problem));
            return;
        case tools::HandshakeAnswer::Kind::accepted: break;
    }
    open(client);
    // Frames that came with the answer need readable bytes behind them, as the ring's buffers have.
    std::string first_frames = client.unread.substr(answer.head_bytes);
    client.unread.clear();
    const size_t frame_bytes = first_frames.size();
    first_frames.append(base::readable_padding_bytes, '\0');
    on_frame_bytes(client, {reinterpret_cast<uint8_t*>(first_frames.data()), frame_bytes});
}

void LoadShard::open(Client& client) {
    client.state = Client::State::opening;
    client.is_resuming = client.cursor != nullptr && !client.cursor->is_none() && client.was_live;
    client.answers_left = dialect_.answers_count(client.role, client.is_resuming);
    message_.clear();
    const std::string filter =
        client.role.subscribes ? layout_.filter_of(client.connection) : std::string();
    dialect_.append_opening(message_, client.connection, client.role, filter,
                            client.is_resuming ? client.cursor.get() : nullptr);
    if (!message_.empty()) {
        append_frame(client, dialect_.is_binary() ? codec::Opcode::binary : codec::Opcode::text,
                     message_);
    }
    if (client.answers_left == 0) become_live(client);
}

void LoadShard::on_answered(Client& client, std::string_view object) {
    if (!object.empty()) note_cursor(client, object);
    if (client.state != Client::State::opening) return;
    if (--client.answers_left == 0) become_live(client);
}

// The cursor moves by what the server tells, as PROTOCOL.md says for one subscription.
void LoadShard::note_cursor(Client& client, std::string_view object) {
    if (client.cursor == nullptr) return;
    padded_.assign(object);
    padded_.append(base::readable_padding_bytes, ' ');
    if (!reader_.read(std::string_view(padded_).substr(0, object.size()), object_)) return;
    client.cursor->merge(object_.cursor);
    if (object_.op != tools::BrokerMessage::Op::subscribed) return;
    if (!object_.is_recoverable && !client.was_live) ++result_.not_recoverable;
    if (object_.recovered == false) ++result_.not_recovered;
}

void LoadShard::become_live(Client& client) {
    client.state = Client::State::live;
    --handshakes_count_;
    const uint64_t now_ns = reactor_.now_ns();
    const uint64_t cut_at_ns = board_.cut_at_ns.load(std::memory_order_relaxed);
    if (client.was_live && cut_at_ns != 0) {
        result_.resume_ns.record(now_ns - cut_at_ns);
    } else {
        // The turn may have begun before the connection.
        result_.connect_ns.record(now_ns > client.began_ns ? now_ns - client.began_ns : 0);
    }
    result_.all_live_ns = now_ns;
    client.was_live = true;
    counters_.live.add(1);
    counters_.cycles.add(1);
    if (plan_.scenario == Scenario::churn) leave(client);
}

// In good order, so that the server ends the TCP connection and keeps its port waiting, not we.
void LoadShard::leave(Client& client) {
    client.is_leaving = true;
    append_frame(client, codec::Opcode::close, std::string_view("\x03\xe8", 2));
}

// A connection is over, or shall be: by the server, by an error, or because it is cut.
void LoadShard::end(Client& client, const std::string& why) {
    using State = Client::State;
    const bool was_live = client.state == State::live;
    const bool is_cut = client.role.is_cut && is_cut_done_;
    if (was_live) counters_.live.subtract(1);
    if (client.state == State::upgrading || client.state == State::opening) --handshakes_count_;
    client.state = State::closing;
    if (client.is_receiving) reactor_.recv_stop(client.socket, slot_of(client));
    if (client.is_sending) reactor_.shutdown(client.socket, io::Direction::both);
    if (client.is_leaving || why.empty()) return;
    (was_live ? counters_.lost : counters_.refused).add(1);
    const bool is_tolerated = is_cut || is_churn_running() ||
                              (was_live && plan_.scenario == Scenario::idle) ||
                              (was_live && plan_.scenario == Scenario::listen);
    if (!is_tolerated) {
        board_.fail((client.role.subscribes ? "a subscriber's connection was lost: "
                                            : "a publisher's connection was lost: ") +
                    why);
    }
}

void LoadShard::close_if_idle(Client& client) {
    if (client.state != Client::State::closing || client.is_receiving || client.is_sending) return;
    if (client.socket.is_none()) return;  // asked for already
    reactor_.close(client.socket, slot_of(client));
    client.socket = io::Socket{};
}

void LoadShard::on_closed(Client& client) {
    client.state = Client::State::closed;
    client.is_leaving = false;
    client.is_mid_frame = false;
    client.sending.clear();
    client.waiting.clear();
    client.unread.clear();
    client.decoder = codec::FrameDecoder(codec::Role::client);
    const bool comes_back =
        plan_.scenario == Scenario::churn || (client.role.is_cut && is_cut_done_);
    const bool goes_on = board_.phase.load(std::memory_order_relaxed) != Phase::drain ||
                         plan_.scenario == Scenario::reconnect;
    if (comes_back && goes_on) to_connect_.push_back(index_of(client));
}

// All at once, as when a switch fails: no word of goodbye.
void LoadShard::cut_all() {
    is_cut_done_ = true;
    // The rate is that of the storm, too: what passed since the first connections is no credit.
    connects_begin_ns_ = 0;
    connects_count_ = 0;
    for (Client& client : clients_) {
        if (!client.role.is_cut || client.state != Client::State::live) continue;
        end(client, "");
        close_if_idle(client);
    }
}

}  // namespace bench
