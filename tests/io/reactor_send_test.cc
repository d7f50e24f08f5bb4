// Sending: point 7 of io/reactor.h.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "io/base/units.h"
#include "io/reactor.h"
#include "tests/io/reactor_fixture.h"

namespace io_test {
namespace {

using io::Op;
using io::Socket;

TEST_P(ReactorTest, sends_one_part_and_many_in_order) {
    int peer = -1;
    const Socket socket = pair(peer);
    const std::string one = pattern(100);
    const iovec single[] = {part(one)};
    reactor_->send(socket, slot_1, single);
    EXPECT_EQ(await(Op::send, slot_1).result, 100);
    EXPECT_EQ(read_up_to(peer, 100), one);

    std::vector<std::string> texts;
    std::string all;
    for (uint32_t index = 0; index < io::iovecs_per_send_max; ++index) {
        texts.push_back(pattern(index + 1));
        all += texts.back();
    }
    {
        // The array of parts lives only until send() returns.
        std::vector<iovec> parts;
        parts.reserve(texts.size());
        for (const std::string& text : texts) parts.push_back(part(text));
        reactor_->send(socket, slot_1, parts);
        std::memset(parts.data(), 0xff, parts.size() * sizeof(iovec));
    }
    EXPECT_EQ(await(Op::send, slot_1).result, static_cast<int32_t>(all.size()));
    EXPECT_EQ(read_up_to(peer, all.size()), all);
}

TEST_P(ReactorTest, a_full_socket_takes_part_of_a_send_and_lets_the_next_one_wait) {
    int client = -1;
    const Socket socket = accepted(client);
    const std::string text = pattern(32 * base::mib);
    const iovec parts[] = {part(text)};
    reactor_->send(socket, slot_1, parts);
    const int32_t first = await(Op::send, slot_1).result;
    ASSERT_GT(first, 0);
    ASSERT_LT(first, static_cast<int32_t>(text.size()));
    size_t taken_bytes = static_cast<size_t>(first);

    // Fill it until a send stays with the kernel.
    bool is_pending = false;
    while (!is_pending) {
        const iovec rest[] = {
            {const_cast<char*>(text.data()) + taken_bytes, text.size() - taken_bytes}};
        reactor_->send(socket, slot_1, rest);
        settle();
        is_pending = seen_.empty();
        if (!is_pending) taken_bytes += static_cast<size_t>(await(Op::send, slot_1).result);
    }
    // The peer reads, and the waiting send goes on.
    std::string received;
    while (received.size() < text.size()) {
        if (taken_bytes > received.size()) {
            received += read_up_to(client, taken_bytes - received.size());
        }
        if (taken_bytes == text.size()) continue;
        const int32_t result = await(Op::send, slot_1).result;
        ASSERT_GT(result, 0);
        taken_bytes += static_cast<size_t>(result);
        if (taken_bytes == text.size()) continue;
        const iovec rest[] = {
            {const_cast<char*>(text.data()) + taken_bytes, text.size() - taken_bytes}};
        reactor_->send(socket, slot_1, rest);
    }
    EXPECT_EQ(received, text);
}

TEST_P(ReactorTest, a_send_to_a_closed_peer_is_an_error_and_no_signal) {
    int peer = -1;
    const Socket socket = pair(peer);
    drop_peer(peer);
    const std::string text = "nobody reads this";
    const iovec parts[] = {part(text)};
    reactor_->send(socket, slot_1, parts);
    EXPECT_EQ(await(Op::send, slot_1).result, -EPIPE);
    const iovec two_parts[] = {part(text), part(text)};
    reactor_->send(socket, slot_1, two_parts);
    EXPECT_EQ(await(Op::send, slot_1).result, -EPIPE);
    close_socket(socket, slot_1);
}

TEST_P(ReactorTest, receives_and_sends_at_once) {
    int peer = -1;
    const Socket socket = pair(peer);
    const std::string text = "question";
    reactor_->recv_start(socket, slot_1);
    const iovec parts[] = {part(text)};
    reactor_->send(socket, slot_1, parts);
    write_all(peer, "unasked");
    EXPECT_EQ(receive(slot_1, 7), "unasked");
    EXPECT_EQ(await(Op::send, slot_1).result, 8);
    EXPECT_EQ(read_up_to(peer, 8), text);
}

}  // namespace
}  // namespace io_test
