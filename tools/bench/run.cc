#include "tools/bench/run.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>
#include <memory>
#include <thread>
#include <utility>

#include "io/uring/reactor_uring.h"
#include "tools/bench/load_shard.h"
#include "tools/bench/report.h"
#include "tools/clock.h"
#include "tools/exit_code.h"
#include "tools/output.h"
#include "tools/seed.h"
#include "tools/signal_hold.h"
#include "tools/terminal.h"

namespace bench {
namespace {

constexpr std::string_view program = "fanfare bench";
constexpr uint64_t look_ns = 20 * base::ns_per_ms;
// Without a new connection or delivery for so long, none will come.
constexpr uint64_t stuck_ns = 10 * base::ns_per_s;
constexpr uint64_t drain_stuck_ns = 2 * base::ns_per_s;
// A server that does not answer a subscription needs a moment for it.
constexpr uint64_t settle_ns = 500 * base::ns_per_ms;
constexpr uint64_t moments_max = 400;

// Under SCHED_FIFO or SCHED_RR (chrt) a load that has no rest would leave the coordinator, were it
// its equal, no time on their core, and nobody would see the measurement begin.
void precede_the_load() {
    int policy = SCHED_OTHER;
    sched_param parameters{};
    if (pthread_getschedparam(pthread_self(), &policy, &parameters) != 0) return;
    if (policy != SCHED_FIFO && policy != SCHED_RR) return;
    ++parameters.sched_priority;
    // Not allowed, or the highest already: then the result may warn.
    static_cast<void>(pthread_setschedparam(pthread_self(), policy, &parameters));
}

class Run {
  public:
    Run(const Plan& plan, Result& result)
        : plan_(plan), result_(result), layout_(plan_), dialect_(make_dialect(plan_)) {}
    ~Run();
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;

    std::string prepare();
    void run();

  private:
    struct Worker {
        std::unique_ptr<io::Reactor> reactor;
        std::unique_ptr<LoadShard> shard;
        std::thread thread;
    };

    std::string prepare_addresses();
    std::string prepare_workers();
    void start_threads();
    void enter(Phase phase);
    bool wait(uint64_t until_ns);
    void take_signal();
    void connect();
    void measure();
    void drain();
    void finish();
    Moment look();
    std::string shortage_text() const;
    void show_progress(const Moment& now);
    bool is_over() const { return result_.was_interrupted || board_->has_failed(); }

    const Plan& plan_;
    Result& result_;
    const Layout layout_;
    const std::unique_ptr<Dialect> dialect_;
    tools::Url url_;
    Address target_;
    tools::Url metrics_url_;
    Address metrics_address_;
    std::vector<Address> sources_;
    tools::SignalHold signals_;  // before the threads, which inherit what is held
    std::unique_ptr<Board> board_;
    std::unique_ptr<io::UringGroup> group_;
    std::vector<Worker> workers_;
    Moment shown_;  // by the last progress line
    bool has_line_ = false;
};

Run::~Run() {
    if (board_ != nullptr) enter(Phase::end);
    for (Worker& worker : workers_) {
        if (worker.thread.joinable()) worker.thread.join();
    }
}

std::string Run::prepare() {
    std::string problem = prepare_addresses();
    if (problem.empty()) problem = prepare_workers();
    return problem;
}

std::string Run::prepare_addresses() {
    const auto locate = [](const std::string& text, tools::Url& url, Address& address) {
        std::string problem = tools::parse_url(text, url);
        if (problem.empty()) problem = resolve(url, address);
        return problem.empty() ? problem : problem.insert(0, "cannot find " + text + ": ");
    };
    std::string problem = locate(plan_.url, url_, target_);
    if (!problem.empty()) return problem;
    problem = locate(plan_.metrics_url.empty() ? plan_.url : plan_.metrics_url, metrics_url_,
                     metrics_address_);
    if (!problem.empty()) return problem;
    for (const std::string& source : plan_.sources) {
        problem = parse_source(source, sources_.emplace_back());
        if (problem.empty()) problem = check_source(sources_.back(), target_);
        if (!problem.empty()) return problem.insert(0, "--source " + source + ": ");
    }
    return "";
}

std::string Run::prepare_workers() {
    io::raise_descriptor_limit();
    const uint32_t shards_count = std::min(plan_.threads, layout_.connections_count());
    board_ = std::make_unique<Board>(shards_count);
    group_ = std::make_unique<io::UringGroup>(shards_count);
    workers_.resize(shards_count);
    const LoadShard::Shared shared{plan_, layout_, *dialect_, url_, target_, sources_, *board_};
    for (uint32_t self = 0; self < shards_count; ++self) {
        const uint32_t clients = LoadShard::clients_count(layout_, self, shards_count);
        const io::UringOptions options{.descriptors = io::usable_descriptors(),
                                       .accepted_max = 0,
                                       .adopted_max = clients,
                                       .recv_buffers_count = 1'024};
        std::string problem;
        workers_[self].reactor = io::make_reactor(*group_, self, options, problem);
        if (workers_[self].reactor == nullptr) return problem;
        workers_[self].shard = std::make_unique<LoadShard>(shared, self, *workers_[self].reactor);
        if (!workers_[self].shard->is_made()) {
            return "too many open files: raise the limit (ulimit -n), or take fewer --threads";
        }
    }
    return "";
}

void Run::start_threads() {
    for (Worker& worker : workers_) {
        worker.thread = std::thread([&worker] {
            // The default of 50 µs would be added to every wait for the next message's time.
            prctl(PR_SET_TIMERSLACK, 1);
            worker.shard->run();
            worker.reactor.reset();  // on its own thread, as it must be
        });
    }
    precede_the_load();
}

void Run::enter(Phase phase) {
    board_->phase.store(phase);
    for (uint32_t shard = 0; shard < board_->shards_count; ++shard) {
        group_->wake_from_outside(shard);
    }
}

// False when the run is over: it failed, or somebody interrupted it.
bool Run::wait(uint64_t until_ns) {
    while (!is_over()) {
        const uint64_t now_ns = tools::monotonic_ns();
        if (now_ns >= until_ns) return true;
        pollfd watched{.fd = signals_.fd(), .events = POLLIN, .revents = 0};
        const int ready =
            poll(&watched, 1, tools::poll_timeout_ms(std::min(until_ns, now_ns + look_ns)));
        if (ready > 0) take_signal();
    }
    return false;
}

// Taken from the hold, so that the process does not end by it before it has reported.
void Run::take_signal() {
    signalfd_siginfo signal;
    static_cast<void>(!read(signals_.fd(), &signal, sizeof signal));
    result_.was_interrupted = true;
}

Moment Run::look() {
    Moment moment{.time_ns = tools::monotonic_ns(),
                  .published = board_->sum(&ShardCounters::published),
                  .delivered = board_->sum(&ShardCounters::delivered),
                  .cycles = board_->sum(&ShardCounters::cycles),
                  .live = board_->sum(&ShardCounters::live),
                  .received_bytes = board_->sum(&ShardCounters::received_bytes),
                  .broker = read_process(plan_.broker_pid)};
    for (Worker& worker : workers_) {
        clockid_t clock = 0;
        timespec time{};
        if (worker.thread.joinable() &&
            pthread_getcpuclockid(worker.thread.native_handle(), &clock) == 0) {
            clock_gettime(clock, &time);
        }
        moment.thread_cpu_ns.push_back(static_cast<uint64_t>(time.tv_sec) * base::ns_per_s +
                                       static_cast<uint64_t>(time.tv_nsec));
    }
    for (uint32_t shard = 0; shard < board_->shards_count; ++shard) {
        Counter& most = board_->shards[shard].latency_max_ns;
        moment.latency_max_ns = std::max(moment.latency_max_ns, most.value());
        most.set(0);
    }
    return moment;
}

void Run::show_progress(const Moment& now) {
    if (isatty(plan_.status_fd) == 0 || now.time_ns < shown_.time_ns + base::ns_per_s / 4) return;
    const std::string line = progress_line(result_, shown_, now);
    static_cast<void>(tools::write_all(plan_.status_fd, "\r\x1b[K" + line));
    shown_ = now;
    has_line_ = true;
}

void Run::run() {
    result_.connections = layout_.connections_count();
    result_.subscribers = layout_.subscribers_count();
    result_.publishers = layout_.publishers_count();
    result_.topics = layout_.topics_count();
    result_.threads = board_->shards_count;
    result_.deliveries_per_message = layout_.deliveries_max();
    start_threads();
    result_.start = look();
    shown_ = result_.start;
    if (plan_.broker_pid > 0 && !result_.start.broker.is_known) {
        result_.warnings.push_back("--broker-pid " + std::to_string(plan_.broker_pid) +
                                   ": there is no such process");
    }
    if (plan_.scenario != Scenario::churn) connect();
    if (!is_over()) measure();
    if (!is_over()) drain();
    finish();
}

// What connections had to wait for, and what helps; empty when they had not.
std::string Run::shortage_text() const {
    const int error = board_->connect_shortage.load(std::memory_order_relaxed);
    if (error == 0) return "";
    std::string text = ". The last thing that one had to wait for: ";
    text += std::strerror(error);
    if (error == EADDRNOTAVAIL) text += " (no port is free; --source gives more)";
    if (error == EMFILE) text += " (ulimit -n)";
    return text;
}

void Run::connect() {
    // With a rate below one in ten seconds the next one takes its time.
    const uint64_t patience_ns =
        stuck_ns + (plan_.connect_rate > 0 ? ns_of(1 / plan_.connect_rate) : 0);
    uint64_t live = 0;
    uint64_t moved_ns = tools::monotonic_ns();
    while (wait(tools::monotonic_ns() + look_ns / 4)) {
        const Moment now = look();
        show_progress(now);
        result_.connected = now;
        if (now.live == layout_.connections_count()) break;
        if (now.live != live) moved_ns = now.time_ns;
        live = now.live;
        if (now.time_ns > moved_ns + patience_ns) {
            board_->fail("only " + std::to_string(live) + " of " +
                         std::to_string(layout_.connections_count()) +
                         " connections became ready, and none for 10 s" + shortage_text());
        }
    }
    const Role subscriber{.subscribes = true};
    if (dialect_->answers_count(subscriber, false) == 0) wait(tools::monotonic_ns() + settle_ns);
}

void Run::measure() {
    const uint64_t publish_ns = tools::monotonic_ns() + look_ns;
    const uint64_t begin_ns = publish_ns + plan_.warmup_ns;
    const uint64_t end_ns = begin_ns + plan_.duration_ns;
    board_->publish_begin_ns.store(publish_ns);
    board_->measure_begin_ns.store(begin_ns);
    board_->measure_end_ns.store(end_ns);
    if (!wait(publish_ns)) return;
    enter(Phase::publish);
    if (!wait(begin_ns)) return;
    const bool reads_metrics = plan_.reads_metrics && plan_.dialect == DialectKind::fanfare;
    result_.load_begin = read_process(getpid());
    result_.begin = look();
    result_.moments.push_back(result_.begin);
    // After the look, here and at the end: a busy broker may take its time to answer.
    std::map<std::string, double> before;
    if (reads_metrics) before = read_metrics(metrics_url_, metrics_address_);
    const uint64_t step_ns = std::max(plan_.duration_ns / moments_max, 50 * base::ns_per_ms);
    const uint64_t cut_ns = begin_ns + std::min(plan_.duration_ns / 4, base::ns_per_s);
    bool is_cut_due = plan_.scenario == Scenario::reconnect;
    for (uint64_t next_ns = begin_ns + step_ns; next_ns < end_ns; next_ns += step_ns) {
        if (!wait(next_ns)) break;
        if (next_ns > result_.moments.back().time_ns) {
            result_.moments.push_back(look());
            show_progress(result_.moments.back());
        }
        if (is_cut_due && next_ns >= cut_ns) {
            is_cut_due = false;
            board_->cut_at_ns.store(tools::monotonic_ns());
            enter(Phase::publish);
        }
    }
    wait(end_ns);
    result_.end = look();
    result_.load_end = read_process(getpid());
    result_.moments.push_back(result_.end);
    if (before.empty()) return;  // all that was counted since the broker's start is no rise
    for (const auto& [name, value] : read_metrics(metrics_url_, metrics_address_)) {
        const auto earlier = before.find(name);
        const double rise = value - (earlier == before.end() ? 0 : earlier->second);
        if (name.ends_with("_total") && rise != 0) result_.metrics[name] = rise;
    }
}

// What is on its way arrives, and who was cut comes back.
void Run::drain() {
    enter(Phase::drain);
    const bool waits_for_live = plan_.scenario == Scenario::reconnect;
    uint64_t progress = 0;
    uint64_t moved_ns = tools::monotonic_ns();
    while (wait(tools::monotonic_ns() + look_ns)) {
        const Moment now = look();
        const bool is_all = now.delivered >= board_->sum(&ShardCounters::expected);
        const bool is_live = !waits_for_live || now.live == layout_.connections_count();
        if (is_all && is_live) break;
        if (progress != now.delivered + now.cycles) moved_ns = now.time_ns;
        progress = now.delivered + now.cycles;
        if (now.time_ns > moved_ns + drain_stuck_ns) break;
    }
    // Whatever comes twice comes now.
    if (plan_.check) wait(tools::monotonic_ns() + 5 * look_ns);
}

void Run::finish() {
    enter(Phase::end);
    for (Worker& worker : workers_) worker.thread.join();
    if (has_line_) static_cast<void>(tools::write_all(plan_.status_fd, "\r\x1b[K"));
    uint64_t all_live_ns = 0;
    for (const Worker& worker : workers_) {
        const ShardResult& shard = worker.shard->result();
        result_.latency_ns.merge(shard.latency_ns);
        result_.lateness_ns.merge(shard.lateness_ns);
        result_.connect_ns.merge(shard.connect_ns);
        result_.resume_ns.merge(shard.resume_ns);
        result_.check.add(shard.check);
        result_.foreign += shard.foreign;
        result_.not_recovered += shard.not_recovered;
        result_.not_recoverable += shard.not_recoverable;
        all_live_ns = std::max(all_live_ns, shard.all_live_ns);
    }
    result_.published_all = board_->sum(&ShardCounters::published);
    result_.expected_all = board_->sum(&ShardCounters::expected);
    result_.delivered_all = board_->sum(&ShardCounters::delivered);
    result_.lost = board_->sum(&ShardCounters::lost);
    result_.refused = board_->sum(&ShardCounters::refused);
    const uint64_t cut_at_ns = board_->cut_at_ns.load();
    const bool is_all_back = board_->sum(&ShardCounters::live) == layout_.connections_count();
    if (cut_at_ns != 0 && is_all_back && all_live_ns > cut_at_ns) {
        result_.all_live_again_ns = all_live_ns - cut_at_ns;
    }
    result_.was_cut = cut_at_ns != 0;
    if (result_.was_cut && !is_all_back && !result_.was_interrupted) {
        board_->fail("not all that were cut came back");
    }
    // Nobody knows what those have had that were interrupted.
    if (result_.was_interrupted || plan_.scenario == Scenario::listen) {
        result_.expected_all = result_.delivered_all;
    }
    result_.failure = board_->failure();
    judge(result_);
}

int exit_code_of(const Result& result) {
    if (!result.failure.empty()) return tools::exit_cannot_connect;
    if (result.has_lost_connections()) return tools::exit_cannot_connect;
    return result.is_clean() ? tools::exit_ok : tools::exit_refused;
}

}  // namespace

std::string run(const Plan& plan, Result& result) {
    Run whole(plan, result);
    std::string problem = whole.prepare();
    if (problem.empty()) whole.run();
    return problem;
}

int run_bench(Plan plan) {
    const auto say = [&plan](const std::string& line) {
        tools::say(plan.status_fd, program, tools::escaped_for_terminal(line));
    };
    std::string problem = complete(plan);
    if (!problem.empty()) {
        say(problem);
        return tools::exit_usage;
    }
    plan.seed = tools::seed_or_random(plan.seed);
    auto result = std::make_unique<Result>();  // its histograms are too large for a stack
    result->plan = plan;
    problem = run(plan, *result);
    if (!problem.empty()) {
        say(problem);
        return tools::exit_cannot_connect;
    }
    if (!result->failure.empty()) {
        say(result->failure);
    } else if (result->has_lost_connections()) {
        say("the server refused " + grouped(result->refused) + " attempts to connect, and ended " +
            grouped(result->lost) + " connections");
    }
    bool is_printed = true;
    if (result->failure.empty() || result->seconds() > 0) {
        const std::string text = plan.prints_json ? json_report(*result) : text_report(*result);
        is_printed = tools::put_out(plan.out_fd, plan.status_fd, program, text);
    }
    if (!plan.report_file.empty()) {
        std::ofstream file(plan.report_file, std::ios::binary);
        file << html_report(*result);
        if (!file.flush()) {
            say("cannot write " + plan.report_file);
            return tools::exit_usage;
        }
    }
    return is_printed ? exit_code_of(*result) : tools::exit_usage;
}

}  // namespace bench
