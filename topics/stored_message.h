// StoredMessage: a message that history keeps; one block of memory, the payload behind the head.
//
// Owner: HistoryStore, which creates and destroys it; a MessageOrder and a MessageRing point to it.
// Thread: its owner's.
#pragma once

#include <algorithm>
#include <cstdint>
#include <new>
#include <string_view>

#include "io/base/check.h"
#include "topics/heap_bytes.h"

namespace topics {

class StoredMessage {
  public:
    // A partition that gets a million messages per second gets there in two thousand years.
    static constexpr uint64_t offset_max = (uint64_t{1} << 56) - 1;

    struct Head {
        uint64_t offset;
        uint8_t kind = 0;
        int64_t time_ns = 0;  // of the append; before zero when it was restored after a restart
        uint32_t topic = 0;
    };

    uint64_t offset() const { return offset_and_kind_ >> 8; }
    uint8_t kind() const { return static_cast<uint8_t>(offset_and_kind_); }
    int64_t time_ns() const { return time_ns_; }
    uint32_t topic() const { return topic_; }
    uint32_t payload_bytes() const { return payload_bytes_; }
    std::string_view payload() const {
        return {reinterpret_cast<const char*>(this + 1), payload_bytes_};
    }
    // What the message takes, with what the allocator adds.
    uint64_t memory_bytes() const { return heap_bytes(sizeof(StoredMessage) + payload_bytes_); }

    static StoredMessage* create(const Head& head, std::string_view payload) {
        CHECK(head.offset <= offset_max && payload.size() <= UINT32_MAX);
        void* block = ::operator new(sizeof(StoredMessage) + payload.size());
        StoredMessage* message =
            new (block) StoredMessage(head, static_cast<uint32_t>(payload.size()));
        std::copy_n(payload.data(), payload.size(), reinterpret_cast<char*>(message + 1));
        return message;
    }
    static void destroy(StoredMessage* message) { ::operator delete(message); }

  private:
    StoredMessage(const Head& head, uint32_t payload_bytes)
        : offset_and_kind_(head.offset << 8 | head.kind),
          time_ns_(head.time_ns),
          topic_(head.topic),
          payload_bytes_(payload_bytes) {}

    uint64_t offset_and_kind_;
    int64_t time_ns_;
    uint32_t topic_;
    uint32_t payload_bytes_;
};
static_assert(sizeof(StoredMessage) == 24);

}  // namespace topics
