// Every bound of the session layer, with its name.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace berth::session {

inline constexpr size_t kRequestsMax = 16384;  // requests in flight on one server; then its client is not read
inline constexpr uint64_t kReplyAssembleMax = 1 << 20;  // an error, notice or command tag beyond this passes unread
inline constexpr uint64_t kServerMessageMax = uint64_t{1} << 31;  // a length of PostgreSQL is a positive int32
inline constexpr uint64_t kServerLoginMax = 64 * 1024;            // one message of a server before it is ready
inline constexpr uint64_t kTargetMax = 64 * 1024;                 // a Describe or Close
inline constexpr uint64_t kConsoleQueryMax = 64 * 1024;           // one message of a console client
inline constexpr Micros kDrainTime =
    10 * kSecond;  // a server that a client left in the middle gets clean, or is closed
inline constexpr Micros kCheckTime = 10 * kSecond;   // answer to a health check
inline constexpr Micros kCancelTime = 10 * kSecond;  // a cancel request's own connection
inline constexpr int kCancelsPerServer = 4;          // cancel requests under way for one server; more are dropped
inline constexpr int kCancelsPerWorker = 256;        // and for one worker
inline constexpr Micros kJanitorEvery = 100 * kMillisecond;
inline constexpr int kRoomScanMax = 1024;  // clients that are looked at for the one that makes room for a newcomer
inline constexpr int kRoomTries =
    16;  // others may take the place that was made: so often, then the newcomer is refused
inline constexpr Micros kRoomAge = 1 * kSecond;  // younger ones make no room if another worker may have older ones
inline constexpr Micros kRefusalsToldEvery = 10 * kSecond;
inline constexpr size_t kNameMax = 63;       // NAMEDATALEN - 1: user and database names
inline constexpr size_t kSpans = 32;         // pieces that one write gathers
inline constexpr size_t kArena = 16 * 1024;  // rewritten heads of one write
inline constexpr size_t kBindNameMax =
    kArena / 2 - 256;  // the portal's and the statement's name of a Bind: both must fit
inline constexpr size_t kGatherMax =
    4096;  // pieces of this total are copied together: send() is cheaper than sendmsg()
inline constexpr size_t kClientStatementsMax = 65536;  // named statements of one client
// That a server may have beyond max_prepared_statements, of a batch whose settings are not known yet.
inline constexpr int64_t kOpenStatementsMax = 1024;
inline constexpr size_t kBoundMax = 16;  // portals at once of one client whose Execute acts on statements or settings
inline constexpr size_t kIdleClientMax = 512;  // bytes of a client with its engine record

}  // namespace berth::session
