-- Transactional mode -----------------------------------------------------------------------------------------------------

-- May this version run now? 'run', 'applied' (it is there) or 'changed' (a repeatable one whose script changed); otherwise an
-- error that says what to do. Asked by both modes, under the lock of the scope where it matters.
CREATE FUNCTION berth.admission(scope pg_catalog.text, version pg_catalog.text, kind pg_catalog.text, checksum pg_catalog.text,
                                requires pg_catalog.text[], conflicts pg_catalog.text[], on_applied pg_catalog.text,
                                out_of_order pg_catalog.text)
RETURNS pg_catalog.text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  known berth.migration;
  stalled berth.migration_run;
  lacking text[];
  higher record;
  action text;
  message text;
  detail text;
  hint text;
BEGIN
  SELECT * INTO known FROM berth.migration m WHERE m.scope = $1 AND m.version = $2 AND m.state <> 'reverted';
  -- What was left out is passed over, unless whoever asks for it now has it out of order.
  IF FOUND AND (known.state <> 'skipped' OR coalesce($8, berth.policy($1, 'out_of_order')) IN ('skip', 'error'))
     AND ($3 <> 'repeatable' OR known.kind <> 'repeatable' OR known.checksum IS NOT DISTINCT FROM $4) THEN
    IF known.checksum <> $4 AND known.state <> 'skipped' THEN
      IF known.checksum_algo IS DISTINCT FROM berth.checksum_algo($4) THEN
        RAISE NOTICE 'the checksum of applied migration "%" cannot be compared: stored %, given %', $2, known.checksum, $4
          USING HINT = 'They were made by different formulas. The stored one is kept.';
      ELSE
        message := format('checksum of applied migration "%s" differs: stored %s, given %s (algorithm %s)', $2, known.checksum, $4,
                          known.checksum_algo);
        detail := format('It was applied at %s by %s.', known.applied_at, known.applied_by);
        hint := format('Restore the file, or, if the change is harmless, SELECT berth.migration_resolve(%s, ''accept'', ''why'', checksum => %L%s).',
                       coalesce(known.last_run::text, 'NULL'), $4,
                       -- A baseline has one run for many versions.
                       CASE WHEN known.kind = 'baseline' THEN format(', version => %L', $2) END);
        PERFORM berth.irregular(berth.policy($1, 'checksum'), 'MG004', message, detail, hint);
      END IF;
    END IF;
    IF $7 = 'error' THEN
      RAISE EXCEPTION 'migration "%" of scope "%" is already applied (on_applied=error)', $2, $1
        USING ERRCODE = 'MG001', DETAIL = format('It was applied at %s by %s.', known.applied_at, known.applied_by),
              HINT = 'Use on_applied => ''skip'' to pass over what is applied.';
    END IF;
    RETURN 'applied';
  END IF;
  IF known.version IS NULL AND EXISTS (SELECT FROM berth.migration m WHERE m.scope = $1 AND m.kind = 'baseline' AND m.state = 'applied'
                                         AND m.sort_key >= berth.version_key($2)) AND $3 <> 'repeatable' THEN
    RETURN 'applied';  -- the baseline contains it
  END IF;

  SELECT * INTO stalled FROM berth.migration_run r
   WHERE r.scope = $1 AND r.mode = 'step' AND r.status IN ('running', 'failed', 'interrupted') AND r.version <> $2
     AND NOT EXISTS (SELECT FROM berth.migration_run o WHERE o.resumed_from = r.run_id)
     AND berth.run_state(r.run_id) <> 'running'  -- that one is MG006, by whoever waits for it
   ORDER BY r.run_id DESC LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'run % was interrupted at step % (%), resume or resolve it first', stalled.run_id,
        coalesce(berth.stalled_step(stalled.run_id), '-'), stalled.version
      USING ERRCODE = 'MG008', DETAIL = format('It is %s since %s: %s', berth.run_state(stalled.run_id), coalesce(stalled.finished_at, stalled.started_at),
                                               coalesce(stalled.message, 'its client went away')),
            HINT = format('Run the script of "%s" again, which resumes it, or SELECT berth.migration_resolve(%s, ''reverted'', ''why'').',
                          stalled.version, stalled.run_id);
  END IF;

  SELECT array_agg(r.name ORDER BY r.number) INTO lacking FROM unnest($5) WITH ORDINALITY r (name, number)
   WHERE NOT berth.is_applied($1, r.name);
  IF lacking IS NOT NULL THEN
    RAISE EXCEPTION 'migration "%" requires % which is not applied', $2, array_to_string(lacking, ', ')
      USING ERRCODE = 'MG002', DETAIL = format('Scope "%s"; it requires %s.', $1, array_to_string($5, ', ')),
            HINT = format('Apply first: %s.', array_to_string(lacking, ', ')) || coalesce((
              SELECT format(' Left out before, so with out_of_order => ''allow'': %s.', string_agg(m.version, ', ' ORDER BY m.sort_key))
                FROM berth.migration m WHERE m.scope = $1 AND m.version = ANY (lacking) AND m.state = 'skipped' HAVING count(*) > 0), '');
  END IF;
  SELECT array_agg(m.version ORDER BY m.seq) INTO lacking FROM berth.migration m
   WHERE m.scope = $1 AND m.state NOT IN ('reverted', 'skipped')
     AND (m.version = ANY ($6) OR m.version IN (SELECT c.version FROM berth.migration c WHERE c.scope = $1 AND c.conflicts <> '{}'
                                                   AND $2 = ANY (c.conflicts)));
  IF lacking IS NOT NULL THEN
    RAISE EXCEPTION 'migration "%" conflicts with applied %', $2, array_to_string(lacking, ', ')
      USING ERRCODE = 'MG003', DETAIL = format('Scope "%s".', $1),
            HINT = format('Undo %s first, or leave this one out.', array_to_string(lacking, ', '));
  END IF;
  IF $3 = 'versioned' THEN
    SELECT m.version, m.sort_key INTO higher FROM berth.migration m
     WHERE m.scope = $1 AND m.kind <> 'repeatable' AND m.state NOT IN ('reverted', 'skipped') ORDER BY m.sort_key DESC LIMIT 1;
    IF higher.sort_key > berth.version_key($2) COLLATE "C" THEN
      action := coalesce($8, berth.policy($1, 'out_of_order'));
      IF action = 'skip' THEN
        RETURN 'skip';
      END IF;
      message := format('version "%s" is lower than applied "%s"', $2, higher.version);
      detail := format('Scope "%s".', $1);
      hint := 'Give it a higher version, or allow it: out_of_order => ''allow'', or berth.set_policy(''out_of_order'', ''warn'').';
      PERFORM berth.irregular(CASE action WHEN 'allow' THEN 'off' ELSE action END, 'MG005', message, detail, hint);
      RETURN 'run out of order';
    END IF;
  END IF;
  RETURN CASE WHEN known.version IS NULL THEN 'run' ELSE 'changed' END;
END $$;
COMMENT ON FUNCTION berth.admission(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text[],
                                    pg_catalog.text[], pg_catalog.text, pg_catalog.text) IS
  'Internal: whether a version may run now';

CREATE FUNCTION berth.checksum_algo(checksum pg_catalog.text) RETURNS pg_catalog.text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN pg_catalog.strpos($1, ':') OPERATOR(pg_catalog.>) 0 THEN pg_catalog.split_part($1, ':', 1)
              WHEN $1 IS NOT NULL THEN 'given' END
$$;
COMMENT ON FUNCTION berth.checksum_algo(pg_catalog.text) IS 'The formula of a checksum: what is before its colon, else "given"';

CREATE FUNCTION berth.is_applied(scope pg_catalog.text, version pg_catalog.text) RETURNS pg_catalog.bool
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (SELECT FROM berth.migration m WHERE m.scope = $1 AND m.version = $2 AND m.state NOT IN ('reverted', 'skipped'))
      OR (NOT EXISTS (SELECT FROM berth.migration m WHERE m.scope = $1 AND m.version = $2)
          AND EXISTS (SELECT FROM berth.migration m WHERE m.scope = $1 AND m.kind = 'baseline' AND m.state = 'applied'
                         AND m.sort_key >= berth.version_key($2)))
$$;
COMMENT ON FUNCTION berth.is_applied(pg_catalog.text, pg_catalog.text) IS 'Whether a version is applied, or is part of a baseline';

-- The step at which a run stands, as MG008 names it.
CREATE FUNCTION berth.stalled_step(run pg_catalog.int8) RETURNS pg_catalog.text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT s.step_no || ' "' || s.label || '"' FROM berth.migration_step s
   WHERE s.run_id = $1 AND s.status IN ('running', 'failed', 'pending') ORDER BY s.step_no LIMIT 1
$$;
COMMENT ON FUNCTION berth.stalled_step(pg_catalog.int8) IS 'Internal: the first step of a run that is not done';

-- What a policy makes of an irregularity.
CREATE FUNCTION berth.irregular(action pg_catalog.text, code pg_catalog.text, message pg_catalog.text, detail pg_catalog.text,
                                hint pg_catalog.text)
RETURNS pg_catalog.void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF action = 'error' THEN
    RAISE EXCEPTION '%', message USING ERRCODE = code, DETAIL = detail, HINT = hint;
  ELSIF action = 'warn' THEN
    RAISE WARNING '%', message USING ERRCODE = code, DETAIL = detail, HINT = hint;
  ELSIF action = 'log' THEN
    RAISE LOG '%', message USING ERRCODE = code, DETAIL = detail, HINT = hint;
  ELSIF action <> 'off' THEN
    RAISE EXCEPTION 'no such action: "%"', action
      USING ERRCODE = 'invalid_parameter_value', HINT = 'off, log, warn or error; out_of_order also takes allow and skip.';
  END IF;
END $$;
COMMENT ON FUNCTION berth.irregular(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text) IS
  'Internal: off, log, warn or error';

-- The arguments that both modes share, checked once.
CREATE FUNCTION berth.check_request(scope pg_catalog.text, version pg_catalog.text, kind pg_catalog.text, checksum pg_catalog.text,
                                    on_applied pg_catalog.text, out_of_order pg_catalog.text, wait pg_catalog.interval,
                                    info pg_catalog.jsonb)
RETURNS pg_catalog.void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  wrong text := CASE
    WHEN coalesce(btrim($1), '') = '' OR $1 = '*' THEN 'a migration has a scope, which is not "*"'
    WHEN coalesce(btrim($2), '') = '' THEN 'a migration has a version'
    WHEN octet_length($1) > 200 THEN 'a scope has at most 200 bytes'
    WHEN octet_length($2) > 500 THEN 'a version has at most 500 bytes'  -- indexes have a limit
    WHEN $3 IS NULL OR $3 NOT IN ('versioned', 'repeatable') THEN format('no such kind: "%s" (versioned, repeatable)', $3)
    WHEN $3 = 'repeatable' AND $4 IS NULL THEN 'a repeatable migration needs its checksum, which says when to repeat it'
    WHEN $5 IS NULL OR $5 NOT IN ('skip', 'error') THEN format('no such on_applied: "%s" (skip, error)', $5)
    WHEN $6 NOT IN ('error', 'warn', 'log', 'off', 'allow', 'skip') THEN
      format('no such out_of_order: "%s" (error, warn, log, allow, skip)', $6)
    WHEN $7 IS NULL OR $7 < interval '0' THEN 'wait is not negative'
    WHEN $8 IS NULL OR jsonb_typeof($8) <> 'object' THEN 'info is a JSON object'
    WHEN $8 ? 'phase' AND coalesce($8 ->> 'phase', '') NOT IN ('expand', 'contract') THEN 'info.phase is expand or contract' END;
BEGIN
  IF wrong IS NOT NULL THEN
    RAISE EXCEPTION '%', wrong USING ERRCODE = 'invalid_parameter_value';
  END IF;
END $$;
COMMENT ON FUNCTION berth.check_request(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text,
                                        pg_catalog.text, pg_catalog.interval, pg_catalog.jsonb) IS 'Internal: arguments';

-- Opens a run in the name of the session. Known keys of info have their columns; the rest stays in info.
CREATE FUNCTION berth.open_run(scope pg_catalog.text, version pg_catalog.text, direction pg_catalog.text, mode pg_catalog.text,
                               info pg_catalog.jsonb, request pg_catalog.jsonb, resumed_from pg_catalog.int8 DEFAULT NULL)
RETURNS pg_catalog.int8
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  id int8;
BEGIN
  INSERT INTO berth.migration_run AS r
      (scope, version, direction, mode, status, attempt, resumed_from, started_at, xid, usename, role_name, application_name,
       client_addr, broker_client, pid, backend_start, tool, tool_version, source_ref, info, request, cluster)
    SELECT $1, $2, $3, $4, 'running', 1 + (SELECT count(*) FROM berth.migration_run o WHERE o.scope = $1 AND o.version = $2 AND
           o.direction = $3), $7, clock_timestamp(), pg_current_xact_id(), session_user, pg_get_userbyid(berth.caller()),
           current_setting('application_name'), inet_client_addr(), berth.broker_client(pg_backend_pid()), pg_backend_pid(),
           (SELECT a.backend_start FROM pg_stat_get_activity(pg_backend_pid()) a), $5 ->> 'tool', $5 ->> 'tool_version',
           $5 ->> 'source_ref', $5 - '{tool,tool_version,source_ref}'::text[], $6, berth.cluster()
    RETURNING r.run_id INTO id;
  RETURN id;
END $$;
COMMENT ON FUNCTION berth.open_run(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.jsonb,
                                   pg_catalog.jsonb, pg_catalog.int8) IS 'Internal: a run of this session begins';

-- Makes the row of a version from the request of its run.
CREATE FUNCTION berth.record_applied(run pg_catalog.int8, state pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  r berth.migration_run;
BEGIN
  SELECT * INTO STRICT r FROM berth.migration_run o WHERE o.run_id = $1;
  INSERT INTO berth.migration AS m (scope, version, kind, description, checksum, checksum_algo, requires, conflicts, out_of_order,
                                    app_min, app_max, state, applied_at, applied_by, last_run)
    SELECT r.scope, r.version, coalesce(q.kind, 'versioned'), q.description, q.checksum, berth.checksum_algo(q.checksum), coalesce(q.requires, '{}'),
           coalesce(q.conflicts, '{}'), coalesce(q.out_of_order, false), r.info ->> 'app_min', r.info ->> 'app_max',
           CASE WHEN $2 = 'applied' AND r.info ->> 'phase' = 'expand' THEN 'expanded' ELSE $2 END,
           clock_timestamp(), r.usename, r.run_id
      FROM jsonb_to_record(r.request) q (kind text, description text, checksum text, requires text[], conflicts text[], out_of_order bool)
    ON CONFLICT ON CONSTRAINT migration_pkey DO UPDATE SET kind = excluded.kind, description = excluded.description, checksum = excluded.checksum,
      checksum_algo = excluded.checksum_algo, requires = excluded.requires, conflicts = excluded.conflicts,
      out_of_order = excluded.out_of_order, app_min = excluded.app_min, app_max = excluded.app_max, state = excluded.state,
      applied_at = excluded.applied_at, applied_by = excluded.applied_by, last_run = excluded.last_run, seq = DEFAULT;
  IF r.info ->> 'phase' = 'contract' THEN
    UPDATE berth.migration m SET state = 'contracted'
     WHERE m.scope = r.scope AND m.state = 'expanded' AND (m.version = r.info ->> 'contracts' OR m.version = ANY (
           ARRAY(SELECT jsonb_array_elements_text(CASE jsonb_typeof(r.request -> 'requires') WHEN 'array' THEN r.request -> 'requires' ELSE '[]' END))));
  END IF;
END $$;
COMMENT ON FUNCTION berth.record_applied(pg_catalog.int8, pg_catalog.text) IS 'Internal: the version of a run is applied';

-- A run in transactional mode ends with its transaction: a deferred trigger writes when, just before the commit.
CREATE FUNCTION berth.close_run() RETURNS pg_catalog.trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE berth.migration_run r
     SET status = 'done', finished_at = clock_timestamp(),
         hold_time = clock_timestamp() - nullif(current_setting('berth.locked_at', true), '')::timestamptz
   WHERE r.run_id = NEW.run_id AND r.status = 'running';
  PERFORM set_config('berth.run', '', true), set_config('berth.locked_at', '', true);
  RETURN NULL;
END $$;
COMMENT ON FUNCTION berth.close_run() IS 'Internal: the end of a run in transactional mode';

CREATE CONSTRAINT TRIGGER migration_run_close AFTER INSERT ON berth.migration_run DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW WHEN (NEW.mode = 'tx' AND NEW.status = 'running') EXECUTE FUNCTION berth.close_run();
ALTER TABLE berth.migration_run ENABLE ALWAYS TRIGGER migration_run_close;  -- also where a script sets session_replication_role

-- What migration_status() shows of the run that applied a version stands with the version: another join with the runs would be a third
-- of its time. One trigger takes it from the run, one follows the run's end. A restore brings it along, in any order of the tables.
CREATE FUNCTION berth.take_duration() RETURNS pg_catalog.trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  NEW.duration := coalesce((SELECT r.duration FROM berth.migration_run r WHERE r.run_id = NEW.last_run),
                           CASE WHEN TG_OP = 'INSERT' THEN NEW.duration END);
  RETURN NEW;
END $$;
COMMENT ON FUNCTION berth.take_duration() IS 'Internal: how long the run of a version took';
CREATE TRIGGER migration_duration BEFORE INSERT OR UPDATE OF last_run ON berth.migration
  FOR EACH ROW EXECUTE FUNCTION berth.take_duration();
ALTER TABLE berth.migration ENABLE ALWAYS TRIGGER migration_duration;

CREATE FUNCTION berth.give_duration() RETURNS pg_catalog.trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE berth.migration m SET duration = NEW.duration WHERE m.last_run = NEW.run_id;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION berth.give_duration() IS 'Internal: a run has ended, and what it applied took as long';
CREATE TRIGGER migration_run_duration AFTER UPDATE ON berth.migration_run
  FOR EACH ROW WHEN (OLD.duration IS DISTINCT FROM NEW.duration) EXECUTE FUNCTION berth.give_duration();
ALTER TABLE berth.migration_run ENABLE ALWAYS TRIGGER migration_run_duration;

-- The run of this transaction, if it is one: what DDL, locks and results are attributed to.
CREATE FUNCTION berth.current_run() RETURNS pg_catalog.int8
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.run_id FROM berth.migration_run r
   WHERE r.run_id = CASE WHEN current_setting('berth.run', true) ~ '^[0-9]{1,18}$' THEN current_setting('berth.run', true)::int8 END
     AND r.mode = 'tx' AND r.status = 'running' AND r.xid = pg_current_xact_id_if_assigned()
$$;
COMMENT ON FUNCTION berth.current_run() IS 'The run of the current transaction in transactional mode; NULL if there is none';

-- The part of migrate_once() that writes. Gives the run whose body is to be executed, or NULL.
CREATE FUNCTION berth.begin_once(version pg_catalog.text, description pg_catalog.text, checksum pg_catalog.text,
                                 requires pg_catalog.text[], conflicts pg_catalog.text[], scope pg_catalog.text,
                                 kind pg_catalog.text, on_applied pg_catalog.text, out_of_order pg_catalog.text,
                                 wait pg_catalog.interval, info pg_catalog.jsonb, context pg_catalog.text)
RETURNS pg_catalog.int8
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  verdict text;
  run int8;
BEGIN
  PERFORM berth.check_request($6, $1, $7, $3, $8, $9, $10, $11);
  PERFORM berth.need_block('migrate_once', $12);
  verdict := berth.admission($6, $1, $7, $3, $4, $5, $8, $9);
  IF verdict = 'applied' THEN
    RETURN NULL;
  END IF;
  PERFORM berth.enter_scope($6, $10);
  verdict := berth.admission($6, $1, $7, $3, $4, $5, $8, $9);  -- another one may just have applied it
  IF verdict = 'applied' THEN
    RETURN NULL;
  END IF;
  PERFORM berth.supersede($6, $1);
  run := berth.open_run($6, $1, 'apply', 'tx', $11, jsonb_build_object('kind', $7, 'description', $2, 'checksum', $3, 'requires', $4,
                                                                      'conflicts', $5, 'out_of_order', verdict = 'run out of order'));
  PERFORM berth.record_applied(run, CASE verdict WHEN 'skip' THEN 'skipped' ELSE 'applied' END);
  PERFORM set_config('berth.run', run::text, true), set_config('berth.locked_at', '', true);
  RETURN CASE WHEN verdict <> 'skip' THEN run END;
END $$;
COMMENT ON FUNCTION berth.begin_once(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text[], pg_catalog.text[],
                                     pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text,
                                     pg_catalog.interval, pg_catalog.jsonb, pg_catalog.text) IS
  'Internal: what migrate_once() writes';

-- With the rights of the caller, because checks are.
CREATE FUNCTION berth.migrate_once(version pg_catalog.text, description pg_catalog.text DEFAULT NULL,
                                   checksum pg_catalog.text DEFAULT NULL, requires pg_catalog.text[] DEFAULT '{}',
                                   conflicts pg_catalog.text[] DEFAULT '{}', scope pg_catalog.text DEFAULT 'default',
                                   kind pg_catalog.text DEFAULT 'versioned', on_applied pg_catalog.text DEFAULT 'skip',
                                   out_of_order pg_catalog.text DEFAULT NULL, wait pg_catalog.interval DEFAULT '3s',
                                   info pg_catalog.jsonb DEFAULT '{}')
RETURNS pg_catalog.bool
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  context pg_catalog.text;
  run pg_catalog.int8;
BEGIN
  GET DIAGNOSTICS context = PG_CONTEXT;
  run := berth.begin_once($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, context);
  IF run IS NULL THEN
    RETURN false;
  END IF;
  PERFORM berth.run_checks(run, 'pre');
  IF berth.has_checks(run, 'post') THEN
    INSERT INTO berth.migration_checks_due VALUES (run);
  END IF;
  RETURN true;
END $$;
COMMENT ON FUNCTION berth.migrate_once(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text[], pg_catalog.text[],
                                       pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text,
                                       pg_catalog.interval, pg_catalog.jsonb) IS
  'true: the version is now recorded as applied by this transaction, so run its body and commit; false: it was applied before';

-- Whoever calls from within a function or a DO block has one statement that holds the call and the body: that is as good as a block.
CREATE FUNCTION berth.need_block(name pg_catalog.text, context pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT berth.in_transaction_block() AND strpos(context, E'\n') = 0 THEN
    RAISE EXCEPTION 'berth.%() must be called inside a transaction block', name
      USING ERRCODE = 'MG009', DETAIL = 'What it does would end with this statement, before the statements that follow.',
            HINT = 'Put BEGIN before it and COMMIT behind the last statement of the migration.';
  END IF;
END $$;
COMMENT ON FUNCTION berth.need_block(pg_catalog.text, pg_catalog.text) IS 'Internal: raises MG009';

CREATE FUNCTION berth.refuse_block(name pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF berth.in_transaction_block() THEN
    RAISE EXCEPTION 'berth.%() must be called outside a transaction block', name
      USING ERRCODE = 'MG009', DETAIL = 'The journal of a stepwise run must be committed before the step itself begins.',
            HINT = 'Call it in autocommit, or use berth.migrate_once() if everything fits into one transaction.';
  END IF;
END $$;
COMMENT ON FUNCTION berth.refuse_block(pg_catalog.text) IS 'Internal: raises MG009';

CREATE FUNCTION berth.scope_is_free(scope pg_catalog.text, token pg_catalog.uuid) RETURNS pg_catalog.bool
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT NOT EXISTS (SELECT FROM berth.migration_lease l WHERE l.scope = $1 AND l.token IS DISTINCT FROM $2 AND berth.lease_is_live(l))
$$;
COMMENT ON FUNCTION berth.scope_is_free(pg_catalog.text, pg_catalog.uuid) IS 'Internal: nobody but the holder of this token has a lease';

-- Takes the lock of a scope for this transaction, and makes sure that nobody holds a lease on it. Tries for at most `wait`.
CREATE FUNCTION berth.enter_scope(scope pg_catalog.text, wait pg_catalog.interval, token pg_catalog.uuid DEFAULT NULL)
RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  began timestamptz := clock_timestamp();
BEGIN
  IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
    RAISE EXCEPTION 'a migration must be a READ COMMITTED transaction, this one is %', upper(current_setting('transaction_isolation'))
      USING ERRCODE = 'MG009', DETAIL = 'Otherwise it does not see what a migration has done that ended after its own beginning.',
            HINT = format('BEGIN ISOLATION LEVEL READ COMMITTED; or ALTER ROLE %I SET default_transaction_isolation = ''read committed'';', session_user);
  END IF;
  LOOP
    PERFORM pg_stat_clear_snapshot();  -- otherwise this transaction goes on seeing a backend that has died meanwhile
    -- Whoever waits for a lease does not hold the lock meanwhile; only with the lock is the answer certain.
    IF berth.scope_is_free($1, $3) AND berth.try_scope($1) THEN
      EXIT WHEN berth.scope_is_free($1, $3);
    END IF;
    IF clock_timestamp() - began >= $2 OR berth.is_waited_for() THEN
      PERFORM berth.raise_busy($1, clock_timestamp() - began);
    END IF;
    PERFORM pg_sleep(0.01 + random() * 0.04);
  END LOOP;
END $$;
COMMENT ON FUNCTION berth.enter_scope(pg_catalog.text, pg_catalog.interval, pg_catalog.uuid) IS
  'Internal: one migrator for each scope; MG006 if another one stays';

-- Runs of the same version that did not end are closed: this one takes their place.
CREATE FUNCTION berth.supersede(scope pg_catalog.text, version pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE berth.migration_run r SET status = 'resolved', outcome = 'retry', reason = 'applied by a later run',
         resolved_by = session_user, resolved_at = clock_timestamp(), finished_at = coalesce(r.finished_at, clock_timestamp())
   WHERE r.scope = $1 AND r.version = $2 AND r.status IN ('running', 'failed', 'interrupted')
     AND NOT (r.mode = 'tx' AND r.status = 'running')  -- of this very transaction, which closes it
$$;
COMMENT ON FUNCTION berth.supersede(pg_catalog.text, pg_catalog.text) IS 'Internal: closes what a later run replaces';

CREATE FUNCTION berth.migrate_undo(version pg_catalog.text, scope pg_catalog.text DEFAULT 'default',
                                   wait pg_catalog.interval DEFAULT '3s', info pg_catalog.jsonb DEFAULT '{}')
RETURNS pg_catalog.bool
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  context text;
  needed text[];
  run int8;
BEGIN
  PERFORM berth.check_request($2, $1, 'versioned', NULL, 'skip', NULL, $3, $4);
  GET DIAGNOSTICS context = PG_CONTEXT;
  PERFORM berth.need_block('migrate_undo', context);
  PERFORM berth.enter_scope($2, $3);
  IF NOT EXISTS (SELECT FROM berth.migration m WHERE m.scope = $2 AND m.version = $1 AND m.state NOT IN ('reverted', 'skipped')) THEN
    RETURN false;
  END IF;
  SELECT array_agg(m.version ORDER BY m.seq) INTO needed FROM berth.migration m
   WHERE m.scope = $2 AND $1 = ANY (m.requires) AND m.state NOT IN ('reverted', 'skipped');
  IF needed IS NOT NULL THEN
    RAISE EXCEPTION 'migration "%" is required by applied %', $1, array_to_string(needed, ', ')
      USING ERRCODE = 'MG003', DETAIL = format('Scope "%s".', $2), HINT = format('Undo first: %s.', array_to_string(needed, ', '));
  END IF;
  run := berth.open_run($2, $1, 'revert', 'tx', $4, '{}');
  UPDATE berth.migration m SET state = 'reverted', last_run = run WHERE m.scope = $2 AND m.version = $1;
  PERFORM set_config('berth.run', run::text, true), set_config('berth.locked_at', '', true);
  RETURN true;
END $$;
COMMENT ON FUNCTION berth.migrate_undo(pg_catalog.text, pg_catalog.text, pg_catalog.interval, pg_catalog.jsonb) IS
  'true: the version is now recorded as reverted by this transaction, so run what undoes it and commit; false: it is not applied';

-- A failed transactional migration has taken its own record along, and a script that died in a step has left its run open. Whoever
-- ran it may tell of it afterwards. An open run is taken for the script's own only by its user and application_name.
CREATE FUNCTION berth.migration_failed(version pg_catalog.text, sqlstate pg_catalog.text, message pg_catalog.text,
                                       detail pg_catalog.text DEFAULT NULL, hint pg_catalog.text DEFAULT NULL,
                                       context pg_catalog.text DEFAULT NULL, scope pg_catalog.text DEFAULT 'default',
                                       info pg_catalog.jsonb DEFAULT '{}')
RETURNS pg_catalog.int8
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  run int8;
BEGIN
  PERFORM berth.check_request($7, $1, 'versioned', NULL, 'skip', NULL, interval '0', $8);
  SELECT r.run_id INTO run FROM berth.migration_run r
   WHERE r.scope = $7 AND r.version = $1 AND r.mode = 'step' AND r.status = 'running' AND r.usename = session_user
     AND r.application_name = nullif(current_setting('application_name'), '');
  IF FOUND THEN
    PERFORM berth.migration_fail(run, $2, $3, $4, $5, $6);
    RETURN run;
  END IF;
  run := berth.open_run($7, $1, 'apply', 'tx', $8, '{}');
  UPDATE berth.migration_run r SET status = 'failed', finished_at = clock_timestamp(), xid = NULL, sqlstate = $2, message = $3,
         detail = $4, hint = $5, context = $6 WHERE r.run_id = run;
  RETURN run;
END $$;
COMMENT ON FUNCTION berth.migration_failed(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text,
                                           pg_catalog.text, pg_catalog.text, pg_catalog.jsonb) IS
  'Records a failed attempt, of which the script itself could not tell: a transactional one, whose record was rolled back, or the open run of '
  'a script in steps that has this session''s user and application_name. Gives the number of the run';

-- The first value that a query gives, with the rights of the caller. PL/pgSQL spells a boolean out; people who expect t or f
-- mean that.
CREATE FUNCTION berth.answer(query pg_catalog.text, expect pg_catalog.text) RETURNS pg_catalog.text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  got pg_catalog.text;
BEGIN
  EXECUTE $1 INTO got;
  RETURN CASE WHEN $2 IN ('t', 'f') AND got IN ('true', 'false') THEN pg_catalog."left"(got, 1) ELSE got END;
END $$;
COMMENT ON FUNCTION berth.answer(pg_catalog.text, pg_catalog.text) IS 'Internal: the first value of a query, to be compared with an expected one';

-- An assertion of the script itself. With the rights of the caller.
CREATE FUNCTION berth.expect(query pg_catalog.text, name pg_catalog.text, expect pg_catalog.text DEFAULT 't')
RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  got pg_catalog.text;
  began pg_catalog.timestamptz := pg_catalog.clock_timestamp();
BEGIN
  got := berth.answer($1, $3);
  IF got IS DISTINCT FROM $3 THEN
    RAISE EXCEPTION 'assertion "%" failed: expected %, got %', $2, COALESCE($3, 'NULL'), COALESCE(got, 'NULL')
      USING ERRCODE = 'MG020', DETAIL = pg_catalog.format('Query: %s', $1),
            HINT = 'The transaction is rolled back and the migration is not applied: correct the script, or what it found.';
  END IF;
  PERFORM berth.note_expected($2, got, pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) began);
END $$;
COMMENT ON FUNCTION berth.expect(pg_catalog.text, pg_catalog.text, pg_catalog.text) IS
  'Raises MG020, which rolls the migration back, unless the query gives this value in its first column; t for a true condition';

CREATE FUNCTION berth.note_expected(name pg_catalog.text, got pg_catalog.text, duration pg_catalog.interval) RETURNS pg_catalog.void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO berth.migration_check_result (run_id, scope, version, name, ok, got, at, duration)
    SELECT r.run_id, r.scope, r.version, $1, true, $2, clock_timestamp(), $3
      FROM berth.migration_run r WHERE r.run_id = berth.current_run()
$$;
COMMENT ON FUNCTION berth.note_expected(pg_catalog.text, pg_catalog.text, pg_catalog.interval) IS
  'Internal: keeps what expect() found with the run of this transaction';

CREATE FUNCTION berth.migration_baseline(version pg_catalog.text, description pg_catalog.text DEFAULT NULL,
                                         scope pg_catalog.text DEFAULT 'default', through_plan pg_catalog.bool DEFAULT false)
RETURNS pg_catalog.int8
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  run int8;
  planned record;
  count int8 := 0;
BEGIN
  PERFORM berth.check_request($3, $1, 'versioned', NULL, 'skip', NULL, interval '0', '{}');
  PERFORM berth.enter_scope($3, interval '3s');
  IF EXISTS (SELECT FROM berth.migration m WHERE m.scope = $3 AND m.state <> 'reverted' AND m.kind <> 'repeatable') THEN
    RAISE EXCEPTION 'scope "%" has applied migrations already', $3
      USING ERRCODE = 'MG001', DETAIL = 'A baseline says what a database had before its history began.',
            HINT = format('Choose another scope, or record one version without its body: BEGIN; SELECT berth.migrate_once(%L, scope => %L); COMMIT.',
                          $1, $3);
  END IF;
  run := berth.open_run($3, $1, 'baseline', 'tx', '{}', jsonb_build_object('kind', 'baseline', 'description', $2));
  PERFORM set_config('berth.run', run::text, true);
  IF $4 THEN
    FOR planned IN SELECT p.* FROM berth.migration_plan p WHERE p.scope = $3 AND p.kind = 'versioned'
                      AND p.sort_key < berth.version_key($1) ORDER BY p.ord
    LOOP
      INSERT INTO berth.migration (scope, version, kind, description, checksum, checksum_algo, state, applied_at, applied_by, last_run)
        VALUES ($3, planned.version, 'baseline', planned.description, planned.checksum, berth.checksum_algo(planned.checksum),
                'applied', clock_timestamp(), session_user, run);
      count := count + 1;
    END LOOP;
  END IF;
  PERFORM berth.record_applied(run, 'applied');
  RETURN count + 1;
END $$;
COMMENT ON FUNCTION berth.migration_baseline(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.bool) IS
  'Says that this database already has everything up to a version; with through_plan each lower version of the plan gets its own '
  'row. Gives the number of rows';
