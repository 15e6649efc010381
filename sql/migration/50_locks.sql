-- Locks ------------------------------------------------------------------------------------------------------------------

-- A statement that waits for a strong lock makes everybody wait who comes after it. So the lock is tried for a short time, given
-- up, and tried again, and whoever came in between has gone on.

-- The modes as LOCK TABLE spells them, the weakest first. pg_locks calls that one AccessShareLock.
CREATE FUNCTION berth.lock_modes() RETURNS pg_catalog.text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT ARRAY['ACCESS SHARE', 'ROW SHARE', 'ROW EXCLUSIVE', 'SHARE UPDATE EXCLUSIVE', 'SHARE', 'SHARE ROW EXCLUSIVE', 'EXCLUSIVE',
               'ACCESS EXCLUSIVE']::pg_catalog.text[]
$$;
COMMENT ON FUNCTION berth.lock_modes() IS 'Internal: the modes of LOCK TABLE, the weakest first';

-- With which modes, by their numbers in lock_modes(), each of them conflicts: the table in the manual's chapter on locks.
CREATE FUNCTION berth.lock_conflicts(mode pg_catalog.text) RETURNS pg_catalog.text[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  conflicts CONSTANT text[] := '{8,78,5678,45678,34678,345678,2345678,12345678}';
  mine int4 := array_position(berth.lock_modes(), upper($1));
BEGIN
  IF mine IS NULL THEN
    RAISE EXCEPTION 'no such lock mode: "%"', $1
      USING ERRCODE = 'invalid_parameter_value', HINT = format('One of %s.', array_to_string(berth.lock_modes(), ', '));
  END IF;
  RETURN ARRAY(SELECT replace(initcap(m.mode), ' ', '') || 'Lock' FROM unnest(berth.lock_modes()) WITH ORDINALITY m (mode, number)
                WHERE strpos(conflicts[mine], m.number::text) > 0 ORDER BY m.number);
END $$;
COMMENT ON FUNCTION berth.lock_conflicts(pg_catalog.text) IS 'The modes, as in pg_locks, that a mode of LOCK TABLE has to wait for';

-- LOCK TABLE locks partitions and children, and what a view reads. Names are looked up anew for each attempt.
CREATE FUNCTION berth.lock_reach(rels pg_catalog.regclass[]) RETURNS SETOF pg_catalog.oid
LANGUAGE sql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
  WITH RECURSIVE reach (rel) AS (
    SELECT r::oid FROM unnest($1) r
    UNION
    SELECT next.rel FROM reach CROSS JOIN LATERAL (
      SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = reach.rel
      UNION ALL
      SELECT d.refobjid FROM pg_class v JOIN pg_rewrite w ON w.ev_class = v.oid
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
       WHERE v.oid = reach.rel AND v.relkind = 'v') next (rel)
  )
  SELECT rel FROM reach
$$;
COMMENT ON FUNCTION berth.lock_reach(pg_catalog.regclass[]) IS 'Internal: all relations that LOCK TABLE locks with these';

-- One statement, always in the same order: two migrators of the same tables wait for each other, and never both.
CREATE FUNCTION berth.lock_statement(rels pg_catalog.regclass[], mode pg_catalog.text) RETURNS pg_catalog.text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  missing text;
  tables text;
BEGIN
  IF coalesce(cardinality($1), 0) = 0 OR array_position($1, NULL) IS NOT NULL THEN
    RAISE EXCEPTION 'which tables are to be locked?' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  PERFORM berth.lock_conflicts($2);
  SELECT string_agg(r::text, ', ') INTO missing FROM unnest($1) r WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = r);
  IF missing IS NOT NULL THEN
    RAISE EXCEPTION 'there is no such table any more: %', missing USING ERRCODE = 'undefined_table';
  END IF;
  SELECT string_agg(format('%I.%I', n.nspname, c.relname), ', ' ORDER BY c.oid) INTO tables
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ($1);
  RETURN format('LOCK TABLE %s IN %s MODE', tables, upper($2));
END $$;
COMMENT ON FUNCTION berth.lock_statement(pg_catalog.regclass[], pg_catalog.text) IS 'Internal: LOCK TABLE of all of them';

CREATE FUNCTION berth.check_lock_times(attempt_timeout pg_catalog.interval, max_wait pg_catalog.interval, backoff pg_catalog.interval)
RETURNS pg_catalog.void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  wrong text := CASE
    WHEN $1 IS NULL OR $1 < interval '1ms' OR $1 > interval '1h' THEN 'attempt_timeout is from 1ms to 1h'
    WHEN $2 IS NULL OR $2 < interval '0' THEN 'max_wait is not negative'
    WHEN $3 IS NULL OR $3 < interval '0' THEN 'backoff is not negative' END;
BEGIN
  IF wrong IS NOT NULL THEN
    RAISE EXCEPTION '%', wrong USING ERRCODE = 'invalid_parameter_value';
  END IF;
END $$;
COMMENT ON FUNCTION berth.check_lock_times(pg_catalog.interval, pg_catalog.interval, pg_catalog.interval) IS 'Internal: arguments';

-- How long to stay away after so many attempts: twice as long each time, up to a limit, and never two migrators in step.
CREATE FUNCTION berth.lock_pause(backoff pg_catalog.interval, attempts pg_catalog.int4) RETURNS pg_catalog.interval
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  pause_max CONSTANT interval := '2s';
  doublings_max CONSTANT int4 := 16;
BEGIN
  RETURN least($1 * (2 ^ least($2 - 1, doublings_max)), pause_max) * (0.5 + random() / 2);
END $$;
COMMENT ON FUNCTION berth.lock_pause(pg_catalog.interval, pg_catalog.int4) IS 'Internal: the pause after so many attempts';

-- The lock_timeout of the caller comes back by itself, in every way out: that is what a SET clause of the function is for.
CREATE FUNCTION berth.try_lock(rels pg_catalog.regclass[], mode pg_catalog.text, attempt_timeout pg_catalog.interval)
RETURNS pg_catalog.bool
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = 0 AS $$
BEGIN
  PERFORM set_config('lock_timeout', berth.milliseconds($3), true);
  BEGIN
    EXECUTE berth.lock_statement($1, $2);
  EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    RETURN false;  -- what this attempt had locked is free again
  END;
  RETURN true;
END $$;
COMMENT ON FUNCTION berth.try_lock(pg_catalog.regclass[], pg_catalog.text, pg_catalog.interval) IS
  'Internal: one attempt; false when somebody else has the lock';

CREATE FUNCTION berth.milliseconds(span pg_catalog.interval) RETURNS pg_catalog.text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT greatest(1, extract(epoch FROM $1) * 1000)::int8::text
$$;
COMMENT ON FUNCTION berth.milliseconds(pg_catalog.interval) IS 'Internal: an interval as a setting takes it';

-- Who is in the way -------------------------------------------------------------------------------------------------------

-- Everything that is known of those who hold, or queue for, a lock that conflicts. One row for each process and kind, and parallel
-- workers count as their leader. xact is the transaction's mark in pg_locks: a pooled backend has many, one after the other.
CREATE FUNCTION berth.lock_holders(rels pg_catalog.regclass[], mode pg_catalog.text)
RETURNS TABLE (pid pg_catalog.int4, xact pg_catalog.text, usesysid pg_catalog.oid, usename pg_catalog.name,
               application_name pg_catalog.text, client_addr pg_catalog.inet, state pg_catalog.text,
               xact_start pg_catalog.timestamptz, wait_event pg_catalog.text, lockmode pg_catalog.text, query pg_catalog.text,
               kind pg_catalog.text, backend_type pg_catalog.text)
LANGUAGE plpgsql VOLATILE ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  modes CONSTANT text[] := berth.lock_conflicts($2);
BEGIN
  PERFORM pg_stat_clear_snapshot();  -- otherwise a transaction sees the sessions of its first look
  RETURN QUERY
    WITH found AS MATERIALIZED (
      SELECT coalesce(a.leader_pid, l.pid) AS pid, l.virtualtransaction, l.granted,
             max(array_position(modes, l.mode)) AS strongest
        FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
       WHERE l.locktype = 'relation' AND l.mode = ANY (modes) AND l.relation IN (SELECT berth.lock_reach($1))
         AND l.database IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
       GROUP BY 1, l.granted, l.virtualtransaction
    )
    SELECT f.pid, max(f.virtualtransaction), a.usesysid, coalesce(a.usename, p.owner), a.application_name, a.client_addr, a.state,
           coalesce(a.xact_start, p.prepared), concat_ws(': ', a.wait_event_type, a.wait_event), modes[max(f.strongest)],
           coalesce(p.gid, a.query),
           CASE WHEN f.pid IS NULL THEN 'prepared xact' WHEN NOT f.granted THEN 'queued'
                ELSE berth.holder_kind(a.backend_type, a.query) END, a.backend_type
      FROM found f LEFT JOIN pg_stat_activity a ON a.pid = f.pid
      LEFT JOIN pg_locks x ON f.pid IS NULL AND x.pid IS NULL AND x.locktype = 'transactionid'
                          AND x.virtualtransaction = f.virtualtransaction
      LEFT JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
     WHERE f.pid IS DISTINCT FROM pg_backend_pid()
     GROUP BY f.pid, f.granted, a.usesysid, a.usename, a.application_name, a.client_addr, a.state, a.xact_start, a.wait_event_type,
              a.wait_event, a.query, a.backend_type, p.owner, p.prepared, p.gid
     ORDER BY f.granted DESC, coalesce(a.xact_start, p.prepared);
END $$;
COMMENT ON FUNCTION berth.lock_holders(pg_catalog.regclass[], pg_catalog.text) IS 'Internal: blockers() without any regard for who asks';

CREATE FUNCTION berth.holder_kind(backend_type pg_catalog.text, query pg_catalog.text) RETURNS pg_catalog.text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN $1 IS DISTINCT FROM 'autovacuum worker' THEN 'holder'
              WHEN $2 LIKE 'autovacuum: %(to prevent wraparound)' THEN 'autovacuum to prevent wraparound' ELSE 'autovacuum' END
$$;
COMMENT ON FUNCTION berth.holder_kind(pg_catalog.text, pg_catalog.text) IS 'Internal: what kind of process holds a lock';

CREATE FUNCTION berth.blockers(rels pg_catalog.regclass[], mode pg_catalog.text DEFAULT 'ACCESS EXCLUSIVE')
RETURNS TABLE (pid pg_catalog.int4, broker_client pg_catalog.text, usename pg_catalog.name, application_name pg_catalog.text,
               client_addr pg_catalog.inet, state pg_catalog.text, xact_age pg_catalog.interval, wait_event pg_catalog.text,
               lockmode pg_catalog.text, query pg_catalog.text, kind pg_catalog.text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  roles text[] := berth.visible_roles();
BEGIN
  RETURN QUERY
    WITH holder AS MATERIALIZED (
      SELECT h.*, roles IS NULL OR h.usename IS NULL OR h.usename = ANY (roles) AS visible FROM berth.lock_holders($1, $2) h
    ), client AS MATERIALIZED (
      SELECT c.* FROM berth.broker_clients(ARRAY(SELECT h.pid FROM holder h WHERE h.visible AND h.pid IS NOT NULL)) c
    )
    SELECT h.pid, c.client, h.usename, h.application_name, CASE WHEN h.visible THEN h.client_addr END,
           CASE WHEN h.visible THEN h.state END, clock_timestamp() - h.xact_start, h.wait_event, h.lockmode,
           CASE WHEN h.visible THEN h.query END, h.kind
      FROM holder h LEFT JOIN client c ON c.pid = h.pid AND h.visible
     ORDER BY h.kind = 'queued', h.xact_start;
END $$;
COMMENT ON FUNCTION berth.blockers(pg_catalog.regclass[], pg_catalog.text) IS
  'Who holds, or waits in the queue for, a lock on these tables that conflicts with the mode; kind is holder, queued, autovacuum, '
  'autovacuum to prevent wraparound, or prepared xact, whose gid is the query. Query, state, address and broker''s client of other '
  'roles are for members of pg_read_all_stats';

-- What blockers() says, as it is kept while somebody waits. The brokers are asked if `ask`; else what they said before of the same
-- transactions is taken over.
CREATE FUNCTION berth.blockers_told(rels pg_catalog.regclass[], mode pg_catalog.text, before pg_catalog.jsonb, ask pg_catalog.bool)
RETURNS pg_catalog.jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  told_max CONSTANT int4 := 20;
  text_max CONSTANT int4 := 200;
  roles text[] := berth.visible_roles();
BEGIN
  RETURN (
    WITH holder AS MATERIALIZED (
      SELECT h.*, roles IS NULL OR h.usename IS NULL OR h.usename = ANY (roles) AS visible FROM berth.lock_holders($1, $2) h LIMIT told_max
    ), client AS MATERIALIZED (
      SELECT c.* FROM berth.broker_clients(ARRAY(SELECT h.pid FROM holder h WHERE h.visible AND h.pid IS NOT NULL AND $4)) c
    )
    SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
             'pid', h.pid, 'kind', h.kind, 'lockmode', h.lockmode, 'usename', h.usename, 'application_name', h.application_name,
             'xact_start', h.xact_start, 'xact', h.xact, 'wait_event', nullif(h.wait_event, ''),
             'state', CASE WHEN h.visible THEN h.state END, 'client_addr', CASE WHEN h.visible THEN h.client_addr END,
             'query', CASE WHEN h.visible THEN left(h.query, text_max) END,
             'broker_client', CASE WHEN h.visible THEN coalesce(c.client, b ->> 'broker_client') END)))
      FROM holder h LEFT JOIN client c ON c.pid = h.pid
      LEFT JOIN jsonb_array_elements($3) b ON NOT $4 AND (b ->> 'pid')::int4 = h.pid AND b ->> 'xact' = h.xact
                                          AND b ->> 'kind' = h.kind);
END $$;
COMMENT ON FUNCTION berth.blockers_told(pg_catalog.regclass[], pg_catalog.text, pg_catalog.jsonb, pg_catalog.bool) IS
  'Internal: blockers as JSON';

CREATE FUNCTION berth.raise_not_locked(rels pg_catalog.regclass[], mode pg_catalog.text, attempts pg_catalog.int4,
                                       waited pg_catalog.interval, blockers pg_catalog.jsonb)
RETURNS pg_catalog.void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'could not lock % in % mode after % attempts in %', array_to_string($1, ', '), upper($2), $3, $4
    USING ERRCODE = 'MG010', DETAIL = coalesce($5::text, '[]'),
          HINT = format('Try again later. Who is in the way now: SELECT * FROM berth.blockers(%L);', $1::text);
END $$;
COMMENT ON FUNCTION berth.raise_not_locked(pg_catalog.regclass[], pg_catalog.text, pg_catalog.int4, pg_catalog.interval,
                                           pg_catalog.jsonb) IS 'Internal: raises MG010';

-- Taking locks ------------------------------------------------------------------------------------------------------------

CREATE FUNCTION berth.note_lock(attempts pg_catalog.int4, waited pg_catalog.interval) RETURNS pg_catalog.void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE berth.migration_run r SET lock_attempts = coalesce(r.lock_attempts, 0) + $1, lock_wait = coalesce(r.lock_wait, interval '0') + $2
   WHERE r.run_id = berth.current_run()
$$;
COMMENT ON FUNCTION berth.note_lock(pg_catalog.int4, pg_catalog.interval) IS 'Internal: adds to the lock waits of the run of this transaction';

CREATE FUNCTION berth.lock_tables_with(rels pg_catalog.regclass[], mode pg_catalog.text DEFAULT 'ACCESS EXCLUSIVE',
                                       attempt_timeout pg_catalog.interval DEFAULT '100ms',
                                       max_wait pg_catalog.interval DEFAULT '10s', backoff pg_catalog.interval DEFAULT '50ms',
                                       hold pg_catalog.bool DEFAULT NULL)
RETURNS TABLE (attempts pg_catalog.int4, waited pg_catalog.interval, held pg_catalog.interval, last_blockers pg_catalog.jsonb)
LANGUAGE plpgsql VOLATILE ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  ask_every CONSTANT interval := '1s';  -- a broker that does not answer is not asked after each attempt
  context text;
  began timestamptz := clock_timestamp();
  asked timestamptz;
  ask bool;
BEGIN
  PERFORM berth.check_lock_times($3, $4, $5), berth.lock_statement($1, $2);
  GET DIAGNOSTICS context = PG_CONTEXT;
  PERFORM berth.need_block('lock_tables_with', context);
  IF $6 THEN
    RAISE WARNING 'no broker can hold traffic yet' USING HINT = 'The lock is tried again and again without that.';
  END IF;
  attempts := 1;
  WHILE NOT berth.try_lock($1, $2, $3) LOOP
    ask := asked IS NULL OR clock_timestamp() - asked >= ask_every OR clock_timestamp() - began >= $4;
    -- Whoever has just gone is still the last one that was seen.
    last_blockers := coalesce(berth.blockers_told($1, $2, last_blockers, ask), last_blockers);
    asked := CASE WHEN ask THEN clock_timestamp() ELSE asked END;
    waited := clock_timestamp() - began;
    IF waited >= $4 THEN
      PERFORM berth.raise_not_locked($1, $2, attempts, waited, last_blockers);
    END IF;
    PERFORM pg_sleep_for(least(berth.lock_pause($5, attempts), $4 - waited));
    attempts := attempts + 1;
  END LOOP;
  waited := clock_timestamp() - began;
  PERFORM berth.note_lock(attempts, waited);
  IF coalesce(current_setting('berth.locked_at', true), '') = '' THEN
    PERFORM set_config('berth.locked_at', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00'), true);
  END IF;
  RETURN NEXT;
END $$;
COMMENT ON FUNCTION berth.lock_tables_with(pg_catalog.regclass[], pg_catalog.text, pg_catalog.interval, pg_catalog.interval,
                                           pg_catalog.interval, pg_catalog.bool) IS
  'Locks tables to the end of the transaction, in attempts of attempt_timeout with growing pauses between them, for at most max_wait; '
  'then MG010. hold is for brokers that can hold traffic meanwhile; there are none yet';

CREATE FUNCTION berth.lock_tables(VARIADIC rels pg_catalog.regclass[])
RETURNS TABLE (attempts pg_catalog.int4, waited pg_catalog.interval, held pg_catalog.interval, last_blockers pg_catalog.jsonb)
LANGUAGE plpgsql VOLATILE ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  context text;
BEGIN
  GET DIAGNOSTICS context = PG_CONTEXT;
  PERFORM berth.need_block('lock_tables', context);
  RETURN QUERY SELECT l.* FROM berth.lock_tables_with($1) l;
END $$;
COMMENT ON FUNCTION berth.lock_tables(pg_catalog.regclass[]) IS
  'Locks tables in ACCESS EXCLUSIVE mode to the end of the transaction without making others wait: lock_tables_with() has the options';

-- The arguments of locked_exec, before its first transaction.
CREATE FUNCTION berth.check_locked_exec(stmt pg_catalog.text, rels pg_catalog.regclass[], attempt_timeout pg_catalog.interval,
                                        max_attempts pg_catalog.int4, backoff pg_catalog.interval)
RETURNS pg_catalog.void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF berth.in_transaction_block() THEN
    RAISE EXCEPTION 'berth.locked_exec() must be called outside a transaction block'
      USING ERRCODE = 'MG009', DETAIL = 'Each of its attempts is a transaction of its own.',
            HINT = 'Call it in autocommit, or SELECT berth.lock_tables() within the transaction.';
  END IF;
  PERFORM berth.check_lock_times($3, interval '0', $5), berth.lock_statement($2, 'ACCESS EXCLUSIVE');
  IF coalesce(btrim($1), '') = '' OR $4 IS NULL OR $4 < 1 THEN
    RAISE EXCEPTION 'a statement, and at least one attempt' USING ERRCODE = 'invalid_parameter_value';
  END IF;
END $$;
COMMENT ON FUNCTION berth.check_locked_exec(pg_catalog.text, pg_catalog.regclass[], pg_catalog.interval, pg_catalog.int4,
                                            pg_catalog.interval) IS 'Internal: arguments';

-- A procedure that commits has no SET clause, and no COMMIT where an exception could be caught.
CREATE PROCEDURE berth.locked_exec(stmt pg_catalog.text, rels pg_catalog.regclass[],
                                   attempt_timeout pg_catalog.interval DEFAULT '100ms', max_attempts pg_catalog.int4 DEFAULT 50,
                                   backoff pg_catalog.interval DEFAULT '50ms')
LANGUAGE plpgsql AS $$
DECLARE
  began pg_catalog.timestamptz := pg_catalog.clock_timestamp();
  done pg_catalog.bool;
  blockers pg_catalog.jsonb;
BEGIN
  PERFORM berth.check_locked_exec($1, $2, $3, $4, $5);
  COMMIT;  -- where that is not allowed, it fails before anything is done
  FOR attempt IN 1 .. $4 LOOP
    BEGIN
      PERFORM pg_catalog.set_config('lock_timeout', berth.milliseconds($3), true);
      EXECUTE berth.lock_statement($2, 'ACCESS EXCLUSIVE');
      EXECUTE $1;
      done := true;
    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
      done := false;
    END;
    IF done THEN
      COMMIT;
      RETURN;
    END IF;
    ROLLBACK;
    IF attempt OPERATOR(pg_catalog.<) $4 THEN
      PERFORM pg_catalog.pg_sleep_for(berth.lock_pause($5, attempt));
      COMMIT;  -- the snapshot of the pause ends with it
    END IF;
  END LOOP;
  blockers := berth.blockers_told($2, 'ACCESS EXCLUSIVE', NULL, true);
  PERFORM berth.raise_not_locked($2, 'ACCESS EXCLUSIVE', $4, pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) began, blockers);
END $$;
COMMENT ON PROCEDURE berth.locked_exec(pg_catalog.text, pg_catalog.regclass[], pg_catalog.interval, pg_catalog.int4,
                                       pg_catalog.interval) IS
  'Locks tables and runs one statement, in a transaction of its own for each attempt; between attempts nothing is held. MG010 after the last';

-- Ending what is in the way -----------------------------------------------------------------------------------------------

-- Why drain() leaves somebody alone; NULL: it does not.
CREATE FUNCTION berth.spared(kind pg_catalog.text, backend_type pg_catalog.text, usesysid pg_catalog.oid, pid pg_catalog.int4,
                             query pg_catalog.text)
RETURNS pg_catalog.text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE
    WHEN $1 = 'prepared xact' THEN format('it has no process: COMMIT PREPARED or ROLLBACK PREPARED %L', $5)
    WHEN $1 = 'autovacuum to prevent wraparound' THEN 'it must come to its end'
    WHEN $4 IN (SELECT t.link_pid FROM berth.targets() t) THEN 'the link of a broker'
    WHEN $2 IS NULL OR $2 NOT IN ('client backend', 'autovacuum worker') THEN format('a process of the server: %s', $2)
    WHEN $2 = 'client backend' AND coalesce((SELECT r.rolsuper FROM pg_roles r WHERE r.oid = $3), true)
         AND NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = berth.caller()) THEN 'a superuser''s, which only superusers end' END
$$;
COMMENT ON FUNCTION berth.spared(pg_catalog.text, pg_catalog.text, pg_catalog.oid, pg_catalog.int4, pg_catalog.text) IS
  'Internal: whom drain() leaves alone';

-- Waits until these transactions hold no lock on the tables; those that still do.
CREATE FUNCTION berth.await_gone(rels pg_catalog.regclass[], xacts pg_catalog.text[], grace pg_catalog.interval)
RETURNS pg_catalog.text[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  began timestamptz := clock_timestamp();
  left_over text[];
BEGIN
  LOOP
    left_over := ARRAY(SELECT DISTINCT l.virtualtransaction FROM pg_locks l
                        WHERE l.locktype = 'relation' AND l.granted AND l.virtualtransaction = ANY ($2)
                          AND l.relation IN (SELECT berth.lock_reach($1)));
    EXIT WHEN left_over = '{}' OR clock_timestamp() - began >= $3;
    PERFORM pg_sleep(0.01);
  END LOOP;
  RETURN left_over;
END $$;
COMMENT ON FUNCTION berth.await_gone(pg_catalog.regclass[], pg_catalog.text[], pg_catalog.interval) IS 'Internal: waits for transactions to end';

CREATE FUNCTION berth.note_drained(pid pg_catalog.int4, usename pg_catalog.name, verdict pg_catalog.text, done pg_catalog.bool)
RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  kept_max CONSTANT int4 := 100;
BEGIN
  RAISE LOG 'berth.drain by %: % of pid % (%), %', session_user, $3, $1, coalesce($2, 'autovacuum'),
    CASE WHEN $4 THEN 'gone' ELSE 'still there' END;
  UPDATE berth.migration_run r
     SET info = jsonb_set(r.info, '{drained}', coalesce(r.info -> 'drained', '[]') ||
                          jsonb_build_object('pid', $1, 'usename', $2, 'verdict', $3, 'done', $4, 'at', clock_timestamp()))
   WHERE r.run_id = berth.current_run() AND coalesce(jsonb_array_length(r.info -> 'drained'), 0) < kept_max;
END $$;
COMMENT ON FUNCTION berth.note_drained(pg_catalog.int4, pg_catalog.name, pg_catalog.text, pg_catalog.bool) IS
  'Internal: what drain() did goes into the log and into the run of the transaction';

-- Who could not lock the tables has no business to end those who have. Whoever may read nothing can still make a view of it, so of a
-- view everything is asked for that LOCK TABLE would lock.
CREATE FUNCTION berth.check_drain(rels pg_catalog.regclass[], older_than pg_catalog.interval, action pg_catalog.text,
                                  grace pg_catalog.interval)
RETURNS pg_catalog.void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  forbidden text;
BEGIN
  PERFORM berth.lock_statement($1, 'ACCESS EXCLUSIVE');
  IF $3 IS NULL OR $3 NOT IN ('report', 'cancel', 'terminate') THEN
    RAISE EXCEPTION 'no such action: "%" (report, cancel, terminate)', $3 USING ERRCODE = 'invalid_parameter_value';
  ELSIF $2 IS NULL OR $2 < interval '0' OR $4 IS NULL OR $4 NOT BETWEEN interval '0' AND interval '1h' THEN
    RAISE EXCEPTION 'older_than is not negative, grace is at most one hour' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  SELECT string_agg(r::text, ', ' ORDER BY r) INTO forbidden
    FROM (SELECT r FROM unnest($1) r UNION SELECT o.reach FROM unnest($1) v
            JOIN pg_class c ON c.oid = v AND c.relkind = 'v' CROSS JOIN LATERAL berth.lock_reach(ARRAY[v]) o (reach)) t (r)
   WHERE NOT has_table_privilege(berth.caller(), r, 'UPDATE, DELETE, TRUNCATE');
  IF forbidden IS NOT NULL AND $3 <> 'report' THEN
    RAISE EXCEPTION 'role % may not drain %', berth.caller()::regrole, forbidden
      USING ERRCODE = 'MG040', DETAIL = 'It has none of the privileges that LOCK TABLE needs: UPDATE, DELETE, TRUNCATE.',
            HINT = format('GRANT UPDATE ON %s TO %s;', forbidden, berth.caller()::regrole);
  END IF;
END $$;
COMMENT ON FUNCTION berth.check_drain(pg_catalog.regclass[], pg_catalog.interval, pg_catalog.text, pg_catalog.interval) IS
  'Internal: arguments of drain()';

CREATE FUNCTION berth.drain(rels pg_catalog.regclass[], older_than pg_catalog.interval DEFAULT '0',
                            action pg_catalog.text DEFAULT 'report', grace pg_catalog.interval DEFAULT '5s')
RETURNS TABLE (pid pg_catalog.int4, usename pg_catalog.name, broker_client pg_catalog.text, application_name pg_catalog.text,
               state pg_catalog.text, xact_age pg_catalog.interval, kind pg_catalog.text, verdict pg_catalog.text,
               done pg_catalog.bool, reason pg_catalog.text, query pg_catalog.text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  roles text[] := berth.visible_roles();
  victims jsonb;
  wanted text[];
  left_over text[];
  ended text[] := '{}';
BEGIN
  PERFORM berth.check_drain($1, $2, $3, $4);
  SELECT jsonb_agg(to_jsonb(h) || jsonb_build_object('reason', berth.spared(h.kind, h.backend_type, h.usesysid, h.pid, h.query)))
    INTO victims FROM berth.lock_holders($1, 'ACCESS EXCLUSIVE') h
   WHERE h.kind <> 'queued' AND coalesce(clock_timestamp() - h.xact_start, interval '0') >= $2;
  SELECT jsonb_agg(v || jsonb_build_object('broker_client', c.client)) INTO victims
    FROM jsonb_array_elements(victims) v LEFT JOIN berth.broker_clients(
      ARRAY(SELECT (w ->> 'pid')::int4 FROM jsonb_array_elements(victims) w WHERE w ->> 'pid' IS NOT NULL)) c
      ON c.pid = (v ->> 'pid')::int4;
  wanted := ARRAY(SELECT v ->> 'xact' FROM jsonb_array_elements(victims) v WHERE v ->> 'reason' IS NULL AND $3 <> 'report');
  IF wanted <> '{}' THEN
    PERFORM berth.signal_holders($1, wanted, false);
    left_over := berth.await_gone($1, wanted, $4);
    IF $3 = 'terminate' AND left_over <> '{}' THEN
      ended := left_over;
      PERFORM berth.signal_holders($1, ended, true);
      left_over := berth.await_gone($1, wanted, $4);
    END IF;
  END IF;
  FOR pid, usename, broker_client, application_name, state, xact_age, kind, verdict, done, reason, query IN
    SELECT r.pid, r.usename, r.broker_client, r.application_name, r.state, clock_timestamp() - r.xact_start, r.kind,
           CASE WHEN $3 = 'report' THEN 'report' WHEN r.reason IS NOT NULL THEN 'spared' WHEN r.xact = ANY (ended) THEN 'terminate'
                ELSE 'cancel' END,
           CASE WHEN r.xact = ANY (wanted) THEN r.xact <> ALL (left_over) END, r.reason, r.query
      FROM jsonb_to_recordset(victims) r (pid int4, xact text, usename name, broker_client text, application_name text, state text,
                                          xact_start timestamptz, kind text, reason text, query text)
     ORDER BY r.xact_start
  LOOP
    IF done IS NOT NULL THEN
      PERFORM berth.note_drained(pid, usename, verdict, done);
    END IF;
    IF NOT (roles IS NULL OR usename IS NULL OR usename = ANY (roles)) THEN
      broker_client := NULL;
      state := NULL;
      query := NULL;
    END IF;
    RETURN NEXT;
  END LOOP;
END $$;
COMMENT ON FUNCTION berth.drain(pg_catalog.regclass[], pg_catalog.interval, pg_catalog.text, pg_catalog.interval) IS
  'Whose transactions have locks on these tables for longer than that; with action cancel their statements are cancelled, with terminate '
  'those are ended that still have them after the grace. Spared: wraparound, prepared transactions, replication, links of brokers, and '
  'superusers unless one asks';

-- Only a transaction that still has the lock is signalled: by now the backend may serve another one.
CREATE FUNCTION berth.signal_holders(rels pg_catalog.regclass[], xacts pg_catalog.text[], terminate pg_catalog.bool)
RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM CASE WHEN $3 THEN pg_terminate_backend(h.pid) ELSE pg_cancel_backend(h.pid) END
     FROM berth.lock_holders($1, 'ACCESS EXCLUSIVE') h WHERE h.xact = ANY ($2) AND h.kind <> 'queued' AND h.pid IS NOT NULL;
END $$;
COMMENT ON FUNCTION berth.signal_holders(pg_catalog.regclass[], pg_catalog.text[], pg_catalog.bool) IS
  'Internal: cancels or terminates those who hold locks in these transactions';
