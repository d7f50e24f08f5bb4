#include "tools/bench/report.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <memory>

#include "tools/bench/broker_watch.h"

namespace {

using bench::Moment;
using bench::Result;

// Two seconds, 1,000 messages to 10 subscribers each, 20 of 10,000 deliveries at 5 ms.
std::unique_ptr<Result> a_result() {
    auto result = std::make_unique<Result>();
    result->plan.clients = 10;
    result->plan.window = 16;
    result->plan.check = true;
    result->plan.duration_ns = 2 * base::ns_per_s;
    result->connections = 11;
    result->subscribers = 10;
    result->publishers = 1;
    result->topics = 1;
    result->threads = 1;
    const auto moment = [](uint64_t s, uint64_t published, uint64_t load_ms, uint64_t broker_ms) {
        Moment found{.time_ns = s * base::ns_per_s,
                     .published = published,
                     .delivered = published * 10,
                     .live = 11,
                     .received_bytes = published * 1'250,
                     .thread_cpu_ns = {load_ms * base::ns_per_ms}};
        found.broker.is_known = true;
        found.broker.run_ns = broker_ms * base::ns_per_ms;
        found.broker.user_ns = broker_ms * base::ns_per_ms / 4;
        found.broker.system_ns = broker_ms * base::ns_per_ms * 3 / 4;
        found.broker.thread_run_ns[1] = found.broker.run_ns;
        return found;
    };
    result->start = result->connected = moment(1, 0, 0, 0);
    result->begin = moment(10, 0, 0, 0);
    result->moments = {result->begin, moment(11, 500, 400, 900), moment(12, 1'000, 800, 1'980)};
    result->end = result->moments.back();
    result->published_all = 1'000;
    result->expected_all = result->delivered_all = 10'000;
    result->check.checked = 10'000;
    for (uint32_t index = 0; index < 10'000; ++index) {
        result->latency_ns.record(index % 500 == 0 ? 5'000'000 : 250'000);
    }
    return result;
}

TEST(BenchReport, DerivedFigures) {
    const auto result = a_result();
    EXPECT_DOUBLE_EQ(result->seconds(), 2);
    EXPECT_DOUBLE_EQ(result->delivered_per_s(), 5'000);
    EXPECT_DOUBLE_EQ(result->published_per_s(), 500);
    EXPECT_DOUBLE_EQ(result->broker_us_per_delivery(), 198);
    EXPECT_DOUBLE_EQ(result->broker_user_share(), 0.25);
    EXPECT_DOUBLE_EQ(result->load_thread_share(), 0.4);
    EXPECT_DOUBLE_EQ(result->broker_thread_share(), 0.99);
    EXPECT_DOUBLE_EQ(result->wire_bytes_per_delivery(), 125);
    EXPECT_TRUE(result->is_clean());
    result->delivered_all = 9'999;
    EXPECT_EQ(result->missing(), 1U);
    EXPECT_FALSE(result->is_clean());
    result->delivered_all = 10'001;  // one too much is no better
    EXPECT_FALSE(result->is_clean());
    EXPECT_NE(bench::text_report(*result).find("1 deliveries more"), std::string::npos);
}

TEST(BenchReport, ConnectionsThatTheServerEndsOrRefusesAreNoSuccess) {
    for (uint64_t Result::*const counter : {&Result::lost, &Result::refused}) {
        const auto result = a_result();
        (*result).*counter = 1;
        EXPECT_FALSE(result->is_clean());
        // In the storm after a cut they come again.
        result->plan.scenario = bench::Scenario::reconnect;
        EXPECT_TRUE(result->is_clean());
    }
}

TEST(BenchReport, WarnsWhenTheRateWasNotKept) {
    const auto warnings_of = [](double rate, bench::Scenario scenario) {
        const auto result = a_result();  // 1,000 messages in 2 s
        result->plan.scenario = scenario;
        result->plan.rate = rate;
        result->end.cycles = 1'000;
        bench::judge(*result);
        return result->warnings.size();
    };
    EXPECT_EQ(warnings_of(509, bench::Scenario::fanout), 0U);
    EXPECT_EQ(warnings_of(512, bench::Scenario::fanout), 1U);
    EXPECT_EQ(warnings_of(509, bench::Scenario::churn), 0U);
    EXPECT_EQ(warnings_of(512, bench::Scenario::churn), 1U);
    EXPECT_EQ(warnings_of(512, bench::Scenario::idle), 0U);  // it has no rate
}

TEST(BenchReport, WarnsWhenThereIsTooLittleForATail) {
    const auto warnings_of = [](uint64_t messages_count, uint64_t deliveries_count) {
        const auto result = a_result();
        result->end.published = messages_count;
        result->latency_ns = bench::Histogram();
        for (uint64_t index = 0; index < deliveries_count; ++index) result->latency_ns.record(1);
        bench::judge(*result);
        return result->warnings.size();
    };
    EXPECT_EQ(warnings_of(100, 1'000), 0U);
    EXPECT_EQ(warnings_of(99, 1'000), 1U);
    EXPECT_EQ(warnings_of(100, 999), 1U);
}

// A quantile that no sample lies beyond is but the largest one.
TEST(BenchReport, QuantilesNeedTheirSamples) {
    const auto has = [](uint64_t count, const char* quantile) {
        const auto result = a_result();
        result->latency_ns = bench::Histogram();
        for (uint64_t index = 0; index < count; ++index) result->latency_ns.record(250'000);
        const std::string text = bench::text_report(*result);
        return text.find(std::string(quantile) + " 250 µs") != std::string::npos;
    };
    EXPECT_FALSE(has(1, "p50"));
    EXPECT_TRUE(has(2, "p50"));
    EXPECT_FALSE(has(9, "p90"));
    EXPECT_TRUE(has(10, "p90"));
    EXPECT_FALSE(has(99, "p99"));
    EXPECT_TRUE(has(100, "p99"));
    EXPECT_FALSE(has(999, "p99.9"));
    EXPECT_TRUE(has(1'000, "p99.9"));
}

TEST(BenchReport, WhatIsPaidOnceIsNoFewConnectionsCost) {
    const auto has = [](uint32_t connections, const char* words) {
        const auto result = a_result();
        result->connections = connections;
        result->connected.broker.run_ns = base::ns_per_s;
        result->connected.broker.resident_bytes = 100 * base::mib;
        return (bench::text_report(*result) + bench::html_report(*result)).find(words) !=
               std::string::npos;
    };
    for (const char* words :
         {"µs per connection", "bytes more per connection", "memory per conn"}) {
        EXPECT_FALSE(has(999, words)) << words;
        EXPECT_TRUE(has(1'000, words)) << words;
    }
}

TEST(BenchReport, JsonHasCountsInFull) {
    const auto result = a_result();
    result->metrics["fanfare_deliveries_total"] = 1'234'567'891;
    result->metrics["fanfare_x_total"] = 0.5;
    const std::string json = bench::json_report(*result);
    EXPECT_NE(json.find("\"fanfare_deliveries_total\":1234567891"), std::string::npos);
    EXPECT_NE(json.find("\"fanfare_x_total\":0.5"), std::string::npos);
}

TEST(BenchReport, WarnsWhenTheLoadWasTheBottleneck) {
    const auto warnings_of = [](uint64_t load_ms, uint64_t broker_ms) {
        const auto result = a_result();
        result->end.thread_cpu_ns = {load_ms * base::ns_per_ms};
        result->end.broker.thread_run_ns[1] = broker_ms * base::ns_per_ms;
        bench::judge(*result);
        return result->warnings.size();
    };
    EXPECT_EQ(warnings_of(1'000, 1'990), 0U);
    EXPECT_EQ(warnings_of(1'000, 1'000), 0U);
    EXPECT_EQ(warnings_of(1'900, 1'990), 0U);
    EXPECT_EQ(warnings_of(1'900, 1'000), 1U);
}

TEST(BenchReport, WarnsWhenOthersHadTheCores) {
    const auto warnings_of = [](uint64_t load_ms, uint64_t broker_ms) {
        const auto result = a_result();  // of 2 s
        result->load_begin.thread_wait_ns = {{1, 5 * base::ns_per_s}, {2, base::ns_per_s}};
        result->load_end.thread_wait_ns = {{1, 5 * base::ns_per_s},
                                           {2, base::ns_per_s + load_ms * base::ns_per_ms}};
        result->end.broker.thread_wait_ns = {{1, broker_ms * base::ns_per_ms}};
        bench::judge(*result);
        return result->warnings.size();
    };
    EXPECT_EQ(warnings_of(199, 199), 0U);
    EXPECT_EQ(warnings_of(201, 0), 1U);
    EXPECT_EQ(warnings_of(0, 201), 1U);
    EXPECT_EQ(warnings_of(201, 201), 1U);
}

TEST(BenchReport, WarnsWhenItWasNotWatchedInTime) {
    const auto warnings_of = [](uint64_t duration_ms) {
        const auto result = a_result();
        result->plan.duration_ns = duration_ms * base::ns_per_ms;
        bench::judge(*result);
        return result->warnings.size();
    };
    EXPECT_EQ(warnings_of(1'900), 0U);
    EXPECT_EQ(warnings_of(2'200), 0U);
    EXPECT_EQ(warnings_of(1'800), 1U);
    EXPECT_EQ(warnings_of(2'300), 1U);
}

TEST(BenchReport, TextForPeople) {
    EXPECT_EQ(bench::duration_text(1'500), "1.5 µs");
    EXPECT_EQ(bench::duration_text(312'400), "312 µs");
    EXPECT_EQ(bench::duration_text(1'240'000), "1.24 ms");
    EXPECT_EQ(bench::duration_text(2'500'000'000), "2.50 s");
    EXPECT_EQ(bench::grouped(0), "0");
    EXPECT_EQ(bench::grouped(999), "999");
    EXPECT_EQ(bench::grouped(1'234'567), "1,234,567");
    const std::string text = bench::text_report(*a_result());
    for (const char* part : {"5,000/s", "198.000 µs per delivery", "p99.9 5.00 ms", "each once"}) {
        EXPECT_NE(text.find(part), std::string::npos) << part << text;
    }
}

TEST(BenchReport, AFailedCheckIsSaid) {
    const auto result = a_result();
    result->check.repeated = 3;
    result->delivered_all = 9'000;
    const std::string text = bench::text_report(*result);
    EXPECT_NE(text.find("3 repeated"), std::string::npos);
    EXPECT_NE(text.find("MISSING"), std::string::npos);
    EXPECT_EQ(text.find("each once"), std::string::npos);
}

TEST(BenchReport, HtmlIsEscapedAndComplete) {
    EXPECT_EQ(bench::html_escaped(R"(<a href="x">&'</a>)"),
              "&lt;a href=&quot;x&quot;&gt;&amp;&#39;&lt;/a&gt;");
    const auto result = a_result();
    result->plan.url = "ws://h/<script>";
    result->failure = "<b>";
    result->warnings = {"a & b"};
    const std::string page = bench::html_report(*result);
    EXPECT_EQ(page.find("<script"), std::string::npos);
    EXPECT_EQ(page.find("<b>:"), std::string::npos);
    EXPECT_NE(page.find("a &amp; b"), std::string::npos);
    for (const char* part : {"</html>", "Deliveries per second", "<svg", "99 %", "5,000"}) {
        EXPECT_NE(page.find(part), std::string::npos) << part;
    }
    // Nothing is fetched from elsewhere.
    for (const char* part : {"http://", "https://", "src=", "@import"}) {
        EXPECT_EQ(page.find(part), std::string::npos) << part;
    }
    EXPECT_EQ(page.find("nan"), std::string::npos);
}

TEST(BenchReport, AnEmptyRunIsReportedToo) {
    const auto result = std::make_unique<Result>();
    EXPECT_NE(bench::html_report(*result).find("</html>"), std::string::npos);
    EXPECT_EQ(bench::html_report(*result).find("inf"), std::string::npos);
    EXPECT_NE(bench::json_report(*result).find("\"delivered\":0"), std::string::npos);
}

TEST(BrokerWatch, MetricsAreSummedOverTheirLabels) {
    const auto sums = bench::parse_metrics(
        "# TYPE a counter\na{shard=\"0\"} 1\na{shard=\"1\"} 2.5\nb 7\nbad\nc x\nd 1e3");
    EXPECT_EQ(sums.at("a"), 3.5);
    EXPECT_EQ(sums.at("b"), 7);
    EXPECT_EQ(sums.count("c"), 0U);
    EXPECT_EQ(sums.at("d"), 1'000);
    EXPECT_TRUE(bench::parse_metrics("").empty());
}

TEST(BrokerWatch, OurselvesWeKnow) {
    const bench::ProcessUsage before = bench::read_process(getpid());
    ASSERT_TRUE(before.is_known);
    EXPECT_GT(before.anonymous_bytes, 0U);
    EXPECT_LT(before.anonymous_bytes, before.resident_bytes);
    uint64_t sum = 0;
    while (bench::read_process(getpid()).run_ns < before.run_ns + 20'000'000) ++sum;
    EXPECT_GT(bench::busiest_thread_ns(before, bench::read_process(getpid())), 15'000'000U);
    EXPECT_EQ(before.thread_wait_ns.size(), before.thread_run_ns.size());
    EXPECT_FALSE(bench::read_process(0).is_known);
    EXPECT_FALSE(bench::read_process(INT32_MAX).is_known);
}

}  // namespace
