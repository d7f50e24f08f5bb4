// sim: runs seeds of the simulated world.
//
//   sim --seeds 500 [--first 1] [--shards N] [--twice-every 20]     many seeds, a summary
//   sim --seed 17 [--verbose]                                       one seed, with its trace
//   sim --seeds 50 --expect-violation [--plant NAME]                 a mistake is planted and must
//   be found
//
// Exit code 0: all is well. 1: a promise was broken. 2: usage. 3: the run was too tame: a kind of
// fault never fired. With --expect-violation, 0: a promise was broken, or a CHECK failed; 1: all
// the seeds found nothing. A failed CHECK or a sanitizer's finding ends the process by itself,
// after the seed was printed.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "tests/sim/broker_world.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace {

struct Options {
    uint64_t first = 1;
    uint64_t seeds = 500;
    uint64_t twice_every = 20;
    bool is_verbose = false;
    bool expects_violation = false;
    sim::Plant plant = sim::Plant::none;
    sim::ScenarioOptions scenario;
};

constexpr const char* plant_names[] = {
    "none",           "drop-frame", "duplicate-frame", "swap-frames",   "corrupt-byte",
    "lose-wake",      "drop-pong",  "leak-socket",     "drop-replayed", "duplicate-replayed",
    "falsify-cursor", "lose-gap",   "miscount-gap"};

// Read by the handlers of fatal errors.
volatile uint64_t seed_now = 0;

void print_seed() {
    char text[64];
    const int bytes = std::snprintf(text, sizeof text, "\nsim: died in seed %llu\n",
                                    static_cast<unsigned long long>(seed_now));
    static_cast<void>(!write(STDERR_FILENO, text, static_cast<size_t>(bytes)));
}

void on_abort(int) {
    print_seed();
    std::signal(SIGABRT, SIG_DFL);
}

// A planted mistake may also be caught by one of the product's own checks.
void on_expected_abort(int) {
    print_seed();
    std::_Exit(0);
}

[[noreturn]] void usage(std::string_view problem) {
    std::fprintf(stderr,
                 "sim: %.*s\nusage: sim [--seeds N] [--first N] [--seed N] [--shards N] "
                 "[--twice-every N] [--plant NAME] [--expect-violation] [--verbose]\nplants:",
                 static_cast<int>(problem.size()), problem.data());
    for (const char* const name : plant_names) std::fprintf(stderr, " %s", name);
    std::fprintf(stderr, "\n");
    std::exit(2);
}

sim::Plant plant_of(std::string_view name) {
    const auto found = std::find(std::begin(plant_names), std::end(plant_names), name);
    if (found == std::end(plant_names)) usage("no such plant");
    return static_cast<sim::Plant>(found - std::begin(plant_names));
}

Options parse(int count, char** arguments) {
    Options options;
    for (int at = 1; at < count; ++at) {
        const std::string_view name = arguments[at];
        if (name == "--verbose") {
            options.is_verbose = true;
            continue;
        }
        if (name == "--expect-violation") {
            options.expects_violation = true;
            continue;
        }
        if (at + 1 >= count) usage(name);
        const char* const value = arguments[++at];
        const uint64_t number = std::strtoull(value, nullptr, 10);
        if (name == "--seeds") {
            options.seeds = number;
        } else if (name == "--first") {
            options.first = number;
        } else if (name == "--seed") {
            options.first = number;
            options.seeds = 1;
            options.twice_every = 1;
        } else if (name == "--shards") {
            options.scenario.shards_count = static_cast<uint32_t>(number);
        } else if (name == "--twice-every") {
            options.twice_every = number;
        } else if (name == "--plant") {
            options.plant = plant_of(value);
        } else {
            usage(name);
        }
    }
    return options;
}

// Runs one seed; answers its hash. Ends the process when a promise is broken.
uint64_t run_seed(uint64_t seed, const Options& options, bool is_verbose, sim::Totals& totals) {
    seed_now = seed;
    const sim::Scenario scenario = sim::draw_scenario(seed, options.scenario);
    if (is_verbose) std::printf("%s", sim::describe(scenario).c_str());
    sim::BrokerHouse house(scenario);
    std::function<void(const std::string&)> trace;
    if (is_verbose) trace = [](const std::string& line) { std::printf("%s\n", line.c_str()); };
    auto world = std::make_unique<sim::World>(scenario, options.plant, trace);
    try {
        world->populate(house.shards(), sim::public_of(scenario), &house.settings());
        world->run();
    } catch (const sim::Violation& violation) {
        std::fflush(stdout);
        std::fprintf(
            stderr,
            "%s\nseed %llu breaks %s\n%s\n%s\nrun it again with: sim --seed %llu --verbose\n",
            sim::describe(scenario).c_str(), static_cast<unsigned long long>(seed),
            violation.promise.c_str(), violation.text.c_str(), world->describe().c_str(),
            static_cast<unsigned long long>(seed));
        std::fflush(stderr);
        // The shards stand in the middle of their turns; nothing here can be taken down in good
        // order.
        std::_Exit(options.expects_violation ? 0 : 1);
    }
    totals.add(world->totals());
    return world->hash();
}

void print_totals(const sim::Totals& totals, double seconds) {
    const auto line = [](const char* name, uint64_t value) {
        std::printf("  %-24s %llu\n", name, static_cast<unsigned long long>(value));
    };
    std::printf("%llu seeds in %.1f s (%.1f seeds/s)\n",
                static_cast<unsigned long long>(totals.seeds), seconds,
                static_cast<double>(totals.seeds) / seconds);
    line("virtual seconds", totals.virtual_ns / base::ns_per_s);
    line("steps", totals.steps);
    line("turns", totals.turns);
    line("events", totals.events);
    line("connections", totals.connections);
    line("sessions", totals.oracle.sessions);
    line("published", totals.oracle.published);
    line("acknowledged", totals.oracle.acknowledged);
    line("refused", totals.oracle.refused);
    line("refused for their rate", totals.oracle.refused_for_rate);
    line("answered as duplicates", totals.oracle.duplicates);
    line("deliveries", totals.oracle.deliveries);
    line("of these replayed", totals.oracle.replayed);
    line("of these compressed", totals.oracle.compressed);
    line("orders confirmed", totals.oracle.links_confirmed);
    line("resumes, exact", totals.oracle.resumes_exact);
    line("resumes, refused", totals.oracle.resumes_refused);
    line("gaps", totals.oracle.gaps);
    for (const auto& [code, count] : totals.oracle.stream_gaps_by_code) {
        line(("  " + code).c_str(), count);
    }
    line("missed by slow consumers", totals.oracle.missed);
    line("pages of history", totals.oracle.history_pages);
    line("lists of connections", totals.operations.lists);
    line("of these complete", totals.operations.lists_complete);
    line("rows of lists", totals.operations.rows);
    line("closed by operators", totals.operations.closings);
    line("closed in vain", totals.operations.closings_in_vain);
    line("operators turned away", totals.operations.turned_away);
    line("operators given up", totals.operations.timed_out);
    line("operators' mistakes", totals.operations.refused);
    line("settings reloaded", totals.reloads);
    line("bytes to peers", totals.bytes_to_peers);
    line("sends cut short", totals.sends_partial);
    line("broken by faults", totals.oracle.broken_by_fault);
    line("vanished and evicted", totals.evicted);
    for (const auto& [code, count] : totals.oracle.closed_by_code) {
        line(("closed with " + std::to_string(code)).c_str(), count);
    }
    for (uint32_t index = 0; index < sim::faults_count; ++index) {
        line((std::string("fault ") + sim::name_of(sim::all_faults[index])).c_str(),
             totals.faults[index]);
    }
}

// Whether everything that a large run should meet was met.
bool check_marks(const sim::Totals& totals) {
    bool is_complete = true;
    for (uint32_t index = 0; index < sim::faults_count; ++index) {
        if (totals.faults[index] > 0) continue;
        std::fprintf(stderr, "sim: the fault %s never fired\n",
                     sim::name_of(sim::all_faults[index]));
        is_complete = false;
    }
    const struct {
        const char* name;
        uint64_t count;
    } marks[] = {{"command was refused for its rate", totals.oracle.refused_for_rate},
                 {"connection was closed for its rate", totals.oracle.closed_by_code.count(4101)},
                 {"publish was answered as a duplicate", totals.oracle.duplicates},
                 {"message was replayed", totals.oracle.replayed},
                 {"resume was exact", totals.oracle.resumes_exact},
                 {"resume was refused", totals.oracle.resumes_refused},
                 {"gap was told", totals.oracle.gaps},
                 {"message was conflated", totals.oracle.stream_gaps_by_code.count("conflated")},
                 {"message was dropped", totals.oracle.stream_gaps_by_code.count("slow_consumer")},
                 {"stream fell behind its history",
                  totals.oracle.stream_gaps_by_code.count("slow_consumer, nobody knows how many")},
                 {"page of history was read", totals.oracle.history_pages},
                 {"list of all connections was read", totals.operations.lists_complete},
                 {"connection was closed by an operator", totals.oracle.closed_by_code.count(4102)},
                 {"operator was told that nobody is there", totals.operations.closings_in_vain},
                 {"operator was turned away", totals.operations.turned_away},
                 {"setting was reloaded", totals.reloads}};
    for (const auto& mark : marks) {
        if (mark.count > 0) continue;
        std::fprintf(stderr, "sim: no %s\n", mark.name);
        is_complete = false;
    }
    return is_complete;
}

}  // namespace

int main(int count, char** arguments) {
    const Options options = parse(count, arguments);
    std::signal(SIGABRT, options.expects_violation ? on_expected_abort : on_abort);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_set_death_callback(print_seed);
#endif
    const auto begin = std::chrono::steady_clock::now();
    sim::Totals totals;
    for (uint64_t seed = options.first; seed < options.first + options.seeds; ++seed) {
        const uint64_t hash = run_seed(seed, options, options.is_verbose, totals);
        if (options.twice_every == 0 || seed % options.twice_every != 0) continue;
        sim::Totals again;
        if (run_seed(seed, options, false, again) == hash) continue;
        std::fprintf(stderr, "sim: seed %llu ran differently the second time\n",
                     static_cast<unsigned long long>(seed));
        return 1;
    }
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    print_totals(totals, elapsed.count());
    if (options.expects_violation) {
        std::fprintf(stderr, "sim: nothing found the planted mistake\n");
        return 1;
    }
    constexpr uint64_t seeds_for_marks_min = 500;
    if (options.seeds >= seeds_for_marks_min && !check_marks(totals)) return 3;
    return 0;
}
