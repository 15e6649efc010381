// SHOW TLS: certificates and handshakes of both sides. Ours.
#include "admin/show.h"

namespace berth::admin {

namespace {

constexpr ColumnType Q = ColumnType::kInt8;

constexpr Column kTls[] = {{"side"},        {"sslmode"},   {"subject"},         {"issuer"},        {"serial"},
                           {"not_before"},  {"not_after"}, {"seconds_left", Q}, {"cert_file"},     {"key_file"},
                           {"ca_file"},     {"loaded_at"}, {"last_error"},      {"handshakes", Q}, {"resumptions", Q},
                           {"failures", Q}, {"expired", Q}};

void put(Table& table, std::string_view name, const session::TlsSide& side) {
  const std::shared_ptr<const net::TlsContext> context = side.context();
  const net::TlsSettings settings = context ? context->settings() : net::TlsSettings{};
  const net::CertificateFacts facts = context ? context->certificate() : net::CertificateFacts{};
  table.text(name).text(net::to_string(settings.mode)).text(facts.subject).text(facts.issuer).text(facts.serial);
  if (facts.present) {
    table.instant(facts.not_before * kSecond).instant(facts.not_after * kSecond);
    table.number(facts.not_after - wall_now() / kSecond);
  } else {
    table.null().null().null();
  }
  table.text(settings.cert_file).text(settings.key_file).text(settings.ca_file);
  context ? table.instant(context->loaded_at() * kSecond) : table.null();
  table.text(side.last_error());
  for (const std::atomic<uint64_t>* count :
       {&side.counts.handshakes, &side.counts.resumptions, &side.counts.failures, &side.counts.expired}) {
    table.number(static_cast<int64_t>(count->load(std::memory_order_relaxed)));
  }
  table.end_row();
}

class ShowTls final : public Show {
 public:
  void finish(session::Context& context, Table& table) override {
    put(table, "clients", context.globals.tls.clients);
    put(table, "servers", context.globals.tls.servers);
  }
};

}  // namespace

std::shared_ptr<Show> make_show_tls() {
  return std::make_shared<ShowTls>();
}

std::span<const Column> columns_of_tls() {
  return kTls;
}

}  // namespace berth::admin
