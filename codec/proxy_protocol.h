// The PROXY protocol, version 2 (HAProxy's specification, proxy-protocol.txt §2.2): a binary header
// before the first byte of a connection, by which a proxy says on whose behalf it speaks. Version
// 1, the textual one, is not known here.
//
// Pure; any thread.
// Invariants:
//  1. The same bytes give the same answer, however they arrived: what is invalid makes every longer
//     input invalid, and is told as early as the bytes allow.
//  2. Nothing behind the header is looked at.
#pragma once

#include <cstdint>
#include <span>

#include "codec/ip_address.h"

namespace codec {

// Header, addresses and type-length-values together. A proxy needs some hundreds of bytes, with the
// name and the certificate's subject of a TLS client; the length field could ask for 64 KiB.
inline constexpr uint32_t proxy_header_bytes_max = 4'096;

struct ProxyHeader {
    enum class Kind : uint8_t { need_more, header, invalid };
    Kind kind;
    uint32_t header_bytes = 0;  // kind header: what comes behind it is the client's
    // The proxy speaks for itself (LOCAL: a health check), does not know for whom, or says that it
    // is for somebody who sends datagrams.
    bool is_local = false;
    IpAddress source{};       // none: local, or a Unix socket's
    const char* reason = "";  // kind invalid: one sentence
};

// `bytes` begins with the connection, and holds all that arrived so far.
[[nodiscard]] ProxyHeader parse_proxy_header(std::span<const uint8_t> bytes);

}  // namespace codec
