#include "broker/serve.h"

#include <malloc.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "broker/listeners.h"
#include "broker/log.h"
#include "broker/log_writer.h"
#include "broker/memory_budget.h"
#include "broker/metrics.h"
#include "broker/processors.h"
#include "broker/reloader.h"
#include "broker/settings_exchange.h"
#include "broker/shard.h"
#include "broker/state_directory.h"
#include "broker/state_transfer.h"
#include "io/base/units.h"
#include "io/listener.h"
#include "io/mesh.h"
#include "io/uring/reactor_uring.h"

namespace broker {

namespace {

constexpr uint64_t log_poll_ns = 50 * base::ns_per_ms;

uint64_t unguessable_number() {
    uint64_t number = 0;
    while (getrandom(&number, sizeof number, 0) != sizeof number) {
    }
    return number;
}

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
    // The kernel gives a peer that has vanished no longer than the heartbeat does.
    const uint64_t silence_ns = settings.heartbeat_interval_ns + settings.heartbeat_timeout_ns;
    io::Listening listening = io::open_listening(
        parsed, static_cast<uint32_t>(settings.workers),
        {.unsent_bytes_max = static_cast<uint32_t>(settings.unsent_bytes_max),
         .unacknowledged_ms_max = static_cast<uint32_t>(silence_ns / base::ns_per_ms)});
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

// What the last broker left at its clean stop.
struct FoundState {
    OwnedFd file;    // not open: nothing that can be used
    StateHead head;  // of the file
};

// Looks for a state that can be restored; sets aside what cannot. Answers why the broker must not
// start, or empty.
std::string find_state(const StateDirectory& directory, const Settings& settings,
                       const LogWriter& writer, FoundState& found) {
    StateDirectory::Opened opened = directory.open_state();
    if (!opened.error.empty()) return opened.error;
    if (!opened.fd.is_open()) {
        writer.write_now(LogLevel::info, "no saved state; a new epoch begins", {});
        return {};
    }
    StateReader reader(opened.fd.get());
    const topics::TopicRules rules(settings.topic_rules);
    const StateProblem problem =
        check_state(reader, static_cast<uint32_t>(settings.partitions), rules, found.head);
    if (problem.is_none()) {
        found.file = std::move(opened.fd);
        return {};
    }
    if (problem.fault == StateFault::unreadable) return "cannot read the state: " + problem.reason;
    std::string name;
    std::string error =
        directory.set_aside(problem.fault == StateFault::damaged ? "damaged" : "unusable", name);
    if (!error.empty()) return error;
    writer.write_now(LogLevel::warn, "the saved state was set aside; a new epoch begins",
                     {{"file", name}, {"reason", problem.reason}});
    return {};
}

// Nobody here can go on without the memory that was asked for: everything has a limit, so the
// machine is too small for the limits, which whoever runs it must know.
void out_of_memory() {
    constexpr char message[] = "fanfare: out of memory\n";
    static_cast<void>(!write(STDERR_FILENO, message, sizeof message - 1));
    std::abort();
}

// From which size on glibc asks the kernel for every piece, and how much of what is freed it keeps,
// for each worker. Left alone, it sets both by what was freed last: a message of a megabyte whose
// pieces are gathered and freed again and again would cost two hundred page faults each time.
void set_malloc_thresholds(uint64_t message_bytes_max) {
    constexpr uint64_t least = 128 * base::kib;  // what glibc begins with
    constexpr uint64_t most = 32 * base::mib;    // what it takes
    const uint64_t mapped_bytes_min = std::clamp(2 * message_bytes_max, least, most);
    mallopt(M_MMAP_THRESHOLD, static_cast<int>(mapped_bytes_min));
    mallopt(M_TRIM_THRESHOLD, static_cast<int>(2 * mapped_bytes_min));
}

int fail(const std::string& reason) {
    std::fprintf(stderr, "fanfare: %s\n", reason.c_str());
    return 1;
}

io::Descriptors descriptors_of(const Settings& settings) {
    return settings.plain_descriptors ? io::Descriptors::plain : io::usable_descriptors();
}

// The tables of direct descriptors are limited like open files are; better fewer connections than
// no broker.
void fit_descriptor_limit(Settings& settings, const LogWriter& writer) {
    io::raise_descriptor_limit();
    const uint64_t limit = io::sockets_per_reactor_max(static_cast<uint32_t>(settings.workers),
                                                       descriptors_of(settings));
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
    if (settings.examples && example.starts_with("ws:")) {
        const std::string host = example.substr(5, example.size() - 5 - std::strlen("/ws"));
        std::printf("or open http://%s/examples/chat.html in two tabs of a browser.\n",
                    host.c_str());
    }
    std::fflush(stdout);
}

// How the run of the shards ended.
struct Supervised {
    uint32_t signals_count;  // that asked for a stop
    uint64_t stop_ns;        // from the first of them until the last shard had stopped
};

// Everything that lives as long as the broker runs.
struct Process {
    Settings settings;
    OpenListeners listeners;
    Log log;
    LogWriter writer;
    MetricsRegistry metrics;
    Gate gate;
    io::Mesh mesh;
    SettingsExchange exchange;
    io::UringGroup group;
    const topics::TopicRules rules;
    std::vector<std::unique_ptr<io::Reactor>> reactors;
    std::vector<std::unique_ptr<Shard>> shards;
    std::vector<std::thread> threads;
    std::atomic<uint32_t> running_count{0};
    std::string epoch;
    uint64_t hash_seed = 0;

    Process(const Settings& all_settings, OpenListeners open, const FoundState& found,
            const std::string& version)
        : settings(all_settings),
          listeners(std::move(open)),
          log(static_cast<uint32_t>(settings.workers), settings.log_level),
          writer(log),
          metrics(static_cast<uint32_t>(settings.workers), version),
          gate(settings, unguessable_number()),
          mesh({.shards_count = static_cast<uint32_t>(settings.workers),
                .deliver_bytes = settings.lane_bytes,
                .forward_bytes = settings.lane_bytes}),
          exchange(static_cast<uint32_t>(settings.workers)),
          group(static_cast<uint32_t>(settings.workers)),
          rules(settings.topic_rules) {
        if (found.file.is_open()) {
            epoch = found.head.epoch;
            hash_seed = found.head.hash_seed;
            return;
        }
        hash_seed = unguessable_number();
        char text[17];
        std::snprintf(text, sizeof text, "%016llx",
                      static_cast<unsigned long long>(unguessable_number()));
        epoch = text;
    }

    std::string build_reactors() {
        const io::UringOptions options{
            .descriptors = descriptors_of(settings),
            .accepted_max = sockets_per_shard(settings),
            .adopted_max = 0,
            .accepts_per_listener = accepts_per_listener(listeners.all.size()),
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

    void build_shards() {
        for (io::ShardId id = 0; id < settings.workers; ++id) {
            shards.push_back(
                std::make_unique<Shard>(ShardContext{.id = id,
                                                     .reactor = *reactors[id],
                                                     .mesh = mesh,
                                                     .settings = settings,
                                                     .metrics = metrics,
                                                     .log = log,
                                                     .gate = gate,
                                                     .listeners = listeners.roles,
                                                     .epoch = epoch,
                                                     .hash_seed = hash_seed,
                                                     .rules = rules,
                                                     .random_seed = unguessable_number(),
                                                     .settings_exchange = &exchange}));
        }
    }

    std::vector<KeptState> kept_states() const {
        std::vector<KeptState> kept;
        for (const std::unique_ptr<Shard>& shard : shards) {
            kept.push_back({shard->history(), shard->keys()});
        }
        return kept;
    }

    // Before the first turn of any shard. Answers why the broker must not start, or empty.
    std::string restore(const FoundState& found, const StateDirectory& directory) {
        const uint64_t begin_ns = clock_ns(CLOCK_MONOTONIC);
        StateReader reader(found.file.get());
        const RestoreOptions options{.now_ns = begin_ns,
                                     .wall_ns = clock_ns(CLOCK_REALTIME),
                                     .memory_bytes_max = settings.history_memory_bytes};
        const StateProblem problem = restore_state(reader, options, kept_states());
        if (!problem.is_none()) {
            return "the state reads otherwise than a moment ago: " + problem.reason;
        }
        for (const std::unique_ptr<Shard>& shard : shards) shard->history_restored();
        std::string error = directory.remove_state();
        if (!error.empty()) return error;
        const uint64_t down_ns =
            options.wall_ns - std::min(options.wall_ns, found.head.saved_wall_ns);
        const uint64_t ms = (clock_ns(CLOCK_MONOTONIC) - begin_ns) / base::ns_per_ms;
        writer.write_now(LogLevel::info, "state restored",
                         {{"messages", std::to_string(reader.counts().messages)},
                          {"topics", std::to_string(reader.counts().topics)},
                          {"keys", std::to_string(reader.counts().keys)},
                          {"bytes", std::to_string(reader.counts().file_bytes)},
                          {"down_s", std::to_string(down_ns / base::ns_per_s)},
                          {"ms", std::to_string(ms)}});
        return {};
    }

    // After all shards have stopped. Answers why nothing was saved, or empty; `fields` then says
    // what was.
    std::string save(const StateDirectory& directory, std::vector<LogField>& fields) const {
        const uint64_t begin_ns = clock_ns(CLOCK_MONOTONIC);
        const StateDirectory::Opened opened = directory.create();
        if (!opened.error.empty()) return opened.error;
        const StateHead head{.epoch = epoch,
                             .hash_seed = hash_seed,
                             .saved_wall_ns = clock_ns(CLOCK_REALTIME),
                             .partitions_count = static_cast<uint32_t>(settings.partitions),
                             .shards_count = static_cast<uint32_t>(settings.workers)};
        StateCounts counts;
        const int error_number = save_state(opened.fd.get(), head, kept_states(), begin_ns, counts);
        std::string error = error_number != 0 ? std::strerror(error_number) : std::string();
        if (error.empty()) error = directory.commit(opened.fd);
        if (!error.empty()) {
            directory.discard();
            return error;
        }
        const uint64_t ms = (clock_ns(CLOCK_MONOTONIC) - begin_ns) / base::ns_per_ms;
        fields.push_back({"saved_messages", std::to_string(counts.messages)});
        fields.push_back({"saved_keys", std::to_string(counts.keys)});
        fields.push_back({"saved_bytes", std::to_string(counts.file_bytes)});
        fields.push_back({"save_ms", std::to_string(ms)});
        return {};
    }

    // The shard outlives its thread, so that what it keeps can be saved; its reactor may not.
    void run_shard(io::ShardId id) {
        if (settings.pin) pin_to_processor(id);
        Shard& shard = *shards[id];
        while (!shard.is_stopped()) shard.turn();
        reactors[id].reset();
        running_count.fetch_sub(1);
    }

    void request(io::Request what) {
        for (io::ShardId id = 0; id < settings.workers; ++id) {
            mesh.request(id, what);
            group.wake_from_outside(id);
        }
    }

    void reload(Reloader& reloader) {
        const Settings* fresh = reloader.reload(writer);
        if (fresh == nullptr) return;
        log.set_level(fresh->log_level);
        exchange.offer(*fresh);
        request(io::Request::reload);
    }

    uint64_t connections_count() const {
        uint64_t count = 0;
        for (io::ShardId shard = 0; shard < metrics.shards_count(); ++shard) {
            count += metrics.shard(shard).get(Metric::connections);
        }
        return count;
    }

    // Waits for signals and writes the log until all shards have stopped.
    Supervised supervise(const sigset_t& signals, Reloader& reloader) {
        uint32_t signals_count = 0;
        uint64_t sockets_asked_ns = 0;
        uint64_t stop_began_ns = 0;
        bool reload_wanted = false;
        const bool had_terminal = isatty(STDIN_FILENO) != 0;
        const timespec poll{0, static_cast<long>(log_poll_ns)};
        while (running_count.load() > 0) {
            int signal = sigtimedwait(&signals, nullptr, &poll);
            const uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
            if (now_ns >= sockets_asked_ns + base::ns_per_s) {
                metrics.set_kernel_socket_bytes(kernel_socket_bytes(connections_count()));
                sockets_asked_ns = now_ns;
            }
            writer.drain();
            // Without its terminal nobody could stop it any more who does not know its number.
            if (signal == SIGHUP && had_terminal && isatty(STDIN_FILENO) == 0) signal = SIGTERM;
            if (signal == SIGHUP) reload_wanted = true;
            // What was offered before must have been taken by all.
            if (reload_wanted && signals_count == 0 && exchange.is_taken()) {
                reload_wanted = false;
                reload(reloader);
            }
            if (signal != SIGTERM && signal != SIGINT) continue;
            if (signals_count == 0) stop_began_ns = clock_ns(CLOCK_MONOTONIC);
            request(++signals_count == 1 ? io::Request::stop : io::Request::stop_now);
        }
        for (std::thread& thread : threads) thread.join();
        writer.drain();
        return {signals_count, clock_ns(CLOCK_MONOTONIC) - stop_began_ns};
    }
};

uint64_t sum_of(const MetricsRegistry& metrics, Metric metric) {
    uint64_t sum = 0;
    for (io::ShardId id = 0; id < metrics.shards_count(); ++id)
        sum += metrics.shard(id).get(metric);
    return sum;
}

// What all shards say together of the clients that were there at the end.
StopReport stop_report(const Process& process) {
    StopReport sum;
    for (const std::unique_ptr<Shard>& shard : process.shards) {
        const StopReport& report = shard->stop_report();
        sum.told_count += report.told_count;
        sum.cut_count += report.cut_count;
        sum.flushed_bytes += report.flushed_bytes;
        sum.unsent_bytes += report.unsent_bytes;
    }
    return sum;
}

// All shards have stopped. Answers the exit code.
int end(const Process& process, const StateDirectory& directory, const Supervised& supervised) {
    const uint32_t signals_count = supervised.signals_count;
    const StopReport report = stop_report(process);
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, "%.3f",
                  static_cast<double>(supervised.stop_ns) / static_cast<double>(base::ns_per_s));
    std::vector<LogField> fields = {
        {"signals", std::to_string(signals_count)},
        {"published", std::to_string(sum_of(process.metrics, Metric::messages_published_total))},
        {"delivered", std::to_string(sum_of(process.metrics, Metric::deliveries_total))},
        {"told", std::to_string(report.told_count)},
        {"cut", std::to_string(report.cut_count)},
        {"flushed_bytes", std::to_string(report.flushed_bytes)},
        {"unsent_bytes", std::to_string(report.unsent_bytes)},
        {"seconds", seconds}};
    if (report.cut_count > 0) {
        process.writer.write_now(LogLevel::warn,
                                 "connections were cut with unsent bytes in their queues",
                                 {{"cut", std::to_string(report.cut_count)},
                                  {"unsent_bytes", std::to_string(report.unsent_bytes)}});
    }
    bool is_lost = false;
    if (directory.is_open() && signals_count > 1) {
        process.writer.write_now(LogLevel::warn,
                                 "the state is not saved after a second signal; the next start "
                                 "begins a new epoch",
                                 {});
    } else if (directory.is_open()) {
        const std::string error = process.save(directory, fields);
        is_lost = !error.empty();
        if (is_lost) {
            process.writer.write_now(LogLevel::error,
                                     "the state cannot be saved: history and positions are lost; "
                                     "the next start begins a new epoch",
                                     {{"error", error}});
        }
    }
    process.writer.write_now(LogLevel::info, "stopped", fields);
    return is_lost || signals_count > 1 ? 1 : 0;
}

}  // namespace

int run_serve(Settings settings, const ConfigSources& sources, const std::string& version) {
    const Settings configured = settings;
    std::set_new_handler(out_of_memory);
    set_malloc_thresholds(settings.message_bytes_max);
    if (settings.workers == 0) settings.workers = usable_processors();
    if (settings.memory_bytes_max == 0) settings.memory_bytes_max = usable_memory_bytes() / 2;
    settings.history_memory_bytes =
        fitting_history_bytes(settings.history_memory_bytes, settings.memory_bytes_max);
    OpenListeners listeners = open_listeners(settings);
    if (!listeners.error.empty()) return fail(listeners.error);

    Log start_log(1, settings.log_level);
    const LogWriter start_writer(start_log);
    StateDirectory directory;
    FoundState found;
    if (!settings.state_dir.empty()) {
        std::string error = directory.open(settings.state_dir);
        if (error.empty()) error = find_state(directory, settings, start_writer, found);
        if (!error.empty()) return fail("state-dir: " + error);
    }
    fit_descriptor_limit(settings, start_writer);
    Process process(settings, std::move(listeners), found, version);
    std::string error = process.build_reactors();
    if (!error.empty()) return fail(error);
    process.build_shards();

    // Blocked before the threads begin, so that they inherit it and only this thread sees the
    // signals; and before the saved state is removed, so that whoever wants to stop the broker then
    // waits until it can be saved again.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    // A limit on the size of files becomes an error of the write.
    std::signal(SIGXFSZ, SIG_IGN);

    if (found.file.is_open()) {
        error = process.restore(found, directory);
        if (!error.empty()) return fail("state-dir: " + error);
    }

    log_settings(settings, process.writer);
    if (descriptors_of(settings) == io::Descriptors::plain) {
        process.writer.write_now(
            LogLevel::info, "connections are open files",
            {{"reason", settings.plain_descriptors
                            ? "plain-descriptors"
                            : "this kernel closes late what is in a table of io_uring"}});
    }
    process.running_count = static_cast<uint32_t>(settings.workers);
    for (io::ShardId id = 0; id < settings.workers; ++id) {
        process.threads.emplace_back([&process, id] { process.run_shard(id); });
    }
    print_welcome(process.listeners, settings, version);
    Reloader reloader(sources, configured, process.settings);
    const Supervised supervised = process.supervise(signals, reloader);
    return end(process, directory, supervised);
}

}  // namespace broker
