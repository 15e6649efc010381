#include "net/resolver.h"

#include <netdb.h>

#include <cstring>

namespace berth::net {

Resolver::~Resolver() {
  {
    const std::lock_guard<std::mutex> guard(mutex_);
    stop_ = true;
  }
  work_.notify_all();
  if (thread_.joinable()) thread_.join();
}

std::optional<Result<std::vector<Address>>> Resolver::literal(const std::string& host, int port) {
  if (!host.empty() && (host[0] == '/' || host[0] == '@')) {
    Result<Address> path = unix_address(host, port);
    if (!path) return Result<std::vector<Address>>(path.error());
    return Result<std::vector<Address>>(std::vector<Address>{path.value()});
  }
  Result<Address> ip = parse_ip(host, port);
  if (ip) return Result<std::vector<Address>>(std::vector<Address>{ip.value()});
  return std::nullopt;
}

void Resolver::resolve(const std::string& host, int port, Done done) {
  {
    const std::lock_guard<std::mutex> guard(mutex_);
    if (jobs_.size() < kResolveQueueMax) {
      jobs_.push_back({host, port, std::move(done)});
      if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
      work_.notify_one();
      return;
    }
  }
  done(Error{"too many host names wait to be resolved", "08001"});
}

static Result<std::vector<Address>> look_up(const std::string& host, int port) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  const int error = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (error) return Error{"cannot resolve host \"" + host + "\": " + gai_strerror(error), "08001"};
  std::vector<Address> addresses;
  for (const addrinfo* at = found; at; at = at->ai_next) {
    Address address;
    std::memcpy(&address.storage, at->ai_addr, at->ai_addrlen);
    address.size = at->ai_addrlen;
    if (at->ai_family == AF_INET) {
      reinterpret_cast<sockaddr_in*>(&address.storage)->sin_port = htons(static_cast<uint16_t>(port));
    } else if (at->ai_family == AF_INET6) {
      reinterpret_cast<sockaddr_in6*>(&address.storage)->sin6_port = htons(static_cast<uint16_t>(port));
    } else {
      continue;
    }
    addresses.push_back(address);
  }
  freeaddrinfo(found);
  return addresses;
}

void Resolver::run() {
  for (;;) {
    Job job;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      work_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
      if (stop_) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job.done(look_up(job.host, job.port));
  }
}

}  // namespace berth::net
