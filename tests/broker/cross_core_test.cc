#include "broker/cross_core.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

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
    EXPECT_EQ(got.key, expected.key);
    EXPECT_EQ(got.position, expected.position);
}

TEST(CrossCore, PublicationsTravelWhole) {
    const CrossCore cross_core(lane_bytes);
    io::Lane lane(lane_bytes);
    const std::string id_longest = "\"" + std::string(64, 'i') + "\"";
    const std::string topic_longest(512, 't');
    const std::string key_longest(64, 'k');
    for (const RecordType type :
         {RecordType::publish, RecordType::message, RecordType::history_message}) {
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
                                                  .payload = {codec::PayloadKind::binary, payload},
                                                  .key = key_longest,
                                                  .position = {4'095, UINT64_MAX}};
                    ASSERT_TRUE(cross_core.write_publication(lane, type, publication, 9));
                    const Record record = take(lane);
                    EXPECT_EQ(record.type, type);
                    EXPECT_EQ(record.token, 9u);
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
        for (const bool is_duplicate : {false, true}) {
            const codec::Position position{4'095, is_duplicate ? UINT64_MAX : 0};
            ASSERT_TRUE(CrossCore::write_published(
                lane, origin, {.position = position, .is_duplicate = is_duplicate}));
            const Record record = take(lane);
            EXPECT_EQ(record.type, RecordType::published);
            EXPECT_EQ(record.is_duplicate, is_duplicate);
            expect_same(record.publication, Publication{.origin = origin, .position = position});
            lane.pop();
        }
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
    for (const RecordType type : {RecordType::interest_ack, RecordType::quiesced,
                                  RecordType::drained, RecordType::caught_up}) {
        ASSERT_TRUE(CrossCore::write_marker(lane, type, 77));
        const Record record = take(lane);
        EXPECT_EQ(record.type, type);
        EXPECT_EQ(record.token, 77u);
        EXPECT_EQ(record.gift, nullptr);
        lane.pop();
    }
}

TEST(CrossCore, QuestionsAboutConnectionsTravelWhole) {
    io::Lane lane(lane_bytes);
    const ConnectionsQuestion question{ConnectionsSort::lag, 1'000};
    ASSERT_TRUE(CrossCore::write_connections_read(lane, 5, question));
    Record record = take(lane);
    EXPECT_EQ(record.type, RecordType::connections_read);
    EXPECT_EQ(record.token, 5u);
    EXPECT_EQ(record.question, question);
    lane.pop();

    std::vector<ConnectionRow> rows(3);
    for (uint32_t number = 0; number < rows.size(); ++number) {
        rows[number].id = {number, {UINT32_MAX - 1, base::generation_mask}};
        rows[number].lag_ns = UINT64_MAX - number;
        rows[number].is_compressed = number == 1;
    }
    const uint64_t room = lane.room_bytes();
    ASSERT_TRUE(CrossCore::write_connection_rows(lane, 6, rows));
    EXPECT_EQ(room - lane.room_bytes(), CrossCore::connection_rows_cost(rows.size()));
    record = take(lane);
    EXPECT_EQ(record.type, RecordType::connection_rows);
    EXPECT_EQ(record.token, 6u);
    EXPECT_EQ(std::vector<ConnectionRow>(record.rows.begin(), record.rows.end()), rows);
    lane.pop();

    ASSERT_TRUE(CrossCore::write_connections_end(lane, 7, 10'000'000));
    record = take(lane);
    EXPECT_EQ(record.type, RecordType::connections_end);
    EXPECT_EQ(record.token, 7u);
    EXPECT_EQ(record.connections_count, 10'000'000u);
    lane.pop();

    const Origin asker{.shard = 3, .slot = {11, 12}};
    const base::Slot target{UINT32_MAX - 1, base::generation_mask};
    ASSERT_TRUE(CrossCore::write_connection_close(lane, asker, target));
    record = take(lane);
    EXPECT_EQ(record.type, RecordType::connection_close);
    EXPECT_EQ(record.publication.origin.shard, 3u);
    EXPECT_EQ(record.publication.origin.slot, asker.slot);
    EXPECT_EQ(record.target, target);
    lane.pop();

    for (const bool was_there : {false, true}) {
        ASSERT_TRUE(CrossCore::write_connection_closed(lane, asker, was_there));
        record = take(lane);
        EXPECT_EQ(record.type, RecordType::connection_closed);
        EXPECT_EQ(record.publication.origin.slot, asker.slot);
        EXPECT_EQ(record.was_there, was_there);
        lane.pop();
    }
}

TEST(CrossCore, HeadsTravelWhole) {
    io::Lane lane(lane_bytes);
    for (const size_t heads_count : {size_t{0}, size_t{1}, size_t{64}, size_t{1'024}}) {
        std::vector<codec::Position> heads;
        for (uint32_t index = 0; index < heads_count; ++index) {
            heads.push_back({index, UINT64_MAX - index});
        }
        const uint64_t room = lane.room_bytes();
        ASSERT_TRUE(CrossCore::write_heads(lane, heads));
        EXPECT_EQ(room - lane.room_bytes(), CrossCore::heads_cost(heads_count));
        const Record record = take(lane);
        EXPECT_EQ(record.type, RecordType::heads);
        EXPECT_EQ(std::vector<codec::Position>(record.heads.begin(), record.heads.end()), heads);
        lane.pop();
    }
}

TEST(CrossCore, RequestsForHistoryTravelWhole) {
    const CrossCore cross_core(lane_bytes);
    io::Lane lane(lane_bytes);
    const std::string filter_longest(512, 'f');
    for (const size_t filters_count : {size_t{1}, size_t{2}, size_t{17}, size_t{1'000}}) {
        std::vector<std::string_view> filters(filters_count, filter_longest);
        filters.front() = "#";
        const HistoryRequest request{.partition = 4'095,
                                     .last = 1'000'000,
                                     .after = UINT64_MAX - 1,
                                     .until = UINT64_MAX - 2,
                                     .lost_above = UINT64_MAX - 3,
                                     .lost_since = UINT64_MAX - 4,
                                     .payload_bytes_max = UINT32_MAX,
                                     .filters = filters};
        ASSERT_TRUE(cross_core.write_history_read(lane, UINT32_MAX, request));
        const Record record = take(lane);
        lane.pop();
        EXPECT_EQ(record.type, RecordType::history_read);
        EXPECT_EQ(record.token, UINT32_MAX);
        EXPECT_EQ(record.request.partition, request.partition);
        EXPECT_EQ(record.request.last, request.last);
        EXPECT_EQ(record.request.after, request.after);
        EXPECT_EQ(record.request.until, request.until);
        EXPECT_EQ(record.request.lost_above, request.lost_above);
        EXPECT_EQ(record.request.lost_since, request.lost_since);
        EXPECT_EQ(record.request.payload_bytes_max, request.payload_bytes_max);
        EXPECT_EQ(record.gift != nullptr, filters_count > 15) << "8 KiB of filters stay inline";
        // What is not a gift dies with the record.
        if (record.gift != nullptr) {
            EXPECT_EQ(record.request.filters, filters);
        }
    }
    ASSERT_TRUE(cross_core.write_history_read(lane, 1, {.filters = {"a/+", "", "#"}}));
    EXPECT_EQ(take(lane).request.filters, (std::vector<std::string_view>{"a/+", "", "#"}));
}

TEST(CrossCore, EndsOfPagesTravelWhole) {
    const CrossCore cross_core(lane_bytes);
    io::Lane lane(lane_bytes);
    for (const size_t lost_count :
         {size_t{0}, size_t{1}, inline_bytes_max / 4, inline_bytes_max / 4 + 1, size_t{10'000}}) {
        HistoryExtent extent{.partition = 4'095,
                             .upto = UINT64_MAX,
                             .head = UINT64_MAX - 1,
                             .floor = UINT64_MAX - 2,
                             .evictions = UINT64_MAX - 3,
                             .filters_lost = {}};
        for (uint32_t index = 0; index < lost_count; ++index) {
            extent.filters_lost.push_back(3 * index);
        }
        const uint64_t room = lane.room_bytes();
        ASSERT_TRUE(cross_core.write_history_end(lane, 5, extent));
        EXPECT_LE(room - lane.room_bytes(), cross_core.history_end_cost_max());
        const Record record = take(lane);
        EXPECT_EQ(record.type, RecordType::history_end);
        EXPECT_EQ(record.token, 5u);
        EXPECT_EQ(record.extent.partition, extent.partition);
        EXPECT_EQ(record.extent.upto, extent.upto);
        EXPECT_EQ(record.extent.head, extent.head);
        EXPECT_EQ(record.extent.floor, extent.floor);
        EXPECT_EQ(record.extent.evictions, extent.evictions);
        EXPECT_EQ(record.extent.filters_lost, extent.filters_lost);
        EXPECT_EQ(record.gift != nullptr, lost_count > inline_bytes_max / 4);
        lane.pop();
    }
}

TEST(CrossCore, TokensOfPagesAndRepliesAreTold) {
    for (const uint32_t number : {0u, 1u, 255u}) {
        EXPECT_FALSE(HistoryTokens::is_reply(HistoryTokens::of_page(number)));
        EXPECT_TRUE(HistoryTokens::is_reply(HistoryTokens::of_reply(number)));
        EXPECT_EQ(HistoryTokens::number_of(HistoryTokens::of_page(number)), number);
        EXPECT_EQ(HistoryTokens::number_of(HistoryTokens::of_reply(number)), number);
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
        const std::string key(prng.between(0, 64), 'k');
        const Publication publication{.origin = {.id = id},
                                      .topic = topic,
                                      .payload = {codec::PayloadKind::text, payload},
                                      .key = key};
        uint64_t room = lane.room_bytes();
        ASSERT_TRUE(cross_core.write_publication(lane, RecordType::publish, publication));
        EXPECT_EQ(room - lane.room_bytes(), cross_core.publication_cost(publication));
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

TEST(CrossCore, NoMessageOfAPageCostsMoreThanWhatIsReserved) {
    const CrossCore cross_core(lane_bytes);
    const std::string topic(512, 't');
    for (const size_t bytes : {inline_bytes_max, inline_bytes_max + 1}) {
        const std::string payload(bytes, 'p');
        const uint64_t cost = cross_core.publication_cost(
            {.topic = topic, .payload = {codec::PayloadKind::text, payload}});
        EXPECT_LE(cost, cross_core.publication_cost_max());
    }
}

// A publish that waits for room is tried again every millisecond, however large it is.
TEST(CrossCore, WhatFindsNoRoomIsNotCopied) {
    const CrossCore cross_core(lane_bytes);
    io::Lane lane(lane_bytes);
    while (CrossCore::write_marker(lane, RecordType::drained, 0)) {
    }
    constexpr size_t payload_bytes = base::mib;
    void* const unreadable =
        mmap(nullptr, payload_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(unreadable, MAP_FAILED);
    const std::string_view payload{static_cast<const char*>(unreadable), payload_bytes};
    const Publication gift{.topic = "t", .payload = {codec::PayloadKind::text, payload}};
    EXPECT_FALSE(cross_core.write_publication(lane, RecordType::publish, gift));
    munmap(unreadable, payload_bytes);
}

// LeakSanitizer finds a gift that a refused write forgot.
TEST(CrossCore, AFullLaneTakesNothing) {
    const CrossCore cross_core(lane_bytes);
    io::Lane lane(lane_bytes);
    const std::string payload(inline_bytes_max + 1, 'p');
    const Publication gift{.topic = "t", .payload = {codec::PayloadKind::text, payload}};
    uint64_t written = 0;
    while (cross_core.write_publication(lane, RecordType::publish, gift)) ++written;
    EXPECT_GT(written, 4u);
    EXPECT_LE(written, lane_bytes / inline_bytes_max) << "what is given away takes room too";
    while (CrossCore::write_marker(lane, RecordType::drained, 0)) {
    }
    EXPECT_FALSE(cross_core.write_publication(lane, RecordType::publish, gift));
    lane.commit();
    for (; written > 0; --written) {
        ASSERT_FALSE(lane.front().empty());
        EXPECT_EQ(CrossCore::decode(lane.front()).publication.payload.bytes, payload);
        lane.pop();
    }
    EXPECT_EQ(CrossCore::decode(lane.front()).type, RecordType::drained);
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
            io::Lane lane(one.lane);
            ASSERT_TRUE(cross_core.write_publication(lane, RecordType::publish, publication));
            lane.commit();
            const Record record = CrossCore::decode(lane.front());
            EXPECT_EQ(record.gift == nullptr, bytes == one.inline_most) << one.lane;
        }
    }
}

}  // namespace
}  // namespace broker
