-- Every rule of berth.findings on both sides of its threshold, over facts that are made up.
\ir helpers.sql
BEGIN;
SELECT * FROM no_plan();

CREATE FUNCTION pg_temp.fact(command text, "row" jsonb, broker text DEFAULT 'b') RETURNS jsonb LANGUAGE sql AS
  $$ SELECT jsonb_build_object('broker', broker, 'command', command, 'row', "row") $$;
CREATE FUNCTION pg_temp.pool(waiting int, maxwait int, idle int) RETURNS jsonb LANGUAGE sql AS $$
  SELECT pg_temp.fact('SHOW POOLS', jsonb_build_object('database', 'd', 'user', 'u', 'cl_waiting', waiting::text, 'maxwait', maxwait::text,
    'sv_active', '5', 'sv_idle', idle::text, 'sv_used', '0', 'sv_tested', '0', 'sv_login', '0', 'pool_mode', 'transaction')) $$;
CREATE FUNCTION pg_temp.entry(size int, most int DEFAULT 0, name text DEFAULT 'd') RETURNS jsonb LANGUAGE sql AS $$
  SELECT pg_temp.fact('SHOW DATABASES', jsonb_build_object('name', name, 'database', 'real', 'pool_size', size::text,
    'reserve_pool_size', '1', 'max_connections', most::text)) $$;
CREATE FUNCTION pg_temp.server(most int) RETURNS jsonb LANGUAGE sql AS $$
  SELECT pg_temp.fact('server', jsonb_build_object('max_connections', most::text, 'reserved', '3', 'databases', '["real"]'::jsonb), NULL) $$;
CREATE FUNCTION pg_temp.broker(started text, now text, link text DEFAULT 'none') RETURNS jsonb LANGUAGE sql AS $$
  SELECT pg_temp.fact('SHOW BROKER', jsonb_build_object('started_at', started, 'now', now, 'told_at', '2026-01-01 12:00:00+00',
    'link', link)) $$;
CREATE FUNCTION pg_temp.wait(p95_us int, count int) RETURNS jsonb LANGUAGE sql AS $$
  SELECT pg_temp.fact('SHOW LATENCY', jsonb_build_object('database', 'd', 'user', 'u', 'kind', 'wait', 'count', count::text,
    'p95_us', p95_us::text)) $$;
CREATE FUNCTION pg_temp.stats(xacts int, logins int, client_parses int, server_parses int, binds int) RETURNS jsonb LANGUAGE sql AS $$
  SELECT pg_temp.fact('SHOW STATS', jsonb_build_object('database', 'd', 'total_xact_count', xacts::text, 'total_client_login_count',
    logins::text, 'total_client_parse_count', client_parses::text, 'total_server_parse_count', server_parses::text,
    'total_bind_count', binds::text)) $$;
CREATE FUNCTION pg_temp.peak(value int) RETURNS jsonb LANGUAGE sql AS $$
  SELECT pg_temp.fact('SHOW ADVICE_FACTS', jsonb_build_object('name', 'servers_peak', 'database', 'd', 'user', 'u', 'value', value::text)) $$;
CREATE FUNCTION pg_temp.idle(seconds numeric) RETURNS jsonb LANGUAGE sql AS $$
  SELECT pg_temp.fact('idle in transaction', jsonb_build_object('database', 'd', 'user', 'u', 'pid', 7, 'seconds', seconds, 'client_id', '9',
    'client', '10.0.0.1 app')) $$;

-- What findings() makes of facts: the findings with their severity.
CREATE FUNCTION pg_temp.found(VARIADIC facts jsonb[]) RETURNS text LANGUAGE sql AS $$
  SELECT coalesce(string_agg(finding || ' ' || severity, ', ' ORDER BY finding), '') FROM berth.findings(to_jsonb(facts)) $$;

SELECT is_empty($$ SELECT * FROM berth.findings(NULL) $$, 'no facts, no findings');
SELECT is_empty($$ SELECT * FROM berth.findings('[]') $$, 'an empty list of facts');

SELECT is(pg_temp.found(pg_temp.pool(3, 1, 0), pg_temp.entry(5)), 'pool too small warning');
SELECT is(pg_temp.found(pg_temp.pool(3, 10, 0), pg_temp.entry(5)), 'pool too small critical');
SELECT is(pg_temp.found(pg_temp.pool(3, 0, 0), pg_temp.entry(5)), '', 'a short wait');
SELECT is(pg_temp.found(pg_temp.pool(3, 1, 1), pg_temp.entry(5)), '', 'a server is idle');
SELECT is(pg_temp.found(pg_temp.pool(0, 1, 0), pg_temp.entry(5)), '', 'nobody waits');
SELECT results_eq($$ SELECT broker, database, usename, evidence FROM berth.findings(jsonb_build_array(pg_temp.pool(3, 1, 0), pg_temp.entry(5))) $$,
  $$ VALUES ('b', 'd', 'u', '3 clients wait, the first for 1 s; 5 servers are open and none is idle, pool_size is 5') $$);

SELECT is(pg_temp.found(pg_temp.wait(100000, 100)), 'waits are long warning');
SELECT is(pg_temp.found(pg_temp.wait(99999, 100)), '', 'waits below the threshold');
SELECT is(pg_temp.found(pg_temp.wait(100000, 99)), '', 'too few to say');

SELECT is(pg_temp.found(pg_temp.peak(9), pg_temp.entry(20), pg_temp.broker('2026-01-01 11:00:00+00', '2026-01-01 12:00:00+00')),
  'pool too large info');
SELECT is(pg_temp.found(pg_temp.peak(10), pg_temp.entry(20), pg_temp.broker('2026-01-01 11:00:00+00', '2026-01-01 12:00:00+00')), '', 'half is used');
SELECT is(pg_temp.found(pg_temp.peak(4), pg_temp.entry(9), pg_temp.broker('2026-01-01 11:00:00+00', '2026-01-01 12:00:00+00')), '', 'a small pool');
SELECT is(pg_temp.found(pg_temp.peak(9), pg_temp.entry(20), pg_temp.broker('2026-01-01 11:00:01+00', '2026-01-01 12:00:00+00')), '', 'too early to say');

SELECT is(pg_temp.found(pg_temp.pool(0, 0, 0), pg_temp.entry(97), pg_temp.server(100)), 'pools exceed max_connections warning', '98 of 97');
SELECT is(pg_temp.found(pg_temp.pool(0, 0, 0), pg_temp.entry(96), pg_temp.server(100)), '', '97 of 97');
SELECT is(pg_temp.found(pg_temp.pool(0, 0, 0), pg_temp.entry(97, 50), pg_temp.server(100)), '', 'max_db_connections holds it');
SELECT is(pg_temp.found(pg_temp.pool(0, 0, 0), pg_temp.entry(60), pg_temp.server(100),
  pg_temp.pool(0, 0, 0) || '{"broker": "c"}', pg_temp.entry(60) || '{"broker": "c"}'), 'pools exceed max_connections warning', 'two brokers');

SELECT is(pg_temp.found(pg_temp.idle(60)), 'idle in transaction warning');
SELECT is(pg_temp.found(pg_temp.idle(600)), 'idle in transaction critical');
SELECT is(pg_temp.found(pg_temp.idle(59.9)), '', 'not yet long');

SELECT is(pg_temp.found(pg_temp.fact('SHOW CLIENT_COUNTERS', '{"database": "d", "user": "u", "features": "listen,set"}'),
                        pg_temp.fact('SHOW CLIENT_COUNTERS', '{"database": "d", "user": "u", "features": "listen"}'),
                        pg_temp.fact('SHOW CLIENT_COUNTERS', '{"database": "d", "user": "u", "features": null}')),
  'needs session mode warning, needs session mode warning', 'a finding for each feature');
SELECT results_eq($$ SELECT evidence FROM berth.findings(jsonb_build_array(
  pg_temp.fact('SHOW CLIENT_COUNTERS', '{"database": "d", "user": "u", "features": "listen"}'),
  pg_temp.fact('SHOW CLIENT_COUNTERS', '{"database": "d", "user": "u", "features": "listen"}'))) $$,
  ARRAY['2 clients used listen in a pool that lends servers for a transaction']);
SELECT is(pg_temp.found(pg_temp.fact('SHOW CLIENT_COUNTERS', '{"database": "d", "user": "u", "features": ""}')), '', 'no feature');

SELECT is(pg_temp.found(pg_temp.stats(5000, 1, 100, 200, 1000)), 'prepared statements thrash warning');
SELECT is(pg_temp.found(pg_temp.stats(5000, 1, 100, 199, 1000)), '', 'one parse for more than 5 executions');
SELECT is(pg_temp.found(pg_temp.stats(5000, 1, 200, 200, 1000)), '', 'clients parse as often');
SELECT is(pg_temp.found(pg_temp.stats(5000, 1, 100, 200, 999)), '', 'too few to say');

SELECT is(pg_temp.found(pg_temp.stats(1999, 1000, 0, 0, 0)), 'connection churn warning');
SELECT is(pg_temp.found(pg_temp.stats(2000, 1000, 0, 0, 0)), '', 'two transactions for each login');
SELECT is(pg_temp.found(pg_temp.stats(0, 999, 0, 0, 0)), '', 'too few to say');

SELECT is(pg_temp.found(pg_temp.broker(NULL, NULL, 'up: a, b'), pg_temp.entry(5)), 'database without the extension info');
SELECT is(pg_temp.found(pg_temp.broker(NULL, NULL, 'up: a,d'), pg_temp.entry(5)), '', 'it has a link');
SELECT is(pg_temp.found(pg_temp.broker(NULL, NULL, 'off'), pg_temp.entry(5)), '', 'no links are wanted');

SELECT is(pg_temp.found(pg_temp.broker(NULL, '2026-01-01 12:00:02+00')), 'clocks apart warning', 'the broker is ahead');
SELECT is(pg_temp.found(pg_temp.broker(NULL, '2026-01-01 11:59:58+00')), 'clocks apart warning', 'the broker is behind');
SELECT is(pg_temp.found(pg_temp.broker(NULL, '2026-01-01 12:00:01.9+00')), '', 'close enough');

SELECT is(pg_temp.found(pg_temp.fact('SHOW ADVICE_FACTS', '{"name": "ignored_setting", "value": "so_reuseport"}')), 'setting without effect info');

SELECT * FROM finish();
ROLLBACK;
