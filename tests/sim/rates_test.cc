// The rules about rates: for each a history that keeps it and one that breaks it.
#include "tests/sim/rates.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "io/base/units.h"
#include "tests/sim/ledger.h"

namespace sim {
namespace {

using Kind = Rates::Kind;

class RatesTest : public testing::Test {
  protected:
    static Limits limits_of(uint64_t commands, uint64_t publishes) {
        Limits limits;
        limits.subscriptions_max = 2;  // a burst of four commands
        limits.commands_per_second = commands;
        limits.publishes_per_second = publishes;
        return limits;
    }
    // Asked and done at once.
    static void do_many(Rates& rates, Kind kind, uint32_t count) {
        while (count-- > 0) rates.done(rates.asked(kind));
    }
    static std::string broken_by(const std::function<void()>& act) {
        try {
            act();
        } catch (const Violation& violation) {
            return violation.promise;
        }
        return "";
    }
    void wait_ms(uint64_t ms) { clock_.now_ns += ms * base::ns_per_ms; }

    Clock clock_;
    const Limits commands_ = limits_of(2, 0);
    const Limits publishes_ = limits_of(0, 3);
};

TEST_F(RatesTest, NobodyIsRefusedBelowTheBurst) {
    Rates just(clock_, commands_, "just");
    do_many(just, Kind::command, 4);
    EXPECT_EQ(broken_by([&] { just.refused(just.asked(Kind::command), 500); }), "");
    Rates unjust(clock_, commands_, "unjust");
    do_many(unjust, Kind::command, 3);
    EXPECT_EQ(broken_by([&] { unjust.refused(unjust.asked(Kind::command), 500); }), "rates");
}

TEST_F(RatesTest, NobodyIsRefusedAfterTheBucketHasFilledAgain) {
    for (const auto& [passed_ms, broken] : {std::pair{499, ""}, std::pair{501, "rates"}}) {
        Rates rates(clock_, commands_, "peer");
        do_many(rates, Kind::command, 4);
        wait_ms(static_cast<uint64_t>(passed_ms));
        EXPECT_EQ(broken_by([&] { rates.refused(rates.asked(Kind::command), 1); }), broken);
    }
}

TEST_F(RatesTest, WhatIsNotAnsweredYetMayHaveComeLate) {
    Rates rates(clock_, commands_, "peer");
    for (int count = 0; count < 4; ++count) rates.asked(Kind::command);
    wait_ms(60'000);
    EXPECT_EQ(broken_by([&] { rates.refused(rates.asked(Kind::command), 500); }), "");
}

TEST_F(RatesTest, WhatWasRefusedCostsNothing) {
    Rates rates(clock_, commands_, "peer");
    do_many(rates, Kind::command, 4);
    for (int count = 0; count < 10; ++count) rates.refused(rates.asked(Kind::command), 500);
    wait_ms(501);
    EXPECT_EQ(broken_by([&] { rates.refused(rates.asked(Kind::command), 500); }), "rates");
}

TEST_F(RatesTest, ControlFramesCountAndMayStandBetweenFragments) {
    Rates rates(clock_, commands_, "peer");
    do_many(rates, Kind::command, 3);
    const Rates::Id last = rates.asked(Kind::command);
    rates.asked(Kind::control);
    EXPECT_EQ(broken_by([&] { rates.refused(last, 500); }), "");
}

TEST_F(RatesTest, PublishesHaveARateOfTheirOwn) {
    Rates rates(clock_, publishes_, "peer");
    do_many(rates, Kind::command, 100);
    do_many(rates, Kind::publish, 3);
    EXPECT_EQ(broken_by([&] { rates.refused(rates.asked(Kind::publish), 334); }), "");
    EXPECT_EQ(broken_by([&] { rates.refused(rates.asked(Kind::command), 334); }), "rates");
    Rates slow(clock_, publishes_, "slow");
    do_many(slow, Kind::command, 100);
    do_many(slow, Kind::publish, 2);
    EXPECT_EQ(broken_by([&] { slow.refused(slow.asked(Kind::publish), 334); }), "rates");
}

TEST_F(RatesTest, NobodyHasMoreDoneThanTheRateAllows) {
    for (const auto& [count, broken] : {std::pair{6u, ""}, std::pair{7u, "rates"}}) {
        Rates rates(clock_, commands_, "peer");
        for (int at_once = 0; at_once < 4; ++at_once) rates.asked(Kind::command);
        wait_ms(1'000);  // two more for this second
        for (Rates::Id id = 0; id < 4; ++id) rates.done(id);
        do_many(rates, Kind::command, count - 4);
        EXPECT_EQ(broken_by([&] { rates.audit(); }), broken);
    }
}

TEST_F(RatesTest, TheWaitIsThatForOneToken) {
    struct Case {
        uint32_t retry_ms;
        const char* broken;
    };
    for (const Case& one : {Case{0, "rates"}, Case{1, ""}, Case{500, ""}, Case{501, "rates"}}) {
        Rates rates(clock_, commands_, "peer");
        do_many(rates, Kind::command, 4);
        EXPECT_EQ(broken_by([&] { rates.refused(rates.asked(Kind::command), one.retry_ms); }),
                  one.broken);
    }
    Rates rates(clock_, publishes_, "poster");
    do_many(rates, Kind::publish, 3);
    rates.refused(rates.asked(Kind::publish), 1, Rates::Unit::seconds);
    EXPECT_EQ(
        broken_by([&] { rates.refused(rates.asked(Kind::publish), 2, Rates::Unit::seconds); }),
        "rates");
}

TEST_F(RatesTest, AnErrorWithoutAnIdNeedsAnAskWithoutOne) {
    Rates rates(clock_, publishes_, "peer");
    do_many(rates, Kind::publish, 3);
    rates.asked(Kind::publish, false);
    EXPECT_EQ(broken_by([&] { rates.refused_unnamed(334); }), "");
    EXPECT_EQ(broken_by([&] { rates.refused_unnamed(334); }), "rates");
}

TEST_F(RatesTest, NothingGetsPastARefusedOneOfItsSeries) {
    Rates rates(clock_, publishes_, "peer");
    const auto ask = [&](uint32_t series) { return rates.asked(Kind::publish, true, series); };
    const Rates::Id before = ask(1);
    do_many(rates, Kind::publish, 2);
    const Rates::Id refused = ask(1);
    const Rates::Id behind = ask(1);
    rates.refused(refused, 334);
    wait_ms(10'000);
    EXPECT_EQ(broken_by([&] { rates.done(before); }), "") << "answers may overtake";
    EXPECT_EQ(broken_by([&] { rates.refused(behind, 1); }), "");
    EXPECT_EQ(broken_by([&] { rates.done(ask(2)); }), "") << "of another series";
    EXPECT_EQ(broken_by([&] { rates.done(ask(0)); }), "") << "of none";
    EXPECT_EQ(broken_by([&] { rates.refused(ask(1), 1); }), "");
    EXPECT_EQ(broken_by([&] { rates.done(ask(1)); }), "rates");
    wait_ms(10'000);
    EXPECT_EQ(broken_by([&] { rates.refused(ask(2), 1); }), "rates");
}

TEST_F(RatesTest, WhoGoesOnIsClosedThenAndNotBefore) {
    Rates rates(clock_, commands_, "peer");
    do_many(rates, Kind::command, 4);
    const auto refuse = [&] { rates.refused(rates.asked(Kind::command), 500); };
    for (uint64_t count = 0; count < Rates::refusals_burst; ++count) refuse();
    EXPECT_EQ(broken_by([&] { rates.closed_for_rate(); }), "rates");
    refuse();
    EXPECT_EQ(broken_by([&] { rates.closed_for_rate(); }), "");
    EXPECT_EQ(broken_by(refuse), "rates") << "it should have been closed";
    Rates patient(clock_, commands_, "patient");
    do_many(patient, Kind::command, 4);
    const Rates::Id first = patient.asked(Kind::command);
    patient.refused(first, 500);
    for (uint64_t count = 0; count < Rates::refusals_burst; ++count) {
        patient.refused(patient.asked(Kind::command), 500);
    }
    wait_ms(100);
    patient.asked(Kind::control);
    do_many(patient, Kind::command, 1);
    EXPECT_EQ(broken_by([&] { patient.refused(patient.asked(Kind::command), 500); }), "");
}

}  // namespace
}  // namespace sim
