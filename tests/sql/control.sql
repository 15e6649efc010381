-- Control from SQL, with two brokers and a client "victim" on the first one.
\ir helpers.sql
BEGIN;
SELECT * FROM no_plan();

SELECT results_eq('SELECT * FROM berth.reload()', $$ VALUES ('back', true, 'RELOAD'), ('front', true, 'RELOAD') $$, 'reload');
SELECT results_eq($$ SELECT * FROM berth.reconnect('e2e') $$, $$ VALUES ('back', true, 'RECONNECT'), ('front', true, 'RECONNECT') $$,
  'reconnect');
SELECT results_eq($$ SELECT broker, ok FROM berth.reconnect('no"such') $$, $$ VALUES ('back', false), ('front', false) $$,
  'a database that is unknown: told by each broker, not an error');
SELECT ok(message LIKE '%no"such%', 'and its name arrives as it is: ' || message) FROM berth.reconnect('no"such');
SELECT results_eq($$ SELECT broker, ok FROM berth.resume('e2e') $$, $$ VALUES ('back', false), ('front', false) $$,
  'resume of what is not paused');

SELECT results_eq($$ SELECT * FROM berth.pause('e2e', '1 min') $$, $$ VALUES ('back', true, 'PAUSE'), ('front', true, 'PAUSE') $$, 'pause');
SELECT is((SELECT count(*) FROM berth.databases WHERE paused AND database = 'e2e'), 2::bigint, 'they are paused');
SELECT results_eq($$ SELECT * FROM berth.resume('e2e') $$, $$ VALUES ('back', true, 'RESUME'), ('front', true, 'RESUME') $$, 'resume');
SELECT is((SELECT count(*) FROM berth.databases WHERE paused), 0::bigint, 'they go on');
SELECT results_eq($$ SELECT ok FROM berth.pause('e2e', '100 ms') $$, ARRAY[true, true], 'a short pause');
CREATE FUNCTION pg_temp.wait_until_resumed() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  WHILE EXISTS (SELECT FROM berth.databases WHERE paused) LOOP
    PERFORM pg_sleep(0.02);
  END LOOP;
  RETURN true;
END $$;
SET statement_timeout = '20s';
SELECT ok(pg_temp.wait_until_resumed(), 'ends by itself');
SET statement_timeout = 0;

SELECT throws_ok($$ SELECT * FROM berth.pause('e2e', '0 s') $$, '22023');
SELECT throws_ok($$ SELECT * FROM berth.pause('e2e', '11 min') $$, '22023');
SELECT throws_ok($$ SELECT * FROM berth.pause('e2e', NULL) $$, '22023');

SELECT is((SELECT count(*) FROM berth.clients WHERE application_name = 'victim'), 1::bigint, 'the victim is there');
SELECT throws_ok($$ SELECT * FROM berth.kill_client('nobody', 1) $$, '42704');
SELECT throws_ok($$ SELECT * FROM berth.kill_client('front', NULL) $$, '22004');
SELECT results_eq($$ SELECT broker_name, ok FROM berth.kill_client('id-front', 999999) $$, $$ VALUES ('front', false) $$,
  'no such client');
SELECT results_eq($$ SELECT k.* FROM berth.clients c CROSS JOIN LATERAL berth.kill_client(c.broker, c.client_id) k
  WHERE application_name = 'victim' $$, $$ VALUES ('front', true, 'KILL_CLIENT') $$, 'kill_client');
SELECT is((SELECT count(*) FROM berth.clients WHERE application_name = 'victim'), 0::bigint, 'the victim is gone');

SELECT results_eq($$ SELECT broker_name, "row" FROM berth.console('RECONNECT e2e') ORDER BY 1 $$,
  $$ VALUES ('back', '{"command": "RECONNECT"}'::jsonb), ('front', '{"command": "RECONNECT"}') $$, 'console with a command');

SELECT * FROM finish();
ROLLBACK;
