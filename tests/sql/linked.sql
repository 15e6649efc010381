-- A broker that has registered itself by its link, as the role app2; it also serves a database without the extension. A client
-- is in a transaction.
\ir helpers.sql
BEGIN;
SELECT * FROM no_plan();

SELECT results_eq('SELECT source, reachable, problem, link, clock_ahead BETWEEN interval ''-2 s'' AND interval ''2 s'', pool_mode, workers > 0
  FROM berth.brokers', $$ VALUES ('registered', true, NULL::text, 'up: e2e', true, 'transaction', true) $$, 'it is there and answers');
SELECT is(a.usename, 'app2', 'by the role that was granted it') FROM berth.brokers b JOIN pg_stat_activity a ON a.pid = b.link_pid;
SELECT ok(started_at BETWEEN now() - interval '10 min' AND clock_timestamp() AND last_heartbeat IS NOT NULL, 'since when') FROM berth.brokers;
SELECT isnt_empty('SELECT * FROM berth.databases', 'views ask it with the secret of its process');

SELECT is((SELECT count(*) FROM berth.activity WHERE client_id IS NOT NULL), 1::bigint, 'activity');

SELECT is((SELECT evidence FROM berth.advice WHERE finding = 'database without the extension' AND database = 'e2e2'),
  'the broker has links to: e2e', 'advice on the other database');
SELECT is((SELECT count(*) FROM berth.advice WHERE finding = 'database without the extension' AND database = 'e2e'), 0::bigint,
  'and not on this one');

SELECT results_eq('SELECT ok FROM berth.reload()', ARRAY[true], 'the link''s user may reload');
SELECT results_eq($$ SELECT ok FROM berth.reconnect('e2e') $$, ARRAY[true], 'reconnect');
SELECT results_eq($$ SELECT ok, message FROM berth.pause('e2e', '50 ms') $$,
  $$ VALUES (false, 'PAUSE was ended by its deadline before it was complete') $$, 'pause');
SELECT is((SELECT count(*) FROM berth.brokers WHERE reachable), 1::bigint, 'a pause does not hold the link');
SELECT results_eq($$ SELECT ok FROM berth.resume('e2e') $$, ARRAY[false], 'resume of what goes on already');
SELECT is_empty($$ SELECT FROM berth.console('SHUTDOWN') $$, 'it may not end the broker');
SELECT is((SELECT count(*) FROM berth.brokers WHERE reachable), 1::bigint, 'which still runs');
SELECT is_empty($$ SELECT FROM berth.settings s CROSS JOIN berth.broker_registration r WHERE s.setting LIKE '%' || r.secret || '%' $$,
  'the secret stands in no view');

SELECT * FROM finish();
ROLLBACK;
