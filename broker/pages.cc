#include "broker/pages.h"

#include <algorithm>
#include <utility>

#include "codec/frame.h"
#include "codec/reply.h"

namespace broker {

uint64_t Pages::Page::memory_bytes() const {
    return sizeof(Page) + entries.capacity() * sizeof(Entry) + topics.capacity() +
           filters_lost.capacity() * sizeof(uint32_t) + plain.size() + compressed.size();
}

Pages::Pages(Courier& courier, const Partitions& partitions, Heads& heads,
             const topics::History& history, FilterLists& lists, Outbox& outbox,
             ShardMetrics& metrics, uint64_t newest_lag_max)
    : courier_(courier),
      partitions_(partitions),
      heads_(heads),
      history_(history),
      lists_(lists),
      outbox_(outbox),
      metrics_(metrics),
      newest_lag_max_(newest_lag_max) {}

Pages::~Pages() {
    while (!pages_.empty()) drop_front();
    // A stop can come while an owner has not answered.
    reads_.for_each([this](base::Slot slot, Read& read) {
        lists_.release(read.page->key.list);
        reads_.release(slot);
    });
}

Pages::Page* Pages::find(const Key& key, const Place& place) {
    const auto found = shelves_.find(shelf_of(key));
    if (found == shelves_.end()) return nullptr;
    const std::vector<Page*>& pages = found->second;
    for (auto at = pages.rbegin(); at != pages.rend(); ++at) {
        Page& page = **at;
        const bool begins_newest = key.last > 0 && place.after == 0 && page.key.until < key.until &&
                                   key.until - page.key.until <= newest_lag_max_;
        if (page.key.until != key.until && !begins_newest) continue;
        if (page.place.after > place.after || page.upto <= place.after) continue;
        // A reader who was told of a loss must not go back to before it: what it would get there
        // says that the loss is over.
        if (page.evictions < place.lost_since) continue;
        // It must not be silent about losses that this reader has not been told of: those before it
        // was asked for, and, of what began with the newest, those below `until`.
        const bool is_beginning = key.last > 0 && page.place.after == 0;
        const bool is_silent =
            page.place.lost_since > place.lost_since ||
            (is_beginning && place.after > 0 && page.evictions > place.lost_since);
        if (is_silent) continue;
        return &page;
    }
    return nullptr;
}

Pages::Asked Pages::ask(const Key& key, const Place& place, uint32_t bytes_max, Waiter waiter,
                        uint64_t now_ns) {
    const io::ShardId owner = partitions_.owner_of(key.partition);
    if (owner != courier_.self()) {
        Read* near = nullptr;
        reads_.for_each([&](base::Slot, Read& read) {
            const Page& page = *read.page;
            if (shelf_of(page.key) == shelf_of(key) && page.key.until == key.until &&
                page.place.after <= place.after &&
                place.after - page.place.after <= near_offsets_max) {
                near = &read;
            }
        });
        if (near != nullptr) {
            near->waiters.push_back(waiter);
            return Asked::pending;
        }
        if (reads_.size() == reads_in_flight_max) return Asked::no_room;
    }
    Read read{.page = std::make_unique<Page>(), .frames = {}, .waiters = {}};
    read.page->key = key;
    read.page->place = place;
    const std::span<const std::string_view> filters = lists_.filters(key.list);
    const bool begins_newest = key.last > 0 && place.after == 0;
    const uint64_t lost_above = begins_newest ? key.until : place.after;
    if (owner != courier_.self()) {
        const base::Slot slot = reads_.take(std::move(read));
        const HistoryRequest request{.partition = key.partition,
                                     .last = key.last,
                                     .after = place.after,
                                     .until = key.until,
                                     .lost_above = lost_above,
                                     .lost_since = place.lost_since,
                                     .payload_bytes_max = bytes_max,
                                     .filters = {filters.begin(), filters.end()}};
        if (!courier_.ask_history(owner, HistoryTokens::of_page(slot.index), request)) {
            reads_.release(slot);
            return Asked::no_room;
        }
        lists_.retain(key.list);
        reads_.at(slot).waiters.push_back(waiter);
        return Asked::pending;
    }
    lists_.retain(key.list);
    history_.read({.partition = key.partition,
                   .after = place.after,
                   .until = key.until,
                   .last = key.last,
                   .lost_since = place.lost_since,
                   .filters = filters,
                   .payload_bytes_max = bytes_max},
                  lost_above, found_);
    for (const topics::History::Message& message : found_.messages) {
        append(read, {.origin = {},
                      .topic = message.topic,
                      .payload = {static_cast<codec::PayloadKind>(message.kind), message.payload},
                      .position = {key.partition, message.offset}});
    }
    read.page->upto = found_.upto;
    read.page->head = found_.head;
    read.page->floor = found_.floor;
    read.page->evictions = found_.evictions;
    read.page->filters_lost = found_.filters_lost;
    keep(read, now_ns);
    return Asked::read;
}

void Pages::append(Read& read, const Publication& publication) {
    Page& page = *read.page;
    json_.clear();
    codec::append_message(json_, publication.topic, publication.position, publication.payload);
    uint8_t header[codec::frame_header_bytes_max];
    const uint32_t header_bytes = codec::encode_frame_header(
        {.opcode = codec::Opcode::text, .payload_bytes = json_.size()}, header);
    read.frames.append(reinterpret_cast<const char*>(header), header_bytes).append(json_);
    page.topics.append(publication.topic);
    page.message_bytes_most = std::max<uint64_t>(page.message_bytes_most, json_.size());
    page.entries.push_back({.offset = publication.position.offset,
                            .json_begin = static_cast<uint32_t>(read.frames.size() - json_.size()),
                            .plain_end = static_cast<uint32_t>(read.frames.size()),
                            .compressed_end = 0,
                            .topic_end = static_cast<uint32_t>(page.topics.size())});
}

void Pages::keep(Read& read, uint64_t now_ns) {
    Page& page = *read.page;
    if (!read.frames.empty()) page.plain = outbox_.store(read.frames);
    page.read_at_ns = now_ns;
    memory_bytes_ += page.memory_bytes();
    shelves_[shelf_of(page.key)].push_back(&page);
    pages_.push_back(std::move(read.page));
    metrics_.add(Metric::history_pages_total);
}

void Pages::compress(Page& page) {
    if (page.compressed.chunk != nullptr || page.plain.chunk == nullptr) return;
    memory_bytes_ -= page.memory_bytes();
    std::string frames;
    const std::string_view plain{reinterpret_cast<const char*>(page.plain.data()),
                                 page.plain.size()};
    uint32_t begin = 0;
    for (Entry& entry : page.entries) {
        const std::string_view json =
            plain.substr(entry.json_begin, entry.plain_end - entry.json_begin);
        if (!outbox_.append_compressed_text(frames, json)) {
            frames.append(plain.substr(begin, entry.plain_end - begin));
        }
        begin = entry.plain_end;
        entry.compressed_end = static_cast<uint32_t>(frames.size());
    }
    page.compressed = outbox_.store(frames);
    memory_bytes_ += page.memory_bytes();
}

void Pages::on_message(uint32_t token, const Publication& publication) {
    append(reads_.at_index(token), publication);
}

void Pages::on_end(uint32_t token, HistoryExtent extent, uint64_t now_ns,
                   std::vector<Waiter>& waiters) {
    Read& read = reads_.at_index(token);
    heads_.advance({extent.partition, extent.head});
    read.page->upto = extent.upto;
    read.page->head = extent.head;
    read.page->floor = extent.floor;
    read.page->evictions = extent.evictions;
    read.page->filters_lost = std::move(extent.filters_lost);
    waiters.insert(waiters.end(), read.waiters.begin(), read.waiters.end());
    keep(read, now_ns);
    reads_.release(reads_.slot_of(token));
}

void Pages::trim(uint64_t now_ns) {
    while (!pages_.empty() &&
           (memory_bytes_ > memory_bytes_max || now_ns - pages_.front()->read_at_ns > age_ns_max)) {
        drop_front();
    }
}

void Pages::drop_front() {
    Page& page = *pages_.front();
    const auto found = shelves_.find(shelf_of(page.key));
    std::erase(found->second, &page);
    if (found->second.empty()) shelves_.erase(found);
    memory_bytes_ -= page.memory_bytes();
    if (page.plain.chunk != nullptr) outbox_.release(page.plain);
    if (page.compressed.chunk != nullptr) outbox_.release(page.compressed);
    lists_.release(page.key.list);
    pages_.pop_front();
}

}  // namespace broker
