// The state file: what a broker that stopped in good order leaves for the next one, so that clients
// resume as if nothing had happened. StateWriter writes it, StateReader reads it; this is what it
// looks like.
//
//     file     = preface, block…
//     preface  = magic, version (u32), zero (u32)
//     block    = BlockHead, content
//     content  of the first block: StateHead; of the last: StateCounts; of all others: record…
//     record   = RecordTag (u8), then
//       partition  number (u32), head (u64), forgotten floor (u64)
//       topic      floor (u64), its name; of the last partition
//       message    offset (u64), age in ns (u64), kind (u8), the topic's name, payload bytes (u32),
//                  payload; of the last partition
//       keys_of    the shard (u32) whose keys follow
//       key        hash (2 × u64), offset (u64), age in ns (u64)
//     name     = bytes (u16), UTF-8
//
// Numbers are little-endian. Partitions, topics and messages stand in the order of
// topics::History::Saver, keys in that of topics::KeyWindow::Saver, shard after shard. Records do
// not cross blocks, so a reader holds one block at a time. Nothing in the file depends on the
// number of shards but for whose keys they are: partitions are given to owners again when they are
// read.
//
// A block is believed only after its length was compared with the limit and with what is left of
// the file, and its checksum (which covers its place in the file) is right; a record only after it
// was found to end inside of its block; the whole only after its last block was read, which counts
// what must have come before, and nothing follows it.
//
// Pure; any thread.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <span>
#include <string>

#include "io/base/units.h"

namespace broker {

static_assert(std::endian::native == std::endian::little);

inline constexpr std::array<char, 8> state_magic = {'f', 'a', 'n', 'f', 'a', 'r', 'e', '\n'};
inline constexpr uint32_t state_version = 1;
inline constexpr size_t state_preface_bytes = 16;
// A message (of --message-max at most) with everything around it fits into one block.
inline constexpr uint32_t state_block_bytes_max = 17 * base::mib;
inline constexpr size_t state_epoch_bytes_max = 64;

enum class BlockKind : uint32_t { head = 1, records = 2, end = 3 };

enum class RecordTag : uint8_t { partition = 1, topic = 2, message = 3, keys_of = 4, key = 5 };

struct BlockHead {
    BlockKind kind;
    uint32_t content_bytes;
    uint64_t index;     // 0, 1, 2… from the beginning of the file
    uint64_t checksum;  // block_checksum()
};
static_assert(sizeof(BlockHead) == 24);

// XXH3 of the content, seeded by the head's other fields.
uint64_t block_checksum(const BlockHead& head, std::span<const uint8_t> content);

// What positions mean, and when they were saved.
struct StateHead {
    std::string epoch;  // 1 to state_epoch_bytes_max bytes
    uint64_t hash_seed = 0;
    uint64_t saved_wall_ns = 0;
    uint32_t partitions_count = 0;
    uint32_t shards_count = 0;  // whose keys follow

    bool operator==(const StateHead&) const = default;
};

struct StateCounts {
    uint64_t partitions = 0;
    uint64_t topics = 0;
    uint64_t messages = 0;
    uint64_t keys = 0;
    uint64_t file_bytes = 0;

    bool operator==(const StateCounts&) const = default;
};

}  // namespace broker
