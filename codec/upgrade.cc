#include "codec/upgrade.h"

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cstring>

#include "codec/base64.h"
#include "codec/ip_address.h"
#include "io/base/check.h"

namespace codec {
namespace {

constexpr size_t key_characters = 24;  // base64 of 16 bytes
constexpr size_t key_bytes = 16;
constexpr uint32_t port_none = UINT32_MAX;
// RFC 9110 §15.5.22: a 426 says to what; §7.8: and Connection says that this is between neighbours.
constexpr const char* upgrade_required_fields =
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n";

Refusal refuse(uint16_t status, const char* reason, const char* extra_fields = "") {
    return {.status = status, .reason = reason, .extra_fields = extra_fields};
}

struct HostPort {
    std::string_view host;
    uint32_t port = port_none;
};

bool is_digit(char character) {
    return character >= '0' && character <= '9';
}

bool is_letter(char character) {
    return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z');
}

// The reg-name of RFC 3986 without percent-encoding, which no name that resolves needs.
bool is_name_character(char character) {
    constexpr std::string_view punctuation = "-._~!$&'()*+,;=";
    return is_digit(character) || is_letter(character) ||
           punctuation.find(character) != std::string_view::npos;
}

// An IPv4 address has no place between brackets.
bool is_address6(std::string_view text) {
    return text.find(':') != std::string_view::npos && parse_ip_address(text).has_value();
}

// Splits and checks "host[:port]"; false when it is none.
bool split_host(std::string_view text, HostPort& split) {
    size_t host_end = 0;
    if (text.starts_with('[')) {
        const size_t bracket = text.find(']');
        if (bracket == std::string_view::npos) return false;
        if (!is_address6(text.substr(1, bracket - 1))) return false;
        host_end = bracket + 1;
    } else {
        while (host_end < text.size() && is_name_character(text[host_end])) ++host_end;
    }
    if (host_end == 0) return false;
    split = {.host = text.substr(0, host_end)};
    if (host_end == text.size()) return true;
    const std::string_view digits = text.substr(host_end + 1);
    constexpr size_t digits_max = 5;
    if (text[host_end] != ':' || digits.size() > digits_max ||
        !std::all_of(digits.begin(), digits.end(), is_digit)) {
        return false;
    }
    if (digits.empty()) return true;
    split.port = 0;
    for (const char digit : digits)
        split.port = split.port * 10 + static_cast<uint32_t>(digit - '0');
    return split.port <= UINT16_MAX;
}

// Four decimal numbers without leading zeros, of which the first is 127. Browsers write every IPv4
// address so.
bool is_loopback_address4(std::string_view host) {
    for (uint32_t part = 0; part < 4; ++part) {
        size_t digits = 0;
        uint32_t value = 0;
        while (digits < host.size() && digits < 3 && is_digit(host[digits])) {
            value = value * 10 + static_cast<uint32_t>(host[digits++] - '0');
        }
        if (digits == 0 || value > 255 || (digits > 1 && host[0] == '0')) return false;
        if (part == 0 && value != 127) return false;
        host.remove_prefix(digits);
        if (part == 3) break;
        if (!host.starts_with('.')) return false;
        host.remove_prefix(1);
    }
    return host.empty();
}

bool ends_ignoring_case(std::string_view text, std::string_view end) {
    return text.size() >= end.size() &&
           equals_ignoring_case(text.substr(text.size() - end.size()), end);
}

struct Origin {
    std::string_view scheme;
    HostPort at;  // the port that the scheme implies stands in it
};

uint32_t implied_port(std::string_view scheme) {
    if (equals_ignoring_case(scheme, "http") || equals_ignoring_case(scheme, "ws")) return 80;
    if (equals_ignoring_case(scheme, "https") || equals_ignoring_case(scheme, "wss")) return 443;
    return port_none;
}

bool parse_origin(std::string_view text, Origin& origin) {
    const size_t scheme_end = text.find("://");
    if (scheme_end == std::string_view::npos || scheme_end == 0) return false;
    origin.scheme = text.substr(0, scheme_end);
    if (!split_host(text.substr(scheme_end + 3), origin.at)) return false;
    if (origin.at.port == port_none) origin.at.port = implied_port(origin.scheme);
    return true;
}

bool is_same_place(const Origin& origin, std::string_view host) {
    HostPort at;
    if (!split_host(host, at)) return false;
    // Host does not say the scheme, and a proxy may have taken TLS off: the Origin's scheme counts.
    if (at.port == port_none) at.port = implied_port(origin.scheme);
    return at.port == origin.at.port && equals_ignoring_case(at.host, origin.at.host);
}

bool is_allowed(std::string_view text, const Origin* origin, const AccessPolicy& policy) {
    for (const std::string& entry : policy.allowed_origins) {
        if (entry == "*" || equals_ignoring_case(entry, text)) return true;
        Origin allowed;
        if (origin == nullptr || !parse_origin(entry, allowed)) continue;
        if (equals_ignoring_case(allowed.scheme, origin->scheme) &&
            equals_ignoring_case(allowed.at.host, origin->at.host) &&
            allowed.at.port == origin->at.port) {
            return true;
        }
    }
    return false;
}

// RFC 6455 §4.2.1: the key is base64 of 16 bytes. §4.1 makes it random; that we cannot check.
bool is_key(std::string_view key) {
    if (key.size() != key_characters) return false;
    char decoded[base64_decoded_bytes_max(key_characters)];
    return decode_base64(key, decoded) == key_bytes;
}

Refusal check_handshake_fields(const HttpRequest& request) {
    if (request.method != "GET") {
        return refuse(405, "a WebSocket is opened with GET", "Allow: GET\r\n");
    }
    if (!wants_upgrade(request)) {
        return refuse(426, "this is a WebSocket; open it with a WebSocket client",
                      upgrade_required_fields);
    }
    if (request.minor_version == 0) return refuse(400, "a WebSocket needs HTTP/1.1");
    if (!request.has_token("Upgrade", "websocket")) {
        return refuse(400, "the Upgrade field does not name websocket");
    }
    if (!request.has_token("Connection", "upgrade")) {
        return refuse(400,
                      "the Connection field does not name Upgrade; a proxy may have removed it");
    }
    if (request.field_count("Sec-WebSocket-Version") != 1) {
        return refuse(400, "there must be one Sec-WebSocket-Version");
    }
    if (request.field("Sec-WebSocket-Version") != "13") {
        return refuse(426, "the WebSocket version must be 13", upgrade_required_fields);
    }
    if (request.field_count("Sec-WebSocket-Key") != 1 ||
        !is_key(*request.field("Sec-WebSocket-Key"))) {
        return refuse(400, "there must be one Sec-WebSocket-Key, base64 of 16 bytes");
    }
    // What follows the head of an upgrade is frames; a body would be taken for them.
    if (request.content_bytes > 0) return refuse(400, "an upgrade has no body");
    return {};
}

// True when the client offered the subprotocol. Names are compared with case (RFC 6455 §4.2.2).
bool is_offered(const HttpRequest& request, std::string_view subprotocol) {
    for (uint32_t index = 0; index < request.fields_count; ++index) {
        if (!equals_ignoring_case(request.fields[index].name, "Sec-WebSocket-Protocol")) continue;
        std::string_view list = request.fields[index].value;
        while (const std::optional<std::string_view> element = take_list_element(list)) {
            if (*element == subprotocol) return true;
        }
    }
    return false;
}

// The first name offered; empty when none is. False when the field is not a list of tokens.
bool read_offers(const HttpRequest& request, std::string_view& first) {
    for (uint32_t index = 0; index < request.fields_count; ++index) {
        if (!equals_ignoring_case(request.fields[index].name, "Sec-WebSocket-Protocol")) continue;
        std::string_view list = request.fields[index].value;
        bool is_empty = true;
        while (const std::optional<std::string_view> element = take_list_element(list)) {
            if (!is_http_token(*element)) return false;
            if (first.empty()) first = *element;
            is_empty = false;
        }
        if (is_empty) return false;
    }
    return true;
}

void choose_subprotocol(const HttpRequest& request, const UpgradePolicy& policy, Upgrade& upgrade) {
    std::string_view first_offer;
    if (!read_offers(request, first_offer)) {
        upgrade.refusal = refuse(400, "Sec-WebSocket-Protocol is not a list of names");
        return;
    }
    if (first_offer.empty()) return;
    for (const std::string_view known : policy.subprotocols) {
        if (!is_offered(request, known)) continue;
        upgrade.subprotocol = known;
        return;
    }
    if (policy.any_subprotocol) {
        upgrade.subprotocol = first_offer;
        return;
    }
    upgrade.refusal = refuse(400, "none of the offered subprotocols is known here; known: ");
    bool is_first = true;
    for (const std::string_view known : policy.subprotocols) {
        if (!is_first) upgrade.refusal.reason.append(", ");
        upgrade.refusal.reason.append(known);
        is_first = false;
    }
    if (policy.subprotocols.empty()) upgrade.refusal.reason.append("none");
}

}  // namespace

bool is_host(std::string_view host) {
    HostPort split;
    return split_host(host, split);
}

bool is_loopback_host(std::string_view host) {
    HostPort split;
    if (!split_host(host, split)) return false;
    return equals_ignoring_case(split.host, "localhost") ||
           ends_ignoring_case(split.host, ".localhost") || split.host == "[::1]" ||
           is_loopback_address4(split.host);
}

Refusal check_access(const HttpRequest& request, const AccessPolicy& policy) {
    // Only HTTP/1.0 may come without Host; no browser speaks it.
    const bool has_host = !request.host.empty();
    if (!has_host && request.minor_version > 0) return refuse(400, "Host is empty");
    // The field too where absolute-form took its place (RFC 9112 §3.2).
    const std::string_view field = request.field("Host").value_or(std::string_view());
    for (const std::string_view host : {request.host, field}) {
        if (!host.empty() && !is_host(host)) return refuse(400, "Host is not a name or address");
    }
    if (policy.loopback_only && has_host && !is_loopback_host(request.host)) {
        return refuse(403, "this listener is on loopback and answers only to loopback names");
    }
    const uint32_t origins_count = request.field_count("Origin");
    if (origins_count == 0) return {};
    if (origins_count > 1) return refuse(400, "there is more than one Origin");
    const std::string_view text = *request.field("Origin");
    Origin origin;
    const bool is_parsed = parse_origin(text, origin);
    if (is_parsed && is_same_place(origin, request.host)) return {};
    if (is_allowed(text, is_parsed ? &origin : nullptr, policy)) return {};
    return refuse(403, "this Origin is not allowed");
}

bool wants_upgrade(const HttpRequest& request) {
    return request.has_token("Upgrade", "websocket") ||
           request.field_count("Sec-WebSocket-Key") > 0;
}

Upgrade decide_upgrade(const HttpRequest& request, const UpgradePolicy& policy) {
    Upgrade upgrade;
    upgrade.refusal = check_handshake_fields(request);
    if (upgrade.refusal.status != 0) return upgrade;
    choose_subprotocol(request, policy, upgrade);
    if (upgrade.refusal.status != 0) return upgrade;
    accept_of_key(*request.field("Sec-WebSocket-Key"), upgrade.accept);
    return upgrade;
}

void append_upgrade_response(std::string& out, const Upgrade& upgrade,
                             std::string_view extensions) {
    CHECK(upgrade.refusal.status == 0);
    out.append(
        "HTTP/1.1 101 Switching Protocols\r\n"
        "Upgrade: websocket\r\n"
        "Connection: Upgrade\r\n"
        "Sec-WebSocket-Accept: ");
    out.append(upgrade.accept, sizeof upgrade.accept);
    if (!upgrade.subprotocol.empty()) {
        out.append("\r\nSec-WebSocket-Protocol: ");
        out.append(upgrade.subprotocol);
    }
    if (!extensions.empty()) {
        out.append("\r\nSec-WebSocket-Extensions: ");
        out.append(extensions);
    }
    out.append("\r\n\r\n");
}

void accept_of_key(std::string_view key, char (&accept)[28]) {
    CHECK(key.size() == key_characters);
    // RFC 6455 §1.3: SHA-1 serves here to show that a WebSocket server answers, not to protect
    // anything.
    constexpr std::string_view guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    uint8_t text[key_characters + guid.size()];
    std::memcpy(text, key.data(), key_characters);
    std::memcpy(text + key_characters, guid.data(), guid.size());
    uint8_t digest[SHA_DIGEST_LENGTH];
    // SHA1() would look the algorithm up each time, which costs as much as the digest itself.
    static EVP_MD* const sha1 = EVP_MD_fetch(nullptr, "SHA1", nullptr);
    CHECK(sha1 != nullptr);
    CHECK(EVP_Digest(text, sizeof text, digest, nullptr, sha1, nullptr) == 1);
    std::string encoded;
    append_base64(encoded, {reinterpret_cast<const char*>(digest), sizeof digest});
    CHECK(encoded.size() == sizeof accept);
    std::memcpy(accept, encoded.data(), sizeof accept);
}

}  // namespace codec
