-- What is to be said of versions: status, pending, exit code, assert_ready, the views; and that it does not get slow.
\ir helpers.sql
\pset fieldsep '\n'
SELECT * FROM no_plan();
-- A version's row as text.
CREATE FUNCTION pg_temp.row_of(version text, scope text DEFAULT 'default') RETURNS text[] LANGUAGE sql AS $$
  SELECT ARRAY[s.state, s.checksum_ok::text, s.problem] FROM berth.migration_status($2) s WHERE s.version = $1
$$;
-- A stepwise run as it would be found: by its lease, or without one.
CREATE FUNCTION pg_temp.stepwise(version text, status text, lease interval DEFAULT NULL, cluster text DEFAULT NULL, scope text DEFAULT 'default')
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  id bigint;
BEGIN
  INSERT INTO berth.migration_run (scope, version, direction, mode, status, attempt, started_at, usename, role_name, pid, sqlstate, message,
                                   request, cluster)
    VALUES ($5, $1, 'apply', 'step', $2, 1, now(), 'someone', 'someone', 0, CASE WHEN $2 = 'failed' THEN '22012' END,
            CASE WHEN $2 = 'failed' THEN 'division by zero' END, '{"kind": "versioned"}', coalesce($4, berth.cluster()))
    RETURNING run_id INTO id;
  INSERT INTO berth.migration_step (run_id, step_no, label, kind, status) VALUES (id, 1, 'first', 'sql', 'done'), (id, 2, 'fill', 'backfill', 'running');
  IF $3 IS NOT NULL THEN
    INSERT INTO berth.migration_lease VALUES ($5, gen_random_uuid(), id, 'holder', 0, now(), true, '1min', now(), now(), now() + $3)
      ON CONFLICT ON CONSTRAINT migration_lease_pkey DO UPDATE SET run_id = id, expires_at = excluded.expires_at;
  END IF;
  RETURN id;
END $$;

SELECT is_empty('SELECT * FROM berth.migration_status()', 'nothing yet');
SELECT is(berth.migration_exit_code(), 0, 'so all is well');
SELECT lives_ok('SELECT berth.assert_ready(NULL)', 'nothing is needed');
SELECT pg_temp.same(pg_temp.error_of($$SELECT berth.assert_ready('1')$$), array['MG030', 'database has no migration applied, application needs at least "1"',
          'Scope "default"; missing: 1.', 'SELECT * FROM berth.migration_status(''default'').'], 'a version is');

-- The plan.
SELECT berth.plan(v, 'version ' || v, 'x:' || v) FROM unnest('{10,9,1}'::text[]) v;
SELECT lives_ok($$SELECT berth.plan('views', checksum => 'x:v', kind => 'repeatable')$$, 'also what is repeatable');
SELECT is((pg_temp.error_of(statement))[1], '22023', statement) FROM unnest(array[$$SELECT berth.plan('')$$, $$SELECT berth.plan('1', scope => '*')$$,
  $$SELECT berth.plan('views', kind => 'repeatable')$$, $$SELECT berth.plan('1', kind => 'seldom')$$]) statement;
SELECT berth.plan('1', 'first', 'x:1');
SELECT pg_temp.same(array_agg(array[version, description] ORDER BY ord), '{{10,"version 10"},{9,"version 9"},{1,first},{views,NULL}}', 'a second call replaces the first')
  FROM berth.migration_plan;
SELECT ok(berth.unplan('10'), 'out of the plan'), ok(NOT berth.unplan('10'), 'once');
SELECT berth.plan('10', checksum => 'x:10');
SELECT pg_temp.same(array_agg(version || ' ' || state || ' ' || kind), '{"1 pending versioned","9 pending versioned","10 pending versioned","views pending repeatable"}',
          'all of it is pending, in the order of versions') FROM berth.migration_status();
SELECT ok(bool_and(applied_at IS NULL AND "by" IS NULL AND duration IS NULL AND checksum_ok IS NULL AND problem IS NULL), 'nothing else is known')
  FROM berth.migration_status();
SELECT is(berth.migration_exit_code(), 1, '1: pending');
SELECT pg_temp.same(array_agg(version), '{1,9,10,views}', 'migration_pending') FROM berth.migration_pending();
SELECT pg_temp.same(pg_temp.error_of($$SELECT berth.assert_ready('9')$$), array['MG030', 'database has no migration applied, application needs at least "9"',
          'Scope "default"; missing: 1, 9.', 'SELECT * FROM berth.migration_status(''default'').'], 'all that is missing');

-- Applied.
DO $$ BEGIN PERFORM berth.migrate_once('1', checksum => 'x:1'); END $$;
DO $$ BEGIN PERFORM berth.migrate_once('9', checksum => 'md5'); END $$;
DO $$ BEGIN PERFORM berth.migrate_once('views', kind => 'repeatable', checksum => 'x:v'); END $$;
SELECT pg_temp.same(pg_temp.row_of('1'), '{applied,true,NULL}', 'applied'), pg_temp.same(pg_temp.row_of('9'), '{applied,NULL,NULL}', 'of another formula');
SELECT ok(s.applied_at = m.applied_at AND s."by" = m.applied_by AND s.duration = r.duration, 'when, by whom, how long')
  FROM berth.migration_status() s JOIN berth.migration m USING (scope, version) JOIN berth.migration_run r ON r.run_id = m.last_run WHERE s.version = '1';
SELECT lives_ok($$SELECT berth.assert_ready('9')$$, 'ready'), lives_ok($$SELECT berth.assert_ready('1', '9')$$, 'not beyond');
SELECT lives_ok($$SELECT berth.assert_ready(NULL, '9')$$, 'at most');
SELECT pg_temp.same(pg_temp.error_of($$SELECT berth.assert_ready('1', '1')$$), array['MG031', 'database is at "9", application needs at most "1"',
          'Scope "default"; applied beyond that: 9.', 'SELECT * FROM berth.migration_status(''default'').'], 'MG031');
SELECT pg_temp.same(pg_temp.error_of($$SELECT berth.assert_ready('10')$$), array['MG030', 'database is at "9", application needs at least "10"',
          'Scope "default"; missing: 10.', 'SELECT * FROM berth.migration_status(''default'').'], 'MG030 names where it is');
SELECT berth.plan('5');
SELECT is((pg_temp.error_of($$SELECT berth.assert_ready('9')$$))[3], 'Scope "default"; missing: 5.', 'a planned one between');
SELECT berth.unplan('5');

-- Drifted: the plan is of another script.
SELECT berth.plan('1', checksum => 'x:other');
SELECT pg_temp.same(pg_temp.row_of('1'), '{drifted,false,"the checksum of the plan is another one than that of what was applied"}', 'drifted');
SELECT is(berth.migration_exit_code(), 9, '8: drift, and 10 is pending');
BEGIN;
SELECT berth.set_policy('checksum', 'off');
SELECT pg_temp.same((pg_temp.row_of('1'))[1:2], '{applied,false}', 'unless nobody minds');
SELECT berth.set_policy('checksum', 'error', 'default');
SELECT pg_temp.same((pg_temp.row_of('1'))[1:2], '{drifted,false}', 'in another scope');
ROLLBACK;
SELECT berth.plan('1', checksum => 'x:1');
SELECT berth.plan('views', checksum => 'x:new', kind => 'repeatable');
SELECT pg_temp.same(pg_temp.row_of('views'), '{pending,false,"its script has changed since it was applied"}', 'a repeatable one is to be repeated');
SELECT berth.unplan('views');
BEGIN;
INSERT INTO berth.migration_run (run_id, scope, version, direction, mode, status, attempt, started_at, usename, role_name, pid, cluster)
  OVERRIDING SYSTEM VALUE VALUES (1000, 'default', '1', 'apply', 'tx', 'done', 1, now(), 'x', 'x', 1, 'x');
INSERT INTO berth.ddl_log (at, pid, usename, run_id, event, tag, object_type, object_oid, identity) VALUES
  (now(), 1, 'x', 1000, 'ddl_command_end', 'CREATE TABLE', 'table', 1, 'public.orders'),
  ('2026-01-01Z', 1, 'mallory', NULL, 'ddl_command_end', 'ALTER TABLE', 'table', 1, 'public.orders'),
  (now(), 1, 'mallory', NULL, 'ddl_command_end', 'CREATE TABLE', 'table', 2, 'public.else');
SET LOCAL TimeZone = 'UTC';
SELECT pg_temp.same(pg_temp.row_of('1'), '{applied,true,"public.orders was changed outside of migrations at 2026-01-01 00:00:00+00 by mallory"}', 'DDL by hand');
SELECT berth.set_policy('unattributed_ddl', 'error');
SELECT is((pg_temp.row_of('1'))[1], 'drifted', 'is drift if it is an error'), is(berth.migration_exit_code() & 8, 8, 'and 8');
SELECT berth.set_policy('unattributed_ddl', 'log');
SELECT pg_temp.same(pg_temp.row_of('1'), '{applied,true,NULL}', 'or nothing');
SELECT berth.set_policy('unattributed_ddl', 'error');
INSERT INTO berth.ddl_log (at, pid, usename, run_id, event, tag, object_type, object_oid, identity) VALUES
  (now(), 1, 'x', 1000, 'ddl_command_end', 'ALTER TABLE', 'table', 1, 'public.orders');
SELECT pg_temp.same(pg_temp.row_of('1'), '{applied,true,NULL}', 'until a migration has it in hand again');
ROLLBACK;

-- Expand and contract; skipped; reverted.
DO $$ BEGIN PERFORM berth.migrate_once('11', info => '{"phase": "expand", "app_min": "3.1", "app_max": "4"}'); END $$;
SELECT pg_temp.same(pg_temp.row_of('11'), '{applied,NULL,"expanded, and not contracted yet"}', 'expanded');
SELECT lives_ok($$SELECT berth.assert_ready('1', app => '3.9')$$, 'an application within the window'), lives_ok($$SELECT berth.assert_ready('1', app => '4')$$, 'at its end');
SELECT pg_temp.same(pg_temp.error_of($$SELECT berth.assert_ready('1', app => '3.0')$$), array['MG031',
          'database is at "11", migration "11" needs an application of at least "3.1" of at most "4"', 'Scope "default"; this is application "3.0".',
          'SELECT * FROM berth.migration_status(''default'').'], 'below it'),
       is((pg_temp.error_of($$SELECT berth.assert_ready('1', app => '5')$$))[1], 'MG031', 'above it');
DO $$ BEGIN PERFORM berth.migrate_once('12', info => '{"phase": "contract", "contracts": "11"}'); END $$;
SELECT pg_temp.same(pg_temp.row_of('11'), '{applied,NULL,NULL}', 'contracted');
DO $$ BEGIN PERFORM berth.migrate_once('3', out_of_order => 'skip'); END $$;
SELECT pg_temp.same(pg_temp.row_of('3'), '{skipped,NULL,NULL}', 'skipped');
SELECT is((pg_temp.error_of($$SELECT berth.assert_ready('3')$$))[3], 'Scope "default"; missing: 3.', 'which is not there');
DO $$ BEGIN PERFORM berth.migrate_undo('12'); END $$;
SELECT pg_temp.same(pg_temp.row_of('12'), '{pending,NULL,"it was reverted"}', 'reverted');
SELECT ok(applied_at IS NULL AND "by" IS NULL, 'it is not there') FROM berth.migration_status() WHERE version = '12';
SELECT is((pg_temp.error_of($$SELECT berth.assert_ready('12')$$))[3], 'Scope "default"; missing: 10, 12.', 'with what was planned before');

-- Failed, running, interrupted.
SELECT berth.migration_failed('10', '22012', 'division by zero');
SELECT pg_temp.same(pg_temp.row_of('10'), '{failed,NULL,"failed 22012 division by zero; apply it again"}', 'failed');
SELECT is(berth.migration_exit_code(), 5, '4: failed, 1: pending (reverted)');
SELECT berth.migration_failed('1', 'MG006', 'busy');
SELECT pg_temp.same(pg_temp.row_of('1'), '{applied,true,"a later attempt failed MG006 busy; apply it again"}', 'a later attempt is told of');
SELECT is((pg_temp.error_of($$SELECT berth.assert_ready('10')$$))[3], 'Scope "default"; missing: 10 (failed).', 'but only what is not applied is missing');
SELECT pg_temp.stepwise('20', 'failed', scope => 'a') AS failed, pg_temp.stepwise('20', 'running', '1min', scope => 'b') AS running,
       pg_temp.stepwise('20', 'running', '-1s', scope => 'c') AS dead, pg_temp.stepwise('20', 'running', scope => 'd') AS gone,
       pg_temp.stepwise('20', 'running', '1min', 'elsewhere', scope => 'e') AS copied \gset
SELECT pg_temp.same(pg_temp.row_of('20', 'a'), array['failed', NULL, format('failed at step 2 "fill" 22012 division by zero; start it again, which resumes it, or resolve run %s', :failed)], 'a step failed');
SELECT pg_temp.same(pg_temp.row_of('20', 'b'), '{running,NULL,NULL}', 'running');
SELECT pg_temp.same(pg_temp.row_of('20', 'c'), array['interrupted', NULL, format('its client went away at step 2 "fill"; start it again, which resumes it, or resolve run %s', :dead)], 'its lease has ended');
SELECT is((pg_temp.row_of('20', 'd'))[1], 'interrupted', 'it has no lease');
SELECT pg_temp.same(pg_temp.row_of('20', 'e'), array['interrupted', NULL, format('it ran in another cluster, or in the database that this one is a copy of at step 2 "fill"; '
          'start it again, which resumes it, or resolve run %s', :copied)], 'a copy does not believe it');
SELECT pg_temp.same(array_agg(s || berth.migration_exit_code(s) ORDER BY s), '{a4,b2,c4,d4,e4}', 'their codes') FROM unnest('{a,b,c,d,e}'::text[]) s;
SELECT is((pg_temp.error_of($$SELECT berth.assert_ready('20', scope => 'b')$$))[3], 'Scope "b"; missing: 20 (running).', 'what is running is missing'),
       is((pg_temp.error_of($$SELECT berth.assert_ready('21', scope => 'c')$$))[3], 'Scope "c"; missing: 20 (interrupted), 21.', 'so is what was interrupted before');
SELECT is(count(*), 12::bigint, 'all scopes at once') FROM berth.migration_status(NULL);
SELECT is(berth.migration_exit_code(NULL), 7, 'and their code');
SELECT pg_temp.same(array_agg(scope || version || state), '{a20failed,c20interrupted,d20interrupted,default10failed,default12pending,e20interrupted}', 'what is to be done in all of them')
  FROM berth.migration_pending(NULL);
SELECT pg_temp.same(array_agg(scope || interrupted || step_no || step_label ORDER BY scope), '{bfalse2fill,ctrue2fill,dtrue2fill,etrue2fill}', 'migration_running')
  FROM berth.migration_running;

-- Invalid indexes and constraints not validated.
CREATE TABLE t (i int);
ALTER TABLE t ADD CHECK (i > 0) NOT VALID;
SELECT is(berth.migration_exit_code('none'), 16, '16: a constraint');
ALTER TABLE t DROP CONSTRAINT t_i_check;
INSERT INTO t VALUES (1), (1);
\set ON_ERROR_STOP 0
CREATE UNIQUE INDEX CONCURRENTLY t_i ON t (i);
\set ON_ERROR_STOP 1
SELECT is(berth.migration_exit_code('none'), 16, '16: an index');
SELECT berth.set_policy('invalid_index', 'off');
SELECT is(berth.migration_exit_code('none'), 0, 'unless nobody minds');
DROP TABLE t;

-- A baseline has all before it.
SELECT berth.plan('1', scope => 'old'), berth.plan('2', scope => 'old'), berth.plan('4', scope => 'old');
DO $$ BEGIN PERFORM berth.migration_baseline('3', scope => 'old', through_plan => true); END $$;
SELECT pg_temp.same(array_agg(version || ' ' || state || ' ' || kind), '{"1 applied baseline","2 applied baseline","3 applied baseline","4 pending versioned"}', 'a baseline') FROM berth.migration_status('old');
SELECT berth.plan('2.5', scope => 'old');
SELECT lives_ok($$SELECT berth.assert_ready('2.7', scope => 'old')$$, 'and what is not mentioned before it');
SELECT is((pg_temp.row_of('2.5', 'old'))[1], 'applied', 'also if it was planned afterwards');

-- History, current, tenants.
SELECT pg_temp.same(array[version, direction, mode, status, steps::text, steps_done::text, sqlstate], '{20,apply,step,failed,2,1,22012}', 'migration_history')
  FROM berth.migration_history WHERE run_id = :failed;
SELECT ok(bool_and(c.run_id = m.last_run AND c.applied_at = m.applied_at), 'migration_current'), is(count(*), 7::bigint, 'what is applied')
  FROM berth.migration_current c JOIN berth.migration m USING (scope, version);
DO $$ BEGIN
  PERFORM berth.migrate_once('1', scope => 't1'), berth.migrate_once('2', scope => 't1'), berth.migrate_once('99', scope => 't1');
  PERFORM berth.migrate_once('1', scope => 't2'), berth.migrate_once('views', scope => 't2', kind => 'repeatable', checksum => 'x');
END $$;
SELECT pg_temp.same(array_agg(concat_ws(' ', scope, last_version, applied, behind, behind_what, problems::text) ORDER BY scope),
          array['a 0 3 t1 {"20 failed"}', 'b 0 3 t1 {"20 running"}', 'c 0 3 t1 {"20 interrupted"}', 'd 0 3 t1 {"20 interrupted"}', 'default 11 4 2 plan {"10 failed"}',
                'e 0 3 t1 {"20 interrupted"}', 'old 3 4 1 plan', 't1 99 3 0 t1', 't2 1 2 2 t1'], 'tenants') FROM berth.tenants;

-- Who may ask.
CREATE FUNCTION pg_temp.code_as(role text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('SET LOCAL ROLE %I', role);
  RETURN coalesce((pg_temp.error_of(statement))[1], 'done');
END $$;
SELECT berth.grant_access('app3', 'read');
CREATE TABLE asked (statement text, by_reader text);
INSERT INTO asked VALUES ('SELECT * FROM berth.migration_status(NULL)', 'done'), ('SELECT * FROM berth.migration_pending()', 'done'),
  ('SELECT berth.migration_exit_code()', 'done'), ($$SELECT berth.assert_ready('1')$$, 'done'), ('SELECT * FROM berth.migration_running', 'done'),
  ('SELECT * FROM berth.migration_history', 'done'), ('SELECT * FROM berth.migration_current', 'done'), ('SELECT * FROM berth.tenants', 'done'),
  ('SELECT * FROM berth.progress', 'done'), ('SELECT * FROM berth.invalid_index', 'done'), ('SELECT * FROM berth.not_validated', 'done'),
  ('SELECT * FROM berth.migration_run', '42501'), ('SELECT * FROM berth.migration', '42501'), ('SELECT * FROM berth.migration_lease', '42501'),
  ($$SELECT berth.plan('1')$$, '42501'), ($$SELECT berth.unplan('1')$$, '42501'), ('SELECT * FROM berth.open_runs(NULL)', '42501'),
  ('SELECT * FROM berth.busy_backends()', '42501');
SELECT is(pg_temp.code_as('app3', statement), by_reader, 'a reader: ' || statement) FROM asked;
SELECT is(pg_temp.code_as('nobody_special', statement), '42501', 'others may not: ' || statement) FROM asked;

SELECT * FROM finish();
