// Accepting, and how it stops: point 10 of io/reactor.h.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "io/listener.h"
#include "io/peer_address.h"
#include "io/reactor.h"
#include "io/uring/reactor_uring.h"
#include "tests/io/reactor_fixture.h"

namespace io_test {
namespace {

using base::Slot;
using io::Op;
using io::Socket;

TEST_P(ReactorTest, accepts_bring_the_peers_address_each_its_own) {
    listen();
    reactor_->accept_start(0);
    std::vector<std::string> names(10);
    for (std::string& name : names) ASSERT_GE(connect(0, &name), 0);
    for (int count = 0; count < 10; ++count) {
        const Seen seen = await(Op::accept);
        EXPECT_EQ(seen.result, 0);
        EXPECT_FALSE(seen.socket.is_none());
        EXPECT_EQ(std::erase(names, seen.peer), 1u) << seen.peer;
    }
    EXPECT_TRUE(names.empty());
}

TEST_P(ReactorTest, listeners_are_told_apart) {
    listen();
    listen();
    EXPECT_EQ(bound_.size(), 2u);
    reactor_->accept_start(0);
    reactor_->accept_start(1);
    std::string name;
    ASSERT_GE(connect(1, &name), 0);
    const Seen seen = await(Op::accept);
    EXPECT_EQ(seen.listener, 1u);
    EXPECT_EQ(seen.peer, name);
    ASSERT_GE(connect(0, &name), 0);
    EXPECT_EQ(await(Op::accept).listener, 0u);
}

TEST_P(ReactorTest, a_listener_that_does_not_block_is_as_good_as_any) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    io::ListenAddress address;
    std::string error;
    ASSERT_TRUE(io::parse_listen_address("127.0.0.1:0", address, error)) << error;
    auto* const generic = reinterpret_cast<sockaddr*>(&address.storage);
    ASSERT_EQ(bind(fd, generic, address.length), 0);
    ASSERT_EQ(::listen(fd, 16), 0);
    ASSERT_EQ(getsockname(fd, generic, &address.length), 0);
    bound_.push_back(io::address_text(address.storage, address.length));
    reactor_->accept_start(reactor_->listener_add(fd));
    settle();
    EXPECT_TRUE(seen_.empty());
    ASSERT_GE(connect(0), 0);
    EXPECT_EQ(await(Op::accept).result, 0);
}

TEST_P(ReactorTest, nothing_is_accepted_before_the_start) {
    listen();
    ASSERT_GE(connect(0), 0);
    settle();
    EXPECT_TRUE(seen_.empty());
    reactor_->accept_start(0);
    EXPECT_EQ(await(Op::accept).result, 0);
}

TEST_P(ReactorTest, a_full_table_leaves_connections_in_the_queue) {
    io::UringOptions options = small_options();
    options.accepted_max = 2;
    options.adopted_max = 0;
    open(options);
    listen();
    reactor_->accept_start(0);
    for (int count = 0; count < 4; ++count) ASSERT_GE(connect(0), 0);
    Socket held[] = {await(Op::accept).socket, await(Op::accept).socket};
    settle();
    EXPECT_TRUE(seen_.empty());
    // Nothing more fits by another way either; the descriptor stays ours.
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    EXPECT_TRUE(reactor_->adopt(ends[0]).is_none());
    EXPECT_EQ(fcntl(ends[0], F_GETFD), 0);
    close(ends[0]);
    close(ends[1]);

    close_socket(held[0], slot_1);
    held[0] = await(Op::accept).socket;
    close_socket(held[1], slot_1);
    held[1] = await(Op::accept).socket;
    settle();
    EXPECT_TRUE(seen_.empty());
}

TEST_P(ReactorTest, a_failed_accept_waits_for_the_next_start) {
    // A socket that does not listen fails every accept.
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_GE(fd, 0);
    const uint16_t listener = reactor_->listener_add(fd);
    for (int round = 0; round < 3; ++round) {
        reactor_->accept_start(listener);
        const Seen seen = await(Op::accept);
        EXPECT_EQ(seen.result, -EINVAL);
        EXPECT_EQ(seen.listener, listener);
        settle();
        EXPECT_TRUE(seen_.empty()) << "one event for all accepts of the pool";
    }
    reactor_->accept_stop(listener);
    EXPECT_EQ(await(Op::accept).result, -ECANCELED);
}

TEST_P(ReactorTest, stopping_takes_what_is_queued_and_then_refuses) {
    listen();
    // Armed for two connections only once they are there, so that most wait in the queue.
    for (int count = 0; count < 20; ++count) ASSERT_GE(connect(0), 0);
    reactor_->accept_start(0);
    reactor_->accept_stop(0);
    for (int count = 0; count < 20; ++count) ASSERT_EQ(await(Op::accept).result, 0);
    const Seen last = await(Op::accept);
    EXPECT_EQ(last.result, -ECANCELED);
    EXPECT_EQ(last.listener, 0u);
    EXPECT_EQ(connect(0), -1);
    settle();
    EXPECT_TRUE(seen_.empty());
}

TEST_P(ReactorTest, stopping_ends_waiting_accepts) {
    listen();
    reactor_->accept_start(0);
    settle();
    reactor_->accept_stop(0);
    EXPECT_EQ(await(Op::accept).result, -ECANCELED);
    EXPECT_EQ(connect(0), -1);
}

TEST_P(ReactorTest, stopping_with_a_full_table_waits_for_room) {
    io::UringOptions options = small_options();
    options.accepted_max = 1;
    open(options);
    int client = -1;
    const io::Socket first = accepted(client);
    ASSERT_GE(connect(0), 0);
    reactor_->accept_stop(0);
    settle();
    EXPECT_TRUE(seen_.empty()) << "neither accepted nor reset";
    reactor_->close(first, Slot{1, 1});
    EXPECT_EQ(await(Op::close).result, 0);
    const Seen second = await(Op::accept);
    EXPECT_EQ(second.result, 0);
    settle();
    EXPECT_TRUE(seen_.empty()) << "without room nobody can tell that the queue is empty";
    reactor_->close(second.socket, Slot{2, 1});
    EXPECT_EQ(await(Op::accept).result, -ECANCELED);
}

TEST_P(ReactorTest, a_second_stop_does_not_wait_for_room) {
    io::UringOptions options = small_options();
    options.accepted_max = 1;
    open(options);
    int client = -1;
    accepted(client);
    const int waiting = connect(0);
    reactor_->accept_stop(0);
    settle();
    reactor_->accept_stop(0);
    EXPECT_EQ(await(Op::accept).result, -ECANCELED);
    EXPECT_EQ(read_once(waiting), -ECONNRESET);
    reactor_->accept_stop(0);
    settle();
    EXPECT_TRUE(seen_.empty()) << "a stopped listener stays as it is";
}

TEST_P(ReactorTest, accepts_from_a_unix_socket) {
    const std::string path = "/tmp/reactor_test." + std::to_string(getpid());
    listen("unix:" + path);
    reactor_->accept_start(0);
    ASSERT_GE(connect(0), 0);
    EXPECT_EQ(await(Op::accept).peer, "unix");
    unlink(path.c_str());
}

}  // namespace
}  // namespace io_test
