#include "broker/trusted_proxies.h"

#include <gtest/gtest.h>

namespace broker {
namespace {

codec::IpAddress ip(std::string_view text) {
    return codec::parse_ip_address(text).value();
}

bool contains(std::string_view block, std::string_view address) {
    return parse_cidr(block).value().contains(ip(address));
}

TEST(Cidr, ContainsWhatSharesItsPrefix) {
    EXPECT_TRUE(contains("10.0.0.0/8", "10.255.1.2"));
    EXPECT_FALSE(contains("10.0.0.0/8", "11.0.0.0"));
    EXPECT_TRUE(contains("192.0.2.128/25", "192.0.2.128"));
    EXPECT_FALSE(contains("192.0.2.128/25", "192.0.2.127"));
    EXPECT_TRUE(contains("192.0.2.4/31", "192.0.2.5"));
    EXPECT_FALSE(contains("192.0.2.4/31", "192.0.2.6"));
    EXPECT_TRUE(contains("192.0.2.7", "192.0.2.7"));
    EXPECT_FALSE(contains("192.0.2.7", "192.0.2.6"));
    EXPECT_TRUE(contains("2001:db8::/33", "2001:db8:7fff::1"));
    EXPECT_FALSE(contains("2001:db8::/33", "2001:db8:8000::1"));
    EXPECT_TRUE(contains("::1", "::1"));
    EXPECT_FALSE(contains("::1", "::2"));
}

TEST(Cidr, AllOfIpv4IsNotAllOfIpv6) {
    EXPECT_TRUE(contains("0.0.0.0/0", "203.0.113.9"));
    EXPECT_FALSE(contains("0.0.0.0/0", "2001:db8::1"));
    EXPECT_TRUE(contains("::/0", "2001:db8::1"));
    EXPECT_TRUE(contains("::/0", "203.0.113.9"));
    EXPECT_TRUE(contains("::ffff:10.0.0.0/104", "10.9.9.9"));
}

TEST(Cidr, RefusesWhatIsNoBlock) {
    for (const char* text :
         {"", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/8/8", "10.0.0.0/-1", "10.0.0.0/ 8",
          "10.0.0/8", "10.0.0.1/8", "2001:db8::/129", "2001:db8::1/64", "[::1]", "localhost",
          "10.0.0.0/8 ", "10.0.0.0/99999999999999999999", "fe80::1%eth0"}) {
        EXPECT_FALSE(parse_cidr(text).has_value()) << text;
    }
}

TEST(TrustedProxies, TrustsWhatIsNamed) {
    const std::vector<std::string> names = {"10.0.0.0/8", "2001:db8::1"};
    const TrustedProxies proxies(names);
    EXPECT_TRUE(proxies.trusts(ip("10.1.2.3")));
    EXPECT_TRUE(proxies.trusts(ip("2001:db8::1")));
    EXPECT_FALSE(proxies.trusts(ip("2001:db8::2")));
    EXPECT_FALSE(proxies.trusts(ip("127.0.0.1")));
    EXPECT_FALSE(proxies.trusts({})) << "a Unix socket is not named";
}

TEST(TrustedProxies, TrustsUnixSocketsByName) {
    const std::vector<std::string> names = {"unix"};
    EXPECT_TRUE(TrustedProxies(names).trusts({}));
    EXPECT_FALSE(TrustedProxies(names).trusts(ip("127.0.0.1")));
    const std::vector<std::string> all = {"::/0"};
    EXPECT_FALSE(TrustedProxies(all).trusts({})) << "who has no address is in no block";
    EXPECT_FALSE(TrustedProxies({}).trusts({}));
}

}  // namespace
}  // namespace broker
