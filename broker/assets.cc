#include "broker/assets.h"

#include <string>

namespace broker {
namespace {

constexpr std::string_view html = "text/html; charset=utf-8";

constexpr Asset assets[] = {
    // Any page may import it as a module: the code is no secret, and the Origin was checked before.
    {"/fanfare.js", "text/javascript; charset=utf-8", "Access-Control-Allow-Origin: *\r\n", false,
     browser_client},
    {"/examples/chat.html", html, "", true, example_chat},
    {"/examples/dashboard.html", html, "", true, example_dashboard},
    {"/examples/raw.html", html, "", true, example_raw},
};

}  // namespace

const Asset* find_asset(std::string_view path) {
    for (const Asset& asset : assets) {
        if (asset.path == path) return &asset;
    }
    return nullptr;
}

bool is_known_to_client(const codec::HttpRequest& request, std::string_view etag) {
    constexpr std::string_view name = "If-None-Match";
    // A proxy that compresses calls the tag weak; it is compared weakly anyway.
    return request.has_token(name, "*") || request.has_token(name, etag) ||
           request.has_token(name, std::string("W/").append(etag));
}

}  // namespace broker
