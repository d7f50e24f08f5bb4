#include "tests/sim/faults.h"

namespace sim {

namespace {

constexpr std::array<const char*, faults_count> fault_names = {
#define FANFARE_X(name, meaning) #name,
    FANFARE_SIM_FAULTS(FANFARE_X)
#undef FANFARE_X
};

// How likely an active fault may become, at most. Those that end a connection or stop the world
// must stay rare, or nothing else would ever happen.
base::Ratio likelihood_max(Fault fault) {
    switch (fault) {
        case Fault::recv_short:
        case Fault::recv_ended:
        case Fault::recv_no_buffers:
        case Fault::send_short:
        case Fault::send_piecewise:
        case Fault::cancel_lost:
        case Fault::data_after_shutdown:
        case Fault::close_delayed:
        case Fault::reset_discards:
        case Fault::turn_limited: return {9, 10};
        case Fault::recv_delayed:
        case Fault::send_delayed:
        case Fault::accept_failed: return {1, 2};
        case Fault::accept_aborted: return {1, 10};
        case Fault::turn_spurious: return {1, 8};
        case Fault::zero_window: return {1, 300};
        case Fault::connection_reset: return {1, 400};
        case Fault::shard_stalled: return {1, 50};
        case Fault::time_jump: return {1, 2'000};
    }
    return {};
}

// How often a fault is there at all. What waits for a rare moment is there more often.
base::Ratio activation(Fault fault) {
    const bool is_rare = fault == Fault::reset_discards || fault == Fault::cancel_lost ||
                         fault == Fault::data_after_shutdown || fault == Fault::close_delayed;
    return is_rare ? base::Ratio{2, 3} : base::Ratio{1, 3};
}

}  // namespace

const char* name_of(Fault fault) {
    return fault_names[static_cast<uint32_t>(fault)];
}

FaultOptions swarm(base::Prng& prng) {
    FaultOptions options;
    for (uint32_t index = 0; index < faults_count; ++index) {
        const base::Ratio max = likelihood_max(all_faults[index]);
        const bool is_active = prng.chance(activation(all_faults[index]));
        // Percents of the maximum, drawn even when unused so that one fault does not shift the
        // others.
        const uint32_t percent = static_cast<uint32_t>(prng.between(1, 100));
        if (is_active) options[index] = {max.numerator * percent, max.denominator * 100};
    }
    return options;
}

std::string describe(const FaultOptions& options) {
    std::string text;
    for (uint32_t index = 0; index < faults_count; ++index) {
        if (options[index].numerator == 0) continue;
        text += std::string("  ") + fault_names[index] + " " +
                std::to_string(options[index].numerator) + "/" +
                std::to_string(options[index].denominator) + "\n";
    }
    return text;
}

bool Faults::fires(Fault fault) {
    const base::Ratio ratio = options_[static_cast<uint32_t>(fault)];
    if (is_healed_ || ratio.numerator == 0 || !prng_.chance(ratio)) return false;
    ++counts_[static_cast<uint32_t>(fault)];
    return true;
}

}  // namespace sim
