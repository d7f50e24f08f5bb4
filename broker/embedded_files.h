// The files that the build has put into the binary (cmake/EmbedFile.cmake).
//
// Owner: nobody, they are constant. Thread: any.
// Invariants:
//  1. Byte for byte the files at build time; they live as long as the process.
#pragma once

#include <string_view>

namespace broker {

struct EmbeddedFile {
    std::string_view bytes;
    std::string_view etag;  // with its quotes; another one for other bytes
};

EmbeddedFile browser_client();     // clients/js/fanfare.js
EmbeddedFile example_chat();       // examples/chat.html
EmbeddedFile example_dashboard();  // examples/dashboard.html
EmbeddedFile example_raw();        // examples/raw.html

}  // namespace broker
