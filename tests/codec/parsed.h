// A frame of commands for the tests that look at what a parser makes of it.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string_view>

#include "codec/command.h"
#include "tests/codec/wire.h"

namespace codec::testing {

// A frame that was parsed, together with the memory that its views point into.
class Parsed {
  public:
    explicit Parsed(std::string_view frame)
        : padded_(frame), parser_(1), result_(parser_.parse(padded_.view())) {}

    const CommandParser::Result& result() const { return result_; }
    const Command& operator[](uint32_t index) const { return parser_.command(index); }
    // Of a frame with one command.
    const Command& only() const {
        EXPECT_EQ(result_.error, ErrorCode::none) << result_.reason;
        EXPECT_EQ(result_.commands_count, 1u);
        return parser_.command(0);
    }

  private:
    Padded padded_;
    CommandParser parser_;
    CommandParser::Result result_;
};

}  // namespace codec::testing
