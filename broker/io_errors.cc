#include "broker/io_errors.h"

#include <cerrno>

namespace broker {

ReceiveEnd receive_end_of(int32_t result) {
    switch (-result) {
        case 0: return ReceiveEnd::stream_end;
        case ECANCELED: return ReceiveEnd::stopped;
        // recv(2) does not know it; io_uring says so of a group of buffers that is empty.
        case ENOBUFS: return ReceiveEnd::no_buffer;
        // No memory for the request, or none to wait for the socket with.
        case ENOMEM:
        case EAGAIN:
        // A signal for the worker thread that the kernel gave the request to.
        case EINTR: return ReceiveEnd::no_memory;
        // The peer reset it, or was reset; it does not answer any more, and the kernel gave up
        // (TCP_USER_TIMEOUT, keep-alive).
        case ECONNRESET:
        case ECONNABORTED:
        case EPIPE:
        case ENOTCONN:
        case ETIMEDOUT:
        // What ICMP and the local network have to say about the way to the peer.
        case ECONNREFUSED:
        case ENETDOWN:
        case ENETUNREACH:
        case ENETRESET:
        case EHOSTDOWN:
        case EHOSTUNREACH:
        case ENONET:
        case ENOPROTOOPT:
        case EPROTO:
        case EOPNOTSUPP:
        case EMSGSIZE:
        case EACCES:
        case EPERM: return ReceiveEnd::broken;
    }
    // Unknown: one connection less is better than a receive that is armed for ever.
    return ReceiveEnd::broken;
}

SendFailure send_failure_of(int32_t result) {
    switch (-result) {
        // No memory for the request, the segment, or to wait for the socket with.
        case ENOMEM:
        case EAGAIN:
        // The queue of the network interface was full.
        case ENOBUFS:
        // A signal for the worker thread that the kernel gave the request to.
        case EINTR: return SendFailure::no_memory;
        // The peer reset it; we shut writing down; it does not answer any more.
        case EPIPE:
        case ECONNRESET:
        case ECONNABORTED:
        case ENOTCONN:
        case ETIMEDOUT:
        // What ICMP, a firewall and the local network have to say about the way to the peer.
        case ECONNREFUSED:
        case ENETDOWN:
        case ENETUNREACH:
        case ENETRESET:
        case EHOSTDOWN:
        case EHOSTUNREACH:
        case ENONET:
        case ENOPROTOOPT:
        case EPROTO:
        case EOPNOTSUPP:
        case EMSGSIZE:
        case EACCES:
        case EPERM: return SendFailure::broken;
    }
    // Unknown: one connection less is better than a send that is tried for ever.
    return SendFailure::broken;
}

}  // namespace broker
