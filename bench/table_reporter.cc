#include "bench/table_reporter.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bench {
namespace {

constexpr int name_width = 36;
constexpr int column_width = 12;

using Cells = std::vector<std::pair<std::string, double>>;

class TableReporter : public benchmark::BenchmarkReporter {
  public:
    explicit TableReporter(std::span<const Table> tables) : tables_(tables) {}

    bool has_failed() const { return has_failed_; }

    bool ReportContext(const Context&) override { return true; }

    void ReportRuns(const std::vector<Run>& runs) override {
        for (const Run& run : runs) print(run);
        std::fflush(stdout);
    }

  private:
    static std::string name_of(const Run& run) {
        const benchmark::BenchmarkName& name = run.run_name;
        std::string text = name.function_name;
        if (!name.args.empty()) text += "/" + name.args;
        if (!run.aggregate_name.empty()) text += " " + run.aggregate_name;
        return text;
    }

    static Cells cells_of(const Run& run) {
        Cells cells;
        const auto counter = [&](const char* name) {
            const auto found = run.counters.find(name);
            return found == run.counters.end() ? 0.0 : found->second.value;
        };
        constexpr double nanoseconds = 1e9;
        const double items = counter("items_per_second");
        if (counter("ns") > 0) {
            cells.emplace_back("ns", counter("ns"));
        } else if (items > 0) {
            cells.emplace_back("ns", nanoseconds / items);
        } else {
            const double seconds = run.cpu_accumulated_time / static_cast<double>(run.iterations);
            cells.emplace_back("ns", seconds * nanoseconds);
        }
        const double bytes = counter("bytes_per_second");
        if (bytes > 0) cells.emplace_back("GB/s", bytes * 1e-9);
        if (items > 0) cells.emplace_back("million/s", items * 1e-6);
        for (const auto& [name, value] : run.counters) {
            if (name == "ns" || name.ends_with("_per_second")) continue;
            cells.emplace_back(name, value.value);
        }
        return cells;
    }

    const Table* table_of(std::string_view name) const {
        const std::string_view prefix = name.substr(0, name.find_first_of("/ "));
        const auto found = std::find_if(tables_.begin(), tables_.end(),
                                        [&](const Table& table) { return prefix == table.prefix; });
        return found == tables_.end() ? nullptr : &*found;
    }

    void print_head(const std::string& name, const Cells& cells) {
        const Table* const table = table_of(name);
        std::vector<std::string> columns;
        for (const auto& [column, value] : cells) columns.push_back(column);
        const bool is_new_table = table != table_ || columns_.empty();
        if (is_new_table) std::printf("\n%s\n", table == nullptr ? "Others" : table->heading);
        if (!is_new_table && columns == columns_) return;
        table_ = table;
        columns_ = columns;
        std::printf("  %-*s", name_width, "");
        for (const std::string& column : columns_) {
            std::printf("%*s", column_width, column.c_str());
        }
        std::printf("\n");
    }

    void print(const Run& run) {
        const std::string name = name_of(run);
        if (run.error_occurred) {
            std::printf("  %-*s failed: %s\n", name_width, name.c_str(), run.error_message.c_str());
            has_failed_ = true;
            return;
        }
        const Cells cells = cells_of(run);
        print_head(name, cells);
        std::printf("  %-*s", name_width, name.c_str());
        for (const auto& [column, value] : cells) {
            const int decimals = value < 1 ? 3 : value < 10 ? 2 : value < 1'000 ? 1 : 0;
            std::printf("%*.*f", column_width, decimals, value);
        }
        std::printf("\n");
    }

    const std::span<const Table> tables_;
    const Table* table_ = nullptr;
    std::vector<std::string> columns_;  // of the head that was printed last
    bool has_failed_ = false;
};

}  // namespace

int run_benchmarks(int argc, char** argv, std::span<const Table> tables, void (*register_all)()) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    register_all();
    TableReporter reporter(tables);
    benchmark::RunSpecifiedBenchmarks(&reporter);
    benchmark::Shutdown();
    return reporter.has_failed() ? 1 : 0;
}

}  // namespace bench
