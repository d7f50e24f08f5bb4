#include "broker/outbound_queue.h"

#include <algorithm>
#include <utility>

#include "codec/frame.h"

namespace broker {

void RangeList::push_back(const Range& range) {
    if (count_ == (capacity_ == 0 ? 1 : capacity_)) grow();
    ++count_;
    back() = range;
}

void RangeList::push_front(const Range& range) {
    if (count_ == (capacity_ == 0 ? 1 : capacity_)) grow();
    if (capacity_ > 0) head_ = (head_ - 1) & (capacity_ - 1);
    ++count_;
    (*this)[0] = range;
}

void RangeList::pop_front() {
    DCHECK(count_ > 0);
    if (capacity_ > 0) head_ = (head_ + 1) & (capacity_ - 1);
    --count_;
    shrink_if_empty();
}

void RangeList::pop_back() {
    DCHECK(count_ > 0);
    --count_;
    shrink_if_empty();
}

void RangeList::grow() {
    const uint32_t capacity = capacity_ == 0 ? 4 : capacity_ * 2;
    auto grown = std::make_unique<Range[]>(capacity);
    for (uint32_t position = 0; position < count_; ++position) grown[position] = (*this)[position];
    more_ = std::move(grown);
    capacity_ = capacity;
    head_ = 0;
}

void RangeList::shrink_if_empty() {
    if (count_ > 0 || capacity_ == 0) return;
    more_.reset();
    capacity_ = 0;
    head_ = 0;
}

void OutboundQueue::append(RangeList& list, const Range& range) {
    backlog_bytes_ += range.size();
    if (list.count() > 0) {
        Range& last = list.back();
        if (last.chunk == range.chunk && last.end == range.begin) {
            last.end = range.end;
            return;
        }
    }
    ChunkPool::retain(range);
    list.push_back(range);
}

uint64_t OutboundQueue::oldest_chunk_number() const {
    CHECK(!is_empty());
    return (stream_.count() > 0 ? stream_ : *control_)[0].chunk->number;
}

void OutboundQueue::push(const Range& range) {
    append(stream_, range);
}

void OutboundQueue::push_control(const Range& range) {
    // With nothing to overtake, the stream itself is the shortest way and keeps neighbours
    // together.
    if (control_ == nullptr && lead_bytes_ == backlog_bytes_) {
        append(stream_, range);
        lead_bytes_ += range.size();
        return;
    }
    if (control_ == nullptr) control_ = std::make_unique<RangeList>();
    append(*control_, range);
}

void OutboundQueue::watch_control() {
    watched_bytes_ = control_ != nullptr ? watched_is_staged : lead_bytes_;
}

void OutboundQueue::push_raw(const Range& range) {
    CHECK(boundary_bytes_ == backlog_bytes_);
    append(stream_, range);
    boundary_bytes_ += range.size();
    lead_bytes_ = boundary_bytes_;
}

void OutboundQueue::splice_control() {
    if (control_ == nullptr) return;
    // Take what must not be overtaken off the front, put the control ranges there, and what was
    // taken before them.
    uint32_t left = lead_bytes_;
    RangeList lead;
    while (left > 0) {
        Range& front = stream_[0];
        if (front.size() <= left) {
            left -= front.size();
            lead.push_back(front);
            stream_.pop_front();
        } else {
            Range head = front;
            head.end = head.begin + left;
            front.begin = head.end;
            ChunkPool::retain(head);
            lead.push_back(head);
            left = 0;
        }
    }
    while (control_->count() > 0) {
        lead_bytes_ += control_->back().size();
        stream_.push_front(control_->back());
        control_->pop_back();
    }
    control_.reset();
    // With it have come control frames that were pushed later: they leave in the same send.
    if (watched_bytes_ == watched_is_staged) watched_bytes_ = lead_bytes_;
    while (lead.count() > 0) {
        stream_.push_front(lead.back());
        lead.pop_back();
    }
}

void OutboundQueue::coalesce(ChunkPool& chunks) {
    // Many small pieces from many places cost the kernel more per buffer than one copy costs us.
    if (stream_.count() < coalesce_ranges_min || backlog_bytes_ > coalesce_bytes_max) return;
    uint8_t together[coalesce_bytes_max];
    uint32_t used = 0;
    while (stream_.count() > 0) {
        const Range range = stream_[0];
        std::memcpy(together + used, range.data(), range.size());
        used += range.size();
        stream_.pop_front();
        chunks.release(range);
    }
    const Range one = chunks.append({together, used}, {});
    stream_.push_back(one);  // which takes the reference over
}

uint32_t OutboundQueue::gather(std::span<iovec> parts, ChunkPool& chunks) {
    CHECK(!is_in_flight() && !is_empty());
    if (stream_.count() == 1 && control_ == nullptr) {
        const Range& only = stream_[0];
        parts[0] = iovec{only.data(), only.size()};
        in_flight_bytes_ = only.size();
        return 1;
    }
    splice_control();
    coalesce(chunks);
    const uint32_t count = std::min(stream_.count(), static_cast<uint32_t>(parts.size()));
    for (uint32_t position = 0; position < count; ++position) {
        const Range& range = stream_[position];
        parts[position] = iovec{range.data(), range.size()};
        in_flight_bytes_ += range.size();
    }
    return count;
}

void OutboundQueue::sent(uint32_t bytes, ChunkPool& chunks) {
    CHECK(is_in_flight() && bytes <= in_flight_bytes_);
    if (bytes == in_flight_bytes_) {
        // All that was gathered has left. What is gathered ends with a whole frame, or inside raw
        // bytes.
        boundary_bytes_ -= std::min(boundary_bytes_, bytes);
    } else {
        advance_boundary(bytes);
    }
    lead_bytes_ = std::max(lead_bytes_ - std::min(lead_bytes_, bytes), boundary_bytes_);
    if (watched_bytes_ != watched_is_staged) watched_bytes_ -= std::min(watched_bytes_, bytes);
    in_flight_bytes_ = 0;
    backlog_bytes_ -= bytes;
    while (bytes > 0) {
        Range& front = stream_[0];
        if (front.size() > bytes) {
            front.begin += bytes;
            return;
        }
        bytes -= front.size();
        const Range left = front;
        stream_.pop_front();
        chunks.release(left);
    }
}

void OutboundQueue::advance_boundary(uint32_t bytes) {
    if (bytes <= boundary_bytes_) {
        boundary_bytes_ -= bytes;
        return;
    }
    // Walk the frames from the last known boundary to the first one that has not left completely.
    uint64_t to_skip = boundary_bytes_;
    uint64_t left = bytes - boundary_bytes_;
    boundary_bytes_ = 0;
    for (uint32_t position = 0; position < stream_.count(); ++position) {
        const Range& range = stream_[position];
        if (range.size() <= to_skip) {
            to_skip -= range.size();
            continue;
        }
        uint32_t at = range.begin + static_cast<uint32_t>(to_skip);
        to_skip = 0;
        while (at < range.end) {
            if (left == 0) return;
            const uint64_t frame =
                codec::unmasked_frame_bytes({range.chunk->bytes() + at, range.end - at});
            if (frame > left) {
                boundary_bytes_ = static_cast<uint32_t>(frame - left);
                return;
            }
            left -= frame;
            at += static_cast<uint32_t>(frame);
        }
    }
}

void OutboundQueue::drop_to_boundary(ChunkPool& chunks) {
    CHECK(!is_in_flight());
    uint32_t kept = 0;
    uint32_t position = 0;
    while (kept < boundary_bytes_) {
        Range& range = stream_[position++];
        if (kept + range.size() > boundary_bytes_) range.end = range.begin + boundary_bytes_ - kept;
        kept += range.size();
    }
    while (stream_.count() > position) {
        chunks.release(stream_.back());
        stream_.pop_back();
    }
    while (control_ != nullptr && control_->count() > 0) {
        chunks.release(control_->back());
        control_->pop_back();
    }
    control_.reset();
    backlog_bytes_ = kept;
    lead_bytes_ = kept;
    watched_bytes_ = 0;
}

void OutboundQueue::drop_all(ChunkPool& chunks) {
    boundary_bytes_ = 0;
    drop_to_boundary(chunks);
}

}  // namespace broker
