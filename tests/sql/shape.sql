-- What the extension consists of, with no broker anywhere: versions, views, columns and their types, comments.
\ir helpers.sql
BEGIN;
SELECT * FROM no_plan();

SELECT has_extension('pgberth');
SELECT is(berth.version(), (SELECT extversion FROM pg_extension WHERE extname = 'pgberth'), 'library and script are of one version');
SELECT is(berth.version(), :'meta', 'META.json is of that version');
SELECT is(berth.version(), :'provided', 'and so is what it provides');
SELECT is((SELECT array_agg(c.relname ORDER BY c.relname)::text FROM pg_class c, pg_extension e
            WHERE c.relnamespace = 'berth'::regnamespace AND c.relkind NOT IN ('v', 'i') AND e.extname = 'pgberth' AND c.oid <> ALL (e.extconfig)),
          '{adopted_position,broker_registration,migration_checks_due,migration_lease}', 'a dump contains all that is kept, with its sequences, but for what is of the moment');
SELECT is((SELECT relpersistence FROM pg_class WHERE oid = 'berth.broker_registration'::regclass), 'u', 'registrations are unlogged');

-- Columns with types: what scripts of users rely on.
CREATE FUNCTION pg_temp.columns_of(name text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(attname || ' ' || format_type(atttypid, NULL), ', ' ORDER BY attnum) FROM pg_attribute
   WHERE attrelid = ('berth.' || name)::regclass AND attnum > 0
$$;
SELECT is(pg_temp.columns_of(name), columns, 'columns of ' || name) FROM (VALUES
  ('brokers', 'broker_id text, broker text, source text, reachable boolean, problem text, version text, console text, '
   'pool_mode text, started_at timestamp with time zone, uptime interval, clock_ahead interval, workers integer, clients bigint, '
   'clients_active bigint, clients_waiting bigint, servers bigint, servers_active bigint, max_client_conn bigint, paused boolean, '
   'link text, link_pid integer, last_heartbeat timestamp with time zone'),
  ('pools', 'broker text, database text, usename text, pool_mode text, cl_active bigint, cl_waiting bigint, cl_cancel bigint, '
   'sv_active bigint, sv_idle bigint, sv_used bigint, sv_tested bigint, sv_login bigint, sv_cancel bigint, '
   'sv_being_canceled bigint, maxwait interval'),
  ('clients', 'broker text, client_id bigint, database text, usename text, state text, client_addr inet, client_port integer, '
   'client_pid integer, application_name text, tls text, connected_at timestamp with time zone, waiting interval, '
   'backend_pid integer, xact_start timestamp with time zone, xact_count bigint, query_count bigint, bytes_in bigint, '
   'bytes_out bigint, wait_time interval, query_time interval, xact_time interval, prepared_statements bigint, features text[]'),
  ('servers', 'broker text, server_id bigint, database text, usename text, state text, backend_pid integer, server_addr inet, '
   'server_port integer, local_addr inet, local_port integer, application_name text, tls text, '
   'connected_at timestamp with time zone, close_needed boolean, prepared_statements bigint, client_id bigint'),
  ('databases', 'broker text, database text, host text, port integer, datname text, force_user text, pool_size bigint, '
   'min_pool_size bigint, reserve_pool_size bigint, pool_mode text, max_connections bigint, current_connections bigint, '
   'max_client_connections bigint, current_client_connections bigint, server_lifetime interval, load_balance_hosts text, '
   'paused boolean, disabled boolean'),
  ('stats', 'broker text, database text, xact_count bigint, query_count bigint, server_assignment_count bigint, '
   'bytes_received bigint, bytes_sent bigint, xact_time interval, query_time interval, wait_time interval, '
   'client_parse_count bigint, server_parse_count bigint, bind_count bigint, client_login_count bigint, xacts_per_second bigint, '
   'queries_per_second bigint, bytes_received_per_second bigint, bytes_sent_per_second bigint, avg_xact_time interval, '
   'avg_query_time interval, avg_wait_time interval'),
  ('latency', 'broker text, database text, usename text, kind text, count bigint, total interval, mean interval, p50 interval, '
   'p95 interval, p99 interval, p999 interval, max interval'),
  ('errors', 'broker text, database text, usename text, source text, sqlstate text, count bigint'),
  ('disconnects', 'broker text, kind text, reason text, text text, count bigint'),
  ('settings', 'broker text, name text, setting text, boot_val text, changeable boolean'),
  ('blocking', 'datname name, blocked_pid integer, blocked_broker text, blocked_client_id bigint, blocked_addr inet, '
   'blocked_port integer, blocked_application text, blocked_user name, blocked_query text, blocked_transaction_age interval, '
   'blocked_for interval, blocking_pid integer, blocking_broker text, blocking_client_id bigint, blocking_addr inet, '
   'blocking_port integer, blocking_application text, blocking_user name, blocking_state text, blocking_query text, '
   'blocking_transaction_age interval'),
  ('backend_history', 'broker text, pid integer, server_id bigint, database text, usename text, client_id bigint, '
   'client_addr inet, client_port integer, application_name text, linked_at timestamp with time zone, '
   'released_at timestamp with time zone, xact_count bigint, query_count bigint'),
  ('advice', 'finding text, severity text, broker text, database text, usename text, evidence text, threshold text, remedy text')
) expected (name, columns);
SELECT is(pg_temp.columns_of('queue'), 'broker text, database text, usename text, position bigint, client_id bigint, '
          'client_addr inet, application_name text, waiting interval', 'columns of queue');
SELECT is(pg_temp.columns_of('activity'),
          (SELECT string_agg(attname || ' ' || format_type(atttypid, NULL), ', ' ORDER BY attnum) FROM pg_attribute
            WHERE attrelid = 'pg_stat_activity'::regclass AND attnum > 0) ||
          ', transaction_age interval, broker text, pool_database text, pool_user text, client_id bigint, origin_addr inet, '
          'origin_port integer, origin_application text, origin_user text, origin_tls text',
          'columns of activity: all of pg_stat_activity, then ours');

SELECT is_empty($$ SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
  WHERE c.relnamespace = 'berth'::regnamespace AND c.relkind = 'v' AND col_description(c.oid, a.attnum) IS NULL $$,
  'every column of every view has a comment');
SELECT is_empty($$ SELECT relname FROM pg_class WHERE relnamespace = 'berth'::regnamespace AND relkind IN ('v', 'r')
  AND obj_description(oid, 'pg_class') IS NULL $$, 'every view has a comment');
SELECT is_empty($$ SELECT proname FROM pg_proc WHERE pronamespace = 'berth'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL $$,
  'every function has a comment');

-- With no broker there are no rows and no errors.
SELECT is_empty('SELECT * FROM berth.' || name, name || ' is empty without a broker') FROM unnest(ARRAY['brokers', 'pools', 'clients',
  'servers', 'databases', 'stats', 'latency', 'errors', 'disconnects', 'settings', 'blocking', 'backend_history', 'queue',
  'advice']) name;
SELECT isnt_empty('SELECT * FROM berth.activity WHERE pid = pg_backend_pid() AND broker IS NULL', 'activity shows all backends');
SELECT throws_ok($$ SELECT * FROM berth.kill_client('nobody', 1) $$, '42704', 'there is no broker "nobody" now');

SELECT * FROM finish();
ROLLBACK;
