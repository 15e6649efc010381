-- What the broker does, as SQL inside PostgreSQL: registration, views, advice, control, privileges.
--
-- Every view asks the consoles of the brokers that are in front of this server, at the moment of the question; nothing is
-- kept here but who the brokers are. Every name is qualified, and every function has a search_path of its own.
\echo Use "CREATE EXTENSION pgberth" to load this file. \quit

CREATE SCHEMA berth;
COMMENT ON SCHEMA berth IS 'The connection brokers (pgberth) in front of this server: views, advice, control';

-- Registration --------------------------------------------------------------------------------------------------------

-- Unlogged, and not part of a dump: a registration is worth as much as the connection that made it.
CREATE UNLOGGED TABLE berth.broker_registration (
  id             pg_catalog.text PRIMARY KEY,
  name           pg_catalog.text NOT NULL,
  version        pg_catalog.text NOT NULL,
  console        pg_catalog.text NOT NULL,
  secret         pg_catalog.text NOT NULL,
  started_at     pg_catalog.timestamptz,
  backend_pid    pg_catalog.int4 NOT NULL,
  backend_start  pg_catalog.timestamptz NOT NULL,
  registered_at  pg_catalog.timestamptz NOT NULL,
  last_heartbeat pg_catalog.timestamptz NOT NULL
);
COMMENT ON TABLE berth.broker_registration IS
  'Who registered, by which backend, with the secret of its console: for the functions of this schema only';

CREATE FUNCTION berth.version() RETURNS pg_catalog.text
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pgberth_version_0_1';
COMMENT ON FUNCTION berth.version() IS 'The version of the library, which should be that of the extension';

CREATE FUNCTION berth.caller() RETURNS pg_catalog.oid
  LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'pgberth_caller_0_1';
COMMENT ON FUNCTION berth.caller() IS 'The role of the session (after SET ROLE), whose rights decide what it may see';

CREATE FUNCTION berth.register_broker(id pg_catalog.text, name pg_catalog.text, version pg_catalog.text,
                                      console pg_catalog.text, secret pg_catalog.text,
                                      started_at pg_catalog.timestamptz)
RETURNS pg_catalog.void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  mine timestamptz;
BEGIN
  IF pg_is_in_recovery() THEN
    RAISE EXCEPTION 'brokers cannot register themselves on a hot standby' USING ERRCODE = 'read_only_sql_transaction';
  END IF;
  IF coalesce(id, '') = '' OR coalesce(name, '') = '' OR coalesce(secret, '') = '' THEN
    RAISE EXCEPTION 'a broker has an id, a name and a secret' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  SELECT a.backend_start INTO mine FROM pg_stat_get_activity(pg_backend_pid()) a;
  DELETE FROM berth.broker_registration r WHERE r.id <> $1 AND NOT EXISTS
    (SELECT FROM pg_stat_get_activity(r.backend_pid) a WHERE a.backend_start = r.backend_start);
  INSERT INTO berth.broker_registration AS r
    VALUES ($1, $2, coalesce($3, ''), coalesce($4, ''), $5, $6, pg_backend_pid(), mine, clock_timestamp(), clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = excluded.version, console = excluded.console,
      secret = excluded.secret, started_at = excluded.started_at, backend_pid = excluded.backend_pid,
      backend_start = excluded.backend_start, registered_at = excluded.registered_at,
      last_heartbeat = excluded.last_heartbeat;
END $$;
COMMENT ON FUNCTION berth.register_broker(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text,
                                          pg_catalog.text, pg_catalog.timestamptz) IS
  'A broker says who it is and where its console answers; it counts as long as the calling backend lives';

CREATE FUNCTION berth.heartbeat(id pg_catalog.text) RETURNS pg_catalog.bool
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE berth.broker_registration r SET last_heartbeat = clock_timestamp()
    WHERE r.id = $1 AND r.backend_pid = pg_backend_pid();
  RETURN FOUND;
END $$;
COMMENT ON FUNCTION berth.heartbeat(pg_catalog.text) IS
  'The broker is well; false when this backend has no such registration and should register again';

CREATE FUNCTION berth.deregister_broker(id pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  DELETE FROM berth.broker_registration r WHERE r.id = $1 AND r.backend_pid = pg_backend_pid();
END $$;
COMMENT ON FUNCTION berth.deregister_broker(pg_catalog.text) IS 'The broker leaves';

-- Asking the consoles ---------------------------------------------------------------------------------------------------

-- The client in C. It connects to what it is told to: nobody but the functions below may call it.
CREATE FUNCTION berth.exchange(names pg_catalog.text[], conninfos pg_catalog.text[], secrets pg_catalog.text[],
                               commands pg_catalog.text[], required pg_catalog.int4, timeout_ms pg_catalog.int4,
                               empty_as_null pg_catalog.bool)
RETURNS TABLE (broker pg_catalog.int4, command pg_catalog.int4, "row" pg_catalog.jsonb, tag pg_catalog.text,
               problem pg_catalog.text, told_at pg_catalog.timestamptz)
LANGUAGE c STRICT VOLATILE AS 'MODULE_PATHNAME', 'pgberth_exchange_0_1';
COMMENT ON FUNCTION berth.exchange(pg_catalog.text[], pg_catalog.text[], pg_catalog.text[], pg_catalog.text[],
                                   pg_catalog.int4, pg_catalog.int4, pg_catalog.bool) IS
  'Internal: sends commands to consoles, all at once, and collects the answers';

-- Brokers whose link lives, and those of the setting berth.brokers that have not registered themselves.
CREATE FUNCTION berth.targets(OUT broker_id pg_catalog.text, OUT broker pg_catalog.text, OUT version pg_catalog.text,
                              OUT console pg_catalog.text, OUT secret pg_catalog.text,
                              OUT started_at pg_catalog.timestamptz, OUT link_pid pg_catalog.int4,
                              OUT last_heartbeat pg_catalog.timestamptz, OUT source pg_catalog.text)
RETURNS SETOF pg_catalog.record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'pgberth_targets_0_1';
COMMENT ON FUNCTION berth.targets() IS 'Internal: who can be asked, with secrets';

-- In C, because every view pays for it.
CREATE FUNCTION berth.ask(commands pg_catalog.text[], required pg_catalog.int4, timeout_ms pg_catalog.int4,
                          empty_as_null pg_catalog.bool, only_broker pg_catalog.text)
RETURNS TABLE (broker_id pg_catalog.text, broker pg_catalog.text, command pg_catalog.text, "row" pg_catalog.jsonb,
               tag pg_catalog.text, problem pg_catalog.text, told_at pg_catalog.timestamptz)
LANGUAGE c VOLATILE ROWS 1000 AS 'MODULE_PATHNAME', 'pgberth_ask_0_1';
COMMENT ON FUNCTION berth.ask(pg_catalog.text[], pg_catalog.int4, pg_catalog.int4, pg_catalog.bool, pg_catalog.text) IS
  'Internal: exchange with all brokers, or one (by its id or name)';

-- Which roles' rows the caller may see: NULL for all of them, as in pg_stat_activity.
CREATE FUNCTION berth.visible_roles() RETURNS pg_catalog.text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF pg_has_role(berth.caller(), 'pg_read_all_stats', 'USAGE') THEN
    RETURN NULL;
  END IF;
  RETURN ARRAY(SELECT r.rolname FROM pg_roles r WHERE pg_has_role(berth.caller(), r.oid, 'USAGE'));
END $$;
COMMENT ON FUNCTION berth.visible_roles() IS 'Whose rows the caller may see; NULL for those of everybody';

-- Whether a row belongs to one of these roles, or to nobody and is for whoever may use this schema. Asked for each row, so it has
-- no settings of its own and becomes a part of its caller's query.
CREATE FUNCTION berth.visible(command pg_catalog.text, "row" pg_catalog.jsonb, roles pg_catalog.text[])
RETURNS pg_catalog.bool
LANGUAGE sql IMMUTABLE AS $$
  SELECT $3 IS NULL OR coalesce($2 ->> 'user' = ANY ($3), false)
    OR ($2 ->> 'user' IS NULL AND upper(btrim($1)) IN ('SHOW BROKER', 'SHOW DATABASES', 'SHOW STATS', 'SHOW DISCONNECTS',
                                                      'SHOW LISTS', 'SHOW STATE', 'SHOW VERSION', 'SHOW BERTH VERSION'))
$$;
COMMENT ON FUNCTION berth.visible(pg_catalog.text, pg_catalog.jsonb, pg_catalog.text[]) IS
  'Internal: whether a row of a console may be shown to one who sees the rows of these roles';

CREATE FUNCTION berth.show(commands pg_catalog.text[], optional pg_catalog.text[] DEFAULT '{}')
RETURNS TABLE (broker_id pg_catalog.text, broker pg_catalog.text, command pg_catalog.text, "row" pg_catalog.jsonb,
               told_at pg_catalog.timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 1000 SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $$  -- a plan for each call would cost more than it saves
#variable_conflict use_column
DECLARE
  asked text[] := commands || optional;
  roles text[] := berth.visible_roles();
BEGIN
  -- One expression rather than a query over the elements: every view pays for it.
  IF (array_to_string(asked, ';', '') ~ '^SHOW [A-Z_]+( [A-Z_]+)?(;SHOW [A-Z_]+( [A-Z_]+)?)*$') IS NOT TRUE THEN
    RAISE EXCEPTION 'only SHOW and the name of a table' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN QUERY SELECT a.broker_id, a.broker, a.command, a."row", a.told_at
                 FROM berth.ask(asked, cardinality(commands), 0, true, NULL) a
                WHERE a."row" IS NOT NULL AND (roles IS NULL OR berth.visible(a.command, a."row", roles));
END $$;
COMMENT ON FUNCTION berth.show(pg_catalog.text[], pg_catalog.text[]) IS
  'Rows of SHOW commands of all brokers, each broker asked over one connection; empty values are null. An older broker '
  'may not know the optional ones: they are missing then, without a warning';

-- What the views over one table are made of: everything in C.
CREATE FUNCTION berth.rows_of(command pg_catalog.text) RETURNS SETOF pg_catalog.record
LANGUAGE c STRICT VOLATILE ROWS 100 AS 'MODULE_PATHNAME', 'pgberth_rows_of_0_1';
COMMENT ON FUNCTION berth.rows_of(pg_catalog.text) IS
  'Rows of one SHOW command of all brokers, as far as the caller may see them, with the columns that are listed: broker, and the '
  'console''s by name, null where it has none or it is empty';

CREATE FUNCTION berth.console(command pg_catalog.text, timeout_ms pg_catalog.int4 DEFAULT 1000)
RETURNS TABLE (broker_id pg_catalog.text, broker_name pg_catalog.text, "row" pg_catalog.jsonb)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 1000 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  roles text[] := berth.visible_roles();
BEGIN
  IF command !~* '^\s*SHOW\s+[A-Z_]+(\s+[A-Z_]+)?\s*;?\s*$' AND
     NOT has_function_privilege(berth.caller(), 'berth.reload()', 'EXECUTE') THEN
    RAISE EXCEPTION 'only SHOW and the name of a table, unless control is granted' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN QUERY SELECT a.broker_id, a.broker, coalesce(a."row", jsonb_build_object('command', a.tag))
                 FROM berth.ask(ARRAY[$1], 1, $2, false, NULL) a
                WHERE a.problem IS NULL AND
                      (roles IS NULL OR a."row" IS NULL OR
                       berth.visible(regexp_replace(btrim($1, E' ;\t\r\n'), '\s+', ' ', 'g'), a."row", roles));
END $$;
COMMENT ON FUNCTION berth.console(pg_catalog.text, pg_catalog.int4) IS
  'One console command to all brokers at once: every row with the names of the console''s columns, all values text or '
  'null. A command without rows answers with its tag';

CREATE FUNCTION berth.broker_states()
RETURNS TABLE (broker_id pg_catalog.text, broker pg_catalog.text, version pg_catalog.text, console pg_catalog.text,
               started_at pg_catalog.timestamptz, link_pid pg_catalog.int4, last_heartbeat pg_catalog.timestamptz,
               source pg_catalog.text, reachable pg_catalog.bool, told pg_catalog.jsonb, told_at pg_catalog.timestamptz, problem pg_catalog.text)
LANGUAGE sql VOLATILE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
  WITH told AS MATERIALIZED (SELECT * FROM berth.ask('{SHOW VERSION,SHOW BROKER}', 1, 0, true, NULL))
  SELECT t.broker_id, t.broker, t.version, t.console, t.started_at, t.link_pid, t.last_heartbeat, t.source,
         v."row" IS NOT NULL, b."row", b.told_at, v.problem
    FROM berth.targets() t
    LEFT JOIN told v ON v.broker_id = t.broker_id AND v.command = 'SHOW VERSION'
    LEFT JOIN told b ON b.broker_id = t.broker_id AND b.command = 'SHOW BROKER'
$$;
COMMENT ON FUNCTION berth.broker_states() IS 'Internal, behind the view brokers: who registered, and what it says of itself';

-- The broker writes the address of a Unix socket as the word unix.
CREATE FUNCTION berth.to_inet(address pg_catalog.text) RETURNS pg_catalog.inet
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN $1 OPERATOR(pg_catalog.~) '^[0-9]+(\.[0-9]+){3}$|^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*$'
              THEN $1::pg_catalog.inet END
$$;
COMMENT ON FUNCTION berth.to_inet(pg_catalog.text) IS 'An address as inet; NULL for a Unix socket';

-- Views -----------------------------------------------------------------------------------------------------------------

CREATE VIEW berth.brokers AS
  SELECT s.broker_id, s.broker, s.source, s.reachable, s.problem,
         COALESCE(r.version, s.version) AS version, s.console, r.pool_mode, COALESCE(r.started_at, s.started_at) AS started_at,
         pg_catalog.clock_timestamp() - COALESCE(r.started_at, s.started_at) AS uptime, r.now - s.told_at AS clock_ahead, r.workers,
         r.clients, r.clients_active, r.clients_waiting, r.servers, r.servers_active, r.max_client_conn, r.paused, r.link,
         s.link_pid, s.last_heartbeat
    FROM berth.broker_states() s
    CROSS JOIN LATERAL pg_catalog.jsonb_to_record(COALESCE(s.told, '{}')) r
      (version text, started_at timestamptz, now timestamptz, pool_mode text, workers int4, clients int8,
       clients_active int8, clients_waiting int8, servers int8, servers_active int8, max_client_conn int8, paused bool,
       link text);

CREATE VIEW berth.pools AS
  SELECT r.broker, r.database, r."user" AS usename, r.pool_mode, r.cl_active, r.cl_waiting, r.cl_active_cancel_req AS cl_cancel,
         r.sv_active, r.sv_idle, r.sv_used, r.sv_tested, r.sv_login, r.sv_active_cancel AS sv_cancel, r.sv_being_canceled,
         r.maxwait * interval '1 second' + r.maxwait_us * interval '1 microsecond' AS maxwait
    FROM berth.rows_of('SHOW POOLS') r
      (broker text, database text, "user" text, cl_active int8, cl_waiting int8, cl_active_cancel_req int8, sv_active int8,
       sv_active_cancel int8, sv_being_canceled int8, sv_idle int8, sv_used int8, sv_tested int8, sv_login int8, maxwait int8,
       maxwait_us int8, pool_mode text)
   WHERE r.database <> 'pgbouncer';

CREATE VIEW berth.clients AS
  WITH told AS MATERIALIZED (
    SELECT * FROM berth.show('{SHOW CLIENTS,SHOW SERVERS}', '{SHOW CLIENT_COUNTERS}')
  ), servers AS (
    SELECT t.broker_id, t."row" ->> 'ptr' AS ptr, (t."row" ->> 'remote_pid')::int4 AS backend_pid
      FROM told t WHERE t.command = 'SHOW SERVERS'
  ), counters AS (
    SELECT t.broker_id, r.* FROM told t CROSS JOIN LATERAL pg_catalog.jsonb_to_record(t."row") r
      (client_id int8, connected_at timestamptz, transaction_started_at timestamptz, wait_us int8, query_us int8,
       xact_us int8, transactions int8, queries int8, bytes_in int8, bytes_out int8, features text)
     WHERE t.command = 'SHOW CLIENT_COUNTERS'
  )
  SELECT t.broker, r.id AS client_id, r.database, r."user" AS usename, r.state, berth.to_inet(r.addr) AS client_addr,
         r.port AS client_port, NULLIF(r.remote_pid, 0) AS client_pid, r.application_name, r.tls,
         COALESCE(c.connected_at, CASE
           WHEN r.connect_time ~ ' (UTC|GMT|[+-][0-9:]+)$' OR pg_catalog."substring"(r.connect_time, '[A-Z]+$') = ANY
                (ARRAY(SELECT z.abbrev FROM pg_catalog.pg_timezone_abbrevs z))
           THEN r.connect_time::timestamptz END) AS connected_at,
         pg_catalog.make_interval(secs => r.wait) + r.wait_us * interval '1 microsecond' AS waiting, s.backend_pid,
         c.transaction_started_at AS xact_start, c.transactions AS xact_count, c.queries AS query_count, c.bytes_in,
         c.bytes_out, c.wait_us * interval '1 microsecond' AS wait_time, c.query_us * interval '1 microsecond' AS query_time,
         c.xact_us * interval '1 microsecond' AS xact_time, r.prepared_statements,
         pg_catalog.string_to_array(c.features, ',') AS features
    FROM told t
    CROSS JOIN LATERAL pg_catalog.jsonb_to_record(t."row") r
      (id int8, database text, "user" text, state text, addr text, port int4, connect_time text, wait int8, wait_us int8,
       link text, remote_pid int4, tls text, application_name text, prepared_statements int8)
    LEFT JOIN servers s ON s.broker_id = t.broker_id AND s.ptr = r.link
    LEFT JOIN counters c ON c.broker_id = t.broker_id AND c.client_id = r.id
   WHERE t.command = 'SHOW CLIENTS';

CREATE VIEW berth.servers AS
  WITH told AS MATERIALIZED (SELECT * FROM berth.show('{SHOW SERVERS,SHOW CLIENTS}'))
  SELECT t.broker, r.id AS server_id, r.database, r."user" AS usename, r.state, r.remote_pid AS backend_pid,
         berth.to_inet(r.addr) AS server_addr, r.port AS server_port, berth.to_inet(r.local_addr) AS local_addr,
         r.local_port, r.application_name, r.tls,
         CASE WHEN r.connect_time ~ ' (UTC|GMT|[+-][0-9:]+)$' OR pg_catalog."substring"(r.connect_time, '[A-Z]+$') = ANY
                   (ARRAY(SELECT z.abbrev FROM pg_catalog.pg_timezone_abbrevs z))
              THEN r.connect_time::timestamptz END AS connected_at,
         r.close_needed <> 0 AS close_needed, r.prepared_statements, (c."row" ->> 'id')::int8 AS client_id
    FROM told t
    CROSS JOIN LATERAL pg_catalog.jsonb_to_record(t."row") r
      (id int8, database text, "user" text, state text, addr text, port int4, local_addr text, local_port int4,
       connect_time text, close_needed int4, ptr text, link text, remote_pid int4, tls text, application_name text,
       prepared_statements int8)
    LEFT JOIN told c ON c.command = 'SHOW CLIENTS' AND c.broker_id = t.broker_id AND c."row" ->> 'ptr' = r.link
   WHERE t.command = 'SHOW SERVERS';

CREATE VIEW berth.databases AS
  SELECT r.broker, r.name AS database, r.host, r.port, r.database AS datname, r.force_user, r.pool_size, r.min_pool_size,
         r.reserve_pool_size, r.pool_mode, r.max_connections, r.current_connections, r.max_client_connections,
         r.current_client_connections, pg_catalog.make_interval(secs => r.server_lifetime) AS server_lifetime,
         r.load_balance_hosts, r.paused <> 0 AS paused, r.disabled <> 0 AS disabled
    FROM berth.rows_of('SHOW DATABASES') r
      (broker text, name text, host text, port int4, database text, force_user text, pool_size int8, min_pool_size int8,
       reserve_pool_size int8, server_lifetime int8, pool_mode text, load_balance_hosts text, max_connections int8,
       current_connections int8, max_client_connections int8, current_client_connections int8, paused int4, disabled int4)
   WHERE r.name <> 'pgbouncer';

CREATE VIEW berth.stats AS
  SELECT r.broker, r.database, r.total_xact_count AS xact_count, r.total_query_count AS query_count,
         r.total_server_assignment_count AS server_assignment_count, r.total_received AS bytes_received,
         r.total_sent AS bytes_sent, r.total_xact_time * interval '1 microsecond' AS xact_time,
         r.total_query_time * interval '1 microsecond' AS query_time,
         r.total_wait_time * interval '1 microsecond' AS wait_time, r.total_client_parse_count AS client_parse_count,
         r.total_server_parse_count AS server_parse_count, r.total_bind_count AS bind_count,
         r.total_client_login_count AS client_login_count, r.avg_xact_count AS xacts_per_second,
         r.avg_query_count AS queries_per_second, r.avg_recv AS bytes_received_per_second,
         r.avg_sent AS bytes_sent_per_second, r.avg_xact_time * interval '1 microsecond' AS avg_xact_time,
         r.avg_query_time * interval '1 microsecond' AS avg_query_time,
         r.avg_wait_time * interval '1 microsecond' AS avg_wait_time
    FROM berth.rows_of('SHOW STATS') r
      (broker text, database text, total_server_assignment_count int8, total_xact_count int8, total_query_count int8,
       total_received int8, total_sent int8, total_xact_time int8, total_query_time int8, total_wait_time int8, total_client_parse_count int8,
       total_server_parse_count int8, total_bind_count int8, total_client_login_count int8, avg_xact_count int8,
       avg_query_count int8, avg_recv int8, avg_sent int8, avg_xact_time int8, avg_query_time int8, avg_wait_time int8)
   WHERE r.database <> 'pgbouncer';

CREATE VIEW berth.latency AS
  SELECT r.broker, r.database, r."user" AS usename, r.kind, r.count, r.sum_us * interval '1 microsecond' AS total,
         r.sum_us * interval '1 microsecond' / NULLIF(r.count, 0) AS mean, r.p50_us * interval '1 microsecond' AS p50,
         r.p95_us * interval '1 microsecond' AS p95, r.p99_us * interval '1 microsecond' AS p99,
         r.p999_us * interval '1 microsecond' AS p999, r.max_us * interval '1 microsecond' AS max
    FROM berth.rows_of('SHOW LATENCY') r
      (broker text, database text, "user" text, kind text, count int8, sum_us int8, p50_us int8, p95_us int8, p99_us int8,
       p999_us int8, max_us int8);

CREATE VIEW berth.errors AS
  SELECT r.broker, r.database, r."user" AS usename, r.source, r.sqlstate, r.count
    FROM berth.rows_of('SHOW ERRORS') r
      (broker text, database text, "user" text, source text, sqlstate text, count int8);

CREATE VIEW berth.disconnects AS
  SELECT r.broker, r.kind, r.reason, r.text, r.count
    FROM berth.rows_of('SHOW DISCONNECTS') r
      (broker text, kind text, reason text, text text, count int8);

CREATE VIEW berth.settings AS
  SELECT r.broker, r.key AS name, r.value AS setting, r."default" AS boot_val, r.changeable = 'yes' AS changeable
    FROM berth.rows_of('SHOW CONFIG') r
      (broker text, key text, value text, "default" text, changeable text);

-- A broker may serve other servers too, whose process ids may be the same as ours. A backend is a broker's if the database
-- and the role agree, and the port of the connection or, where something in between has changed it, the time; and never if
-- the broker's links know that the entry leads to servers that started at other moments than this one. (What one was asked before
-- this server started was perhaps asked of its last life; clocks may differ by a little.)
CREATE VIEW berth.activity AS
  WITH told AS MATERIALIZED (SELECT * FROM berth.show('{SHOW SERVERS,SHOW CLIENTS,SHOW DATABASES}', '{SHOW LINKS}')),
  elsewhere AS MATERIALIZED (
    SELECT t.broker_id, r.database AS name FROM told t
     CROSS JOIN LATERAL pg_catalog.jsonb_to_record(t."row") r
       (database text, server_started_at timestamptz, asked_at timestamptz)
     WHERE t.command = 'SHOW LINKS'
     GROUP BY t.broker_id, r.database
    HAVING pg_catalog.bool_and(COALESCE(
             r.server_started_at <> pg_catalog.pg_postmaster_start_time()
             AND r.asked_at > pg_catalog.pg_postmaster_start_time() + interval '5 s', false))
  ), entry AS MATERIALIZED (
    SELECT t.broker_id, r.name, r.database AS datname, r.force_user FROM told t
     CROSS JOIN LATERAL pg_catalog.jsonb_to_record(t."row") r (name text, database text, force_user text)
     WHERE t.command = 'SHOW DATABASES' AND (t.broker_id, r.name) NOT IN (SELECT e.broker_id, e.name FROM elsewhere e)
  ), server AS MATERIALIZED (
    SELECT t.broker_id, t.broker, r.*, d.datname, COALESCE(d.force_user, r."user") AS role_name,
           CASE WHEN r.connect_time ~ ' (UTC|GMT)$' THEN r.connect_time::timestamptz END AS connected_at
      FROM told t
      CROSS JOIN LATERAL pg_catalog.jsonb_to_record(t."row") r
        (database text, "user" text, addr text, local_port int4, connect_time text, ptr text, link text, remote_pid int4)
      JOIN entry d ON d.broker_id = t.broker_id AND d.name = r.database
     WHERE t.command = 'SHOW SERVERS'
  ), client AS MATERIALIZED (
    SELECT t.broker_id, r.* FROM told t
     CROSS JOIN LATERAL pg_catalog.jsonb_to_record(t."row") r
       (id int8, ptr text, "user" text, addr text, port int4, tls text, application_name text, state text)
     WHERE t.command = 'SHOW CLIENTS'
  )
  SELECT a.datid, a.datname, a.pid, a.leader_pid, a.usesysid, a.usename, a.application_name, a.client_addr,
         a.client_hostname, a.client_port, a.backend_start, a.xact_start, a.query_start, a.state_change, a.wait_event_type,
         a.wait_event, a.state, a.backend_xid, a.backend_xmin, a.query_id, a.query, a.backend_type,
         pg_catalog.clock_timestamp() - a.xact_start AS transaction_age,
         s.broker, s.database AS pool_database, s."user" AS pool_user, c.id AS client_id,
         berth.to_inet(c.addr) AS origin_addr, CASE WHEN berth.to_inet(c.addr) IS NOT NULL THEN c.port END AS origin_port,
         c.application_name AS origin_application, c."user" AS origin_user, c.tls AS origin_tls
    FROM pg_catalog.pg_stat_activity a
    LEFT JOIN server s
      ON s.remote_pid = a.pid AND s.datname = a.datname AND s.role_name = a.usename
         AND (s.local_port = a.client_port OR (a.client_port = -1 AND berth.to_inet(s.addr) IS NULL) OR
              s.connected_at BETWEEN a.backend_start - interval '1 minute' AND a.backend_start + interval '1 minute')
    LEFT JOIN client c ON c.broker_id = s.broker_id AND c.ptr = s.link;

CREATE VIEW berth.blocking AS
  WITH activity AS MATERIALIZED (SELECT * FROM berth.activity)
  SELECT b.datname, b.pid AS blocked_pid, b.broker AS blocked_broker, b.client_id AS blocked_client_id,
         b.origin_addr AS blocked_addr, b.origin_port AS blocked_port,
         COALESCE(b.origin_application, b.application_name) AS blocked_application, b.usename AS blocked_user,
         b.query AS blocked_query, b.transaction_age AS blocked_transaction_age,
         pg_catalog.clock_timestamp() - b.state_change AS blocked_for,
         p.pid AS blocking_pid, h.broker AS blocking_broker, h.client_id AS blocking_client_id,
         h.origin_addr AS blocking_addr, h.origin_port AS blocking_port,
         COALESCE(h.origin_application, h.application_name) AS blocking_application, h.usename AS blocking_user,
         h.state AS blocking_state, h.query AS blocking_query, h.transaction_age AS blocking_transaction_age
    FROM activity b
    CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(b.pid)) p (pid)
    LEFT JOIN activity h ON h.pid = p.pid
   WHERE b.wait_event_type = 'Lock';

CREATE VIEW berth.backend_history AS
  SELECT r.broker, r.server_pid AS pid, r.server_id, r.database, r."user" AS usename, r.client_id,
         berth.to_inet(r.client_addr) AS client_addr, r.client_port, r.application_name, r.linked_at, r.released_at,
         r.transactions AS xact_count, r.queries AS query_count
    FROM berth.rows_of('SHOW SERVER_HISTORY') r
      (broker text, server_pid int4, server_id int8, database text, "user" text, client_id int8, client_addr text,
       client_port int4, application_name text, linked_at timestamptz, released_at timestamptz, transactions int8, queries int8);

CREATE VIEW berth.queue AS
  SELECT r.broker, r.database, r."user" AS usename, r.position, r.client_id, berth.to_inet(r.client_addr) AS client_addr,
         r.application_name, r.waiting_us * interval '1 microsecond' AS waiting
    FROM berth.rows_of('SHOW QUEUE') r
      (broker text, client_id int8, database text, "user" text, client_addr text, application_name text,
       waiting_us int8, "position" int8);

-- Advice ----------------------------------------------------------------------------------------------------------------

-- Decides, and only that: the facts come as an argument, each {"broker", "command", "row"}, so that every finding and its
-- threshold can be tried without a broker. Facts that are missing make no finding.
CREATE FUNCTION berth.findings(facts pg_catalog.jsonb)
RETURNS TABLE (finding pg_catalog.text, severity pg_catalog.text, broker pg_catalog.text, database pg_catalog.text,
               usename pg_catalog.text, evidence pg_catalog.text, threshold pg_catalog.text, remedy pg_catalog.text)
LANGUAGE sql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
  WITH fact AS MATERIALIZED (
    SELECT f ->> 'broker' AS broker, f ->> 'command' AS command, f -> 'row' AS r, f -> 'row' ->> 'database' AS database,
           f -> 'row' ->> 'user' AS usename
      FROM jsonb_array_elements(facts) f
  ), pool AS (
    SELECT f.broker, f.database, f.usename, (r ->> 'cl_waiting')::int8 AS waiting, (r ->> 'maxwait')::int8 AS maxwait,
           (r ->> 'sv_idle')::int8 AS idle, r ->> 'pool_mode' AS mode,
           (r ->> 'sv_active')::int8 + (r ->> 'sv_idle')::int8 + (r ->> 'sv_used')::int8 + (r ->> 'sv_tested')::int8 +
           (r ->> 'sv_login')::int8 AS servers
      FROM fact f WHERE f.command = 'SHOW POOLS' AND f.database <> 'pgbouncer'
  ), entry AS (
    SELECT f.broker, r ->> 'name' AS database, r ->> 'database' AS datname, (r ->> 'pool_size')::int8 AS pool_size,
           coalesce((r ->> 'reserve_pool_size')::int8, 0) AS reserve, (r ->> 'max_connections')::int8 AS max_connections
      FROM fact f WHERE f.command = 'SHOW DATABASES' AND r ->> 'name' <> 'pgbouncer'
  ), broker AS (
    SELECT f.broker, r ->> 'link' AS link, (r ->> 'now')::timestamptz AS now, (r ->> 'started_at')::timestamptz AS started_at,
           (r ->> 'told_at')::timestamptz AS told_at
      FROM fact f WHERE f.command = 'SHOW BROKER'
  ), server AS (
    SELECT (r ->> 'max_connections')::int8 AS max_connections,
           (r ->> 'reserved')::int8 AS reserved, r -> 'databases' AS databases
      FROM fact f WHERE f.command = 'server'
  ), stats AS (
    SELECT f.broker, f.database, (r ->> 'total_xact_count')::int8 AS xacts,
           (r ->> 'total_client_login_count')::int8 AS logins, (r ->> 'total_client_parse_count')::int8 AS client_parses,
           (r ->> 'total_server_parse_count')::int8 AS server_parses, (r ->> 'total_bind_count')::int8 AS binds
      FROM fact f WHERE f.command = 'SHOW STATS' AND f.database <> 'pgbouncer'
  ), limits AS (  -- what each database may open here at most, over its pools
    SELECT p.broker, p.database, least(sum(e.pool_size + e.reserve), min(nullif(e.max_connections, 0))) AS servers
      FROM pool p JOIN entry e USING (broker, database)
      JOIN server s ON s.databases ? e.datname GROUP BY p.broker, p.database
  )
  SELECT 'pool too small', CASE WHEN p.maxwait >= 10 THEN 'critical' ELSE 'warning' END, p.broker, p.database, p.usename,
         format('%s clients wait, the first for %s s; %s servers are open and none is idle, pool_size is %s',
                p.waiting, p.maxwait, p.servers, e.pool_size),
         'a client waits for 1 s (critical: 10 s) and no server is idle',
         'Shorten transactions (see berth.activity); if the server has room, raise pool_size.'
    FROM pool p JOIN entry e USING (broker, database) WHERE p.waiting > 0 AND p.maxwait >= 1 AND p.idle = 0
  UNION ALL
  SELECT 'waits are long', 'warning', f.broker, f.database, f.usename,
         format('5 %% of %s waits for a server took %s ms or longer', r ->> 'count', (r ->> 'p95_us')::int8 / 1000),
         'p95 of the wait is 100 ms, of at least 100',
         'Shorten transactions (see berth.activity); if the server has room, raise pool_size.'
    FROM fact f WHERE f.command = 'SHOW LATENCY' AND r ->> 'kind' = 'wait' AND (r ->> 'p95_us')::int8 >= 100000
                  AND (r ->> 'count')::int8 >= 100
  UNION ALL
  SELECT 'pool too large', 'info', f.broker, f.database, f.usename,
         format('never more than %s servers were in use since %s, pool_size is %s', r ->> 'value', b.started_at, e.pool_size),
         'less than half of a pool_size of 10 or more in an hour or more',
         'Lower pool_size: what is never used still counts when limits are added up.'
    FROM fact f JOIN entry e USING (broker, database) JOIN broker b USING (broker)
   WHERE f.command = 'SHOW ADVICE_FACTS' AND r ->> 'name' = 'servers_peak' AND e.pool_size >= 10
     AND (r ->> 'value')::numeric * 2 < e.pool_size AND b.now - b.started_at >= interval '1 hour'
  UNION ALL
  SELECT 'pools exceed max_connections', 'warning', NULL, NULL, NULL,
         format('the pools may open %s servers (%s); max_connections is %s, %s of them reserved', sum(l.servers),
                string_agg(format('%s/%s: %s', l.broker, l.database, l.servers), ', ' ORDER BY l.broker, l.database),
                s.max_connections, s.reserved),
         'sum of pool limits over max_connections less what is reserved',
         'Lower pool_size or set max_db_connections, so that the broker queues what PostgreSQL would refuse.'
    FROM limits l CROSS JOIN server s GROUP BY s.max_connections, s.reserved
  HAVING sum(l.servers) > s.max_connections - s.reserved
  UNION ALL
  SELECT 'idle in transaction', CASE WHEN (r ->> 'seconds')::numeric >= 600 THEN 'critical' ELSE 'warning' END, f.broker,
         f.database, f.usename,
         format('client %s (%s) holds backend %s idle in a transaction for %s s', r ->> 'client_id', r ->> 'client',
                r ->> 'pid', round((r ->> 'seconds')::numeric)),
         '60 s (critical: 600 s)',
         'End transactions before waiting for anything else; idle_transaction_timeout ends those that do not.'
    FROM fact f WHERE f.command = 'idle in transaction' AND (r ->> 'seconds')::numeric >= 60
  UNION ALL
  SELECT 'needs session mode', 'warning', f.broker, f.database, f.usename,
         format('%s clients used %s in a pool that lends servers for a transaction', count(*), feature), 'one client',
         'Connect such clients to session_port, or set pool_mode = session for their database or user.'
    FROM fact f CROSS JOIN LATERAL unnest(string_to_array(r ->> 'features', ',')) feature
   WHERE f.command = 'SHOW CLIENT_COUNTERS' AND feature <> '' GROUP BY f.broker, f.database, f.usename, feature
  UNION ALL
  SELECT 'prepared statements thrash', 'warning', s.broker, s.database, NULL,
         format('servers parsed %s times for %s parses of clients and %s executions', s.server_parses, s.client_parses, s.binds),
         'at least 1000 executions, more parses on servers than by clients, and one for every 5 executions',
         'Raise max_prepared_statements, or prepare fewer different statements.'
    FROM stats s WHERE s.binds >= 1000 AND s.server_parses > s.client_parses AND s.server_parses * 5 >= s.binds
  UNION ALL
  SELECT 'connection churn', 'warning', s.broker, s.database, NULL,
         format('%s logins for %s transactions', s.logins, s.xacts), 'at least 1000 logins, less than 2 transactions for each',
         'Keep connections open in the application (a driver''s pool).'
    FROM stats s WHERE s.logins >= 1000 AND s.xacts < 2 * s.logins
  UNION ALL
  SELECT 'database without the extension', 'info', b.broker, e.database, NULL,
         format('the broker has links to: %s', substr(b.link, 5)), 'a database of the broker without a link',
         'CREATE EXTENSION pgberth there, and grant_access to the role of the link.'
    FROM broker b JOIN entry e USING (broker)
   WHERE b.link LIKE 'up: %' AND e.database <> ALL (regexp_split_to_array(substr(b.link, 5), ',\s*'))
  UNION ALL
  SELECT 'clocks apart', 'warning', b.broker, NULL, NULL,
         format('the broker''s clock says %s, the server''s %s', b.now, b.told_at), '2 s',
         'Run a time daemon on both machines: logs and times of both cannot be compared.'
    FROM broker b WHERE greatest(b.now - b.told_at, b.told_at - b.now) >= interval '2 s'
  UNION ALL
  SELECT 'setting without effect', 'info', f.broker, NULL, NULL, format('%s is set', r ->> 'value'), 'one setting',
         'Remove it from the configuration file, or see docs/config.md for what takes its place.'
    FROM fact f WHERE f.command = 'SHOW ADVICE_FACTS' AND r ->> 'name' = 'ignored_setting'
$$;
COMMENT ON FUNCTION berth.findings(pg_catalog.jsonb) IS 'The rules of the view advice, over facts that are given';

CREATE FUNCTION berth.facts() RETURNS pg_catalog.jsonb
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  WITH told AS MATERIALIZED (
    SELECT * FROM berth.show('{SHOW POOLS,SHOW DATABASES,SHOW STATS,SHOW SERVERS,SHOW CLIENTS}',
                             '{SHOW BROKER,SHOW CLIENT_COUNTERS,SHOW LATENCY,SHOW ADVICE_FACTS,SHOW LINKS}')
  ), fact (broker, command, r) AS (
    SELECT t.broker, t.command, t."row" || jsonb_build_object('told_at', t.told_at) FROM told t
     WHERE t.command NOT IN ('SHOW SERVERS', 'SHOW CLIENTS', 'SHOW LINKS')
    UNION ALL
    SELECT t.broker, 'idle in transaction', jsonb_build_object('database', t."row" ->> 'database', 'user', t."row" ->> 'user',
           'pid', a.pid, 'seconds', extract(epoch FROM clock_timestamp() - a.state_change), 'client_id', c."row" ->> 'id',
           'client', concat_ws(' ', c."row" ->> 'addr', c."row" ->> 'application_name'))
      FROM told t
      JOIN told c ON c.command = 'SHOW CLIENTS' AND c.broker_id = t.broker_id AND c."row" ->> 'ptr' = t."row" ->> 'link'
      JOIN told d ON d.command = 'SHOW DATABASES' AND d.broker_id = t.broker_id AND d."row" ->> 'name' = t."row" ->> 'database'
      JOIN pg_stat_activity a ON a.pid = (t."row" ->> 'remote_pid')::int4 AND a.datname = d."row" ->> 'database'
                             AND a.usename = coalesce(d."row" ->> 'force_user', t."row" ->> 'user')
     WHERE t.command = 'SHOW SERVERS' AND a.state LIKE 'idle in transaction%'
       AND (t.broker_id, t."row" ->> 'database') NOT IN
           (SELECT l.broker_id, l."row" ->> 'database' FROM told l WHERE l.command = 'SHOW LINKS'
             GROUP BY 1, 2
            HAVING bool_and(coalesce((l."row" ->> 'server_started_at')::timestamptz <> pg_postmaster_start_time() AND
                                     (l."row" ->> 'asked_at')::timestamptz > pg_postmaster_start_time() + interval '5 s', false)))
    UNION ALL
    SELECT NULL, 'server', jsonb_build_object('max_connections', current_setting('max_connections'), 'reserved',
           current_setting('superuser_reserved_connections'),
           'databases', (SELECT jsonb_agg(datname) FROM pg_database WHERE datallowconn))
  )
  SELECT jsonb_agg(jsonb_build_object('broker', f.broker, 'command', f.command, 'row', f.r)) FROM fact f
$$;
COMMENT ON FUNCTION berth.facts() IS 'The facts of this moment for the view advice, as far as the caller may see them';

CREATE VIEW berth.advice AS
  SELECT f.* FROM berth.facts() known CROSS JOIN LATERAL berth.findings(known) f;

-- Control ---------------------------------------------------------------------------------------------------------------

CREATE FUNCTION berth.command(command pg_catalog.text, timeout_ms pg_catalog.int4, only_broker pg_catalog.text)
RETURNS TABLE (broker pg_catalog.text, ok pg_catalog.bool, message pg_catalog.text)
LANGUAGE sql VOLATILE ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
  SELECT a.broker, a.problem IS NULL, coalesce(a.problem, a.tag) FROM berth.ask(ARRAY[$1], 0, $2, true, $3) a ORDER BY a.broker
$$;
COMMENT ON FUNCTION berth.command(pg_catalog.text, pg_catalog.int4, pg_catalog.text) IS
  'Internal: a command that changes something, to all brokers or one';

CREATE FUNCTION berth.pause(database pg_catalog.text DEFAULT NULL, max_wait pg_catalog.interval DEFAULT '30 s')
RETURNS TABLE (broker pg_catalog.text, ok pg_catalog.bool, message pg_catalog.text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  ms int8 := ceil(extract(epoch FROM $2) * 1000);
BEGIN
  IF ms IS NULL OR ms < 1 OR ms > 600000 THEN
    RAISE EXCEPTION 'max_wait is between 1 ms and 10 min' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  RETURN QUERY SELECT c.* FROM berth.command(concat_ws(' ', 'PAUSE', '"' || replace($1, '"', '""') || '"', 'FOR', ms),
                                             least(ms + 1000, 600000)::int4, NULL) c;
END $$;
COMMENT ON FUNCTION berth.pause(pg_catalog.text, pg_catalog.interval) IS
  'Stops giving servers to clients of a database (as the broker names it; NULL: all) and answers when all are free; the '
  'broker goes on by itself after max_wait, or at berth.resume';

CREATE FUNCTION berth.resume(database pg_catalog.text DEFAULT NULL)
RETURNS TABLE (broker pg_catalog.text, ok pg_catalog.bool, message pg_catalog.text)
LANGUAGE sql VOLATILE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
  SELECT c.* FROM berth.command(concat_ws(' ', 'RESUME', '"' || replace($1, '"', '""') || '"'), 0, NULL) c
$$;
COMMENT ON FUNCTION berth.resume(pg_catalog.text) IS 'Goes on after berth.pause';

CREATE FUNCTION berth.reconnect(database pg_catalog.text DEFAULT NULL)
RETURNS TABLE (broker pg_catalog.text, ok pg_catalog.bool, message pg_catalog.text)
LANGUAGE sql VOLATILE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
  SELECT c.* FROM berth.command(concat_ws(' ', 'RECONNECT', '"' || replace($1, '"', '""') || '"'), 0, NULL) c
$$;
COMMENT ON FUNCTION berth.reconnect(pg_catalog.text) IS
  'Closes every server of a database (NULL: all) as soon as it is free, so that new ones are opened';

CREATE FUNCTION berth.reload()
RETURNS TABLE (broker pg_catalog.text, ok pg_catalog.bool, message pg_catalog.text)
LANGUAGE sql VOLATILE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
  SELECT c.* FROM berth.command('RELOAD', 0, NULL) c
$$;
COMMENT ON FUNCTION berth.reload() IS 'Every broker reads its configuration file again';

CREATE FUNCTION berth.kill_client(broker pg_catalog.text, id pg_catalog.int8)
RETURNS TABLE (broker_name pg_catalog.text, ok pg_catalog.bool, message pg_catalog.text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF $1 IS NULL OR $2 IS NULL THEN
    RAISE EXCEPTION 'a broker (name or id) and a client_id of berth.clients' USING ERRCODE = 'null_value_not_allowed';
  END IF;
  RETURN QUERY SELECT c.* FROM berth.command('KILL_CLIENT ' || $2, 0, $1) c;
END $$;
COMMENT ON FUNCTION berth.kill_client(pg_catalog.text, pg_catalog.int8) IS
  'Closes one client of one broker (by its name or id), as berth.clients and berth.activity show it';

-- Privileges ------------------------------------------------------------------------------------------------------------

REVOKE ALL ON TABLE berth.broker_registration FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA berth FROM PUBLIC;
GRANT EXECUTE ON FUNCTION berth.version(), berth.to_inet(pg_catalog.text) TO PUBLIC;

CREATE FUNCTION berth.grant_access(role pg_catalog.regrole, level pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  functions text := CASE level
    WHEN 'read' THEN 'berth.show(text[], text[]), berth.rows_of(text), berth.console(text, int4), berth.broker_states(),
                      berth.findings(jsonb), berth.facts()'
    WHEN 'control' THEN 'berth.pause(text, interval), berth.resume(text), berth.reconnect(text), berth.reload(),
                         berth.kill_client(text, int8)'
    WHEN 'broker' THEN 'berth.register_broker(text, text, text, text, text, timestamptz), berth.heartbeat(text),
                        berth.deregister_broker(text)' END;
BEGIN
  IF role IS NULL OR functions IS NULL THEN
    RAISE EXCEPTION 'a role, and one of the levels read, control, broker' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  EXECUTE format('GRANT USAGE ON SCHEMA berth TO %s', role);
  EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', functions, role);
  IF level = 'control' THEN
    PERFORM berth.grant_access(role, 'read');
  ELSIF level = 'read' THEN
    EXECUTE format('GRANT SELECT ON berth.brokers, berth.pools, berth.clients, berth.servers, berth.databases, berth.stats,
                      berth.latency, berth.errors, berth.disconnects, berth.settings, berth.activity, berth.blocking,
                      berth.backend_history, berth.queue, berth.advice TO %s', role);
  END IF;
END $$;
COMMENT ON FUNCTION berth.grant_access(pg_catalog.regrole, pg_catalog.text) IS
  'Gives a role the views (read: its own rows, all of them with pg_read_all_stats), the views and control (control), or what '
  'a broker''s link needs (broker)';
REVOKE ALL ON FUNCTION berth.grant_access(pg_catalog.regrole, pg_catalog.text) FROM PUBLIC;

SELECT berth.grant_access('pg_read_all_stats', 'read');

-- Links that know an extension that was dropped register anew.
SELECT pg_catalog.pg_notify('pgberth', 'create');

-- What the views and their columns mean ---------------------------------------------------------------------------------

COMMENT ON VIEW berth.brokers IS
  'The brokers in front of this server: those that registered themselves and live, and those of the setting berth.brokers';
COMMENT ON COLUMN berth.brokers.broker_id IS 'Identifies the broker''s process; host:port where it is known by the setting only';
COMMENT ON COLUMN berth.brokers.broker IS 'Its name';
COMMENT ON COLUMN berth.brokers.source IS 'registered: by its link to this database; setting: named in berth.brokers';
COMMENT ON COLUMN berth.brokers.reachable IS 'Whether its console answered now';
COMMENT ON COLUMN berth.brokers.problem IS 'Why it did not';
COMMENT ON COLUMN berth.brokers.version IS 'Its version';
COMMENT ON COLUMN berth.brokers.console IS 'Where its console answers, without the secret';
COMMENT ON COLUMN berth.brokers.pool_mode IS 'The pool mode that holds where nothing else is configured';
COMMENT ON COLUMN berth.brokers.started_at IS 'When its process started';
COMMENT ON COLUMN berth.brokers.uptime IS 'For how long it has run';
COMMENT ON COLUMN berth.brokers.clock_ahead IS 'Its clock less that of this server, at the moment of its answer';
COMMENT ON COLUMN berth.brokers.workers IS 'Its worker threads';
COMMENT ON COLUMN berth.brokers.clients IS 'Clients that are logged in';
COMMENT ON COLUMN berth.brokers.clients_active IS 'Clients that are linked to a server';
COMMENT ON COLUMN berth.brokers.clients_waiting IS 'Clients that wait for a server';
COMMENT ON COLUMN berth.brokers.servers IS 'Server connections, to all PostgreSQL servers that it serves';
COMMENT ON COLUMN berth.brokers.servers_active IS 'Server connections that are lent to clients';
COMMENT ON COLUMN berth.brokers.max_client_conn IS 'Its limit of clients';
COMMENT ON COLUMN berth.brokers.paused IS 'Whether it is paused as a whole';
COMMENT ON COLUMN berth.brokers.link IS 'Its links to databases: off, none, or up and their names';
COMMENT ON COLUMN berth.brokers.link_pid IS 'The backend of its link to this database';
COMMENT ON COLUMN berth.brokers.last_heartbeat IS 'When the link was last heard';

COMMENT ON VIEW berth.pools IS
  'Pools (a database and a user) of every broker: clients and servers by state';
COMMENT ON COLUMN berth.pools.broker IS 'Name of the broker';
COMMENT ON COLUMN berth.pools.database IS 'The database, as the broker names it';
COMMENT ON COLUMN berth.pools.usename IS 'The user';
COMMENT ON COLUMN berth.pools.pool_mode IS 'session, transaction or statement';
COMMENT ON COLUMN berth.pools.cl_active IS 'Clients that are linked to a server or idle without one';
COMMENT ON COLUMN berth.pools.cl_waiting IS 'Clients that wait for a server';
COMMENT ON COLUMN berth.pools.cl_cancel IS 'Cancel requests on their way';
COMMENT ON COLUMN berth.pools.sv_active IS 'Servers that are linked to a client';
COMMENT ON COLUMN berth.pools.sv_idle IS 'Servers that are free';
COMMENT ON COLUMN berth.pools.sv_used IS 'Servers that are free and will be checked before they are lent';
COMMENT ON COLUMN berth.pools.sv_tested IS 'Servers that are being checked or reset';
COMMENT ON COLUMN berth.pools.sv_login IS 'Servers that are logging in';
COMMENT ON COLUMN berth.pools.sv_cancel IS 'Servers to which a cancel request goes';
COMMENT ON COLUMN berth.pools.sv_being_canceled IS 'Servers that wait for the end of such requests';
COMMENT ON COLUMN berth.pools.maxwait IS 'How long the first of the waiting clients has waited';

COMMENT ON VIEW berth.clients IS
  'Every client of every broker, also those that hold no backend';
COMMENT ON COLUMN berth.clients.broker IS 'Name of the broker';
COMMENT ON COLUMN berth.clients.client_id IS 'The broker''s number of the client; berth.kill_client takes it';
COMMENT ON COLUMN berth.clients.database IS 'The database, as the broker names it';
COMMENT ON COLUMN berth.clients.usename IS 'The user';
COMMENT ON COLUMN berth.clients.state IS 'active, idle, waiting';
COMMENT ON COLUMN berth.clients.client_addr IS 'Where the client really is; null for a Unix socket';
COMMENT ON COLUMN berth.clients.client_port IS 'The client''s port';
COMMENT ON COLUMN berth.clients.client_pid IS 'The client''s process, for a Unix socket';
COMMENT ON COLUMN berth.clients.application_name IS 'The client''s application_name';
COMMENT ON COLUMN berth.clients.tls IS 'The client''s TLS, if any';
COMMENT ON COLUMN berth.clients.connected_at IS 'When it connected';
COMMENT ON COLUMN berth.clients.waiting IS 'For how long it has waited for a server';
COMMENT ON COLUMN berth.clients.backend_pid IS 'The backend that it holds now';
COMMENT ON COLUMN berth.clients.xact_start IS 'When its transaction began';
COMMENT ON COLUMN berth.clients.xact_count IS 'Its transactions so far';
COMMENT ON COLUMN berth.clients.query_count IS 'Its queries so far';
COMMENT ON COLUMN berth.clients.bytes_in IS 'Bytes that it sent';
COMMENT ON COLUMN berth.clients.bytes_out IS 'Bytes that it received';
COMMENT ON COLUMN berth.clients.wait_time IS 'Time that it has waited for servers';
COMMENT ON COLUMN berth.clients.query_time IS 'Time in its queries';
COMMENT ON COLUMN berth.clients.xact_time IS 'Time in its transactions';
COMMENT ON COLUMN berth.clients.prepared_statements IS 'Prepared statements that it has open';
COMMENT ON COLUMN berth.clients.features IS 'What it used that its pool mode does not give: listen, prepare, hold_cursor, set';

COMMENT ON VIEW berth.servers IS
  'Every server connection of every broker, to all PostgreSQL servers that it serves';
COMMENT ON COLUMN berth.servers.broker IS 'Name of the broker';
COMMENT ON COLUMN berth.servers.server_id IS 'The broker''s number of the connection';
COMMENT ON COLUMN berth.servers.database IS 'The database, as the broker names it';
COMMENT ON COLUMN berth.servers.usename IS 'The user of the pool';
COMMENT ON COLUMN berth.servers.state IS 'active, idle, used, tested, new, being_canceled';
COMMENT ON COLUMN berth.servers.backend_pid IS 'The process id of the backend, on its own server';
COMMENT ON COLUMN berth.servers.server_addr IS 'The PostgreSQL server; null for a Unix socket';
COMMENT ON COLUMN berth.servers.server_port IS 'Its port';
COMMENT ON COLUMN berth.servers.local_addr IS 'The broker''s end of the connection';
COMMENT ON COLUMN berth.servers.local_port IS 'Its port, which pg_stat_activity shows as client_port';
COMMENT ON COLUMN berth.servers.application_name IS 'What the backend shows as application_name';
COMMENT ON COLUMN berth.servers.tls IS 'TLS to the server, if any';
COMMENT ON COLUMN berth.servers.connected_at IS 'When it was opened';
COMMENT ON COLUMN berth.servers.close_needed IS 'Closed as soon as it is free';
COMMENT ON COLUMN berth.servers.prepared_statements IS 'Prepared statements that it has';
COMMENT ON COLUMN berth.servers.client_id IS 'The client that it is lent to';

COMMENT ON VIEW berth.databases IS
  'The databases of every broker: where they lead, and their limits';
COMMENT ON COLUMN berth.databases.broker IS 'Name of the broker';
COMMENT ON COLUMN berth.databases.database IS 'Its name at the broker';
COMMENT ON COLUMN berth.databases.host IS 'Where it leads; null for a Unix socket';
COMMENT ON COLUMN berth.databases.port IS 'The port there';
COMMENT ON COLUMN berth.databases.datname IS 'The database there';
COMMENT ON COLUMN berth.databases.force_user IS 'The user to log in as, whoever the client is';
COMMENT ON COLUMN berth.databases.pool_size IS 'Servers for each of its pools at most';
COMMENT ON COLUMN berth.databases.min_pool_size IS 'Servers for each of its pools at least';
COMMENT ON COLUMN berth.databases.reserve_pool_size IS 'Servers beyond pool_size for clients that have waited long';
COMMENT ON COLUMN berth.databases.pool_mode IS 'Its pool mode, if it has one of its own';
COMMENT ON COLUMN berth.databases.max_connections IS 'Servers for all its pools at most; 0: no limit';
COMMENT ON COLUMN berth.databases.current_connections IS 'Servers now';
COMMENT ON COLUMN berth.databases.max_client_connections IS 'Clients at most; 0: no limit';
COMMENT ON COLUMN berth.databases.current_client_connections IS 'Clients now';
COMMENT ON COLUMN berth.databases.server_lifetime IS 'How old a server may become';
COMMENT ON COLUMN berth.databases.load_balance_hosts IS 'How its hosts are used, if there are several';
COMMENT ON COLUMN berth.databases.paused IS 'Whether it is paused';
COMMENT ON COLUMN berth.databases.disabled IS 'Whether new clients are refused';

COMMENT ON VIEW berth.stats IS
  'What every broker has done for each database since its start, and averages of its last period';
COMMENT ON COLUMN berth.stats.broker IS 'Name of the broker';
COMMENT ON COLUMN berth.stats.database IS 'The database, as the broker names it';
COMMENT ON COLUMN berth.stats.xact_count IS 'Transactions';
COMMENT ON COLUMN berth.stats.query_count IS 'Queries';
COMMENT ON COLUMN berth.stats.server_assignment_count IS 'How often a server was lent to a client';
COMMENT ON COLUMN berth.stats.bytes_received IS 'Bytes from clients';
COMMENT ON COLUMN berth.stats.bytes_sent IS 'Bytes to clients';
COMMENT ON COLUMN berth.stats.xact_time IS 'Time in transactions';
COMMENT ON COLUMN berth.stats.query_time IS 'Time in queries';
COMMENT ON COLUMN berth.stats.wait_time IS 'Time that clients waited for servers';
COMMENT ON COLUMN berth.stats.client_parse_count IS 'Statements that clients prepared';
COMMENT ON COLUMN berth.stats.server_parse_count IS 'Statements that were prepared on servers';
COMMENT ON COLUMN berth.stats.bind_count IS 'Executions of prepared statements';
COMMENT ON COLUMN berth.stats.client_login_count IS 'Logins';
COMMENT ON COLUMN berth.stats.xacts_per_second IS 'Transactions per second in the last period';
COMMENT ON COLUMN berth.stats.queries_per_second IS 'Queries per second in the last period';
COMMENT ON COLUMN berth.stats.bytes_received_per_second IS 'Bytes from clients per second in the last period';
COMMENT ON COLUMN berth.stats.bytes_sent_per_second IS 'Bytes to clients per second in the last period';
COMMENT ON COLUMN berth.stats.avg_xact_time IS 'Mean duration of a transaction in the last period';
COMMENT ON COLUMN berth.stats.avg_query_time IS 'Mean duration of a query in the last period';
COMMENT ON COLUMN berth.stats.avg_wait_time IS 'Mean wait for a server in the last period';

COMMENT ON VIEW berth.latency IS
  'How long clients wait for servers, and how long queries and transactions take, by pool, since the broker''s start';
COMMENT ON COLUMN berth.latency.broker IS 'Name of the broker';
COMMENT ON COLUMN berth.latency.database IS 'The database, as the broker names it';
COMMENT ON COLUMN berth.latency.usename IS 'The user';
COMMENT ON COLUMN berth.latency.kind IS 'wait (for a server), query or transaction';
COMMENT ON COLUMN berth.latency.count IS 'How many';
COMMENT ON COLUMN berth.latency.total IS 'All of them together';
COMMENT ON COLUMN berth.latency.mean IS 'The mean';
COMMENT ON COLUMN berth.latency.p50 IS 'Half took no longer';
COMMENT ON COLUMN berth.latency.p95 IS '95 percent took no longer';
COMMENT ON COLUMN berth.latency.p99 IS '99 percent took no longer';
COMMENT ON COLUMN berth.latency.p999 IS '99.9 percent took no longer';
COMMENT ON COLUMN berth.latency.max IS 'The longest';

COMMENT ON VIEW berth.errors IS
  'Errors that clients were told, by pool and SQLSTATE, since the broker''s start';
COMMENT ON COLUMN berth.errors.broker IS 'Name of the broker';
COMMENT ON COLUMN berth.errors.database IS 'The database, as the broker names it';
COMMENT ON COLUMN berth.errors.usename IS 'The user';
COMMENT ON COLUMN berth.errors.source IS 'server: PostgreSQL said it; broker: the broker itself';
COMMENT ON COLUMN berth.errors.sqlstate IS 'The SQLSTATE; other: those beyond the limit of a pool';
COMMENT ON COLUMN berth.errors.count IS 'How many';

COMMENT ON VIEW berth.disconnects IS
  'Why clients and servers were disconnected, since the broker''s start';
COMMENT ON COLUMN berth.disconnects.broker IS 'Name of the broker';
COMMENT ON COLUMN berth.disconnects.kind IS 'client or server';
COMMENT ON COLUMN berth.disconnects.reason IS 'The reason, a word that does not change between versions';
COMMENT ON COLUMN berth.disconnects.text IS 'What the log says of it';
COMMENT ON COLUMN berth.disconnects.count IS 'How many';

COMMENT ON VIEW berth.settings IS
  'The settings of every broker, for members of pg_read_all_stats';
COMMENT ON COLUMN berth.settings.broker IS 'Name of the broker';
COMMENT ON COLUMN berth.settings.name IS 'The setting';
COMMENT ON COLUMN berth.settings.setting IS 'Its value';
COMMENT ON COLUMN berth.settings.boot_val IS 'Its default';
COMMENT ON COLUMN berth.settings.changeable IS 'Whether it can be changed while the broker runs';

COMMENT ON VIEW berth.activity IS
  'pg_stat_activity, and who is behind each backend of a broker';
COMMENT ON COLUMN berth.activity.datid IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.activity.datname IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.activity.pid IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.activity.leader_pid IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.activity.usesysid IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.activity.usename IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.activity.application_name IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.activity.client_addr IS 'As in pg_stat_activity: for a backend of a broker, the broker';
COMMENT ON COLUMN berth.activity.client_hostname IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.activity.client_port IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.activity.backend_start IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.activity.xact_start IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.activity.query_start IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.activity.state_change IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.activity.wait_event_type IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.activity.wait_event IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.activity.state IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.activity.backend_xid IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.activity.backend_xmin IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.activity.query_id IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.activity.query IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.activity.backend_type IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.activity.transaction_age IS 'For how long the transaction has been open';
COMMENT ON COLUMN berth.activity.broker IS 'The broker whose backend it is; null if it is of none';
COMMENT ON COLUMN berth.activity.pool_database IS 'The database of its pool, as the broker names it';
COMMENT ON COLUMN berth.activity.pool_user IS 'The user of its pool';
COMMENT ON COLUMN berth.activity.client_id IS 'The broker''s number of the client that holds it now; null if it is free';
COMMENT ON COLUMN berth.activity.origin_addr IS 'Where that client really is; null for a Unix socket';
COMMENT ON COLUMN berth.activity.origin_port IS 'That client''s port';
COMMENT ON COLUMN berth.activity.origin_application IS 'That client''s application_name';
COMMENT ON COLUMN berth.activity.origin_user IS 'The user as which that client logged in';
COMMENT ON COLUMN berth.activity.origin_tls IS 'That client''s TLS, if any';

COMMENT ON VIEW berth.blocking IS
  'Who waits for a lock and who holds it, across the pools: a row for each pair';
COMMENT ON COLUMN berth.blocking.datname IS 'The database';
COMMENT ON COLUMN berth.blocking.blocked_pid IS 'The backend that waits';
COMMENT ON COLUMN berth.blocking.blocked_broker IS 'The broker whose backend that is';
COMMENT ON COLUMN berth.blocking.blocked_client_id IS 'The client that waits, as its broker numbers it';
COMMENT ON COLUMN berth.blocking.blocked_addr IS 'Where that client is';
COMMENT ON COLUMN berth.blocking.blocked_port IS 'That client''s port';
COMMENT ON COLUMN berth.blocking.blocked_application IS 'That client''s application_name';
COMMENT ON COLUMN berth.blocking.blocked_user IS 'The role that waits';
COMMENT ON COLUMN berth.blocking.blocked_query IS 'The query that waits';
COMMENT ON COLUMN berth.blocking.blocked_transaction_age IS 'For how long its transaction has been open';
COMMENT ON COLUMN berth.blocking.blocked_for IS 'For how long that query has run';
COMMENT ON COLUMN berth.blocking.blocking_pid IS 'The backend that holds the lock or stands before in the queue; 0: a prepared transaction';
COMMENT ON COLUMN berth.blocking.blocking_broker IS 'The broker whose backend that is';
COMMENT ON COLUMN berth.blocking.blocking_client_id IS 'The client that blocks, as its broker numbers it';
COMMENT ON COLUMN berth.blocking.blocking_addr IS 'Where that client is';
COMMENT ON COLUMN berth.blocking.blocking_port IS 'That client''s port';
COMMENT ON COLUMN berth.blocking.blocking_application IS 'That client''s application_name';
COMMENT ON COLUMN berth.blocking.blocking_user IS 'The role that blocks';
COMMENT ON COLUMN berth.blocking.blocking_state IS 'What that backend does';
COMMENT ON COLUMN berth.blocking.blocking_query IS 'Its query, or its last one';
COMMENT ON COLUMN berth.blocking.blocking_transaction_age IS 'For how long its transaction has been open';

COMMENT ON VIEW berth.backend_history IS
  'The last clients that held each backend, and when: a bounded number for each';
COMMENT ON COLUMN berth.backend_history.broker IS 'Name of the broker';
COMMENT ON COLUMN berth.backend_history.pid IS 'The process id of the backend, on its own server';
COMMENT ON COLUMN berth.backend_history.server_id IS 'The broker''s number of the connection';
COMMENT ON COLUMN berth.backend_history.database IS 'The database, as the broker names it';
COMMENT ON COLUMN berth.backend_history.usename IS 'The user';
COMMENT ON COLUMN berth.backend_history.client_id IS 'The client, as the broker numbers it';
COMMENT ON COLUMN berth.backend_history.client_addr IS 'Where the client was';
COMMENT ON COLUMN berth.backend_history.client_port IS 'The client''s port';
COMMENT ON COLUMN berth.backend_history.application_name IS 'The client''s application_name';
COMMENT ON COLUMN berth.backend_history.linked_at IS 'From when it held the backend';
COMMENT ON COLUMN berth.backend_history.released_at IS 'Until when; null: it still does';
COMMENT ON COLUMN berth.backend_history.xact_count IS 'Its transactions on it';
COMMENT ON COLUMN berth.backend_history.query_count IS 'Its queries on it';

COMMENT ON VIEW berth.queue IS
  'The clients that wait for a server now, those who came first at the head';
COMMENT ON COLUMN berth.queue.broker IS 'Name of the broker';
COMMENT ON COLUMN berth.queue.database IS 'The database, as the broker names it';
COMMENT ON COLUMN berth.queue.usename IS 'The user';
COMMENT ON COLUMN berth.queue.position IS 'Its place in the queue of its pool';
COMMENT ON COLUMN berth.queue.client_id IS 'The client, as the broker numbers it';
COMMENT ON COLUMN berth.queue.client_addr IS 'Where the client is';
COMMENT ON COLUMN berth.queue.application_name IS 'The client''s application_name';
COMMENT ON COLUMN berth.queue.waiting IS 'For how long it has waited';

COMMENT ON VIEW berth.advice IS
  'What is wrong and what to do about it, a row for each finding';
COMMENT ON COLUMN berth.advice.finding IS 'What was found';
COMMENT ON COLUMN berth.advice.severity IS 'info, warning or critical';
COMMENT ON COLUMN berth.advice.broker IS 'The broker, if it is about one';
COMMENT ON COLUMN berth.advice.database IS 'The database, as the broker names it';
COMMENT ON COLUMN berth.advice.usename IS 'The user, if it is about one pool';
COMMENT ON COLUMN berth.advice.evidence IS 'The numbers that show it';
COMMENT ON COLUMN berth.advice.threshold IS 'From where on it counts as a finding';
COMMENT ON COLUMN berth.advice.remedy IS 'What to do';
