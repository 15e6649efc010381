// Goal: what a server answers to the request for TLS is taken for what it is. Method: the machine on an engine and a
// socket pair; the answers are handed to it.
#include "session/server_tls.h"

#include "net/tls_context.h"
#include "session/tls_contexts.h"
#include "unit/net_support.h"

namespace berth::session {
namespace {

// The error of a server that is full or starting passes; a lie or a refusal does not.
TEST(ServerTlsTest, OnlyAnErrorMayPass) {
  net::TlsSettings settings;
  settings.mode = net::TlsMode::kRequire;
  auto wish = std::make_shared<ServerTlsWish>();
  wish->context = net::TlsContext::for_servers(settings).value();
  wish->must = true;
  for (const std::string_view answer : {"ESFATAL", "N", "X", "Ssaid in clear words"}) {
    net::EpollEngine engine;
    const net::Pair sockets = net::unix_pair();
    net::Recorder recorder;
    net::Conn* conn = engine.attach(sockets.ours, &recorder);
    TlsCounts counts;
    ServerTls tls(wish, counts);
    EXPECT_EQ(ServerTls::Next::kWait, tls.start(engine, conn));
    EXPECT_EQ(ServerTls::Next::kFailed, tls.on_bytes(engine, conn, answer));
    EXPECT_EQ(answer[0] == 'E', tls.may_pass()) << answer;
    net::close_and_wait(engine, conn, recorder);
    ::close(sockets.theirs);
  }
}

}  // namespace
}  // namespace berth::session
