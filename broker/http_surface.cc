#include "broker/http_surface.h"

#include <cstdio>
#include <cstring>

#include "broker/browser_client.h"
#include "codec/proxy_protocol.h"
#include "codec/reply.h"
#include "codec/utf8.h"
#include "io/base/units.h"
#include "topics/name.h"

namespace broker {

using State = ConnectionState;

namespace {

constexpr std::string_view websocket_path = "/ws";
constexpr std::string_view echo_path = "/echo";
constexpr std::string_view topics_path = "/topics/";
constexpr std::string_view browser_client_path = "/fanfare.js";
constexpr std::string_view json_type = "application/json";
constexpr std::string_view subprotocols[] = {"fanfare.v1"};
constexpr std::string_view address_full = "this address has as many connections as it may";
constexpr std::string_view retry_after = "Retry-After: 5\r\n";
constexpr const char* stopping_reason = "the broker is stopping";
// Any page may import it as a module: the code is no secret, and the Origin was checked before.
constexpr std::string_view browser_client_fields =
    "Cache-Control: max-age=3600\r\nAccess-Control-Allow-Origin: *\r\n";
constexpr codec::HttpResponse only_reads{
    .status = 405, .extra_fields = "Allow: GET, HEAD\r\n", .body = "only GET and HEAD\n"};

bool is_read(const codec::HttpRequest& request) {
    return request.method == "GET" || request.method == "HEAD";
}

// The media type without its parameters.
std::string_view media_type(std::string_view content_type) {
    const size_t end = content_type.find_first_of("; \t");
    return end == std::string_view::npos ? content_type : content_type.substr(0, end);
}

std::span<const uint8_t> bytes_of(std::string_view text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace

HttpSurface::HttpSurface(const Parts& parts, io::ShardId shard)
    : parts_(parts), shard_(shard), metrics_(parts.registry.shard(shard)) {}

void HttpSurface::drain() {
    is_draining_ = true;
}

bool HttpSurface::end(base::Slot slot) {
    Connection& connection = parts_.connections.at(slot);
    const HttpProgress& progress = *connection.http;
    if (progress.awaits_answer || connection.pause == Pause::lanes) return false;
    if (progress.is_answered) {
        parts_.lifecycle.close_http(slot);
    } else {
        // Its request may be on the way: it was connected before the listener closed.
        refuse(slot, connection, 503, stopping_reason, retry_after);
    }
    return true;
}

void HttpSurface::arm_timer(base::Slot slot, const Connection& connection) {
    const HttpProgress& progress = *connection.http;
    const bool is_idle = progress.used_bytes == 0 && !progress.awaits_answer;
    const uint64_t timeout_ns =
        is_idle ? parts_.settings.keep_alive_timeout_ns : parts_.settings.handshake_timeout_ns;
    parts_.timers.arm(slot.index, parts_.reactor.now_ns() + timeout_ns);
}

void HttpSurface::timed_out(base::Slot slot) {
    Connection& connection = parts_.connections.at(slot);
    HttpProgress& progress = *connection.http;
    if (progress.awaits_answer || connection.pause == Pause::lanes) {
        arm_timer(slot, connection);  // we are the slow ones
    } else if (progress.used_bytes == 0 || connection.pause == Pause::backlog) {
        parts_.lifecycle.close_http(slot);
    } else {
        metrics_.count_refusal(Refused::handshake_timeout);
        refuse(slot, connection, 408, "the request did not arrive in time");
    }
}

void HttpSurface::accepted(base::Slot slot) {
    Connection& connection = parts_.connections.at(slot);
    connection.http->awaits_introduction =
        parts_.settings.proxy_protocol && parts_.admission.is_trusted(slot);
}

void HttpSurface::receive(base::Slot slot, std::span<const uint8_t> bytes) {
    Connection& connection = parts_.connections.at(slot);
    HttpProgress& progress = *connection.http;
    const bool was_idle = progress.used_bytes == 0 && !progress.awaits_answer;
    progress.bytes.resize(progress.used_bytes + bytes.size() + base::readable_padding_bytes);
    std::memcpy(progress.bytes.data() + progress.used_bytes, bytes.data(), bytes.size());
    progress.used_bytes += bytes.size();
    if (was_idle) arm_timer(slot, connection);
    if (connection.pause == Pause::none) pump(slot);
}

void HttpSurface::pump(base::Slot slot) {
    while (true) {
        Connection& connection = parts_.connections.at(slot);
        if (connection.state != State::http) return;
        if (connection.http->awaits_answer) {
            const size_t most = parts_.settings.http_head_bytes_max +
                                parts_.settings.message_bytes_max + buffered_requests_bytes_max;
            if (connection.http->used_bytes > most) pause(slot, connection, Pause::answer);
            return;
        }
        if (connection.queue.backlog_bytes() > parts_.settings.outbound_soft_bytes) {
            pause(slot, connection, Pause::backlog);  // who does not read answers is not read from
            return;
        }
        if (!serve_next(slot, connection)) break;
    }
    Connection& connection = parts_.connections.at(slot);
    if (connection.state != State::http) return;
    const bool waits = connection.http->awaits_answer || connection.pause != Pause::none;
    if (connection.peer_ended && !waits) parts_.lifecycle.close_http(slot);
}

bool HttpSurface::take_introduction(base::Slot slot, Connection& connection) {
    HttpProgress& progress = *connection.http;
    const codec::ProxyHeader header =
        codec::parse_proxy_header({progress.bytes.data(), progress.used_bytes});
    switch (header.kind) {
        case codec::ProxyHeader::Kind::need_more: return false;
        case codec::ProxyHeader::Kind::invalid:
            metrics_.count_refusal(Refused::proxy_protocol);
            refuse(slot, connection, 400, header.reason);
            return false;
        case codec::ProxyHeader::Kind::header: break;
    }
    progress.awaits_introduction = false;
    if (!header.is_local && !parts_.admission.introduced(slot, header.source)) {
        parts_.lifecycle.abort(slot);
        return false;
    }
    consume(progress, header.header_bytes);
    return true;
}

bool HttpSurface::serve_next(base::Slot slot, Connection& connection) {
    HttpProgress& progress = *connection.http;
    if (progress.awaits_introduction && !take_introduction(slot, connection)) return false;
    if (progress.used_bytes == 0 || progress.used_bytes < progress.wanted_bytes) return false;
    const codec::HttpLimits limits{
        .head_bytes_max = static_cast<uint32_t>(parts_.settings.http_head_bytes_max),
        .target_bytes_max = static_cast<uint32_t>(parts_.settings.http_head_bytes_max)};
    const codec::HttpParse parse =
        progress.parser.parse({progress.bytes.data(), progress.used_bytes}, limits, request_);
    switch (parse.kind) {
        case codec::HttpParse::Kind::need_more: return false;
        case codec::HttpParse::Kind::refused:
            if (parse.status == 414 || parse.status == 431) {
                metrics_.count_refusal(Refused::http_head);
            }
            refuse(slot, connection, parse.status, parse.reason);
            return false;
        case codec::HttpParse::Kind::request: break;
    }
    // It has seen the whole head; should this request have to wait, it is parsed again.
    progress.parser.reset();
    if (request_.content_bytes > parts_.settings.message_bytes_max) {
        metrics_.count_refusal(Refused::message);
        refuse(slot, connection, 413, "the body is larger than this broker's limit for messages");
        return false;
    }
    const size_t request_bytes = parse.head_bytes + static_cast<size_t>(request_.content_bytes);
    if (progress.used_bytes < request_bytes) {
        progress.wanted_bytes = request_bytes;
        if (request_.expects_continue && !progress.continue_sent) {
            progress.continue_sent = true;
            parts_.outbox.send_raw(slot, "HTTP/1.1 100 Continue\r\n\r\n");
        }
        return false;
    }
    const std::string_view body{
        reinterpret_cast<const char*>(progress.bytes.data()) + parse.head_bytes,
        static_cast<size_t>(request_.content_bytes)};
    progress.keep_alive = request_.keep_alive && !is_draining_;
    progress.is_head = request_.method == "HEAD";
    serve(slot, connection, request_, body, request_bytes);
    return connection.state == State::http && connection.pause == Pause::none;
}

void HttpSurface::serve(base::Slot slot, Connection& connection, const codec::HttpRequest& request,
                        std::string_view body, size_t request_bytes) {
    const ListenerRole& role = parts_.listeners[connection.listener];
    const codec::Refusal refusal = codec::check_access(
        request,
        {.loopback_only = role.is_loopback, .allowed_origins = parts_.settings.allowed_origins});
    const bool is_echo = parts_.settings.echo && request.path == echo_path;
    const bool is_websocket = role.serves_clients && (is_echo || request.path == websocket_path);
    if (refusal.status != 0) {
        if (is_websocket) metrics_.count_upgrade(refusal.status);
        refuse(slot, connection, refusal.status, refusal.reason, refusal.extra_fields);
        return;
    }
    if (is_websocket) {
        upgrade(slot, connection, request, request_bytes);
        return;
    }
    if (role.serves_clients && request.path.starts_with(topics_path)) {
        if (!publish(slot, connection, request, body)) return;  // tried again later
    } else if (role.serves_clients && request.path == browser_client_path) {
        serve_browser_client(slot, connection, request);
    } else if (!role.serves_admin || !serve_admin(slot, connection, request)) {
        respond(slot, connection,
                {.status = 404,
                 .body = "there is nothing at this path; WebSocket clients connect to /ws\n"});
    }
    if (connection.state != State::http) return;
    consume(*connection.http, request_bytes);
    arm_timer(slot, connection);
}

void HttpSurface::consume(HttpProgress& progress, size_t bytes) {
    progress.used_bytes -= bytes;
    std::memmove(progress.bytes.data(), progress.bytes.data() + bytes, progress.used_bytes);
    progress.wanted_bytes = 0;
    progress.continue_sent = false;
    if (progress.used_bytes == 0) progress.bytes = {};
}

void HttpSurface::upgrade(base::Slot slot, Connection& connection,
                          const codec::HttpRequest& request, size_t request_bytes) {
    const bool is_echo = request.path == echo_path;
    codec::Upgrade upgrade =
        codec::decide_upgrade(request, {.subprotocols = subprotocols, .any_subprotocol = is_echo});
    if (upgrade.refusal.status == 0) upgrade.refusal = admit(slot, request);
    if (upgrade.refusal.status != 0) {
        metrics_.count_upgrade(upgrade.refusal.status);
        refuse(slot, connection, upgrade.refusal.status, upgrade.refusal.reason,
               upgrade.refusal.extra_fields);
        return;
    }
    const codec::DeflateDecision deflate = parts_.compression.decide(request, is_echo);
    if (deflate.refusal.status != 0) {
        metrics_.count_upgrade(deflate.refusal.status);
        refuse(slot, connection, deflate.refusal.status, deflate.refusal.reason);
        return;
    }
    body_.clear();
    if (deflate.is_accepted) {
        codec::append_deflate_response(body_, deflate.parameters);
        connection.deflate_window_bits = deflate.parameters.server_window_bits;
        connection.deflate = parts_.compression.context_for(deflate.parameters, is_echo);
    }
    text_.clear();
    codec::append_upgrade_response(text_, upgrade, body_);
    parts_.outbox.send_raw(slot, text_);
    metrics_.count_upgrade(101);
    metrics_.add(Metric::websockets);  // leaving `open` takes it back
    if (parts_.log.wants(LogLevel::debug)) {
        const codec::IpAddress& address = parts_.admission.client_address(slot);
        const bool was_written =
            parts_.log.write(shard_, LogLevel::debug, parts_.reactor.now_ns(), "upgraded",
                             {{"client", address.is_none() ? std::string("unix")
                                                           : codec::ip_address_text(address)}});
        if (!was_written) metrics_.add(Metric::log_lines_dropped_total);
    }
    connection.is_browser = request.field("Origin").has_value();
    connection.is_echo = is_echo;
    connection.was_upgraded = true;
    connection.state = State::open;
    // What came behind the request is the WebSocket's; keep it alive while the session reads it.
    const std::unique_ptr<HttpProgress> progress = std::move(connection.http);
    if (!is_echo) send_welcome(slot);
    parts_.timers.arm(slot.index, parts_.reactor.now_ns() + parts_.settings.heartbeat_interval_ns);
    parts_.session.receive(
        slot, {progress->bytes.data() + request_bytes, progress->used_bytes - request_bytes});
    // The peer may have ended its side while an earlier request waited for its answer.
    const bool is_done = connection.state == State::open && connection.stash == nullptr;
    if (connection.peer_ended && is_done) parts_.lifecycle.abort(slot);
}

codec::Refusal HttpSurface::admit(base::Slot slot, const codec::HttpRequest& request) {
    const Connection& connection = parts_.connections.at(slot);
    const std::string_view reason = upgrades_refusal(connection);
    if (!reason.empty()) return {503, std::string(reason), retry_after.data()};
    switch (parts_.admission.upgrading(slot, request)) {
        case Admission::Verdict::admitted: return {};
        case Admission::Verdict::address_full:
            return {429, address_full.data(), retry_after.data()};
        case Admission::Verdict::too_fast:
            return {503, "too many WebSockets are being opened; come back later",
                    retry_after.data()};
    }
    UNREACHABLE();
}

std::string_view HttpSurface::upgrades_refusal(const Connection& connection) const {
    if (is_draining_) return stopping_reason;
    if (connection.is_over_limit && !connection.is_over_address) {
        return "the broker has as many connections as it may";
    }
    if (parts_.memory.is_full()) return "the broker is short of memory";
    if (parts_.overload.is_overloaded()) return "the broker has more to do than it can";
    return {};
}

void HttpSurface::send_welcome(base::Slot slot) {
    char client[17];
    std::snprintf(client, sizeof client, "%016llx",
                  static_cast<unsigned long long>(parts_.prng.next()));
    text_.clear();
    codec::append_welcome(
        text_, {.client = client,
                .epoch = parts_.epoch,
                .heartbeat_ms = parts_.settings.heartbeat_interval_ns / base::ns_per_ms,
                .timeout_ms = parts_.settings.heartbeat_timeout_ns / base::ns_per_ms,
                .message_bytes_max = parts_.settings.message_bytes_max,
                .subscriptions_max = static_cast<uint32_t>(parts_.settings.subscriptions_max)});
    // The first word: nothing that may overtake the ordered stream gets before it.
    parts_.outbox.send_control(slot, codec::Opcode::text, text_);
}

bool HttpSurface::publish(base::Slot slot, Connection& connection,
                          const codec::HttpRequest& request, std::string_view body) {
    if (request.method != "POST") {
        respond(slot, connection,
                {.status = 405, .extra_fields = "Allow: POST\r\n", .body = "publish with POST\n"});
        return true;
    }
    if (connection.is_over_address) {
        refuse(slot, connection, 429, address_full, retry_after);
        return true;
    }
    if (is_draining_ || connection.is_over_limit || parts_.memory.is_full()) {
        refuse(slot, connection, 503, "the broker takes no publishes now", retry_after);
        return true;
    }
    if (!may_publish(slot, connection)) return true;
    topic_.clear();
    if (!codec::percent_decode(request.path.substr(topics_path.size()), topic_)) {
        respond(slot, connection, {.status = 400, .body = "the path has a malformed %-escape\n"});
        return true;
    }
    const topics::NameError error = topics::check_publishable(topic_);
    if (error != topics::NameError::none) {
        body_.assign(topics::describe(error)).append("\n");
        const uint16_t status = error == topics::NameError::reserved ? 403 : 400;
        respond(slot, connection, {.status = status, .body = body_});
        return true;
    }
    codec::Payload payload;
    const char* refusal = nullptr;
    if (!classify(request, body, payload, refusal)) {
        respond(slot, connection, {.status = 400, .body = refusal});
        return true;
    }
    const Publication publication{
        .origin = {.shard = shard_, .slot = slot, .echo = true, .wants_answer = true, .id = {}},
        .topic = topic_,
        .payload = payload};
    PublishResult result;
    const Fanout::Published outcome = parts_.fanout.publish(publication, result);
    if (outcome != Fanout::Published::blocked) {
        parts_.pacing.done(connection.pace, Pacing::Kind::publish, parts_.reactor.now_ns());
    }
    switch (outcome) {
        case Fanout::Published::sequenced: published(slot, result); return true;
        case Fanout::Published::forwarded: connection.http->awaits_answer = true; return true;
        case Fanout::Published::blocked: pause(slot, connection, Pause::lanes); return false;
    }
    UNREACHABLE();
}

bool HttpSurface::may_publish(base::Slot slot, Connection& connection) {
    const uint64_t now_ns = parts_.reactor.now_ns();
    const uint64_t wait_ns = parts_.pacing.wait_ns(connection.pace, Pacing::Kind::publish, now_ns);
    if (wait_ns == 0) return true;
    if (parts_.pacing.refused(connection.pace, Pacing::Kind::publish, now_ns)) {
        connection.http->keep_alive = false;
    }
    const uint64_t wait_s = (wait_ns + base::ns_per_s - 1) / base::ns_per_s;
    const std::string retry_field = "Retry-After: " + std::to_string(wait_s) + "\r\n";
    respond(slot, connection,
            {.status = 429,
             .extra_fields = retry_field,
             .body = "this connection publishes faster than it may\n"});
    return false;
}

bool HttpSurface::classify(const codec::HttpRequest& request, std::string_view body,
                           codec::Payload& payload, const char*& refusal) {
    const std::string_view type = media_type(request.field("Content-Type").value_or(""));
    payload.bytes = body;
    if (codec::equals_ignoring_case(type, json_type) || type.ends_with("+json")) {
        payload.kind = codec::PayloadKind::json;
        refusal = "the body is not one JSON text by RFC 8259 without duplicate keys\n";
        return parts_.parser.validate_json(body);
    }
    // What curl -d sends unless told otherwise, and no type at all: JSON if it is, else text.
    const bool is_guess =
        type.empty() || codec::equals_ignoring_case(type, "application/x-www-form-urlencoded");
    if (is_guess && parts_.parser.validate_json(body)) {
        payload.kind = codec::PayloadKind::json;
        return true;
    }
    if (is_guess || codec::equals_ignoring_case(type.substr(0, 5), "text/")) {
        payload.kind = codec::PayloadKind::text;
        refusal = "the body is not UTF-8; send other bytes as application/octet-stream\n";
        return codec::is_utf8(bytes_of(body));
    }
    payload.kind = codec::PayloadKind::binary;
    return true;
}

void HttpSurface::published(base::Slot slot, const PublishResult& result) {
    Connection& connection = parts_.connections.at(slot);
    const bool was_awaiting = connection.http->awaits_answer;
    connection.http->awaits_answer = false;
    body_.clear();
    codec::append_published(body_, {}, result.position, result.is_duplicate);
    body_.push_back('\n');
    respond(slot, connection, {.status = 200, .content_type = json_type, .body = body_});
    if (!was_awaiting || connection.state != State::http) return;
    resume(slot, connection);
}

void HttpSurface::serve_browser_client(base::Slot slot, Connection& connection,
                                       const codec::HttpRequest& request) {
    if (!is_read(request)) {
        respond(slot, connection, only_reads);
        return;
    }
    respond(slot, connection,
            {.status = 200,
             .content_type = "text/javascript; charset=utf-8",
             .extra_fields = browser_client_fields,
             .body = browser_client()});
}

bool HttpSurface::serve_admin(base::Slot slot, Connection& connection,
                              const codec::HttpRequest& request) {
    const bool is_metrics = request.path == "/metrics";
    const bool is_health = request.path == "/healthz";
    const bool is_ready = request.path == "/readyz";
    if (!is_metrics && !is_health && !is_ready) return false;
    if (!is_read(request)) {
        respond(slot, connection, only_reads);
        return true;
    }
    body_.clear();
    codec::HttpResponse response{.status = 200};
    if (is_metrics) {
        response.content_type = "text/plain; version=0.0.4; charset=utf-8";
        parts_.registry.append_text(body_);
    } else if (is_health) {
        const bool is_healthy = parts_.registry.is_healthy(parts_.reactor.now_ns());
        response.status = is_healthy ? 200 : 503;
        body_ = is_healthy ? "ok\n" : "a worker has not finished a turn for more than 5 s\n";
    } else {
        response.status = is_draining_ ? 503 : 200;
        body_ = is_draining_ ? "stopping\n" : "ready\n";
    }
    response.body = body_;
    respond(slot, connection, response);
    return true;
}

void HttpSurface::respond(base::Slot slot, Connection& connection,
                          const codec::HttpResponse& response) {
    codec::HttpResponse complete = response;
    connection.http->is_answered = true;
    complete.keep_alive = connection.http->keep_alive;
    complete.head_only = connection.http->is_head;
    text_.clear();
    codec::append_http_response(text_, complete);
    parts_.outbox.send_raw(slot, text_);
    if (!complete.keep_alive) {
        parts_.lifecycle.close_http(slot);
    } else {
        arm_timer(slot, connection);
    }
}

void HttpSurface::refuse(base::Slot slot, Connection& connection, uint16_t status,
                         std::string_view reason, std::string_view extra_fields) {
    connection.http->keep_alive = false;
    body_.assign(reason).append("\n");
    respond(slot, connection, {.status = status, .extra_fields = extra_fields, .body = body_});
}

void HttpSurface::pause(base::Slot slot, Connection& connection, Pause reason) {
    connection.pause = reason;
    if (reason == Pause::lanes) paused_.push(slot);
    metrics_.add(Metric::pauses_total);
    if (connection.recv_armed && !connection.recv_stopping) {
        connection.recv_stopping = true;
        parts_.reactor.recv_stop(connection.socket, slot);
    }
}

void HttpSurface::resume(base::Slot slot, Connection& connection) {
    connection.pause = Pause::none;
    pump(slot);
    parts_.lifecycle.read_on(slot);
}

void HttpSurface::sent(base::Slot slot) {
    Connection& connection = parts_.connections.at(slot);
    const bool is_backlogged =
        connection.queue.backlog_bytes() > parts_.settings.outbound_soft_bytes;
    if (connection.pause == Pause::backlog && !is_backlogged) resume(slot, connection);
}

void HttpSurface::resume_paused() {
    size_t count = paused_.count();
    if (count > resumes_per_turn_max) count = resumes_per_turn_max;
    for (; count > 0; --count) {
        const base::Slot slot = paused_.pop();
        Connection* connection = parts_.connections.find(slot);
        if (connection == nullptr || connection->state != State::http) continue;
        if (connection->pause == Pause::lanes) resume(slot, *connection);
    }
}

}  // namespace broker
