// Whatever a connection begins with: the answer is the same however the bytes arrive, what is
// invalid stays so, a header is within its bounds, and the account of an X-Forwarded-For ends.
//
// Input: the bytes of a connection. All of them are also taken as the value of a field.

#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "codec/forwarded_for.h"
#include "codec/proxy_protocol.h"
#include "io/base/check.h"

namespace {

using codec::ProxyHeader;
using Kind = codec::ProxyHeader::Kind;

// A copy of exactly so many bytes, so that AddressSanitizer sees who reads further.
ProxyHeader parse_copy(const uint8_t* data, size_t size) {
    const auto copy = std::make_unique<uint8_t[]>(size);
    if (size > 0) std::memcpy(copy.get(), data, size);
    return codec::parse_proxy_header({copy.get(), size});
}

void check_header(const uint8_t* data, size_t size) {
    const ProxyHeader whole = parse_copy(data, size);
    size_t decided_at = size + 1;  // the least number of bytes that gives the answer
    const size_t steps =
        size < codec::proxy_header_bytes_max ? size : codec::proxy_header_bytes_max;
    for (size_t bytes = 0; bytes <= steps; ++bytes) {
        const ProxyHeader part = parse_copy(data, bytes);
        if (part.kind == Kind::need_more) {
            CHECK(decided_at > size);  // nothing that was decided becomes undecided
            continue;
        }
        if (decided_at > size) decided_at = bytes;
        CHECK(part.kind == whole.kind);
        CHECK(part.header_bytes == whole.header_bytes && part.source == whole.source);
    }
    CHECK((whole.kind == Kind::need_more) == (decided_at > size));
    if (whole.kind != Kind::header) return;
    CHECK(whole.header_bytes == decided_at && whole.header_bytes >= 16);
    CHECK(whole.header_bytes <= codec::proxy_header_bytes_max);
    CHECK(!whole.is_local || whole.source.is_none());
}

void check_forwarded_for(std::string_view value) {
    const auto request = std::make_unique<codec::HttpRequest>();
    request->fields[0] = {"X-Forwarded-For", value};
    request->fields_count = 1;
    codec::ForwardedFor entries(*request);
    codec::IpAddress address;
    size_t count = 0;
    while (entries.next(address)) {
        ++count;
        if (address.is_none()) continue;
        CHECK(codec::parse_ip_address(codec::ip_address_text(address)) == address);
    }
    CHECK(count <= value.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    check_header(data, size);
    check_forwarded_for({reinterpret_cast<const char*>(data), size});
    return 0;
}
