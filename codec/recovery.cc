#include "codec/recovery.h"

#include "io/base/check.h"

namespace codec {

std::string_view name_of(Recovery recovery) {
    switch (recovery) {
        case Recovery::recovered: return "recovered";
#define FANFARE_X(name, reason) \
    case Recovery::name: return #name;
            FANFARE_RECOVERY_CODES(FANFARE_X)
#undef FANFARE_X
    }
    UNREACHABLE();
}

std::string_view reason_of(Recovery recovery) {
    switch (recovery) {
        case Recovery::recovered: return "";
#define FANFARE_X(name, reason) \
    case Recovery::name: return reason;
            FANFARE_RECOVERY_CODES(FANFARE_X)
#undef FANFARE_X
    }
    UNREACHABLE();
}

}  // namespace codec
