// What the io_uring implementation is made of, apart from the kernel.

#include <gtest/gtest.h>

#include <cerrno>
#include <set>
#include <string>
#include <vector>

#include "io/uring/probe.h"
#include "io/uring/send_arena.h"
#include "io/uring/token.h"

namespace {

using io::SendArena;
using io::Token;
using io::TokenOp;

TEST(token, every_field_survives_the_packing) {
    for (const TokenOp op : {TokenOp::accept, TokenOp::recv, TokenOp::wake_read}) {
        for (const uint32_t index : {0u, 1u, 0x8000'0000u, UINT32_MAX}) {
            for (const uint32_t generation : {0u, 1u, base::generation_mask}) {
                const Token token = Token::unpack(Token{{index, generation}, op}.pack());
                EXPECT_EQ(token.slot, (base::Slot{index, generation}));
                EXPECT_EQ(token.op, op);
            }
        }
    }
}

TEST(send_arena, keeps_everything_in_place_until_reset) {
    SendArena arena;
    std::vector<iovec> parts(io::iovecs_per_send_max);
    for (int round = 0; round < 2; ++round) {
        std::vector<msghdr*> headers;
        std::set<msghdr*> different;
        for (size_t count = 0; count < 3'000; ++count) {
            const size_t parts_count = 2 + count % (io::iovecs_per_send_max - 1);
            for (size_t index = 0; index < parts_count; ++index)
                parts[index].iov_len = count + index;
            headers.push_back(arena.add({parts.data(), parts_count}));
            different.insert(headers.back());
        }
        EXPECT_EQ(different.size(), headers.size());
        for (size_t count = 0; count < headers.size(); ++count) {
            const msghdr& header = *headers[count];
            ASSERT_EQ(header.msg_iovlen, 2 + count % (io::iovecs_per_send_max - 1));
            ASSERT_EQ(header.msg_control, nullptr);
            for (size_t index = 0; index < header.msg_iovlen; ++index) {
                ASSERT_EQ(header.msg_iov[index].iov_len, count + index);
            }
        }
        arena.reset();
    }
}

TEST(send_arena, two_parts_each_fill_a_block_to_the_end) {
    SendArena arena;
    const iovec parts[2] = {{nullptr, 1}, {nullptr, 2}};
    for (int count = 0; count < 2'000; ++count) {
        ASSERT_EQ(arena.add(parts)->msg_iov[1].iov_len, 2u);
    }
}

TEST(probe, names_what_is_missing) {
    io::Probe probe;
    EXPECT_NE(probe.missing().find("msg_ring"), std::string::npos);
    EXPECT_NE(probe.text().find("no-msg_ring"), std::string::npos);
    probe.message_ring = true;
    EXPECT_EQ(probe.missing().find("msg_ring"), std::string::npos);
    EXPECT_NE(probe.text().find(" msg_ring"), std::string::npos);
}

TEST(probe, what_only_helps_is_told_and_not_missed) {
    io::Probe probe;
    EXPECT_EQ(probe.missing().find("fixed_fd_install"), std::string::npos);
    EXPECT_NE(probe.text().find("no-fixed_fd_install"), std::string::npos);
    probe.install = true;
    EXPECT_NE(probe.text().find(" fixed_fd_install"), std::string::npos);
}

TEST(probe, every_way_to_be_refused_names_its_cure) {
    EXPECT_NE(io::setup_error_text(ENOSYS).find("6.1"), std::string::npos);
    EXPECT_NE(io::setup_error_text(EINVAL).find("6.1"), std::string::npos);
    EXPECT_NE(io::setup_error_text(ENOMEM).find("ulimit -l"), std::string::npos);
    EXPECT_NE(io::setup_error_text(EMFILE).find("ulimit -n"), std::string::npos);
    EXPECT_NE(io::setup_error_text(ENFILE).find("ulimit -n"), std::string::npos);
    EXPECT_NE(io::setup_error_text(EIO).find("Input/output error"), std::string::npos);
    EXPECT_NE(io::setup_error_text(EPERM, 0).find("seccomp"), std::string::npos);
    EXPECT_NE(io::setup_error_text(EPERM, 1).find("kernel.io_uring_group"), std::string::npos);
    EXPECT_NE(io::setup_error_text(EPERM, 2).find("io_uring_disabled=0"), std::string::npos);
}

}  // namespace
