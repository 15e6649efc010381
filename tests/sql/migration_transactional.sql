-- Transactional mode: arguments, verdicts, errors with their DETAIL and HINT, and the record.
\ir helpers.sql
\pset fieldsep '\n'
SELECT * FROM no_plan();
CREATE TABLE orders (id int PRIMARY KEY);

-- Outside of a transaction.
\set ON_ERROR_STOP 0
SELECT berth.migrate_once('0001');
SELECT is(:'SQLSTATE'::text, 'MG009', 'outside of a transaction block: MG009');
SELECT is(:'LAST_ERROR_MESSAGE'::text, 'berth.migrate_once() must be called inside a transaction block', 'and its text');
SELECT berth.migrate_undo('0001');
SELECT is(:'SQLSTATE'::text, 'MG009', 'so does migrate_undo');
\set ON_ERROR_STOP 1
SELECT is_empty('SELECT FROM berth.migration_run', 'nothing is recorded');

-- Once.
BEGIN;
SELECT ok(berth.migrate_once('0001', 'first', checksum => berth.checksum(E'one\n'), requires => NULL,
          info => '{"tool": "psql", "tool_version": "15", "source_ref": "abc", "ticket": 7}'), 'the first time');
SELECT is(berth.current_run(), max(run_id), 'the transaction has its run') FROM berth.migration_run;
ALTER TABLE orders ADD note text;
SELECT berth.expect($$SELECT count(*) = 1 FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'note'$$, 'column');
COMMIT;
SELECT is(berth.current_run(), NULL, 'no longer afterwards');
BEGIN;
SELECT ok(NOT berth.migrate_once('0001', checksum => berth.checksum(E'\uFEFFone  \r\n\n')), 'not the second time');
COMMIT;
SELECT pg_temp.same(array[scope, version, kind, description, state, applied_by, last_run::text],
          array['default', '0001', 'versioned', 'first', 'applied', session_user, '1'], 'the version') FROM berth.migration;
SELECT pg_temp.same(array[direction, mode, status, attempt::text, usename, role_name, tool, tool_version, source_ref, info::text],
          array['apply', 'tx', 'done', '1', session_user, current_user, 'psql', '15', 'abc', '{"ticket": 7}'], 'the run')
  FROM berth.migration_run;
SELECT is(pg_xact_status(xid), 'committed', 'its transaction') FROM berth.migration_run;
SELECT ok(duration > '0' AND pid = pg_backend_pid() AND application_name IS NOT NULL, 'its time') FROM berth.migration_run;
SELECT pg_temp.same(array[run_id::text, version, name, ok::text, got], array['1', '0001', 'column', 'true', 't'], 'what expect() found')
  FROM berth.migration_check_result;

-- A body that fails takes the record along.
BEGIN;
SELECT ok(berth.migrate_once('0002'), 'it may run');
\set ON_ERROR_STOP 0
SELECT berth.expect('SELECT 2', 'two', '3');
COMMIT;
\set ON_ERROR_STOP 1
SELECT is(count(*), 1::bigint, 'one version is applied') FROM berth.migration;
SELECT pg_temp.same(pg_temp.error_of($$SELECT berth.expect('SELECT 2', 'two', '3')$$),
          array['MG020', 'assertion "two" failed: expected 3, got 2', 'Query: SELECT 2',
                'The transaction is rolled back and the migration is not applied: correct the script, or what it found.'], 'expect');
SELECT lives_ok($$SELECT berth.expect('SELECT NULL::int', 'null', NULL)$$, 'NULL can be expected');
SELECT lives_ok($$SELECT berth.expect('SELECT false', 'no', 'f')$$, 'so can f');
SELECT ok(berth.migration_failed('0002', 'MG020', 'assertion failed', info => '{"tool": "psql"}') > 1, 'told afterwards');
SELECT pg_temp.same(array[status, sqlstate, message, attempt::text], array['failed', 'MG020', 'assertion failed', '1'], 'and kept')
  FROM berth.migration_run WHERE version = '0002';
-- So is that of a script in steps, if it is ours.
SET application_name = 'one';
SELECT run_id AS open FROM berth.migration_start('s1', scope => 'steps') \gset
SET application_name = 'two';
SELECT isnt(berth.migration_failed('s1', 'XX000', 'not ours', scope => 'steps'), :open::bigint, 'the run of another one is left alone');
SET application_name = 'one';
SELECT is(berth.migration_failed('s1', '57P01', 'server went away', scope => 'steps'), :open::bigint, 'our own is closed');
RESET application_name;
SELECT pg_temp.same(array[status, sqlstate, message], array['failed', '57P01', 'server went away'], 'with its error')
  FROM berth.migration_run WHERE run_id = :open;
SELECT ok(resume, 'and can be resumed at once') FROM berth.migration_start('s1', scope => 'steps');
DO $$ BEGIN
  IF berth.migrate_once('0002') THEN
    ALTER TABLE orders ADD total int;
  END IF;
END $$;
SELECT pg_temp.same(array_agg(status || ' ' || attempt ORDER BY run_id), array['resolved 1', 'done 2'], 'the second attempt, in one DO')
  FROM berth.migration_run WHERE version = '0002';

-- Errors: SQLSTATE, message, detail and the one next step.
SELECT pg_temp.same(e[1:2], array['MG001', 'migration "0001" of scope "default" is already applied (on_applied=error)'], 'MG001'),
       ok(e[3] ~ '^It was applied at .* by ' AND e[4] = 'Use on_applied => ''skip'' to pass over what is applied.', 'MG001: detail, hint')
  FROM pg_temp.error_of($$SELECT berth.migrate_once('0001', on_applied => 'error')$$) e;
SELECT pg_temp.same(pg_temp.error_of($$SELECT berth.migrate_once('0005', requires => '{0009,0001,0007}')$$),
          array['MG002', 'migration "0005" requires 0009, 0007 which is not applied', 'Scope "default"; it requires 0009, 0001, 0007.',
                'Apply first: 0009, 0007.'], 'MG002 names all');
SELECT pg_temp.same(e[1:2] || e[4], array['MG003', 'migration "0005" conflicts with applied 0001', 'Undo 0001 first, or leave this one out.'], 'MG003')
  FROM pg_temp.error_of($$SELECT berth.migrate_once('0005', conflicts => '{0001,0099}')$$) e;
SELECT is(e[1], 'MG004', 'MG004'),
       is(e[2], format('checksum of applied migration "0001" differs: stored %s, given %s (algorithm sha256/norm1)',
                       berth.checksum('one'), berth.checksum('two')), 'it shows both'),
       is(e[4], format('Restore the file, or, if the change is harmless, SELECT berth.migration_resolve(1, ''accept'', ''why'', '
                       'checksum => %L).', berth.checksum('two')), 'and what to do')
  FROM pg_temp.error_of($$SELECT berth.migrate_once('0001', checksum => berth.checksum('two'))$$) e;
SELECT lives_ok($$SELECT berth.migrate_once('0001', checksum => 'md5:1')$$, 'another formula cannot be compared');
SELECT pg_temp.same(pg_temp.error_of($$SELECT berth.migrate_once('0000')$$),
          array['MG005', 'version "0000" is lower than applied "0002"', 'Scope "default".',
                'Give it a higher version, or allow it: out_of_order => ''allow'', or berth.set_policy(''out_of_order'', ''warn'').'],
          'MG005');
SELECT is((pg_temp.error_of(statement))[1], '22023', statement) FROM unnest(array[
  $$SELECT berth.migrate_once('')$$, $$SELECT berth.migrate_once(NULL)$$, $$SELECT berth.migrate_once('9', scope => '*')$$,
  $$SELECT berth.migrate_once('9', kind => 'often')$$, $$SELECT berth.migrate_once('9', kind => 'repeatable')$$,
  $$SELECT berth.migrate_once('9', on_applied => 'maybe')$$, $$SELECT berth.migrate_once('9', out_of_order => 'maybe')$$,
  $$SELECT berth.migrate_once('9', wait => '-1s')$$, $$SELECT berth.migrate_once('9', info => '[]')$$,
  $$SELECT berth.migrate_once('9', info => '{"phase": "both"}')$$]) statement;

-- Out of order, by argument and by policy.
BEGIN;
SELECT ok(NOT berth.migrate_once('0000', out_of_order => 'skip'), 'skipped');
SELECT is(state, 'skipped', 'with a row') FROM berth.migration WHERE version = '0000';
SELECT ok(NOT berth.is_applied('default', '0000'), 'which is not applied');
ROLLBACK;
BEGIN;
SELECT ok(berth.migrate_once('0000', out_of_order => 'allow'), 'allowed');
SELECT ok(out_of_order, 'and marked') FROM berth.migration WHERE version = '0000';
ROLLBACK;
BEGIN;
SELECT berth.set_policy('out_of_order', 'off', 'tenant');
SELECT is(berth.policy('tenant', 'out_of_order') || berth.policy('other', 'out_of_order'), 'offerror', 'the policy of one scope');
SELECT berth.set_policy('out_of_order', 'log');
SELECT ok(berth.migrate_once('0000'), 'the policy of all allows it');
SELECT throws_ok($$SELECT berth.set_policy('out_of_order', 'perhaps')$$, '23514');
ROLLBACK;
SELECT pg_temp.same(array_agg(v ORDER BY berth.version_key(v)), '{1,1.9,1.9.1,1.10,0194,20261105_2,20261105_10,a1}', 'versions in their order')
  FROM unnest('{1.10,1.9,0194,20261105_2,20261105_10,a1,1,1.9.1}'::text[]) v;

-- Repeatable ones run when their checksum changes; scopes are apart.
BEGIN;
SELECT ok(berth.migrate_once('views', kind => 'repeatable', checksum => 'a'), 'the first time');
SELECT ok(NOT berth.migrate_once('views', kind => 'repeatable', checksum => 'a'), 'not again');
SELECT ok(berth.migrate_once('views', kind => 'repeatable', checksum => 'b'), 'changed');
SELECT pg_temp.same(array[checksum, last_run::text], array['b', (SELECT max(run_id)::text FROM berth.migration_run)], 'its row')
  FROM berth.migration WHERE version = 'views';
SELECT ok(berth.migrate_once('0001', scope => 'tenant_7'), 'another scope has a history of its own');
COMMIT;
SELECT pg_temp.same(array_agg(DISTINCT status), '{done}', 'every one is closed') FROM berth.migration_run WHERE mode = 'tx' AND scope <> 'steps' AND outcome IS NULL;

-- Expand and contract.
DO $$ BEGIN
  PERFORM berth.migrate_once('0010', info => '{"phase": "expand", "app_min": "3.1", "app_max": "4"}');
END $$;
SELECT pg_temp.same(array[state, app_min, app_max], array['expanded', '3.1', '4'], 'expanded, with its window') FROM berth.migration WHERE version = '0010';
DO $$ BEGIN
  PERFORM berth.migrate_once('0011', info => '{"phase": "contract", "contracts": "0010"}');
END $$;
SELECT pg_temp.same(array_agg(state ORDER BY version), '{contracted,applied}', 'contracted') FROM berth.migration WHERE version IN ('0010', '0011');

-- Undo.
BEGIN;
SELECT ok(berth.migrate_once('0012', requires => '{0002}'), 'one that requires another');
COMMIT;
SELECT pg_temp.same(e[1:2] || e[4], array['MG003', 'migration "0002" is required by applied 0012', 'Undo first: 0012.'], 'undo of what is required')
  FROM pg_temp.error_of($$SELECT berth.migrate_undo('0002')$$) e;
BEGIN;
SELECT ok(berth.migrate_undo('0012'), 'undo');
COMMIT;
SELECT pg_temp.same(array[m.state, r.direction, r.status], array['reverted', 'revert', 'done'], 'is recorded')
  FROM berth.migration m JOIN berth.migration_run r ON r.run_id = m.last_run WHERE m.version = '0012';
BEGIN;
SELECT ok(NOT berth.migrate_undo('0012'), 'only once');
SELECT ok(berth.migrate_undo('0002'), 'and now the other');
SELECT ok(berth.migrate_once('0012'), 'what was reverted can be applied again');
COMMIT;

-- A baseline.
BEGIN;
INSERT INTO berth.migration_plan (scope, version, checksum) VALUES ('old', '1', 'x:1'), ('old', '2', 'x:2'), ('old', '9', 'x:9');
SELECT is(berth.migration_baseline('3', scope => 'old', through_plan => true), 3::bigint, 'a baseline');
COMMIT;
SELECT pg_temp.same(array_agg(version || kind || coalesce(checksum, '') ORDER BY seq), '{1baselinex:1,2baselinex:2,3baseline}', 'its rows')
  FROM berth.migration WHERE scope = 'old';
SELECT is((pg_temp.error_of($$SELECT berth.migration_baseline('4', scope => 'old')$$))[1], 'MG001', 'only at the beginning');
BEGIN;
SELECT ok(NOT berth.migrate_once('2', scope => 'old', checksum => 'x:2'), 'what is in the baseline is applied');
SELECT ok(NOT berth.migrate_once('2.5', scope => 'old'), 'also without a row');
SELECT ok(berth.migrate_once('4', scope => 'old', requires => '{0.5,3}'), 'the next one may require it');
COMMIT;

-- What was left out can be applied later, by whoever says that it may be out of order.
BEGIN;
SELECT berth.migrate_once('2', scope => 'left'), berth.migrate_once('1', scope => 'left', out_of_order => 'skip') \g /dev/null
COMMIT;
BEGIN;
SELECT ok(NOT berth.migrate_once('1', scope => 'left') AND NOT berth.migrate_once('1', scope => 'left', out_of_order => 'skip'), 'passed over');
SELECT is((pg_temp.error_of($$SELECT berth.migrate_once('3', scope => 'left', requires => '{1,0}')$$))[4],
          'Apply first: 1, 0. Left out before, so with out_of_order => ''allow'': 1.', 'how it can be had');
SELECT ok(berth.migrate_once('1', scope => 'left', out_of_order => 'allow'), 'so it runs');
COMMIT;
SELECT is(state || ' ' || out_of_order, 'applied true', 'out of order') FROM berth.migration WHERE scope = 'left' AND version = '1';
SELECT * FROM finish();
