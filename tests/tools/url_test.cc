#include "tools/url.h"

#include <gtest/gtest.h>

#include <tuple>

namespace {

using tools::parse_url;
using tools::Url;

struct Accepted {
    const char* text;
    const char* host;
    uint16_t port;
    const char* socket_path;
    const char* target;
    const char* place;
};

TEST(Url, TakesWhatPeopleWrite) {
    const Accepted rows[] = {
        {"ws://127.0.0.1:7788/ws", "127.0.0.1", 7788, "", "/ws", "127.0.0.1:7788"},
        {"ws://broker", "broker", 7788, "", "/ws", "broker:7788"},
        {"ws://broker/", "broker", 7788, "", "/ws", "broker:7788"},
        {"broker:1", "broker", 1, "", "/ws", "broker:1"},
        {"broker:65535/x?y=1", "broker", 65535, "", "/x?y=1", "broker:65535"},
        {"ws://broker?y", "broker", 7788, "", "/?y", "broker:7788"},
        {"ws://[::1]:80/ws", "::1", 80, "", "/ws", "[::1]:80"},
        {"[::1]", "::1", 7788, "", "/ws", "[::1]:7788"},
        {"unix:/run/f.sock", "", 7788, "/run/f.sock", "/ws", "unix:/run/f.sock"},
        {"unix:/run/f.sock:/other", "", 7788, "/run/f.sock", "/other", "unix:/run/f.sock"},
    };
    for (const Accepted& row : rows) {
        Url url;
        EXPECT_EQ(parse_url(row.text, url), "") << row.text;
        EXPECT_EQ(url.host, row.host) << row.text;
        EXPECT_EQ(url.port, row.port) << row.text;
        EXPECT_EQ(url.socket_path, row.socket_path) << row.text;
        EXPECT_EQ(url.target, row.target) << row.text;
        EXPECT_EQ(url.place(), row.place) << row.text;
    }
}

TEST(Url, TheHostFieldIsTheSameButForAZone) {
    for (const auto& [text, place, host_field] :
         {std::tuple("ws://b:1", "b:1", "b:1"), std::tuple("[::1]", "[::1]:7788", "[::1]:7788"),
          std::tuple("[fe80::1%eth0]:1/x", "[fe80::1%eth0]:1", "[fe80::1]:1"),
          std::tuple("unix:/f", "unix:/f", "localhost")}) {
        Url url;
        EXPECT_EQ(parse_url(text, url), "");
        EXPECT_EQ(url.place(), place);
        EXPECT_EQ(url.host_field(), host_field);
    }
}

TEST(Url, TheDefaultIsTheBrokersOwn) {
    Url url;
    EXPECT_EQ(parse_url(tools::default_url, url), "");
    EXPECT_EQ(url.place(), "127.0.0.1:7788");
    EXPECT_EQ(url.target, "/ws");
}

TEST(Url, SaysWhatIsWrong) {
    const struct {
        std::string text;
        const char* part;
    } rows[] = {
        {"", "host is missing"},
        {"ws://", "host is missing"},
        {"ws://:80", "host is missing"},
        {"wss://broker", "TLS"},
        {"http://broker", "scheme 'http'"},
        {"ws://broker:0", "port '0'"},
        {"ws://broker:65536", "port '65536'"},
        {"ws://broker:", "port ''"},
        {"ws://broker:8x", "port '8x'"},
        {"ws://::1:80", "brackets"},
        {"ws://[::1", "']'"},
        {"ws://[::1]80", "after ']'"},
        {"ws://me@broker", "user name"},
        {"ws://broker/#x", "fragment"},
        {"ws://bro ker", "spaces"},
        {"ws://broker/\r\nX: y", "control"},
        {"unix:", "missing"},
        {"unix:/" + std::string(107, 'x'), "107"},
    };
    for (const auto& row : rows) {
        Url url;
        EXPECT_NE(parse_url(row.text, url).find(row.part), std::string::npos)
            << row.text << ": " << parse_url(row.text, url);
    }
    Url url;
    EXPECT_EQ(parse_url("unix:/" + std::string(106, 'x'), url), "");
}

}  // namespace
