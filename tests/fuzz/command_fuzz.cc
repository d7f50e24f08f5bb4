// Whatever text comes: it is JSON for us exactly if it is for a parser that somebody else wrote; no
// view of a command leads astray, what is handed out as data is JSON by itself, and what is
// answered from a command's id and reason is JSON too. What a publish carries is the same when it
// is written as a message and read again.

#include <cstdint>
#include <string>
#include <string_view>

#include "codec/command.h"
#include "codec/position.h"
#include "codec/reply.h"
#include "codec/utf8.h"
#include "io/base/check.h"
#include "tests/codec/reference_json.h"
#include "tests/codec/wire.h"

namespace {

bool is_text(std::string_view text) {
    return codec::is_utf8({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

void check_json(codec::CommandParser& parser, std::string_view text) {
    const codec::testing::Padded padded(text);
    CHECK(parser.validate_json(padded.view()));
}

// Writes the publish as a message would be written, and reads that as a publish.
void check_round_trip(codec::CommandParser& parser, const codec::Command& command) {
    std::string text = R"({"op":"publish")";
    std::string message;
    codec::append_message(message, command.topic, codec::Position(), command.payload);
    constexpr std::string_view opening = R"({"op":"message")";
    CHECK(message.starts_with(opening));
    text.append(message.substr(opening.size()));
    const codec::testing::Padded padded(text);
    const codec::CommandParser::Result result = parser.parse(padded.view());
    CHECK(result.error == codec::ErrorCode::none && result.commands_count == 1);
    const codec::Command& again = parser.command(0);
    CHECK(again.error == codec::ErrorCode::none && again.topic == command.topic);
    CHECK(again.payload.kind == command.payload.kind);
    CHECK(again.payload.bytes == command.payload.bytes);
}

void check_start(const codec::Start& start) {
    CHECK(start.last <= codec::last_max);
    CHECK((start.kind == codec::Start::Kind::last) == (start.last > 0));
    const codec::Cursor& cursor = start.after;
    CHECK(is_text(cursor.epoch) && cursor.epoch.size() <= codec::cursor_epoch_bytes_max);
    CHECK((start.kind == codec::Start::Kind::after) == !cursor.epoch.empty());
    CHECK(cursor.positions.size() <= codec::cursor_positions_max);
    for (size_t index = 1; index < cursor.positions.size(); ++index) {
        CHECK(cursor.positions[index - 1].partition < cursor.positions[index].partition);
    }
}

void check_command(const codec::Command& command, codec::CommandParser& second_parser) {
    CHECK(command.id.size() <= codec::command_id_bytes_max + 2);
    CHECK(is_text(command.reason) && is_text(command.topic) && is_text(command.key));
    for (const std::string_view filter : command.filters) CHECK(is_text(filter));
    std::string answer;
    if (command.error != codec::ErrorCode::none) {
        codec::append_error(answer, command.id, command.error, command.reason);
        check_json(second_parser, answer);
        return;
    }
    CHECK(command.op != codec::CommandOp::none);
    check_start(command.start);
    if (command.op == codec::CommandOp::publish) check_round_trip(second_parser, command);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    // They keep only memory from input to input.
    static codec::CommandParser parser(1);
    static codec::CommandParser second_parser(2);
    const codec::testing::Padded padded({reinterpret_cast<const char*>(data), size});
    const codec::CommandParser::Result result = parser.parse(padded.view());
    CHECK((result.error == codec::ErrorCode::none) == result.reason.empty());
    CHECK(result.error == codec::ErrorCode::none ? result.commands_count > 0
                                                 : result.commands_count == 0);
    CHECK(result.commands_count <= codec::commands_per_frame_max);
    for (uint32_t index = 0; index < result.commands_count; ++index) {
        check_command(parser.command(index), second_parser);
    }
    const bool is_json = codec::testing::is_reference_json(padded.view());
    CHECK((result.error != codec::ErrorCode::invalid_json) == is_json);
    CHECK(second_parser.validate_json(padded.view()) == is_json);
    const codec::CommandParser::Result batch = parser.parse_batch(padded.view());
    CHECK((batch.error != codec::ErrorCode::invalid_json) == is_json);
    CHECK((batch.error == codec::ErrorCode::none) == (batch.commands_count > 0));
    for (uint32_t index = 0; index < batch.commands_count; ++index) {
        CHECK(parser.command(index).op == codec::CommandOp::publish);
        CHECK(parser.command(index).id.empty() && parser.command(index).echo);
        check_command(parser.command(index), second_parser);
    }
    return 0;
}
