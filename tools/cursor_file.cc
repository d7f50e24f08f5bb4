#include "tools/cursor_file.h"

#include <fcntl.h>
#include <simdjson.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "codec/command.h"
#include "codec/reply.h"
#include "io/base/units.h"
#include "tools/clock.h"
#include "tools/cursor_reader.h"
#include "tools/output.h"

namespace tools {
namespace {

std::vector<std::string> sorted_once(std::vector<std::string> names) {
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    return names;
}

void append_names(std::string& out, const std::vector<std::string>& names) {
    for (const std::string& name : names) {
        if (&name != &names.front()) out += ',';
        codec::append_json_string(out, name);
    }
}

std::string failure(std::string_view what) {
    return std::string(what) + ": " + strerror(errno);
}

// Answers what is wrong, else reads the whole file. One that is not there is read as empty.
std::string read_file(const std::string& path, std::string& text) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? "" : failure("cannot read it");
    std::string problem;
    while (true) {
        char piece[16 * base::kib];
        const ssize_t count = ::read(fd, piece, sizeof piece);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) problem = failure("cannot read it");
        if (count <= 0) break;
        text.append(piece, static_cast<size_t>(count));
        if (text.size() > CursorFile::file_bytes_max) {
            problem = "it is larger than 4 MiB, so it is no cursor file";
            break;
        }
    }
    close(fd);
    return problem;
}

// Answers what is wrong. A file that could not be written as a whole is removed again.
std::string write_file(const std::string& path, std::string_view text) {
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return failure("cannot create " + path);
    const bool is_written = write_all(fd, text) && fsync(fd) == 0;
    std::string problem = is_written ? "" : failure("cannot write " + path);
    close(fd);
    if (!is_written) unlink(path.c_str());
    return problem;
}

}  // namespace

CursorFile::CursorFile(std::string path, std::vector<std::string> filters, std::string url)
    : path_(std::move(path)), filters_(sorted_once(std::move(filters))), url_(std::move(url)) {}

std::string CursorFile::load() {
    if (!is_used()) return "";
    std::string text;
    std::string problem = read_file(path_, text);
    if (!problem.empty()) return problem;
    if (text.empty()) return "";
    std::vector<std::string> filters;
    problem = read(text, filters);
    if (!problem.empty()) return "it is damaged, or no cursor file: " + problem;
    filters = sorted_once(std::move(filters));
    if (filters == filters_) return "";
    std::string names;
    append_names(names, filters);
    return "it is of other filters (" + names + "); give these, or another file";
}

// simdjson reads values without looking at what it passes over, so the text is judged first, as
// strictly as the broker judges what it gets.
std::string CursorFile::read(std::string_view text, std::vector<std::string>& filters) {
    const simdjson::padded_string padded(text);
    codec::CommandParser judge(0);
    const char* reason = "";
    if (!judge.validate_json(std::string_view(padded), &reason)) return reason;

    simdjson::ondemand::parser parser;
    simdjson::ondemand::document document;
    simdjson::ondemand::object object;
    if (parser.iterate(padded).get(document) != simdjson::SUCCESS ||
        document.get_object().get(object) != simdjson::SUCCESS) {
        return "it is not a JSON object";
    }
    simdjson::ondemand::value field;
    if (object["cursor"].get(field) != simdjson::SUCCESS) return "it has no cursor";
    if (!read_cursor(field, cursor_)) return "its cursor is not one";
    simdjson::ondemand::array names;
    if (object["filters"].get_array().get(names) != simdjson::SUCCESS) return "it has no filters";
    for (auto entry : names) {
        std::string_view name;
        if (entry.get_string().get(name) != simdjson::SUCCESS) return "a filter is not a string";
        filters.emplace_back(name);
    }
    std::string_view time;
    if (object["time"].get_string().get(time) == simdjson::SUCCESS) time_ = time;
    return "";
}

std::string CursorFile::save(const Cursor& cursor) {
    std::string text = R"({"cursor":)";
    append_cursor(text, cursor);
    text += R"(,"filters":[)";
    append_names(text, filters_);
    text += R"(],"url":)";
    codec::append_json_string(text, url_);
    text += R"(,"time":)";
    codec::append_json_string(text, utc_text(utc_seconds()));
    text += "}\n";

    // Beside the file, since rename(2) stays within a file system; with the process in its name, so
    // that two who share a file by mistake do not write into each other's.
    const std::string unfinished = path_ + "." + std::to_string(getpid()) + ".tmp";
    std::string problem = write_file(unfinished, text);
    if (!problem.empty()) return problem;
    if (rename(unfinished.c_str(), path_.c_str()) == 0) return "";
    std::string rename_problem = failure("cannot replace " + path_);
    unlink(unfinished.c_str());
    return rename_problem;
}

}  // namespace tools
