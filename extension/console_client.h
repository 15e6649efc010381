// Asks the consoles of several brokers the same commands, all brokers at once, over libpq from inside a backend.
#pragma once

#include "pg.h"

namespace berth {

// One broker to ask.
struct Target {
  const char* name = nullptr;
  // host, hostaddr, port, dbname, user and sslmode. Without a secret it comes from the superuser's setting, and
  // anything but a password may stand in it.
  const char* conninfo = nullptr;
  const char* secret = nullptr;
};

struct Question {
  const Target* targets = nullptr;
  int target_count = 0;
  const char* const* commands = nullptr;
  int command_count = 0;
  int required = 0;    // a refusal of one of the first so many commands is worth a warning; newer ones may be unknown
  int timeout_ms = 0;  // for everything together
};

// Takes the answers as they come, in any order of the brokers. Its methods may raise an error.
class Answers {
 public:
  // A command's rows, or its tag where it has none. The result is freed afterwards.
  virtual void on_result(int target, int command, const PGresult* result) = 0;
  // A command that was not answered, and so are all later ones of this target if `command` is the last that was sent.
  virtual void on_problem(int target, int command, const char* why) = 0;

 protected:
  ~Answers() = default;
};

// Returns when every broker has answered, failed or run out of time. Interruptible; closes all connections on every
// way out.
void ask(const Question& question, Answers& answers);

// A message of libpq or of a broker as one line of valid text, in the current memory context.
const char* one_line(const char* message);
// A text of a broker, which may hold any bytes, as valid text of this database's encoding.
const char* valid_text(const char* bytes, int length);

}  // namespace berth
