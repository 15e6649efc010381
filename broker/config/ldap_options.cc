// See ldap_options.h.
#include "config/ldap_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <vector>

namespace berth::config {

namespace {

bool parse_port(std::string_view text, int& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && out >= 1 && out <= 65535;
}

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// %41 and the like, save control characters.
bool decode(std::string_view text, std::string& out) {
  out.clear();
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return false;
    const int high = digit_of(text[i + 1]), low = digit_of(text[i + 2]);
    if (high < 2 || low < 0) return false;
    out += static_cast<char>(high << 4 | low);
    i += 2;
  }
  return true;
}

std::string_view take_until(std::string_view& rest, char end) {
  const size_t at = std::min(rest.find(end), rest.size());
  const std::string_view part = rest.substr(0, at);
  rest.remove_prefix(std::min(at + 1, rest.size()));
  return part;
}

// host, host:port, [address]:port
std::string take_host(std::string_view text, LdapOptions& out) {
  std::string_view host = text, port;
  const size_t bracket = text.find(']');
  const size_t colon = text.find(':', text.starts_with('[') && bracket != std::string_view::npos ? bracket : 0);
  if (colon != std::string_view::npos) {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    if (!parse_port(port, out.port)) return fmt::format("ldapurl: \"{}\" is not a port", port);
  }
  if (!decode(host, out.server)) return "ldapurl: a bad % in the host";
  return {};
}

// ldap[s]://host[:port]/basedn[?attribute[?scope[?filter]]]
std::string take_url(std::string_view url, LdapOptions& out) {
  const size_t colon = url.find("://");
  const std::string_view scheme = url.substr(0, colon);
  if (colon == std::string_view::npos || (scheme != "ldap" && scheme != "ldaps")) {
    return "ldapurl begins with ldap:// or ldaps://";
  }
  std::string_view rest = url.substr(colon + 3);
  std::string why = take_host(take_until(rest, '/'), out);
  if (!why.empty()) return why;
  out.scheme = scheme;
  const std::string_view base = take_until(rest, '?'), attributes = take_until(rest, '?'),
                         scope = take_until(rest, '?'), filter = take_until(rest, '?');
  if (!rest.empty()) return "ldapurl: extensions are not supported";
  const std::string_view attribute = attributes.substr(0, attributes.find(','));  // only the first one counts
  if (!decode(base, out.base_dn) || !decode(attribute, out.search_attribute) || !decode(filter, out.search_filter)) {
    return "ldapurl: a bad %";
  }
  if (scope == "base" || scope.empty()) {
    out.scope = LdapOptions::Scope::kBase;
  } else if (scope == "one") {
    out.scope = LdapOptions::Scope::kOne;
  } else if (scope == "sub") {
    out.scope = LdapOptions::Scope::kSub;
  } else {
    return fmt::format("ldapurl: \"{}\" is not one of base, one, sub", scope);
  }
  return {};
}

bool is_between(char c) {
  return c == ' ' || c == ',' || (c >= '\t' && c <= '\r');
}

struct Pair {
  std::string name, value;
  size_t value_at = 0, value_end = 0;  // where it stands in the text, quotes included
};

// A value: what stands before the next space or comma; inside double quotes anything, "" is one quote.
std::string split(std::string_view text, std::vector<Pair>& out) {
  size_t at = 0;
  for (;;) {
    while (at < text.size() && is_between(text[at])) ++at;
    if (at == text.size()) return {};
    Pair pair;
    while (at < text.size() && text[at] != '=' && !is_between(text[at])) pair.name += text[at++];
    if (at == text.size() || text[at] != '=') return fmt::format("\"{}\" has no value: name=value", pair.name);
    pair.value_at = ++at;
    bool inside = false;
    for (; at < text.size() && (inside || !is_between(text[at])); ++at) {
      if (text[at] != '"') {
        pair.value += text[at];
      } else if (inside && at + 1 < text.size() && text[at + 1] == '"') {
        pair.value += text[at++];
      } else {
        inside = !inside;
      }
    }
    if (inside) return "a double quote is not closed";
    pair.value_end = at;
    out.push_back(std::move(pair));
  }
}

}  // namespace

std::string take_ldap_option(std::string_view name, std::string_view value, LdapOptions& out) {
  struct Text {
    std::string_view name;
    std::string LdapOptions::*field;
  };
  constexpr Text kTexts[] = {{"ldapserver", &LdapOptions::server},
                             {"ldapprefix", &LdapOptions::prefix},
                             {"ldapsuffix", &LdapOptions::suffix},
                             {"ldapbasedn", &LdapOptions::base_dn},
                             {"ldapbinddn", &LdapOptions::bind_dn},
                             {"ldapbindpasswd", &LdapOptions::bind_password},
                             {"ldapsearchattribute", &LdapOptions::search_attribute},
                             {"ldapsearchfilter", &LdapOptions::search_filter}};
  if (value.find('\0') != std::string_view::npos) return fmt::format("{}: a zero byte", name);
  for (const Text& known : kTexts) {
    if (known.name != name) continue;
    out.*known.field = value;
    out.simple = out.simple || name == "ldapprefix" || name == "ldapsuffix";
    return {};
  }
  if (name == "ldapurl") return take_url(value, out);
  if (name == "ldapport") {
    return parse_port(value, out.port) ? std::string() : fmt::format("ldapport: \"{}\" is not a port", value);
  }
  if (name == "ldaptls") {
    if (value != "0" && value != "1") return fmt::format("ldaptls: \"{}\" is not 0 or 1", value);
    out.tls = value == "1";
    return {};
  }
  if (name == "ldapscheme") {
    if (value != "ldap" && value != "ldaps") return fmt::format("ldapscheme: \"{}\" is not ldap or ldaps", value);
    out.scheme = value;
    return {};
  }
  return fmt::format("\"{}\" is no option of ldap", name);
}

std::string check_ldap_options(const LdapOptions& options) {
  const bool searches = !options.base_dn.empty() || !options.bind_dn.empty() || !options.bind_password.empty() ||
                        !options.search_attribute.empty() || !options.search_filter.empty();
  if (options.simple && searches) {
    return "ldapprefix and ldapsuffix do not go with ldapbasedn, ldapbinddn, ldapbindpasswd, ldapsearchattribute, "
           "ldapsearchfilter or ldapurl";
  }
  if (!options.simple && options.base_dn.empty()) return "ldap needs ldapbasedn, ldapprefix or ldapsuffix";
  if (options.simple && options.server.empty()) return "ldap needs ldapserver";
  if (!options.search_attribute.empty() && !options.search_filter.empty()) {
    return "ldapsearchattribute and ldapsearchfilter do not go together";
  }
  if (options.tls && options.scheme == "ldaps")
    return "ldaptls=1 does not go with ldaps, which is TLS from the start";
  return {};
}

Result<LdapOptions> parse_ldap_options(std::string_view text) {
  std::vector<Pair> pairs;
  std::string why = split(text, pairs);
  if (!why.empty()) return Error{why, {}};
  LdapOptions options;
  for (const Pair& pair : pairs) {
    why = take_ldap_option(pair.name, pair.value, options);
    if (!why.empty()) return Error{why, {}};
  }
  why = check_ldap_options(options);
  if (!why.empty()) return Error{why, {}};
  return options;
}

std::string without_ldap_secrets(std::string_view text) {
  std::vector<Pair> pairs;
  if (!split(text, pairs).empty()) return text.empty() ? std::string() : "(cannot be read)";
  std::string out;
  size_t from = 0;
  for (const Pair& pair : pairs) {
    if (pair.name != "ldapbindpasswd") continue;
    out.append(text.substr(from, pair.value_at - from)).append("***");
    from = pair.value_end;
  }
  return out.append(text.substr(from));
}

}  // namespace berth::config
