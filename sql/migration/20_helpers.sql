-- Small things that the rest is made of --------------------------------------------------------------------------------

CREATE FUNCTION berth.in_transaction_block() RETURNS pg_catalog.bool
  LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'pgberth_in_transaction_block_0_2';
COMMENT ON FUNCTION berth.in_transaction_block() IS 'Whether the statement belongs to a transaction that goes on after it';

-- The byte order mark is spelt for the regular expression, not for the text: a database that is not in UTF-8 does not have it. There
-- it comes as three characters, or bytes.
CREATE FUNCTION berth.normalise(script pg_catalog.text) RETURNS pg_catalog.text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT pg_catalog.regexp_replace(pg_catalog.regexp_replace(pg_catalog.regexp_replace($1,
           '^(\uFEFF|\u00EF\u00BB\u00BF)', ''), E'[ \t\r]+(?=\n|$)', '', 'g'), E'\n*$', '') OPERATOR(pg_catalog.||) E'\n'
$$;
COMMENT ON FUNCTION berth.normalise(pg_catalog.text) IS
  'A script without a byte order mark, carriage returns, blanks at the end of lines and empty lines at its end: what editors '
  'and version control change by themselves';

-- In UTF-8, so that it is the same in each database; SQL_ASCII knows no other encoding, and bytes are what they are.
CREATE FUNCTION berth.sha256_of(value pg_catalog.text) RETURNS pg_catalog.text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to($1,
           CASE pg_catalog.getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex')
$$;
COMMENT ON FUNCTION berth.sha256_of(pg_catalog.text) IS 'Internal: the SHA-256 of a text, in hexadecimal digits';

CREATE FUNCTION berth.checksum(script pg_catalog.text) RETURNS pg_catalog.text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT 'sha256/norm1:' OPERATOR(pg_catalog.||)
         berth.sha256_of(berth.normalise($1))
$$;
COMMENT ON FUNCTION berth.checksum(pg_catalog.text) IS 'The checksum of a script, with the name of its formula before the colon';

-- This database in this cluster. A copy that was restored elsewhere has another one.
CREATE FUNCTION berth.cluster() RETURNS pg_catalog.text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT c.system_identifier || '/' || d.oid FROM pg_control_system() c, pg_database d WHERE d.datname = current_database()
$$;
COMMENT ON FUNCTION berth.cluster() IS 'Internal: identifies this database of this cluster';

CREATE FUNCTION berth.policy(scope pg_catalog.text, rule pg_catalog.text) RETURNS pg_catalog.text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce((SELECT p.action FROM berth.migration_policy p WHERE p.scope IN ($1, '*') AND p.rule = $2
                    ORDER BY p.scope = '*' LIMIT 1),
                  CASE $2 WHEN 'out_of_order' THEN 'error' WHEN 'checksum' THEN 'error' WHEN 'invalid_index' THEN 'error'
                          WHEN 'unattributed_ddl' THEN 'warn' ELSE 'off' END)
$$;
COMMENT ON FUNCTION berth.policy(pg_catalog.text, pg_catalog.text) IS
  'What is done about an irregularity: off, log, warn or error; the row of the scope, else that of *, else the default';

CREATE FUNCTION berth.set_policy(rule pg_catalog.text, action pg_catalog.text, scope pg_catalog.text DEFAULT '*')
RETURNS pg_catalog.void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO berth.migration_policy VALUES ($3, $1, $2)
    ON CONFLICT ON CONSTRAINT migration_policy_pkey DO UPDATE SET action = excluded.action;
END $$;
COMMENT ON FUNCTION berth.set_policy(pg_catalog.text, pg_catalog.text, pg_catalog.text) IS
  'Sets a rule (out_of_order, checksum, table_rewrite, unattributed_ddl, invalid_index) to off, log, warn or error';

-- The clients behind backends as their broker knows them. A broker that does not answer costs its warning and a short time.
CREATE FUNCTION berth.broker_clients(pids pg_catalog.int4[]) RETURNS TABLE (pid pg_catalog.int4, client pg_catalog.text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF coalesce(cardinality($1), 0) = 0 OR NOT EXISTS (SELECT FROM berth.targets()) THEN
    RETURN;
  END IF;
  RETURN QUERY
    WITH told AS MATERIALIZED (
      SELECT a.broker_id, a.broker, a.command, a."row"
        FROM berth.ask('{SHOW SERVERS,SHOW CLIENTS}', 2, 0, true, NULL) a WHERE a."row" IS NOT NULL
    )
    SELECT DISTINCT ON (p) p,
           concat(s.broker, ' ', coalesce('client ' || (c."row" ->> 'id'), 'server ' || (s."row" ->> 'id')),
                  ' ' || (c."row" ->> 'addr') || ':' || (c."row" ->> 'port'), ' ' || (c."row" ->> 'application_name'))
      FROM unnest($1) p
      JOIN told s ON s.command = 'SHOW SERVERS' AND (s."row" ->> 'remote_pid')::int4 = p
      LEFT JOIN told c ON c.command = 'SHOW CLIENTS' AND c.broker_id = s.broker_id AND c."row" ->> 'ptr' = s."row" ->> 'link'
     ORDER BY p, c."row" IS NULL;
END $$;
COMMENT ON FUNCTION berth.broker_clients(pg_catalog.int4[]) IS
  'Internal: the broker and its client behind each of these backends; no row for those that no broker has';

CREATE FUNCTION berth.broker_client(pid pg_catalog.int4) RETURNS pg_catalog.text
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT c.client FROM berth.broker_clients(ARRAY[$1]) c
$$;
COMMENT ON FUNCTION berth.broker_client(pg_catalog.int4) IS
  'The broker and its client behind a backend; NULL when no broker has this backend';

-- A lease holds until it expires, and longer while its backend lives if that is the client's own, or while any backend is busy
-- with a statement that bears the number of its run (those of index_sql do): one of the run's own user, because everybody can write
-- such a comment. A copy of a database does not believe in it.
CREATE FUNCTION berth.lease_is_live(lease berth.migration_lease) RETURNS pg_catalog.bool
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT NOT EXISTS (SELECT FROM berth.migration_run r WHERE r.run_id = $1.run_id AND r.cluster <> berth.cluster())
     AND ($1.expires_at > clock_timestamp()
      OR EXISTS (SELECT FROM pg_stat_get_activity(NULL) a
                  WHERE a.datid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                    AND ((NOT $1.via_broker AND a.pid = $1.pid AND a.backend_start = $1.backend_start)
                         OR (a.state = 'active' AND a.query LIKE '%/* berth run ' || $1.run_id || ' %' AND a.usesysid = (
                             SELECT o.oid FROM pg_roles o JOIN berth.migration_run r ON r.usename = o.rolname WHERE r.run_id = $1.run_id)))))
$$;
COMMENT ON FUNCTION berth.lease_is_live(berth.migration_lease) IS 'Internal: whether somebody is still at it';

-- One migrator for each scope: a lock that ends with the transaction, never with a session, which a pooler shares. It is tried
-- again rather than waited for, because a waiting statement would hold up others' CREATE INDEX CONCURRENTLY.
CREATE FUNCTION berth.try_scope(scope pg_catalog.text) RETURNS pg_catalog.bool
LANGUAGE sql VOLATILE AS $$
  SELECT pg_catalog.pg_try_advisory_xact_lock(1650815592, pg_catalog.hashtext($1))
$$;
COMMENT ON FUNCTION berth.try_scope(pg_catalog.text) IS 'Internal: the lock of a scope, to the end of the transaction';

-- A statement that waits has a snapshot all the time, and a concurrent build of an index has to wait for that at its end: whoever waits
-- for the migration that builds it would be waited for. The build says so.
CREATE FUNCTION berth.is_waited_for() RETURNS pg_catalog.bool
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.current_locker_pid = pg_backend_pid())
$$;
COMMENT ON FUNCTION berth.is_waited_for() IS 'Internal: whether the build of an index waits for this transaction';

-- What MG006 says of who is in the way.
CREATE FUNCTION berth.raise_busy(scope pg_catalog.text, waited pg_catalog.interval) RETURNS pg_catalog.void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  lease berth.migration_lease;
  run berth.migration_run;
  other record;
  prepared record;
BEGIN
  SELECT p.gid, p.prepared, p.owner INTO prepared
    FROM pg_locks l JOIN pg_locks x ON x.locktype = 'transactionid' AND x.pid IS NULL AND x.virtualtransaction = l.virtualtransaction
    JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
   WHERE l.locktype = 'advisory' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.pid IS NULL
     AND l.classid = 1650815592 AND l.objid::int8 = (hashtext($1)::int8 & 4294967295) AND l.objsubid = 2;
  IF FOUND THEN
    RAISE EXCEPTION 'another migration of scope "%" is prepared: since %, transaction "%" of %', $1, prepared.prepared, prepared.gid, prepared.owner
      USING ERRCODE = 'MG006', DETAIL = 'A prepared transaction waits for whoever coordinates it, and lives on without any session.',
            HINT = format('COMMIT PREPARED %L; or ROLLBACK PREPARED %L;', prepared.gid, prepared.gid);
  END IF;
  SELECT l.pid, a.query_start, a.usename, a.application_name, a.client_addr INTO other
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
   WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
     AND l.classid = 1650815592 AND l.objid::int8 = (hashtext($1)::int8 & 4294967295) AND l.objsubid = 2 AND l.pid <> pg_backend_pid()
   LIMIT 1;
  SELECT * INTO lease FROM berth.migration_lease l WHERE l.scope = $1;
  IF lease.scope IS NOT NULL AND (berth.lease_is_live(lease) OR other.pid IS NULL) THEN  -- or it is being used at this moment
    SELECT * INTO run FROM berth.migration_run r WHERE r.run_id = lease.run_id;
    RAISE EXCEPTION 'another migration of scope "%" is running: run %, "%" since %, pid %, %', $1, coalesce(lease.run_id::text, '-'),
        coalesce(run.version, '-'), lease.acquired_at, lease.pid, lease.holder
      USING ERRCODE = 'MG006', DETAIL = format('Its lease was renewed at %s and ends at %s.', lease.renewed_at, lease.expires_at),
            HINT = CASE WHEN berth.is_waited_for() THEN 'Try again later: the build of an index waits for this transaction to end.'
                        WHEN lease.run_id IS NULL THEN
                     format('Wait longer, or let its holder call berth.migration_unlock(). If it is dead, a superuser may '
                            'DELETE FROM berth.migration_lease WHERE scope = %L;', $1)
                   ELSE format('Wait longer (wait =>), or, if it is dead, SELECT berth.migration_resolve(%s, ''retry'', ''why'').', lease.run_id) END;
  END IF;
  RAISE EXCEPTION 'another migration of scope "%" is running: since %, pid %, % %', $1, coalesce(other.query_start::text, '-'),
      coalesce(other.pid::text, '-'), coalesce(other.usename, '-'), coalesce(other.application_name, '')
    USING ERRCODE = 'MG006', DETAIL = format('Waited for %s. Client: %s.', $2, coalesce(other.client_addr::text, 'by Unix socket')),
          HINT = 'Wait longer (wait =>), or try again later.';
END $$;
COMMENT ON FUNCTION berth.raise_busy(pg_catalog.text, pg_catalog.interval) IS 'Internal: raises MG006 with who is in the way';
