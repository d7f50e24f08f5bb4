#include "codec/errors.h"

#include "io/base/check.h"

namespace codec {

std::string_view name_of(ErrorCode code) {
    switch (code) {
        case ErrorCode::none: return "none";
#define FANFARE_X(name, meaning) \
    case ErrorCode::name: return #name;
            FANFARE_ERROR_CODES(FANFARE_X)
#undef FANFARE_X
    }
    UNREACHABLE();
}

std::string_view meaning_of(ErrorCode code) {
    switch (code) {
        case ErrorCode::none: return "";
#define FANFARE_X(name, meaning) \
    case ErrorCode::name: return meaning;
            FANFARE_ERROR_CODES(FANFARE_X)
#undef FANFARE_X
    }
    UNREACHABLE();
}

}  // namespace codec
