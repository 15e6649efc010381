// Fuzzes what clients send after their login. The input is a stream of messages: its boundaries must be the same in
// any pieces, and every body is read as each of the messages that the broker reads. Laws: see frame_law and those of
// clients in unit/wire_laws.h.
#include "fuzz/wire_input.h"

namespace berth::wire {

static void try_body(std::string_view body, uint64_t body_size) {
  must(parse_law(body));
  must(bind_law(body, body_size));
  must(target_law(body));
  must(quoted_name_law(body));
  const size_t end = body.find('\0');
  must(command_law(body.substr(0, end)));
  ParseMessage message;
  if (parse_parse(body, message)) must(command_law(message.sql));
}

static void try_input(std::string_view stream) {
  constexpr uint64_t kMax = 100'000;
  Random dice(stream.size());
  must(frame_law(stream, kMax, dice));
  const Frames frames = reference_frames(stream, kMax);
  for (const std::string& message : frames.messages) {
    const std::string_view body = std::string_view(message).substr(kHeaderSize);
    try_body(body, body.size());
  }
  if (frames.tail.size() > kHeaderSize) {  // a message of which only the front is there
    try_body(std::string_view(frames.tail).substr(kHeaderSize),
             read_head(frames.tail.data(), kMax).size - kHeaderSize);
  }
}

}  // namespace berth::wire

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::wire::try_input(berth::wire::view_of(data, size));
  return 0;
}
