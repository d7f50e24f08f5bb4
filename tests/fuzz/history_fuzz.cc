// Fuzzes the history: bytes choose operations and their arguments, which a History and its model
// carry out side by side (tests/topics/history_model.h).
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>

#include "io/base/check.h"
#include "tests/topics/history_model.h"

namespace topics {
namespace {

// The model is slow; a longer input finds nothing that a shorter one does not.
constexpr uint32_t operations_count_max = 200;

class Bytes {
  public:
    explicit Bytes(std::span<const uint8_t> bytes) : bytes_(bytes) {}

    bool is_empty() const { return bytes_.empty(); }

    // No choice has more than 256 answers, but for times and offsets, which need not be all.
    uint64_t below(uint64_t bound) {
        if (bytes_.empty()) return 0;
        const uint8_t byte = bytes_.front();
        bytes_ = bytes_.subspan(1);
        return byte % bound;
    }

  private:
    std::span<const uint8_t> bytes_;
};

}  // namespace
}  // namespace topics

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    topics::Bytes bytes(std::span(data, size));
    topics::HistoryModel model(bytes);
    for (uint32_t count = 0; count < topics::operations_count_max && !bytes.is_empty(); ++count) {
        const bool is_right = model.step(bytes);
        if (!is_right) std::fprintf(stderr, "%s\n", model.failure().c_str());
        CHECK(is_right);
    }
    return 0;
}
