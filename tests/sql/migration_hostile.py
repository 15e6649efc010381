"""What others can do to a run, and to a scope; databases that are not in UTF-8."""

from harness import system, wire

from results import add, check


def hostile(place):
    """Runs of others; a scope that somebody wants to keep for ever by a comment; one that a prepared transaction has."""
    database = place.fresh("hostile")
    result = place.prove("migration_hostile.sql", database=database)
    for part in (marked, prepared, hidden, locked, busy_table, no_temporary):
        result = add(result, part(place, database))
    return result


def marked(place, database):
    """The mark of a run in a statement counts for its own user: everybody can write a comment."""
    run = place.sql("select run_id from berth.migration_start('20', scope => 'marked', lease => '1s')", database)[0][0]
    place.sql("update berth.migration_lease set expires_at = now() - interval '1s' where scope = 'marked'", database)
    state = "select state from berth.migration_status('marked')"
    result, sessions = (0, 0), []
    for user, want in (("app3", "interrupted"), ("postgres", "running")):
        session = place.postgres.connect(database=database, user=user)
        sessions.append(session)
        session.send(wire.query(f"select pg_sleep(600) /* berth run {run} step 1 */"))
        system.eventually(lambda: place.sql(f"select from pg_stat_activity where pid = {session.pid} and state = 'active'"), "it sleeps")
        result = add(result, check((f"by {user}", place.sql(state, database), [[want]])))
    with place.postgres.connect(database=database) as session:
        [error] = wire.errors(session.query(f"select berth.migration_resolve({run}, 'retry', 'dead')"))
        told = f"SELECT pg_terminate_backend({sessions[1].pid}, 5000), then call this again."
        result = add(result, check(("it is held", error.sqlstate, "MG006"), ("and the HINT says by whom", error.fields["H"], told)))
    place.sql(error.fields["H"].split(", then")[0], database)
    resolved = place.sql(f"select berth.migration_resolve({run}, 'retry', 'dead')", database)
    result = add(result, check(("then it can be resolved", resolved, [[""]])))
    for session in sessions:
        place.sql(f"select pg_terminate_backend({session.pid}, 10000)")
        session.close()
    return result


def prepared(place, database):
    """A prepared transaction has the scope, and no session."""
    with place.postgres.connect(database=database) as session:
        session.query("begin; select berth.migrate_once('30', scope => 'prepared'); prepare transaction 'it''s'")
        [error] = wire.errors(session.query("do $$begin perform berth.migrate_once('30', scope => 'prepared', wait => '0s'); end$$"))
        result = check(("MG006", error.sqlstate, "MG006"), ("who", "is prepared: since" in error.fields["M"] and
                       error.fields["M"].endswith("""transaction "it's" of postgres"""), True),
                       ("what to do", error.fields["H"], "COMMIT PREPARED 'it''s'; or ROLLBACK PREPARED 'it''s';"),
                       ("it is running", wire.rows(session.query("select berth.migration_exit_code('prepared')")), [["2"]]))
        session.query(error.fields["H"].split("; or")[0])
        ask = lambda text: wire.rows(session.query(text))
        return add(result, check(("committed", ask("select state from berth.migration_status('prepared')"), [["applied"]]),
                                 ("and closed", ask("select status from berth.migration_run where scope = 'prepared'"), [["done"]])))


def hidden(place, database):
    """Rows that a policy hides from the migrator are not filled, and that is told."""
    place.sql("""create table hides (id int primary key, a int); insert into hides select g from generate_series(1, 4) g;
                 grant all on hides to app; alter table hides enable row level security;
                 create policy odd on hides using (id % 2 = 1)""", database)
    with place.postgres.connect(database=database) as session:
        told = []
        for role, step in (("app", 1), ("postgres", 1)):
            session.query(f"set session authorization {role}")
            run = wire.rows(session.query(f"select run_id from berth.migration_start('h', scope => 'hides {role}')"))[0][0]
            session.query(f"select berth.migration_step_begin({run}, {step}, 'fill')")
            answer = session.query(f"call berth.backfill({run}, {step}, 'hides', 'a = 1', 'a is null', 'id')")
            told.append([m.fields["M"] for m in answer if m.tag == "N"])
        return check(("a warning", told, [["row-level security applies to hides here: rows that it hides are left as they are"], []]),
                     ("the rest by a superuser", wire.rows(session.query("select rows_done from berth.migration_step where label = 'fill' "
                      "and run_id > 1 order by run_id")), [["2"], ["2"]]))


def locked(place, database):
    """A lease without a run, whose holder is gone: the HINT tells how a superuser ends it."""
    place.sql("select berth.migration_lock('it''s', ttl => '1 day')", database)
    with place.postgres.connect(database=database) as session:
        attempt = "do $$begin perform berth.migrate_once('1', scope => 'it''s', wait => '0s'); end$$"
        [error] = wire.errors(session.query(attempt))
        way_out = error.fields["H"].split("may ")[-1]
        return check(("MG006", error.sqlstate, "MG006"), ("a way out", way_out, "DELETE FROM berth.migration_lease WHERE scope = 'it''s';"),
                     ("which ends it", wire.errors(session.query(way_out)), []), ("for good", wire.errors(session.query(attempt)), []))


def busy_table(place, database):
    """Somebody has locked a table: what looks at the database does not wait for that."""
    place.sql("create table busy (a text); insert into busy values ('a'); create index busy_upper on busy (upper(a))", database)
    with place.postgres.connect(database=database) as holder, place.postgres.connect(database=database) as session:
        holder.query("begin; lock table busy")
        session.query("set lock_timeout = '1ms'")
        result = (0, 0)
        for what in ("migration_verify()", "migration_exit_code()", "migration_status()", "migration_running", "invalid_index",
                     "not_validated"):
            answer = session.query(f"select * from berth.{what}")
            result = add(result, check((what, [e.fields["M"] for e in wire.errors(answer)], [])))
        found = wire.rows(session.query("select got from berth.migration_verify() where name = 'statistics'"))
        return add(result, check(("it is found", found, [["public.busy_upper has no statistics: ANALYZE public.busy"]])))


def no_temporary(place, database):
    """Definitions of indexes are compared by means of a temporary table, which not everybody may make."""
    place.sql(f"""revoke temporary on database {database} from public; create table plain (a text); alter table plain owner to app;
                  create index plain_a on plain (a) where a is not null""", database)
    with place.postgres.connect(database=database) as session:
        session.query("set session authorization app")
        answer = session.query("select * from berth.index_sql('plain', 'plain_a', '(a) where a is not null')")
        warned = [m.fields["M"] for m in answer if m.tag == "N"]
        return check(("no error", wire.errors(answer), []), ("nothing to do", wire.rows(answer), []),
                     ("a warning", warned, ["whether index plain_a has the definition that is asked for is not known: permission denied to "
                                            f'create temporary tables in database "{database}"']))


def encodings(place):
    """A checksum is that of the script in UTF-8, whatever the database is in; a byte order mark is none of it."""
    want = place.sql("select berth.checksum('a' || chr(228))", place.fresh("in_utf8"))[0][0]
    result = check(("the mark", place.sql("select berth.checksum(chr(65279) || 'a' || chr(228))", "in_utf8"), [[want]]))
    for encoding, text in (("LATIN1", r"E'a\344'"), ("SQL_ASCII", r"E'a\303\244'")):
        database = "in_" + encoding.lower()
        place.sql(f"drop database if exists {database} with (force)", "postgres")
        place.sql(f"create database {database} encoding '{encoding}' locale 'C' template template0", "postgres")
        place.sql("create extension pgberth", database)
        place.sql(f"do $$ begin perform berth.migrate_once('1', checksum => berth.checksum({text})); end $$", database)
        have = [place.sql(statement, database)[0][0] for statement in (
            "select checksum from berth.migration", f"select berth.checksum(E'\\357\\273\\277' || {text})")]
        result = add(result, check((encoding, have, [want, want])))
    wrong = place.sql(r"select berth.checksum(E'a\344') like 'sha256/norm1:%'", "in_sql_ascii")
    result = add(result, check(("bytes that are no UTF-8", wrong, [["t"]])))
    place.sql("select berth.enable_ddl_log(); create table logged ()", "in_sql_ascii")
    logged = place.sql("select count(*) from berth.ddl_log where tag = 'CREATE TABLE' and statement_sha is not null", "in_sql_ascii")
    return add(result, check(("the log of DDL", logged, [["1"]])))


def collations(place):
    """Versions have one order, whatever that of the database is: capital letters first."""
    place.sql("drop database if exists in_icu with (force)", "postgres")
    place.sql("create database in_icu locale_provider icu icu_locale 'en-US' template template0", "postgres")
    place.sql("""create extension pgberth; create table schema_migrations (version text primary key);
                 select berth.adopt('dbmate', scope => 'tool')""", "in_icu")
    for version in "Bac":
        place.sql(f"insert into schema_migrations values ('{version}')", "in_icu")
        place.sql(f"do $$ begin perform berth.migrate_once('{version}'); end $$", "in_icu")
    rows = place.sql("select scope, string_agg(version, '' order by sort_key), bool_or(out_of_order) from berth.migration "
                     "group by scope order by scope", "in_icu")
    return check(("in order", rows, [["default", "Bac", "f"], ["tool", "Bac", "f"]]),
                 ("status", place.sql("select version from berth.migration_status('tool')", "in_icu"), [["B"], ["a"], ["c"]]))


SCENARIOS = (hostile, encodings, collations)
