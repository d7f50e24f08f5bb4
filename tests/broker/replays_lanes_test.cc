// Replays whose pages come from another shard, while a test decides when which shard turns.

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "broker/replays.h"
#include "tests/broker/shard_world.h"
#include "tests/broker/stream_reader.h"

namespace broker {
namespace {

using codec::Opcode;
using testing::after;
using testing::array_of;
using testing::client_frame;
using testing::Frame;
using testing::last;
using testing::live_text;
using testing::message_text;
using testing::Peer;
using testing::replay_text;
using testing::StreamReader;
using testing::subscribe_text;
using testing::subscribed_text;
using testing::World;
using testing::WorldOptions;
using Texts = std::vector<std::string>;

constexpr uint64_t second = base::ns_per_s;

// A client on shard 0, and a topic of shard 1 with three messages. Others on shard 0 have every
// filter that is used here, so that a join completes at once and only pages are waited for.
class ReplaysLanes : public ::testing::Test {
  protected:
    explicit ReplaysLanes(uint64_t lane_bytes = base::mib)
        : world_(options_of(lane_bytes)),
          far_(world_.topic_owned_by(1)),
          near_(world_.topic_owned_by(0)),
          plain_(plain_topic()),
          holder_(world_.client(0)),
          client_(world_.client(0)),
          near_writer_(world_.client(0)),
          far_writer_(world_.client(1)) {
        for (const std::string& filter : {far_, near_, std::string("#"), std::string("topic/#")}) {
            holder_.subscribe(filter);
        }
        for (int number = 1; number <= 3; ++number) publish(far_, number);
        world_.settle();
    }

    static WorldOptions options_of(uint64_t lane_bytes) {
        WorldOptions options{.shards_count = 2};
        options.settings.topic_rules = {{.match = "topic/#", .history_messages_max = 100}};
        options.settings.lane_bytes = lane_bytes;
        return options;
    }
    // A topic without history, of shard 0.
    std::string plain_topic() const {
        for (int index = 0;; ++index) {
            const std::string topic = "plain/" + std::to_string(index);
            if (world_.partition_of(topic) % 2 == 0) return topic;
        }
    }

    static std::string publish_text(const std::string& topic, int number,
                                    std::string_view rest = "") {
        return R"({"op":"publish","topic":")" + topic + R"(","data":)" + std::to_string(number) +
               std::string(rest) + "}";
    }
    // Not handled before somebody turns.
    static void hand(const Peer& peer, const std::string& json) {
        peer.socket().inbound += client_frame(Opcode::text, json);
    }
    void publish(const std::string& topic, int number) {
        far_writer_.say(publish_text(topic, number));
    }
    void turn(io::ShardId shard, int count = 4) {
        for (; count > 0; --count) world_.turn(shard);
    }
    std::string far_position(uint64_t offset) const { return world_.position_text(far_, offset); }
    std::string far_message(uint64_t offset) const {
        return message_text(far_, far_position(offset), "\"data\":" + std::to_string(offset));
    }
    std::string near_message(uint64_t offset) const {
        return message_text(near_, world_.position_text(near_, offset),
                            "\"data\":" + std::to_string(offset));
    }
    // The command has been handled on shard 0, whose page has not been read by shard 1.
    void begin(const Texts& filters, const std::string& start) {
        hand(client_, subscribe_text("1", filters, start));
        turn(0);
    }
    void read() { stream_.read(client_); }

    World world_;
    const std::string far_;
    const std::string near_;
    const std::string plain_;
    const Peer holder_;
    const Peer client_;
    const Peer near_writer_;
    const Peer far_writer_;
    StreamReader stream_;
};

// --- while a page is on its way

TEST_F(ReplaysLanes, WhatComesInAPartitionAtItsHeadIsAnnouncedOneByOne) {
    begin({near_, far_}, last(5));
    EXPECT_EQ(client_.take_texts(), Texts{subscribed_text("1", {far_position(3)}, true)});
    EXPECT_EQ(world_.metric(Metric::subscriptions_catching_up), 2u);
    for (int number = 1; number <= 2; ++number) {
        hand(near_writer_, publish_text(near_, number));
        turn(0);
        EXPECT_EQ(client_.take_texts(),
                  (Texts{replay_text("1", 1), near_message(static_cast<uint64_t>(number))}));
    }
    world_.settle();
    Texts positions = {far_position(3), world_.position_text(near_, 2)};
    if (world_.partition_of(near_) < world_.partition_of(far_))
        std::swap(positions[0], positions[1]);
    EXPECT_EQ(client_.take_texts(), (Texts{replay_text("1", 3), far_message(1), far_message(2),
                                           far_message(3), live_text("1", positions)}));
    EXPECT_EQ(world_.metric(Metric::subscriptions_catching_up), 0u);
}

TEST_F(ReplaysLanes, WhatIsSequencedBeforeThePageIsReadComesOnce) {
    begin({far_}, last(2));
    hand(far_writer_, publish_text(far_, 4));
    world_.settle();
    read();
    EXPECT_EQ(stream_.payloads(true), (Texts{"\"data\":2", "\"data\":3", "\"data\":4"}))
        << "the newest two at the beginning, and what came in addition";
    EXPECT_EQ(stream_.payloads(false), Texts{});
    EXPECT_EQ(stream_.others.back(), live_text("1", {far_position(4)}));
}

TEST_F(ReplaysLanes, WhatIsSequencedAfterThePageWasReadComesOnce) {
    begin({far_}, after({far_position(1)}));
    turn(1);  // reads the page
    for (int number = 4; number <= 5; ++number) {
        hand(far_writer_, publish_text(far_, number));
        turn(1);
    }
    world_.settle();
    read();
    EXPECT_EQ(stream_.others.front(),
              subscribed_text("1", {far_position(1)}, true, R"(,"recovered":true)"));
    EXPECT_EQ(stream_.payloads(true),
              (Texts{"\"data\":2", "\"data\":3", "\"data\":4", "\"data\":5"}));
    EXPECT_EQ(stream_.payloads(false), Texts{});
    EXPECT_EQ(stream_.others.back(), live_text("1", {far_position(5)}));
}

// --- beside live filters

TEST_F(ReplaysLanes, WhatALiveFilterBringsIsLeftOutAboveTheJoinOnly) {
    client_.subscribe("topic/#");
    publish(far_, 4);
    read();
    ASSERT_EQ(stream_.payloads(false), Texts{"\"data\":4"});
    begin({far_}, last(10));
    hand(far_writer_, publish_text(far_, 5));
    turn(1);
    hand(far_writer_, publish_text(far_, 6));
    world_.settle();
    read();
    EXPECT_EQ(stream_.payloads(false), (Texts{"\"data\":4", "\"data\":5", "\"data\":6"}));
    EXPECT_EQ(stream_.payloads(true),
              (Texts{"\"data\":1", "\"data\":2", "\"data\":3", "\"data\":4"}))
        << "what was asked for is repeated";
    EXPECT_EQ(stream_.others.back(), live_text("1", {far_position(6)}));
}

TEST_F(ReplaysLanes, AResumeBesideALiveFilterToo) {
    client_.subscribe("topic/#");
    begin({far_}, after({}));
    hand(far_writer_, publish_text(far_, 4));
    world_.settle();
    read();
    EXPECT_EQ(stream_.payloads(false), Texts{"\"data\":4"});
    EXPECT_EQ(stream_.payloads(true), (Texts{"\"data\":1", "\"data\":2", "\"data\":3"}));
}

TEST_F(ReplaysLanes, ALiveFilterThatIsGivenUpHadDeliveredWhatItHad) {
    client_.subscribe("topic/#");
    begin({far_}, last(10));
    hand(far_writer_, publish_text(far_, 4));
    turn(1, 1);  // the page is read too, and holds it
    world_.turn(0);
    hand(client_, R"({"op":"unsubscribe","id":2,"filter":"topic/#"})");
    turn(0);
    hand(far_writer_, publish_text(far_, 5));
    world_.settle();
    read();
    EXPECT_EQ(stream_.count_of("unsubscribed"), 1u);
    EXPECT_EQ(stream_.payloads_of(far_).size(), 5u) << "each once";
    EXPECT_EQ(stream_.payloads(false).front(), "\"data\":4");
    EXPECT_EQ(stream_.payloads_of(far_).back(), "\"data\":5");
}

// The page arrives after the live filter has gone: the replay must leave out what that one
// delivered, and must not leave out what came afterwards.
TEST_F(ReplaysLanes, ALiveFilterThatIsGivenUpInTheMiddle) {
    client_.subscribe("topic/#");
    hand(far_writer_, publish_text(far_, 4));
    turn(1);  // sequenced, and on its way while the client joins
    begin({far_}, last(10));
    hand(client_, R"({"op":"unsubscribe","id":2,"filter":"topic/#"})");
    turn(0);
    read();
    ASSERT_EQ(stream_.payloads(false), Texts{"\"data\":4"});
    ASSERT_EQ(stream_.count_of("unsubscribed"), 1u);
    hand(far_writer_, publish_text(far_, 5));
    world_.settle();
    read();
    EXPECT_EQ(stream_.payloads(true),
              (Texts{"\"data\":1", "\"data\":2", "\"data\":3", "\"data\":5"}));
    EXPECT_EQ(stream_.payloads(false), Texts{"\"data\":4"});
}

TEST_F(ReplaysLanes, WhatArrivesInTheTurnOfTheJoinLiesAboveIt) {
    client_.subscribe("topic/#");
    hand(far_writer_, publish_text(far_, 4));
    turn(1);
    begin({far_}, after({far_position(2)}));
    world_.settle();
    read();
    EXPECT_EQ(stream_.payloads(false), Texts{"\"data\":4"});
    EXPECT_EQ(stream_.payloads(true), Texts{"\"data\":3"});
}

TEST_F(ReplaysLanes, MessagesWithoutHistoryComeAtOnceAfterSubscribed) {
    begin({"#"}, last(5));
    EXPECT_EQ(client_.take_texts().size(), 1u);
    hand(near_writer_, publish_text(plain_, 7));
    turn(0);
    EXPECT_EQ(client_.take_texts(), Texts{message_text(plain_, "\"data\":7")});
    world_.settle();
    read();
    EXPECT_EQ(stream_.count_of("live"), 1u);
    EXPECT_EQ(stream_.payloads(false), Texts{});
}

TEST_F(ReplaysLanes, MessagesWithoutHistoryDoNotComeBeforeSubscribed) {
    begin({"#"}, after({}));
    EXPECT_EQ(client_.take_texts(), Texts{}) << "it is not proven yet";
    hand(near_writer_, publish_text(plain_, 7));
    turn(0);
    EXPECT_EQ(client_.take_texts(), Texts{});
    world_.settle();
    read();
    EXPECT_TRUE(stream_.others.front().starts_with(R"({"op":"subscribed")"));
    EXPECT_EQ(stream_.payloads_of(plain_), Texts{});
}

// A message of a partition that is at its head, while another one is still being proven, comes
// after `subscribed`.
TEST_F(ReplaysLanes, WhatComesWhileAResumeIsProvenComesAfterwards) {
    begin({near_, far_}, after({far_position(1)}));
    hand(near_writer_, publish_text(near_, 1));
    turn(0);
    EXPECT_EQ(client_.take_texts(), Texts{});
    world_.settle();
    read();
    EXPECT_TRUE(stream_.others.front().starts_with(R"({"op":"subscribed")"));
    EXPECT_EQ(stream_.payloads_of(near_), Texts{"\"data\":1"});
    EXPECT_EQ(stream_.payloads_of(far_), (Texts{"\"data\":2", "\"data\":3"}));
    EXPECT_EQ(stream_.payloads(false), Texts{});
}

// --- echo

TEST_F(ReplaysLanes, EchoFalseHoldsForARunningReplay) {
    begin({far_, near_}, last(10));
    hand(client_, publish_text(far_, 4, R"(,"echo":false)"));   // will be in a page
    hand(client_, publish_text(near_, 1, R"(,"echo":false)"));  // of a partition at its head
    turn(0);
    hand(far_writer_, publish_text(far_, 5));
    world_.settle();
    read();
    EXPECT_EQ(stream_.payloads_of(far_),
              (Texts{"\"data\":1", "\"data\":2", "\"data\":3", "\"data\":5"}));
    EXPECT_EQ(stream_.payloads_of(near_), Texts{});
    EXPECT_EQ(stream_.count_of("live"), 1u);
}

TEST_F(ReplaysLanes, EchoFalseOfADuplicateHidesNobodyElsesMessage) {
    begin({far_}, last(10));
    hand(far_writer_, publish_text(far_, 4, R"(,"key":"k")"));
    turn(1, 1);  // sequences it, and reads the page
    hand(client_, publish_text(far_, 4, R"(,"key":"k","echo":false)"));
    turn(0, 1);
    world_.settle();
    read();
    EXPECT_EQ(stream_.payloads_of(far_),
              (Texts{"\"data\":1", "\"data\":2", "\"data\":3", "\"data\":4"}));
}

// The same on the shard that owns the topic: the duplicate is told before anything is read.
TEST_F(ReplaysLanes, EchoFalseOfAnOwnDuplicateHidesNobodyElsesMessage) {
    near_writer_.say(publish_text(near_, 1, R"(,"key":"k")"));
    hand(client_, array_of({subscribe_text("1", {near_}, last(10)),
                            publish_text(near_, 1, R"(,"key":"k","echo":false)")}));
    world_.settle();
    read();
    EXPECT_EQ(stream_.payloads(true), Texts{"\"data\":1"});
}

// --- giving up

TEST_F(ReplaysLanes, UnsubscribingEndsTheReplay) {
    begin({far_}, last(10));
    EXPECT_EQ(client_.take_texts().size(), 1u);
    hand(client_, R"({"op":"unsubscribe","id":2,"filters":[")" + far_ + "\"]}");
    turn(0);
    EXPECT_EQ(client_.take_texts(), Texts{R"({"op":"unsubscribed","id":2})"});
    EXPECT_EQ(world_.metric(Metric::subscriptions_catching_up), 0u);
    world_.settle();  // the page arrives for nobody
    publish(far_, 4);
    EXPECT_EQ(client_.take_texts(), Texts{});
    client_.say(subscribe_text("3", {far_}, last(1)));
    EXPECT_EQ(client_.take_texts(),
              (Texts{subscribed_text("3", {far_position(4)}, true), replay_text("3", 1),
                     far_message(4), live_text("3", {far_position(4)})}));
}

TEST_F(ReplaysLanes, UnsubscribingSomeFiltersLeavesTheOthers) {
    const std::string other = world_.topic_owned_by(1, 1);
    holder_.take_texts();
    holder_.subscribe(other);
    for (int number = 1; number <= 2; ++number) publish(other, number);
    begin({far_, other}, last(10));
    hand(client_, R"({"op":"unsubscribe","id":2,"filter":")" + far_ + "\"}");
    turn(0);
    world_.settle();
    read();
    EXPECT_EQ(stream_.payloads_of(far_), Texts{});
    EXPECT_EQ(stream_.payloads_of(other), (Texts{"\"data\":1", "\"data\":2"}));
    EXPECT_EQ(stream_.count_of("live"), 1u);
    EXPECT_EQ(stream_.others.back(), live_text("1", {world_.position_text(other, 2)}));
    publish(far_, 4);
    publish(other, 3);
    read();
    EXPECT_EQ(stream_.payloads(false), Texts{"\"data\":3"});
}

TEST_F(ReplaysLanes, UnsubscribeWaitsForTheProof) {
    begin({far_}, after({}));
    hand(client_, R"({"op":"unsubscribe","id":2,"filter":")" + far_ + "\"}");
    turn(0);
    EXPECT_EQ(client_.take_texts(), Texts{});
    world_.settle();
    const Texts texts = client_.take_texts();
    ASSERT_GE(texts.size(), 2u);
    EXPECT_TRUE(texts.front().starts_with(R"({"op":"subscribed","id":1)"));
    EXPECT_EQ(texts.back(), R"({"op":"unsubscribed","id":2})");
    EXPECT_EQ(world_.metric(Metric::subscriptions), 4u) << "the holder's";
}

// --- limits of what a client can make wait

TEST_F(ReplaysLanes, OnlySoManySubscribeCommandsWaitBeforeReadingPauses) {
    begin({far_}, last(10));
    Texts commands;
    for (size_t count = 0; count < CatchUp::waiting_max; ++count) {
        commands.push_back(subscribe_text("2", {near_}, last(1)));
    }
    commands.emplace_back(R"({"op":"ping","id":3})");
    client_.take_texts();
    hand(client_, array_of(commands));
    turn(0);
    EXPECT_EQ(client_.take_texts(), Texts{R"({"op":"pong","id":3})"});
    hand(client_, subscribe_text("4", {near_}, last(1)));
    hand(client_, R"({"op":"ping","id":5})");
    turn(0);
    EXPECT_EQ(client_.take_texts(), Texts{}) << "one too many";
    world_.settle();
    read();
    EXPECT_EQ(stream_.count_of("live"), CatchUp::waiting_max + 2);
    EXPECT_EQ(stream_.count_of("pong"), 1u);
}

TEST_F(ReplaysLanes, OnlySoManySilentPublishesAreRemembered) {
    begin({far_}, last(10));
    client_.take_texts();
    // To the topic that is being read, owned by another shard: their answers are waited for.
    constexpr size_t many = CatchUp::silent_max + 100;
    for (size_t count = 0; count < many; ++count) {
        hand(client_, publish_text(far_, 1'000, R"(,"echo":false)"));
    }
    hand(client_, R"({"op":"ping","id":3})");
    world_.settle();
    publish(far_, 4);
    read();
    EXPECT_EQ(stream_.payloads_of(far_).back(), "\"data\":4");
    for (const std::string& payload : stream_.payloads_of(far_))
        EXPECT_NE(payload, "\"data\":1000");
    EXPECT_EQ(stream_.count_of("pong"), 1u);
    EXPECT_EQ(world_.metric(Metric::messages_published_total), 4 + many);
}

TEST_F(ReplaysLanes, OnlySoManyUnsubscribesAreRemembered) {
    // Each can match what the replay reads, which therefore remembers when it was given up.
    const Peer reader = world_.client(0);
    Texts filters;
    for (size_t index = 0; index <= CatchUp::left_max; ++index) {
        filters.push_back("topic/" + std::to_string(index) + "/#");
        reader.subscribe(filters.back());
    }
    hand(reader, subscribe_text("1", {"topic/#"}, last(10)));
    turn(0);
    EXPECT_EQ(reader.take_texts().size(), 1u);
    for (const std::string& filter : filters) {
        hand(reader, R"({"op":"unsubscribe","id":2,"filter":")" + filter + "\"}");
    }
    turn(0);
    EXPECT_EQ(reader.take_texts().size(), CatchUp::left_max) << "one too many";
    world_.settle();
    stream_.read(reader);
    EXPECT_EQ(stream_.count_of("live"), 1u);
    EXPECT_EQ(stream_.others.back(), R"({"op":"unsubscribed","id":2})");
}

// --- ends

struct End {
    const char* name;
    void (*end)(const Peer& peer);
};
void PrintTo(const End& end, std::ostream* out) {
    *out << end.name;
}
const End ends[] = {
    {"reset", [](const Peer& peer) { peer.fail(ECONNRESET); }},
    {"half close", [](const Peer& peer) { peer.finish(); }},
    {"close frame",
     [](const Peer& peer) {
         peer.send(client_frame(Opcode::close, testing::close_payload(1000, "")));
         peer.finish();
     }},
    {"violation",
     [](const Peer& peer) {
         peer.send(client_frame(Opcode::binary, "x"));
         peer.finish();
     }},
};

class ReplayEnds : public ReplaysLanes, public ::testing::WithParamInterface<End> {
  protected:
    // Ends the connection and sees that the shards know nothing of it any more.
    void end_here() {
        // The peer's bytes are handled by shard 0 first, as always here.
        GetParam().end(client_);
        EXPECT_EQ(world_.metric(Metric::subscriptions_catching_up), 0u);
        EXPECT_EQ(world_.metric(Metric::subscriptions), 4u) << "the holder's";
        publish(far_, 4);
        const Peer next = world_.client(0);
        next.say(subscribe_text("9", {far_}, last(1)));
        EXPECT_EQ(next.take_texts().back(), live_text("9", {far_position(4)}));
    }
};

INSTANTIATE_TEST_SUITE_P(Each, ReplayEnds, ::testing::ValuesIn(ends));

TEST_P(ReplayEnds, WhileJoining) {
    const std::string fresh = world_.topic_owned_by(1, 5);
    begin({fresh, "topic/5/+"}, last(1));
    EXPECT_EQ(client_.take_texts(), Texts{});
    end_here();
}

TEST_P(ReplayEnds, WhileProving) {
    begin({far_}, after({}));
    EXPECT_EQ(client_.take_texts(), Texts{});
    end_here();
}

TEST_P(ReplayEnds, WhileReading) {
    begin({far_}, last(10));
    EXPECT_EQ(client_.take_texts().size(), 1u);
    end_here();
}

TEST_P(ReplayEnds, WhileOthersWaitForIt) {
    begin({far_}, last(10));
    hand(client_, subscribe_text("2", {far_, near_}, last(10)));
    hand(client_, subscribe_text("3", {"#"}, "\"now\""));
    hand(client_, R"({"op":"unsubscribe","id":4,"filter":"#"})");
    turn(0);
    end_here();
}

TEST_P(ReplayEnds, WhileOneWaitsForAJoin) {
    const std::string fresh = world_.topic_owned_by(1, 5);
    begin({fresh}, "\"now\"");
    hand(client_, subscribe_text("2", {far_}, last(10)));
    turn(0);
    EXPECT_EQ(client_.take_texts(), Texts{});
    end_here();
}

TEST_F(ReplaysLanes, AReplayWaitsForJoinsThatWereAskedForBefore) {
    uint32_t number = 5;
    while (world_.partition_of(world_.topic_owned_by(1, number)) == world_.partition_of(far_)) {
        ++number;
    }
    begin({world_.topic_owned_by(1, number)}, "\"now\"");
    hand(client_, subscribe_text("2", {far_}, last(1)));
    turn(0);
    EXPECT_EQ(client_.take_texts(), Texts{});
    world_.settle();
    EXPECT_EQ(client_.take_texts(),
              (Texts{subscribed_text("1", {}, true), subscribed_text("2", {far_position(3)}, true),
                     replay_text("2", 1), far_message(3), live_text("2", {far_position(3)})}));
}

// --- the stop

TEST_F(ReplaysLanes, AStopEndsEveryReplay) {
    struct Case {
        Texts filters;
        std::string start;
    };
    const Case cases[] = {{{world_.topic_owned_by(1, 5)}, last(1)},  // joining
                          {{far_}, after({})},                       // proving
                          {{far_}, last(10)}};                       // reading
    std::vector<Peer> peers;
    for (size_t index = 0; index < std::size(cases); ++index) peers.push_back(world_.client(0));
    for (size_t index = 0; index < std::size(cases); ++index) {
        const Case& one = cases[index];
        hand(peers[index], subscribe_text("1", one.filters, one.start));
        hand(peers[index], subscribe_text("2", one.filters, one.start));
    }
    turn(0);
    world_.request(io::Request::stop);
    world_.settle();
    for (const Peer& peer : peers) {
        const std::vector<Frame> frames = peer.take_frames();
        ASSERT_GE(frames.size(), 2u);
        EXPECT_EQ(frames.back().close_code, 1001);
        // Said to all before anything ends; a replay may reach its end between the two.
        EXPECT_EQ(std::count_if(frames.begin(), frames.end(),
                                [](const Frame& frame) {
                                    return frame.payload.starts_with(R"({"op":"goodbye")");
                                }),
                  1);
    }
}

// A replay that could go on is not gone on with while the broker stops, and is no reason to turn
// without waiting.
TEST_F(ReplaysLanes, AStopDoesNotSpinForAReplayThatIsReady) {
    begin({far_}, last(10));
    client_.stall();  // so that the connection stays
    world_.request(io::Request::stop);
    world_.settle();
    world_.turn(0);
    EXPECT_GT(world_.kernel(0).deadline_ns, world_.now_ns());
}

TEST_F(ReplaysLanes, WhatWasAcknowledgedReachesAReplayAtItsHeadBeforeTheGoodbye) {
    begin({near_, far_}, last(10));
    client_.take_texts();
    hand(near_writer_, R"({"op":"publish","id":5,"topic":")" + near_ + R"(","data":1})");
    turn(0);
    EXPECT_EQ(near_writer_.take_texts().size(), 1u);
    world_.request(io::Request::stop);
    world_.settle();
    const std::vector<Frame> frames = client_.take_frames();
    ASSERT_GE(frames.size(), 4u);
    EXPECT_EQ(frames[0].payload, replay_text("1", 1));
    EXPECT_EQ(frames[1].payload, near_message(1));
}

// --- heartbeats of those whose commands wait

TEST_F(ReplaysLanes, WhoWaitsForAJoinIsNotEvicted) {
    const std::string fresh = world_.topic_owned_by(1, 5);
    begin({fresh}, last(1));
    hand(client_, R"({"op":"unsubscribe","id":2,"filter":")" + fresh + "\"}");
    turn(0);
    const uint64_t websockets = world_.metric(Metric::websockets);
    // The others answer; the client does too, but nothing is read from it.
    for (int elapsed = 0; elapsed < 120; ++elapsed) {
        world_.jump(second);
        for (const Peer& peer : {holder_, near_writer_, client_}) {
            if (elapsed % 10 == 0) peer.socket().inbound += client_frame(Opcode::pong, "");
        }
        turn(0, 2);
    }
    EXPECT_EQ(world_.metric(Metric::websockets), websockets);
    world_.settle();
    client_.take_frames();
    client_.say(R"({"op":"ping","id":3})");
    const Texts texts = client_.take_texts();
    ASSERT_FALSE(texts.empty());
    EXPECT_EQ(texts.back(), R"({"op":"pong","id":3})");
}

TEST_F(ReplaysLanes, WhoWaitsForAReplayIsEvictedWhenItReadsNothing) {
    holder_.say(publish_text(near_, 1));
    client_.stall();
    // Its `subscribed` waits in the queue, and the unsubscribe for the second replay.
    hand(client_, subscribe_text("1", {far_}, last(1)));
    hand(client_, subscribe_text("2", {near_}, last(1)));
    hand(client_, R"({"op":"unsubscribe","id":3,"filter":")" + near_ + "\"}");
    turn(0);
    for (int elapsed = 0; elapsed < 60; ++elapsed) {
        world_.jump(second);
        for (const Peer& peer : {holder_, near_writer_}) {
            if (elapsed % 10 == 0) peer.socket().inbound += client_frame(Opcode::pong, "");
        }
        turn(0, 2);
    }
    EXPECT_TRUE(client_.is_closed());
    EXPECT_EQ(world_.closed_count(4200), 1u);
}

// --- tiny lanes

class ReplaysTinyLanes : public ReplaysLanes {
  protected:
    ReplaysTinyLanes() : ReplaysLanes(8 * base::kib) {}
};

TEST_F(ReplaysTinyLanes, PagesWithLargePayloadsCross) {
    // Beyond what travels inline, which is an eighth of the lane.
    const std::string text(3'000, 'x');
    for (int count = 0; count < 60; ++count) {
        far_writer_.say(R"({"op":"publish","topic":")" + far_ + R"(","text":")" + text + "\"}");
    }
    client_.say(subscribe_text("1", {far_}, last(60)));
    read();
    ASSERT_EQ(stream_.messages.size(), 60u);
    for (const StreamReader::Message& message : stream_.messages) {
        EXPECT_EQ(message.payload, "\"text\":\"" + text + "\"");
    }
    EXPECT_EQ(stream_.others.back(), live_text("1", {far_position(63)}));
}

TEST_F(ReplaysTinyLanes, APageEndsWhereTheLaneIsFull) {
    const std::string text(1'000, 'x');  // inline
    for (int count = 0; count < 60; ++count) {
        far_writer_.say(R"({"op":"publish","topic":")" + far_ + R"(","text":")" + text + "\"}");
    }
    client_.say(subscribe_text("1", {far_}, after({far_position(3)})));
    read();
    ASSERT_EQ(stream_.messages.size(), 60u);
    EXPECT_EQ(stream_.messages.front().position, far_position(4));
    EXPECT_GT(world_.metric(Metric::history_pages_total), 9u) << "some six fit the lane";
    EXPECT_EQ(stream_.others.back(), live_text("1", {far_position(63)}));
}

TEST_F(ReplaysTinyLanes, AReplayWithoutRoomTowardsTheOwnerIsTriedAgain) {
    // Shard 1 does not turn, so the lane stays full.
    for (int number = 0; number < 40; ++number) {
        hand(near_writer_,
             publish_text(far_, 100 + number,
                          ",\"key\":\"" + std::to_string(number) + std::string(60, 'k') + "\""));
    }
    for (int number = 0; number < 300; ++number) {
        hand(near_writer_, publish_text(far_, 1'000 + number));
    }
    turn(0);
    begin({far_}, last(2));
    world_.turn(0);
    EXPECT_EQ(world_.kernel(0).deadline_ns, world_.now_ns() + base::ns_per_ms)
        << "tried again soon";
    EXPECT_EQ(world_.metric(Metric::subscriptions_catching_up), 1u);
    world_.settle();
    read();
    EXPECT_EQ(stream_.count_of("live"), 1u);
    ASSERT_GE(stream_.messages.size(), 2u);
    EXPECT_EQ(stream_.messages.back().payload, "\"data\":1299");
    // Nothing lost, nothing twice, from the first replayed message on.
    uint64_t offset = 0;
    for (const StreamReader::Message& message : stream_.messages) {
        const uint64_t found = std::stoull(message.position.substr(message.position.find(':') + 1));
        if (offset > 0) {
            EXPECT_EQ(found, offset + 1);
        }
        offset = found;
    }
}

TEST_F(ReplaysTinyLanes, WhoWaitsForRoomInALaneIsNotEvicted) {
    for (int number = 0; number < 300; ++number) hand(client_, publish_text(far_, number));
    turn(0);
    EXPECT_GT(world_.metric(Metric::pauses_total), 0u);
    const uint64_t websockets = world_.metric(Metric::websockets);
    for (int elapsed = 0; elapsed < 120; ++elapsed) {
        world_.jump(second);
        for (const Peer& peer : {holder_, near_writer_, client_}) {
            if (elapsed % 10 == 0) peer.socket().inbound += client_frame(Opcode::pong, "");
        }
        turn(0, 2);
    }
    EXPECT_EQ(world_.metric(Metric::websockets), websockets);
    world_.settle();
    EXPECT_EQ(world_.metric(Metric::messages_published_total), 303u);
}

TEST_F(ReplaysTinyLanes, AThousandFiltersInOneResume) {
    Texts filters;
    Texts positions;
    for (int index = 0; index < 1'000; ++index) filters.push_back("topic/" + std::to_string(index));
    for (int index = 0; index < 1'000; index += 100) {
        far_writer_.say(publish_text(filters[static_cast<size_t>(index)], index));
    }
    world_.settle();
    client_.say(subscribe_text("1", filters, after({})));
    read();
    EXPECT_TRUE(stream_.others.front().starts_with(R"({"op":"subscribed","id":1)"));
    EXPECT_NE(stream_.others.front().find(R"("recovered":true)"), std::string::npos);
    EXPECT_EQ(stream_.count_of("live"), 1u);
    EXPECT_EQ(stream_.messages.size(), 13u);
    far_writer_.say(publish_text("topic/999", 1));
    read();
    EXPECT_EQ(stream_.payloads_of("topic/999"), Texts{"\"data\":1"});
    client_.fail(ECONNRESET);
    EXPECT_EQ(world_.metric(Metric::subscriptions), 4u) << "the holder's";
}

TEST_F(ReplaysLanes, MoreReadsThanMayBeInFlightTakeTurns) {
    // Each with a list of its own, so that nobody shares.
    constexpr int readers_count = 2 * Pages::reads_in_flight_max;
    std::vector<Peer> readers;
    for (int index = 0; index < readers_count; ++index) {
        const std::string own = "plain/own/" + std::to_string(index);
        holder_.take_texts();
        holder_.subscribe(own);
        readers.push_back(world_.client(0));
    }
    for (int index = 0; index < readers_count; ++index) {
        const std::string own = "plain/own/" + std::to_string(index);
        hand(readers[static_cast<size_t>(index)], subscribe_text("1", {far_, own}, last(3)));
    }
    turn(0);
    EXPECT_EQ(world_.metric(Metric::subscriptions_catching_up), 2u * readers_count);
    world_.settle();
    for (const Peer& reader : readers) {
        StreamReader stream;
        stream.read(reader);
        EXPECT_EQ(stream.messages.size(), 3u);
        EXPECT_EQ(stream.count_of("live"), 1u);
    }
}

}  // namespace
}  // namespace broker
