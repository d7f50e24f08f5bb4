#include "tools/publish_frame.h"

#include <gtest/gtest.h>

namespace {

using tools::PubKind;
using tools::PublishEncoder;

std::string encoded(PubKind kind, std::string_view data, std::string_view topic = "t") {
    PublishEncoder encoder(topic, kind, 1);
    std::string frame;
    const std::string problem = encoder.encode(7, "", data, frame);
    return problem.empty() ? frame : "problem: " + problem;
}

const std::string head = R"({"op":"publish","id":7,"topic":"t",)";

TEST(PublishFrame, JsonIsPublishedAsJsonAndVerbatim) {
    for (const char* data : {"1", "1e400", "\"x\"", "{ \"a\" : 1 }", "[1, 2]", " null "}) {
        EXPECT_EQ(encoded(PubKind::automatic, data), head + "\"data\":" + data + "}");
        EXPECT_EQ(encoded(PubKind::json, data), head + "\"data\":" + data + "}");
    }
}

TEST(PublishFrame, WhatIsNotJsonIsText) {
    EXPECT_EQ(encoded(PubKind::automatic, ""), head + R"("text":""})");
    EXPECT_EQ(encoded(PubKind::automatic, "hello \"you\""), head + R"("text":"hello \"you\""})");
    // By itself no JSON, yet in its place it would make a command with another meaning.
    EXPECT_EQ(encoded(PubKind::automatic, R"(1,"echo":false)"),
              head + R"("text":"1,\"echo\":false"})");
    EXPECT_EQ(encoded(PubKind::automatic, R"({"a":1,"a":2})"),
              head + R"("text":"{\"a\":1,\"a\":2}"})");
    EXPECT_EQ(encoded(PubKind::text, "1"), head + R"("text":"1"})");
}

TEST(PublishFrame, DepthCountsTheCommandAroundIt) {
    const auto nested = [](uint32_t depth) {
        return std::string(depth, '[') + std::string(depth, ']');
    };
    EXPECT_EQ(encoded(PubKind::automatic, nested(codec::json_depth_max - 1)),
              head + "\"data\":" + nested(codec::json_depth_max - 1) + "}");
    EXPECT_EQ(encoded(PubKind::automatic, nested(codec::json_depth_max)),
              head + "\"text\":\"" + nested(codec::json_depth_max) + "\"}");
}

TEST(PublishFrame, SaysWhatIsWrong) {
    EXPECT_NE(encoded(PubKind::json, "{a:1}").find("problem: not JSON"), std::string::npos);
    EXPECT_NE(encoded(PubKind::json, "").find("problem: not JSON"), std::string::npos);
    for (const PubKind kind : {PubKind::automatic, PubKind::json, PubKind::text}) {
        EXPECT_NE(encoded(kind, "\xff").find("problem: not UTF-8"), std::string::npos);
    }
}

TEST(PublishFrame, BinaryIsBase64) {
    EXPECT_EQ(encoded(PubKind::binary, std::string_view("\0\xff", 2)),
              head + R"("base64":"AP8="})");
    EXPECT_EQ(encoded(PubKind::binary, ""), head + R"("base64":""})");
}

TEST(PublishFrame, AKeyIsEscaped) {
    PublishEncoder encoder("t", PubKind::automatic, 1);
    std::string frame;
    EXPECT_EQ(encoder.encode(7, "a\"b", "1", frame), "");
    EXPECT_EQ(frame, R"({"op":"publish","id":7,"topic":"t","key":"a\"b","data":1})");
}

TEST(PublishFrame, TheTopicIsEscaped) {
    EXPECT_EQ(encoded(PubKind::text, "x", "a\"b"),
              R"({"op":"publish","id":7,"topic":"a\"b","text":"x"})");
}

}  // namespace
