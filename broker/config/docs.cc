// The text of docs/config.md: an introduction, then the settings of options.def as tables.
#include "config/docs.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "config/options.h"

namespace berth::config {

namespace {

constexpr std::string_view kHead = R"(# Settings

<!-- Generated from broker/config/options.def and docs.cc by: pgberth --docs config -->

The broker reads one file in PgBouncer's format and with PgBouncer's names: an existing `pgbouncer.ini` starts it.
`pgberth --check FILE` says all that is wrong with a file, with line and key, and starts nothing. Run by root, it
looks at files as the setting `user` (or `-u`) will find them.

## The file

    [databases]
    shop = host=10.0.0.5 port=5432 pool_size=40
    "my-app" = host=/run/postgresql dbname=app password='it''s'
    * = host=10.0.0.5

    [users]
    reports = pool_mode=session max_user_connections=5

    [pgbouncer]
    listen_addr = 127.0.0.1
    auth_type = scram-sha-256
    auth_file = /etc/pgberth/userlist.txt

    %include /etc/pgberth/local.ini

- A comment is a whole line that starts with `;` or `#`. Later in a line these characters mean nothing.
- `[pgberth]` is another name for `[pgbouncer]`. The lines of an included file stand in the section that is open.
- A relative name of a file starts at the folder of the main file (a name that `auth_hba_file` gives with `@`: at the
  folder of the file that names it). What is not there may stand in the directory in which the broker was started, as
  with PgBouncer, if its name has no folder (no `/`), it is no symbolic link, and only root and the broker's user may
  write it or the directory; that gives a warning. SHOW CONFIG shows whole paths. (`logfile`, `pidfile` and
  `unix_socket_dir` start where the broker was started.)
- A name with other characters than letters, digits and `_` may stand in double quotes; `""` is one double quote.
- The values of `[databases]` and `[users]` are `key=value` pairs; a value with spaces stands in single quotes, and
  `''` in it is one quote.
- Times are in seconds and may have fractions. Truth values are `0` and `1`; words such as `yes` and `off` are
  understood too. Whole numbers with a leading `0` are octal, with `0x` hexadecimal.
- A key that is unknown is ignored with a warning, which names the known one that is most like it. One that has no
  effect here is accepted with a warning that says what happens instead.
- What seems to ask for a protection and cannot be obeyed **refuses to start**: a line of `auth_hba_file` that is not
  understood, `disable_pqexec`, and a key that is unknown and begins with `client_tls_`, `server_tls_`, `auth_`,
  `ssl`, `failed_login`, `max_unauthenticated` or `disable_`, or is written almost like such a setting.
- With a mistake in the file the broker does not start and lists every mistake; on a reload it keeps what runs.

## `[databases]`

`NAME = key=value ...`; the name `*` is the fallback for every database that has no line of its own, and `pgbouncer`
is reserved for the console.

| key | default | meaning |
|---|---|---|
| dbname | NAME (for `*`: what the client asked for) | the database on the server |
| host | a Unix socket in `unix_socket_dir` | name, address, or directory of the Unix socket; a list with commas |
| port | 5432 | |
| user | the client's | every client is served as this user |
| password | from `auth_file` | the password of `user` |
| pool_size, min_pool_size, reserve_pool_size (or reserve_pool) | the global ones | for each pool |
| pool_mode, server_lifetime, query_wait_timeout | the global ones | |
| max_db_connections, max_db_client_connections | the global ones | |
| connect_query | none | runs on each new server connection |
| client_encoding, datestyle, timezone | the server's | set on each new server connection |
| load_balance_hosts | round-robin | `disable`: the next host of a list is tried only when one fails |
| auth_user, auth_query, auth_dbname | the global ones | for logins of this database, see below |

## `[users]`

`NAME = key=value ...`, with `pool_size`, `reserve_pool_size`, `pool_mode`, `max_user_connections`,
`max_user_client_connections`, `query_timeout`, `idle_transaction_timeout`, `transaction_timeout`,
`client_idle_timeout`, `query_wait_timeout`. The value of a user goes before the database's, and that before the
global one. In both sections `-1` means not set.

## `auth_file`

Lines of `"user" "secret"`. The secret is a password, `md5` followed by the hash of password and user name, or a
`SCRAM-SHA-256$...` secret as PostgreSQL keeps it in `pg_authid`. `""` is one double quote; comments start with `;`.
What begins as a SCRAM secret and is broken refuses the file; what looks like a damaged md5 hash gives a warning.

## `auth_query`

Users who are not in `auth_file` are looked up, when `auth_user` is set: by `auth_query`, as user `auth_user`, in the
database that the client asks for, or in `auth_dbname`. What it finds serves every method, and the login at the
server.

- The query has one parameter, `$1`, and returns one row: the name of the user, who must be the one that was asked
  for, and a secret as in `auth_file`, or NULL (no password, or an expired one). No row, or a NULL name: there is no
  such user.
- It runs on connections of its own, at most two for each database, beside all pools: `search_path` is
  `pg_catalog,public,pg_temp` whatever any role or client has set. Write the schema of every function and table in a
  query of your own. The path travels as the startup parameter `options`: a pooler in between has to let that pass.
  (One that ignores it, as PgBouncer with `ignore_startup_parameters`, leaves the path that the role has there.)
- The default query reads `pg_authid`, as few roles may. For another role, a function in the database:

      CREATE FUNCTION public.user_lookup(INOUT name text, OUT secret text) RETURNS record
      LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END FROM pg_authid
        WHERE rolname = $1 AND rolcanlogin $$;
      REVOKE ALL ON FUNCTION public.user_lookup(text) FROM PUBLIC;
      GRANT EXECUTE ON FUNCTION public.user_lookup(text) TO pooler;
      -- auth_query = SELECT name, secret FROM public.user_lookup($1)

- `auth_user` has its password in clear in `auth_file`, or its md5 hash where the server asks for md5, or logs in
  without one. With a SCRAM secret there it can log in once a client has logged in as that user.
- When the database cannot be asked, or the query fails, the login ends with SQLSTATE 57P03; the log and SHOW
  AUTH_QUERY say why.
- With the default query, and the extension in that database (`SELECT berth.grant_access('pooler', 'broker')`), what
  was found is used for later logins while no role has changed, which is asked before each use. Otherwise each login
  asks (those at the same time share one query), unless `auth_query_cache_ttl` is set.

## `auth_hba_file`

With `auth_type = hba` the first line that fits a connection decides how the client proves itself. The form is that of
`pg_hba.conf`, as far as PgBouncer knows it:

    # record    databases       users      address        method
    local       all             deploy                    peer map=ops
    host        shop,"my app"   @apps.txt  10.0.0.0/8     scram-sha-256
    host        replication     copy       10.1.2.3/32    md5
    host        all             all        all            reject

- Records: `local` (the Unix socket), `host`, and of these `hostssl` for clients that speak TLS, `hostnossl` for those
  that do not.
- Databases and users are lists with commas: names, names in double quotes (there a keyword is a name), `all`, `@file`
  (relative to the file that names it). Among databases `sameuser` is the one that is named as the user, and
  `replication` is physical replication, which nothing else fits, not even `all`. The console is the database
  `pgbouncer` by whichever name it is asked for; a rule that lets an admin's name into it from another machine by
  `trust` gets a warning.
- Addresses: `all`, `10.0.0.0/8`, `fd00::/8`, or an address and its mask as two words.
- Methods: `trust`, `reject`, `password` (or `plain`), `md5`, `scram-sha-256`, `pam`, `ldap`, for `local` `peer`, for
  `hostssl` `cert`. Whatever the method, the user is one of `auth_file` or known to `auth_query`, save with `pam` and
  `ldap`.
- `cert`, for `hostssl`, asks for a certificate that `client_tls_ca_file` proves. Its common name, or with
  `clientname=DN` its whole name as RFC 2253 writes it (as in PostgreSQL `CN=Jos\C3\A9` for José), must be the user's,
  or `map=NAME` a line of `auth_ident_file`.
- `peer` asks the kernel which user of the system the client's process belongs to. It must have the name of the user,
  or `map=NAME` a line of `auth_ident_file`: `NAME SYSTEM-USER USER`, where USER may be `all`.
- `pam` asks the service `pgbouncer` of the system's PAM, or `pamservice=NAME`; `ldap` asks the directory that its
  options name. Both are below.
- What fits no line, or `reject`, ends in SQLSTATE 28000 in PostgreSQL's words.
- Two logins at the console ask no rule, as without `hba`: the user `pgbouncer` from a process of the broker's own
  user over the Unix socket, and the extension's `pgberth_link` with its secret.

PgBouncer skips a line that it does not understand. Here such a line refuses the file with its number and the reason,
and a reload keeps the rules that run: `samerole`, `+role`, `samehost`, `samenet`, host names, regular expressions,
methods such as `gss` and `radius`, options that do not belong to the method, and addresses with bits outside of their
mask. A file holds at most 4 MB, 10,000 rules and 64 KB in a line. `SET` does not read the files: after a change,
`RELOAD`.

## PAM and LDAP

With `auth_type` `pam` or `ldap`, or a rule with one of these methods, the client is asked for its password in clear
(so let it come over TLS), and PAM or the directory says whether it is right. Who may log in is theirs to say, too:
`auth_file` is not looked at. The password that proved right also logs in to PostgreSQL. A refusal ends in SQLSTATE
28000 in PostgreSQL's words. Neither is ever asked for an empty password.

A module of PAM has the rights of the broker's user, who is not root: `pam_unix` cannot look at other people's
passwords then, while modules that ask a service (sssd, winbind, RADIUS) can do their work.

Up to eight logins each are checked at the same time, up to 1,024 more wait for that, and what is beyond them is
refused with 53300. A directory that hangs holds up the logins that need it, until `client_login_timeout` or, for
LDAP, 5 seconds for a connection and 10 for an answer; no query and no other kind of login waits for them.

The options of `ldap`, in a rule or in `auth_ldap_options`, are PostgreSQL's:

    auth_ldap_options = ldapserver=ldap.example.net ldapbasedn="dc=example, dc=net" ldapsearchattribute=mail
    host all all all ldap ldapserver=ldap.example.net ldapprefix="cn=" ldapsuffix=", dc=example, dc=net"

- `ldapserver` (several with spaces between; without it DNS is asked for the servers of the domain in `ldapbasedn`),
  `ldapport`, `ldapscheme` (`ldap` or `ldaps`), `ldaptls=1` (STARTTLS).
- Simple bind: `ldapprefix` and `ldapsuffix` around the user's name, which is escaped if the prefix has a `=`.
- Search and bind: `ldapbasedn`, `ldapbinddn` and `ldapbindpasswd` (a secret: SHOW CONFIG and the log leave it out),
  `ldapsearchattribute` (`uid`) or `ldapsearchfilter` with `$username` in it. The user's name is escaped.
- `ldapurl=ldap[s]://host[:port]/basedn[?attribute[?scope[?filter]]]`; without a scope only the entry `basedn` itself
  is looked at.
- Referrals are not followed. With `ldaps` and `ldaptls=1` the server's certificate and its name are always checked;
  the roots are those of `TLS_CACERT` in `/etc/ldap/ldap.conf` or of `LDAPTLS_CACERT` in the broker's environment, as
  for PostgreSQL. They are read once: a change needs a restart. `TLS_REQCERT` there has no effect.

## TLS

- Clients may ask for TLS in PostgreSQL's way or begin with it (`sslnegotiation=direct` of libpq 17), on every TCP
  port. Who begins with it has to name the protocol `postgresql` by ALPN, as libpq does; otherwise the handshake
  ends with an alert. Behind PostgreSQL's question ALPN may be missing, but not name something else.
- With TLS, logins by SCRAM can be bound to the connection: SCRAM-SHA-256-PLUS is offered, and clients with
  `channel_binding=require` are served. For the way to servers there is `server_channel_binding`.
- Sessions of clients are resumed by tickets, for two hours, on any worker. A client has one once it has logged in
  (in TLS 1.2 with the handshake). A reload breaks none; other settings, another certificate or other roots break
  all. Towards servers nothing is resumed.
- Every three seconds the files of `client_tls_*` and `server_tls_*` are looked at, and read again when they have
  changed; RELOAD and SIGHUP do so at once. Connections stay as they are. What cannot be used (half of a renewed
  pair, a key that others may read) changes nothing: the last good files go on, SHOW TLS and the log say why.
- SHOW TLS has the subject, serial number and end of each certificate and how often the other side's had expired.
  From 14 days before the end the log warns once a day.
)";

std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

void append_table(std::string& out, OptionClass effect, std::string_view doc = "meaning") {
  std::vector<const OptionInfo*> options;
  for (const OptionInfo& info : all_options()) {
    if (info.effect == effect) options.push_back(&info);
  }
  std::sort(options.begin(), options.end(), [](const auto* a, const auto* b) { return a->name < b->name; });
  out += fmt::format("\n| setting | default | reload | {} |\n|---|---|---|---|\n", doc);
  for (const OptionInfo* info : options) {
    const std::string preset = info->preset.empty() ? "" : fmt::format("`{}`", cell(info->preset));
    out +=
        fmt::format("| {} | {} | {} | {} |\n", info->name, preset, info->reloadable ? "yes" : "no", cell(info->doc));
  }
}

}  // namespace

std::string config_markdown() {
  std::string out(kHead);
  out +=
      "\n## `[pgbouncer]`: settings that work\n\n\"reload\" says whether SIGHUP, RELOAD and SET change it in the "
      "running "
      "broker.\n";
  append_table(out, OptionClass::kHonoured);
  out += "\n## `[pgbouncer]`: settings of which some values refuse to start\n";
  append_table(out, OptionClass::kDoor);
  out +=
      "\n## `[pgbouncer]`: settings without effect\n\nEach is accepted; another value than the default gets one "
      "warning.\n";
  append_table(out, OptionClass::kNoEffect, "what happens instead");
  return out;
}

}  // namespace berth::config
