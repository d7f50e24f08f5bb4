// HttpSurface: what is answered over HTTP: the upgrade at /ws, publishing at POST /topics/<topic>,
// the client for browsers at /fanfare.js, and the admin surface (/metrics, /healthz, /readyz, POST
// /api/publish, /api/connections) where the listener offers it.
//
// Owner: a shard has one for all its connections; a connection's own progress stands in
// HttpProgress. Thread: its shard's.
// Invariants:
//  1. Requests of a connection are answered in order, one at a time; further ones wait in its
//     buffer, which is bounded: beyond it nothing is read.
//  2. Every refusal has its status and a body that says why, as the native dialect's `error`; a
//     refusal that leaves the stream's state unclear closes.
//  3. Bytes behind an upgrade request are the first bytes of the WebSocket.
//  4. A message of a batch is published once, though the request is read again whenever it has to
//     wait for room in the lanes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "broker/admission.h"
#include "broker/assets.h"
#include "broker/connection.h"
#include "broker/connections_query.h"
#include "broker/fanout.h"
#include "broker/http_post.h"
#include "broker/lifecycle.h"
#include "broker/listeners.h"
#include "broker/log.h"
#include "broker/memory_budget.h"
#include "broker/metrics.h"
#include "broker/outbox.h"
#include "broker/overload.h"
#include "broker/pacing.h"
#include "broker/session.h"
#include "broker/settings.h"
#include "codec/http.h"
#include "codec/upgrade.h"
#include "io/base/prng.h"

namespace broker {

class HttpSurface {
  public:
    struct Parts {
        io::Reactor& reactor;
        base::Slab<Connection>& connections;
        io::TimerWheel& timers;
        Outbox& outbox;
        Lifecycle& lifecycle;
        Fanout& fanout;
        Admission& admission;
        const Pacing& pacing;
        Compression& compression;
        Session& session;
        codec::CommandParser& parser;
        base::Prng& prng;
        MetricsRegistry& registry;
        const MemoryBudget& memory;
        const Overload& overload;
        const Settings& settings;
        const std::vector<ListenerRole>& listeners;
        std::string_view epoch;
        Log& log;
    };
    HttpSurface(const Parts& parts, ConnectionsQuery& connections_query, io::ShardId shard);

    // A new connection, which Admission knows.
    void accepted(base::Slot slot);
    void receive(base::Slot slot, std::span<const uint8_t> bytes);
    // An owner's answer to a message of a POST that was forwarded.
    void published(base::Slot slot, const Origin& origin, const PublishResult& result);
    // The answer to a question about connections.
    void answer(const ConnectionsQuery::Answer& answer);
    // After a completed send: resumes if unread answers were the reason for a pause.
    void sent(base::Slot slot);
    // Tries those again that wait for room in the lanes.
    void resume_paused();
    bool has_paused() const { return !paused_.is_empty(); }
    void timed_out(base::Slot slot);
    // From now on upgrades and publishes are refused, and every response closes.
    void drain();
    // Ends a connection in good order: whoever was not answered yet is told 503. False: it waits
    // for the answer to a publish.
    [[nodiscard]] bool end(base::Slot slot);
    // The memory of a request that does not arrive, or waits for its client to read answers. What
    // waits for the broker itself has none in this sense: it will be done.
    static uint32_t unfinished_bytes(const Connection& connection);
    // Refuses that request, because memory is short, and closes.
    void shed(base::Slot slot);

  private:
    static constexpr size_t buffered_requests_bytes_max = 64 * 1024;
    static constexpr uint32_t resumes_per_turn_max = 64;

    void pump(base::Slot slot);
    // Takes the PROXY protocol header that must come first; false: it is not there yet, or bad.
    bool take_introduction(base::Slot slot, Connection& connection);
    // False: the request cannot go on now (it is not complete, or waits).
    bool serve_next(base::Slot slot, Connection& connection);
    void serve(base::Slot slot, Connection& connection, const codec::HttpRequest& request,
               std::string_view body, size_t request_bytes);
    void upgrade(base::Slot slot, Connection& connection, const codec::HttpRequest& request,
                 size_t request_bytes);
    // Why the upgrade may not be now; status 0: it may.
    codec::Refusal admit(base::Slot slot, const codec::HttpRequest& request);
    // Whether the connection may publish once more; else it is answered 429.
    bool may_publish(base::Slot slot, Connection& connection);
    // False: the request has to wait for room in the lanes, and is served again.
    bool serve_topic(base::Slot slot, Connection& connection, const codec::HttpRequest& request,
                     std::string_view body);
    bool serve_batch(base::Slot slot, Connection& connection, const codec::HttpRequest& request,
                     std::string_view body);
    // Whether publishing is refused now, which it has answered then.
    bool refuses_publishes(base::Slot slot, Connection& connection);
    bool publish_batch(base::Slot slot, Connection& connection, uint32_t messages_count);
    void serve_asset(base::Slot slot, Connection& connection, const codec::HttpRequest& request,
                     const Asset& asset);
    bool serve_admin(base::Slot slot, Connection& connection, const codec::HttpRequest& request);

    bool serve_connections(base::Slot slot, Connection& connection,
                           const codec::HttpRequest& request);

    void respond(base::Slot slot, Connection& connection, const codec::HttpResponse& response);
    void respond_published(base::Slot slot, Connection& connection, const PublishResult& result);
    void respond_batch(base::Slot slot, Connection& connection);
    void respond_error(base::Slot slot, Connection& connection, uint16_t status,
                       codec::ErrorCode code, std::string_view reason,
                       std::string_view extra_fields = {});
    // Answers with an error, and closes.
    void refuse(base::Slot slot, Connection& connection, uint16_t status, std::string_view reason,
                std::string_view extra_fields = {});
    // Why no further WebSocket is taken now; empty when one is.
    std::string_view upgrades_refusal(const Connection& connection);
    // Whether memory is used up, so that something is refused, which it has counted then.
    bool refuses_for_memory();
    void send_welcome(base::Slot slot);
    void pause(base::Slot slot, Connection& connection, Pause reason);
    void resume(base::Slot slot, Connection& connection);
    void consume(Connection& connection, size_t bytes);
    void arm_timer(base::Slot slot, const Connection& connection);

    Parts parts_;
    ConnectionsQuery& connections_query_;
    const io::ShardId shard_;
    ShardMetrics& metrics_;
    SlotFifo paused_;
    bool is_draining_ = false;
    codec::HttpRequest request_;  // scratch: it is large
    std::string text_;            // scratch
    std::string body_;            // scratch
    std::string fields_;          // scratch
    HttpPost post_;
};

}  // namespace broker
