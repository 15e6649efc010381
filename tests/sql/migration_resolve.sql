-- Repair: each outcome, what it leaves, what it refuses; the HINTs of other errors are pasted; export and import.
\ir helpers.sql
\pset fieldsep '\n'
SELECT * FROM no_plan();
-- The statement that an error's HINT spells out.
CREATE FUNCTION pg_temp.pasted(hint text) RETURNS text LANGUAGE sql AS $$ SELECT (regexp_match($1, 'SELECT berth\..*\)'))[1] $$;
CREATE FUNCTION pg_temp.state_of(version text) RETURNS text LANGUAGE sql AS $$ SELECT state FROM berth.migration_status() s WHERE s.version = $1 $$;
-- A stepwise run whose client went away, or that failed, at its second step.
CREATE FUNCTION pg_temp.stepwise(version text, status text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  id bigint := berth.open_run('default', $1, 'apply', 'step', '{}', jsonb_build_object('kind', 'versioned', 'description', 'stepwise', 'checksum', 'x:1'));
BEGIN
  UPDATE berth.migration_run SET status = $2 WHERE run_id = id;
  INSERT INTO berth.migration_step (run_id, step_no, label, kind, status) VALUES (id, 1, 'first', 'sql', 'done'), (id, 2, 'second', 'sql', 'running');
  RETURN id;
END $$;

-- Failed and interrupted runs keep other versions off, until they are resolved; a failed one can be begun anew.
SELECT pg_temp.stepwise('1', 'failed') AS run \gset
SELECT pg_temp.same(array[e[1], pg_temp.pasted(e[4])], array['MG008', format('SELECT berth.migration_resolve(%s, ''reverted'', ''why'')', :run)], 'MG008 says how')
  FROM pg_temp.error_of($$SELECT berth.migrate_once('2')$$) e;
SELECT lives_ok(pg_temp.pasted((pg_temp.error_of($$SELECT berth.migrate_once('2')$$))[4]), 'which can be pasted');
SELECT pg_temp.same(array[status, outcome, reason, resolved_by::text, (resolved_at IS NOT NULL)::text], array['resolved', 'reverted', 'why', session_user, 'true'], 'it is kept')
  FROM berth.migration_run WHERE run_id = :run;
SELECT is(pg_temp.state_of('1'), 'pending', 'what was reverted is pending'), is(berth.migration_exit_code(), 1, 'also for CI');
SELECT lives_ok($$SELECT berth.migrate_once('2')$$, 'others may run');
SELECT is(berth.resumable_run('default', '1'), NULL, 'it will begin anew');

-- Applied: the version's row is made of the request of its run.
SELECT pg_temp.stepwise('3', 'running') AS run \gset
SELECT is(pg_temp.state_of('3'), 'interrupted', 'nobody is at it');
SELECT lives_ok(format($$SELECT berth.migration_resolve(%s, 'applied', 'by hand')$$, :run), 'applied');
SELECT pg_temp.same(array[m.state, m.description, m.checksum, m.last_run::text, r.status, r.outcome], array['applied', 'stepwise', 'x:1', :'run', 'resolved', 'applied'], 'is applied')
  FROM berth.migration m JOIN berth.migration_run r ON r.run_id = m.last_run WHERE m.version = '3';
SELECT is(status, 'failed', 'its step is not running') FROM berth.migration_step WHERE run_id = :run AND step_no = 2;
SELECT pg_temp.same(pg_temp.error_of(format($$SELECT berth.migration_resolve(%s, 'reverted', 'no')$$, :run)), array['55000', format('run %s is resolved: there is nothing to resolve', :run),
          format('Version "3" of scope "default", resolved as applied at %s by %s: by hand.', resolved_at, resolved_by), 'SELECT * FROM berth.migration_status(''default'').'], 'once')
  FROM berth.migration_run WHERE run_id = :run;
SELECT berth.migration_failed('4', '22012', 'division by zero') AS run \gset
SELECT lives_ok(format($$SELECT berth.migration_resolve(%s, 'applied', 'by hand')$$, :run), 'also one in transactional mode');
SELECT pg_temp.same(array[state, kind], '{applied,versioned}', 'of which nothing else is known') FROM berth.migration WHERE version = '4';

-- Retry.
SELECT pg_temp.stepwise('5', 'running') AS run \gset
INSERT INTO berth.migration_lease VALUES ('default', gen_random_uuid(), :run, 'x', 0, now(), true, '1s', now(), now(), now() - interval '1min');
SELECT lives_ok(format($$SELECT berth.migration_resolve(%s, 'retry', 'again')$$, :run), 'retry');
SELECT pg_temp.same(array[status, outcome, reason], '{interrupted,retry,again}', 'leaves one that can be resumed') FROM berth.migration_run WHERE run_id = :run;
SELECT is_empty('SELECT FROM berth.migration_lease', 'without its lease');
SELECT is((berth.resumable_run('default', '5')).run_id, :run::bigint, 'the next start takes it up');
SELECT run_id AS next, resume FROM berth.migration_start('5') \gset
SELECT is(:'resume'::text, 't', 'as it does');
SELECT is(berth.migration_step_begin(:next, 1, 'first'), false, 'its first step is done');
-- The HINT of a step whose text differs: by the one who holds the lease.
SELECT berth.migration_step_begin(:next, 2, 'second', sql_hash => 'a');
SELECT berth.migration_step_end(:next, 2);
\set ON_ERROR_STOP 0
SELECT berth.migration_step_begin(:next, 2, 'second', sql_hash => 'b');
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'MG004', 'a step of another text');
\set ON_ERROR_STOP 1
SELECT lives_ok(format($$SELECT berth.migration_resolve(%s, 'reverted', 'why')$$, :next), 'it can be given up by whoever is at it');
SELECT is_empty('SELECT FROM berth.migration_lease', 'with its lease');

-- Accept: a checksum, by the HINT of MG004.
DO $$ BEGIN PERFORM berth.migrate_once('6', checksum => 'x:1'); END $$;
SELECT lives_ok(pg_temp.pasted((pg_temp.error_of($$SELECT berth.migrate_once('6', checksum => 'x:2')$$))[4]), 'MG004 can be pasted');
SELECT is(checksum, 'x:2', 'the checksum is another one') FROM berth.migration WHERE version = '6';
SELECT lives_ok($$SELECT berth.migrate_once('6', checksum => 'x:2')$$, 'and is accepted');
SELECT pg_temp.same(array[r.status, r.outcome, r.reason, r.info ->> 'from', r.info ->> 'to', o.status], '{done,accept,why,x:1,x:2,done}', 'by a run of its own')
  FROM berth.migration_run r JOIN berth.migration_run o ON o.run_id = (r.info ->> 'of_run')::bigint WHERE r.direction = 'repair';
SELECT is(berth.migration_exit_code(), 1, 'the history is well');
SELECT berth.plan('1', checksum => 'x:1', scope => 'old'), berth.plan('2', checksum => 'x:2', scope => 'old');
DO $$ BEGIN PERFORM berth.migration_baseline('3', scope => 'old', through_plan => true); END $$;
SELECT lives_ok(pg_temp.pasted((pg_temp.error_of($$SELECT berth.migrate_once('2', scope => 'old', checksum => 'x:3')$$))[4]), 'also for what is in a baseline');
SELECT pg_temp.same(array_agg(concat(version, ' ', checksum) ORDER BY seq), array['1 x:1', '2 x:3', '3 '], 'only the one version') FROM berth.migration WHERE scope = 'old';

SELECT is((pg_temp.error_of($$SELECT berth.migration_baseline('4', scope => 'old')$$))[4], 'Choose another scope, or record one version without its body: '
          'BEGIN; SELECT berth.migrate_once(''4'', scope => ''old''); COMMIT.', 'what a second baseline says');
BEGIN; SELECT berth.migrate_once('4', scope => 'old'); COMMIT;
SELECT ok(berth.is_applied('old', '4'), 'can be pasted');

-- Undone by hand.
INSERT INTO berth.migration_run (scope, version, direction, mode, status, attempt, started_at, usename, role_name, pid, cluster)
  VALUES ('default', '6', 'revert', 'step', 'failed', 1, now(), 'x', 'x', 0, 'x') RETURNING run_id AS run \gset
SELECT lives_ok(format($$SELECT berth.migration_resolve(%s, 'reverted', 'done by hand')$$, :run), 'an undo that failed');
SELECT pg_temp.same(array[state, last_run::text], array['reverted', :'run'], 'is done') FROM berth.migration WHERE version = '6';

-- Refusals.
SELECT pg_temp.same(array[e[1], e[2], e[4]], array['22023', 'a run is resolved as applied, reverted, retry or accept, with a reason; accept takes a checksum, and nothing else does',
          'SELECT berth.migration_resolve(1, ''retry'', ''why'').'], statement) FROM unnest(array[$$SELECT berth.migration_resolve(1, 'done', 'x')$$,
  $$SELECT berth.migration_resolve(1, NULL, 'x')$$, $$SELECT berth.migration_resolve(1, 'retry', NULL)$$, $$SELECT berth.migration_resolve(1, 'retry', ' ')$$,
  $$SELECT berth.migration_resolve(1, 'retry', 'x', 'x:1')$$, $$SELECT berth.migration_resolve(1, 'accept', 'x')$$,
  $$SELECT berth.migration_resolve(1, 'retry', 'x', version => '1')$$]) statement, pg_temp.error_of(statement) e;
SELECT pg_temp.same(pg_temp.error_of($$SELECT berth.migration_resolve(99999, 'retry', 'x')$$), array['42704', 'there is no run 99999', 'Runs have numbers.',
          'SELECT run_id, scope, version, status FROM berth.migration_history.'], 'no such run');
SELECT pg_temp.same(e[1:3], array['55000', 'version "1" is not applied by run 1', 'Scope "default".'], 'accept of what is not applied')
  FROM pg_temp.error_of($$SELECT berth.migration_resolve(1, 'accept', 'x', 'x:1')$$) e;
CREATE FUNCTION pg_temp.code_as(role text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('SET LOCAL ROLE %I', role);
  RETURN coalesce((pg_temp.error_of(statement))[1], 'done');
END $$;
DO $$ BEGIN
  PERFORM berth.grant_access('app', 'runner'), berth.grant_access('app3', 'read'), berth.grant_access('admin', 'admin');
END $$;
SELECT is(pg_temp.code_as(role, $$SELECT berth.migration_resolve(99999, 'retry', 'x')$$), code, role || ' and migration_resolve') FROM
  (VALUES ('app', '42501'), ('app3', '42501'), ('admin', '42704')) r (role, code);
SELECT is(pg_temp.code_as('app', $$SELECT berth.plan('1', scope => 'x')$$), 'done', 'a runner plans');

-- Export and import, into a database that has other runs already.
BEGIN;
SELECT berth.add_check('2', 'post', 'true', 'SELECT true');
SELECT berth.set_policy('checksum', 'warn', 'default');
SELECT berth.export() AS all, berth.export('default') AS history \gset
COMMIT;
SELECT is((:'all'::jsonb -> 'plan') || (:'history'::jsonb -> 'plan'), :'all'::jsonb -> 'plan', 'of one scope');
SELECT is(jsonb_array_length(:'history'::jsonb -> 'runs'), (SELECT count(*)::int FROM berth.migration_run WHERE scope = 'default'), 'all of its runs');
SELECT pg_temp.same(pg_temp.error_of(format('SELECT berth.import(%L)', :'history')), array['MG001', 'there is a history already in scope default',
          'Two histories cannot be put together.', 'Import into a database whose history is empty, or export other scopes: SELECT berth.export(scope).'], 'not over another history');
SELECT is((pg_temp.error_of($$SELECT berth.import('{}')$$))[1], '22023', 'nor anything else');
BEGIN;
CREATE TEMP TABLE before AS SELECT s.* FROM berth.migration_status() s;
CREATE TEMP TABLE steps_before AS SELECT r.version, r.attempt, s.step_no, s.label, s.status FROM berth.migration_step s JOIN berth.migration_run r USING (run_id);
DELETE FROM berth.migration_check;
DELETE FROM berth.migration_run WHERE scope = 'default';
DELETE FROM berth.migration WHERE scope = 'default';
DELETE FROM berth.migration_policy;
SELECT is(berth.import(:'history'), 4::bigint, 'imported');
SELECT set_eq('SELECT s.* FROM berth.migration_status() s', 'SELECT * FROM before', 'the status is what it was');
SELECT set_eq('SELECT r.version, r.attempt, s.step_no, s.label, s.status FROM berth.migration_step s JOIN berth.migration_run r USING (run_id)',
              'SELECT * FROM steps_before', 'so are the steps');
SELECT is(berth.policy('default', 'checksum'), 'warn', 'and the rules');
SELECT is(registered_by, session_user, 'checks keep their author, by a superuser''s hand') FROM berth.migration_check;
SELECT ok(berth.migrate_once('70'), 'the history goes on');
SELECT is((SELECT max(seq) FROM berth.migration), seq, 'in its order') FROM berth.migration WHERE version = '70';
ROLLBACK;
BEGIN;
DELETE FROM berth.migration_run WHERE scope = 'default';
DELETE FROM berth.migration WHERE scope = 'default';
DELETE FROM berth.migration_check;
SELECT is(pg_temp.code_as('app', format('SELECT berth.import(%L)', :'history')), '42501', 'a runner does not import');
SET LOCAL ROLE admin;
SELECT lives_ok(format('SELECT berth.import(%L)', replace(:'history', session_user, 'postgres')), 'an admin does');
SELECT is(registered_by, 'admin', 'checks become its own') FROM berth.migration_check;
ROLLBACK;
SELECT is_empty('SELECT FROM berth.migration_lease', 'no lease is left');

SELECT * FROM finish();
