#include "broker/serve.h"

#include <sys/random.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <memory>
#include <thread>
#include <vector>

#include "broker/listeners.h"
#include "broker/log.h"
#include "broker/metrics.h"
#include "broker/processors.h"
#include "broker/shard.h"
#include "io/base/units.h"
#include "io/listener.h"
#include "io/mesh.h"
#include "io/uring/reactor_uring.h"

namespace broker {

namespace {

constexpr uint64_t log_poll_ns = 50 * base::ns_per_ms;

uint64_t clock_ns(clockid_t clock) {
    timespec time{};
    clock_gettime(clock, &time);
    return static_cast<uint64_t>(time.tv_sec) * base::ns_per_s +
           static_cast<uint64_t>(time.tv_nsec);
}

uint64_t unguessable_number() {
    uint64_t number = 0;
    while (getrandom(&number, sizeof number, 0) != sizeof number) {
    }
    return number;
}

// Writes log lines with the time of day, on the standard error.
class LogWriter {
  public:
    explicit LogWriter(Log& log)
        : log_(log),
          wall_minus_monotonic_ns_(clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC)) {}

    void write(uint64_t monotonic_ns, const std::string& line) const {
        const uint64_t wall_ns = monotonic_ns + wall_minus_monotonic_ns_;
        const time_t seconds = static_cast<time_t>(wall_ns / base::ns_per_s);
        tm parts{};
        gmtime_r(&seconds, &parts);
        char time[32];
        std::strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &parts);
        const unsigned ms = static_cast<unsigned>(wall_ns / base::ns_per_ms % 1000);
        std::fprintf(stderr, "time=%s.%03uZ %s\n", time, ms, line.c_str());
    }

    // A line of main's own, which has no lane.
    void write_now(LogLevel level, std::string_view message,
                   std::initializer_list<LogField> fields) const {
        if (!log_.wants(level)) return;
        std::string line = "level=" + std::string(name_of(level));
        append_log_field(line, "msg", message);
        for (const LogField& field : fields) append_log_field(line, field.key, field.value);
        write(clock_ns(CLOCK_MONOTONIC), line);
    }

    void drain() {
        uint64_t now_ns = 0;
        while (log_.read(now_ns, line_)) write(now_ns, line_);
    }

  private:
    Log& log_;
    const uint64_t wall_minus_monotonic_ns_;
    std::string line_;
};

struct OpenListeners {
    std::vector<io::Listening> all;
    std::vector<ListenerRole> roles;
    std::string error;
};

// Whether the address is only a default that this machine may lack (a container without IPv6).
bool may_be_missing(const Settings& settings, const std::string& address,
                    const io::Listening& listening) {
    const bool is_default = settings.listen == Settings{}.listen;
    const bool lacks_ipv6 =
        listening.error_number == EAFNOSUPPORT || listening.error_number == EADDRNOTAVAIL;
    return is_default && address.front() == '[' && lacks_ipv6;
}

void open_one(const Settings& settings, const std::string& address, ListenerRole role,
              OpenListeners& open) {
    io::ListenAddress parsed;
    if (!io::parse_listen_address(address, parsed, open.error)) return;
    io::Listening listening = io::open_listening(parsed, static_cast<uint32_t>(settings.workers));
    if (!listening.error.empty()) {
        if (!may_be_missing(settings, address, listening)) open.error = listening.error;
        return;
    }
    role.is_loopback = listening.is_loopback;
    role.serves_admin = role.serves_admin || listening.is_loopback;
    open.all.push_back(std::move(listening));
    open.roles.push_back(role);
}

OpenListeners open_listeners(const Settings& settings) {
    OpenListeners open;
    bool all_loopback = true;
    for (const std::string& address : settings.listen) {
        open_one(settings, address, {.serves_clients = true, .serves_admin = false}, open);
        if (!open.error.empty()) return open;
        if (open.all.empty() || open.all.back().is_loopback) continue;
        all_loopback = false;
        if (settings.allow_anonymous) continue;
        open.error = address +
                     " can be reached from other machines, and there is no authentication: "
                     "listen on a loopback address, or say --allow-anonymous";
        return open;
    }
    if (!all_loopback) {
        open_one(settings, settings.admin_listen, {.serves_clients = false, .serves_admin = true},
                 open);
    }
    return open;
}

int fail(const std::string& reason) {
    std::fprintf(stderr, "fanfare: %s\n", reason.c_str());
    return 1;
}

// A table of direct descriptors is limited like open files are; better fewer connections than no
// broker.
void fit_descriptor_limit(Settings& settings, const LogWriter& writer) {
    const uint64_t limit = io::raise_descriptor_limit();
    if (sockets_per_shard(settings) <= limit) return;
    const uint64_t wanted = settings.connections_max;
    settings.connections_max =
        limit > 2 * refusal_slots_count ? limit - refusal_slots_count : limit / 2;
    writer.write_now(
        LogLevel::warn,
        "connections-max lowered to fit the limit of open files; raise that with ulimit -n or "
        "LimitNOFILE",
        {{"wanted", std::to_string(wanted)},
         {"connections_max", std::to_string(settings.connections_max)}});
}

void log_settings(const Settings& settings, const LogWriter& writer) {
    std::string all;
    for (const Setting& setting : settings_table()) {
        if (!all.empty()) all += ' ';
        all.append(setting.name).append("=").append(setting_text(setting, settings));
    }
    writer.write_now(LogLevel::info, "settings", {{"all", all}});
}

void print_welcome(const OpenListeners& open, const Settings& settings,
                   const std::string& version) {
    std::string places;
    std::string example;
    for (size_t index = 0; index < open.all.size(); ++index) {
        if (!open.roles[index].serves_clients) continue;
        const std::string& bound = open.all[index].bound;
        const std::string place = bound.starts_with("unix:") ? bound : "ws://" + bound + "/ws";
        if (example.empty()) example = place;
        places += (places.empty() ? "" : ", ") + place;
    }
    const std::string url = example == "ws://127.0.0.1:7788/ws" ? "" : " --url " + example;
    std::printf("fanfare %s listens on %s (%llu worker%s)\n", version.c_str(), places.c_str(),
                static_cast<unsigned long long>(settings.workers),
                settings.workers == 1 ? "" : "s");
    std::printf(
        "Try it, each in a terminal of its own:\n  fanfare sub%s 'news/#'\n  fanfare pub%s news/uk "
        "'{\"hello\":\"world\"}'\n",
        url.c_str(), url.c_str());
    std::fflush(stdout);
}

// Everything that lives as long as the broker runs.
struct Process {
    Settings settings;
    OpenListeners listeners;
    Log log;
    LogWriter writer;
    MetricsRegistry metrics;
    io::Mesh mesh;
    io::UringGroup group;
    std::vector<std::unique_ptr<io::Reactor>> reactors;
    std::vector<std::thread> threads;
    std::atomic<uint32_t> running_count{0};
    std::string epoch;
    uint64_t hash_seed = unguessable_number();

    Process(const Settings& all_settings, OpenListeners open, const std::string& version)
        : settings(all_settings),
          listeners(std::move(open)),
          log(static_cast<uint32_t>(settings.workers), settings.log_level),
          writer(log),
          metrics(static_cast<uint32_t>(settings.workers), version),
          mesh({.shards_count = static_cast<uint32_t>(settings.workers),
                .deliver_bytes = settings.lane_bytes,
                .forward_bytes = settings.lane_bytes}),
          group(static_cast<uint32_t>(settings.workers)) {
        char text[17];
        std::snprintf(text, sizeof text, "%016llx",
                      static_cast<unsigned long long>(unguessable_number()));
        epoch = text;
    }

    std::string build_reactors() {
        const io::UringOptions options{
            .sockets_max = sockets_per_shard(settings),
            .adopted_max = 0,
            .recv_buffers_count = static_cast<uint32_t>(settings.recv_buffers_count),
            .recv_buffer_bytes = static_cast<uint32_t>(settings.recv_buffer_bytes)};
        for (io::ShardId id = 0; id < settings.workers; ++id) {
            std::string error;
            reactors.push_back(io::make_reactor(group, id, options, error));
            if (reactors.back() == nullptr) {
                reactors.pop_back();
                return error;
            }
            for (const io::Listening& listening : listeners.all)
                reactors[id]->listener_add(listening.fds[id]);
        }
        return {};
    }

    void run_shard(io::ShardId id) {
        if (settings.pin) pin_to_processor(id);
        {
            Shard shard({.id = id,
                         .reactor = *reactors[id],
                         .mesh = mesh,
                         .settings = settings,
                         .metrics = metrics,
                         .log = log,
                         .listeners = listeners.roles,
                         .epoch = epoch,
                         .hash_seed = hash_seed,
                         .random_seed = unguessable_number()});
            while (!shard.is_stopped()) shard.turn();
        }
        reactors[id].reset();
        running_count.fetch_sub(1);
    }

    void request(io::Request what) {
        for (io::ShardId id = 0; id < settings.workers; ++id) {
            mesh.request(id, what);
            group.wake_from_outside(id);
        }
    }

    // Waits for signals and writes the log until all shards have stopped. Answers how many signals
    // came.
    uint32_t supervise(const sigset_t& signals) {
        uint32_t signals_count = 0;
        const timespec poll{0, static_cast<long>(log_poll_ns)};
        while (running_count.load() > 0) {
            const int signal = sigtimedwait(&signals, nullptr, &poll);
            writer.drain();
            if (signal != SIGTERM && signal != SIGINT) continue;
            request(++signals_count == 1 ? io::Request::stop : io::Request::stop_now);
        }
        for (std::thread& thread : threads) thread.join();
        writer.drain();
        return signals_count;
    }
};

uint64_t sum_of(const MetricsRegistry& metrics, Metric metric) {
    uint64_t sum = 0;
    for (io::ShardId id = 0; id < metrics.shards_count(); ++id)
        sum += metrics.shard(id).get(metric);
    return sum;
}

}  // namespace

int run_serve(Settings settings, const std::string& version) {
    if (settings.workers == 0) settings.workers = usable_processors();
    OpenListeners listeners = open_listeners(settings);
    if (!listeners.error.empty()) return fail(listeners.error);

    Log start_log(1, settings.log_level);
    fit_descriptor_limit(settings, LogWriter(start_log));
    Process process(settings, std::move(listeners), version);
    const std::string error = process.build_reactors();
    if (!error.empty()) return fail(error);

    // Blocked before the threads begin, so that they inherit it and only this thread sees the
    // signals.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::signal(SIGPIPE, SIG_IGN);

    log_settings(settings, process.writer);
    process.running_count = static_cast<uint32_t>(settings.workers);
    for (io::ShardId id = 0; id < settings.workers; ++id) {
        process.threads.emplace_back([&process, id] { process.run_shard(id); });
    }
    print_welcome(process.listeners, settings, version);
    const uint32_t signals_count = process.supervise(signals);
    process.writer.write_now(
        LogLevel::info, "stopped",
        {{"signals", std::to_string(signals_count)},
         {"published", std::to_string(sum_of(process.metrics, Metric::messages_published_total))},
         {"delivered", std::to_string(sum_of(process.metrics, Metric::deliveries_total))}});
    return 0;
}

}  // namespace broker
