#include "tools/bench/load_shard.h"

#include <algorithm>
#include <utility>

#include "codec/base64.h"
#include "codec/kernels.h"
#include "tools/clock.h"

namespace bench {
namespace {

// So that what is received is read between two lots of publishing.
constexpr uint32_t publishes_per_turn_max = 4'096;
// A publisher that the server does not read from gets no more to send than this.
constexpr size_t publisher_waiting_bytes_max = base::mib;

// Nobody wakes us when a connection is made: it is looked for so often.
constexpr uint64_t connecting_wait_ns = 100 * base::ns_per_us;
// Until something is free again that a connection needs.
constexpr uint64_t shortage_wait_ns = base::ns_per_ms;
constexpr uint64_t idle_wait_ns = 50 * base::ns_per_ms;

}  // namespace

uint32_t LoadShard::clients_count(const Layout& layout, uint32_t self, uint32_t shards_count) {
    const uint32_t all = layout.connections_count();
    return all / shards_count + (self < all % shards_count ? 1 : 0);
}

LoadShard::LoadShard(const Shared& shared, uint32_t self, io::Reactor& reactor)
    : plan_(shared.plan),
      layout_(shared.layout),
      dialect_(shared.dialect),
      url_(shared.url),
      board_(shared.board),
      self_(self),
      reactor_(reactor),
      counters_(board_.shards[self]),
      connector_(shared.target, shared.sources, self, board_.shards_count),
      prng_(shared.plan.seed + self) {
    // One key for all of the shard's connections: what it protects against are caches.
    std::string nonce;
    for (int byte = 0; byte < 16; ++byte) nonce += static_cast<char>(prng_.below(256));
    codec::append_base64(websocket_key_, nonce);
    for (uint32_t topic = 0; topic < layout_.topics_count(); ++topic) {
        topic_names_.push_back(layout_.topic_name(topic));
    }
    const uint32_t count = clients_count(layout_, self_, board_.shards_count);
    for (uint32_t index = 0; index < count; ++index) {
        const uint32_t connection = index * board_.shards_count + self_;
        const Role role = layout_.role_of(connection);
        Client& client = clients_.emplace_back(connection, role);
        if (role.publishes()) publishers_.push_back(index);
        if (role.subscribes && plan_.check) client.check = std::make_unique<SequenceCheck>();
        if (role.is_cut) client.cursor = std::make_unique<tools::Cursor>();
        to_connect_.push_back(index);
    }
}

LoadShard::~LoadShard() = default;

void LoadShard::run() {
    while (board_.phase.load(std::memory_order_relaxed) != Phase::end) turn();
    post();
}

void LoadShard::turn() {
    measure_begin_ns_ = board_.measure_begin_ns.load(std::memory_order_relaxed);
    measure_end_ns_ = board_.measure_end_ns.load(std::memory_order_relaxed);
    const uint64_t now_ns = reactor_.now_ns();
    for (const Connector::Outcome& outcome : connector_.collect()) on_connected(outcome);
    connect_more(now_ns);
    // On loopback they are connected by now. Only the turn's end would find them otherwise, which
    // may be a millisecond away, and would count as the server's.
    for (const Connector::Outcome& outcome : connector_.collect()) on_connected(outcome);
    if (board_.cut_at_ns.load(std::memory_order_relaxed) != 0 && !is_cut_done_) cut_all();
    if (board_.phase.load(std::memory_order_relaxed) == Phase::publish && !publishers_.empty()) {
        // Handling the last turn's events has taken time, which is not to make messages late.
        publish_due(tools::monotonic_ns());
    }
    flush();
    uint32_t received_count = 0;
    for (const io::Event& event : reactor_.turn(next_deadline_ns(reactor_.now_ns()))) {
        if (event.op == io::Op::recv && event.result > 0) ++received_count;
        on_event(event);
    }
    // No more than came home, or they would find none again; one, so that it goes on at all. In
    // rotation, or somebody would never be heard while messages keep coming.
    uint32_t rearm_count = std::max(received_count, 1U);
    while (!starved_.empty() && rearm_count-- > 0) {
        Client& client = clients_[starved_.front()];
        starved_.pop_front();
        const bool is_open =
            client.state != Client::State::closed && client.state != Client::State::closing;
        if (is_open && !client.is_receiving) arm_recv(client);
    }
    post();
}

uint64_t LoadShard::next_deadline_ns(uint64_t now_ns) const {
    if (connector_.connecting_count() > 0) return now_ns + connecting_wait_ns;
    if (!to_connect_.empty()) {
        const uint64_t due_ns = connect_due_ns();
        const uint64_t latest_ns = now_ns + shortage_wait_ns;
        return due_ns > now_ns ? std::min(due_ns, latest_ns) : latest_ns;
    }
    const bool is_publishing = board_.phase.load(std::memory_order_relaxed) == Phase::publish &&
                               !publishers_.empty() && plan_.is_open_loop();
    if (!is_publishing) return now_ns + idle_wait_ns;
    return std::min(scheduled_ns(published_count_), now_ns + idle_wait_ns);
}

// --- Publishing ---

void LoadShard::publish_due(uint64_t now_ns) {
    if (plan_.is_open_loop()) {
        publish_on_schedule(now_ns);
    } else {
        publish_by_window();
    }
}

// The shards share the rate by their publishers, and take turns with them.
uint64_t LoadShard::scheduled_ns(uint64_t number) const {
    const double mine = static_cast<double>(publishers_.size()) / layout_.publishers_count();
    const double shift = static_cast<double>(self_) / board_.shards_count;
    return board_.publish_begin_ns.load(std::memory_order_relaxed) +
           ns_of((static_cast<double>(number) + shift) / (plan_.rate * mine));
}

void LoadShard::publish_on_schedule(uint64_t now_ns) {
    for (uint32_t count = 0; count < publishes_per_turn_max; ++count) {
        const uint64_t due_ns = scheduled_ns(published_count_);
        if (due_ns > now_ns || !publish(published_count_, due_ns)) return;
        note_lateness(due_ns, now_ns);
    }
}

// As latency is: of what belongs to the time that is measured.
void LoadShard::note_lateness(uint64_t due_ns, uint64_t left_ns) {
    if (due_ns < measure_begin_ns_ || due_ns >= measure_end_ns_) return;
    result_.lateness_ns.record(left_ns > due_ns ? left_ns - due_ns : 0);
}

// What is on its way is counted in deliveries, over all shards: a message counts as arrived when as
// many deliveries have come as it has subscribers, whoever they were.
void LoadShard::publish_by_window() {
    const uint64_t delivered = board_.sum(&ShardCounters::delivered);
    const uint64_t room = plan_.window * layout_.deliveries_max();
    uint64_t composed_ns = 0;
    for (uint32_t count = 0; count < publishes_per_turn_max; ++count) {
        const uint64_t expected = board_.sum(&ShardCounters::expected);
        const uint32_t publisher_index = publishers_[published_count_ % publishers_.size()];
        const Turn next = layout_.turn_of(clients_[publisher_index].role.publisher,
                                          published_count_ / publishers_.size());
        // What a server repeats can be more than was ever expected.
        const uint64_t on_the_way = expected > delivered ? expected - delivered : 0;
        if (on_the_way + layout_.deliveries_of(next.topic) > room) return;
        if (composed_ns == 0) composed_ns = tools::monotonic_ns();
        if (!publish(published_count_, composed_ns)) return;
    }
}

// False when the publisher whose turn it is has too much to send already.
bool LoadShard::publish(uint64_t number, uint64_t time_ns) {
    Client& client = clients_[publishers_[number % publishers_.size()]];
    if (client.state != Client::State::live) return false;
    if (client.waiting.size() > publisher_waiting_bytes_max) return false;
    const Turn next = layout_.turn_of(client.role.publisher, number / publishers_.size());
    const Stamp stamp{.time_ns = time_ns,
                      .publisher = client.role.publisher,
                      .topic = next.topic,
                      .sequence = next.sequence};
    payload_.clear();
    append_payload(payload_, stamp, plan_.payload.size_of(stamp), plan_.seed);
    message_.clear();
    dialect_.append_publish(message_, topic_names_[next.topic], next.sequence, payload_);
    append_frame(client, dialect_.is_binary() ? codec::Opcode::binary : codec::Opcode::text,
                 message_);
    ++published_count_;
    counters_.published.add(1);
    counters_.expected.add(layout_.deliveries_of(next.topic));
    return true;
}

// --- What all connections need ---

void LoadShard::append_frame(Client& client, codec::Opcode opcode, std::string_view payload) {
    uint8_t key[4];
    const uint64_t random = prng_.next();
    for (uint32_t index = 0; index < 4; ++index) {
        key[index] = static_cast<uint8_t>(random >> (8 * index));
    }
    uint8_t header[codec::frame_header_bytes_max];
    const uint32_t header_bytes = codec::encode_masked_frame_header(
        {.opcode = opcode, .payload_bytes = payload.size()}, key, header);
    client.waiting.append(reinterpret_cast<const char*>(header), header_bytes);
    const size_t begin = client.waiting.size();
    client.waiting += payload;
    codec::kernels().unmask(reinterpret_cast<uint8_t*>(client.waiting.data()) + begin,
                            payload.size(), codec::masking_key_of(key, 0));
    mark_dirty(client);
}

void LoadShard::mark_dirty(Client& client) {
    if (client.is_dirty) return;
    client.is_dirty = true;
    dirty_.push_back(index_of(client));
}

void LoadShard::arm_recv(Client& client) {
    reactor_.recv_start(client.socket, slot_of(client));
    client.is_receiving = true;
}

void LoadShard::flush() {
    for (const uint32_t index : dirty_) {
        Client& client = clients_[index];
        client.is_dirty = false;
        const bool has_socket = client.state != Client::State::closed &&
                                client.state != Client::State::connecting &&
                                client.state != Client::State::closing;
        if (client.is_sending || client.waiting.empty() || !has_socket) continue;
        std::swap(client.sending, client.waiting);
        client.waiting.clear();
        client.sent_bytes = 0;
        client.is_sending = true;
        const iovec part{.iov_base = client.sending.data(), .iov_len = client.sending.size()};
        reactor_.send(client.socket, slot_of(client), {&part, 1});
    }
    dirty_.clear();
}

// Tells the coordinator and, where they wait for it, the shards that publish.
void LoadShard::post() {
    if (received_bytes_now_ == 0) return;
    counters_.received_bytes.add(std::exchange(received_bytes_now_, 0));
    if (latency_max_now_ns_ > counters_.latency_max_ns.value()) {
        counters_.latency_max_ns.set(latency_max_now_ns_);
    }
    latency_max_now_ns_ = 0;
    const uint64_t delivered = std::exchange(delivered_now_, 0);
    if (delivered == 0) return;
    counters_.delivered.add(delivered);
    if (plan_.is_open_loop() || layout_.publishers_count() == 0) return;
    for (uint32_t shard = 0; shard < board_.shards_count; ++shard) {
        if (shard != self_ && shard < layout_.publishers_count()) reactor_.wake(shard);
    }
}

}  // namespace bench
