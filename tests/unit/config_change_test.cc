// Change in the running broker: what a reload reports and keeps, SET, SHOW CONFIG; and the docs that come from the
// list.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "config/diff.h"
#include "config/docs.h"
#include "config/hba.h"
#include "config/options.h"
#include "config/show.h"
#include "unit/config_support.h"

namespace berth::config {
namespace {

using Lines = std::vector<std::string>;
const std::string kTrust = "[pgbouncer]\nauth_type = trust\n";
Config config_of(const std::string& text) {
  return build(text).config;
}

TEST(Diff, NothingChanged) {
  const Config config = config_of(kTrust + "[databases]\na = host=b\n* =\n");
  EXPECT_TRUE(diff_configs(config, config).empty());
}

// Failure class 66: what is cut off behind the head of the section looks like a file of defaults.
TEST(Diff, AReloadThatLosesAllSettingsIsRefused) {
  const Config full = config_of(kTrust + "[databases]\na = host=b\n");
  const Config bare = config_of("[databases]\n[pgbouncer]\n");
  EXPECT_EQ(cut_off(full, bare).find("a.ini: no setting in section [pgbouncer], and the running configuration"), 0u);
  EXPECT_EQ(cut_off(full, full) + cut_off(bare, bare) + cut_off(bare, full), "");
}

TEST(Diff, Options) {
  const Config before = config_of(kTrust + "query_wait_timeout = 120\nworkers = 1\n");
  const Config after = config_of(kTrust + "query_wait_timeout = 0.5\nworkers = 2\nstats_users = mon\n");
  const Diff diff = diff_configs(before, after);
  EXPECT_EQ(diff.lines, (Lines{"query_wait_timeout: 120 -> 0.5", "stats_users: (empty) -> mon"}));
  EXPECT_EQ(diff.needs_restart, Lines{"workers"});
}

TEST(Diff, DatabasesAndUsers) {
  const Config before = config_of(kTrust +
                                  "[databases]\ngone = host=a\nsame = host=a\nsize = host=a pool_size=1\n"
                                  "moved = host=a password=old\n[users]\nu = pool_size=1\nx = pool_size=1\n");
  const Config after =
      config_of(kTrust +
                "[databases]\nsame = host=a\nsize = host=a pool_size=2\nmoved = host=a password=new\n"
                "* = host=z\n[users]\nu = pool_size=2\ny = pool_size=1\n");
  const Diff diff = diff_configs(before, after);
  EXPECT_EQ(diff.lines,
            (Lines{"database \"gone\" removed", "database \"size\" changed",
                   "database \"moved\" changed, its servers are replaced", "database \"*\" added",
                   "user \"u\" changed", "user \"x\" removed from [users]", "user \"y\" added to [users]"}));
  EXPECT_EQ(diff.reconnect, Lines{"moved"});
  EXPECT_EQ(diff.removed_databases, Lines{"gone"});
}

// A database whose line is removed while a fallback exists is removed all the same: its definition is another one.
TEST(Diff, TheFallbackDoesNotHideARemovedDatabase) {
  const Config before = config_of(kTrust + "[databases]\na = host=b\n* = host=z\n");
  const Config after = config_of(kTrust + "[databases]\n* = host=z\n");
  EXPECT_EQ(diff_configs(before, after).removed_databases, Lines{"a"});
}

TEST(Diff, SecretsAreCountedNotShown) {
  Config before, after;
  before.secrets = {{"a", "old"}, {"b", "x"}, {"c", "x"}};
  after.secrets = {{"a", "new"}, {"c", "x"}, {"d", "y"}, {"e", "y"}};
  EXPECT_EQ(diff_configs(before, after).lines, Lines{"auth_file: 2 users added, 1 removed, 1 with another secret"});
}

TEST(Diff, MergeKeepsWhatNeedsARestart) {
  const Config before = config_of(kTrust + "workers = 1\nlisten_port = 7000\n");
  const Config after = config_of(kTrust + "workers = 2\nlisten_port = 7001\nadmin_users = root\n");
  const auto merged = merge_reload(before, after);
  EXPECT_EQ(merged->options.workers, 1);
  EXPECT_EQ(merged->options.listen_port, 7000);
  EXPECT_TRUE(merged->is_admin("root"));
  EXPECT_TRUE(diff_configs(*merged, after).lines.empty());
}

TEST(Show, AlphabeticalAndAsPgBouncerPrints) {
  const Config config = config_of(kTrust + "log_stats = off\nserver_lifetime = 0.5\nclient_idle_timeout = 1000000\n");
  const auto rows = show_config(config);
  EXPECT_EQ(rows.size(), all_options().size());
  EXPECT_TRUE(std::is_sorted(rows.begin(), rows.end(), [](auto& a, auto& b) { return a.key < b.key; }));
  const auto row = [&](std::string_view key) {
    for (const ShowRow& row : rows) {
      if (row.key == key) return row.value + "|" + row.preset + "|" + (row.changeable ? "yes" : "no");
    }
    return std::string("absent");
  };
  EXPECT_EQ(row("log_stats"), "0|1|yes");
  EXPECT_EQ(row("server_lifetime"), "0.5|3600|yes");
  EXPECT_EQ(row("client_idle_timeout"), "1e+06|0|yes");
  EXPECT_EQ(row("unix_socket_mode"), "511|0777|no");
  EXPECT_EQ(row("conffile"), "a.ini||yes");
  EXPECT_EQ(row("pool_mode"), "session|session|yes");
  EXPECT_EQ(row("auth_type"), "trust|md5|yes");
  EXPECT_EQ(row("max_client_conn"), "100|100|yes");
  EXPECT_EQ(row("server_check_query"), "<empty>|<empty>|yes");
  EXPECT_EQ(row("workers"), "0|0|no");
}

TEST(Set, ChangesACopy) {
  const Config config = config_of(kTrust);
  const auto changed = set_option(config, "admin_users", "root");
  ASSERT_TRUE(changed.ok());
  EXPECT_TRUE(changed.value()->is_admin("root"));
  EXPECT_FALSE(config.is_admin("root"));
  EXPECT_EQ(set_option(config, "query_timeout", "2.5").value()->options.query_timeout, 2'500'000);
}

TEST(Set, Refuses) {
  const Config config = config_of(kTrust);
  const auto why = [&](std::string_view key, std::string_view value) {
    const auto changed = set_option(config, key, value);
    return changed ? "accepted" : changed.error().text;
  };
  EXPECT_EQ(why("no_such", "1"), "unknown setting \"no_such\"");
  EXPECT_EQ(why("listen_port", "1"),
            "\"listen_port\" cannot be changed while the broker runs: change the file and restart");
  EXPECT_EQ(why("default_pool_size", "-1"), "default_pool_size: -1 is out of range, allowed is 0 to 1000000");
  EXPECT_EQ(why("client_tls_sslmode", "require"),
            "client_tls_sslmode: require needs client_tls_cert_file and client_tls_key_file");
  EXPECT_EQ(why("auth_type", "ldap"), "auth_type: ldap needs auth_ldap_options");
  EXPECT_EQ(why("auth_type", "hba"), "auth_type: hba needs auth_hba_file: without rules nobody could log in");
}

// Rules come with the file only: SET neither reads one nor lets rules of another file decide.
TEST(Set, RulesOfHba) {
  const std::string kHow = ": rules are read with the configuration file only: change it there, then RELOAD";
  Config config = config_of("[pgbouncer]\nauth_type = hba\nauth_file = u\nauth_hba_file = h\n");
  config.hba = std::make_shared<const Hba>(Hba{"h", {HbaRule{}}, {}});
  EXPECT_EQ(set_option(config, "auth_hba_file", "other").error().text, "auth_hba_file" + kHow);
  EXPECT_EQ(set_option(config, "auth_ident_file", "other").error().text, "auth_ident_file" + kHow);
  const auto md5 = set_option(config, "auth_type", "md5");
  ASSERT_TRUE(md5.ok());
  const auto back = set_option(*md5.value(), "auth_type", "hba");
  ASSERT_TRUE(back.ok()) << "the rules are still those of the file that is named";
  EXPECT_EQ(back.value()->hba, config.hba);
  const auto other = set_option(*md5.value(), "auth_hba_file", "other");
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(set_option(*other.value(), "auth_type", "hba").error().text, "auth_type" + kHow);
}

TEST(Diff, RulesOfHba) {
  const std::string text = "[pgbouncer]\nauth_type = hba\nauth_file = u\nauth_hba_file = h\n";
  Config one = config_of(text), two = config_of(text);
  one.hba = std::make_shared<const Hba>(Hba{"h", {HbaRule{}}, {}});
  two.hba = std::make_shared<const Hba>(*one.hba);
  EXPECT_TRUE(diff_configs(one, two).empty());
  two.hba = std::make_shared<const Hba>(Hba{"h", {HbaRule{}, HbaRule{}}, {}});
  EXPECT_EQ(diff_configs(one, two).lines, std::vector<std::string>{"auth_hba_file: changed, 2 rules now"});
  EXPECT_EQ(merge_reload(one, two)->hba, two.hba);
  two.hba = nullptr;
  EXPECT_EQ(diff_configs(one, two).lines,
            std::vector<std::string>{"auth_hba_file: its rules are no longer looked at"});
}

TEST(Docs, ConfigMdIsWhatTheListSays) {
  const std::string here = __FILE__;
  const std::string path = here.substr(0, here.find("tests/unit/")) + "docs/config.md";
  std::ifstream file(path);
  ASSERT_TRUE(file.is_open()) << path;
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_TRUE(text.str() == config_markdown()) << "run: pgberth --docs config > docs/config.md";
}

TEST(Docs, NameEveryOption) {
  const std::string docs = config_markdown();
  for (const OptionInfo& info : all_options()) {
    EXPECT_NE(docs.find("\n| " + std::string(info.name) + " | "), std::string::npos) << info.name;
  }
}

}  // namespace
}  // namespace berth::config
