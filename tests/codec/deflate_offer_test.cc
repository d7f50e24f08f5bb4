#include "codec/deflate_offer.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace codec {
namespace {

// A decision as one line: the response, "declined" or "refused".
std::string decide(const std::vector<std::string>& values, const DeflatePolicy& policy = {}) {
    HttpRequest request;
    for (const std::string& value : values) {
        request.fields[request.fields_count++] = {"Another-Field", "permessage-deflate"};
        request.fields[request.fields_count++] = {"sec-websocket-extensions", value};
    }
    const DeflateDecision decision = decide_deflate(request, policy);
    if (decision.refusal.status != 0) {
        EXPECT_EQ(decision.refusal.status, 400);
        EXPECT_FALSE(decision.refusal.reason.empty());
        EXPECT_FALSE(decision.is_accepted);
        return "refused";
    }
    if (!decision.is_accepted) {
        EXPECT_EQ(decision.parameters, DeflateParameters());
        return "declined";
    }
    std::string response;
    append_deflate_response(response, decision.parameters);
    return response;
}

std::string decide(const std::string& value, const DeflatePolicy& policy = {}) {
    return decide(std::vector{value}, policy);
}

DeflateParameters agree(const std::string& value, const DeflatePolicy& policy = {}) {
    HttpRequest request;
    request.fields[request.fields_count++] = {"Sec-WebSocket-Extensions", value};
    const DeflateDecision decision = decide_deflate(request, policy);
    EXPECT_TRUE(decision.is_accepted) << value;
    return decision.parameters;
}

const std::string plain_answer =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
const std::string offer = "permessage-deflate";

TEST(DeflateOffer, WhatClientsOffer) {
    EXPECT_EQ(decide(std::vector<std::string>{}), "declined");
    // Node.js, Go and Python; Chrome and Firefox; Safari's old one.
    EXPECT_EQ(decide("permessage-deflate"), plain_answer);
    EXPECT_EQ(decide("permessage-deflate; client_max_window_bits"), plain_answer);
    EXPECT_EQ(decide("permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
              plain_answer);
    EXPECT_EQ(decide("x-webkit-deflate-frame"), "declined");
    EXPECT_EQ(agree("permessage-deflate; client_max_window_bits"), DeflateParameters());
}

TEST(DeflateOffer, ContextTakeoverByThePolicyAndTheOffer) {
    const DeflatePolicy both = {.server_context_takeover = true, .client_context_takeover = true};
    const DeflatePolicy server = {.server_context_takeover = true};
    const DeflatePolicy client = {.client_context_takeover = true};
    const std::string no_server = "; server_no_context_takeover";
    const std::string no_client = "; client_no_context_takeover";
    EXPECT_EQ(decide(offer, both), offer);
    EXPECT_EQ(decide(offer, server), offer + no_client);
    EXPECT_EQ(decide(offer, client), offer + no_server);
    // What the client wants not to be, is not.
    EXPECT_EQ(decide(offer + no_server, both), offer + no_server);
    EXPECT_EQ(decide(offer + no_client, both), offer + no_client);
    EXPECT_EQ(decide(offer + no_client + no_server, both), offer + no_server + no_client);
    EXPECT_EQ(decide(offer + no_server, client), offer + no_server);
    EXPECT_EQ(decide(offer + no_client, server), offer + no_client);
    const DeflateParameters agreed = agree(offer + no_server, both);
    EXPECT_TRUE(agreed.server_no_context_takeover);
    EXPECT_FALSE(agreed.client_no_context_takeover);
}

TEST(DeflateOffer, EveryServerWindow) {
    EXPECT_EQ(agree(offer).server_window_bits, 15);
    EXPECT_EQ(agree(offer, {.server_window_bits_max = 11}).server_window_bits, 11);
    // Not offered, so not answered.
    EXPECT_EQ(decide(offer, {.server_window_bits_max = 11}), plain_answer);
    EXPECT_EQ(decide(offer + "; server_max_window_bits=8"), "declined");
    for (uint8_t bits = 9; bits <= 15; ++bits) {
        const std::string wanted = offer + "; server_max_window_bits=" + std::to_string(bits);
        for (uint8_t most = 9; most <= 15; ++most) {
            const DeflatePolicy policy = {.server_window_bits_max = most};
            const uint8_t agreed = std::min(bits, most);
            EXPECT_EQ(agree(wanted, policy).server_window_bits, agreed);
            EXPECT_EQ(decide(wanted, policy),
                      plain_answer + "; server_max_window_bits=" + std::to_string(agreed));
        }
    }
}

TEST(DeflateOffer, EveryClientWindow) {
    const auto answer_for = [](uint32_t bits) {
        return bits == 15 ? plain_answer
                          : plain_answer + "; client_max_window_bits=" + std::to_string(bits);
    };
    for (uint8_t most = 9; most <= 15; ++most) {
        const DeflatePolicy policy = {.client_window_bits_max = most};
        // Who does not offer it cannot be told, and may take all.
        EXPECT_EQ(decide(offer, policy), plain_answer);
        EXPECT_EQ(agree(offer, policy).client_window_bits, 15);
        EXPECT_EQ(decide(offer + "; client_max_window_bits", policy), answer_for(most));
        EXPECT_EQ(agree(offer + "; client_max_window_bits", policy).client_window_bits, most);
        for (uint8_t bits = 8; bits <= 15; ++bits) {
            const std::string offered = offer + "; client_max_window_bits=" + std::to_string(bits);
            EXPECT_EQ(decide(offered, policy), answer_for(std::min(bits, most)));
            EXPECT_EQ(agree(offered, policy).client_window_bits, std::min(bits, most));
        }
    }
}

// All subsets of the parameters, in both orders of each.
TEST(DeflateOffer, EveryCombination) {
    const std::vector<std::string> parameters = {
        "server_no_context_takeover", "client_no_context_takeover", "server_max_window_bits=10",
        "client_max_window_bits=12"};
    for (uint32_t subset = 0; subset < 16; ++subset) {
        std::string forward = offer;
        std::string backward = offer;
        for (uint32_t index = 0; index < 4; ++index) {
            if ((subset >> index & 1) != 0) forward += "; " + parameters[index];
            if ((subset >> (3 - index) & 1) != 0) backward += ";" + parameters[3 - index];
        }
        std::string expected = plain_answer;
        if ((subset & 4) != 0) expected += "; server_max_window_bits=10";
        if ((subset & 8) != 0) expected += "; client_max_window_bits=12";
        EXPECT_EQ(decide(forward), expected) << forward;
        EXPECT_EQ(decide(backward), expected) << backward;
        const DeflateParameters agreed = agree(forward, {true, true});
        EXPECT_EQ(agreed.server_no_context_takeover, (subset & 1) != 0);
        EXPECT_EQ(agreed.client_no_context_takeover, (subset & 2) != 0);
    }
}

std::vector<std::string> declined_parameters() {
    std::vector<std::string> wrong = {
        "unknown",
        "unknown=1",
        "Server_No_Context_Takeover",
        "server_no_context_takeover_",
        "server_max_window_bits",
        "server_no_context_takeover=1",
        "server_no_context_takeover=true",
        "client_no_context_takeover=\"1\"",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits=10; server_max_window_bits=10",
        "server_max_window_bits=10; server_max_window_bits=11",
        "client_max_window_bits; client_max_window_bits",
        "client_max_window_bits; client_max_window_bits=10",
        "client_max_window_bits=10; client_max_window_bits",
        "client_max_window_bits=15; client_max_window_bits=15",
        "client_max_window_bits; unknown",
        "unknown; client_max_window_bits",
    };
    for (const std::string_view name : {"server_max_window_bits", "client_max_window_bits"}) {
        for (const std::string_view value :
             {"0",   "7",  "16",    "08",     "09",     "010",      "15x", "1",
              "18",  "80", "150",   "1500",   "-9",     "+9",       "0x9", "9.0",
              "8e0", "x",  "\"7\"", "\"16\"", "\"09\"", "\"1\\50\""}) {
            wrong.push_back(std::string(name).append("=").append(value));
        }
    }
    return wrong;
}

TEST(DeflateOffer, EveryDeclinedParameterLeavesTheNextOffer) {
    for (const std::string& parameter : declined_parameters()) {
        const std::string wrong = offer + "; " + parameter;
        EXPECT_EQ(decide(wrong), "declined") << wrong;
        EXPECT_EQ(decide(wrong + ", " + offer), plain_answer) << wrong;
        EXPECT_EQ(decide({wrong, offer}), plain_answer) << wrong;
    }
}

TEST(DeflateOffer, TheFirstThatCanBeAcceptedWins) {
    const std::string first = offer + "; server_max_window_bits=10";
    const std::string second = offer + "; server_max_window_bits=12";
    const std::string answer = plain_answer + "; server_max_window_bits=";
    EXPECT_EQ(decide(first + ", " + second), answer + "10");
    EXPECT_EQ(decide(second + ", " + first), answer + "12");
    EXPECT_EQ(decide({second, first}), answer + "12");
    EXPECT_EQ(decide(offer + "; server_max_window_bits=8, " + second + "," + first), answer + "12");
    EXPECT_EQ(decide("other; server_max_window_bits=9; a=\"b\", x, " + first), answer + "10");
    EXPECT_EQ(decide({"other", "another; one=1", first}), answer + "10");
    EXPECT_EQ(decide("other, permessage-deflates, permessage-deflat, Permessage-Deflate"),
              "declined");
}

TEST(DeflateOffer, SpellingsThatTheGrammarAllows) {
    const std::string answer = plain_answer + "; server_max_window_bits=10";
    for (const std::string& value : {
             offer + ";server_max_window_bits=10",
             " \t" + offer + " \t; server_max_window_bits = \t10 ",
             offer + "; server_max_window_bits=\"10\"",
             offer + "; server_max_window_bits=\"1\\0\"",
             offer + "; server_max_window_bits= \"\\1\\0\" ",
             ", ," + offer + "; server_max_window_bits=10 ,,",
         }) {
        EXPECT_EQ(decide(value), answer) << value;
    }
}

TEST(DeflateOffer, WhatBreaksTheGrammarRefusesTheHandshake) {
    for (const std::string& value : std::vector<std::string>{
             "",
             " ",
             ",",
             " , ,",
             ";",
             "=",
             "\"permessage-deflate\"",
             offer + ";",
             offer + "; ",
             offer + ";;client_max_window_bits",
             offer + "; =10",
             offer + "; server_max_window_bits=",
             offer + "; server_max_window_bits=;",
             offer + "; server_max_window_bits==10",
             offer + "; server_max_window_bits=10 11",
             offer + "; server_max_window_bits 10",
             offer + " client_max_window_bits",
             offer + "; server_max_window_bits=\"\"",
             offer + "; server_max_window_bits=\"10",
             offer + "; server_max_window_bits=\"10\\",
             offer + "; server_max_window_bits=\"10\\\"",
             offer + "; server_max_window_bits=\"1 0\"",
             offer + "; server_max_window_bits=\"10\"1",
             offer + "; server_max_window_bits=1\"0\"",
             offer + "; unknown=\"a,b\"",
             offer + "; unknown=\"a;b\"",
             offer + "; unknown=\"a\\\"b\"",
             "other; unknown=\"\xc3\xa4\"",
             "oth\xc3\xa4r",
             "other/1",
             "other(comment)",
             "other; a=b=c",
             "other; a:b",
         }) {
        EXPECT_EQ(decide(value), "refused") << value;
        // Wherever it stands, after an accepted offer too.
        EXPECT_EQ(decide({offer, value}), "refused") << value;
        EXPECT_EQ(decide({value, offer}), "refused") << value;
        if (value.find_first_not_of(" ,") != std::string::npos) {
            EXPECT_EQ(decide(offer + ", " + value), "refused") << value;
        }
    }
}

TEST(DeflateOffer, TheResponseIsAppended) {
    std::string response = "Sec-WebSocket-Extensions: ";
    append_deflate_response(response, {.server_no_context_takeover = false,
                                       .client_no_context_takeover = false,
                                       .server_window_bits = 9,
                                       .client_window_bits = 8,
                                       .answers_server_window_bits = true});
    EXPECT_EQ(response,
              "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9; "
              "client_max_window_bits=8");
}

TEST(DeflateOfferDeathTest, APolicyThatZlibCannotKeep) {
    EXPECT_DEATH(decide(offer, {.server_window_bits_max = 8}), "window_bits");
    EXPECT_DEATH(decide(offer, {.server_window_bits_max = 16}), "window_bits");
    EXPECT_DEATH(decide(offer, {.client_window_bits_max = 8}), "window_bits");
}

}  // namespace
}  // namespace codec
