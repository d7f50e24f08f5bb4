#include "tools/subscription_state.h"

#include <utility>

namespace tools {

SubscriptionState::SubscriptionState(uint32_t last_count, Cursor cursor)
    : last_count_(cursor.is_none() ? last_count : 0), cursor_(std::move(cursor)) {}

void SubscriptionState::append_start(std::string& command) const {
    if (last_count_ > 0) {
        command += R"(,"start":{"last":)" + std::to_string(last_count_) + "}";
    } else if (!cursor_.is_none()) {
        command += R"(,"start":{"after":)";
        append_cursor(command, cursor_);
        command += "}";
    }
}

void SubscriptionState::note_subscribed(const Cursor& cursor) {
    if (last_count_ > 0) {
        // The joining positions are of no use here: what lies below them is still to come. Of
        // another epoch, what was shown before says nothing about what comes.
        if (cursor_.epoch != cursor.epoch) cursor_ = {.epoch = cursor.epoch, .offsets = {}};
        return;
    }
    is_live_ = cursor_.is_none();
    // Not merged: after a resume that is not exact the old cursor is worth nothing.
    if (!cursor.is_none()) cursor_ = cursor;
}

SubscriptionState::Arrival SubscriptionState::note_message(const codec::Position& position) {
    const bool is_replayed = announced_count_ > 0;
    if (is_replayed) announced_count_ -= 1;
    if (position.is_none() || (!is_replayed && !is_live_))
        return {.is_replayed = is_replayed, .is_new = true};
    const bool is_new = !is_replayed || position.offset > cursor_.offset_of(position.partition);
    cursor_.raise(position);
    return {.is_replayed = is_replayed, .is_new = is_new};
}

void SubscriptionState::note_live(const Cursor& cursor) {
    cursor_.merge(cursor);
    last_count_ = 0;
    is_live_ = true;
    announced_count_ = 0;
}

void SubscriptionState::note_position(const Cursor& cursor) {
    if (is_live_) cursor_.merge(cursor);
}

void SubscriptionState::note_end() {
    is_live_ = false;
    announced_count_ = 0;
}

}  // namespace tools
