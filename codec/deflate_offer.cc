#include "codec/deflate_offer.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "io/base/check.h"

namespace codec {
namespace {

constexpr std::string_view field_name = "Sec-WebSocket-Extensions";
constexpr std::string_view extension_name = "permessage-deflate";
constexpr uint32_t window_bits_offered_min = 8;
constexpr uint32_t window_bits_offered_max = 15;
constexpr uint8_t server_window_bits_min = 9;

// One parameter, its value without quotes.
struct Parameter {
    std::string_view name;
    bool has_value = false;
    // The first characters of the value. No value that means anything is longer than two, so a
    // value of three characters stands for all longer ones.
    char value_begin[3] = {};
    uint8_t value_characters = 0;  // at most 3

    std::string_view value() const { return {value_begin, value_characters}; }
};

// Reads one field by the grammar of RFC 6455 §9.1, in which white space may stand between any two
// parts. The take functions answer false or nothing where the grammar wants something else, and
// then have taken nothing but white space.
class Lexer {
  public:
    explicit Lexer(std::string_view text) : rest_(text) {}

    bool is_at_end() {
        skip_white_space();
        return rest_.empty();
    }

    bool take(char character) {
        skip_white_space();
        if (!rest_.starts_with(character)) return false;
        rest_.remove_prefix(1);
        return true;
    }

    std::string_view take_token() {
        skip_white_space();
        size_t size = 0;
        while (size < rest_.size() && is_token_character(rest_[size])) ++size;
        const std::string_view token = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return token;
    }

    // A token or a quoted-string; what stands between the quotes must be a token too, once its
    // quoted-pairs are resolved (RFC 6455 §9.1). So no quoted-string holds a comma, a semicolon or
    // a quote.
    bool take_value(Parameter& parameter) {
        if (!take('"')) {
            const std::string_view token = take_token();
            for (const char character : token) append_value(parameter, character);
            return !token.empty();
        }
        while (!rest_.empty()) {
            char character = take_character();
            if (character == '"') return parameter.value_characters > 0;
            if (character == '\\') {
                if (rest_.empty()) return false;
                character = take_character();
            }
            if (!is_token_character(character)) return false;
            append_value(parameter, character);
        }
        return false;
    }

  private:
    static bool is_token_character(char character) { return is_http_token({&character, 1}); }

    static void append_value(Parameter& parameter, char character) {
        if (parameter.value_characters == sizeof parameter.value_begin) return;
        parameter.value_begin[parameter.value_characters++] = character;
    }

    char take_character() {
        const char character = rest_.front();
        rest_.remove_prefix(1);
        return character;
    }

    void skip_white_space() {
        while (rest_.starts_with(' ') || rest_.starts_with('\t')) rest_.remove_prefix(1);
    }

    std::string_view rest_;
};

// One offer of permessage-deflate, as its parameters are read.
class Offer {
  public:
    void add(const Parameter& parameter) {
        if (parameter.name == "server_no_context_takeover") {
            set_flag(server_no_context_takeover_, parameter);
        } else if (parameter.name == "client_no_context_takeover") {
            set_flag(client_no_context_takeover_, parameter);
        } else if (parameter.name == "server_max_window_bits") {
            set_bits(server_window_bits_, parameter);
        } else if (parameter.name == "client_max_window_bits") {
            // Without a value it only says that the client understands the parameter (RFC 7692
            // §7.1.2.2).
            if (parameter.has_value) {
                set_bits(client_window_bits_, parameter);
            } else {
                set(client_window_bits_, window_bits_offered_max);
            }
        } else {
            is_declined_ = true;
        }
    }

    std::optional<DeflateParameters> accept(const DeflatePolicy& policy) const {
        if (is_declined_) return std::nullopt;
        DeflateParameters agreed;
        agreed.server_no_context_takeover =
            server_no_context_takeover_ || !policy.server_context_takeover;
        agreed.client_no_context_takeover =
            client_no_context_takeover_ || !policy.client_context_takeover;
        agreed.server_window_bits = std::min(server_window_bits_.value_or(window_bits_offered_max),
                                             policy.server_window_bits_max);
        if (agreed.server_window_bits < server_window_bits_min) return std::nullopt;
        agreed.answers_server_window_bits = server_window_bits_.has_value();
        if (client_window_bits_) {
            agreed.client_window_bits =
                std::min(*client_window_bits_, policy.client_window_bits_max);
        }
        return agreed;
    }

  private:
    void set(std::optional<uint8_t>& bits, uint32_t value) {
        if (bits) is_declined_ = true;
        bits = static_cast<uint8_t>(value);
    }

    void set_flag(bool& flag, const Parameter& parameter) {
        if (flag || parameter.has_value) is_declined_ = true;
        flag = true;
    }

    // A decimal number from 8 to 15 without leading zeros (RFC 7692 §7.1.2).
    void set_bits(std::optional<uint8_t>& bits, const Parameter& parameter) {
        for (uint32_t value = window_bits_offered_min; value <= window_bits_offered_max; ++value) {
            const char digits[] = {'1', static_cast<char>('0' + value % 10)};
            const std::string_view decimal(digits, sizeof digits);
            if (parameter.value() != (value < 10 ? decimal.substr(1) : decimal)) continue;
            set(bits, value);
            return;
        }
        is_declined_ = true;
    }

    bool is_declined_ = false;
    bool server_no_context_takeover_ = false;
    bool client_no_context_takeover_ = false;
    std::optional<uint8_t> server_window_bits_;
    std::optional<uint8_t> client_window_bits_;
};

// Reads one extension with its parameters. False where the grammar breaks.
bool read_extension(Lexer& lexer, const DeflatePolicy& policy, DeflateDecision& decision) {
    const std::string_view name = lexer.take_token();
    if (name.empty()) return false;
    Offer offer;
    while (lexer.take(';')) {
        Parameter parameter;
        parameter.name = lexer.take_token();
        if (parameter.name.empty()) return false;
        parameter.has_value = lexer.take('=');
        if (parameter.has_value && !lexer.take_value(parameter)) return false;
        offer.add(parameter);
    }
    if (name != extension_name || decision.is_accepted) return true;
    if (const std::optional<DeflateParameters> agreed = offer.accept(policy)) {
        decision.is_accepted = true;
        decision.parameters = *agreed;
    }
    return true;
}

// Reads one field: extensions with commas between them. Empty elements are passed over (RFC 9110
// §5.6.1.2), but there must be one that is not.
bool read_field(std::string_view text, const DeflatePolicy& policy, DeflateDecision& decision) {
    Lexer lexer(text);
    bool has_extension = false;
    while (true) {
        while (lexer.take(',')) {
        }
        if (lexer.is_at_end()) return has_extension;
        if (!read_extension(lexer, policy, decision)) return false;
        has_extension = true;
        if (!lexer.is_at_end() && !lexer.take(',')) return false;
    }
}

void append_window_bits(std::string& out, std::string_view name, uint8_t bits) {
    out.append("; ").append(name).append("=").append(std::to_string(bits));
}

}  // namespace

DeflateDecision decide_deflate(const HttpRequest& request, const DeflatePolicy& policy) {
    for (const uint8_t bits : {policy.server_window_bits_max, policy.client_window_bits_max}) {
        CHECK(bits >= server_window_bits_min && bits <= window_bits_offered_max);
    }
    DeflateDecision decision;
    for (uint32_t index = 0; index < request.fields_count; ++index) {
        if (!equals_ignoring_case(request.fields[index].name, field_name)) continue;
        if (read_field(request.fields[index].value, policy, decision)) continue;
        return {.refusal = {.status = 400,
                            .reason = "Sec-WebSocket-Extensions is not a list of extensions"}};
    }
    return decision;
}

void append_deflate_response(std::string& out, const DeflateParameters& parameters) {
    out.append(extension_name);
    if (parameters.server_no_context_takeover) out.append("; server_no_context_takeover");
    if (parameters.client_no_context_takeover) out.append("; client_no_context_takeover");
    if (parameters.answers_server_window_bits) {
        append_window_bits(out, "server_max_window_bits", parameters.server_window_bits);
    }
    // Left out it means 15; and it may stand only in the answer to an offer that has it (RFC 7692
    // §7.1.2.2), as all smaller ones come from.
    if (parameters.client_window_bits < window_bits_offered_max) {
        append_window_bits(out, "client_max_window_bits", parameters.client_window_bits);
    }
}

}  // namespace codec
