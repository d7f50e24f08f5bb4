// SubRun: one `fanfare sub` against a broker made of scripts, and what it printed.
#pragma once

#include <string>
#include <vector>

#include "tests/tools/captured_file.h"
#include "tests/tools/fake_broker.h"
#include "tools/sub.h"

namespace tools_test {

using Lines = std::vector<std::string>;

struct SubRun {
    CapturedFile out;
    CapturedFile status;
    tools::SubOptions options;  // subscribes news/#
    int exit_code = -1;
    Lines commands;

    SubRun();

    void against(FakeBroker::Script script);
    // The connections' frames, one after the other; then the broker wants nobody to come back. The
    // first frame follows the subscribe command, of which `commands` keeps a copy.
    void against(const std::vector<Lines>& connections);
};

}  // namespace tools_test
