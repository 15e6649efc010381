// See pam.h. PAM's modules may block for as long as they like, so this runs on threads of its own lane only.
#include "auth/pam.h"

#include <fmt/format.h>
#include <security/pam_appl.h>

#include <cstdlib>
#include <cstring>

namespace berth::auth {

PamCheck::PamCheck(std::string_view service, std::string_view user, std::string_view password,
                   std::string_view remote)
    : PasswordCheck(Lane::kPam, user, password), service_(service), remote_(remote) {}

namespace {

void drop_replies(pam_response* replies, int count) {
  for (int i = 0; i < count; ++i) free(replies[i].resp);
  free(replies);
}

// What modules ask for: each hidden text is the password, anything else that needs an answer there is nobody to ask.
// The replies are PAM's to free and to overwrite.
int converse(int count, const pam_message** messages, pam_response** out, void* data) {
  if (count <= 0 || count > PAM_MAX_NUM_MSG) return PAM_CONV_ERR;
  auto* replies = static_cast<pam_response*>(calloc(static_cast<size_t>(count), sizeof(pam_response)));
  if (!replies) return PAM_BUF_ERR;
  for (int i = 0; i < count; ++i) {
    switch (messages[i]->msg_style) {
      case PAM_PROMPT_ECHO_OFF: replies[i].resp = strdup(static_cast<const char*>(data)); break;
      case PAM_ERROR_MSG:
      case PAM_TEXT_INFO: break;
      default: drop_replies(replies, i); return PAM_CONV_ERR;
    }
  }
  *out = replies;
  return PAM_SUCCESS;
}

}  // namespace

void PamCheck::run() {
  pam_handle_t* handle = nullptr;
  const pam_conv conversation{converse, const_cast<char*>(password().c_str())};
  int status = pam_start(service_.c_str(), user().c_str(), &conversation, &handle);
  const char* step = "pam_start";
  if (status == PAM_SUCCESS) {
    step = "pam_set_item";
    status = pam_set_item(handle, PAM_RHOST, remote_.c_str());
  }
  if (status == PAM_SUCCESS) {
    step = "pam_authenticate";
    status = pam_authenticate(handle, PAM_SILENT);
  }
  if (status == PAM_SUCCESS) {
    step = "pam_acct_mgmt";
    status = pam_acct_mgmt(handle, PAM_SILENT);
  }
  right = status == PAM_SUCCESS;
  if (!right) {
    why = fmt::format("{} of service \"{}\": {}", step, service_, pam_strerror(handle, status));
    broken = status == PAM_SYSTEM_ERR || status == PAM_SERVICE_ERR || status == PAM_AUTHINFO_UNAVAIL ||
             status == PAM_ABORT || status == PAM_BUF_ERR || status == PAM_OPEN_ERR || status == PAM_SYMBOL_ERR;
  }
  if (handle) pam_end(handle, status);
}

}  // namespace berth::auth
