#include "topics/link_array.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "io/base/prng.h"

namespace topics {
namespace {

struct Link {
    uint32_t other;
    uint32_t back;
};

void expect_equal(const std::vector<Link>& model, const LinkArray& links) {
    ASSERT_EQ(model.size(), links.count());
    ASSERT_EQ(model.size(), links.others().size());
    for (uint32_t index = 0; index < links.count(); ++index) {
        ASSERT_EQ(model[index].other, links.other(index));
        ASSERT_EQ(model[index].other, links.others()[index]);
        ASSERT_EQ(model[index].back, links.back(index));
    }
}

TEST(LinkArray, behaves_like_a_vector_with_swap_remove) {
    base::Prng prng(1);
    LinkArray links;
    std::vector<Link> model;
    uint32_t next_other = 0;
    // Waves: it must grow through many blocks and come back through all of them.
    for (uint32_t step = 0; step < 20'000; ++step) {
        const bool is_rising = (step / 2'000) % 2 == 0;
        if (model.empty() || prng.chance({is_rising ? 4u : 1u, 5})) {
            const Link link{next_other++, static_cast<uint32_t>(prng.next())};
            links.append(link.other, link.back);
            model.push_back(link);
        } else {
            const uint32_t index = static_cast<uint32_t>(prng.below(model.size()));
            links.remove(index);
            model[index] = model.back();
            model.pop_back();
        }
        if (!model.empty()) {
            const uint32_t index = static_cast<uint32_t>(prng.below(model.size()));
            model[index].back = step;
            links.set_back(index, step);
        }
        if (step % 64 == 0) expect_equal(model, links);
    }
    while (!model.empty()) {
        links.remove(0);
        model[0] = model.back();
        model.pop_back();
        expect_equal(model, links);
    }
    EXPECT_EQ(0u, links.block_bytes());
}

TEST(LinkArray, finds_each_entry_at_every_size) {
    LinkArray links;
    EXPECT_EQ(LinkArray::none, links.find(0));
    for (uint32_t count = 1; count <= 200; ++count) {
        links.append(count * 3, 0);
        for (uint32_t index = 0; index < count; ++index) {
            ASSERT_EQ(index, links.find((index + 1) * 3)) << count;
        }
        ASSERT_EQ(LinkArray::none, links.find(1)) << count;
        ASSERT_EQ(LinkArray::none, links.find((count + 1) * 3)) << count;
    }
}

TEST(LinkArray, one_entry_needs_no_block_and_many_give_theirs_back) {
    LinkArray links;
    links.append(7, 8);
    EXPECT_EQ(0u, links.block_bytes());
    links.append(9, 10);
    EXPECT_EQ(24u, links.block_bytes());  // three pairs
    for (uint32_t other = 0; other < 1'000; ++other) links.append(100 + other, 0);
    const uint64_t full_bytes = links.block_bytes();
    EXPECT_GE(full_bytes, 8u * 1'002);
    while (links.count() > 100) links.remove(links.count() - 1);
    EXPECT_LE(links.block_bytes(), full_bytes / 4);
    links.clear();
    EXPECT_EQ(0u, links.block_bytes());
    EXPECT_EQ(0u, links.count());
}

}  // namespace
}  // namespace topics
