// The reading half of History: pages of messages, and what is known of losses.
#pragma once

#include "topics/history.h"

namespace topics {

class HistoryStore;

// As History::read().
void read_page(HistoryStore& store, const History::Query& query, uint64_t lost_above,
               History::Page& page);

}  // namespace topics
