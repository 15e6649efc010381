-- Repair -----------------------------------------------------------------------------------------------------------------

-- Whether somebody else is still at it: as berth.lease_is_live(), but a backend of the client's own that is gone, or that is the one
-- that asks, keeps nobody off.
CREATE FUNCTION berth.lease_is_held(lease berth.migration_lease) RETURNS pg_catalog.bool
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT berth.lease_is_live($1)
     AND ($1.via_broker
          OR ($1.pid <> pg_backend_pid() AND EXISTS (SELECT FROM pg_stat_get_activity($1.pid) a WHERE a.backend_start = $1.backend_start))
          OR EXISTS (SELECT FROM berth.busy_backends() b WHERE b.run_id = $1.run_id))
$$;
COMMENT ON FUNCTION berth.lease_is_held(berth.migration_lease) IS 'Internal: whether a lease keeps migration_resolve() off';

CREATE FUNCTION berth.refuse_held(run pg_catalog.int8) RETURNS pg_catalog.void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  lease berth.migration_lease;
  busy int4;
BEGIN
  SELECT * INTO lease FROM berth.migration_lease l WHERE l.run_id = $1;
  IF FOUND AND berth.lease_is_held(lease) THEN
    busy := (SELECT b.pid FROM berth.busy_backends() b WHERE b.run_id = $1 LIMIT 1);  -- may be another one than was seen last
    RAISE EXCEPTION 'run % is still running: pid %, %', $1, lease.pid, lease.holder
      USING ERRCODE = 'MG006', DETAIL = format('Its lease was renewed at %s and ends at %s%s.', lease.renewed_at, lease.expires_at,
              CASE WHEN lease.via_broker THEN '; it came through a broker, so its backend''s life tells nothing' ELSE '' END),
            HINT = CASE WHEN lease.via_broker AND busy IS NULL THEN format('End its client, then SELECT pg_sleep_until(%L) and call this again.',
                                                          greatest(lease.expires_at, clock_timestamp() + interval '1s'))
                   ELSE format('SELECT pg_terminate_backend(%s, 5000), then call this again.', coalesce(busy, lease.pid)) END;
  END IF;
END $$;
COMMENT ON FUNCTION berth.refuse_held(pg_catalog.int8) IS 'Internal: MG006 for a run that somebody is still at';

CREATE FUNCTION berth.migration_resolve(run pg_catalog.int8, outcome pg_catalog.text, reason pg_catalog.text,
                                        checksum pg_catalog.text DEFAULT NULL, version pg_catalog.text DEFAULT NULL)
RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  r berth.migration_run;
  m berth.migration;
  message text;
BEGIN
  IF coalesce($2 NOT IN ('applied', 'reverted', 'retry', 'accept'), true) OR coalesce(btrim($3), '') = '' OR
     ($2 = 'accept') <> ($4 IS NOT NULL) OR ($2 <> 'accept' AND $5 IS NOT NULL) THEN
    RAISE EXCEPTION 'a run is resolved as applied, reverted, retry or accept, with a reason; accept takes a checksum, and nothing else does'
      USING ERRCODE = 'invalid_parameter_value', DETAIL = format('Outcome %s, reason %s, checksum %s.', coalesce(quote_literal($2), 'NULL'),
              coalesce(quote_literal($3), 'NULL'), coalesce(quote_literal($4), 'NULL')),
            HINT = format('SELECT berth.migration_resolve(%s, ''retry'', ''why'').', coalesce($1::text, 'run'));
  END IF;
  SELECT * INTO r FROM berth.migration_run o WHERE o.run_id = $1;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no run %', coalesce($1::text, 'NULL') USING ERRCODE = 'undefined_object', DETAIL = 'Runs have numbers.',
      HINT = 'SELECT run_id, scope, version, status FROM berth.migration_history.';
  END IF;
  PERFORM berth.enter_resolved(r.scope, $1);
  SELECT * INTO r FROM berth.migration_run o WHERE o.run_id = $1 FOR UPDATE;

  IF $2 = 'accept' THEN
    SELECT * INTO m FROM berth.migration o WHERE o.scope = r.scope AND o.version = coalesce($5, r.version) AND o.last_run = $1
       AND o.state NOT IN ('reverted', 'skipped') FOR UPDATE;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'version "%" is not applied by run %', coalesce($5, r.version), $1
        USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = format('Scope "%s".', r.scope),
              HINT = format('SELECT version, run_id FROM berth.migration_current WHERE scope = %L.', r.scope);
    END IF;
    PERFORM berth.accept_checksum(m, $4, $3);
    RETURN;
  END IF;

  IF r.mode = 'tx' AND r.status = 'running' OR r.status NOT IN ('running', 'failed', 'interrupted') THEN
    message := format('run %s is %s: there is nothing to resolve', $1, r.status);
    RAISE EXCEPTION '%', message USING ERRCODE = 'object_not_in_prerequisite_state',
      DETAIL = format('Version "%s" of scope "%s"%s.', r.version, r.scope, coalesce(format(', resolved as %s at %s by %s: %s', r.outcome,
                      r.resolved_at, r.resolved_by, r.reason), '')),
      HINT = format('SELECT * FROM berth.migration_status(%L).', r.scope);
  END IF;
  IF r.status = 'running' THEN
    PERFORM berth.close_interrupted(r.scope);  -- there is no other one: a start closes those before it
  END IF;
  DELETE FROM berth.migration_lease l WHERE l.run_id = $1;
  -- A run that is to be taken up again stays one that can be: interrupted, or failed. Those that it resumed have its fate.
  UPDATE berth.migration_run o
     SET status = CASE WHEN $2 <> 'retry' THEN 'resolved' ELSE o.status END,
         outcome = $2, reason = $3, resolved_by = session_user, resolved_at = clock_timestamp(),
         finished_at = coalesce(o.finished_at, clock_timestamp())
   WHERE o.run_id = $1
      OR ($2 <> 'retry' AND o.scope = r.scope AND o.version = r.version AND o.run_id < $1 AND o.status IN ('failed', 'interrupted'));
  IF $2 = 'applied' AND r.direction <> 'revert' THEN
    PERFORM berth.record_applied($1, 'applied');
  ELSIF $2 = 'reverted' AND r.direction = 'revert' THEN
    UPDATE berth.migration o SET state = 'reverted', last_run = $1 WHERE o.scope = r.scope AND o.version = r.version;
  END IF;
END $$;
COMMENT ON FUNCTION berth.migration_resolve(pg_catalog.int8, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text) IS
  'Ends a run that failed or was interrupted, after you have looked at what it left: applied (all of it is there), reverted (nothing '
  'is), retry (the next start takes it up at its step), or accept (the script''s checksum changed harmlessly). The reason is kept. '
  'MG006 while somebody is still at it';

-- Takes the lock of a scope without waiting for a lease: only that of this run is in the way.
CREATE FUNCTION berth.enter_resolved(scope pg_catalog.text, run pg_catalog.int8) RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  began timestamptz := clock_timestamp();
BEGIN
  WHILE NOT berth.try_scope($1) LOOP
    PERFORM berth.refuse_held($2);
    IF clock_timestamp() - began >= interval '3s' THEN
      PERFORM berth.raise_busy($1, interval '3s');
    END IF;
    PERFORM pg_sleep(0.01 + random() * 0.04);
  END LOOP;
  PERFORM berth.refuse_held($2);
END $$;
COMMENT ON FUNCTION berth.enter_resolved(pg_catalog.text, pg_catalog.int8) IS 'Internal: MG006 unless nobody is at this run';

-- What was applied does not change, what is known of it does: a run of its own.
CREATE FUNCTION berth.accept_checksum(applied berth.migration, checksum pg_catalog.text, reason pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  repair int8;
BEGIN
  repair := berth.open_run($1.scope, $1.version, 'repair', 'tx', jsonb_build_object('from', $1.checksum, 'to', $2, 'of_run', $1.last_run), '{}');
  UPDATE berth.migration_run o SET outcome = 'accept', reason = $3, resolved_by = session_user, resolved_at = clock_timestamp()
   WHERE o.run_id = repair;
  UPDATE berth.migration o SET checksum = $2, checksum_algo = berth.checksum_algo($2) WHERE o.scope = $1.scope AND o.version = $1.version;
END $$;
COMMENT ON FUNCTION berth.accept_checksum(berth.migration, pg_catalog.text, pg_catalog.text) IS 'Internal: a checksum that was accepted';

-- Plan -------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION berth.plan(version pg_catalog.text, description pg_catalog.text DEFAULT NULL, checksum pg_catalog.text DEFAULT NULL,
                           kind pg_catalog.text DEFAULT 'versioned', scope pg_catalog.text DEFAULT 'default')
RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  PERFORM berth.check_request($5, $1, $4, $3, 'skip', NULL, interval '0', '{}');
  INSERT INTO berth.migration_plan (scope, version, description, checksum, kind) VALUES ($5, $1, $2, $3, $4)
    ON CONFLICT ON CONSTRAINT migration_plan_pkey DO UPDATE SET description = excluded.description, checksum = excluded.checksum,
      kind = excluded.kind;
END $$;
COMMENT ON FUNCTION berth.plan(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text) IS
  'Says that a version belongs to the release, so that it is pending until it is applied. A second call replaces the first one';

CREATE FUNCTION berth.unplan(version pg_catalog.text, scope pg_catalog.text DEFAULT 'default') RETURNS pg_catalog.bool
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  DELETE FROM berth.migration_plan p WHERE p.scope = $2 AND p.version = $1;
  RETURN FOUND;
END $$;
COMMENT ON FUNCTION berth.unplan(pg_catalog.text, pg_catalog.text) IS 'Takes a version out of the plan; false if it was not in it';

-- The portable history ---------------------------------------------------------------------------------------------------

CREATE FUNCTION berth.export(scope pg_catalog.text DEFAULT NULL) RETURNS pg_catalog.jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT jsonb_build_object('format', 'pgberth history 1', 'at', clock_timestamp(), 'cluster', berth.cluster(),
    'migrations', (SELECT coalesce(jsonb_agg(to_jsonb(m) - 'sort_key' ORDER BY m.seq), '[]') FROM berth.migration m WHERE $1 IS NULL OR m.scope = $1),
    'runs', (SELECT coalesce(jsonb_agg(to_jsonb(r) - 'duration' ORDER BY r.run_id), '[]') FROM berth.migration_run r
              WHERE ($1 IS NULL OR r.scope = $1) AND r.status <> 'running'),
    'steps', (SELECT coalesce(jsonb_agg(to_jsonb(s) ORDER BY s.run_id, s.step_no), '[]') FROM berth.migration_step s JOIN berth.migration_run r USING (run_id)
               WHERE ($1 IS NULL OR r.scope = $1) AND r.status <> 'running'),
    'checks', (SELECT coalesce(jsonb_agg(to_jsonb(c) ORDER BY c.registered_at), '[]') FROM berth.migration_check c WHERE $1 IS NULL OR c.scope = $1),
    'results', (SELECT coalesce(jsonb_agg(to_jsonb(e) ORDER BY e.result_id), '[]') FROM berth.migration_check_result e
                  LEFT JOIN berth.migration_run r USING (run_id)
                 WHERE ($1 IS NULL OR e.scope = $1) AND r.status IS DISTINCT FROM 'running'),
    'plan', (SELECT coalesce(jsonb_agg(to_jsonb(p) - 'sort_key' ORDER BY p.ord), '[]') FROM berth.migration_plan p WHERE $1 IS NULL OR p.scope = $1),
    'policy', (SELECT coalesce(jsonb_agg(to_jsonb(p) ORDER BY p.scope, p.rule), '[]') FROM berth.migration_policy p
                WHERE $1 IS NULL OR p.scope IN ($1, '*')))
$$;
COMMENT ON FUNCTION berth.export(pg_catalog.text) IS
  'The history, the checks, the plan and the rules of a scope, or of all of them, as JSON for berth.import(). Nothing that is running, no '
  'leases, no DDL log';

-- Runs get new numbers here. Checks are inserted by the caller's rights, so that only a superuser can keep others' names.
CREATE FUNCTION berth.import(history pg_catalog.jsonb) RETURNS pg_catalog.int8
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  count pg_catalog.int8;
BEGIN
  count := berth.import_history($1);
  INSERT INTO berth.migration_check
    SELECT c.* FROM pg_catalog.jsonb_populate_recordset(NULL::berth.migration_check, $1 OPERATOR(pg_catalog.->) 'checks') c
    ON CONFLICT DO NOTHING;
  RETURN count;
END $$;
COMMENT ON FUNCTION berth.import(pg_catalog.jsonb) IS
  'Takes in what berth.export() gave, into scopes that have no history here; gives the number of versions. Checks become those of '
  'the caller, unless it is a superuser';

CREATE FUNCTION berth.import_history(history pg_catalog.jsonb) RETURNS pg_catalog.int8
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  taken text;
  run record;
  numbers jsonb := '{}';
  count int8;
BEGIN
  IF $1 ->> 'format' IS DISTINCT FROM 'pgberth history 1' THEN
    RAISE EXCEPTION 'this is not what berth.export() gives' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('Its format is %s, not "pgberth history 1".', coalesce($1 -> 'format', 'null')),
      HINT = 'SELECT berth.export() in the database whose history it is.';
  END IF;
  SELECT string_agg(s.scope, ', ') INTO taken
    FROM (SELECT DISTINCT x ->> 'scope' AS scope FROM jsonb_array_elements($1 -> 'migrations' || ($1 -> 'runs')) x) s
   WHERE EXISTS (SELECT FROM berth.migration m WHERE m.scope = s.scope) OR EXISTS (SELECT FROM berth.migration_run r WHERE r.scope = s.scope);
  IF taken IS NOT NULL THEN
    RAISE EXCEPTION 'there is a history already in scope %', taken USING ERRCODE = 'MG001', DETAIL = 'Two histories cannot be put together.',
      HINT = 'Import into a database whose history is empty, or export other scopes: SELECT berth.export(scope).';
  END IF;
  FOR run IN SELECT (x ->> 'run_id')::int8 AS was, nextval('berth.migration_run_run_id_seq') AS becomes
               FROM jsonb_array_elements($1 -> 'runs') WITH ORDINALITY x (x, n) ORDER BY n
  LOOP
    numbers := numbers || jsonb_build_object(run.was::text, run.becomes);
  END LOOP;
  INSERT INTO berth.migration_run (run_id, scope, version, direction, mode, status, attempt, resumed_from, started_at, finished_at, xid,
      usename, role_name, application_name, client_addr, broker_client, pid, backend_start, tool, tool_version, source_ref, info, request,
      lock_wait, hold_time, lock_attempts, sqlstate, message, detail, hint, context, failed_step, outcome, reason, resolved_by,
      resolved_at, cluster) OVERRIDING SYSTEM VALUE
    SELECT (numbers ->> r.run_id::text)::int8, r.scope, r.version, r.direction, r.mode,
           CASE r.status WHEN 'running' THEN 'interrupted' ELSE r.status END, r.attempt, (numbers ->> r.resumed_from::text)::int8,
           r.started_at, r.finished_at, NULL, r.usename, r.role_name, r.application_name, r.client_addr, r.broker_client, r.pid,
           r.backend_start, r.tool, r.tool_version, r.source_ref, r.info, r.request, r.lock_wait, r.hold_time, r.lock_attempts,
           r.sqlstate, r.message, r.detail, r.hint, r.context, r.failed_step, r.outcome, r.reason, r.resolved_by, r.resolved_at,
           r.cluster
      FROM jsonb_populate_recordset(NULL::berth.migration_run, $1 -> 'runs') r;
  INSERT INTO berth.migration_step
    SELECT s.* FROM jsonb_array_elements($1 -> 'steps') x
     CROSS JOIN LATERAL jsonb_populate_record(NULL::berth.migration_step, x || jsonb_build_object('run_id', numbers -> (x ->> 'run_id'))) s;
  INSERT INTO berth.migration (scope, version, kind, description, checksum, checksum_algo, requires, conflicts, out_of_order, app_min,
                               app_max, state, applied_at, applied_by, last_run)
    SELECT m.scope, m.version, m.kind, m.description, m.checksum, m.checksum_algo, m.requires, m.conflicts, m.out_of_order, m.app_min,
           m.app_max, m.state, m.applied_at, m.applied_by, (numbers ->> m.last_run::text)::int8
      FROM jsonb_populate_recordset(NULL::berth.migration, $1 -> 'migrations') m ORDER BY m.seq;
  GET DIAGNOSTICS count = ROW_COUNT;
  INSERT INTO berth.migration_check_result (run_id, scope, version, name, ok, got, at, duration, asked_by)
    SELECT (numbers ->> e.run_id::text)::int8, e.scope, e.version, e.name, e.ok, e.got, e.at, e.duration, e.asked_by
      FROM jsonb_populate_recordset(NULL::berth.migration_check_result, $1 -> 'results') e ORDER BY e.result_id;
  INSERT INTO berth.migration_plan (scope, version, description, checksum, kind)
    SELECT p.scope, p.version, p.description, p.checksum, p.kind
      FROM jsonb_populate_recordset(NULL::berth.migration_plan, $1 -> 'plan') p ORDER BY p.ord ON CONFLICT DO NOTHING;
  INSERT INTO berth.migration_policy SELECT p.* FROM jsonb_populate_recordset(NULL::berth.migration_policy, $1 -> 'policy') p
    ON CONFLICT DO NOTHING;
  RETURN count;
END $$;
COMMENT ON FUNCTION berth.import_history(pg_catalog.jsonb) IS 'Internal: all that berth.import() takes in, but for the checks';
