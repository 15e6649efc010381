// Why connections end (disconnects.def), and how often they did: one number for each reason and worker, written by
// its worker only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace berth::stats {

enum class ClientEnd : uint8_t {
#define CLIENT_END(id, name, words) id,
#define SERVER_END(id, name, words)
#include "stats/disconnects.def"
#undef CLIENT_END
#undef SERVER_END
};

enum class ServerEnd : uint8_t {
#define CLIENT_END(id, name, words)
#define SERVER_END(id, name, words) id,
#include "stats/disconnects.def"
#undef CLIENT_END
#undef SERVER_END
};

struct EndInfo {
  std::string_view name, words;
};

inline constexpr auto kClientEnds = std::to_array<EndInfo>({
#define CLIENT_END(id, name, words) {name, words},
#define SERVER_END(id, name, words)
#include "stats/disconnects.def"
#undef CLIENT_END
#undef SERVER_END
});

inline constexpr auto kServerEnds = std::to_array<EndInfo>({
#define CLIENT_END(id, name, words)
#define SERVER_END(id, name, words) {name, words},
#include "stats/disconnects.def"
#undef CLIENT_END
#undef SERVER_END
});

constexpr std::string_view words_of(ClientEnd why) {
  return kClientEnds[static_cast<size_t>(why)].words;
}
constexpr std::string_view words_of(ServerEnd why) {
  return kServerEnds[static_cast<size_t>(why)].words;
}

struct Disconnects {
  std::array<int64_t, kClientEnds.size()> clients{};
  std::array<int64_t, kServerEnds.size()> servers{};

  void count(ClientEnd why) { ++clients[static_cast<size_t>(why)]; }
  void count(ServerEnd why) { ++servers[static_cast<size_t>(why)]; }
  void add(const Disconnects& other) {
    for (size_t i = 0; i < clients.size(); ++i) clients[i] += other.clients[i];
    for (size_t i = 0; i < servers.size(); ++i) servers[i] += other.servers[i];
  }
};

}  // namespace berth::stats
