// HTTP requests as text, and what stands in responses. For tests.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace broker::testing {

inline std::string get(std::string_view path, std::string_view extra_fields = {}) {
    return "GET " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n" +
           std::string(extra_fields) + "\r\n";
}

inline std::string post(std::string_view path, std::string_view type, std::string_view body,
                        std::string_view extra_fields = {}) {
    std::string request = "POST " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n";
    if (!type.empty()) request.append("Content-Type: ").append(type).append("\r\n");
    request.append("Content-Length: ").append(std::to_string(body.size())).append("\r\n");
    return request.append(extra_fields).append("\r\n").append(body);
}

inline uint16_t status_of(const std::string& response) {
    if (!response.starts_with("HTTP/1.1 ")) return 0;
    return static_cast<uint16_t>(std::stoi(response.substr(9, 3)));
}

inline std::string body_of(const std::string& response) {
    return response.substr(response.find("\r\n\r\n") + 4);
}

inline bool closes(const std::string& response) {
    return response.find("Connection: close\r\n") != std::string::npos;
}

}  // namespace broker::testing
