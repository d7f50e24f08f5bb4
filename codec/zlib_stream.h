// ZlibStream: a z_stream of zlib whose memory is counted. Only inflater.cc and deflater.cc see it.
//
// Owner: an Inflater or a Deflater, by pointer. Thread: its owner's.
// Invariants:
//  1. It never moves: zlib's state points back to its z_stream.
//  2. memory_bytes is what zlib asked for. zlib frees only at its end, so nothing is subtracted.
//
// There is no error for memory that the system refuses: zlib answers Z_MEM_ERROR, which its users
// CHECK, so that it ends the process as operator new does everywhere else.
#pragma once

// Makes z_stream::next_in a pointer to const.
#define ZLIB_CONST
#include <zlib.h>

#include <cstdint>
#include <cstdlib>

namespace codec {

class ZlibStream {
  public:
    // `end` is inflateEnd or deflateEnd; both take a stream that was never begun.
    using End = int (*)(z_stream*);
    explicit ZlibStream(End end) : end_(end) {
        zlib.opaque = this;
        zlib.zalloc = [](void* stream, uInt items, uInt item_bytes) -> void* {
            static_cast<ZlibStream*>(stream)->memory_bytes += uint64_t{items} * item_bytes;
            return std::calloc(items, item_bytes);
        };
        zlib.zfree = [](void*, void* memory) { std::free(memory); };
    }
    ~ZlibStream() { static_cast<void>(end_(&zlib)); }
    ZlibStream(const ZlibStream&) = delete;
    ZlibStream& operator=(const ZlibStream&) = delete;

    z_stream zlib = {};
    uint64_t memory_bytes = 0;

  private:
    End end_;
};

}  // namespace codec
