#include "tools/bench/plan.h"

#include <gtest/gtest.h>

#include <map>

#include "tools/bench/layout.h"
#include "topics/name.h"

namespace {

using bench::Layout;
using bench::Plan;
using bench::Scenario;

constexpr Scenario all_scenarios[] = {Scenario::fanout,    Scenario::fanin, Scenario::rooms,
                                      Scenario::wildcards, Scenario::echo,  Scenario::churn,
                                      Scenario::reconnect, Scenario::idle,  Scenario::listen};

Plan plan_of(Scenario scenario, uint32_t clients, uint32_t topics = 0, uint32_t publishers = 1) {
    Plan plan;
    plan.scenario = scenario;
    plan.clients = clients;
    plan.topics = topics;
    plan.publishers = publishers;
    EXPECT_EQ(bench::complete(plan), "");
    return plan;
}

TEST(Plan, NamesGoBothWays) {
    for (const Scenario scenario : all_scenarios) {
        Scenario found = Scenario::listen;
        EXPECT_TRUE(bench::scenario_named(bench::name_of(scenario), found));
        EXPECT_EQ(found, scenario);
    }
    Scenario untouched = Scenario::idle;
    EXPECT_FALSE(bench::scenario_named("fan", untouched));
    bench::DialectKind dialect = bench::DialectKind::fanfare;
    EXPECT_TRUE(bench::dialect_named("mqtt", dialect));
    EXPECT_FALSE(bench::dialect_named("plain", dialect));
}

TEST(Plan, TheDefaultsCanBeRun) {
    for (const Scenario scenario : all_scenarios) plan_of(scenario, 1'000);
    EXPECT_EQ(plan_of(Scenario::fanout, 10).window, bench::window_default);
    EXPECT_EQ(plan_of(Scenario::reconnect, 10).rate, 100);
    EXPECT_EQ(plan_of(Scenario::rooms, 1'000).topics, 100U);
}

TEST(Plan, SaysWhatIsWrong) {
    const auto problem_of = [](auto change) {
        Plan plan;
        change(plan);
        return bench::complete(plan);
    };
    EXPECT_NE(problem_of([](Plan& plan) { plan.clients = 0; }), "");
    EXPECT_NE(problem_of([](Plan& plan) { plan.clients = bench::clients_max + 1; }), "");
    EXPECT_EQ(problem_of([](Plan& plan) { plan.threads = bench::threads_max; }), "");
    EXPECT_NE(problem_of([](Plan& plan) { plan.threads = bench::threads_max + 1; }), "");
    EXPECT_NE(problem_of([](Plan& plan) { plan.window = bench::window_max + 1; }), "");
    EXPECT_NE(problem_of([](Plan& plan) { plan.rate = -1; }), "");
    EXPECT_NE(problem_of([](Plan& plan) { plan.duration_ns = 0; }), "");
    EXPECT_NE(problem_of([](Plan& plan) { plan.broker_pid = -1; }), "");
    const auto problem_of_cut = [&](uint64_t duration_ns) {
        return problem_of([duration_ns](Plan& plan) {
            plan.scenario = Scenario::reconnect;
            plan.duration_ns = duration_ns;
        });
    };
    EXPECT_EQ(problem_of_cut(bench::reconnect_duration_min_ns), "");
    EXPECT_NE(problem_of_cut(bench::reconnect_duration_min_ns - 1), "");
    EXPECT_NE(problem_of([](Plan& plan) { plan.payload_text = "10"; }), "");
    EXPECT_NE(problem_of([](Plan& plan) { plan.url = "wss://x"; }), "");
    EXPECT_NE(problem_of([](Plan& plan) { plan.topic_prefix = "a/b"; }), "");
    EXPECT_NE(problem_of([](Plan& plan) { plan.rate = 5, plan.window = 5; }).find("exclude"),
              std::string::npos);
    EXPECT_NE(problem_of([](Plan& plan) { plan.dialect = bench::DialectKind::plain; }), "");
    EXPECT_NE(problem_of([](Plan& plan) { plan.publish_frame = "{payload}"; }), "");
    EXPECT_NE(problem_of([](Plan& plan) {
                  plan.scenario = Scenario::rooms;
                  plan.topics = plan.clients + 1;
              }),
              "");
    EXPECT_NE(problem_of([](Plan& plan) {
                  plan.scenario = Scenario::wildcards;
                  plan.dialect = bench::DialectKind::nchan;
              }),
              "");
}

// An option that the scenario has no use for is not left aside without a word.
TEST(Plan, RefusesWhatTheScenarioHasNoUseFor) {
    const auto is_taken = [](Scenario scenario, auto change) {
        Plan plan;
        plan.scenario = scenario;
        change(plan);
        return bench::complete(plan).empty();
    };
    for (const Scenario scenario : all_scenarios) {
        const bool is_published = bench::publishes(scenario);
        const bool is_by_clients = scenario == Scenario::fanin || scenario == Scenario::echo;
        const bool has_topics = scenario != Scenario::fanout && scenario != Scenario::fanin &&
                                scenario != Scenario::echo;
        EXPECT_EQ(is_taken(scenario, [](Plan& plan) { plan.topics = 2; }), has_topics);
        EXPECT_EQ(is_taken(scenario, [](Plan& plan) { plan.publishers = 2; }),
                  is_published && !is_by_clients);
        EXPECT_EQ(is_taken(scenario, [](Plan& plan) { plan.window = 2; }), is_published);
        EXPECT_EQ(is_taken(scenario, [](Plan& plan) { plan.rate = 2; }),
                  is_published || scenario == Scenario::churn);
        EXPECT_FALSE(is_taken(scenario, [](Plan& plan) { plan.subscribe_path = "a"; }));
    }
    EXPECT_TRUE(is_taken(Scenario::fanout, [](Plan& plan) { plan.topics = 1; }));
}

// Whatever deliveries_of promises, the filters deliver: counted with the broker's own matcher.
TEST(Layout, DeliveriesAreWhatTheFiltersMatch) {
    for (const Scenario scenario : all_scenarios) {
        const bool has_others =
            bench::publishes(scenario) && scenario != Scenario::fanin && scenario != Scenario::echo;
        const Plan plan =
            plan_of(scenario, 60, scenario == Scenario::wildcards ? 20 : 0, has_others ? 7 : 1);
        const Layout layout(plan);
        uint32_t subscribers_count = 0;
        uint32_t publishers_count = 0;
        std::vector<std::string> filters;
        for (uint32_t index = 0; index < layout.connections_count(); ++index) {
            const bench::Role role = layout.role_of(index);
            subscribers_count += role.subscribes ? 1U : 0U;
            publishers_count += role.publishes() ? 1U : 0U;
            if (role.subscribes) filters.push_back(layout.filter_of(index));
        }
        EXPECT_EQ(subscribers_count, layout.subscribers_count());
        EXPECT_EQ(publishers_count, layout.publishers_count());
        for (uint32_t topic = 0; topic < layout.topics_count(); ++topic) {
            uint32_t matches_count = 0;
            for (const std::string& filter : filters) {
                matches_count += topics::matches(filter, layout.topic_name(topic)) ? 1U : 0U;
            }
            EXPECT_EQ(layout.deliveries_of(topic), matches_count) << bench::name_of(scenario);
            EXPECT_LE(matches_count, layout.deliveries_max());
        }
    }
}

TEST(Layout, SequencesRiseByOneAndEveryTopicIsReached) {
    for (const auto& [topics, publishers] :
         {std::pair{1U, 3U}, {10U, 3U}, {12U, 4U}, {12U, 9U}, {5U, 20U}, {100U, 20U}}) {
        const Plan plan = plan_of(Scenario::rooms, 200, topics, publishers);
        const Layout layout(plan);
        std::map<uint32_t, uint64_t> reached;
        for (uint32_t publisher = 0; publisher < publishers; ++publisher) {
            std::map<uint32_t, uint64_t> next;
            for (uint64_t n = 0; n < 3 * topics; ++n) {
                const bench::Turn turn = layout.turn_of(publisher, n);
                ASSERT_LT(turn.topic, topics);
                EXPECT_EQ(turn.sequence, next[turn.topic]++);
                ++reached[turn.topic];
            }
        }
        EXPECT_EQ(reached.size(), topics);
    }
}

}  // namespace
