// Pages: pieces of history as this shard has read and encoded them, shared by all replays that come
// by the same place: a thousand readers of one list of filters cost one read and one encoding.
//
// Owner: Replays. Thread: its shard's.
// Invariants:
//  1. A page holds everything that matches in (after, upto] as it was when the page was read, or
//     says by its floor that something had been evicted. What was evicted later does not make it
//     wrong.
//  2. Pages are kept for age_ns_max and within memory_bytes_max, the oldest go first; a range that
//     stands in a queue keeps its chunk.
//  3. Of a partition owned by another shard a page arrives in the lane that also brings the live
//     messages, in order: so when it has arrived, everything up to its head has been processed here
//     (Heads).
//  4. Every read that was asked for ends, and then tells who waits.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "broker/courier.h"
#include "broker/filter_lists.h"
#include "broker/heads.h"
#include "broker/metrics.h"
#include "broker/outbox.h"
#include "io/base/slab.h"
#include "io/base/units.h"
#include "topics/history.h"

namespace broker {

class Pages {
  public:
    static constexpr uint64_t memory_bytes_max = 4 * base::mib;
    static constexpr uint64_t age_ns_max = base::ns_per_s;
    // A page may have been on its way from its owner for a while before its age begins to count.
    static constexpr uint64_t loss_age_ns_max = 3 * age_ns_max;
    // Payload bytes of one page: enough that its own costs vanish, little enough to be one of many
    // things that a turn does.
    static constexpr uint32_t payload_bytes_max = 32 * 1024;
    // While it is not known whether a resume is exact, less is asked for.
    static constexpr uint32_t proving_bytes_max = 4 * 1024;
    static constexpr uint32_t reads_in_flight_max = 64;

    // What is read. `last` and `until` bound a read of the newest of each topic; all other reads
    // have 0 and UINT64_MAX.
    struct Key {
        FilterLists::Id list = FilterLists::none;
        uint32_t partition = 0;
        uint32_t last = 0;
        uint64_t until = UINT64_MAX;
    };
    // Where a reader stands, and up to which of the partition's evictions it knows what was lost.
    struct Place {
        uint64_t after = 0;
        uint64_t lost_since = 0;
    };
    struct Entry {
        uint64_t offset;
        uint32_t json_begin;      // in the bytes of `plain`, behind the head of the frame
        uint32_t plain_end;       // the same
        uint32_t compressed_end;  // in those of `compressed`
        uint32_t topic_end;       // in `topics`
    };
    struct Page {
        Key key;
        Place place;  // of who asked for it
        uint64_t upto = 0;
        uint64_t head = 0;
        uint64_t floor = 0;
        uint64_t evictions = 0;
        // Of what began with the newest, above `until`; of all others above place.after.
        std::vector<uint32_t> filters_lost;
        std::vector<Entry> entries;  // offsets rise
        std::string topics;
        Range plain;       // one frame per entry; a null chunk when there are none
        Range compressed;  // the same, compressed where it is worth it; made when first asked for
        uint64_t message_bytes_most = 0;
        uint64_t read_at_ns = 0;

        std::string_view topic(size_t entry) const {
            const uint32_t begin = entry == 0 ? 0 : entries[entry - 1].topic_end;
            return std::string_view(topics).substr(begin, entries[entry].topic_end - begin);
        }
        uint64_t memory_bytes() const;
    };

    Pages(Courier& courier, const Partitions& partitions, Heads& heads,
          const topics::History& history, FilterLists& lists, Outbox& outbox, ShardMetrics& metrics,
          uint64_t newest_lag_max);
    ~Pages();

    // A page that goes on behind place.after: with entries above it, or that says that there are
    // none up to a place beyond. Null when there is none. Who begins with the newest (after 0) may
    // get a page with a smaller `until`, by which it then has to go on: somebody was there a little
    // earlier, by at most newest_lag_max messages. It lives until the next call of another method
    // but compress().
    Page* find(const Key& key, const Place& place);
    // Makes the compressed form, if it is not there yet.
    void compress(Page& page);

    // Who waits for a page: a replay's part.
    struct Waiter {
        base::Slot slot;
        uint32_t replay;  // its number: the connection may have another one when the page arrives
        uint32_t partition;
    };
    enum class Asked : uint8_t {
        read,     // of our own history: find() has it now
        pending,  // the waiter is told when it has arrived
        no_room,  // towards the owner; try again later
    };
    [[nodiscard]] Asked ask(const Key& key, const Place& place, uint32_t bytes_max, Waiter waiter,
                            uint64_t now_ns);

    // Records of an owner's answer.
    void on_message(uint32_t token, const Publication& publication);
    // Appends who waited.
    void on_end(uint32_t token, HistoryExtent extent, uint64_t now_ns,
                std::vector<Waiter>& waiters);

    // Gives up what is too old or too much.
    void trim(uint64_t now_ns);
    bool is_empty() const { return pages_.empty(); }
    // Whether pages are on their way from their owners.
    bool is_reading() const { return reads_.size() > 0; }

  private:
    // A page on its way from its owner.
    struct Read {
        std::unique_ptr<Page> page;
        std::string frames;
        std::vector<Waiter> waiters;
    };
    // Readers this near behind a read in flight wait for it: it probably covers them.
    static constexpr uint64_t near_offsets_max = 256;

    using Shelf = std::pair<FilterLists::Id, uint64_t>;  // list; partition and last
    static Shelf shelf_of(const Key& key) {
        return {key.list, uint64_t{key.partition} << 32 | key.last};
    }

    void append(Read& read, const Publication& publication);
    void keep(Read& read, uint64_t now_ns);
    void drop_front();

    Courier& courier_;
    const Partitions& partitions_;
    Heads& heads_;
    const topics::History& history_;
    FilterLists& lists_;
    Outbox& outbox_;
    ShardMetrics& metrics_;
    // So many messages evict none of each other: who begins with another one's newest, and goes on
    // from there, must not be told of a loss in what it never asked for.
    const uint64_t newest_lag_max_;

    std::deque<std::unique_ptr<Page>> pages_;  // oldest first
    // The pages of a shelf, newest last. Never iterated as a whole.
    absl::flat_hash_map<Shelf, std::vector<Page*>> shelves_;
    base::Slab<Read> reads_{reads_in_flight_max};
    uint64_t memory_bytes_ = 0;
    topics::History::Page found_;  // scratch
    std::string json_;             // scratch
};

}  // namespace broker
