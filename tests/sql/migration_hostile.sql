-- What a runner may not do to the run of another one, nor anybody to a scope by the text of a statement; limits of names; isolation.
\ir helpers.sql
SELECT * FROM no_plan();
DO $$ BEGIN
  PERFORM berth.grant_access('app', 'runner');
  PERFORM berth.grant_access('app2', 'runner');
END $$;
CREATE FUNCTION pg_temp.refusal_of(statement text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  detail text;
  hint text;
BEGIN
  EXECUTE statement;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  RETURN ARRAY[SQLSTATE, SQLERRM, detail, hint];
END $$;

-- A number of a run can be guessed: it is no use to others.
SET SESSION AUTHORIZATION app;
SELECT run_id FROM berth.migration_start('1') \gset
SELECT berth.migration_step_begin(:run_id, 1, 'fill', 'backfill') AS begun \gset
RESET SESSION AUTHORIZATION;
CREATE TABLE pg_temp.before AS SELECT r, l, s FROM berth.migration_run r JOIN berth.migration_lease l USING (run_id) JOIN berth.migration_step s USING (run_id);
SET SESSION AUTHORIZATION app2;
SELECT is(pg_temp.refusal_of(format(statement, :run_id)), ARRAY['MG040', format('run %s is one of "app"', :run_id),
          'This session is one of "app2", which is not a member of that role.',
          'Run the script as that user. When the run has ended or its lease has, any runner can start it again.'], statement)
  FROM unnest(ARRAY['SELECT berth.finish_begin(%s)', 'SELECT berth.finish_end(%s)', 'SELECT berth.hold_run(%s)', 'SELECT berth.step_tag(%s, 1)',
    'SELECT berth.note_step_failed(%s, 1, ''XX000'', ''x'')', 'SELECT berth.backfill_end(%s, 1)']) statement;
\set ON_ERROR_STOP 0
SELECT berth.migration_step_begin(:run_id, 2, 'x');
SELECT is(:'SQLSTATE', 'MG040', 'step_begin');
SELECT berth.migration_step_end(:run_id, 1);
SELECT is(:'SQLSTATE', 'MG040', 'step_end');
SELECT berth.migration_step_fail(:run_id, 1, 'XX000', 'x');
SELECT is(:'SQLSTATE', 'MG040', 'step_fail');
SELECT berth.migration_fail(:run_id, 'XX000', 'x');
SELECT is(:'SQLSTATE', 'MG040', 'fail');
SELECT berth.migration_finish(:run_id);
SELECT is(:'SQLSTATE', 'MG040', 'finish');
\set ON_ERROR_STOP 1
SELECT is((pg_temp.refusal_of(format('SELECT berth.backfill_note(%s, 1, NULL, ''999'', 5, 0)', :run_id)))[1], '55006', 'nor its place');
SELECT berth.backfill_expect(:run_id, 1, 5), berth.backfill_rewind(:run_id, 1) \g /dev/null
RESET SESSION AUTHORIZATION;
SELECT results_eq('SELECT r, l, s FROM berth.migration_run r JOIN berth.migration_lease l USING (run_id) JOIN berth.migration_step s USING (run_id)',
                  'SELECT r, l, s FROM pg_temp.before', 'nothing was changed');
SELECT lives_ok(format('SELECT berth.backfill_note(%s, 1, NULL, ''7'', 5, 0)', :run_id), 'a superuser may help');
GRANT app TO app2;
SET SESSION AUTHORIZATION app2;
SELECT is(pg_temp.refusal_of(format('SELECT berth.hold_run(%s)', :run_id)), NULL, 'and so may a member of that role');
RESET SESSION AUTHORIZATION;
REVOKE app FROM app2;
SELECT is((SELECT rows_done FROM berth.migration_step), 5::int8, 'it goes on');
SELECT berth.migration_step_end(:run_id, 1);
SELECT berth.migration_finish(:run_id);

-- Names.
SELECT is((pg_temp.refusal_of(statement))[1:2], ARRAY['22023', message], message) FROM (VALUES
  ($$DO 'BEGIN PERFORM berth.migrate_once(repeat(''1'', 501)); END'$$, 'a version has at most 500 bytes'),
  ($$SELECT berth.plan(repeat('1', 501))$$, 'a version has at most 500 bytes'),
  ($$SELECT berth.plan('1', scope => repeat('ä', 101))$$, 'a scope has at most 200 bytes')) v (statement, message);
SELECT lives_ok($$DO 'BEGIN PERFORM berth.migrate_once(string_agg(chr(97 + g % 26 + g / 26 % 2) || g % 10, ''''), scope => repeat(''s'', 200))
                  FROM generate_series(1, 250) g; END'$$, 'the longest names, and each second one a number');

-- A transaction that would not see what others have done meanwhile.
CREATE ROLE "of Serializable" LOGIN;
SELECT berth.grant_access('"of Serializable"', 'runner');
SET SESSION AUTHORIZATION "of Serializable";
SET default_transaction_isolation = 'serializable';
SELECT is(pg_temp.refusal_of($$SELECT berth.begin_once('9', NULL, NULL, '{}', '{}', 'default', 'versioned', 'skip', NULL, '0', '{}', E'\n')$$),
  ARRAY['MG009', 'a migration must be a READ COMMITTED transaction, this one is SERIALIZABLE',
        'Otherwise it does not see what a migration has done that ended after its own beginning.',
        'BEGIN ISOLATION LEVEL READ COMMITTED; or ALTER ROLE "of Serializable" SET default_transaction_isolation = ''read committed'';'],
  'serializable');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT is((pg_temp.refusal_of($$SELECT berth.migrate_once('9')$$))[1], 'MG009', 'repeatable read');
SELECT is((pg_temp.refusal_of($$SELECT berth.migrate_undo('1')$$))[1], 'MG009', 'nor undone');
SELECT ok(NOT berth.migrate_once('1'), 'what is applied is passed over in any');
COMMIT;
\set ON_ERROR_STOP 0
SELECT berth.migration_start('9');
SELECT is(:'LAST_ERROR_MESSAGE', 'a migration must be a READ COMMITTED transaction, this one is SERIALIZABLE', 'in steps as well');
\set ON_ERROR_STOP 1
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT ok(berth.migrate_once('9'), 'as the HINT says');
COMMIT;
RESET default_transaction_isolation;
RESET SESSION AUTHORIZATION;
DROP OWNED BY "of Serializable";
DROP ROLE "of Serializable";

-- To and fro in one transaction: each of its runs is closed by the commit.
BEGIN;
SELECT berth.migrate_once('10'), berth.migrate_undo('10'), berth.migrate_once('10') \g /dev/null
COMMIT;
SELECT is(array_agg(direction || ' ' || status ORDER BY run_id), ARRAY['apply done', 'revert done', 'apply done'], 'done, undone, done')
  FROM berth.migration_run WHERE version = '10';

-- A script that switches triggers off for its own data.
SELECT berth.add_check('1', 'post', 'asked', 'SELECT 1', '1', scope => 'replica');
SET session_replication_role = replica;
BEGIN;
SELECT ok(berth.migrate_once('1', scope => 'replica'), 'with session_replication_role');
COMMIT;
RESET session_replication_role;
SELECT is(status, 'done', 'it is closed') FROM berth.migration_run WHERE scope = 'replica';
SELECT is(ok, true, 'and its check was asked') FROM berth.migration_check_result WHERE scope = 'replica';
SELECT is_empty('SELECT FROM berth.migration_checks_due', 'nothing is due');

-- pg_restore -j copies tables in any order, and constraints of an extension are there before the rows.
SELECT is_empty($$SELECT conname FROM pg_constraint WHERE contype = 'f' AND connamespace = 'berth'::regnamespace$$, 'no foreign keys');

-- NULL for an array, where a contraction looks for what it contracts.
SELECT lives_ok($$DO 'BEGIN PERFORM berth.migrate_once(''1'', scope => ''nulls'', info => ''{"phase": "expand"}'');
  PERFORM berth.migrate_once(''2'', scope => ''nulls'', requires => NULL, info => ''{"phase": "contract", "contracts": "0"}''); END'$$, 'no requires');
SELECT is(array_agg(version || ' ' || state ORDER BY seq), ARRAY['1 expanded', '2 applied'], 'it contracts nothing')
  FROM berth.migration WHERE scope = 'nulls';
SELECT * FROM finish();
