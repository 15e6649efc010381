// See tls_contexts.h.
#include "session/tls_contexts.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"

namespace berth::session {

namespace {

constexpr int64_t kDaySeconds = 24 * 3600;

using ContextPtr = std::shared_ptr<const net::TlsContext>;
using Make = Result<ContextPtr> (*)(const net::TlsSettings&);

// Rules have refused every other word; a mode that is not known must not mean less than it says.
net::TlsMode mode_of(const std::string& text) {
  const Result<net::TlsMode> mode = net::parse_tls_mode(text);
  return mode ? mode.value() : net::TlsMode::kVerifyFull;
}

bool files_changed(const net::TlsContext& context) {
  const auto changed = [](const net::FileStamp& stamp) { return net::stamp_of(stamp.path) != stamp; };
  return std::any_of(context.files().begin(), context.files().end(), changed);
}

// Whether servers that were opened under `before` are as good as those opened under `after`. Another client
// certificate makes no difference to them: it was good when they logged in.
bool same_for_servers(const ContextPtr& before, const ContextPtr& after) {
  if (!before || !after) return before == after;
  return before->settings() == after->settings() && before->roots_digest() == after->roots_digest();
}

// Where the file sets what an error of a context begins with.
Error placed(const config::Config& config, const std::string& text) {
  const config::Remark at = config.where(text.substr(0, text.find(':')));
  const std::string place = at.line > 0 ? fmt::format("{}:{}", at.file, at.line) : at.file;
  return Error{place.empty() ? text : fmt::format("{}: {}", place, text), {}};
}

Result<ContextPtr> prepare_side(const TlsSide& side, const net::TlsSettings& settings, const config::Config& config,
                                TlsFiles files, Make make) {
  if (settings.mode == net::TlsMode::kDisable) return ContextPtr();
  const ContextPtr current = side.context();
  if (current && current->settings() == settings && (files == TlsFiles::kKeep || !files_changed(*current))) {
    return current;
  }
  Result<ContextPtr> made = make(settings);
  if (!made) return placed(config, made.error().text);
  return made;
}

std::string days_text(int64_t seconds) {
  const int64_t days = seconds / kDaySeconds;
  if (days == 0) return "less than a day";
  return fmt::format("{} day{}", days, days == 1 ? "" : "s");
}

// Empty: there is nothing to say yet.
std::string expiry_text(const net::TlsTerm& term, int64_t now) {
  const int64_t left = term.until - now;
  if (term.is_list) {
    if (left >= 0) return {};
    return fmt::format("{} is overdue for {}: no certificate of its authority is taken until there is a new one",
                       term.what, days_text(-left));
  }
  if (left >= kExpiryWarningDays * kDaySeconds) return {};
  if (left < 0) return fmt::format("{} expired {} ago", term.what, days_text(-left));
  return fmt::format("{} expires in {}", term.what, days_text(left));
}

}  // namespace

std::vector<std::string> expiry_warnings(const net::TlsContext& context, int64_t now) {
  std::vector<std::string> out;
  size_t more = 0;
  for (const net::TlsTerm& term : context.terms()) {
    std::string text = expiry_text(term, now);
    if (text.empty()) continue;
    if (out.size() < kExpiryWarningsMax) {
      out.push_back(std::move(text));
    } else {
      ++more;
    }
  }
  if (more > 0) out.push_back(fmt::format("{} more certificates have expired, or will soon", more));
  return out;
}

net::TlsSettings client_tls_settings(const config::Config& config) {
  const config::Options& options = config.options;
  net::TlsSettings out;
  out.mode = mode_of(options.client_tls_sslmode);
  out.ca_file = options.client_tls_ca_file;
  out.cert_file = options.client_tls_cert_file;
  out.key_file = options.client_tls_key_file;
  out.protocols = options.client_tls_protocols;
  out.ciphers = options.client_tls_ciphers;
  out.tls13_ciphers = options.client_tls13_ciphers;
  out.ecdhcurve = options.client_tls_ecdhcurve;
  out.dheparams = options.client_tls_dheparams;
  return out;
}

net::TlsSettings server_tls_settings(const config::Config& config) {
  const config::Options& options = config.options;
  net::TlsSettings out;
  out.mode = mode_of(options.server_tls_sslmode);
  out.ca_file = options.server_tls_ca_file;
  out.cert_file = options.server_tls_cert_file;
  out.key_file = options.server_tls_key_file;
  out.protocols = options.server_tls_protocols;
  out.ciphers = options.server_tls_ciphers;
  out.tls13_ciphers = options.server_tls13_ciphers;
  return out;
}

std::shared_ptr<const net::TlsContext> TlsSide::context() const {
  const std::lock_guard<std::mutex> guard(mutex_);
  return context_;
}

std::string TlsSide::last_error() const {
  const std::lock_guard<std::mutex> guard(mutex_);
  return last_error_;
}

Result<TlsContexts::Next> TlsContexts::prepare(const config::Config& config, TlsFiles files) const {
  Result<ContextPtr> for_clients =
      prepare_side(clients, client_tls_settings(config), config, files, net::TlsContext::for_clients);
  if (!for_clients) return for_clients.error();
  Result<ContextPtr> for_servers =
      prepare_side(servers, server_tls_settings(config), config, files, net::TlsContext::for_servers);
  if (!for_servers) return for_servers.error();
  return Next{std::move(for_clients.value()), std::move(for_servers.value())};
}

void TlsContexts::put(Next next) {
  const bool changed = !same_for_servers(servers.context(), next.servers);
  put_side(clients, std::move(next.clients));
  put_side(servers, std::move(next.servers));
  // Last: a server that is opened after this was seen must have the new context.
  if (changed) servers_changed.fetch_add(1, std::memory_order_release);
}

void TlsContexts::put_side(TlsSide& side, ContextPtr next) {
  if (next == side.context()) return;  // nor have files that cannot be taken become any better
  if (next) {
    for (const std::string& warning : next->warnings()) LOG_WARNING("{}", warning);
    side.warned_of_expiry_at_ = -1;
  }
  const std::lock_guard<std::mutex> guard(side.mutex_);
  side.context_ = std::move(next);
  side.last_error_.clear();
}

bool TlsContexts::refresh(const config::Config& config) {
  const uint32_t before = servers_changed.load(std::memory_order_relaxed);
  struct One {
    TlsSide& side;
    Make make;
    std::string_view peers;
  };
  for (const One& one : {One{clients, net::TlsContext::for_clients, "clients"},
                         One{servers, net::TlsContext::for_servers, "servers"}}) {
    const ContextPtr current = one.side.context();
    if (!current) continue;
    if (!files_changed(*current)) {
      const std::lock_guard<std::mutex> guard(one.side.mutex_);
      one.side.last_error_.clear();
      continue;
    }
    Result<ContextPtr> made = one.make(current->settings());
    if (!made) {
      const std::string error = placed(config, made.error().text).text;
      if (error == one.side.last_error()) continue;  // only this thread writes it
      LOG_WARNING("the TLS files for {} have changed and cannot be used, those that were read before stay: {}",
                  one.peers, error);
      const std::lock_guard<std::mutex> guard(one.side.mutex_);
      one.side.last_error_ = error;
      continue;
    }
    LOG_INFO("the TLS files for {} have changed and were read again", one.peers);
    const bool changed = &one.side == &servers && !same_for_servers(current, made.value());
    put_side(one.side, std::move(made.value()));
    if (changed) servers_changed.fetch_add(1, std::memory_order_release);  // last, as in put()
  }
  return servers_changed.load(std::memory_order_relaxed) != before;
}

void TlsContexts::warn_of_expiry(Micros now, int64_t today) {
  for (TlsSide* side : {&clients, &servers}) {
    const ContextPtr current = side->context();
    if (!current) continue;
    const std::vector<std::string> texts = expiry_warnings(*current, today);
    const bool lately = side->warned_of_expiry_at_ >= 0 && now - side->warned_of_expiry_at_ < kDaySeconds * kSecond;
    if (texts.empty() || (lately && texts.size() <= side->expiry_warnings_)) continue;
    side->warned_of_expiry_at_ = now;
    side->expiry_warnings_ = texts.size();
    for (const std::string& text : texts) LOG_WARNING("{}", text);
  }
}

}  // namespace berth::session
