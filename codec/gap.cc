#include "codec/gap.h"

#include "io/base/check.h"

namespace codec {

std::string_view name_of(GapCode code) {
    switch (code) {
#define FANFARE_X(name, reason) \
    case GapCode::name: return #name;
        FANFARE_GAP_CODES(FANFARE_X)
#undef FANFARE_X
        case GapCode::count: break;
    }
    UNREACHABLE();
}

}  // namespace codec
