#include "topics/message_order.h"

#include <algorithm>
#include <iterator>

#include "io/base/check.h"

namespace topics {

namespace {

constexpr uint32_t prefetch_count = 8;

}  // namespace

void MessageOrder::append(StoredMessage* message) {
    if (chunks_.empty() || chunks_.rbegin()->second.count == chunk_count_max) {
        chunks_.emplace_hint(chunks_.end(), message->offset(),
                             Chunk{std::make_unique_for_overwrite<Messages>()});
    }
    Chunk& chunk = chunks_.rbegin()->second;
    DCHECK(chunk.count == 0 || (*chunk.messages)[chunk.count - 1]->offset() < message->offset());
    (*chunk.messages)[chunk.count++] = message;
}

void MessageOrder::remove(const StoredMessage* message) {
    auto place = chunks_.upper_bound(message->offset());
    CHECK(place != chunks_.begin());
    --place;
    Chunk& chunk = place->second;
    const auto found = std::find(chunk.begin(), chunk.end(), message);
    CHECK(found != chunk.end());
    std::copy(found + 1, chunk.end(), found);
    --chunk.count;
    if (chunk.count == 0) {
        // A chunk of one message stands only beside full ones and the last: nothing to merge.
        chunks_.erase(place);
        return;
    }
    if (merge_with_next(place) || place == chunks_.begin()) return;
    merge_with_next(std::prev(place));
}

bool MessageOrder::merge_with_next(Chunks::iterator place) {
    const auto next = std::next(place);
    if (next == chunks_.end() || std::next(next) == chunks_.end()) return false;
    Chunk& left = place->second;
    const Chunk& right = next->second;
    if (left.count + right.count > chunk_count_max) return false;
    std::copy(right.begin(), right.end(), left.end());
    left.count += right.count;
    chunks_.erase(next);
    return true;
}

MessageOrder::Cursor MessageOrder::above(uint64_t after) const {
    Cursor cursor;
    cursor.end_ = chunks_.end();
    cursor.chunk_ = chunks_.upper_bound(after);
    if (cursor.chunk_ == chunks_.begin()) return cursor;
    const auto before = std::prev(cursor.chunk_);
    const Chunk& chunk = before->second;
    const auto first = std::upper_bound(
        chunk.begin(), chunk.end(), after,
        [](uint64_t offset, const StoredMessage* message) { return offset < message->offset(); });
    if (first == chunk.end()) return cursor;
    cursor.chunk_ = before;
    cursor.index_ = static_cast<uint32_t>(first - chunk.begin());
    return cursor;
}

StoredMessage* MessageOrder::Cursor::message() const {
    return chunk_ == end_ ? nullptr : (*chunk_->second.messages)[index_];
}

void MessageOrder::Cursor::next() {
    DCHECK(chunk_ != end_);
    const Chunk& chunk = chunk_->second;
    if (++index_ < chunk.count) {
        // Messages stand anywhere; together the ones to come wait for memory but once.
        const uint32_t ahead = std::min(index_ + prefetch_count, chunk.count - 1);
        __builtin_prefetch((*chunk.messages)[ahead]);
        return;
    }
    ++chunk_;
    index_ = 0;
}

}  // namespace topics
