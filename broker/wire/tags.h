// Message type bytes of the frontend/backend protocol, in the manual's words (PostgreSQL manual, 55.7 Message
// Formats).
#pragma once

#include <cstdint>

namespace berth::wire {

// Frontend: sent by clients.
inline constexpr char kQuery = 'Q';
inline constexpr char kParse = 'P';
inline constexpr char kBind = 'B';
inline constexpr char kDescribe = 'D';
inline constexpr char kExecute = 'E';
inline constexpr char kClose = 'C';
inline constexpr char kFlush = 'H';
inline constexpr char kSync = 'S';
inline constexpr char kFunctionCall = 'F';
inline constexpr char kCopyData = 'd';  // both directions
inline constexpr char kCopyDone = 'c';  // both directions
inline constexpr char kCopyFail = 'f';
inline constexpr char kTerminate = 'X';
inline constexpr char kPassword = 'p';  // PasswordMessage, SASLInitialResponse, SASLResponse

// Backend: sent by PostgreSQL.
inline constexpr char kAuthentication = 'R';
inline constexpr char kBackendKeyData = 'K';
inline constexpr char kParameterStatus = 'S';
inline constexpr char kReadyForQuery = 'Z';
inline constexpr char kErrorResponse = 'E';
inline constexpr char kNoticeResponse = 'N';
inline constexpr char kNotificationResponse = 'A';
inline constexpr char kRowDescription = 'T';
inline constexpr char kParameterDescription = 't';
inline constexpr char kDataRow = 'D';
inline constexpr char kCommandComplete = 'C';
inline constexpr char kEmptyQueryResponse = 'I';
inline constexpr char kPortalSuspended = 's';
inline constexpr char kNoData = 'n';
inline constexpr char kParseComplete = '1';
inline constexpr char kBindComplete = '2';
inline constexpr char kCloseComplete = '3';
inline constexpr char kFunctionCallResponse = 'V';
inline constexpr char kCopyInResponse = 'G';
inline constexpr char kCopyOutResponse = 'H';
inline constexpr char kCopyBothResponse = 'W';
inline constexpr char kNegotiateProtocolVersion = 'v';

// Codes that stand in place of a protocol version in a startup packet.
inline constexpr uint32_t kCancelRequestCode = 80877102;
inline constexpr uint32_t kSslRequestCode = 80877103;
inline constexpr uint32_t kGssEncRequestCode = 80877104;
inline constexpr uint32_t kProtocol30 = 3u << 16;
inline constexpr uint32_t kProtocol32 = (3u << 16) | 2;

// Limits of the protocol's small messages, PostgreSQL's own where it has them.
inline constexpr uint32_t kHeaderSize = 5;           // type byte and length
inline constexpr uint32_t kStartupSizeMax = 10004;   // MAX_STARTUP_PACKET_LENGTH and the length itself
inline constexpr uint32_t kPasswordSizeMax = 65535;  // as PgBouncer
inline constexpr uint32_t kCancelKeySizeMin = 4;     // 3.0
inline constexpr uint32_t kCancelKeySizeMax = 256;   // 3.2
inline constexpr uint32_t kNameSizeMax = 64 * 1024;  // a statement's or portal's name in a Bind, Describe or Close

}  // namespace berth::wire
