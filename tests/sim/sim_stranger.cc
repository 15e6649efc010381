#include "sim/sim_stranger.h"

#include "sim/world.h"
#include "wire/backend.h"
#include "wire/encode.h"

namespace berth::sim {

std::string SimStranger::startup(std::string_view user, std::string_view database, std::string_view name,
                                 std::string_view value) const {
  std::string body, out;
  for (const auto& [key, text] :
       {std::pair<std::string_view, std::string_view>{"user", user}, {"database", database}, {name, value}}) {
    if (text.empty()) continue;
    wire::put_cstring(body, key);
    wire::put_cstring(body, text);
  }
  body += '\0';
  wire::put32(out, static_cast<uint32_t>(body.size() + 8));
  wire::put32(out, wire::kProtocol30);
  return out + body;
}

void SimStranger::start(LinkPtr link) {
  link_ = std::move(link);
  static const std::string kSsl("\0\0\0\x08\x04\xd2\x16\x2f", 8), kGss("\0\0\0\x08\x04\xd2\x16\x30", 8);
  kind_ = random_.below(kKinds);
  switch (kind_) {
    case 0: out_ = kSsl + kSsl; break;
    case 1: out_ = kGss + kSsl + kGss; break;
    case 2: out_ = std::string("\0\0\0\x03", 4); break;
    case 3: out_ = startup("", "d0"); break;
    case 4: out_ = startup(std::string(70, 'u'), "d0"); break;
    case 5:
      out_ = chance(50) ? startup("u0", "d0", "options", "--nonsense") : startup("u0", "d0", "replication", "true");
      break;
    case 6: out_ = startup("nobody", "d0"); break;
    case 7: out_ = startup("u0", "nowhere"); break;
    case 8: out_ = startup("u0", "pgbouncer"); break;
    case 9:  // half a packet, and no more of it
      out_ = startup("u0", "d0").substr(0, 9);
      leaves_ = chance(70);
      break;
    case 10: leaves_ = chance(70); break;  // silent
    case 11:
      out_ = startup("u0", "d0", "DateStyle", "bad") + std::string(
                                                           "Q\0\0\0\xd"
                                                           "select 1\0",
                                                           14);
      break;
    case 12: {
      const bool console = chance(30);
      out_ = console ? startup("admin", "pgbouncer") : startup("u0", "d0");
      if (!console && chance(50))
        wire::put_parse(out_, "", "select 1", std::string_view("\0\0", 2));  // with a server, then
      out_ += std::string("!\0\0\0\4", 5);
      break;
    }
    case 13:  // a length that cannot be, or one that is far too large
      out_ = startup("u0", "d0") + (chance(50) ? std::string("Q\0\0\0\1", 5) : std::string("P\x10\0\0\0", 5));
      break;
    case 14: out_ = startup("u0", "d0", "_pq_.new", "1") + std::string("X\0\0\0\4", 5); break;
    case kGuesser: out_ = startup("u0", "d0") + std::string("p\0\0\0\x0awrong\0", 11); break;
    default:  // it knows its name and waits for what is said, then goes
      out_ = startup("u0", "d0");
      leaves_ = true;
      break;
  }
}

void SimStranger::start_raw(LinkPtr link, bool logs_in, std::string bytes) {
  link_ = std::move(link);
  kind_ = kRaw;
  logs_in_ = logs_in;
  if (!logs_in) return say(bytes);
  out_ = startup(kRawUser, "d0");
  if (world_.asks()) {
    wire::Message answer(out_, wire::kPassword);
    wire::put_cstring(out_, world_.password_of(kRawUser));
  }
  say(bytes);
}

void SimStranger::say(std::string_view bytes) {
  out_ += bytes;
  said_ += bytes;
}

void SimStranger::say_own_query() {
  std::string query;
  wire::put_query(query, fmt::format("select stranger_{}_{}", link_->descriptor, ++queries_));
  say(query);
}

void SimStranger::step() {
  if (!link_ || gone_) return;
  const size_t under_way = link_->to_broker.bytes.size();
  const size_t room = link_->window > under_way ? link_->window - under_way : 0;
  size_t part = std::min(out_.size(), room);
  if (part > 1 && chance(60)) part = 1 + random_.below(part);
  link_->to_broker.bytes.append(out_, 0, part);
  out_.erase(0, part);
  if (chance(50)) {
    in_ += link_->to_peer.bytes;
    link_->to_peer.bytes.clear();
  }
  if (link_->to_peer.fin && link_->to_peer.bytes.empty()) {
    judge();
    return end(false);
  }
  if (out_.empty() && leaves_ && chance(1)) return end(chance(50));
  // The silent ones go at last, if the broker has no client_login_timeout to end them.
  if (!world_.in_trouble() && !leaves_ && chance(1)) end(false);
}

// It was told why it had to go, unless it said goodbye.
void SimStranger::judge() {
  if ((kind_ >= 14 && kind_ != kGuesser) || leaves_) return;
  if (in_.find("FATAL") == std::string::npos && !world_.may_lose("torn")) {
    world_.violation("a stranger of kind " + std::to_string(kind_) + " was sent away without a word");
  }
}

void SimStranger::check_owner() const {
  if (const std::string tag = tag_in(in_); !tag.empty())
    world_.violation("a stranger got what belongs to a client, " + tag + " (I1)");
  for (const std::string& text : echoes_in(in_)) {
    if (said_.find(text) == std::string::npos)
      world_.violation("a stranger got what belongs to another, " + printable(text) + " (I1)");
  }
}

void SimStranger::end(bool reset) {
  in_ += link_->to_peer.bytes;
  check_owner();
  // None of them has proved anything.
  const bool asked =
      world_.must_ask("u0", "d0") && world_.must_ask("u0", "nowhere") && world_.must_ask("admin", "pgbouncer");
  if (!raw() && asked && in_.find(std::string_view("R\0\0\0\x08\0\0\0\0", 9)) != std::string::npos)
    world_.violation(fmt::format("a stranger of kind {} got in without a password", kind_));
  gone_ = true;
  link_->reset |= reset;
  link_->to_broker.fin = true;
  link_->peer_open = false;
}

}  // namespace berth::sim
