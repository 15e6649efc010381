-- berth.adopt() and berth.unadopt(): arguments, errors, privileges, what is taken over, and rows that the recorded tools do not send.
\ir helpers.sql
\pset fieldsep '\n'
SELECT * FROM no_plan();

-- The versions of a scope, and its runs, each as one text.
CREATE FUNCTION pg_temp.versions(scope text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(concat_ws(' ', m.version, m.kind, m.state), ', ' ORDER BY m.seq) FROM berth.migration m WHERE m.scope = $1 $$;
CREATE FUNCTION pg_temp.runs(scope text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(concat_ws(' ', r.version, r.direction, r.status, r.outcome), ', ' ORDER BY r.run_id)
    FROM berth.migration_run r WHERE r.scope = $1 $$;
SET client_min_messages = error;

-- Errors.
SELECT pg_temp.same(pg_temp.error_of($$SELECT berth.adopt('make')$$), array['22023', 'no such tool: "make"', '',
  'One of: dbmate, flyway, golang-migrate, liquibase, node-pg-migrate, sqitch.'], 'another tool');
SELECT is((pg_temp.error_of($$SELECT berth.adopt(NULL)$$))[1], '22023', 'no tool');
SELECT is((pg_temp.error_of($$SELECT berth.adopt('dbmate', scope => '*')$$))[1], '22023', 'no scope');
SELECT pg_temp.same(pg_temp.error_of($$SELECT berth.adopt('sqitch')$$), array['42P01', 'there is no table sqitch.events', '',
  'Let sqitch make it first, or name it: SELECT berth.adopt(''sqitch'', ''schema.table'').'], 'no table yet');
CREATE TABLE lacking (version text, installed_rank int);
SELECT pg_temp.same(pg_temp.error_of($$SELECT berth.adopt('flyway', 'lacking')$$), array['42809',
  'public.lacking is not a history table of flyway: it has no column description, type, script, checksum, installed_by, installed_on, '
  'execution_time, success', 'Columns that it must have: installed_rank, version, description, type, script, checksum, installed_by, '
  'installed_on, execution_time, success.', 'flyway calls its table public.flyway_schema_history unless it is told otherwise.'],
  'columns are missing, by name');
CREATE VIEW seen AS SELECT version FROM lacking;
SELECT pg_temp.same((pg_temp.error_of($$SELECT berth.adopt('dbmate', 'seen')$$))[1:2],
  array['42809', 'public.seen is not a history table of dbmate: it is not an ordinary table'], 'a view');
CREATE TABLE schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL);
SELECT pg_temp.same((pg_temp.error_of($$SELECT berth.adopt('dbmate')$$))[1:2], array['42809',
  'public.schema_migrations is not a history table of dbmate: it has a column dirty, as golang-migrate''s has'], 'not dbmate''s');
SELECT is(berth.unadopt('schema_migrations'), 'public.schema_migrations is not adopted', 'nothing to end');

-- golang-migrate: dirty when it was taken over, repaired, and set by hand.
INSERT INTO schema_migrations VALUES (3, true);
SELECT is(berth.adopt('golang-migrate', scope => 'go'),
  'adopted public.schema_migrations of golang-migrate, in scope "go"; one row was taken over', 'what it did, in words');
SELECT is(berth.adopt('golang-migrate', scope => 'go'),
  'had already adopted public.schema_migrations of golang-migrate, in scope "go"; nothing was to be taken over', 'twice is once');
SELECT is(count(*), 2::bigint, 'two triggers') FROM pg_trigger WHERE tgrelid = 'schema_migrations'::regclass AND tgname LIKE 'berth_adopt%';
SELECT is(count(*), 2::bigint, 'which a replica does not fire') FROM pg_trigger
 WHERE tgrelid = 'schema_migrations'::regclass AND tgenabled = 'O';
SELECT pg_temp.same((pg_temp.error_of($$SELECT berth.adopt('golang-migrate')$$))[1:2] || (pg_temp.error_of($$SELECT berth.adopt('golang-migrate')$$))[4:4],
  array['42710', 'public.schema_migrations is adopted already, as a table of golang-migrate in scope "go"',
        'End that first: SELECT berth.unadopt(''public.schema_migrations'').'], 'not into two scopes');
SELECT is(pg_temp.versions('go'), NULL, 'dirty is not applied');
SELECT pg_temp.same(array[status, message, mode], array['failed', 'table is marked dirty', 'step'], 'it is failed') FROM berth.migration_run WHERE scope = 'go';
UPDATE schema_migrations SET dirty = false;
SELECT is(pg_temp.versions('go'), '3 versioned applied', 'repaired by hand');
SELECT is(pg_temp.runs('go'), '3 apply resolved applied', 'its run is resolved');
UPDATE schema_migrations SET version = 9;
SELECT is(pg_temp.versions('go'), '3 versioned applied, 9 baseline applied', 'set by hand to a higher one');
BEGIN;
TRUNCATE schema_migrations;
INSERT INTO schema_migrations VALUES (10, true);
COMMIT;
SELECT is(pg_temp.versions('go'), '3 versioned applied, 9 baseline applied', 'begun is not applied');
SELECT pg_temp.same(array[version, direction, status, tool], array['10', 'apply', 'running', 'golang-migrate'], 'it is running')
  FROM berth.migration_run WHERE run_id = (SELECT max(run_id) FROM berth.migration_run);
BEGIN;
TRUNCATE schema_migrations;
INSERT INTO schema_migrations VALUES (9, false);
COMMIT;
SELECT is(pg_temp.runs('go'), '3 apply resolved applied, 9 repair done, 10 apply resolved reverted', 'forced back');
SELECT is(pg_temp.versions('go'), '3 versioned applied, 9 baseline applied', 'and nothing else');
BEGIN;
TRUNCATE schema_migrations;
INSERT INTO schema_migrations VALUES (-1, true);
COMMIT;
SELECT is(count(*), 1::bigint, 'the way down to nothing begins') FROM berth.migration_run WHERE scope = 'go' AND direction = 'revert' AND status = 'running';
BEGIN;
TRUNCATE schema_migrations;
COMMIT;
SELECT is(pg_temp.versions('go'), '3 versioned reverted, 9 baseline reverted', 'and ends');
SELECT is_empty($$SELECT FROM berth.migration_lease$$, 'with its lease');
INSERT INTO schema_migrations VALUES (2, false);
DELETE FROM schema_migrations;
SELECT is(pg_temp.versions('go'), '3 versioned reverted, 9 baseline reverted, 2 baseline reverted', 'DELETE is as good as TRUNCATE');
SELECT is(berth.unadopt('schema_migrations'), 'public.schema_migrations of golang-migrate is no longer adopted; its history in scope "go" stays', 'ended');
INSERT INTO schema_migrations VALUES (50, false);
SELECT is(pg_temp.versions('go'), '3 versioned reverted, 9 baseline reverted, 2 baseline reverted', 'no more');
SELECT is_empty($$SELECT FROM pg_trigger WHERE tgrelid = 'schema_migrations'::regclass$$, 'no trigger is left');
SELECT ok(berth.adopt('golang-migrate', scope => 'go') ~ 'one row', 'and again');
SELECT is(pg_temp.versions('go'), '3 versioned reverted, 9 baseline reverted, 2 baseline reverted, 50 baseline applied', 'what was missed is taken over');

-- dbmate, in a table with a name that needs quotes, and a scope, too. What it has is taken over once.
CREATE SCHEMA "odd schema";
CREATE TABLE "odd schema"."Odd ""name""" (version varchar PRIMARY KEY);
INSERT INTO "odd schema"."Odd ""name""" VALUES ('1'), ('2');
SELECT ok(berth.adopt('dbmate', '"odd schema"."Odd ""name"""', 'te''nant') ~ '2 rows', 'a table with an odd name');
INSERT INTO "odd schema"."Odd ""name""" VALUES ('4'), ('3');
SELECT is(pg_temp.versions('te''nant'), '1 versioned applied, 2 versioned applied, 4 versioned applied, 3 versioned applied', 'several at once');
SELECT is(string_agg(version, ',' ORDER BY seq), '3', 'one is out of order') FROM berth.migration WHERE scope = 'te''nant' AND out_of_order;
SELECT pg_temp.same(array[direction, mode, status, tool, info ->> 'rows', info ->> 'table', version],
  array['baseline', 'tx', 'done', 'dbmate', '2', '"odd schema"."Odd ""name"""', '2'], 'taken over by one run')
  FROM berth.migration_run WHERE scope = 'te''nant' ORDER BY run_id LIMIT 1;
DELETE FROM "odd schema"."Odd ""name""" WHERE version IN ('3', '4');
SELECT is(pg_temp.versions('te''nant'), '1 versioned applied, 2 versioned applied, 4 versioned reverted, 3 versioned reverted', 'both are undone');
INSERT INTO "odd schema"."Odd ""name""" VALUES ('4');
SELECT is(attempt, 2, 'the second attempt') FROM berth.migration_run WHERE scope = 'te''nant' AND version = '4' ORDER BY run_id DESC LIMIT 1;
BEGIN;
INSERT INTO "odd schema"."Odd ""name""" VALUES ('5');
ROLLBACK;
SELECT is_empty($$SELECT FROM berth.migration_run WHERE version = '5'$$, 'what is rolled back was not');

-- Restores: neither COPY nor a replica records anything.
COPY "odd schema"."Odd ""name""" FROM PROGRAM 'echo 6';
SET session_replication_role = replica;
INSERT INTO "odd schema"."Odd ""name""" VALUES ('7');
RESET session_replication_role;
SELECT is_empty($$SELECT FROM berth.migration_run WHERE version IN ('6', '7')$$, 'a restore is not recorded');
SELECT ok(berth.adopt('dbmate', '"odd schema"."Odd ""name"""', 'te''nant') ~ '2 rows', 'but can be taken over');

-- What migrate_once() has recorded in the same scope is known already.
BEGIN;
SELECT ok(berth.migrate_once('8', scope => 'te''nant'), 'a script that records itself');
INSERT INTO "odd schema"."Odd ""name""" VALUES ('8');
COMMIT;
SELECT is(count(*), 1::bigint, 'has one run') FROM berth.migration_run WHERE version = '8' AND scope = 'te''nant';

-- The tool goes on, whatever happens to the table or to the journal.
ALTER TABLE "odd schema"."Odd ""name""" RENAME version TO name;
SET client_min_messages = warning;
\set ON_ERROR_STOP 0
INSERT INTO "odd schema"."Odd ""name""" VALUES ('9');
SELECT is(:'SQLSTATE'::text, '00000', 'the statement succeeds');
\set ON_ERROR_STOP 1
SET client_min_messages = error;
SELECT is(count(*), 1::bigint, 'and its row is there') FROM "odd schema"."Odd ""name""" WHERE name = '9';
SELECT is_empty($$SELECT FROM berth.migration_run WHERE version = '9' AND scope <> 'go'$$, 'without a record');
ALTER TABLE "odd schema"."Odd ""name""" RENAME name TO version;
ALTER TABLE schema_migrations RENAME dirty TO soiled;
UPDATE schema_migrations SET version = 60;
ALTER TABLE schema_migrations RENAME soiled TO dirty;
SELECT is(pg_temp.versions('go'), '3 versioned reverted, 9 baseline reverted, 2 baseline reverted, 50 baseline applied', 'golang-migrate''s, too');
ALTER TABLE berth.migration ADD CONSTRAINT refused CHECK (version <> '61');
UPDATE schema_migrations SET version = 61;
ALTER TABLE berth.migration DROP CONSTRAINT refused;
SELECT is(version, 61::bigint, 'an error of the journal at the end of the transaction, too') FROM schema_migrations;

-- Roles. Whoever migrates needs no rights on the journal; whoever adopts must own the table.
GRANT USAGE ON SCHEMA "odd schema" TO app, app2;
GRANT ALL ON "odd schema"."Odd ""name""" TO app;
SET SESSION AUTHORIZATION app;
INSERT INTO "odd schema"."Odd ""name""" VALUES ('20');
RESET SESSION AUTHORIZATION;
SELECT pg_temp.same(array[r.usename, r.role_name, r.status, m.applied_by], array['app', 'app', 'done', 'app'], 'who it was')
  FROM berth.migration_run r JOIN berth.migration m ON m.last_run = r.run_id WHERE r.version = '20';
SELECT is(pg_temp.as_role('app', $$SELECT berth.adopt('dbmate')$$), '42501', 'not for everybody');
SELECT berth.grant_access('app', 'runner');
SELECT is(pg_temp.as_role('app', $$SELECT berth.adopt('dbmate')$$), '42501', 'nor for those who only run migrations');
SELECT is(pg_temp.as_role('app', $$SELECT berth.unadopt('schema_migrations')$$), '42501', 'neither the end of it');
SELECT berth.grant_access('app2', 'admin');
SELECT is(pg_temp.as_role('app2', $$SELECT berth.adopt('golang-migrate', scope => 'go')$$), 'MG040', 'the table of somebody else');
SELECT is(pg_temp.as_role('app2', $$SELECT berth.unadopt('schema_migrations')$$), 'MG040', 'neither the end of it');
SET ROLE app2;
SELECT pg_temp.same(pg_temp.error_of($$SELECT berth.adopt('golang-migrate')$$), array['MG040', 'role app2 may not adopt public.schema_migrations',
  'The table belongs to postgres.', 'Call berth.adopt() as postgres, as a member of it, or as a superuser.'], 'and why');
RESET ROLE;
CREATE SCHEMA AUTHORIZATION app2;
SET ROLE app2;
CREATE TABLE app2.schema_migrations (version varchar PRIMARY KEY);
SELECT ok(berth.adopt('dbmate', 'app2.schema_migrations', 'app2') ~ '^adopted', 'its owner may');
INSERT INTO app2.schema_migrations VALUES ('1');
SELECT ok(berth.unadopt('app2.schema_migrations') ~ 'no longer', 'and end it');

-- A table whose columns run its owner's code when they are cast: neither adopt() nor the triggers may do that.
CREATE TABLE app2.caught (who text);
CREATE TYPE app2.trap AS (version text);
CREATE FUNCTION app2.spring(app2.trap) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO app2.caught VALUES (current_user);
  RETURN $1.version;
END $$;
CREATE CAST (app2.trap AS text) WITH FUNCTION app2.spring(app2.trap) AS IMPLICIT;
CREATE FUNCTION app2.spring_json(app2.trap) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO app2.caught VALUES (current_user);
  RETURN '{}';
END $$;
CREATE CAST (app2.trap AS jsonb) WITH FUNCTION app2.spring_json(app2.trap);
CREATE TABLE app2.trapped (version app2.trap, name app2.trap, run_on app2.trap, dirty app2.trap, installed_rank app2.trap, description app2.trap,
  type app2.trap, script app2.trap, checksum app2.trap, installed_by app2.trap, installed_on app2.trap, execution_time app2.trap,
  success app2.trap, event app2.trap, change_id app2.trap, change app2.trap, project app2.trap, note app2.trap, requires app2.trap,
  conflicts app2.trap, committed_at app2.trap, committer_name app2.trap, id app2.trap, author app2.trap, filename app2.trap,
  dateexecuted app2.trap, orderexecuted app2.trap, exectype app2.trap, md5sum app2.trap, comments app2.trap, liquibase app2.trap);
CREATE TABLE app2.trapped_dbmate (version app2.trap);
CREATE TABLE app2.saved AS SELECT (row).* FROM (SELECT jsonb_populate_record(NULL::app2.trapped, (SELECT jsonb_object_agg(attname,
  jsonb_build_object('version', '1')) FROM pg_attribute WHERE attrelid = 'app2.trapped'::regclass AND attnum > 0)) AS row) r;
RESET ROLE;
SELECT is(count(*), 6::bigint, 'all tools are tried') FROM berth.adoptable();
SET ROLE app2;
CREATE FUNCTION pg_temp.spring_all() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  tool text;
  rel text;
  columns text;
BEGIN
  FOREACH tool IN ARRAY array['golang-migrate', 'flyway', 'node-pg-migrate', 'sqitch', 'liquibase', 'dbmate'] LOOP
    rel := CASE tool WHEN 'dbmate' THEN 'app2.trapped_dbmate' ELSE 'app2.trapped' END;
    columns := CASE tool WHEN 'dbmate' THEN 'version' ELSE '*' END;
    EXECUTE format('INSERT INTO %s SELECT %s FROM app2.saved', rel, columns);
    PERFORM pg_temp.error_of(format('SELECT berth.adopt(%L, %L, %L)', tool, rel, 'trap ' || tool));  -- rows that are there
    EXECUTE format('DELETE FROM %s', rel);
    RETURN NEXT berth.adopt(tool, rel, 'trap ' || tool);
    EXECUTE format('INSERT INTO %s SELECT %s FROM app2.saved', rel, columns);
    EXECUTE format('UPDATE %s SET version = row(''2'')::app2.trap', rel);
    EXECUTE format('DELETE FROM %s', rel);
    PERFORM berth.unadopt(rel::regclass);
  END LOOP;
END $$;
SELECT is(count(*), 6::bigint, 'each of them adopts the table') FROM pg_temp.spring_all() a WHERE a ~ 'adopted';
RESET ROLE;
SELECT is_empty($$SELECT FROM app2.caught$$, 'no code of the table''s owner ran');
SELECT is(pg_temp.versions('trap dbmate'), '(1) versioned applied', 'though it was recorded');

-- Sqitch: failures and reverted changes when taken over; a change that was reworked.
CREATE SCHEMA sqitch;
CREATE TABLE sqitch.events (event text NOT NULL, change_id text NOT NULL, change text NOT NULL, project text NOT NULL, note text NOT NULL DEFAULT '',
  requires text[] NOT NULL DEFAULT '{}', conflicts text[] NOT NULL DEFAULT '{}', tags text[] NOT NULL DEFAULT '{}',
  committed_at timestamptz NOT NULL DEFAULT clock_timestamp(), committer_name text NOT NULL DEFAULT 'Tester');
INSERT INTO sqitch.events (event, change_id, change, project, committed_at) VALUES
  ('deploy', 'a', 'a', 'p', '2026-01-01 01:00+00'), ('fail', 'b', 'b', 'p', '2026-01-02 01:00+00'), ('deploy', 'c', 'c', 'p', '2026-01-03 01:00+00'),
  ('revert', 'c', 'c', 'p', '2026-01-04 01:00+00'), ('fail', 'd', 'd', 'p', '2026-01-04 02:00+00'), ('deploy', 'd', 'd', 'p', '2026-01-05 01:00+00');
SELECT ok(berth.adopt('sqitch', scope => 's') ~ '3 rows', 'the events of Sqitch');
SELECT is(pg_temp.versions('s'), 'p:a versioned applied, p:d versioned applied', 'the last event counts');
SELECT is(pg_temp.runs('s'), 'p:d baseline done, p:b apply failed', 'a failure is one');
SELECT pg_temp.same(array[applied_at = '2026-01-01 01:00+00', applied_by = 'Tester']::text[], '{true,true}', 'when and who') FROM berth.migration
 WHERE version = 'p:a';
SELECT ok(berth.adopt('sqitch', scope => 's') ~ 'nothing', 'only once');
INSERT INTO sqitch.events (event, change_id, change, project, requires, conflicts) VALUES ('deploy', 'e1', 'e', 'p', '{a@v1,other:x,@v2}', '{z}');
SELECT pg_temp.same(requires || conflicts, '{p:a,other:x,p:z}', 'names of other changes') FROM berth.migration WHERE version = 'p:e';
INSERT INTO sqitch.events (event, change_id, change, project) VALUES ('deploy', 'e2', 'e', 'p');
INSERT INTO sqitch.events (event, change_id, change, project) VALUES ('revert', 'e2', 'e', 'p');
SELECT is(state, 'applied', 'the first e is there') FROM berth.migration WHERE version = 'p:e';
INSERT INTO sqitch.events (event, change_id, change, project) VALUES ('revert', 'e1', 'e', 'p');
SELECT is(state, 'reverted', 'now it is not') FROM berth.migration WHERE version = 'p:e';
INSERT INTO sqitch.events (event, change_id, change, project) VALUES ('deploy', 'b', 'b', 'p');
SELECT ok(pg_temp.runs('s') LIKE '%p:b apply resolved retry%p:b apply done', 'the second attempt succeeds');

-- Flyway: what a table says that was used before.
CREATE TABLE flyway_schema_history (installed_rank int NOT NULL PRIMARY KEY, version varchar(50), description varchar(200) NOT NULL, type varchar(20) NOT NULL,
  script varchar(1000) NOT NULL, checksum int, installed_by varchar(100) NOT NULL DEFAULT 'app', installed_on timestamp NOT NULL DEFAULT now(),
  execution_time int NOT NULL DEFAULT 5, success boolean NOT NULL DEFAULT true);
INSERT INTO flyway_schema_history (installed_rank, version, description, type, script, checksum, success) VALUES
  (0, NULL, 'made', 'SCHEMA', 'x', NULL, true), (1, '1', 'base', 'BASELINE', 'x', NULL, true), (2, '2', 'two', 'SQL', 'V2__two.sql', 2, true),
  (3, '3', 'three', 'SQL', 'V3__three.sql', 3, true), (4, '3', 'three', 'UNDO_SQL', 'U3__three.sql', 3, true),
  (5, '4', 'four', 'SQL', 'V4__four.sql', 4, true), (6, '4', 'four', 'DELETE', 'V4__four.sql', 4, true),
  (7, NULL, 'views', 'SQL', 'R__views.sql', 7, true), (8, '5', 'five', 'SQL', 'V5__five.sql', 5, false);
SELECT ok(berth.adopt('flyway', scope => 'f') ~ '4 rows', 'the table of Flyway');
SELECT is(pg_temp.versions('f'), '1 baseline applied, 2 versioned applied, R__views.sql repeatable applied', 'the last row of a version counts');
SELECT pg_temp.same(array[checksum, checksum_algo, applied_by, description], array['flyway:2', 'flyway', 'app', 'two'], 'a version of Flyway')
  FROM berth.migration WHERE scope = 'f' AND version = '2';
SELECT is(pg_temp.runs('f'), 'R__views.sql baseline done, 5 apply failed', 'a failed one');
SELECT is(state, 'failed', 'is seen') FROM berth.migration_status('f') WHERE version = '5';
DELETE FROM flyway_schema_history WHERE version = '2';
SELECT is(state, 'reverted', 'a row that is gone') FROM berth.migration WHERE scope = 'f' AND version = '2';

-- Liquibase: again, and updates that are none.
CREATE TABLE databasechangelog (id varchar(255) NOT NULL, author varchar(255) NOT NULL, filename varchar(255) NOT NULL, dateexecuted timestamp NOT NULL
  DEFAULT now(), orderexecuted int NOT NULL, exectype varchar(10) NOT NULL, md5sum varchar(35), comments varchar(255), tag varchar(255), liquibase varchar(20));
INSERT INTO databasechangelog (id, author, filename, orderexecuted, exectype, md5sum) VALUES ('1', 'me', 'c.xml', 1, 'EXECUTED', '8:1'), ('2', 'me', 'c.xml', 2, 'SKIPPED', NULL);
SELECT ok(berth.adopt('liquibase', scope => 'l') ~ 'one row', 'the table of Liquibase');
UPDATE databasechangelog SET tag = 'v1', md5sum = NULL;
SELECT pg_temp.same(array[checksum, (SELECT count(*)::text FROM berth.migration_run WHERE scope = 'l')], array[NULL, '1'], 'checksums are cleared, nothing ran')
  FROM berth.migration WHERE scope = 'l';
UPDATE databasechangelog SET exectype = 'RERAN', orderexecuted = 3, md5sum = '8:2' WHERE id = '1';
SELECT is(pg_temp.runs('l'), 'c.xml::1::me baseline done, c.xml::1::me apply done', 'a change set that ran again');
SELECT is(checksum, 'liquibase:8:2', 'with its checksum') FROM berth.migration WHERE scope = 'l';
INSERT INTO databasechangelog (id, author, filename, orderexecuted, exectype, liquibase) VALUES ('3', 'me', 'c.xml', 4, 'FAILED', '4.3.3'), ('4', 'me', 'c.xml', 5, 'MARK_RAN', '4.3.3');
SELECT is(pg_temp.versions('l'), 'c.xml::1::me versioned applied, c.xml::4::me versioned applied', 'marked as run is applied, failed is not');
SELECT pg_temp.same(array[status, tool_version], array['failed', '4.3.3'], 'the failed one') FROM berth.migration_run WHERE version = 'c.xml::3::me';

-- node-pg-migrate: the time of its rows.
CREATE TABLE pgmigrations (id serial PRIMARY KEY, name varchar(255) NOT NULL, run_on timestamp NOT NULL);
SET timezone = 'UTC';
INSERT INTO pgmigrations (name, run_on) VALUES ('b', '2026-01-01 02:00'), ('a', '2026-01-01 01:00');
SET datestyle = 'SQL, DMY';
SELECT ok(berth.adopt('node-pg-migrate', scope => 'n') ~ '2 rows', 'the table of node-pg-migrate');
RESET datestyle;
SELECT is(string_agg(version || ' ' || applied_at, ', ' ORDER BY seq), 'a 2026-01-01 01:00:00+00, b 2026-01-01 02:00:00+00', 'in the order of its times')
  FROM berth.migration WHERE scope = 'n';

-- The end: without CASCADE the extension stays, with it the tools' tables do.
SELECT is((pg_temp.error_of('DROP EXTENSION pgberth'))[1], '2BP01', 'triggers need the extension');
-- A table may have a row that no tool writes.
CREATE TABLE odd (version text PRIMARY KEY);
INSERT INTO odd VALUES (''), ('1');
SELECT is(berth.adopt('dbmate', 'odd', 'odd'), 'adopted public.odd of dbmate, in scope "odd"; 2 rows were taken over', 'an empty version');
SELECT * FROM finish();
