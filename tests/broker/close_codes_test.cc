#include "broker/close_codes.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "codec/frame.h"
#include "codec/utf8.h"

namespace broker {
namespace {

TEST(CloseCodes, AreUniqueAndSendable) {
    std::set<uint16_t> codes;
    std::set<std::string_view> names;
    for (const CloseCodeRow& row : close_codes) {
        EXPECT_TRUE(codes.insert(static_cast<uint16_t>(row.code)).second) << row.name;
        EXPECT_TRUE(names.insert(row.name).second) << row.name;
        EXPECT_TRUE(codec::is_close_code_sendable(static_cast<uint16_t>(row.code))) << row.name;
        EXPECT_EQ(&row_of(row.code), &row);
    }
}

TEST(CloseCodes, TheRangeTellsWhatTheClientShallDo) {
    for (const CloseCodeRow& row : close_codes) {
        const uint16_t code = static_cast<uint16_t>(row.code);
        Reconnect expected = Reconnect::no;
        if (code == 1001 || code == 1012 || code == 1013) expected = Reconnect::with_jitter;
        if (code >= 4100 && code <= 4199) expected = Reconnect::after_retry_ms;
        if (code >= 4200 && code <= 4299) expected = Reconnect::at_once;
        EXPECT_EQ(row.reconnect, expected) << row.name;
        EXPECT_TRUE(code <= 1015 || (code >= 4000 && code <= 4299)) << row.name;
    }
}

TEST(CloseCodes, ReasonsFitIntoACloseFrame) {
    for (const CloseCodeRow& row : close_codes) {
        EXPECT_FALSE(row.reason.empty()) << row.name;
        EXPECT_LE(row.reason.size(), codec::control_payload_bytes_max - 2) << row.name;
        EXPECT_TRUE(codec::is_utf8(
            {reinterpret_cast<const uint8_t*>(row.reason.data()), row.reason.size()}));
    }
}

}  // namespace
}  // namespace broker
