#include "codec/kernels.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "io/base/prng.h"

namespace codec {
namespace {

TEST(Kernels, TheScalarOneIsListedFirstAndTheChosenOneLast) {
    const std::span<const Kernels* const> all = available_kernels();
    ASSERT_FALSE(all.empty());
    EXPECT_STREQ(all.front()->name, "scalar");
    EXPECT_EQ(all.back(), &kernels());
    std::set<std::string> names;
    for (const Kernels* const each : all) EXPECT_TRUE(names.insert(each->name).second);
}

TEST(Kernels, KeysTurnWithThePhase) {
    const uint8_t key[4] = {1, 2, 3, 4};
    EXPECT_EQ(masking_key_of(key, 0), 0x04030201u);
    EXPECT_EQ(masking_key_of(key, 1), 0x01040302u);
    EXPECT_EQ(masking_key_of(key, 7), 0x03020104u);
    EXPECT_EQ(advanced_masking_key(0x04030201u, 4), 0x04030201u);
    EXPECT_EQ(advanced_masking_key(0x04030201u, 5), 0x01040302u);
}

// Beyond five of the widest vectors, so that the unrolled loops turn more than once.
constexpr size_t length_max = 700;
constexpr size_t alignments_count = 64;
constexpr uint8_t key[4] = {0x5a, 0xc3, 0x0f, 0x81};

// The definition of RFC 6455 §5.3.
void unmask_by_definition(uint8_t* bytes, size_t count, uint32_t phase) {
    for (size_t index = 0; index < count; ++index) {
        bytes[index] = static_cast<uint8_t>(bytes[index] ^ key[(index + phase) % 4]);
    }
}

template <class Unmask>
void compare_with_the_definition(const char* name, Unmask unmask_bytes) {
    base::Prng prng(2);
    std::vector<uint8_t> pattern(alignments_count + length_max + 64);
    for (uint8_t& byte : pattern) byte = static_cast<uint8_t>(prng.below(256));
    struct alignas(64) Aligned {
        uint8_t bytes[alignments_count + length_max + 64];
    };
    const auto expected = std::make_unique<Aligned>();
    const auto actual = std::make_unique<Aligned>();
    for (size_t length = 0; length <= length_max; ++length) {
        for (size_t alignment = 0; alignment < alignments_count; ++alignment) {
            for (uint32_t phase = 0; phase < 4; ++phase) {
                std::memcpy(expected->bytes, pattern.data(), pattern.size());
                std::memcpy(actual->bytes, pattern.data(), pattern.size());
                unmask_by_definition(expected->bytes + alignment, length, phase);
                unmask_bytes(actual->bytes + alignment, length, phase);
                // What stands before and after the bytes is compared too.
                ASSERT_EQ(std::memcmp(expected->bytes, actual->bytes, pattern.size()), 0)
                    << name << " length " << length << " alignment " << alignment << " phase "
                    << phase;
            }
        }
    }
}

TEST(Kernels, EveryKernelAnswersLikeTheDefinition) {
    for (const Kernels* const each : available_kernels()) {
        compare_with_the_definition(each->name, [&](uint8_t* bytes, size_t count, uint32_t phase) {
            each->unmask(bytes, count, masking_key_of(key, phase));
        });
    }
}

TEST(Kernels, TheFunctionForAllLengthsAnswersLikeTheDefinition) {
    compare_with_the_definition("unmask", [](uint8_t* bytes, size_t count, uint32_t phase) {
        unmask({bytes, count}, key, phase);
    });
}

// On a heap block that ends with the bytes, AddressSanitizer sees who reads or writes further.
TEST(Kernels, NoKernelTouchesWhatFollows) {
    for (const Kernels* const each : available_kernels()) {
        for (size_t length = 1; length <= length_max; ++length) {
            const auto bytes = std::make_unique<uint8_t[]>(length);
            each->unmask(bytes.get(), length, masking_key_of(key, 0));
            EXPECT_EQ(bytes[length - 1], key[(length - 1) % 4]);
        }
    }
}

}  // namespace
}  // namespace codec
