// ForwardedFor: the addresses that proxies have written into X-Forwarded-For, from the last one to
// the first. Each proxy appends the address of whoever spoke to it, so only as many entries from
// the right can be believed as there are proxies that are trusted; what stands left of them is
// whatever a client made up.
//
// Owner: whoever reads a request, on its stack. Pure; any thread. It lives as long as the request.
#pragma once

#include <string_view>

#include "codec/http.h"
#include "codec/ip_address.h"

namespace codec {

class ForwardedFor {
  public:
    explicit ForwardedFor(const HttpRequest& request) : request_(request) {
        fields_left_ = request.fields_count;
    }

    // The next entry from the right; false when there is none. Ports are accepted and left out
    // ("192.0.2.1:80", "[2001:db8::1]:80"); `address` is none for an entry that is no address
    // ("unknown", or nonsense), as far as which everything is understood and no further.
    [[nodiscard]] bool next(IpAddress& address);

  private:
    const HttpRequest& request_;
    uint32_t fields_left_;   // those from here on were read
    std::string_view rest_;  // of the field that is being read, without what was handed out
};

}  // namespace codec
