#include "codec/ip_address.h"

#include <gtest/gtest.h>

namespace codec {
namespace {

TEST(IpAddress, ReadsAndWrites) {
    for (const char* text : {"0.0.0.0", "192.0.2.1", "255.255.255.255", "::1", "2001:db8::1",
                             "2001:db8:1:2:3:4:5:6"}) {
        const std::optional<IpAddress> address = parse_ip_address(text);
        ASSERT_TRUE(address.has_value()) << text;
        EXPECT_FALSE(address->is_none());
        EXPECT_EQ(ip_address_text(*address), text);
    }
}

TEST(IpAddress, Ipv4IsTheSameAsItsMappedForm) {
    EXPECT_EQ(parse_ip_address("::ffff:192.0.2.1"), parse_ip_address("192.0.2.1"));
    EXPECT_TRUE(parse_ip_address("192.0.2.1")->is_v4());
    EXPECT_FALSE(parse_ip_address("::1")->is_v4());
    const uint8_t v4[4] = {192, 0, 2, 1};
    EXPECT_EQ(ip_address_text(ip_address_of_v4(v4)), "192.0.2.1");
    const IpAddress v6 = *parse_ip_address("2001:db8::1");
    EXPECT_EQ(ip_address_of_v6(v6.bytes), v6);
}

TEST(IpAddress, NoneIsTheUnspecifiedOne) {
    EXPECT_TRUE(IpAddress{}.is_none());
    EXPECT_TRUE(parse_ip_address("::")->is_none());
}

TEST(IpAddress, RefusesEverythingElse) {
    const std::string long_text(200, '1');
    for (const std::string_view text :
         {std::string_view(""), std::string_view("1"), std::string_view("192.0.2"),
          std::string_view("192.0.2.256"), std::string_view("192.0.2.1 "),
          std::string_view("192.0.2.1:80"), std::string_view("[::1]"), std::string_view("::1%lo"),
          std::string_view("1:2:3:4:5:6:7:8:9"), std::string_view("unknown"),
          std::string_view("192.0.2.1\0x", 11), std::string_view(long_text)}) {
        EXPECT_FALSE(parse_ip_address(text).has_value()) << text;
    }
}

}  // namespace
}  // namespace codec
