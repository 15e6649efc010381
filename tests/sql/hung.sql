-- "back" is stopped: it accepts connections (the kernel does) and says nothing. "front" answers.
\ir helpers.sql
BEGIN;
SELECT * FROM no_plan();
SET berth.timeout = '300ms';
CREATE FUNCTION pg_temp.canceled(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE statement;
  RETURN 'not canceled';
EXCEPTION WHEN query_canceled THEN
  RETURN SQLERRM;
END $$;

SELECT results_eq('SELECT broker, reachable, problem FROM berth.brokers ORDER BY broker',
  $$ VALUES ('back', false, 'no connection within 300 ms'), ('front', true, NULL) $$, 'one timeout, told with its reason');
SELECT results_eq('SELECT DISTINCT broker FROM berth.databases', ARRAY['front'], 'the other one answers');
SELECT results_eq($$ SELECT broker_name FROM berth.console('SHOW VERSION', 200) $$, ARRAY['front'], 'console with a timeout of its own');
SELECT results_eq('SELECT broker, ok, message FROM berth.reload() ORDER BY broker',
  $$ VALUES ('back', false, 'no connection within 300 ms'), ('front', true, 'RELOAD') $$, 'a control function tells it, too');

-- Without a bound of our own, PostgreSQL's hold: each ends as an error at once, and leaves no descriptor.
SET berth.timeout = '10min';
SET statement_timeout = '200ms';
SELECT is(pg_temp.canceled('SELECT * FROM berth.pools'), 'canceling statement due to statement timeout', 'a view');
SELECT is(pg_temp.canceled('SELECT * FROM berth.activity'), 'canceling statement due to statement timeout', 'activity');
SELECT is(pg_temp.canceled('SELECT * FROM berth.reload()'), 'canceling statement due to statement timeout', 'control');
SELECT pg_temp.descriptors() AS before \gset
SELECT is(pg_temp.canceled('SELECT * FROM berth.pools'), 'canceling statement due to statement timeout', 'a view once more');
SELECT is(pg_temp.canceled('SELECT * FROM berth.activity'), 'canceling statement due to statement timeout', 'activity once more');
SELECT is(pg_temp.canceled('SELECT * FROM berth.reload()'), 'canceling statement due to statement timeout', 'control once more');
SET statement_timeout = 0;
SELECT is(pg_temp.descriptors(), :before::bigint, 'the second round left no descriptor');

SELECT * FROM finish();
ROLLBACK;
