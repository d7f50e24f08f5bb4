#include "codec/forwarded_for.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace codec {
namespace {

// All entries from the right; "none" for what is no address.
std::vector<std::string> entries_of(const std::vector<HttpField>& fields) {
    const auto request = std::make_unique<HttpRequest>();
    for (const HttpField& field : fields) request->fields[request->fields_count++] = field;
    ForwardedFor reader(*request);
    std::vector<std::string> entries;
    IpAddress address;
    while (reader.next(address)) {
        entries.push_back(address.is_none() ? "none" : ip_address_text(address));
    }
    return entries;
}

std::vector<std::string> entries_of(std::string_view value) {
    return entries_of({{"X-Forwarded-For", value}});
}

using Entries = std::vector<std::string>;

TEST(ForwardedFor, ReadsFromTheRight) {
    EXPECT_EQ(entries_of("192.0.2.1, 192.0.2.2,2001:db8::1"),
              (Entries{"2001:db8::1", "192.0.2.2", "192.0.2.1"}));
    EXPECT_EQ(entries_of("192.0.2.1"), Entries{"192.0.2.1"});
    EXPECT_EQ(entries_of(""), Entries{});
    EXPECT_EQ(entries_of(std::vector<HttpField>{}), Entries{});
}

TEST(ForwardedFor, ManyFieldsAreOneList) {
    EXPECT_EQ(entries_of({{"X-Forwarded-For", "192.0.2.1,192.0.2.2"},
                          {"Host", "192.0.2.9"},
                          {"x-forwarded-for", "192.0.2.3"},
                          {"X-Forwarded-For", ""}}),
              (Entries{"192.0.2.3", "192.0.2.2", "192.0.2.1"}));
}

TEST(ForwardedFor, PortsAreLeftOut) {
    EXPECT_EQ(entries_of("[2001:db8::1]:443, [2001:db8::2], 192.0.2.1:80"),
              (Entries{"192.0.2.1", "2001:db8::2", "2001:db8::1"}));
}

TEST(ForwardedFor, EmptyEntriesAreSkipped) {
    EXPECT_EQ(entries_of(" , 192.0.2.1 ,,\t, "), Entries{"192.0.2.1"});
    EXPECT_EQ(entries_of(",,,"), Entries{});
}

TEST(ForwardedFor, WhatIsNoAddressIsNone) {
    for (const char* text :
         {"unknown", "_hidden", "192.0.2.1:", "192.0.2.1:123456", "192.0.2.1:x", "[192.0.2.1]:80",
          "[::1", "[::1]x", "[::1]:", "\"192.0.2.1\"", "192.0.2.1 192.0.2.2", "[]", ":80"}) {
        EXPECT_EQ(entries_of(text), Entries{"none"}) << text;
    }
    EXPECT_EQ(entries_of("192.0.2.1,unknown,192.0.2.2"),
              (Entries{"192.0.2.2", "none", "192.0.2.1"}));
}

}  // namespace
}  // namespace codec
