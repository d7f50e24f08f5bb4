#include "broker/cross_core.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "io/base/prng.h"
#include "io/base/units.h"

namespace broker {
namespace {

constexpr uint64_t lane_bytes = 64 * base::kib;
// An eighth of the lane.
constexpr size_t inline_bytes_max = 8 * base::kib;

Record take(io::Lane& lane) {
    lane.commit();
    EXPECT_FALSE(lane.front().empty());
    return CrossCore::decode(lane.front());
}

void expect_same(const Publication& got, const Publication& expected) {
    EXPECT_EQ(got.origin.shard, expected.origin.shard);
    EXPECT_EQ(got.origin.slot, expected.origin.slot);
    EXPECT_EQ(got.origin.echo, expected.origin.echo);
    EXPECT_EQ(got.origin.wants_answer, expected.origin.wants_answer);
    EXPECT_EQ(got.origin.id, expected.origin.id);
    EXPECT_EQ(got.topic, expected.topic);
    EXPECT_EQ(got.payload.kind, expected.payload.kind);
    EXPECT_EQ(got.payload.bytes, expected.payload.bytes);
}

TEST(CrossCore, PublicationsTravelWhole) {
    const CrossCore cross_core(lane_bytes);
    io::Lane lane(lane_bytes);
    const std::string id_longest = "\"" + std::string(64, 'i') + "\"";
    const std::string topic_longest(512, 't');
    for (const RecordType type : {RecordType::publish, RecordType::message}) {
        for (const std::string& id : {std::string(), std::string("7"), id_longest}) {
            for (const std::string& topic : {std::string("a"), topic_longest}) {
                for (const size_t payload_bytes : {size_t{0}, size_t{1}, inline_bytes_max,
                                                   inline_bytes_max + 1, size_t{300'000}}) {
                    const std::string payload(payload_bytes, 'p');
                    const Publication publication{.origin = {.shard = 3,
                                                             .slot = {5, 0xffffff},
                                                             .echo = false,
                                                             .wants_answer = true,
                                                             .id = id},
                                                  .topic = topic,
                                                  .payload = {codec::PayloadKind::binary, payload}};
                    ASSERT_TRUE(cross_core.write_publication(lane, type, publication));
                    const Record record = take(lane);
                    EXPECT_EQ(record.type, type);
                    expect_same(record.publication, publication);
                    EXPECT_EQ(record.gift != nullptr, payload_bytes > inline_bytes_max);
                    lane.pop();
                }
            }
        }
    }
}

TEST(CrossCore, EveryKindAndFlagArrives) {
    const CrossCore cross_core(lane_bytes);
    io::Lane lane(lane_bytes);
    for (const codec::PayloadKind kind :
         {codec::PayloadKind::json, codec::PayloadKind::text, codec::PayloadKind::binary}) {
        for (int flags = 0; flags < 4; ++flags) {
            const Publication publication{
                .origin = {.echo = (flags & 1) != 0, .wants_answer = (flags & 2) != 0, .id = "1"},
                .topic = "t",
                .payload = {kind, "\"x\""}};
            ASSERT_TRUE(cross_core.write_publication(lane, RecordType::publish, publication));
            expect_same(take(lane).publication, publication);
            lane.pop();
        }
    }
}

TEST(CrossCore, AGiftOutlivesItsRecord) {
    const CrossCore cross_core(lane_bytes);
    io::Lane lane(lane_bytes);
    const std::string payload(inline_bytes_max + 1, 'p');
    const Publication publication{.topic = "t", .payload = {codec::PayloadKind::text, payload}};
    ASSERT_TRUE(cross_core.write_publication(lane, RecordType::publish, publication));
    const Record record = take(lane);
    lane.pop();
    EXPECT_EQ(record.publication.payload.bytes, payload);
}

TEST(CrossCore, AnswersCarryTheirOrigin) {
    io::Lane lane(lane_bytes);
    for (const std::string& id : {std::string(), "\"" + std::string(64, 'i') + "\""}) {
        const Origin origin{
            .shard = 1, .slot = {9, 11}, .echo = true, .wants_answer = true, .id = id};
        ASSERT_TRUE(CrossCore::write_published(lane, origin));
        const Record record = take(lane);
        EXPECT_EQ(record.type, RecordType::published);
        expect_same(record.publication, Publication{.origin = origin});
        lane.pop();
    }
}

TEST(CrossCore, FiltersAndMarkersCarryTheirToken) {
    io::Lane lane(lane_bytes);
    for (const RecordType type : {RecordType::interest_add, RecordType::interest_remove}) {
        for (const std::string& filter : {std::string("#"), std::string(512, 'f')}) {
            ASSERT_TRUE(CrossCore::write_filter(lane, type, filter, UINT32_MAX));
            const Record record = take(lane);
            EXPECT_EQ(record.type, type);
            EXPECT_EQ(record.filter, filter);
            EXPECT_EQ(record.token, UINT32_MAX);
            lane.pop();
        }
    }
    for (const RecordType type :
         {RecordType::interest_ack, RecordType::quiesced, RecordType::drained}) {
        ASSERT_TRUE(CrossCore::write_marker(lane, type, 77));
        const Record record = take(lane);
        EXPECT_EQ(record.type, type);
        EXPECT_EQ(record.token, 77u);
        EXPECT_EQ(record.gift, nullptr);
        lane.pop();
    }
}

TEST(CrossCore, CostsAreWhatRecordsTake) {
    const CrossCore cross_core(lane_bytes);
    base::Prng prng(3);
    for (int round = 0; round < 200; ++round) {
        io::Lane lane(lane_bytes);
        const std::string id(prng.between(0, 66), '1');
        const std::string topic(prng.between(1, 512), 't');
        const std::string payload(prng.between(0, 2 * inline_bytes_max), 'p');
        const Publication publication{
            .origin = {.id = id}, .topic = topic, .payload = {codec::PayloadKind::text, payload}};
        uint64_t room = lane.room_bytes();
        ASSERT_TRUE(cross_core.write_publication(lane, RecordType::publish, publication));
        EXPECT_EQ(room - lane.room_bytes(), cross_core.publication_cost(publication));
        room = lane.room_bytes();
        ASSERT_TRUE(CrossCore::write_published(lane, publication.origin));
        EXPECT_EQ(room - lane.room_bytes(), CrossCore::published_cost(publication.origin));
        room = lane.room_bytes();
        ASSERT_TRUE(CrossCore::write_filter(lane, RecordType::interest_add, topic, 1));
        EXPECT_EQ(room - lane.room_bytes(), CrossCore::filter_cost(topic));
        room = lane.room_bytes();
        ASSERT_TRUE(CrossCore::write_marker(lane, RecordType::drained, 0));
        EXPECT_EQ(room - lane.room_bytes(), CrossCore::marker_cost());
        lane.commit();
        while (!lane.front().empty()) {
            static_cast<void>(CrossCore::decode(lane.front()));
            lane.pop();
        }
    }
}

// LeakSanitizer finds a gift that a refused write forgot.
TEST(CrossCore, AFullLaneTakesNothing) {
    const CrossCore cross_core(lane_bytes);
    io::Lane lane(lane_bytes);
    const std::string payload(inline_bytes_max + 1, 'p');
    const Publication gift{.topic = "t", .payload = {codec::PayloadKind::text, payload}};
    uint64_t written = 0;
    while (cross_core.write_publication(lane, RecordType::publish, gift)) ++written;
    EXPECT_GT(written, 500u);
    EXPECT_FALSE(CrossCore::write_filter(lane, RecordType::interest_add, std::string(512, 'f'), 1));
    lane.commit();
    for (; written > 0; --written) {
        ASSERT_FALSE(lane.front().empty());
        EXPECT_EQ(CrossCore::decode(lane.front()).publication.payload.bytes, payload);
        lane.pop();
    }
    EXPECT_TRUE(lane.front().empty());
}

TEST(CrossCore, PayloadsAreGiftsFrom16KibOrAnEighthOfTheLane) {
    struct Case {
        uint64_t lane;
        size_t inline_most;
    };
    for (const Case& one : {Case{8 * base::kib, 1'024}, Case{128 * base::kib, 16 * 1'024},
                            Case{base::mib, 16 * 1'024}}) {
        const CrossCore cross_core(one.lane);
        for (const size_t bytes : {one.inline_most, one.inline_most + 1}) {
            const std::string payload(bytes, 'p');
            const Publication publication{.topic = "t",
                                          .payload = {codec::PayloadKind::text, payload}};
            const bool is_inline = cross_core.publication_cost(publication) > bytes;
            EXPECT_EQ(is_inline, bytes == one.inline_most) << one.lane;
        }
    }
}

}  // namespace
}  // namespace broker
