-- Stepwise mode ----------------------------------------------------------------------------------------------------------

-- Each call is a transaction of its own, and any of them may come by another backend: nothing is kept in a session. What says
-- who may go on is the lease of the scope, which bears the number of one run.

-- A run as it really is: one whose client has gone away is still written down as running until somebody takes its place.
CREATE FUNCTION berth.run_state(run pg_catalog.int8) RETURNS pg_catalog.text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN r.status <> 'running' OR r.mode = 'tx' OR EXISTS
                (SELECT FROM berth.migration_lease l WHERE l.scope = r.scope AND l.run_id = r.run_id AND berth.lease_is_live(l))
              THEN r.status ELSE 'interrupted' END
    FROM berth.migration_run r WHERE r.run_id = $1
$$;
COMMENT ON FUNCTION berth.run_state(pg_catalog.int8) IS
  'The status of a run; interrupted if it is written down as running and nobody is at it any more';

-- The lock of a scope for this transaction, and the row of its lease, which nobody alive holds. Whoever is in the middle of a
-- batch has locked that row, and is passed over rather than waited for.
CREATE FUNCTION berth.take_scope(scope pg_catalog.text, wait pg_catalog.interval) RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  began timestamptz := clock_timestamp();
  lease berth.migration_lease;
BEGIN
  LOOP
    PERFORM berth.enter_scope($1, greatest($2 - (clock_timestamp() - began), interval '0'));
    SELECT * INTO lease FROM berth.migration_lease l WHERE l.scope = $1 FOR UPDATE SKIP LOCKED;
    EXIT WHEN CASE WHEN FOUND THEN NOT berth.lease_is_live(lease)
                   ELSE NOT EXISTS (SELECT FROM berth.migration_lease l WHERE l.scope = $1) END;
    IF clock_timestamp() - began >= $2 THEN
      PERFORM berth.raise_busy($1, $2);
    END IF;
    PERFORM pg_sleep(0.01 + random() * 0.04);
  END LOOP;
END $$;
COMMENT ON FUNCTION berth.take_scope(pg_catalog.text, pg_catalog.interval) IS
  'Internal: the lock of a scope and its lease; MG006 if somebody stays at it';

CREATE FUNCTION berth.grant_lease(scope pg_catalog.text, run pg_catalog.int8, ttl pg_catalog.interval, broker_client pg_catalog.text)
RETURNS pg_catalog.uuid
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO berth.migration_lease (scope, token, run_id, holder, pid, backend_start, via_broker, ttl, acquired_at, renewed_at,
                                     expires_at)
    SELECT $1, gen_random_uuid(), $2, concat_ws(' ', session_user, nullif(current_setting('application_name'), ''),
           coalesce($4, host(inet_client_addr()))), pg_backend_pid(), a.backend_start, $4 IS NOT NULL, $3, clock_timestamp(),
           clock_timestamp(), clock_timestamp() + $3
      FROM pg_stat_get_activity(pg_backend_pid()) a
    ON CONFLICT ON CONSTRAINT migration_lease_pkey DO UPDATE SET token = excluded.token, run_id = excluded.run_id, holder = excluded.holder,
      pid = excluded.pid, backend_start = excluded.backend_start, via_broker = excluded.via_broker, ttl = excluded.ttl,
      acquired_at = excluded.acquired_at, renewed_at = excluded.renewed_at, expires_at = excluded.expires_at
    RETURNING token
$$;
COMMENT ON FUNCTION berth.grant_lease(pg_catalog.text, pg_catalog.int8, pg_catalog.interval, pg_catalog.text) IS
  'Internal: a lease that was nobody''s becomes this session''s';

CREATE FUNCTION berth.check_ttl(ttl pg_catalog.interval) RETURNS pg_catalog.void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF ttl IS NULL OR ttl < interval '1s' OR ttl > interval '1 day' THEN
    RAISE EXCEPTION 'a lease lasts from one second to one day' USING ERRCODE = 'invalid_parameter_value';
  END IF;
END $$;
COMMENT ON FUNCTION berth.check_ttl(pg_catalog.interval) IS 'Internal: the time of a lease';

-- Numbers of runs can be guessed. A run goes on for the user that began it, for members of that role, and for superusers.
CREATE FUNCTION berth.run_is_mine(run pg_catalog.int8) RETURNS pg_catalog.bool
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (SELECT FROM berth.migration_run r WHERE r.run_id = $1 AND (r.usename = session_user OR
                 pg_has_role(session_user, coalesce((SELECT o.oid FROM pg_roles o WHERE o.rolname = r.usename), 10), 'USAGE')))
$$;
COMMENT ON FUNCTION berth.run_is_mine(pg_catalog.int8) IS 'Internal: whether this session may go on with a run';

CREATE FUNCTION berth.refuse_others_run(run pg_catalog.int8) RETURNS pg_catalog.void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  owner name := (SELECT r.usename FROM berth.migration_run r WHERE r.run_id = $1);
BEGIN
  IF owner IS NOT NULL AND NOT berth.run_is_mine($1) THEN
    RAISE EXCEPTION 'run % is one of "%"', $1, owner
      USING ERRCODE = 'MG040', DETAIL = format('This session is one of "%s", which is not a member of that role.', session_user),
            HINT = 'Run the script as that user. When the run has ended or its lease has, any runner can start it again.';
  END IF;
END $$;
COMMENT ON FUNCTION berth.refuse_others_run(pg_catalog.int8) IS 'Internal: MG040 for a run of another user';

-- Every call of a run begins here: it is refused when somebody else has the lease, and renews it otherwise. The row of the lease
-- stays locked to the end of the transaction, so nobody takes the run over in the middle of it. A lease that has passed from one
-- backend to another belongs to a client behind a pooler, known or not: the life of a backend tells nothing then.
CREATE FUNCTION berth.hold_run(run pg_catalog.int8) RETURNS berth.migration_run
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  r berth.migration_run;
  other berth.migration_lease;
  born timestamptz := (SELECT a.backend_start FROM pg_stat_get_activity(pg_backend_pid()) a);
  mine berth.migration_lease;
  held bool;
  detail text;
BEGIN
  PERFORM berth.refuse_others_run($1);
  SELECT * INTO mine FROM berth.migration_lease l WHERE l.run_id = $1 FOR UPDATE;
  IF mine.expires_at < clock_timestamp() AND NOT berth.try_scope(mine.scope) THEN  -- a transaction that saw it ended is at work
    PERFORM berth.raise_busy(mine.scope, interval '0');
  END IF;
  UPDATE berth.migration_lease l
     SET renewed_at = clock_timestamp(), expires_at = clock_timestamp() + l.ttl, pid = pg_backend_pid(), backend_start = born,
         via_broker = l.via_broker OR l.pid <> pg_backend_pid()
   WHERE l.run_id = $1;
  held := FOUND;
  SELECT * INTO r FROM berth.migration_run o WHERE o.run_id = $1;
  held := held AND r.cluster = berth.cluster();
  IF r.run_id IS NULL OR r.mode <> 'step' THEN
    RAISE EXCEPTION 'there is no stepwise run %', coalesce($1::text, 'NULL')
      USING ERRCODE = 'invalid_parameter_value', HINT = 'berth.migration_start() gives the number of a run.';
  END IF;
  IF NOT held OR r.status <> 'running' THEN
    SELECT * INTO other FROM berth.migration_lease l WHERE l.scope = r.scope AND l.run_id IS DISTINCT FROM $1;
    detail := CASE WHEN FOUND THEN format('Scope "%s" is held by %s since %s: pid %s, %s.', r.scope,
                                          coalesce('run ' || other.run_id, 'migration_lock()'), other.acquired_at, other.pid, other.holder)
                   WHEN r.status <> 'running' THEN format('The run is %s since %s.', r.status, r.finished_at)
                   ELSE 'Nobody holds it: it was taken away, or this database is a copy of the one where the run was.' END;
    RAISE EXCEPTION 'lease of run % was lost', $1
      USING ERRCODE = 'MG007', DETAIL = detail, HINT = 'Do not continue: someone else may be migrating. '
            'If not, run the script again from its beginning, which resumes at the step that is not done.';
  END IF;
  IF r.pid <> pg_backend_pid() OR r.backend_start <> born THEN
    UPDATE berth.migration_run o SET pid = pg_backend_pid(), backend_start = born WHERE o.run_id = $1;
  END IF;
  RETURN r;
END $$;
COMMENT ON FUNCTION berth.hold_run(pg_catalog.int8) IS 'Internal: renews the lease of a run; MG007 if it was lost';

-- The part of migration_start() that writes.
CREATE FUNCTION berth.begin_steps(version pg_catalog.text, description pg_catalog.text, checksum pg_catalog.text,
                                  requires pg_catalog.text[], conflicts pg_catalog.text[], scope pg_catalog.text, kind pg_catalog.text,
                                  on_applied pg_catalog.text, out_of_order pg_catalog.text, wait pg_catalog.interval,
                                  info pg_catalog.jsonb, lease pg_catalog.interval)
RETURNS TABLE (run_id pg_catalog.int8, token pg_catalog.uuid, resume pg_catalog.bool)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  nothing constant uuid := '00000000-0000-0000-0000-000000000000';
  verdict text;
  former berth.migration_run;
  begun berth.migration_run;
BEGIN
  PERFORM berth.check_request($6, $1, $7, $3, $8, $9, $10, $11);
  PERFORM berth.check_ttl($12);
  IF $7 <> 'repeatable' AND berth.is_applied($6, $1) THEN
    PERFORM berth.admission($6, $1, $7, $3, $4, $5, $8, $9);  -- needs no lock, and has its say about the checksum
    RETURN QUERY SELECT 0::int8, nothing, false;
    RETURN;
  END IF;
  PERFORM berth.take_scope($6, $10);
  verdict := berth.admission($6, $1, $7, $3, $4, $5, $8, $9);
  IF verdict = 'applied' THEN
    RETURN QUERY SELECT 0::int8, nothing, false;
    RETURN;
  END IF;
  PERFORM berth.close_interrupted($6);
  former := berth.resumable_run($6, $1);
  begun.run_id := berth.open_run($6, $1, 'apply', 'step', $11,
    jsonb_build_object('kind', $7, 'description', $2, 'checksum', $3, 'requires', $4, 'conflicts', $5,
                       'out_of_order', verdict = 'run out of order'), former.run_id);
  IF verdict = 'skip' THEN
    PERFORM berth.close_finished(begun.run_id, 'skipped');
    RETURN QUERY SELECT 0::int8, nothing, false;
    RETURN;
  END IF;
  INSERT INTO berth.migration_step (run_id, step_no, label, kind, sql_hash, status, attempts, started_at, finished_at, rows_done,
                                    rows_total, cursor_value, settles)
    SELECT begun.run_id, s.step_no, s.label, s.kind, s.sql_hash, CASE WHEN s.status IN ('done', 'skipped') THEN s.status ELSE 'pending' END,
           s.attempts, s.started_at, CASE WHEN s.status IN ('done', 'skipped') THEN s.finished_at END, s.rows_done, s.rows_total,
           s.cursor_value, s.settles
      FROM berth.migration_step s WHERE s.run_id = former.run_id;
  SELECT * INTO begun FROM berth.migration_run r WHERE r.run_id = begun.run_id;
  RETURN QUERY SELECT begun.run_id, berth.grant_lease($6, begun.run_id, $12, begun.broker_client), former.run_id IS NOT NULL;
END $$;
COMMENT ON FUNCTION berth.begin_steps(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text[], pg_catalog.text[],
                                      pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.interval,
                                      pg_catalog.jsonb, pg_catalog.interval) IS 'Internal: what migration_start() writes';

-- A version that is applied has run 0: its steps are done and its end changes nothing, so that scripts need no branch for it.
-- With the rights of the caller, because checks are.
CREATE FUNCTION berth.migration_start(version pg_catalog.text, description pg_catalog.text DEFAULT NULL,
                                      checksum pg_catalog.text DEFAULT NULL, requires pg_catalog.text[] DEFAULT '{}',
                                      conflicts pg_catalog.text[] DEFAULT '{}', scope pg_catalog.text DEFAULT 'default',
                                      kind pg_catalog.text DEFAULT 'versioned', on_applied pg_catalog.text DEFAULT 'skip',
                                      out_of_order pg_catalog.text DEFAULT NULL, wait pg_catalog.interval DEFAULT '3s',
                                      info pg_catalog.jsonb DEFAULT '{}', tool pg_catalog.text DEFAULT NULL,
                                      source_ref pg_catalog.text DEFAULT NULL, lease pg_catalog.interval DEFAULT '60s')
RETURNS TABLE (run_id pg_catalog.int8, token pg_catalog.uuid, resume pg_catalog.bool)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM berth.refuse_block('migration_start');
  SELECT b.* INTO run_id, token, resume
    FROM berth.begin_steps($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11 OPERATOR(pg_catalog.||) pg_catalog.jsonb_strip_nulls(
                           pg_catalog.jsonb_build_object('tool', $12, 'source_ref', $13)), $14) b;
  IF run_id OPERATOR(pg_catalog.>) 0 AND NOT resume THEN
    PERFORM berth.run_checks(run_id, 'pre');
  END IF;
  RETURN NEXT;
END $$;
COMMENT ON FUNCTION berth.migration_start(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text[], pg_catalog.text[],
                                          pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.interval,
                                          pg_catalog.jsonb, pg_catalog.text, pg_catalog.text, pg_catalog.interval) IS
  'Begins a stepwise run, or resumes one that did not end; run 0 if the version is applied: its steps are done';

-- Runs that nobody is at any more. The caller has the lease of the scope.
CREATE FUNCTION berth.close_interrupted(scope pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH closed AS (
    UPDATE berth.migration_run r SET status = 'interrupted', message = coalesce(r.message, 'its client went away'),
           finished_at = greatest(r.started_at, coalesce((SELECT l.renewed_at FROM berth.migration_lease l WHERE l.run_id = r.run_id),
                                                         clock_timestamp())),
           failed_step = (SELECT min(s.step_no) FROM berth.migration_step s WHERE s.run_id = r.run_id AND s.status = 'running')
     WHERE r.scope = $1 AND r.mode = 'step' AND r.status = 'running' RETURNING r.run_id, r.finished_at)
  UPDATE berth.migration_step s SET status = 'failed', finished_at = c.finished_at, message = 'its client went away'
    FROM closed c WHERE s.run_id = c.run_id AND s.status = 'running'
$$;
COMMENT ON FUNCTION berth.close_interrupted(pg_catalog.text) IS 'Internal: runs of a scope whose clients have gone away';

-- The last attempt of a version, if it is to be resumed. What was undone or resolved as reverted begins anew.
CREATE FUNCTION berth.resumable_run(scope pg_catalog.text, version pg_catalog.text) RETURNS berth.migration_run
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  r berth.migration_run;
BEGIN
  SELECT * INTO r FROM berth.migration_run o
   WHERE o.scope = $1 AND o.version = $2 AND o.direction IN ('apply', 'revert') AND NOT (o.mode = 'tx' AND o.status = 'failed')
   ORDER BY o.run_id DESC LIMIT 1;
  IF r.mode = 'step' AND r.direction = 'apply' AND (r.status IN ('failed', 'interrupted') OR (r.status = 'resolved' AND r.outcome = 'retry')) THEN
    RETURN r;
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION berth.resumable_run(pg_catalog.text, pg_catalog.text) IS 'Internal: the run that the next start resumes';

CREATE FUNCTION berth.migration_step_begin(run pg_catalog.int8, step_no pg_catalog.int4, label pg_catalog.text,
                                           kind pg_catalog.text DEFAULT 'sql', sql_hash pg_catalog.text DEFAULT NULL)
RETURNS pg_catalog.bool
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  r berth.migration_run;
  known berth.migration_step;
  stored text;
  message text;
  hint text;
BEGIN
  PERFORM berth.refuse_block('migration_step_begin');
  IF $2 IS NULL OR $2 < 1 OR coalesce(btrim($3), '') = '' OR coalesce($4, '') NOT IN ('sql', 'index', 'backfill', 'validate') THEN
    RAISE EXCEPTION 'a step has a number from 1, a label, and a kind: sql, index, backfill or validate'
      USING ERRCODE = 'invalid_parameter_value', DETAIL = format('Given: %s, "%s", "%s".', $2, $3, $4);
  END IF;
  IF $1 = 0 THEN
    RETURN false;
  END IF;
  r := berth.hold_run($1);
  SELECT * INTO known FROM berth.migration_step s WHERE s.run_id = $1 AND s.step_no = $2;
  stored := CASE WHEN known.sql_hash NOT LIKE 'backfill:%' THEN known.sql_hash END;  -- that one is berth.backfill()'s own
  IF known.status IN ('done', 'skipped') THEN
    IF stored <> $5 OR ((stored IS NULL OR $5 IS NULL) AND known.label <> $3) THEN
      message := format('checksum of done step %s of migration "%s" differs: stored %s, given %s', $2, r.version,
                        coalesce(stored, '"' || known.label || '"'), coalesce($5, '"' || $3 || '"'));
      hint := format('Restore the script, or begin from its first step after SELECT berth.migration_resolve(%s, ''reverted'', ''why'').', $1);
      PERFORM berth.irregular(berth.policy(r.scope, 'checksum'), 'MG004', message,
                              format('Step %s "%s" was done at %s and is not repeated.', $2, known.label, known.finished_at), hint);
    END IF;
    RETURN false;
  END IF;
  INSERT INTO berth.migration_step AS s (run_id, step_no, label, kind, sql_hash, status, attempts, started_at)
    VALUES ($1, $2, $3, $4, $5, 'running', 1, clock_timestamp())
    ON CONFLICT ON CONSTRAINT migration_step_pkey DO UPDATE SET label = excluded.label, kind = excluded.kind,
      sql_hash = coalesce(excluded.sql_hash, s.sql_hash), status = 'running', attempts = s.attempts + 1, started_at = excluded.started_at,
      finished_at = NULL, sqlstate = NULL, message = NULL,
      cursor_value = CASE WHEN stored <> $5 THEN NULL ELSE s.cursor_value END;  -- another text is other work
  RETURN true;
END $$;
COMMENT ON FUNCTION berth.migration_step_begin(pg_catalog.int8, pg_catalog.int4, pg_catalog.text, pg_catalog.text, pg_catalog.text) IS
  'true: do this step, then say migration_step_end; false: it is done already';

CREATE FUNCTION berth.migration_step_end(run pg_catalog.int8, step_no pg_catalog.int4, index pg_catalog.regclass DEFAULT NULL,
                                         constraint_name pg_catalog.text DEFAULT NULL, rows pg_catalog.int8 DEFAULT NULL,
                                         rel pg_catalog.regclass DEFAULT NULL)
RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  known berth.migration_step;
BEGIN
  PERFORM berth.refuse_block('migration_step_end');
  PERFORM berth.hold_run($1);
  SELECT * INTO known FROM berth.migration_step s WHERE s.run_id = $1 AND s.step_no = $2;
  IF known.status IS NULL OR known.status NOT IN ('running', 'done') THEN
    RAISE EXCEPTION 'step % of run % has not begun', $2, $1
      USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = format('It is %s.', coalesce(known.status, 'unknown')),
            HINT = format('SELECT berth.migration_step_begin(%s, %s, ''what it does'')', $1, $2);
  END IF;
  IF $3 IS NOT NULL THEN
    PERFORM berth.assert_index($3, $1, $2);
  END IF;
  IF $4 IS NOT NULL THEN
    PERFORM berth.assert_constraint($4, $6, $1, $2);
  END IF;
  UPDATE berth.migration_step s SET status = 'done', finished_at = clock_timestamp(), rows_done = coalesce($5, s.rows_done)
   WHERE s.run_id = $1 AND s.step_no = $2 AND s.status = 'running';
END $$;
COMMENT ON FUNCTION berth.migration_step_end(pg_catalog.int8, pg_catalog.int4, pg_catalog.regclass, pg_catalog.text, pg_catalog.int8,
                                             pg_catalog.regclass) IS
  'The step is done. Its index must be valid, its constraint (of the table rel, or any of this name) validated';

CREATE FUNCTION berth.assert_index(index pg_catalog.regclass, run pg_catalog.int8, step_no pg_catalog.int4) RETURNS pg_catalog.void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  found record;
  hint text;
BEGIN
  SELECT i.indisvalid, i.indisready, i.indislive, i.indisunique, i.indrelid::regclass AS rel, c.relname INTO found
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indexrelid = $1;
  IF found.rel IS NULL THEN
    RAISE EXCEPTION '% is not an index', $1 USING ERRCODE = 'wrong_object_type';
  END IF;
  IF NOT (found.indisvalid AND found.indisready AND found.indislive) THEN
    hint := format('It is dropped and built again by: SELECT * FROM berth.index_sql(%L, %L, %L%s, run => %s, step_no => %s) \gexec', found.rel,
                   found.relname, berth.index_tail($1), CASE WHEN found.indisunique THEN ', uniq => true' ELSE '' END, $2, $3);
    RAISE EXCEPTION 'index % is invalid after step %', $1, $3
      USING ERRCODE = 'MG016', DETAIL = format('Its build did not end well: valid %s, ready %s.', found.indisvalid, found.indisready), HINT = hint;
  END IF;
END $$;
COMMENT ON FUNCTION berth.assert_index(pg_catalog.regclass, pg_catalog.int8, pg_catalog.int4) IS 'Internal: MG016 unless an index is valid';

CREATE FUNCTION berth.assert_constraint(name pg_catalog.text, rel pg_catalog.regclass, run pg_catalog.int8, step_no pg_catalog.int4)
RETURNS pg_catalog.void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  lacking pg_constraint;
BEGIN
  IF NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conname = $1 AND ($2 IS NULL OR c.conrelid = $2)) THEN
    RAISE EXCEPTION 'there is no constraint "%"%', $1, coalesce(' of ' || $2::text, '') USING ERRCODE = 'undefined_object';
  END IF;
  SELECT * INTO lacking FROM pg_constraint c WHERE c.conname = $1 AND ($2 IS NULL OR c.conrelid = $2) AND NOT c.convalidated LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'constraint "%" of % is not validated after step %', $1, lacking.conrelid::regclass, $4
      USING ERRCODE = 'MG016', DETAIL = pg_get_constraintdef(lacking.oid),
            HINT = format('SELECT * FROM berth.validate_sql(%L, %L, run => %s, step_no => %s) \gexec', lacking.conrelid::regclass, $1, $3, $4);
  END IF;
END $$;
COMMENT ON FUNCTION berth.assert_constraint(pg_catalog.text, pg_catalog.regclass, pg_catalog.int8, pg_catalog.int4) IS
  'Internal: MG016 unless a constraint is validated';

CREATE FUNCTION berth.migration_step_fail(run pg_catalog.int8, step_no pg_catalog.int4, sqlstate pg_catalog.text, message pg_catalog.text)
RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM berth.refuse_block('migration_step_fail');
  PERFORM berth.note_step_failed($1, $2, $3, $4);
END $$;
COMMENT ON FUNCTION berth.migration_step_fail(pg_catalog.int8, pg_catalog.int4, pg_catalog.text, pg_catalog.text) IS
  'The step has failed with this error; it can begin again';

CREATE FUNCTION berth.note_step_failed(run pg_catalog.int8, step_no pg_catalog.int4, sqlstate pg_catalog.text, message pg_catalog.text)
RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  PERFORM berth.hold_run($1);
  UPDATE berth.migration_step s SET status = 'failed', finished_at = clock_timestamp(), sqlstate = $3, message = $4
   WHERE s.run_id = $1 AND s.step_no = $2 AND s.status IN ('running', 'failed');
  IF NOT FOUND THEN
    RAISE EXCEPTION 'step % of run % is not running', $2, $1 USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
END $$;
COMMENT ON FUNCTION berth.note_step_failed(pg_catalog.int8, pg_catalog.int4, pg_catalog.text, pg_catalog.text) IS
  'Internal: migration_step_fail, also within berth.backfill()';

CREATE FUNCTION berth.migration_heartbeat(token pg_catalog.uuid) RETURNS pg_catalog.timestamptz
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  until timestamptz;
BEGIN
  PERFORM berth.refuse_block('migration_heartbeat');
  UPDATE berth.migration_lease l SET renewed_at = clock_timestamp(), expires_at = clock_timestamp() + l.ttl
   WHERE l.token = $1 RETURNING l.expires_at INTO until;
  IF until IS NULL AND $1 IS DISTINCT FROM '00000000-0000-0000-0000-000000000000' THEN
    PERFORM berth.raise_lost($1);
  END IF;
  RETURN until;
END $$;
COMMENT ON FUNCTION berth.migration_heartbeat(pg_catalog.uuid) IS
  'Renews the lease with this token, and says when it ends now; for what takes long and renews nothing by itself';

CREATE FUNCTION berth.raise_lost(token pg_catalog.uuid) RETURNS pg_catalog.void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'lease % was lost', coalesce($1::text, 'NULL')
    USING ERRCODE = 'MG007', DETAIL = 'It ended, was given back, or was taken by somebody else after its time.',
          HINT = 'Do not continue: someone else may be migrating.';
END $$;
COMMENT ON FUNCTION berth.raise_lost(pg_catalog.uuid) IS 'Internal: MG007 for a token';

-- With the rights of the caller, because checks are queries of the caller.
CREATE FUNCTION berth.migration_finish(run pg_catalog.int8) RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM berth.refuse_block('migration_finish');
  IF berth.finish_begin($1) THEN
    PERFORM berth.run_checks($1, 'post');
    PERFORM berth.finish_end($1);
  END IF;
END $$;
COMMENT ON FUNCTION berth.migration_finish(pg_catalog.int8) IS
  'The version is applied: all steps are done and its checks hold. Asked again, it does nothing';

CREATE FUNCTION berth.finish_begin(run pg_catalog.int8) RETURNS pg_catalog.bool
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  lacking record;
BEGIN
  IF $1 = 0 OR EXISTS (SELECT FROM berth.migration_run o WHERE o.run_id = $1 AND o.mode = 'step' AND o.status = 'done') THEN
    RETURN false;
  END IF;
  PERFORM berth.hold_run($1);
  SELECT s.step_no, s.status, count(*) OVER () AS count INTO lacking
    FROM berth.migration_step s WHERE s.run_id = $1 AND s.status NOT IN ('done', 'skipped') ORDER BY s.step_no LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'run % cannot finish: step % is %', $1, lacking.step_no, lacking.status
      USING ERRCODE = 'MG012', DETAIL = format('Steps that are not done: %s.', lacking.count),
            HINT = format('Do the step, SELECT berth.migration_step_end(%s, %s), and finish then.', $1, lacking.step_no);
  END IF;
  RETURN true;
END $$;
COMMENT ON FUNCTION berth.finish_begin(pg_catalog.int8) IS 'Internal: whether a run is to be finished now; MG012 if it cannot be';

CREATE FUNCTION berth.finish_end(run pg_catalog.int8) RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF berth.finish_begin($1) THEN  -- its role may call this, too, so nothing is taken for granted
    PERFORM berth.close_finished($1, 'applied');
  END IF;
END $$;
COMMENT ON FUNCTION berth.finish_end(pg_catalog.int8) IS 'Internal: the version of a run is applied and its lease ends';

CREATE FUNCTION berth.close_finished(run pg_catalog.int8, state pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  r berth.migration_run;
BEGIN
  UPDATE berth.migration_run o SET status = 'done', finished_at = clock_timestamp()
   WHERE o.run_id = $1 AND o.mode = 'step' AND o.status = 'running' RETURNING * INTO r;
  IF FOUND THEN
    PERFORM berth.record_applied($1, $2);
    PERFORM berth.supersede(r.scope, r.version);
    DELETE FROM berth.migration_lease l WHERE l.run_id = $1;
  END IF;
END $$;
COMMENT ON FUNCTION berth.close_finished(pg_catalog.int8, pg_catalog.text) IS 'Internal: the row of a version, for a run that is done';

CREATE FUNCTION berth.migration_fail(run pg_catalog.int8, sqlstate pg_catalog.text, message pg_catalog.text,
                                     detail pg_catalog.text DEFAULT NULL, hint pg_catalog.text DEFAULT NULL,
                                     context pg_catalog.text DEFAULT NULL)
RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  PERFORM berth.refuse_block('migration_fail');
  PERFORM berth.hold_run($1);
  UPDATE berth.migration_step s SET status = 'failed', finished_at = clock_timestamp(), sqlstate = $2, message = $3
   WHERE s.run_id = $1 AND s.status = 'running';
  UPDATE berth.migration_run o SET status = 'failed', finished_at = clock_timestamp(), sqlstate = $2, message = $3, detail = $4, hint = $5,
         context = $6, failed_step = (SELECT min(s.step_no) FROM berth.migration_step s WHERE s.run_id = $1 AND s.status = 'failed')
   WHERE o.run_id = $1;
  DELETE FROM berth.migration_lease l WHERE l.run_id = $1;
END $$;
COMMENT ON FUNCTION berth.migration_fail(pg_catalog.int8, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text,
                                         pg_catalog.text) IS
  'The run has failed with this error and gives up its lease; the next start resumes it at its step';

-- A lease without a run: for tools that have a history of their own and need one migrator at a time.
CREATE FUNCTION berth.migration_lock(scope pg_catalog.text DEFAULT 'default', ttl pg_catalog.interval DEFAULT '60s',
                                     wait pg_catalog.interval DEFAULT '3s')
RETURNS pg_catalog.uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM berth.check_request($1, 'lock', 'versioned', NULL, 'skip', NULL, $3, '{}');
  PERFORM berth.check_ttl($2);
  PERFORM berth.refuse_block('migration_lock');
  PERFORM berth.take_scope($1, $3);
  RETURN berth.grant_lease($1, NULL, $2, berth.broker_client(pg_backend_pid()));
END $$;
COMMENT ON FUNCTION berth.migration_lock(pg_catalog.text, pg_catalog.interval, pg_catalog.interval) IS
  'Keeps others from migrating a scope until migration_unlock, or until ttl has passed without migration_heartbeat; gives its token';

CREATE FUNCTION berth.migration_unlock(token pg_catalog.uuid) RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  run int8;
BEGIN
  PERFORM berth.refuse_block('migration_unlock');
  SELECT l.run_id INTO run FROM berth.migration_lease l WHERE l.token = $1;
  IF run IS NOT NULL THEN
    RAISE EXCEPTION 'this token is that of run %', run
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format('A run ends by SELECT berth.migration_finish(%s).', run);
  END IF;
  DELETE FROM berth.migration_lease l WHERE l.token = $1;
  IF NOT FOUND THEN
    PERFORM berth.raise_lost($1);
  END IF;
END $$;
COMMENT ON FUNCTION berth.migration_unlock(pg_catalog.uuid) IS 'Gives back what migration_lock gave; MG007 if it was lost meanwhile';
