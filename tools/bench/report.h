// What a run of `fanfare bench` found, for people on a terminal, for programs, and for people who
// were not there. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tools/bench/result.h"

namespace bench {

// "312 µs", "1.24 ms", "2.50 s".
std::string duration_text(uint64_t ns);
// Whether so many samples have one beyond the quantile: else it would be but the largest of them.
bool has_tail(const Histogram& histogram, double quantile);
// Whether there were so many connections that what the first ones cost once for all, pages and
// code that nobody had touched, no longer shows in the cost of each.
bool has_many_connections(const Result& result);
// "1,234,567".
std::string grouped(uint64_t value);
// "12.3 MiB".
std::string bytes_text(double bytes);
// What runs, in one line.
std::string headline(const Result& result);
// While it runs.
std::string progress_line(const Result& result, const Moment& before, const Moment& now);

std::string text_report(const Result& result);
// One JSON object, with a newline.
std::string json_report(const Result& result);
// One page without anything from elsewhere.
std::string html_report(const Result& result);

// The text as it stands between the tags of HTML, or in an attribute in quotes.
std::string html_escaped(std::string_view text);

}  // namespace bench
