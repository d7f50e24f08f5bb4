#include "codec/base64.h"

#include <gtest/gtest.h>

#include "io/base/prng.h"

namespace codec {
namespace {

std::string encode(std::string_view bytes) {
    std::string out = "before:";
    append_base64(out, bytes);
    EXPECT_EQ(out.substr(0, 7), "before:");
    return out.substr(7);
}

std::optional<std::string> decode(std::string_view encoded) {
    std::string out(base64_decoded_bytes_max(encoded.size()), '\0');
    const std::optional<size_t> bytes_count = decode_base64(encoded, out.data());
    if (!bytes_count) return std::nullopt;
    return out.substr(0, *bytes_count);
}

TEST(Base64, TheVectorsOfTheRfc) {
    const std::pair<std::string_view, std::string_view> vectors[] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
    };
    for (const auto& [bytes, encoded] : vectors) {
        EXPECT_EQ(encode(bytes), encoded);
        EXPECT_EQ(decode(encoded), bytes);
    }
    EXPECT_EQ(encode("\xfb\xff\xbf"), "+/+/");
    EXPECT_EQ(decode("+/+/"), "\xfb\xff\xbf");
}

TEST(Base64, RefusesWhatIsNotStrict) {
    const std::string_view refused[] = {
        "Z",        "Zg",
        "Zg=",      "Zm9",
        "Zm9vY",    "====",
        "=",        "Z===",
        "Zg==Zg==", "Zm=v",
        "Zm9v ",    " Zm9v",
        "Zm9\n",    "Zm9v\r\n",
        "Zm9-",     "Zm9_",
        "Zh==",     "Zm9=",
        "Zg=\xc3",  "Zm9v====",
        "=m9v",     std::string_view("Zm9\0", 4),
    };
    for (const std::string_view encoded : refused) {
        EXPECT_EQ(decode(encoded), std::nullopt) << encoded;
    }
}

TEST(Base64, EveryByteInEveryPlaceIsInTheAlphabetOrRefused) {
    const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (uint32_t byte = 0; byte < 256; ++byte) {
        const char character = static_cast<char>(byte);
        const bool is_known = alphabet.find(character) != std::string::npos;
        for (size_t place = 0; place < 3; ++place) {
            std::string encoded = "AAAA";
            encoded[place] = character;
            EXPECT_EQ(decode(encoded).has_value(), is_known) << byte << " at " << place;
        }
    }
}

TEST(Base64, WhatIsEncodedIsDecodedAlsoInPlace) {
    base::Prng prng(1);
    for (size_t size = 0; size < 300; ++size) {
        std::string bytes(size, '\0');
        for (char& byte : bytes) byte = static_cast<char>(prng.below(256));
        std::string encoded = encode(bytes);
        EXPECT_EQ(encoded.size(), base64_encoded_bytes(size));
        EXPECT_EQ(decode(encoded), bytes);
        const std::optional<size_t> bytes_count = decode_base64(encoded, encoded.data());
        ASSERT_TRUE(bytes_count.has_value());
        EXPECT_EQ(encoded.substr(0, *bytes_count), bytes);
    }
}

}  // namespace
}  // namespace codec
