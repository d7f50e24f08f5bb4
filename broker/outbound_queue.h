// OutboundQueue: what waits to be sent on one connection, as ranges of chunks in the order of the
// wire.
//
// Owner: a connection holds one by value. Thread: its shard's.
//
// Two entrances: push() is the ordered stream; push_control() may overtake it, but only at the
// boundary of a frame (a pong must not wait behind a megabyte of messages). Control ranges are
// staged aside and spliced in before the first whole ordered frame when the next send is put
// together, which never happens while one is in flight.
//
// Invariants:
//  1. Bytes leave in the order of the ranges; a frame that has begun to leave is finished before
//     any other byte.
//  2. While a send is in flight its ranges stay at the front, untouched but for the growth of the
//     last one's end.
//  3. backlog_bytes() is the sum of all ranges, staged ones and those in flight included.
//  4. An empty queue holds no memory beyond itself.
//  5. Ordered frames leave in the order of their pushes, and so do control frames.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>

#include "broker/chunk.h"

namespace broker {

// A FIFO of ranges that can also grow at its front. The first range stands in the object itself: a
// queue of one range, which is the usual case, needs no memory of its own.
class RangeList {
  public:
    uint32_t count() const { return count_; }
    Range& operator[](uint32_t position) {
        DCHECK(position < count_);
        return capacity_ == 0 ? inline_ : more_[(head_ + position) & (capacity_ - 1)];
    }
    const Range& operator[](uint32_t position) const {
        DCHECK(position < count_);
        return capacity_ == 0 ? inline_ : more_[(head_ + position) & (capacity_ - 1)];
    }
    Range& back() { return (*this)[count_ - 1]; }
    void push_back(const Range& range);
    void push_front(const Range& range);
    void pop_front();
    void pop_back();

  private:
    void grow();
    void shrink_if_empty();

    Range inline_;
    std::unique_ptr<Range[]> more_;  // a ring, null while one range suffices
    uint32_t head_ = 0;
    uint32_t count_ = 0;
    uint32_t capacity_ = 0;  // of more_, a power of two; 0: inline_ is used
};

class OutboundQueue {
  public:
    bool is_empty() const { return backlog_bytes_ == 0; }
    uint32_t backlog_bytes() const { return backlog_bytes_; }
    // What the list of the ranges takes. It passes the backlog only where frames are shorter than
    // an entry of it and lie apart: pongs, of two bytes each.
    uint64_t list_bytes() const {
        const uint32_t staged_count = control_ == nullptr ? 0 : control_->count();
        return (uint64_t{stream_.count()} + staged_count) * sizeof(Range);
    }
    bool is_in_flight() const { return in_flight_bytes_ > 0; }
    uint32_t in_flight_bytes() const { return in_flight_bytes_; }

    // The number of the first chunk in line, which is the oldest but for control frames. The queue
    // must not be empty.
    uint64_t oldest_chunk_number() const;

    // Appends frames to the ordered stream. Takes a reference of its own where it needs one.
    void push(const Range& range);
    // The same for frames that lie right behind the last ones, which is the usual case when many
    // messages are published at once. False, and nothing happens, when they do not (or the range is
    // none), or when the queue would grow beyond `most_bytes`.
    [[nodiscard]] bool extend(const Range& range, uint64_t most_bytes) {
        if (stream_.count() == 0) return false;
        Range& last = stream_.back();
        if (last.chunk != range.chunk || last.end != range.begin) return false;
        if (uint64_t{backlog_bytes_} + range.size() > most_bytes) return false;
        last.end = range.end;
        backlog_bytes_ += range.size();
        return true;
    }
    // Appends whole frames that may overtake the ordered stream.
    void push_control(const Range& range);
    // Watches what was pushed last by push_control(), which has left when has_watched_left() says
    // so. A later call forgets the earlier one.
    void watch_control();
    bool has_watched_left() const { return watched_bytes_ == 0; }
    // Appends bytes that are no frames (an HTTP response). Legal only while no frame is queued.
    void push_raw(const Range& range);

    // Puts the next send together: up to parts.size() buffers; answers how many. Nothing may be in
    // flight, and the queue must not be empty. From now on until sent() a send is in flight.
    [[nodiscard]] uint32_t gather(std::span<iovec> parts, ChunkPool& chunks);
    // The send ended after `bytes` (0 when it failed): gives up what has left.
    void sent(uint32_t bytes, ChunkPool& chunks);

    // Drops everything but the rest of a frame that has begun to leave (so that a Close frame can
    // follow), or, when nothing can be sent any more, everything. Requires that nothing is in
    // flight.
    void drop_to_boundary(ChunkPool& chunks);
    void drop_all(ChunkPool& chunks);

  private:
    static constexpr uint32_t coalesce_ranges_min = 4;
    static constexpr uint32_t coalesce_bytes_max = 16 * 1024;

    void append(RangeList& list, const Range& range);
    void splice_control();
    void coalesce(ChunkPool& chunks);
    void advance_boundary(uint32_t bytes);

    RangeList stream_;
    std::unique_ptr<RangeList> control_;  // what is staged; null while nothing is
    uint32_t backlog_bytes_ = 0;
    uint32_t in_flight_bytes_ = 0;
    // Bytes at the front of stream_ that must leave before anything may overtake: the rest of a
    // frame that has begun to leave, or of raw bytes. 0: the front is a frame's boundary.
    uint32_t boundary_bytes_ = 0;
    // Bytes at the front of stream_ that control frames do not overtake: what boundary_bytes_ says,
    // or the control frames that stand in front already. They keep their order among themselves.
    uint32_t lead_bytes_ = 0;
    // Bytes at the front of stream_ up to the end of what is watched.
    uint32_t watched_bytes_ = 0;
    static constexpr uint32_t watched_is_staged = UINT32_MAX;  // it stands in control_ still
};

}  // namespace broker
