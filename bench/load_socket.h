// LoadSocket: one WebSocket of a load program: as light as a client can be, so that the broker and
// not the load is what is measured. And the few tools that load programs share.
//
// It answers pings by itself. Owner and thread: whoever connects it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace load {

// Ends the program with a message.
[[noreturn]] [[gnu::format(printf, 1, 2)]] void fail(const char* format, ...);

uint64_t now_ns();
// What all threads of the process have run.
uint64_t process_cpu_ns(int pid);
// What stands in /proc/PID/status, in bytes.
uint64_t resident_bytes(int pid);
// As many descriptors as this process may have.
void raise_descriptor_limit();

// The text behind `name` up to a quote, comma or bracket; empty when it is not there.
std::string_view member(std::string_view json, std::string_view name);
// Ends the program unless the text is one number.
uint64_t number(std::string_view text);

// A client's text frame. A mask of zeros is a mask, and leaves the payload as it is.
std::string text_frame(std::string_view text);

struct LoadSocket {
    enum class State : uint8_t { connecting, upgrading, open };

    int fd = -1;
    State state = State::connecting;
    std::string partial;  // of a frame that has not come whole

    // Starts connecting. Ends the program when that fails. `window_bytes` bounds what the kernel
    // takes for a client that does not read; 0: as the kernel likes.
    void connect(const char* address, uint16_t port, int window_bytes = 0);
    // After the socket became writable: asks for the upgrade. False: the connection was refused.
    bool connected();
    // Sends all of it, waiting for the broker to read if need be.
    void send(std::string_view bytes) const;
    void close();

    // Reads once, and calls on_text(json) for each whole text frame, on_close(code) for a Close
    // frame. False: the peer ended the connection, or answered the upgrade with a refusal.
    template <class OnText, class OnClose>
    bool receive(OnText on_text, OnClose on_close) {
        std::string_view bytes;
        if (!read_more(bytes)) return false;
        size_t at = 0;
        if (state == State::upgrading && !take_response(bytes, at)) return false;
        while (state == State::open) {
            Frame frame;
            if (!next_frame(bytes, at, frame)) break;
            if (frame.opcode == 1) on_text(frame.payload);
            if (frame.opcode == 9) send_pong(frame.payload);
            if (frame.opcode == 8) on_close(close_code_of(frame.payload));
        }
        partial = bytes.substr(at);
        return true;
    }

  private:
    struct Frame {
        uint8_t opcode;
        std::string_view payload;
    };

    void send_pong(std::string_view payload) const;
    // What is left from before and what has come; it lives until the next call of any socket of
    // this thread.
    bool read_more(std::string_view& bytes);
    bool take_response(std::string_view bytes, size_t& at);
    static bool next_frame(std::string_view bytes, size_t& at, Frame& frame);
    static uint16_t close_code_of(std::string_view payload);
};

}  // namespace load
