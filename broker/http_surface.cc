#include "broker/http_surface.h"

#include <charconv>
#include <cstdio>
#include <cstring>

#include "broker/heartbeat.h"
#include "codec/proxy_protocol.h"
#include "codec/reply.h"
#include "io/base/check.h"
#include "io/base/units.h"

namespace broker {

using State = ConnectionState;

namespace {

constexpr std::string_view websocket_path = "/ws";
constexpr std::string_view echo_path = "/echo";
constexpr std::string_view topics_path = "/topics/";
constexpr std::string_view batch_path = "/api/publish";
constexpr std::string_view connections_path = "/api/connections";
constexpr std::string_view json_type = "application/json";
constexpr std::string_view subprotocols[] = {"fanfare.v1"};
constexpr std::string_view address_full = "this address has as many connections as it may";
constexpr std::string_view retry_after = "Retry-After: 5\r\n";
constexpr const char* stopping_reason = "the broker is stopping";
constexpr std::string_view memory_short_reason = "the broker is short of memory";
constexpr std::string_view only_reads = "Allow: GET, HEAD\r\n";
constexpr std::string_view only_deletes = "Allow: DELETE\r\n";
constexpr std::string_view nothing_here =
    "there is nothing at this path; WebSocket clients connect to /ws";
// What a page of an allowed origin must ask before it may POST JSON (https://fetch.spec.whatwg.org,
// §3.2). That it is allowed was checked before.
constexpr std::string_view preflight_fields =
    "Access-Control-Allow-Methods: POST\r\n"
    "Access-Control-Allow-Headers: content-type, idempotency-key\r\n"
    "Access-Control-Max-Age: 600\r\n";

bool is_read(const codec::HttpRequest& request) {
    return request.method == "GET" || request.method == "HEAD";
}

// Of refusals by the status alone.
codec::ErrorCode code_of_status(uint16_t status) {
    switch (status) {
        case 403: return codec::ErrorCode::forbidden;
        case 413: return codec::ErrorCode::too_large;
        case 429: return codec::ErrorCode::rate_limited;
        case 503:
        case 504: return codec::ErrorCode::unavailable;
        default: return codec::ErrorCode::invalid_request;
    }
}

// A message of a batch is known by its place in it.
std::string_view write_index(uint32_t index, std::span<char> out) {
    const std::to_chars_result end = std::to_chars(out.data(), out.data() + out.size(), index);
    CHECK(end.ec == std::errc());
    return {out.data(), end.ptr};
}

uint32_t read_index(std::string_view id) {
    uint32_t index = 0;
    const std::from_chars_result end = std::from_chars(id.data(), id.data() + id.size(), index);
    CHECK(end.ec == std::errc() && end.ptr == id.data() + id.size());
    return index;
}

}  // namespace

HttpSurface::HttpSurface(const Parts& parts, ConnectionsQuery& connections_query, io::ShardId shard)
    : parts_(parts),
      connections_query_(connections_query),
      shard_(shard),
      metrics_(parts.registry.shard(shard)),
      post_(parts.parser) {}

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

uint32_t HttpSurface::unfinished_bytes(const Connection& connection) {
    const bool is_our_turn = connection.http->awaits_answer || connection.pause == Pause::lanes;
    return is_our_turn ? 0 : connection.reassembly_bytes;
}

void HttpSurface::shed(base::Slot slot) {
    refuse(slot, parts_.connections.at(slot), 503, memory_short_reason, retry_after);
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
    // Not before: what is answered at once has not waited, and the answer may be this gauge.
    parts_.lifecycle.account_reassembly(connection);
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
    consume(connection, header.header_bytes);
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
        if (refuses_for_memory()) {
            refuse(slot, connection, 503, memory_short_reason, retry_after);
            return false;
        }
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
    progress.cors_origin.clear();
    serve(slot, connection, request_, body, request_bytes);
    return connection.state == State::http && connection.pause == Pause::none;
}

void HttpSurface::serve(base::Slot slot, Connection& connection, const codec::HttpRequest& request,
                        std::string_view body, size_t request_bytes) {
    const ListenerRole& role = parts_.listeners[connection.listener];
    const codec::Refusal refusal = codec::check_access(
        request,
        {.loopback_only = role.is_loopback, .allowed_origins = parts_.settings.allowed_origins});
    const bool is_topic = role.serves_clients && request.path.starts_with(topics_path);
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
    if (is_topic) {
        // The answer may be read by the page that asks: another host's page has an Origin.
        connection.http->cors_origin = request.field("Origin").value_or("");
        if (!serve_topic(slot, connection, request, body)) return;  // tried again later
    } else if (role.serves_admin && request.path == batch_path) {
        if (!serve_batch(slot, connection, request, body)) return;  // tried again later
    } else if (const Asset* asset = find_asset(request.path);
               asset != nullptr && role.serves_clients &&
               (!asset->is_example || parts_.settings.examples)) {
        serve_asset(slot, connection, request, *asset);
    } else if (!role.serves_admin || !serve_admin(slot, connection, request)) {
        respond_error(slot, connection, 404, codec::ErrorCode::invalid_request, nothing_here);
    }
    if (connection.state != State::http) return;
    consume(connection, request_bytes);
    arm_timer(slot, connection);
}

void HttpSurface::consume(Connection& connection, size_t bytes) {
    HttpProgress& progress = *connection.http;
    progress.used_bytes -= bytes;
    std::memmove(progress.bytes.data(), progress.bytes.data() + bytes, progress.used_bytes);
    progress.wanted_bytes = 0;
    progress.continue_sent = false;
    // Not `= {}`, which would keep the memory.
    if (progress.used_bytes == 0) progress.bytes = std::vector<uint8_t>();
    parts_.lifecycle.account_reassembly(connection);
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
    const uint64_t ping_at_ns =
        Heartbeat::ping_at_ns(parts_.settings, slot.index, parts_.reactor.now_ns());
    parts_.timers.arm(slot.index, ping_at_ns);
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

bool HttpSurface::refuses_for_memory() {
    if (!parts_.memory.is_full()) return false;
    metrics_.count_refusal(Refused::memory);
    return true;
}

std::string_view HttpSurface::upgrades_refusal(const Connection& connection) {
    if (is_draining_) return stopping_reason;
    if (refuses_for_memory()) return memory_short_reason;
    if (connection.is_over_limit && !connection.is_over_address) {
        return "the broker has as many connections as it may";
    }
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
                .subscriptions_max = static_cast<uint32_t>(parts_.settings.subscriptions_max),
                .commands_per_second = parts_.settings.commands_per_second,
                .publishes_per_second = parts_.settings.publishes_per_second});
    // The first word: nothing that may overtake the ordered stream gets before it.
    parts_.outbox.send_control(slot, codec::Opcode::text, text_);
}

bool HttpSurface::refuses_publishes(base::Slot slot, Connection& connection) {
    if (connection.is_over_address) {
        refuse(slot, connection, 429, address_full, retry_after);
        return true;
    }
    // Of a batch that had to wait some messages may be published, and a refusal says that none is.
    const bool has_begun = connection.http->batch != nullptr;
    const bool is_memory_short = !has_begun && refuses_for_memory();
    if (is_memory_short) metrics_.add(Metric::publishes_refused_total);
    if (!is_draining_ && !connection.is_over_limit && !is_memory_short) return false;
    refuse(slot, connection, 503, "the broker takes no publishes now", retry_after);
    return true;
}

bool HttpSurface::serve_topic(base::Slot slot, Connection& connection,
                              const codec::HttpRequest& request, std::string_view body) {
    if (request.method == "OPTIONS") {
        respond(slot, connection, {.status = 204, .extra_fields = preflight_fields});
        return true;
    }
    if (request.method != "POST") {
        respond_error(slot, connection, 405, codec::ErrorCode::invalid_request, "publish with POST",
                      "Allow: POST, OPTIONS\r\n");
        return true;
    }
    if (refuses_publishes(slot, connection) || !may_publish(slot, connection)) return true;
    PostedMessage message;
    const PostRefusal refusal =
        post_.read_message(request, request.path.substr(topics_path.size()), body, message);
    if (refusal.status != 0) {
        respond_error(slot, connection, refusal.status, refusal.code, refusal.reason);
        return true;
    }
    const Publication publication{
        .origin = {.shard = shard_, .slot = slot, .echo = true, .wants_answer = true, .id = {}},
        .topic = message.topic,
        .payload = message.payload,
        .key = message.key};
    PublishResult result;
    const Fanout::Published outcome = parts_.fanout.publish(publication, result);
    if (outcome != Fanout::Published::blocked) {
        parts_.pacing.done(connection.pace, Pacing::Kind::publish, parts_.reactor.now_ns());
    }
    switch (outcome) {
        case Fanout::Published::sequenced: respond_published(slot, connection, result); return true;
        case Fanout::Published::forwarded: connection.http->awaits_answer = true; return true;
        case Fanout::Published::blocked: pause(slot, connection, Pause::lanes); return false;
    }
    UNREACHABLE();
}

bool HttpSurface::may_publish(base::Slot slot, Connection& connection) {
    const uint64_t now_ns = parts_.reactor.now_ns();
    constexpr Pacing::Kind kind = Pacing::Kind::publish;
    const uint64_t wait_ns = parts_.pacing.wait_ns(connection.pace, kind, 0, now_ns);
    if (wait_ns == 0) return true;
    if (parts_.pacing.refused(connection.pace, kind, 0, now_ns)) {
        connection.http->keep_alive = false;
    }
    const uint64_t wait_s = (wait_ns + base::ns_per_s - 1) / base::ns_per_s;
    const std::string retry_field = "Retry-After: " + std::to_string(wait_s) + "\r\n";
    respond_error(slot, connection, 429, codec::ErrorCode::rate_limited,
                  "this connection publishes faster than it may", retry_field);
    return false;
}

bool HttpSurface::serve_batch(base::Slot slot, Connection& connection,
                              const codec::HttpRequest& request, std::string_view body) {
    if (request.method != "POST") {
        respond_error(slot, connection, 405, codec::ErrorCode::invalid_request, "publish with POST",
                      "Allow: POST\r\n");
        return true;
    }
    if (refuses_publishes(slot, connection)) return true;
    uint32_t messages_count = 0;
    const PostRefusal refusal = post_.read_batch(body, messages_count);
    if (refusal.status != 0) {
        respond_error(slot, connection, refusal.status, refusal.code, refusal.reason);
        return true;
    }
    return publish_batch(slot, connection, messages_count);
}

bool HttpSurface::publish_batch(base::Slot slot, Connection& connection, uint32_t messages_count) {
    std::unique_ptr<HttpBatch>& batch = connection.http->batch;
    if (batch == nullptr) {
        batch = std::make_unique<HttpBatch>();
        batch->results.resize(messages_count);
    }
    for (; batch->next_message < messages_count; ++batch->next_message) {
        const PostedMessage message = post_.message(batch->next_message);
        char digits[10];
        const Publication publication{.origin = {.shard = shard_,
                                                 .slot = slot,
                                                 .echo = true,
                                                 .wants_answer = true,
                                                 .id = write_index(batch->next_message, digits)},
                                      .topic = message.topic,
                                      .payload = message.payload,
                                      .key = message.key};
        PublishResult& result = batch->results[batch->next_message];
        switch (parts_.fanout.publish(publication, result)) {
            case Fanout::Published::sequenced: break;
            case Fanout::Published::forwarded: ++batch->answers_missing; break;
            case Fanout::Published::blocked: pause(slot, connection, Pause::lanes); return false;
        }
    }
    if (batch->answers_missing > 0) {
        connection.http->awaits_answer = true;
    } else {
        respond_batch(slot, connection);
    }
    return true;
}

void HttpSurface::published(base::Slot slot, const Origin& origin, const PublishResult& result) {
    Connection& connection = parts_.connections.at(slot);
    HttpProgress& progress = *connection.http;
    if (progress.batch != nullptr) {
        progress.batch->results[read_index(origin.id)] = result;
        // Without awaits_answer some of its messages are still to be published.
        if (--progress.batch->answers_missing > 0 || !progress.awaits_answer) return;
    }
    progress.awaits_answer = false;
    if (progress.batch != nullptr) {
        respond_batch(slot, connection);
    } else {
        respond_published(slot, connection, result);
    }
    if (connection.state == State::http) resume(slot, connection);
}

void HttpSurface::respond_published(base::Slot slot, Connection& connection,
                                    const PublishResult& result) {
    body_.clear();
    codec::append_published(body_, {}, result.position, result.is_duplicate);
    body_.push_back('\n');
    respond(slot, connection, {.status = 200, .content_type = json_type, .body = body_});
}

void HttpSurface::respond_batch(base::Slot slot, Connection& connection) {
    const std::unique_ptr<HttpBatch> batch = std::move(connection.http->batch);
    body_.clear();
    HttpPost::append_results(body_, batch->results);
    respond(slot, connection, {.status = 200, .content_type = json_type, .body = body_});
}

void HttpSurface::serve_asset(base::Slot slot, Connection& connection,
                              const codec::HttpRequest& request, const Asset& asset) {
    if (!is_read(request)) {
        respond_error(slot, connection, 405, codec::ErrorCode::invalid_request, "only GET and HEAD",
                      only_reads);
        return;
    }
    const EmbeddedFile file = asset.file();
    // It is asked for each time, so that a page never meets the client of an older broker; the
    // answer is almost always 304.
    body_.assign("Cache-Control: no-cache\r\nETag: ").append(file.etag).append("\r\n");
    body_.append(asset.extra_fields);
    respond(slot, connection,
            {.status = static_cast<uint16_t>(is_known_to_client(request, file.etag) ? 304 : 200),
             .content_type = asset.content_type,
             .extra_fields = body_,
             .body = file.bytes});
}

bool HttpSurface::serve_admin(base::Slot slot, Connection& connection,
                              const codec::HttpRequest& request) {
    const bool is_metrics = request.path == "/metrics";
    const bool is_health = request.path == "/healthz";
    const bool is_ready = request.path == "/readyz";
    if (request.path.starts_with(connections_path)) {
        return serve_connections(slot, connection, request);
    }
    if (!is_metrics && !is_health && !is_ready) return false;
    if (!is_read(request)) {
        respond_error(slot, connection, 405, codec::ErrorCode::invalid_request, "only GET and HEAD",
                      only_reads);
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

bool HttpSurface::serve_connections(base::Slot slot, Connection& connection,
                                    const codec::HttpRequest& request) {
    const auto refuse_with = [&](uint16_t status, std::string_view reason,
                                 std::string_view fields = {}) {
        respond_error(slot, connection, status, code_of_status(status), reason, fields);
        return true;
    };
    std::string_view id_text = request.path.substr(connections_path.size());
    const auto refuse_stopping = [&] { return refuse_with(503, stopping_reason, retry_after); };
    bool is_asked = false;
    if (id_text.empty()) {
        if (!is_read(request)) return refuse_with(405, "only GET and HEAD", only_reads);
        ConnectionsQuestion question;
        const std::string_view error = parse_connections_question(request.query, question);
        if (!error.empty()) return refuse_with(400, error);
        if (connections_query_.is_draining()) return refuse_stopping();
        is_asked = connections_query_.ask(slot, question);
    } else {
        if (id_text.front() != '/') return false;
        id_text.remove_prefix(1);
        if (request.method != "DELETE") return refuse_with(405, "only DELETE", only_deletes);
        const std::optional<ConnectionId> id = parse_connection_id(id_text);
        if (!id) return refuse_with(400, "an id looks like 1-42-7, as /api/connections tells it");
        if (connections_query_.is_draining()) return refuse_stopping();
        is_asked = connections_query_.close(slot, *id);
    }
    if (!is_asked) {
        return refuse_with(503, "other such requests are being answered", "Retry-After: 1\r\n");
    }
    connection.http->awaits_answer = true;
    return true;
}

void HttpSurface::answer(const ConnectionsQuery::Answer& answer) {
    Connection* connection = parts_.connections.find(answer.asker);
    if (connection == nullptr || connection->state != State::http) return;
    connection->http->awaits_answer = false;
    if (answer.status >= 400) {
        const std::string_view fields = answer.status == 503 ? retry_after : std::string_view();
        respond_error(answer.asker, *connection, answer.status, code_of_status(answer.status),
                      answer.body, fields);
    } else {
        respond(answer.asker, *connection,
                {.status = answer.status, .content_type = json_type, .body = answer.body});
    }
    if (connection->state == State::http) resume(answer.asker, *connection);
}

void HttpSurface::respond(base::Slot slot, Connection& connection,
                          const codec::HttpResponse& response) {
    codec::HttpResponse complete = response;
    connection.http->is_answered = true;
    complete.keep_alive = connection.http->keep_alive;
    complete.head_only = connection.http->is_head;
    // The next answer may be a 408 or 503 to a request of which too little came to know its method.
    connection.http->is_head = false;
    if (!connection.http->cors_origin.empty()) {
        fields_.assign(response.extra_fields).append("Access-Control-Allow-Origin: ");
        fields_.append(connection.http->cors_origin).append("\r\nVary: Origin\r\n");
        complete.extra_fields = fields_;
        connection.http->cors_origin.clear();  // for the same reason
    }
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
    respond_error(slot, connection, status, code_of_status(status), reason, extra_fields);
}

void HttpSurface::respond_error(base::Slot slot, Connection& connection, uint16_t status,
                                codec::ErrorCode code, std::string_view reason,
                                std::string_view extra_fields) {
    body_.clear();
    codec::append_error(body_, {}, code, reason);
    body_.push_back('\n');
    respond(
        slot, connection,
        {.status = status, .content_type = json_type, .extra_fields = extra_fields, .body = body_});
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
