// Reads a Cursor from JSON, in the messages of the broker and in cursor files alike. Only for files
// that use simdjson anyway. Pure; any thread.
#pragma once

#include <simdjson.h>

#include "tools/cursor.h"

namespace tools {

// Fills `cursor` with what is right in `field`, which is {"epoch":"…","pos":["0:17",…]}. False when
// something in it is not: a reader may go on all the same, since an incomplete cursor may make the
// broker repeat, but never makes it leave something out.
[[nodiscard]] bool read_cursor(simdjson::ondemand::value& field, Cursor& cursor);

}  // namespace tools
