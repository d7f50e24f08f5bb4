// What a shard knows of the sockets that it accepts on, by the number that the reactor gave them.
//
// Owner: main (or the simulated world); constant after the start. Thread: any.
#pragma once

namespace broker {

struct ListenerRole {
    bool is_loopback = true;     // only loopback names are accepted in Host
    bool serves_clients = true;  // /ws and /topics/…
    bool serves_admin = true;    // /metrics, /healthz and /readyz
};

}  // namespace broker
