-- The log of DDL: what is logged, to which migration it belongs, policies, secrets, privileges.
\ir helpers.sql
\pset fieldsep '\n'
SELECT * FROM no_plan();
-- What was logged since the last call.
CREATE SEQUENCE pg_temp.seen MINVALUE 0;
SELECT setval('pg_temp.seen', 0) \g /dev/null
CREATE FUNCTION pg_temp.logged() RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  before bigint := (SELECT last_value FROM pg_temp.seen);
BEGIN
  PERFORM setval('pg_temp.seen', (SELECT coalesce(max(id), 0) FROM berth.ddl));
  RETURN ARRAY(SELECT concat_ws(' ', d.tag, d.identity, '#' || d.run_id, CASE WHEN d.in_extension THEN 'extension' END) FROM berth.ddl d
                WHERE d.id > before ORDER BY d.id);
END $$;

-- Event triggers that are no members, made and dropped as often as one likes.
CREATE TABLE before (i int);
SELECT is_empty('SELECT FROM berth.ddl', 'nothing is logged at first');
SELECT berth.enable_ddl_log(), berth.enable_ddl_log() \g /dev/null
SELECT pg_temp.same(array_agg(evtname || ' ' || evtevent ORDER BY evtname),
          '{berth_ddl_drop sql_drop,berth_ddl_end ddl_command_end,berth_ddl_rewrite table_rewrite,berth_ddl_start ddl_command_start}', 'four')
  FROM pg_event_trigger;
SELECT is_empty($$SELECT FROM pg_depend WHERE classid = 'pg_event_trigger'::regclass AND deptype = 'e'$$, 'none is a member of the extension');
SELECT is(pg_temp.logged(), '{}', 'making them is not logged');

-- By hand.
CREATE TABLE t (id int PRIMARY KEY, v int);
SELECT pg_temp.same(pg_temp.logged(), '{CREATE TABLE public.t,CREATE INDEX public.t_pkey}', 'a table');
SELECT pg_temp.same(array[usename, tag, object_type, identity, event, statement, statement_sha, pid::text, application_name],
          array[session_user, 'CREATE TABLE', 'table', 'public.t', 'ddl_command_end', 'CREATE TABLE t (id int PRIMARY KEY, v int);',
                encode(sha256('CREATE TABLE t (id int PRIMARY KEY, v int);'), 'hex'), pg_backend_pid()::text, current_setting('application_name')],
          'its row'), is(object_oid, 't'::regclass::oid, 'its oid'), is(pg_xact_status(xid), 'committed', 'its transaction'),
       ok(at > now() - interval '1h' AND at <= now() AND run_id IS NULL AND version IS NULL, 'its time; no run') FROM berth.ddl WHERE id = 1;
DO $$ BEGIN
  CREATE INDEX t_v ON t (v);
END $$;
SELECT is(statement, E'DO $$ BEGIN\n  CREATE INDEX t_v ON t (v);\nEND $$;', 'what the client sent') FROM berth.ddl ORDER BY id DESC LIMIT 1;
CREATE INDEX CONCURRENTLY t_v2 ON t (v);
DROP INDEX CONCURRENTLY t_v2;
GRANT SELECT ON t TO app;
COMMENT ON COLUMN t.v IS 'v';
CREATE VIEW w AS SELECT v FROM t;
ALTER TABLE t RENAME TO u;
DROP TABLE u CASCADE;
SELECT pg_temp.same(pg_temp.logged(), '{CREATE INDEX public.t_v,CREATE INDEX public.t_v2,DROP INDEX public.t_v2,GRANT,COMMENT public.t.v,'
          'CREATE VIEW public.w,ALTER TABLE public.u,DROP TABLE public.u}', 'all of it, and of drops what was named');
CREATE TEMP TABLE x (id serial PRIMARY KEY);
CREATE INDEX ON x (id);
ALTER TABLE x ADD y int DEFAULT random();
DROP TABLE x;
CREATE ROLE tester;
CREATE MATERIALIZED VIEW m AS SELECT 1;
SELECT pg_temp.logged() \g /dev/null
REFRESH MATERIALIZED VIEW m;
REINDEX TABLE m;
SELECT is(pg_temp.logged(), '{}', 'neither temporary tables, nor what changes no definition');
SELECT berth.grant_access('tester', 'read') \g /dev/null
SELECT ok(bool_and(l LIKE 'GRANT%extension'), 'what our own functions do is marked') FROM unnest(pg_temp.logged()) l;
CREATE EXTENSION pg_trgm;
SELECT ok(count(*) > 10 AND bool_and(in_extension AND statement IS NULL), 'so is what extensions make') FROM berth.ddl
 WHERE id > (SELECT last_value FROM pg_temp.seen) AND object_type <> 'extension';
SELECT is(statement, 'CREATE EXTENSION pg_trgm;', 'which came by a statement') FROM berth.ddl WHERE object_type = 'extension';
DROP EXTENSION pg_trgm;
SELECT is(l[cardinality(l)], 'DROP EXTENSION pg_trgm', 'and goes by one') FROM pg_temp.logged() l;
SELECT set_eq('SELECT tag || coalesce($$ $$ || identity, $$$$) FROM berth.ddl_unattributed',
  ARRAY['CREATE TABLE public.t', 'CREATE INDEX public.t_pkey', 'CREATE INDEX public.t_v', 'CREATE INDEX public.t_v2', 'DROP INDEX public.t_v2',
        'GRANT', 'COMMENT public.t.v', 'CREATE VIEW public.w', 'ALTER TABLE public.u', 'DROP TABLE public.u', 'CREATE MATERIALIZED VIEW public.m',
        'CREATE EXTENSION pg_trgm', 'DROP EXTENSION pg_trgm'], 'all of this is drift, but for what extensions make');
COMMENT ON TABLE berth.ddl_log IS 'ours';
SELECT is(pg_temp.logged(), '{COMMENT berth.ddl_log}', 'the schema berth');
SELECT is_empty($$SELECT FROM berth.ddl_unattributed WHERE identity ~ 'berth'$$, 'is no drift');

-- Within migrations.
BEGIN;
SELECT berth.migrate_once('1') \g /dev/null
CREATE TABLE t (id int);
ALTER TABLE t ADD v int;
COMMIT;
SELECT pg_temp.same(pg_temp.logged(), '{CREATE TABLE public.t #1,ALTER TABLE public.t #1}', 'a transactional migration');
SELECT pg_temp.same(array[scope, version, direction, mode], '{default,1,apply,tx}', 'which one') FROM berth.ddl WHERE run_id = 1 LIMIT 1;
BEGIN;
SET LOCAL berth.run = '1';
ALTER TABLE t ADD forged int;
COMMIT;
SELECT pg_temp.same(pg_temp.logged(), '{ALTER TABLE public.t}', 'one that is over cannot be claimed');

CREATE FUNCTION pg_temp.step(usename text, pid int, name text) RETURNS bigint LANGUAGE sql AS $$
  INSERT INTO berth.migration_run (scope, version, direction, mode, status, attempt, started_at, usename, role_name, application_name, pid, cluster)
    VALUES ('default', '2', 'apply', 'step', 'running', 1, now(), $1, $1, $3, $2, '') RETURNING run_id
$$;
SELECT pg_temp.step(session_user, -1, 'elsewhere') AS run, pg_temp.step('app', pg_backend_pid(), 'psql') AS others \gset
CREATE INDEX CONCURRENTLY t_1 ON t (id) /* berth run :run step 3 */;
SELECT pg_temp.logged() \g /dev/null
SELECT format('CREATE INDEX CONCURRENTLY t_2 ON t (id) /* berth run %s step 3 */', :run) \gexec
SELECT pg_temp.same(pg_temp.logged(), array['CREATE INDEX public.t_2 #' || :run], 'a step, by the mark in its text, from any backend');
SELECT format('CREATE INDEX CONCURRENTLY t_3 ON t (id) /* berth run %s step 3 */', :others) \gexec
SELECT pg_temp.same(pg_temp.logged(), '{CREATE INDEX public.t_3}', 'but not that of another user''s run');
SELECT pg_temp.step(session_user, pg_backend_pid(), current_setting('application_name')) AS mine \gset
ALTER TABLE t ADD w int;
SELECT pg_temp.same(pg_temp.logged(), array['ALTER TABLE public.t #' || :mine], 'by the session');
SET application_name = 'another';
ALTER TABLE t ADD w2 int;
RESET application_name;
SELECT pg_temp.same(pg_temp.logged(), '{ALTER TABLE public.t}', 'which is another one when it says so: a pooled backend');
UPDATE berth.migration_run SET backend_start = '2000-01-01' WHERE run_id = :mine;
ALTER TABLE t ADD w5 int;
SELECT pg_temp.same(pg_temp.logged(), '{ALTER TABLE public.t}', 'nor does an earlier backend with the same number count');
UPDATE berth.migration_run SET status = 'resolved' WHERE mode = 'step';
ALTER TABLE t ADD w3 int;
SELECT format('ALTER TABLE t ADD w4 int /* berth run %s step 3 */', :run) \gexec
SELECT pg_temp.same(pg_temp.logged(), '{ALTER TABLE public.t,ALTER TABLE public.t}', 'a run that does not run has none');

-- A baseline takes over what was there.
BEGIN;
SELECT berth.migration_baseline('9', scope => 'base') \g /dev/null
COMMIT;
SELECT is_empty('SELECT FROM berth.ddl_unattributed', 'no drift after a baseline');
ALTER TABLE t ADD late int;
SELECT pg_temp.same(array_agg(identity), '{public.t}', 'only what comes later') FROM berth.ddl_unattributed;

-- Policies: off, log, warn, error.
SELECT berth.set_policy('unattributed_ddl', 'error') \g /dev/null
SELECT pg_temp.same(pg_temp.error_of('CREATE TABLE refused (i int)'),
          array['MG013', 'DDL outside of a migration: CREATE TABLE public.refused', 'Policy unattributed_ddl; it is shown in berth.ddl_unattributed.',
                'Put it into a migration: berth.migrate_once(), or berth.migration_start() for what cannot run in a transaction.'], 'error');
SELECT is((pg_temp.error_of('DROP TABLE t'))[1:2], '{MG013,DDL outside of a migration: DROP TABLE public.t}', 'of a drop');
SELECT is((pg_temp.error_of('CREATE TABLE r1 (i int PRIMARY KEY, j int UNIQUE, k int UNIQUE, l int UNIQUE)'))[2],
          'DDL outside of a migration: CREATE INDEX public.r1_j_key, CREATE INDEX public.r1_k_key, CREATE INDEX public.r1_l_key and 2 more', 'of many');
SELECT is(pg_temp.error_of(statement), NULL, statement) FROM unnest(array['CREATE TEMP TABLE allowed (i int)', 'DROP TABLE allowed',
  'REFRESH MATERIALIZED VIEW m', $$COMMENT ON TABLE berth.ddl_log IS 'ours'$$, $$SELECT berth.grant_access('tester', 'read')$$]) statement;
SELECT is(pg_temp.error_of($$DO 'BEGIN PERFORM berth.migrate_once(''3''); CREATE TABLE allowed (i int); DROP TABLE allowed; END'$$), NULL, 'a migration may');
\set ON_ERROR_STOP 0
CREATE INDEX CONCURRENTLY refused ON t (id);
SELECT is(:'SQLSTATE'::text, 'MG013', 'what is built concurrently is refused');
SELECT hasnt_index('t', 'refused', 'before it begins');
DROP INDEX CONCURRENTLY t_2;
SELECT is(:'SQLSTATE'::text, 'MG013', 'nor is anything dropped');
SELECT ok(indisvalid, 'it is untouched') FROM pg_index WHERE indexrelid = 't_2'::regclass;
\set ON_ERROR_STOP 1
SELECT berth.set_policy('unattributed_ddl', 'off') \g /dev/null
ALTER TABLE t ADD quiet int;
SELECT berth.set_policy('unattributed_ddl', 'log') \g /dev/null

-- Rewrites.
INSERT INTO t VALUES (1);
CREATE TEMP TABLE x (i int);
SELECT is(pg_temp.error_of('ALTER TABLE t ALTER v TYPE bigint'), NULL, 'a rewrite is allowed by default');
SELECT ok('ALTER TABLE public.t table_rewrite' = ANY (array_agg(tag || ' ' || identity || ' ' || event)), 'and logged') FROM berth.ddl;
SELECT is_empty($$SELECT FROM berth.ddl_unattributed WHERE event = 'table_rewrite'$$, 'once is enough as drift');
SELECT berth.set_policy('table_rewrite', 'error') \g /dev/null
SELECT pg_temp.same(e[1:2] || e[4], array['MG015', 'statement would rewrite table public.t (reason change of a column''s type)',
          'Expand and contract: add a column of the new type, let a trigger keep it in step, fill it by CALL berth.backfill(...), '
          'let applications use it, and drop the old one in a later migration.'], 'MG015'),
       matches(e[3], '^Policy table_rewrite\. The table has about 16 kB, and nobody can use it meanwhile\.$', 'its size')
  FROM pg_temp.error_of('ALTER TABLE t ALTER v TYPE text') e;
SELECT is((pg_temp.error_of('ALTER TABLE t ADD r float DEFAULT random()'))[2],
          'statement would rewrite table public.t (reason a default that must be computed for each row)', 'a volatile default');
SELECT is((pg_temp.error_of('ALTER TABLE t SET UNLOGGED'))[2], 'statement would rewrite table public.t (reason change of LOGGED or UNLOGGED)', 'unlogged');
SELECT is(pg_temp.error_of(statement), NULL, statement) FROM unnest(array['ALTER TABLE t ADD c int DEFAULT 5', 'ALTER TABLE x ALTER i TYPE text']) statement;
SELECT is((berth.rewrite_reason(8)).words, 'change of the access method', 'the access method'), is((berth.rewrite_reason(64)).words, '64', 'an unknown one'),
       is((berth.rewrite_reason(6)).words, 'a default that must be computed for each row, change of a column''s type', 'two reasons');
SELECT berth.set_policy('table_rewrite', 'off', 'tenant') \g /dev/null
SELECT is(pg_temp.error_of($$DO 'BEGIN PERFORM berth.migrate_once(''4'', scope => ''tenant''); ALTER TABLE t ALTER v TYPE text; END'$$), NULL,
          'the policy of the scope counts in its migrations');

-- Secrets.
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER far FOREIGN DATA WRAPPER nowhere OPTIONS (host 'sesame');
CREATE USER MAPPING FOR PUBLIC SERVER far OPTIONS (user 'me', password 'sesame');
DO $$ BEGIN
  EXECUTE 'ALTER ROLE tester PASSWORD ''sesame''';
  CREATE TABLE with_secret (password text);
END $$;
CREATE TABLE url (t text DEFAULT 'postgres://me:sesame@host/db');
SELECT is_empty($$SELECT FROM berth.ddl_log WHERE statement ~ 'sesame'$$, 'no secret is logged');
SELECT pg_temp.same(array_agg(statement ORDER BY id), array['CREATE SERVER far FOREIGN DATA WRAPPER nowhere /* the rest is not kept, it may hold a secret */',
          'CREATE USER MAPPING FOR PUBLIC SERVER far /* the rest is not kept, it may hold a secret */',
          E'DO $$ BEGIN\n  EXECUTE ''ALTER ROLE tester /* the rest is not kept, it may hold a secret */',
          'CREATE TABLE url (t text DEFAULT ''postgres://me:***@host/db'');'], 'what is kept')
  FROM berth.ddl WHERE identity IN ('far', 'for public on server far', 'public on server far', 'public.with_secret', 'public.url');
SELECT is(statement_sha, encode(sha256(convert_to(statement, 'UTF8')), 'hex'), 'nor could one be guessed from the hash') FROM berth.ddl WHERE identity = 'public.url';
SELECT ok(berth.without_secrets(s) !~ 'sesame', s) FROM unnest(array[
  $$create role a encrypted PassWord 'sesame'$$, $$create role a password/* x */'sesame'$$, $$create role a password -- x
'sesame'$$, $$alter role a password E'\'sesame'$$, $$alter role a password U&'sesame'$$, 'alter role a password $x$sesame$x$', $$create role a password'sesame'$$,
  $$/* don't */ create user mapping for a server b options (password 'sesame')$$, $$create subscription s connection 'host=h password=sesame' publication p$$,
  $$create subscription s connection 'postgres://a:sesame@h/d' publication p$$, $$select dblink('host=h password = sesame')$$]) s;
SELECT is(berth.without_secrets(s), s, s) FROM unnest(array['create table t (password text not null, options text)', 'select ''http://host/x''', '']) s;
SELECT format('CREATE TABLE long (t text DEFAULT %L)', repeat('x', 20000)) \gexec
SELECT is(length(statement), 10000, 'long statements are cut') FROM berth.ddl WHERE identity = 'public.long';

-- Who is who, and who may see.
GRANT CREATE ON SCHEMA public TO tester, app;
CREATE ROLE other_tester LOGIN;
SET SESSION AUTHORIZATION app;
CREATE TABLE by_app (i int);
RESET SESSION AUTHORIZATION;
SET ROLE tester;
CREATE TABLE by_tester (i int);
RESET ROLE;
SELECT pg_temp.same(array_agg(usename || ' ' || statement ORDER BY id), array['app CREATE TABLE by_app (i int);', session_user || ' CREATE TABLE by_tester (i int);'],
          'the one who logged in counts; no privilege is needed') FROM berth.ddl WHERE identity LIKE 'public.by%';
SELECT is(pg_temp.as_role('tester', $$SELECT string_agg(identity || coalesce(statement, '-'), ',') FROM berth.ddl WHERE identity LIKE 'public.by%'$$),
          'public.by_app-,public.by_tester-', 'readers see what was done, not the statements of others');
GRANT app TO tester;
SELECT is(pg_temp.as_role('tester', $$SELECT string_agg(identity || coalesce(statement, '-'), ',') FROM berth.ddl_unattributed WHERE identity LIKE 'public.by%'$$),
          'public.by_appCREATE TABLE by_app (i int);,public.by_tester-', 'but those of their roles');
CREATE TEMP TABLE attempt (statement text, level int);
INSERT INTO attempt VALUES ('SELECT count(*) FROM berth.ddl', 1), ('SELECT count(*) FROM berth.ddl_unattributed', 1), ('SELECT berth.disable_ddl_log()', 3),
  ('SELECT berth.enable_ddl_log()', 3), ($$SELECT berth.prune_ddl_log('1h')$$, 3), ('SELECT count(*) FROM berth.ddl_log', 4),
  ($$SELECT berth.log_ddl('', '', '')$$, 4), ('DELETE FROM berth.ddl_log', 4);
GRANT SELECT ON attempt TO PUBLIC;
CREATE ROLE runner_1; CREATE ROLE admin_1;
SELECT berth.grant_access('runner_1', 'runner'), berth.grant_access('admin_1', 'admin') \g /dev/null
SELECT is(pg_temp.as_role(r.role, a.statement) = '42501', a.level > r.level, r.role || ': ' || a.statement)
  FROM attempt a, (VALUES ('other_tester', 0), ('tester', 1), ('runner_1', 2), ('admin_1', 3)) r (role, level);
SELECT is(count(*), 4::bigint, 'it is still on') FROM pg_event_trigger;

-- Pruning, the end.
SELECT throws_ok('SELECT berth.prune_ddl_log(NULL)', '22023'), throws_ok($$SELECT berth.prune_ddl_log('-1s')$$, '22023');
SELECT is(berth.prune_ddl_log('1h'), 0::bigint, 'nothing is that old');
UPDATE berth.ddl_log SET at = at - interval '2h' WHERE id IN (1, 2);
SELECT is(berth.prune_ddl_log('1h'), 2::bigint, 'two are');
SELECT is(min(id), 3::bigint, 'and are gone') FROM berth.ddl_log;
SELECT berth.disable_ddl_log(), berth.disable_ddl_log() \g /dev/null
SELECT pg_temp.logged() \g /dev/null
CREATE TABLE afterwards (i int);
SELECT is(pg_temp.logged(), '{}', 'nothing more is logged'), is_empty('SELECT FROM pg_event_trigger', 'the triggers are gone');

SELECT * FROM finish();
DROP OWNED BY tester, runner_1, admin_1, app;
DROP ROLE tester, runner_1, admin_1, other_tester;
