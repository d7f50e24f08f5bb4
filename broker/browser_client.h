// The client for browsers, clients/js/fanfare.js, as the build has put it into the binary.
//
// Owner: nobody, it is constant. Thread: any.
// Invariants:
//  1. Byte for byte the file at build time; it lives as long as the process.
#pragma once

#include <string_view>

namespace broker {

std::string_view browser_client();

}  // namespace broker
