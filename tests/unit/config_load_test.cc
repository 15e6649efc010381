// Reading real files: the ini, includes, the user list, and what happens when one of them is not there.
#include "config/load.h"

#include <gtest/gtest.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "config/hba.h"
#include "config/show.h"

namespace berth::config {
namespace {

// A folder of its own, with what is in it.
class Place {
 public:
  Place() {
    char name[] = "/tmp/berth_place_XXXXXX";
    if (mkdtemp(name)) path_ = name;
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }
  std::string write(const std::string& name, const std::string& text) const {
    const std::string path = path_ + "/" + name;
    std::ofstream(path) << text;
    chmod(path.c_str(), 0600);
    return path;
  }

 private:
  std::string path_;
};

class LoadTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/berth_config_XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
  }
  void TearDown() override {
    for (const std::string& file : written_) unlink(file.c_str());
    rmdir(directory_.c_str());
  }
  std::string write(const std::string& name, const std::string& text) {
    const std::string path = directory_ + "/" + name;
    std::ofstream(path) << text;
    chmod(path.c_str(), 0600);
    written_.push_back(path);
    return path;
  }
  std::string directory_;
  std::vector<std::string> written_;
};

TEST_F(LoadTest, FileIncludeAndUserList) {
  const std::string users = write("userlist.txt", "\"anna\" \"secret\"\n");
  const std::string more = write("more.ini", "[databases]\nshop = host=/tmp\n");
  const std::string path =
      write("berth.ini", "[pgbouncer]\nauth_type = md5\nauth_file = " + users + "\n%include " + more + "\n");
  const auto config = load_config(path);
  ASSERT_TRUE(config.ok()) << config.error().text;
  EXPECT_EQ(config.value()->path, path);
  EXPECT_EQ(*config.value()->find_secret("anna"), "secret");
  EXPECT_NE(config.value()->find_database("shop"), nullptr);
  EXPECT_TRUE(config.value()->warnings.empty());
}

// A relative name starts at the main file's folder, wherever the broker was started; of whatever kind the file is.
TEST_F(LoadTest, RelativeNamesStartAtTheMainFile) {
  const Place other;
  other.write("userlist.txt", "\"mallory\" \"x\"\n");
  other.write("more.ini", "[databases]\nhers = host=/tmp\n");
  const std::string users = write("userlist.txt", "\"anna\" \"secret\"\n");
  write("more.ini", "[databases]\nshop = host=/tmp\n");
  const std::string path = write("berth.ini", "[pgbouncer]\nauth_file = userlist.txt\n%include more.ini\n");
  std::vector<Remark> warnings;
  const auto config = load_config(path, &warnings, {other.path(), {}});
  ASSERT_TRUE(config.ok()) << config.error().text;
  EXPECT_NE(config.value()->find_secret("anna"), nullptr);
  EXPECT_EQ(config.value()->find_secret("mallory"), nullptr);
  EXPECT_NE(config.value()->find_database("shop"), nullptr);
  EXPECT_EQ(config.value()->find_database("hers"), nullptr);
  EXPECT_EQ(config.value()->options.auth_file, users) << "the whole path";
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_EQ(warnings[1].format(), path + ":2: auth_file: there is another \"" + other.path() +
                                      "/userlist.txt\", where the broker was started: \"" + users +
                                      "\" is taken, beside the configuration file");
}

// As with PgBouncer, but not where somebody else may have put it.
TEST_F(LoadTest, WhatIsNotThereMayStandWhereTheBrokerWasStarted) {
  const Place other;
  const std::string users = other.write("userlist.txt", "\"anna\" \"secret\"\n");
  const std::string path = write("berth.ini", "[pgbouncer]\nauth_file = userlist.txt\n");
  std::vector<Remark> warnings;
  const auto load = [&] { return load_config(path, &warnings, {other.path(), {}}); };
  ASSERT_TRUE(load().ok()) << load().error().text;
  EXPECT_EQ(load().value()->options.auth_file, users);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_TRUE(warnings[0].text.starts_with("\"" + users + "\" is taken, because the broker was started there"));

  const auto refused = [&](const std::string& what) {
    const auto loaded = load();
    ASSERT_FALSE(loaded.ok());
    EXPECT_NE(loaded.error().text.find("cannot read \"" + directory_ + "/userlist.txt\""), std::string::npos);
    ASSERT_EQ(warnings.size(), 1u);
    EXPECT_TRUE(warnings[0].text.starts_with("\"" + users + "\" is not taken, because everybody may write \"" + what))
        << warnings[0].text;
    // Who asks for no warnings is told why all the same, and where the name stands.
    const std::string alone = load_config(path, nullptr, {other.path(), {}}).error().text;
    EXPECT_NE(alone.find(path + ":2: auth_file: cannot read"), std::string::npos) << alone;
    EXPECT_NE(alone.find("is not taken, because"), std::string::npos) << alone;
  };
  chmod(other.path().c_str(), 01777);  // as /tmp
  refused(other.path());
  chmod(other.path().c_str(), 0700);
  chmod(users.c_str(), 0666);
  refused(users);
}

// Behind a folder or a link may be what anybody has put there.
TEST_F(LoadTest, OnlyPlainNamesAreTakenFromWhereTheBrokerWasStarted) {
  const Place other, strangers;
  const std::string users = strangers.write("userlist.txt", "\"mallory\" \"x\"\n");
  chmod(strangers.path().c_str(), 01777);
  std::filesystem::create_directory(other.path() + "/sub");
  other.write("sub/userlist.txt", "\"mallory\" \"x\"\n");
  std::filesystem::create_symlink(users, other.path() + "/link");
  std::filesystem::create_directory_symlink(strangers.path(), other.path() + "/folder");
  const std::string up = "../" + strangers.path().substr(strangers.path().rfind('/') + 1) + "/userlist.txt";
  const std::string folders = "the name of a file there may have no folder: write the whole path";
  for (const auto& [name, why] :
       {std::pair<std::string, std::string>{"link", "it is a symbolic link: write the whole path"},
        {"sub/userlist.txt", folders},
        {"folder/userlist.txt", folders}}) {
    const std::string path = write("berth.ini", "[pgbouncer]\nauth_file = " + name + "\n");
    std::vector<Remark> warnings;
    EXPECT_FALSE(load_config(path, &warnings, {other.path(), {}}).ok()) << name;
    ASSERT_EQ(warnings.size(), 1u) << name;
    EXPECT_EQ(warnings[0].text, "\"" + other.path() + "/" + name + "\" is not taken, because " + why);
  }
  // The configuration is deeper, so that `..` means something else there.
  std::filesystem::create_directory(directory_ + "/deep");
  const std::string path = write("deep/berth.ini", "[pgbouncer]\nauth_file = " + up + "\n");
  EXPECT_FALSE(load_config(path, nullptr, {other.path(), {}}).ok());
  std::filesystem::remove_all(directory_ + "/deep");
}

TEST_F(LoadTest, RelativeNamesOfAllKinds) {
  const std::string path =
      write("berth.ini",
            "[pgbouncer]\nauth_type = trust\nauth_hba_file = h\nauth_ident_file = i\n"
            "client_tls_ca_file = c\nclient_tls_dheparams = none\nserver_tls_ca_file = system\n"
            "server_tls_sslmode = verify-full\nserver_tls_key_file = k\nserver_tls_cert_file = c\n"
            "client_tls_key_file = /k\nclient_tls_cert_file = sub/c\nlogfile = l\n");
  const auto config = load_config(path);
  ASSERT_TRUE(config.ok()) << config.error().text;
  const Options& options = config.value()->options;
  EXPECT_EQ(options.auth_file, "");
  EXPECT_EQ(options.auth_hba_file, directory_ + "/h");
  EXPECT_EQ(options.auth_ident_file, directory_ + "/i");
  EXPECT_EQ(options.client_tls_ca_file, directory_ + "/c");
  EXPECT_EQ(options.client_tls_dheparams, "none") << "a word, not a file";
  EXPECT_EQ(options.server_tls_ca_file, "system");
  EXPECT_EQ(options.server_tls_key_file, directory_ + "/k");
  EXPECT_EQ(options.client_tls_key_file, "/k");
  EXPECT_EQ(options.client_tls_cert_file, directory_ + "/sub/c");
  EXPECT_EQ(options.logfile, "l") << "not a file that is read";
  const auto set = set_option(*config.value(), "client_tls_ca_file", "other");
  ASSERT_TRUE(set.ok()) << set.error().text;
  EXPECT_EQ(set.value()->options.client_tls_ca_file, directory_ + "/other") << "SET, likewise";
}

// The main file itself is where the caller says; a reload reads the same one.
TEST_F(LoadTest, ARelativeMainFile) {
  write("berth.ini", "[pgbouncer]\nauth_type = trust\n");
  for (const char* name : {"berth.ini", "./berth.ini"}) {
    const auto config = load_config(name, nullptr, {directory_, {}});
    ASSERT_TRUE(config.ok()) << config.error().text;
    EXPECT_EQ(config.value()->options.conffile, directory_ + "/berth.ini");
    EXPECT_EQ(config.value()->path, directory_ + "/berth.ini");
  }
}

// Whoever owns a file may change it: only root and the broker's user should.
TEST_F(LoadTest, OwnersOfFiles) {
  if (geteuid() != 0) return;  // nobody else gives files away
  const std::string users = write("userlist.txt", "\"anna\" \"secret\"\n");
  const std::string path = write("berth.ini", "[pgbouncer]\nuser = daemon\nauth_file = userlist.txt\n");
  const auto warnings = [&](const std::string& user) {
    std::vector<std::string> out;
    const auto config = load_config(path, nullptr, {{}, user});
    for (const Remark& warning : config.value()->warnings) out.push_back(warning.format());
    return out;
  };
  const uid_t daemon = getpwnam("daemon")->pw_uid;
  ASSERT_EQ(0, chown(users.c_str(), daemon, 0));
  EXPECT_EQ(warnings(""), std::vector<std::string>{}) << "the broker's user";
  const std::string text = users + ": it belongs to user number " + std::to_string(daemon) +
                           ", who may change it: it should be root's or that of the broker's user";
  EXPECT_EQ(warnings("nobody"), std::vector<std::string>{text}) << "-u goes before the file's user";
}

TEST_F(LoadTest, AUserListWithoutUsersIsWorthAWarning) {
  const std::string users = write("userlist.txt", "; nobody yet\n");
  const auto config = load_config(write("berth.ini", "[pgbouncer]\nauth_file = " + users + "\n"));
  ASSERT_TRUE(config.ok()) << config.error().text;
  ASSERT_EQ(config.value()->warnings.size(), 1u);
  EXPECT_EQ(config.value()->warnings[0].format(), users + ": it names no user: nobody can log in");
}

// Whoever may read secrets or change who comes in is named, with what to do about it.
TEST_F(LoadTest, RightsOfFiles) {
  const std::string users = write("userlist.txt", "\"anna\" \"secret\"\n");
  const std::string more = write("more.ini", "[databases]\nshop = host=h user=u password=pw\n");
  const std::string hba = write("hba", "local all all md5\n");
  const std::string path =
      write("berth.ini", "%include " + more + "\n[pgbouncer]\nauth_type = hba\nauth_file = " + users +
                             "\nauth_hba_file = " + hba + "\n");
  const auto warnings = [&] {
    std::string out;
    const auto config = load_config(path);
    if (!config) return config.error().text;
    for (const Remark& warning : config.value()->warnings) out += warning.format() + "\n";
    return out;
  };
  const auto secret = [](const std::string& file) {
    return file + ": it holds secrets and everybody may read it: chmod o-rwx " + file + "\n";
  };
  const auto open = [](const std::string& file) {
    return file + ": everybody may change it: chmod o-rwx " + file + "\n";
  };
  for (const std::string& file : {users, more, hba, path}) chmod(file.c_str(), 0660);
  EXPECT_EQ(warnings(), "");
  for (const std::string& file : {users, more, hba, path}) chmod(file.c_str(), 0644);
  EXPECT_EQ(warnings(), secret(more) + secret(users));  // not the others: they hold none
  for (const std::string& file : {users, more, hba, path}) chmod(file.c_str(), 0666);
  EXPECT_EQ(warnings(), open(path) + open(more) + open(users) + open(hba));
}

// The password of the directory's user is a secret like any other, wherever it stands.
TEST_F(LoadTest, RightsOfFilesWithADirectorysPassword) {
  const std::string ldap = "ldapserver=localhost ldapbasedn=dc=x ldapbinddn=cn=a";
  const auto warnings = [&](const std::string& file, const std::string& path) {
    std::vector<std::string> out;
    chmod(file.c_str(), 0644);
    const auto config = load_config(path);
    if (!config) return std::vector<std::string>{config.error().text};
    for (const Remark& warning : config.value()->warnings) out.push_back(warning.format());
    return out;
  };
  const auto secret = [](const std::string& file) {
    return std::vector<std::string>{file + ": it holds secrets and everybody may read it: chmod o-rwx " + file};
  };
  const std::string users = write("userlist.txt", "\"anna\" \"secret\"\n");
  const std::string start = "[pgbouncer]\nauth_file = userlist.txt\n";
  for (const bool has : {false, true}) {
    const std::string options = ldap + (has ? " ldapbindpasswd=pw" : "");
    const std::string hba = write("hba", "local all all ldap " + options + "\n");
    std::string ini = write("berth.ini", start + "auth_type = hba\nauth_hba_file = hba\n");
    EXPECT_EQ(warnings(hba, ini), has ? secret(hba) : std::vector<std::string>{});
    ini = write("berth.ini", start + "auth_type = ldap\nauth_ldap_options = " + options + "\n");
    EXPECT_EQ(warnings(ini, ini), has ? secret(ini) : std::vector<std::string>{});
  }
}

TEST_F(LoadTest, ASecretOfAuthUserThatDoesNotServeIsWorthAWarning) {
  const std::string scram =
      "SCRAM-SHA-256$4096:AAECAwQFBgcICQoLDA0ODw==$jVqWbJXDR8PqhmvSXvdf5WaxMqbWzQJBRyYUIBXnGoo="
      ":CFGiVexA9mjlgTzSnAO+RVBQzNwfsNxmvBm6HpCkqB4=";
  const std::string users = write("users.txt", "\"scram\" \"" + scram + "\"\n\"hashed\" \"md5" +
                                                   std::string(32, '0') + "\"\n\"clear\" \"a\"\n\"empty\" \"\"\n");
  const auto warnings = [&](const std::string& user) {
    const auto config =
        load_config(write("main.ini", "[databases]\na = host=/x\n[pgbouncer]\nauth_type = md5\nauth_file = " + users +
                                          "\nauth_user = " + user + "\n"));
    const auto& all = config.value()->warnings;
    return all.empty() ? "" : all[0].format();
  };
  const std::string place = directory_ + "/main.ini:6: auth_user: ";
  EXPECT_TRUE(warnings("scram").starts_with(place + "the secret of \"scram\" in auth_file is a SCRAM hash"));
  EXPECT_EQ(warnings("hashed"), "");
  EXPECT_EQ(warnings("clear"), "");
  for (const char* user : {"elsewhere", "empty"}) {
    EXPECT_EQ(warnings(user), place + "auth_file has no secret of \"" + user +
                                  "\": auth_query can log in only where the server asks for none");
  }
}

// The files that are shipped are right, and the warnings are only those that a file without users deserves.
TEST_F(LoadTest, TheShippedFilesLoad) {
  const std::string here = __FILE__;
  const std::string path = here.substr(0, here.find("tests/unit/")) + "etc/pgberth.ini";
  const auto config = load_config(path);
  ASSERT_TRUE(config.ok()) << config.error().text;
  EXPECT_EQ(config.value()->options.min_pool_size, config.value()->options.default_pool_size);
  EXPECT_EQ(config.value()->options.transaction_port, 6543);
  EXPECT_EQ(config.value()->options.session_port, 5432);
  ASSERT_EQ(config.value()->warnings.size(), 1u);
  EXPECT_NE(config.value()->warnings[0].text.find("names no user"), std::string::npos);
}

TEST_F(LoadTest, MistakesOfAllFiles) {
  const std::string users = write("userlist.txt", "anna\n");
  const std::string path = write("berth.ini", "[pgbouncer]\nlisten_port = x\nauth_file = " + users + "\n");
  const auto config = load_config(path);
  ASSERT_FALSE(config.ok());
  EXPECT_EQ(config.error().text, path + ":2: listen_port: \"x\" is not a whole number\n" + users +
                                     ":1: expected \"user\" \"secret\", each in double quotes");
}

TEST_F(LoadTest, RulesAndMaps) {
  const std::string users = write("userlist.txt", "\"anna\" \"secret\"\n");
  const std::string names = write("names", "anna\n");
  const std::string ident = write("ident", "ops root anna\n");
  const std::string good =
      write("hba", "local all @names peer map=ops\nhostssl all all all md5\nhostssl all all all cert\n");
  const std::string text = "[pgbouncer]\nauth_type = hba\nauth_file = userlist.txt\nauth_hba_file = hba\n";
  const auto config = load_config(write("berth.ini", text + "auth_ident_file = ident\n"));
  ASSERT_TRUE(config.ok()) << config.error().text;
  ASSERT_NE(config.value()->hba, nullptr);
  EXPECT_EQ(config.value()->hba->rules.size(), 3u);
  EXPECT_EQ(config.value()->hba->rules[0].users.names, std::vector<std::string>{"anna"});
  ASSERT_EQ(config.value()->warnings.size(), 2u);
  const std::string why = "hostssl fits no client: client_tls_sslmode is disable";
  EXPECT_EQ(config.value()->warnings[0].format(), good + ":2: " + why);
  EXPECT_EQ(config.value()->warnings[1].format(), good + ":3: " + why);

  // Mistakes of all files at once, and the warnings beside them; the map is gone with the file.
  std::vector<Remark> warnings;
  const auto broken = load_config(write("berth.ini", text + "listen_port = x\n"), &warnings);
  ASSERT_FALSE(broken.ok());
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_EQ(warnings[1].format(), good + ":3: " + why);
  EXPECT_EQ(broken.error().text, directory_ + "/berth.ini:5: listen_port: \"x\" is not a whole number\n" + good +
                                     ":1: map ops: auth_ident_file is not set");
  // Where the rules do not decide, the file is not read.
  const auto md5 = load_config(
      write("berth.ini", "[pgbouncer]\nauth_type = md5\nauth_file = userlist.txt\nauth_hba_file = absent\n"));
  ASSERT_TRUE(md5.ok()) << md5.error().text;
  EXPECT_EQ(md5.value()->hba, nullptr);
}

TEST_F(LoadTest, AbsentFiles) {
  const auto config = load_config(directory_ + "/absent.ini");
  ASSERT_FALSE(config.ok());
  EXPECT_EQ(config.error().text,
            directory_ + "/absent.ini: cannot read \"" + directory_ + "/absent.ini\": No such file or directory");
  EXPECT_FALSE(load_config(directory_).ok()) << "a directory is no file";
  const std::string path = write("md5.ini", "[pgbouncer]\nauth_file = " + directory_ + "/absent.txt\n");
  EXPECT_FALSE(load_config(path).ok()) << "nobody could log in";
}

TEST_F(LoadTest, WithTrustTheUserListMayBeAbsent) {
  const std::string path =
      write("trust.ini", "[pgbouncer]\nauth_type = trust\nauth_file = " + directory_ + "/absent.txt\n");
  const auto config = load_config(path);
  ASSERT_TRUE(config.ok()) << config.error().text;
  ASSERT_EQ(config.value()->warnings.size(), 1u);
  EXPECT_EQ(config.value()->warnings[0].key, "auth_file");
}

}  // namespace
}  // namespace berth::config
