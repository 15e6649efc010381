// Fuzzes what servers send. The input is a stream of messages: its boundaries must be the same in any pieces, and
// every body is read as each kind that the broker reads: ParameterStatus, BackendKeyData, Authentication with its
// mechanisms, NegotiateProtocolVersion, errors, command tags. All is compared with readers written from the manual's
// words, in both directions. Two names for the renaming of errors are taken from the stream's tail. Laws: see
// frame_law, login_law, error_law and command_tag_law.
#include "fuzz/wire_input.h"

namespace berth::wire {

// A name that is there, mostly more than once.
static const char* own_name_law(std::string_view body) {
  const std::string_view said = parse_error(body).message;
  return said.empty() ? nullptr : error_law(body, said.substr(said.size() / 2, 1), "xy");
}

static void try_input(std::string_view stream) {
  constexpr uint64_t kMax = uint64_t{1} << 31;
  Random dice(stream.size());
  must(frame_law(stream, kMax, dice));
  const Frames frames = reference_frames(stream, kMax);
  const std::string_view tail = frames.tail;
  const std::string_view from = tail.substr(0, tail.size() / 2), to = tail.substr(tail.size() / 2);
  for (const std::string& message : frames.messages) {
    const std::string_view body = std::string_view(message).substr(kHeaderSize);
    // A name has no NUL: it was a C string.
    if (tail.find('\0') == std::string_view::npos) must(error_law(body, from, to));
    must(error_law(body, "berth_1", "s1"));
    must(own_name_law(body));
    must(command_tag_law(body));
    must(login_law(body));
  }
  must(error_law(stream, "a", "b"));
  must(own_name_law(stream));
  must(login_law(stream));
}

}  // namespace berth::wire

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::wire::try_input(berth::wire::view_of(data, size));
  return 0;
}
