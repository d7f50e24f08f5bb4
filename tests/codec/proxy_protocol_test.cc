#include "codec/proxy_protocol.h"

#include <gtest/gtest.h>

#include <string>

namespace codec {
namespace {

using Kind = ProxyHeader::Kind;

const std::string signature("\r\n\r\n\0\r\nQUIT\n", 12);

std::string header(uint8_t version, uint8_t family, const std::string& rest, int length = -1) {
    const size_t bytes = length < 0 ? rest.size() : static_cast<size_t>(length);
    std::string out = signature;
    out += static_cast<char>(version);
    out += static_cast<char>(family);
    out += static_cast<char>(bytes >> 8);
    out += static_cast<char>(bytes & 0xff);
    return out + rest;
}

std::string tcp4(const std::string& tlvs = {}) {
    return header(0x21, 0x11,
                  std::string("\xc0\x00\x02\x01\x0a\x00\x00\x01\x12\x34\x00\x50", 12) + tlvs);
}

std::string tcp6() {
    std::string source("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07", 16);
    return header(0x21, 0x21, source + std::string(16 + 4, '\1'));
}

ProxyHeader parse(const std::string& bytes) {
    return parse_proxy_header({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

TEST(ProxyProtocol, ReadsTheSource) {
    const ProxyHeader v4 = parse(tcp4());
    EXPECT_EQ(v4.kind, Kind::header);
    EXPECT_EQ(v4.header_bytes, 28U);
    EXPECT_FALSE(v4.is_local);
    EXPECT_EQ(ip_address_text(v4.source), "192.0.2.1");
    const ProxyHeader v6 = parse(tcp6());
    EXPECT_EQ(v6.kind, Kind::header);
    EXPECT_EQ(v6.header_bytes, 52U);
    EXPECT_EQ(ip_address_text(v6.source), "2001:db8::7");
}

TEST(ProxyProtocol, AUnixSocketHasNoAddress) {
    const ProxyHeader unix_header = parse(header(0x21, 0x31, std::string(216, 'x')));
    EXPECT_EQ(unix_header.kind, Kind::header);
    EXPECT_FALSE(unix_header.is_local);
    EXPECT_TRUE(unix_header.source.is_none());
    EXPECT_EQ(parse(header(0x21, 0x31, std::string(215, 'x'))).kind, Kind::invalid);
}

TEST(ProxyProtocol, AProxyMaySpeakForItself) {
    for (const std::string& bytes :
         {header(0x20, 0x00, ""), header(0x20, 0x11, "abc"), header(0x20, 0xff, ""),
          header(0x21, 0x00, ""), header(0x21, 0x00, "whatever")}) {
        const ProxyHeader local = parse(bytes);
        EXPECT_EQ(local.kind, Kind::header);
        EXPECT_TRUE(local.is_local);
        EXPECT_TRUE(local.source.is_none());
        EXPECT_EQ(local.header_bytes, bytes.size());
    }
}

// §2.2: of what is assigned and not supported, the receiver falls back to UNSPEC.
TEST(ProxyProtocol, DatagramsAreOfNobodyKnown) {
    for (const int family : {0x12, 0x22, 0x32}) {
        for (const std::string& rest : {std::string(), std::string(36, 'x')}) {
            const std::string bytes = header(0x21, static_cast<uint8_t>(family), rest);
            const ProxyHeader found = parse(bytes);
            EXPECT_EQ(found.kind, Kind::header) << family;
            EXPECT_TRUE(found.is_local);
            EXPECT_TRUE(found.source.is_none());
            EXPECT_EQ(found.header_bytes, bytes.size());
        }
    }
}

TEST(ProxyProtocol, WhatFollowsIsNotLookedAt) {
    const ProxyHeader found = parse(tcp4() + "GET / HTTP/1.1\r\n");
    EXPECT_EQ(found.kind, Kind::header);
    EXPECT_EQ(found.header_bytes, 28U);
}

TEST(ProxyProtocol, TypeLengthValuesAreSkipped) {
    const std::string tlv(
        "\x02\x00\x03"
        "abc",
        6);
    const ProxyHeader found = parse(tcp4(tlv + std::string("\x04\x00\x00", 3)));
    EXPECT_EQ(found.kind, Kind::header);
    EXPECT_EQ(found.header_bytes, 28U + 9);
    for (const std::string& bad :
         {std::string("\x02", 1), std::string("\x02\x00", 2), std::string("\x02\x00\x01", 3),
          std::string("\x02\x00\x04"
                      "abc",
                      6),
          tlv + "x"}) {
        EXPECT_EQ(parse(tcp4(bad)).kind, Kind::invalid);
    }
}

TEST(ProxyProtocol, ArrivesInPieces) {
    for (const std::string& whole : {tcp4(std::string("\x02\x00\x03"
                                                      "abc",
                                                      6)),
                                     tcp6(), header(0x20, 0, "")}) {
        for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
            ASSERT_EQ(parse(whole.substr(0, bytes)).kind, Kind::need_more) << bytes;
        }
        EXPECT_EQ(parse(whole).kind, Kind::header);
    }
}

TEST(ProxyProtocol, RefusesAtTheFirstBadByte) {
    const std::string good = tcp4();
    for (size_t at = 0; at < signature.size(); ++at) {
        std::string bad = good.substr(0, at + 1);
        bad[at] = static_cast<char>(bad[at] ^ 1);
        EXPECT_EQ(parse(bad).kind, Kind::invalid) << at;
    }
    EXPECT_EQ(parse("GET").kind, Kind::invalid);
    EXPECT_EQ(parse("PROXY TCP4").kind, Kind::invalid) << "version 1";
    for (const int version : {0x00, 0x11, 0x22, 0x2f, 0x31, 0xff}) {
        const std::string bad = header(static_cast<uint8_t>(version), 0x11, "");
        EXPECT_EQ(parse(bad.substr(0, 13)).kind, Kind::invalid) << version;
    }
    // What is not assigned.
    for (const int family : {0x01, 0x02, 0x10, 0x13, 0x20, 0x30, 0x41, 0xff}) {
        const std::string bad = header(0x21, static_cast<uint8_t>(family), "");
        EXPECT_EQ(parse(bad.substr(0, 14)).kind, Kind::invalid) << family;
    }
}

TEST(ProxyProtocol, LengthsAreChecked) {
    EXPECT_EQ(parse(header(0x21, 0x11, std::string(11, 'x'))).kind, Kind::invalid);
    EXPECT_EQ(parse(header(0x21, 0x11, std::string(12, 'x'))).kind, Kind::header);
    EXPECT_EQ(parse(header(0x21, 0x21, std::string(35, 'x'))).kind, Kind::invalid);
    EXPECT_EQ(parse(header(0x21, 0x21, std::string(36, 'x'))).kind, Kind::header);
    const int most = static_cast<int>(proxy_header_bytes_max) - 16;
    EXPECT_EQ(parse(header(0x20, 0, "", most)).kind, Kind::need_more);
    EXPECT_EQ(parse(header(0x20, 0, std::string(static_cast<size_t>(most), 'x'))).kind,
              Kind::header);
    EXPECT_EQ(parse(header(0x20, 0, "", most + 1)).kind, Kind::invalid);
    EXPECT_EQ(parse(header(0x20, 0, "", 65'535)).kind, Kind::invalid);
}

}  // namespace
}  // namespace codec
