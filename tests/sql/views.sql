-- A holder has a row locked in an open transaction, a second client is blocked by it, a third one waits for a server, and an
-- idler of another user holds none: each view tells it. Variables: the ports of the clients, the port of the broker "front".
\ir helpers.sql
SET timezone = 'UTC';
BEGIN;
SELECT * FROM no_plan();

SELECT results_eq('SELECT broker, reachable, problem, source, broker_id FROM berth.brokers ORDER BY broker',
  $$ VALUES ('back', true, NULL::text, 'registered', 'id-back'), ('front', true, NULL, 'registered', 'id-front') $$, 'brokers');
SELECT ok(bool_and(uptime BETWEEN interval '0' AND interval '1 hour' AND console LIKE '%port=%' AND console NOT LIKE '%secret%'),
  'a broker has an uptime and an address without a secret') FROM berth.brokers;
SELECT results_eq($$ SELECT version = berth.version(), pool_mode, clients, clients_active, clients_waiting, servers, servers_active, paused, link
  FROM berth.brokers WHERE broker = 'front' $$,
  $$ VALUES (true, 'transaction', 4::bigint, 2::bigint, 1::bigint, 3::bigint, 2::bigint, false, 'off') $$, 'what a broker says of itself');
SELECT ok(bool_and(a.pid IS NOT NULL), 'link_pid is the backend of the link')
  FROM berth.brokers b LEFT JOIN pg_stat_activity a ON a.pid = b.link_pid;

SELECT results_eq($$ SELECT broker, database, usename, pool_mode, cl_waiting, sv_active, sv_idle, maxwait >= interval '1 s'
  FROM berth.pools WHERE cl_waiting > 0 $$,
  $$ VALUES ('front', 'e2e', 'app', 'transaction', 1::bigint, 2::bigint, 0::bigint, true) $$, 'pools');
SELECT is_empty($$ SELECT FROM berth.pools WHERE database = 'pgbouncer' $$, 'the console is no pool');

SELECT results_eq($$ SELECT application_name, client_addr, client_port, usename, state, backend_pid IS NOT NULL,
  waiting >= interval '1 s', connected_at BETWEEN now() - interval '1 hour' AND clock_timestamp()
  FROM berth.clients WHERE database = 'e2e' ORDER BY application_name $$,
  $$ VALUES ('blocked', '127.0.0.1'::inet, $$ || :blocked || $$, 'app', 'active', true, false, true),
            ('holder', '127.0.0.1', $$ || :holder || $$, 'app', 'active', true, false, true),
            ('idler', '127.0.0.1', (SELECT client_port FROM berth.clients WHERE application_name = 'idler'), 'app2', 'idle', false,
             false, true),
            ('waiter', '127.0.0.1', $$ || :waiter || $$, 'app', 'waiting', false, true, true) $$, 'clients');

SELECT results_eq($$ SELECT c.application_name FROM berth.servers s JOIN berth.clients c USING (broker, client_id)
  JOIN pg_stat_activity a ON a.pid = s.backend_pid WHERE s.state = 'active' ORDER BY 1 $$,
  ARRAY['blocked', 'holder'], 'servers, joined with clients and backends');
SELECT ok(bool_and(server_addr IS NULL AND connected_at <= clock_timestamp() AND NOT close_needed), 'servers over a Unix socket')
  FROM berth.servers;

SELECT results_eq($$ SELECT datname, pool_size, current_connections, paused, disabled, server_lifetime FROM berth.databases
  WHERE broker = 'front' AND database = 'e2e' $$,
  $$ VALUES ('e2e', 2::bigint, 3::bigint, false, false, interval '1 hour') $$, 'databases');
SELECT ok(query_count >= 2 AND client_login_count >= 4 AND bytes_received > 0 AND query_time > interval '0', 'stats')
  FROM berth.stats WHERE broker = 'front' AND database = 'e2e';
SELECT results_eq($$ SELECT setting, changeable FROM berth.settings WHERE broker = 'front' AND name IN ('default_pool_size', 'listen_port')
  ORDER BY name $$, $$ VALUES ('2', true), ($$ || quote_literal(:'front') || $$, false) $$, 'settings');
SELECT ok(count(*) > 20 AND bool_and(count >= 0), 'disconnects') FROM berth.disconnects WHERE broker = 'front';

SELECT results_eq($$ SELECT origin_application, origin_addr, origin_port, origin_user, pool_database, pool_user, state,
  wait_event_type = 'Lock', transaction_age > interval '1 s' FROM berth.activity WHERE broker = 'front' AND client_id IS NOT NULL
  ORDER BY 1 $$,
  $$ VALUES ('blocked', '127.0.0.1'::inet, $$ || :blocked || $$, 'app', 'e2e', 'app', 'active', true, true),
            ('holder', '127.0.0.1', $$ || :holder || $$, 'app', 'e2e', 'app', 'idle in transaction', false, true) $$, 'activity');
SELECT is((SELECT count(*) FROM berth.activity), (SELECT count(*) FROM pg_stat_activity), 'activity has every backend once');

SELECT results_eq($$ SELECT blocked_application, blocked_port, blocked_query, blocking_application, blocking_addr, blocking_port,
  blocking_state, blocking_broker, blocked_for > interval '1 s' FROM berth.blocking $$,
  $$ VALUES ('blocked', $$ || :blocked || $$, 'update account set amount = 12 where id = 1', 'holder', '127.0.0.1'::inet,
             $$ || :holder || $$, 'idle in transaction', 'front', true) $$, 'blocking');

SELECT results_eq($$ SELECT finding, broker, database, usename, evidence LIKE '1 clients wait, the first for %' FROM berth.advice
  WHERE finding = 'pool too small' $$, $$ VALUES ('pool too small', 'front', 'e2e', 'app', true) $$, 'advice');

SELECT results_eq($$ SELECT severity, usename, evidence FROM berth.advice WHERE finding = 'needs session mode' $$,
  $$ VALUES ('warning', 'app2', '1 clients used listen in a pool that lends servers for a transaction') $$, 'advice on features');

SELECT results_eq($$ SELECT xact_start BETWEEN connected_at AND clock_timestamp(), query_count, bytes_in > 0, bytes_out > 0, features
  FROM berth.clients WHERE application_name IN ('holder', 'idler') ORDER BY application_name $$,
  $$ VALUES (true, 2::bigint, true, true, NULL::text[]), (NULL, 2, true, true, '{listen}') $$, 'what clients have done');
SELECT results_eq($$ SELECT kind, count > 0, p50 <= p95 AND p95 <= p99 AND p99 <= p999 AND p999 <= max AND mean <= max FROM berth.latency
  WHERE broker = 'front' AND usename = 'app2' ORDER BY kind $$,
  $$ VALUES ('query', true, true), ('transaction', true, true), ('wait', true, true) $$, 'latency');
SELECT results_eq($$ SELECT database, usename, source, count FROM berth.errors WHERE broker = 'front' AND sqlstate = '22012' $$,
  $$ VALUES ('e2e', 'app2', 'server', 1::bigint) $$, 'errors');
SELECT results_eq($$ SELECT h.application_name, h.client_addr, h.client_port, h.released_at IS NULL, h.linked_at <= a.xact_start
  FROM berth.backend_history h JOIN pg_stat_activity a USING (pid) WHERE h.usename = 'app' AND a.state = 'idle in transaction'
  ORDER BY h.linked_at DESC LIMIT 1 $$,
  $$ VALUES ('holder', '127.0.0.1'::inet, $$ || :holder || $$, true, true) $$, 'backend_history');
SELECT results_eq($$ SELECT broker, database, usename, position, application_name, waiting >= interval '1 s' FROM berth.queue $$,
  $$ VALUES ('front', 'e2e', 'app', 1::bigint, 'waiter', true) $$, 'queue');

-- console(): rows with the console's own names, all values text; by both brokers.
SELECT results_eq($$ SELECT broker_id, broker_name, "row" ->> 'database', jsonb_typeof("row" -> 'cl_waiting') FROM
  berth.console('show pools;') WHERE "row" ->> 'user' = 'app' $$, $$ VALUES ('id-front', 'front', 'e2e', 'string') $$, 'console');
SELECT is_empty($$ SELECT FROM berth.console('SHOW NOTHING') $$, 'a command that the console does not know costs a warning');

SELECT is((SELECT string_agg(DISTINCT evidence, ', ') FROM berth.advice WHERE finding = 'setting without effect'),
          'job_name is set', 'advice names the setting of the brokers'' files that does nothing');
SELECT ok((SELECT count(*) > 0 FROM berth.console('SHOW ADVICE_FACTS') c WHERE c."row" ->> 'name' = 'servers_peak'),
          'the brokers say how many servers were in use at once');

SELECT * FROM finish();
ROLLBACK;
