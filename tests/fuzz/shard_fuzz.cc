// The whole shard, behind the scripted reactor: the input is a list of what peers do, byte by byte,
// and of what the kernel does to them. The shard must never fail a CHECK, read beyond what it was
// lent, turn without end, or keep anything when it stops; and what it sends must be what clients
// rely on (sent_check.h).
//
// An input is a sequence of operations, each one byte (which operation, which peer) and what it
// needs.

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/units.h"
#include "tests/broker/sent_check.h"
#include "tests/broker/shard_world.h"

namespace {

using broker::testing::client_frame;
using broker::testing::FakeSocket;
using broker::testing::Peer;
using broker::testing::Sent;
using broker::testing::World;
using broker::testing::WorldOptions;

constexpr uint32_t operations_max = 64;
constexpr size_t peers_max = 4;

// Takes choices from the front of the input; zeros when it is used up.
class Input {
  public:
    Input(const uint8_t* data, size_t size) : bytes_(reinterpret_cast<const char*>(data), size) {}

    bool is_empty() const { return bytes_.empty(); }
    uint8_t byte() {
        if (bytes_.empty()) return 0;
        const uint8_t value = static_cast<uint8_t>(bytes_.front());
        bytes_.remove_prefix(1);
        return value;
    }
    // As many bytes as the next one says.
    std::string_view bytes() {
        const std::string_view taken = bytes_.substr(0, byte());
        bytes_.remove_prefix(std::min(bytes_.size(), taken.size()));
        return taken;
    }

  private:
    std::string_view bytes_;
};

WorldOptions draw_options(Input& input) {
    WorldOptions options;
    const uint8_t choice = input.byte();
    options.shards_count = 1 + (choice & 1);
    broker::Settings& settings = options.settings;
    settings.lane_bytes = 8 * base::kib;
    settings.message_bytes_max = (choice & 2) != 0 ? 512 : 4'096;
    settings.outbound_soft_bytes = (choice & 4) != 0 ? 400 : 16 * base::kib;
    settings.outbound_hard_bytes = 2 * settings.outbound_soft_bytes + 1'024;
    settings.subscriptions_max = (choice & 8) != 0 ? 2 : 64;
    settings.compression_threshold_bytes = (choice & 16) != 0 ? 0 : 256;
    settings.connections_max = (choice & 32) != 0 ? 2 : 16;
    if ((choice & 64) != 0) {
        // Few partitions, so that topics meet in one; and little history, so that it is evicted.
        settings.partitions = 3;
        settings.topic_rules = {
            {.match = "a/+", .history_messages_max = 2},
            {.match = "b", .history_messages_max = 0},
            {.match = "#", .history_messages_max = 6, .history_ttl_ns = base::ns_per_s}};
        settings.history_memory_bytes = (choice & 128) != 0 ? 1'024 : base::mib;
        settings.idempotency_window_ns = base::ns_per_s;
        settings.idempotency_keys_max = 2;
    }
    settings.echo = true;
    return options;
}

// A cursor with up to three positions, most of them near the truth.
std::string cursor(Input& input) {
    const uint8_t choice = input.byte();
    std::string positions;
    for (int partition = 0; partition < 3; ++partition) {
        if ((choice & (1 << partition)) == 0) continue;
        if (!positions.empty()) positions += ',';
        positions += '"' + std::to_string(partition + (choice >> 7)) + ':' +
                     std::to_string(input.byte() & 0x1f) + '"';
    }
    const std::string epoch = (choice & 0x70) == 0x70 ? "other" : "epoch";
    return R"({"epoch":")" + epoch + R"(","pos":[)" + positions + "]}";
}

// Where a subscription or a page of history begins, without the braces around it.
std::string start(Input& input, uint8_t choice) {
    if (choice == 0) return {};
    if (choice == 1) return "\"last\":" + std::to_string(1 + (input.byte() & 7));
    return "\"after\":" + cursor(input);
}

std::string command(Input& input) {
    static constexpr std::string_view names[] = {"a", "a/b", "a/+", "#", "+/b", "b", "$x", "a//"};
    const uint8_t choice = input.byte();
    const std::string name(names[choice & 7]);
    const std::string id = (choice & 8) != 0 ? R"(,"id":7)" : "";
    const uint8_t variant = choice >> 6;
    switch ((choice >> 4) & 3) {
        case 0: {
            const std::string begin = start(input, variant);
            return R"({"op":"subscribe")" + id + R"(,"filter":")" + name + "\"" +
                   (begin.empty() ? "" : R"(,"start":{)" + begin + "}") + "}";
        }
        case 1: return R"({"op":"unsubscribe")" + id + R"(,"filter":")" + name + "\"}";
        case 2:
            return R"({"op":"publish")" + id + R"(,"topic":")" + name + R"(","data":")" +
                   std::string(input.byte(), 'x') + "\"" +
                   ((variant & 1) != 0 ? R"(,"key":"k)" + std::to_string(input.byte() & 3) + "\""
                                       : "") +
                   ((variant & 2) != 0 ? R"(,"echo":false)" : "") + "}";
        default: {
            if (variant == 0) return R"({"op":"ping")" + id + "}";
            const std::string begin = start(input, variant - 1);
            return R"({"op":"history")" + id + R"(,"topic":")" + name + "\"" +
                   (begin.empty() ? "" : "," + begin) + "}";
        }
    }
}

// What is known of each socket; the first request decides.
using Kinds = std::map<const FakeSocket*, Sent>;

void operate(uint8_t operation, Input& input, World& world, std::vector<Peer>& peers,
             Kinds& kinds) {
    if (peers.empty() || (operation & 0x0f) == 0) {
        if (peers.size() == peers_max) peers.erase(peers.begin());
        peers.push_back(world.connect(static_cast<io::ShardId>(input.byte() & 1) %
                                      world.mesh().shards_count()));
        return;
    }
    const Peer& peer = peers[(operation >> 4) % peers.size()];
    const uint8_t choice = operation & 0x0f;
    if (choice == 1 || choice == 2) kinds.try_emplace(&peer.socket(), Sent::native);
    if (choice == 3 || choice == 4) kinds.try_emplace(&peer.socket(), Sent::unknown);
    switch (choice) {
        case 1: peer.send(Peer::upgrade_request()); return;
        case 2:
            peer.send(Peer::upgrade_request("Sec-WebSocket-Extensions: permessage-deflate\r\n"));
            return;
        case 3: peer.send("GET /echo HTTP/1.1\r\n"); return;
        case 4: peer.send(input.bytes()); return;
        case 5: peer.send(client_frame(codec::Opcode::text, input.bytes())); return;
        case 6: peer.send(client_frame(codec::Opcode::text, command(input))); return;
        case 7:
            peer.send(client_frame(static_cast<codec::Opcode>(input.byte() & 0x0f), input.bytes(),
                                   (operation & 0x80) != 0));
            return;
        case 8: peer.finish(); return;
        case 9: peer.fail(ECONNRESET); return;
        case 10: peer.stall(); return;
        case 11: peer.read_on(); return;
        case 12: world.run_for((1 + uint64_t{input.byte()}) * 200 * base::ns_per_ms); return;
        case 13: peer.socket().recv_bytes_max = 1 + uint64_t{input.byte()}; return;
        case 14: peer.socket().send_bytes_max = 1 + uint64_t{input.byte()}; return;
        default:
            peer.send("POST /topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n");
            return;
    }
}

void check_all_sent(World& world, const Kinds& kinds) {
    for (io::ShardId shard = 0; shard < world.mesh().shards_count(); ++shard) {
        for (const FakeSocket& socket : world.kernel(shard).sockets) {
            const auto found = kinds.find(&socket);
            broker::testing::check_sent(socket.outbound,
                                        found == kinds.end() ? Sent::unknown : found->second);
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Input input(data, size);
    World world(draw_options(input));
    std::vector<Peer> peers;
    Kinds kinds;
    for (uint32_t count = 0; count < operations_max && !input.is_empty(); ++count) {
        operate(input.byte(), input, world, peers, kinds);
    }
    if ((size & 1) != 0) {
        world.request(io::Request::stop);
        world.settle();
    }
    check_all_sent(world, kinds);
    return 0;  // the world's end checks that nothing is left
}
