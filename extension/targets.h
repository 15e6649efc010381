// Who can be asked: the brokers that have registered themselves in this database and whose link lives, and those of
// the setting berth.brokers.
#pragma once

#include "pg.h"

namespace berth {

struct Registration {
  const char* id = nullptr;
  const char* name = nullptr;
  const char* version = nullptr;  // this and the secret: nullptr for one of the setting
  const char* console = nullptr;
  const char* secret = nullptr;
  bool registered = false;  // the next three are of a registration only
  bool has_started_at = false;
  TimestampTz started_at = 0;
  int link_pid = 0;
  TimestampTz last_heartbeat = 0;
};

struct Registrations {
  Registration* all = nullptr;
  int count = 0;
};

// In the current memory context. `setting` is the text of berth.brokers; a broker in it that has registered itself,
// too, stands here once.
Registrations find_registrations(const char* setting);

}  // namespace berth
