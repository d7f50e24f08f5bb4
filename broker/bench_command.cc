#include "broker/bench_command.h"

#include <string>

#include "broker/command_line.h"
#include "tools/bench/run.h"

namespace broker {
namespace {

constexpr const char* scenarios_help =
    "What happens:\n"
    "  fanout     a publisher, one topic, all clients subscribe to it\n"
    "  fanin      all clients publish, one subscriber gets everything\n"
    "  rooms      clients spread over topics, publishers go round them\n"
    "  wildcards  the same, and two of three clients subscribe with a +\n"
    "  echo       each client publishes to itself\n"
    "  churn      clients connect, subscribe, disconnect, and begin again\n"
    "  reconnect  rooms; all subscribers are cut at once and resume with their cursors\n"
    "  idle       clients subscribe and do nothing\n"
    "  listen     clients receive whatever is sent to them";

const std::string footer =
    "Examples, against a broker on this machine:\n"
    "  fanfare bench                                       how fast is one topic with 1,000 "
    "clients?\n"
    "  fanfare bench fanout --clients 5000 --rate 200      how late is a message, 200 times a "
    "second?\n"
    "  fanfare bench rooms --clients 1000 --topics 100 --publishers 20 --window 64 --check\n"
    "                                                      does everything arrive, once and in "
    "order?\n"
    "  fanfare bench idle --clients 50000 --duration 30s --broker-pid $(pidof fanfare)\n"
    "                                                      what does a connection cost?\n"
    "  fanfare bench reconnect --clients 10000 --report storm.html\n"
    "                                                      how soon are all back after a cut?\n"
    "Other servers:\n"
    "  fanfare bench --dialect nats  --url ws://127.0.0.1:9222/\n"
    "  fanfare bench --dialect mqtt  --url ws://127.0.0.1:9001/mqtt\n"
    "  fanfare bench --dialect nchan --url ws://127.0.0.1:8080/ \\\n"
    "                --subscribe-path '/sub/{topic}' --publish-path '/pub/{topic}'\n"
    "  fanfare bench --dialect template --url ws://127.0.0.1:9000/ \\\n"
    "                --subscribe-frame 'sub {topic}' --publish-frame 'pub {topic} {payload}'\n\n"
    "With --window (the default, 16) the next message leaves when an earlier one has arrived: "
    "that\n"
    "measures how fast the broker is, and the latency is that of a full queue. With --rate "
    "messages\n"
    "leave on time whatever happens, and latency counts from when each was due, so that a stall "
    "is\n"
    "not hidden: that measures how late messages are. Choose about half of what --window reached.\n"
    "The load takes CPU too. It says how much, and whether it, not the broker, was the limit; run "
    "it\n"
    "on other cores than the broker (taskset) or on another machine.\n\n";

void add_load(CLI::App& command, bench::Plan& plan) {
    command
        .add_option_function<std::string>(
            "SCENARIO",
            [&plan](const std::string& name) {
                if (bench::scenario_named(name, plan.scenario)) return;
                throw CLI::ValidationError("SCENARIO",
                                           "there is no '" + name + "'; --help lists them");
            },
            scenarios_help)
        ->type_name("");
    command.add_option("--clients", plan.clients, "How many clients. Default: 1000.");
    command.add_option("--publishers", plan.publishers,
                       "How many others publish, where they do. Default: 1.");
    command.add_option("--topics", plan.topics,
                       "How many topics. Default: one, or a tenth of the clients.");
    command
        .add_option("--payload", plan.payload_text,
                    "Bytes of each message: 64, a range 64..1000, or a choice with weights "
                    "64:90,1000:10. Default: 64.")
        ->type_name("SIZES");
    command
        .add_option("--window", plan.window,
                    "Closed loop: messages on their way at any time, in all. Default: 16.")
        ->type_name("N");
    command
        .add_option(
            "--rate", plan.rate,
            "Open loop: messages per second in all, on time; churn: connections per second.")
        ->type_name("N");
    add_duration(command, "--duration", plan.duration_ns, "How long to measure. Default: 10s.");
    add_duration(command, "--warmup", plan.warmup_ns,
                 "How long to publish before that. Default: 1s.");
    command
        .add_option("--connect-rate", plan.connect_rate,
                    "Connect this many clients per second. Default: as fast as they are accepted.")
        ->type_name("N");
    command.add_option("--threads", plan.threads,
                       "Threads of the load, each with a part of the clients. Default: 1.");
    command
        .add_option("--source", plan.sources,
                    "An address of this machine to connect from; may be repeated. Each gives some "
                    "28,000 connections to one server. Default: on loopback as many as are needed.")
        ->type_name("ADDRESS")
        ->allow_extra_args(false);
    command.add_flag("--check", plan.check,
                     "Check that every message arrives once, in order, byte for byte.");
}

void add_server(CLI::App& command, bench::Plan& plan) {
    command.add_option("--url", plan.url,
                       "The broker: ws://host:port/path or unix:/path. Default: "
                       "ws://127.0.0.1:7788/ws. [FANFARE_URL]");
    command
        .add_option("--broker-pid", plan.broker_pid,
                    "The broker's process on this machine: tells its CPU per delivery and its "
                    "memory.")
        ->type_name("PID");
    command
        .add_option("--metrics-url", plan.metrics_url,
                    "Where /metrics is, if not where the clients connect.")
        ->type_name("URL");
    command.add_option("--topic-prefix", plan.topic_prefix,
                       "First level of all topics. Default: bench.");
    command
        .add_option_function<std::string>(
            "--dialect",
            [&plan](const std::string& name) {
                if (bench::dialect_named(name, plan.dialect)) return;
                throw CLI::ValidationError("--dialect", "there is no '" + name + "'");
            },
            "What the server speaks. Default: fanfare.")
        ->type_name("fanfare|nats|nchan|mqtt|template");
    command.add_option("--subscribe-path", plan.subscribe_path,
                       "The path that subscribers connect to, with {topic} in it.");
    command.add_option("--publish-path", plan.publish_path, "The same for publishers.");
    command.add_option("--subscribe-frame", plan.subscribe_frame,
                       "Template: what a subscriber sends, with {topic}; nothing if left out.");
    command.add_option("--publish-frame", plan.publish_frame,
                       "Template: what publishes a message, with {topic}, {seq} and {payload}.");
    command.add_option("--ready-text", plan.ready_text,
                       "Template: a subscription is ready when a message holds this. Default: at "
                       "once.");
    command.add_flag("--binary-frames", plan.is_binary, "Template: send binary frames.");
}

}  // namespace

void add_bench(CLI::App& command, bench::Plan& plan) {
    add_load(command, plan);
    add_server(command, plan);
    command.add_flag("--json", plan.prints_json, "Print one JSON object.");
    command
        .add_option("--report", plan.report_file,
                    "Write a page with charts, for people who were not there.")
        ->type_name("FILE.html");
    command.footer(footer + std::string(bench::exit_codes_help));
}

}  // namespace broker
