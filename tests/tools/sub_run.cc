#include "tests/tools/sub_run.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <utility>

#include "io/base/units.h"
#include "tools/exit_code.h"

namespace tools_test {

SubRun::SubRun() {
    options.filters = {"news/#"};
    options.out_fd = out.fd();
    options.status_fd = status.fd();
    options.seed = 1;
    // A test that would wait for ever fails instead.
    options.timeout_ns = 20 * base::ns_per_s;
}

void SubRun::against(FakeBroker::Script script) {
    const FakeBroker broker(std::move(script));
    options.url = broker.url();
    exit_code = tools::run_sub(options);
}

void SubRun::against(const std::vector<Lines>& connections) {
    against([&](FakeConnection& connection, int number) {
        connection.welcome();
        commands.push_back(connection.read_text());
        for (const std::string& frame : connections[static_cast<size_t>(number)]) {
            connection.send_text(frame);
        }
        if (static_cast<size_t>(number) + 1 < connections.size()) return;
        connection.send_close(4000);
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(exit_code, tools::exit_refused);
    EXPECT_EQ(commands.size(), connections.size());
}

}  // namespace tools_test
