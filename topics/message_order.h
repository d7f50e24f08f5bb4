// MessageOrder: the kept messages of one partition, in the order of their offsets.
//
// Offsets are dense where messages are new and sparse where they are old: one topic may keep one
// message for ever while another one moves the head by billions. So the messages stand in chunks
// of pointers, and an ordered map finds the chunk. A chunk is searched by address, which reads no
// message, so evicting touches only what it evicts.
//
// Owner: HistoryStore, one for each partition. Thread: its owner's.
// Invariants:
//  1. No chunk is empty. A removal leaves no two neighbours that fit into one, so chunks are more
//     than half full on average; the last chunk is left alone, for it is about to grow.
//  2. The key of a chunk is at most the first offset in it and above the last one before it.
// Cost: 8 bytes per message in a full chunk, 12 after much random eviction. Append is O(1), removal
// and seeking O(log chunks).
#pragma once

#include <absl/container/btree_map.h>

#include <array>
#include <cstdint>
#include <memory>

#include "topics/heap_bytes.h"
#include "topics/stored_message.h"

namespace topics {

class MessageOrder {
  private:
    // With the allocator's 8 bytes it fills one of its sizes, 512.
    static constexpr uint32_t chunk_count_max = 63;
    using Messages = std::array<StoredMessage*, chunk_count_max>;
    // The count stands in the map, so that asking whether neighbours fit into one reads no chunk.
    struct Chunk {
        std::unique_ptr<Messages> messages;
        uint32_t count = 0;

        auto begin() const { return messages->begin(); }
        auto end() const { return messages->begin() + count; }
    };
    using Chunks = absl::btree_map<uint64_t, Chunk>;

  public:
    // What a chunk takes: itself and about its entry in the map.
    static constexpr uint64_t chunk_memory_bytes = heap_bytes(sizeof(Messages)) + 32;

    bool is_empty() const { return chunks_.empty(); }

    // The offset must be above all others.
    void append(StoredMessage* message);
    // The message must stand here.
    void remove(const StoredMessage* message);

    // Walks messages by rising offset; dies with the next change.
    class Cursor {
      public:
        // Null at the end.
        StoredMessage* message() const;
        void next();

      private:
        friend class MessageOrder;
        Chunks::const_iterator chunk_;
        Chunks::const_iterator end_;
        uint32_t index_ = 0;
    };
    // Begins at the first message above `after`.
    Cursor above(uint64_t after) const;

    uint64_t memory_bytes() const { return chunks_.size() * chunk_memory_bytes; }

  private:
    // Moves the messages of the chunk behind into this one if all fit.
    bool merge_with_next(Chunks::iterator place);

    Chunks chunks_;
};

}  // namespace topics
