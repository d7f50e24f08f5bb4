#include "tools/bench/dialect.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>

namespace {

using bench::DialectKind;
using bench::Incoming;
using bench::Plan;
using bench::Role;

std::unique_ptr<bench::Dialect> dialect_of(DialectKind kind) {
    static Plan plan;
    plan.dialect = kind;
    plan.seed = 0xfeed'0000'0000'0abc;
    plan.subscribe_frame = "sub {topic}";
    plan.publish_frame = R"({"t":"{topic}","n":{seq},"p":"{payload}"})";
    plan.ready_text = "ok";
    return bench::make_dialect(plan);
}

std::string payload() {
    std::string text;
    bench::append_payload(text, {.sequence = 9}, 64);
    return text;
}

const Role subscriber{.subscribes = true};
const Role publisher{.publisher = 0};

std::string opening(const bench::Dialect& dialect, const Role& role, std::string_view filter,
                    const tools::Cursor* cursor = nullptr) {
    std::string out;
    dialect.append_opening(out, 4, role, filter, cursor);
    return out;
}

std::string published(const bench::Dialect& dialect) {
    std::string out;
    dialect.append_publish(out, "bench/1", 9, payload());
    return out;
}

TEST(Dialect, FanfareSpeaksItsProtocol) {
    const auto dialect = dialect_of(DialectKind::fanfare);
    EXPECT_EQ(opening(*dialect, subscriber, "bench/+"),
              R"({"op":"subscribe","id":1,"filter":"bench/+"})");
    EXPECT_EQ(opening(*dialect, publisher, ""), "");
    tools::Cursor cursor{.epoch = "e", .offsets = {{3, 17}}};
    EXPECT_EQ(opening(*dialect, subscriber, "b", &cursor),
              R"({"op":"subscribe","id":1,"filter":"b","start":{"after":{"epoch":"e","pos":)"
              R"(["3:17"]}}})");
    EXPECT_EQ(published(*dialect),
              R"({"op":"publish","topic":"bench/1","data":")" + payload() + R"("})");

    for (const std::string position : {"", R"("pos":"5:1042",)"}) {
        const std::string text =
            R"({"op":"message","topic":"bench/1",)" + position + R"("data":")" + payload() + "\"}";
        std::string_view rest = text;
        const Incoming incoming = dialect->next(rest);
        EXPECT_EQ(incoming.kind, Incoming::Kind::delivery);
        EXPECT_EQ(incoming.payload, payload());
        EXPECT_EQ(incoming.position, position.empty() ? "" : "5:1042");
        EXPECT_TRUE(rest.empty());
        // No prefix of it is taken for a whole one, nor read beyond its end.
        for (size_t bytes = 0; bytes < text.size(); ++bytes) {
            const std::string cut = text.substr(0, bytes);
            std::string_view part = cut;
            EXPECT_NE(dialect->next(part).kind, Incoming::Kind::delivery) << cut;
        }
    }
    const auto kind_of = [&](std::string_view text) { return dialect->next(text).kind; };
    EXPECT_EQ(kind_of(R"({"op":"welcome","client":"x"})"), Incoming::Kind::answered);
    EXPECT_EQ(kind_of(R"({"op":"subscribed","id":1})"), Incoming::Kind::answered);
    EXPECT_EQ(kind_of(R"({"op":"error","code":"forbidden"})"), Incoming::Kind::refused);
    EXPECT_EQ(kind_of(R"({"op":"goodbye","code":"slow_consumer","retry_ms":1000})"),
              Incoming::Kind::other);
    EXPECT_EQ(kind_of(R"({"op":"heartbeat"})"), Incoming::Kind::other);
    EXPECT_EQ(kind_of(R"({"op":"message","topic":"x","data":5})"), Incoming::Kind::other);
    EXPECT_EQ(dialect->answers_count(publisher, false), 1U);
    EXPECT_EQ(dialect->answers_count(subscriber, false), 2U);
    EXPECT_EQ(dialect->answers_count(subscriber, true), 3U);
}

// A stream: whatever its pieces, the same things come out, and a piece of a thing waits.
void expect_in_pieces(const bench::Dialect& dialect, const std::string& stream,
                      const std::vector<Incoming::Kind>& expected) {
    for (size_t piece = 1; piece <= stream.size(); ++piece) {
        std::vector<Incoming::Kind> found;
        std::string unread;
        for (size_t at = 0; at < stream.size(); at += piece) {
            unread += stream.substr(at, piece);
            std::string_view rest = unread;
            while (!rest.empty()) {
                const Incoming incoming = dialect.next(rest);
                if (incoming.kind == Incoming::Kind::need_more) break;
                found.push_back(incoming.kind);
                if (incoming.kind == Incoming::Kind::delivery) {
                    EXPECT_EQ(incoming.payload, payload());
                }
            }
            unread.erase(0, unread.size() - rest.size());
        }
        EXPECT_EQ(found, expected) << "pieces of " << piece;
        EXPECT_EQ(unread, "");
    }
}

TEST(Dialect, NatsIsAStreamOfText) {
    const auto dialect = dialect_of(DialectKind::nats);
    EXPECT_TRUE(
        opening(*dialect, subscriber, "bench/+/2").ends_with("SUB bench.*.2 1\r\nPING\r\n"));
    EXPECT_EQ(opening(*dialect, publisher, "").find("SUB"), std::string::npos);
    EXPECT_EQ(published(*dialect), "PUB bench.1 64\r\n" + payload() + "\r\n");
    expect_in_pieces(*dialect,
                     "INFO {\"x\":1}\r\nPONG\r\nMSG bench.1 1 64\r\n" + payload() +
                         "\r\nPING\r\n-ERR 'no'\r\nMSG bench.1 1 reply 64\r\n" + payload() + "\r\n",
                     {Incoming::Kind::other, Incoming::Kind::answered, Incoming::Kind::delivery,
                      Incoming::Kind::ping, Incoming::Kind::refused, Incoming::Kind::delivery});
}

TEST(Dialect, NatsWithALengthThatIsNone) {
    const auto dialect = dialect_of(DialectKind::nats);
    for (const std::string length :
         {"-1", "x", "", "18446744073709551604", "99999999999999999999"}) {
        const std::string line = "MSG bench.1 1 " + length + "\r\n";
        const std::string text = line + "PONG\r\n";
        std::string_view rest = text;
        EXPECT_EQ(dialect->next(rest).kind, Incoming::Kind::refused) << length;
        EXPECT_EQ(rest, "PONG\r\n");
    }
}

TEST(Dialect, MqttIsAStreamOfPackets) {
    const auto dialect = dialect_of(DialectKind::mqtt);
    const std::string opened = opening(*dialect, subscriber, "b/+");
    const std::string connect("\x10\x1a\0\4MQTT\4\2\0\0\0\016b000000000abc4", 28);
    EXPECT_EQ(opened, connect + std::string("\x82\x08\0\1\0\3b/+\0", 10));
    EXPECT_EQ(opening(*dialect, publisher, ""), connect);
    const std::string message = published(*dialect);
    EXPECT_EQ(message, std::string("\x30\x49\0\7bench/1", 11) + payload());
    expect_in_pieces(*dialect,
                     std::string("\x20\2\0\0\x90\3\0\1\0", 9) + message +
                         std::string("\xd0\0\x20\2\0\5\x90\3\0\1\x80", 11),
                     {Incoming::Kind::answered, Incoming::Kind::answered, Incoming::Kind::delivery,
                      Incoming::Kind::other, Incoming::Kind::refused, Incoming::Kind::refused});
    // A length of two bytes.
    std::string long_message;
    dialect->append_publish(long_message, "t", 0, std::string(200, 'x'));
    EXPECT_TRUE(long_message.starts_with(std::string("\x30\xcb\1\0\1t", 6)));
    std::string_view rest = long_message;
    EXPECT_EQ(dialect->next(rest).payload, std::string(200, 'x'));
}

// Two loads at one server, and the clients of one load, have names that every server takes.
TEST(Dialect, MqttClientsShareNoName) {
    std::set<std::string> names;
    for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{16}, UINT64_MAX}) {
        Plan plan;
        plan.dialect = DialectKind::mqtt;
        plan.seed = seed;
        const auto dialect = bench::make_dialect(plan);
        for (const uint32_t connection : {0U, 1U, 11U, UINT32_MAX}) {
            std::string connect;
            dialect->append_opening(connect, connection, publisher, "", nullptr);
            const std::string name = connect.substr(14);
            EXPECT_EQ(static_cast<size_t>(connect[13]), name.size());
            EXPECT_LE(name.size(), 23U);
            EXPECT_EQ(name.find_first_not_of("abcdef0123456789"), std::string::npos) << name;
            EXPECT_TRUE(names.insert(name).second) << name;
        }
    }
}

TEST(Dialect, NchanIsTheMessageItself) {
    const auto dialect = dialect_of(DialectKind::nchan);
    EXPECT_EQ(opening(*dialect, subscriber, "b"), "");
    EXPECT_EQ(published(*dialect), payload());
    const std::string text = payload();
    std::string_view rest = text;
    EXPECT_EQ(dialect->next(rest).payload, text);
    rest = "queued messages: 1";
    EXPECT_EQ(dialect->next(rest).kind, Incoming::Kind::other);
}

TEST(Dialect, ATemplateFindsThePayloadWhereverItStands) {
    const auto dialect = dialect_of(DialectKind::plain);
    EXPECT_EQ(opening(*dialect, subscriber, "b/1"), "sub b/1");
    EXPECT_EQ(published(*dialect), R"({"t":"bench/1","n":9,"p":")" + payload() + R"("})");
    EXPECT_EQ(bench::filled_in("{{topic}{x}{", "T", "", ""), "{T{x}{");
    const std::string wrapped = "{\"a\":\"" + payload() + "\"}";
    std::string_view rest = wrapped;
    EXPECT_EQ(dialect->next(rest).payload, payload());
    rest = "now ok";
    EXPECT_EQ(dialect->next(rest).kind, Incoming::Kind::answered);
    for (const char* text : {"<>", "><", ">", "<", "", "<tag>"}) {
        rest = text;
        EXPECT_EQ(dialect->next(rest).kind, Incoming::Kind::other) << text;
    }
}

}  // namespace
