#include "tools/bench/dialect.h"

#include <charconv>

#include "tools/bench/dialects.h"

namespace bench {

std::unique_ptr<Dialect> make_dialect(const Plan& plan) {
    switch (plan.dialect) {
        case DialectKind::fanfare: return std::make_unique<FanfareDialect>();
        case DialectKind::nats: return std::make_unique<NatsDialect>();
        case DialectKind::nchan: return std::make_unique<NchanDialect>();
        case DialectKind::mqtt: return std::make_unique<MqttDialect>(plan.seed);
        case DialectKind::plain: return std::make_unique<TemplateDialect>(plan);
    }
    return nullptr;
}

std::string filled_in(std::string_view text, std::string_view topic, std::string_view sequence,
                      std::string_view payload) {
    std::string out;
    while (!text.empty()) {
        const size_t brace = text.find('{');
        out += text.substr(0, brace);
        if (brace == std::string_view::npos) break;
        text.remove_prefix(brace);
        const auto take = [&](std::string_view name, std::string_view value) {
            if (!text.starts_with(name)) return false;
            out += value;
            text.remove_prefix(name.size());
            return true;
        };
        if (take("{topic}", topic) || take("{seq}", sequence) || take("{payload}", payload)) {
            continue;
        }
        out += '{';
        text.remove_prefix(1);
    }
    return out;
}

// --- Fanfare (PROTOCOL.md) ---

void FanfareDialect::append_opening(std::string& out, uint32_t, const Role& role,
                                    std::string_view filter, const tools::Cursor* cursor) const {
    if (!role.subscribes) return;
    out += R"({"op":"subscribe","id":1,"filter":")";
    out += filter;
    out += '"';
    if (cursor != nullptr && !cursor->is_none()) {
        out += R"(,"start":{"after":)";
        tools::append_cursor(out, *cursor);
        out += '}';
    }
    out += '}';
}

void FanfareDialect::append_publish(std::string& out, std::string_view topic, uint64_t,
                                    std::string_view payload) const {
    out += R"({"op":"publish","topic":")";
    out += topic;
    out += R"(","data":")";
    out += payload;
    out += R"("})";
}

Incoming FanfareDialect::next(std::string_view& rest) const {
    constexpr std::string_view message_begin = R"({"op":"message","topic":")";
    const std::string_view text = rest;
    rest = {};
    if (!text.starts_with(message_begin)) return other(text);
    // Our topics hold nothing that JSON escapes, and the order of the members is the broker's.
    const size_t topic_end = text.find('"', message_begin.size());
    if (topic_end == std::string_view::npos) return {};
    std::string_view after = text.substr(topic_end + 1);
    Incoming incoming{.kind = Incoming::Kind::delivery};
    constexpr std::string_view position_begin = R"(,"pos":")";
    if (after.starts_with(position_begin)) {
        after.remove_prefix(position_begin.size());
        const size_t end = after.find('"');
        if (end == std::string_view::npos) return {};
        incoming.position = after.substr(0, end);
        after.remove_prefix(end + 1);
    }
    constexpr std::string_view data_begin = R"(,"data":")";
    constexpr std::string_view data_end = R"("})";
    // Somebody else's message, published while we watch.
    if (!after.starts_with(data_begin) || !after.ends_with(data_end)) return {};
    incoming.payload =
        after.substr(data_begin.size(), after.size() - data_begin.size() - data_end.size());
    return incoming;
}

Incoming FanfareDialect::other(std::string_view text) {
    const auto is = [text](std::string_view op) {
        return text.starts_with(R"({"op":")") && text.substr(7).starts_with(op);
    };
    // A goodbye says no more than the Close frame that follows.
    if (is("error\"")) return {.kind = Incoming::Kind::refused, .payload = text};
    if (is("welcome\"") || is("live\"") || is("subscribed\"")) {
        return {.kind = Incoming::Kind::answered, .cursor_object = text};
    }
    if (is("position\"")) return {.kind = Incoming::Kind::other, .cursor_object = text};
    return {};
}

// --- NATS, its text protocol in binary frames ---

namespace {

// Levels become tokens, and MQTT's wildcards NATS': + is *, # is >.
std::string subject_of(std::string_view topic) {
    std::string subject(topic);
    for (char& letter : subject) {
        if (letter == '/') letter = '.';
        if (letter == '+') letter = '*';
    }
    return subject;
}

}  // namespace

void NatsDialect::append_opening(std::string& out, uint32_t, const Role& role,
                                 std::string_view filter, const tools::Cursor*) const {
    out +=
        "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"fanfare-bench\",\"version\":"
        "\"1\",\"protocol\":1}\r\n";
    if (role.subscribes) out += "SUB " + subject_of(filter) + " 1\r\n";
    out += "PING\r\n";
}

void NatsDialect::append_publish(std::string& out, std::string_view topic, uint64_t,
                                 std::string_view payload) const {
    out += "PUB ";
    out += subject_of(topic);
    out += ' ';
    out += std::to_string(payload.size());
    out += "\r\n";
    out += payload;
    out += "\r\n";
}

Incoming NatsDialect::next(std::string_view& rest) const {
    const size_t line_end = rest.find("\r\n");
    if (line_end == std::string_view::npos) return {.kind = Incoming::Kind::need_more};
    const std::string_view line = rest.substr(0, line_end);
    if (!line.starts_with("MSG ")) {
        rest.remove_prefix(line_end + 2);
        if (line == "PONG") return {.kind = Incoming::Kind::answered};
        if (line == "PING") return {.kind = Incoming::Kind::ping};
        if (line.starts_with("-ERR")) return {.kind = Incoming::Kind::refused, .payload = line};
        return {};
    }
    const std::string_view digits = line.substr(line.rfind(' ') + 1);
    const char* const digits_end = digits.data() + digits.size();
    uint32_t payload_bytes = 0;
    const auto [parsed, error] = std::from_chars(digits.data(), digits_end, payload_bytes);
    if (error != std::errc{} || parsed != digits_end) {
        rest.remove_prefix(line_end + 2);
        return {.kind = Incoming::Kind::refused, .payload = line};
    }
    const size_t begin = line_end + 2;
    if (rest.size() < begin + payload_bytes + 2) return {.kind = Incoming::Kind::need_more};
    const Incoming incoming{.kind = Incoming::Kind::delivery,
                            .payload = rest.substr(begin, payload_bytes)};
    rest.remove_prefix(begin + payload_bytes + 2);
    return incoming;
}

// --- nchan: a path per topic, the message is the frame ---

void NchanDialect::append_publish(std::string& out, std::string_view, uint64_t,
                                  std::string_view payload) const {
    out += payload;
}

Incoming NchanDialect::next(std::string_view& rest) const {
    const std::string_view text = rest;
    rest = {};
    // To publishers it says how many are subscribed.
    if (!text.starts_with('<')) return {};
    return {.kind = Incoming::Kind::delivery, .payload = text};
}

// --- A server of somebody's own ---

TemplateDialect::TemplateDialect(const Plan& plan) : plan_(plan) {}

uint32_t TemplateDialect::answers_count(const Role& role, bool) const {
    return role.subscribes && !plan_.ready_text.empty() ? 1 : 0;
}

void TemplateDialect::append_opening(std::string& out, uint32_t, const Role& role,
                                     std::string_view filter, const tools::Cursor*) const {
    if (role.subscribes) out += filled_in(plan_.subscribe_frame, filter, "", "");
}

void TemplateDialect::append_publish(std::string& out, std::string_view topic, uint64_t sequence,
                                     std::string_view payload) const {
    out += filled_in(plan_.publish_frame, topic, std::to_string(sequence), payload);
}

// Whatever the server puts around a payload, it begins with the first < and ends with the last >.
Incoming TemplateDialect::next(std::string_view& rest) const {
    const std::string_view text = rest;
    rest = {};
    const size_t end = text.rfind('>');
    const size_t begin = text.find('<');
    if (begin < end && end != std::string_view::npos) {
        const std::string_view payload = text.substr(begin, end + 1 - begin);
        if (read_stamp(payload)) return {.kind = Incoming::Kind::delivery, .payload = payload};
    }
    if (!plan_.ready_text.empty() && text.find(plan_.ready_text) != std::string_view::npos) {
        return {.kind = Incoming::Kind::answered};
    }
    return {};
}

}  // namespace bench
