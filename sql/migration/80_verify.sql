-- Checks -----------------------------------------------------------------------------------------------------------------

-- A check is the text of one role that other roles may be asked to execute. So it is kept with the role whose rights wrote it,
-- and executed only where that takes no rights that its author does not have: see berth.refusal(). This trigger writes the name,
-- with the rights of the statement: neither an argument nor berth.caller() would do, as both can be those of a superuser who only
-- happens to execute a function of the author.
CREATE FUNCTION berth.guard_checks() RETURNS pg_catalog.trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
    RETURN coalesce(NEW, OLD);  -- also a restore, which keeps the names
  END IF;
  IF TG_OP <> 'INSERT' AND OLD.registered_by <> current_user AND berth.is_trusted(OLD.registered_by) AND
     NOT berth.is_trusted(current_user) THEN
    RAISE EXCEPTION 'role "%" may not change the check "%" of "%"', current_user, OLD.name, OLD.registered_by
      USING ERRCODE = 'MG040', DETAIL = format('It belongs to version "%s" of scope "%s".', OLD.version, OLD.scope),
            HINT = format('SELECT berth.grant_access(%L, ''admin''), or choose another name.', quote_ident(current_user));
  END IF;
  IF TG_OP = 'DELETE' THEN
    RETURN OLD;
  END IF;
  NEW.registered_by := current_user;
  NEW.login := berth.author_login(current_user);
  RETURN NEW;
END $$;
COMMENT ON FUNCTION berth.guard_checks() IS 'Internal: whose text a check is';
CREATE TRIGGER migration_check_guard BEFORE INSERT OR UPDATE OR DELETE ON berth.migration_check
  FOR EACH ROW EXECUTE FUNCTION berth.guard_checks();
ALTER TABLE berth.migration_check ENABLE ALWAYS TRIGGER migration_check_guard;

CREATE FUNCTION berth.is_trusted(role pg_catalog.name) RETURNS pg_catalog.bool
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce((SELECT r.rolsuper OR EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = 'berth'::regnamespace
                            AND p.proname = 'migration_resolve' AND has_function_privilege(r.oid, p.oid, 'EXECUTE'))
                     FROM pg_roles r WHERE r.rolname = $1), false)
$$;
COMMENT ON FUNCTION berth.is_trusted(pg_catalog.name) IS 'Whether a role is a superuser or has the level admin';

-- The role that a session can always become again, by RESET ROLE or RESET SESSION AUTHORIZATION: any text that it executes can.
CREATE FUNCTION berth.login() RETURNS pg_catalog.name
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce((SELECT pg_get_userbyid(a.usesysid) FROM pg_stat_get_activity(pg_backend_pid()) a), session_user)
$$;
COMMENT ON FUNCTION berth.login() IS 'Internal: who logged in, whatever the session has set since';

-- Who had logged in to write something with the rights of a role: the session''s login if it has set that role, else, within a function
-- of that role, nobody but the role itself.
CREATE FUNCTION berth.author_login(role pg_catalog.name) RETURNS pg_catalog.name
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN pg_get_userbyid(berth.caller()) = $1 THEN berth.login() ELSE $1 END
$$;
COMMENT ON FUNCTION berth.author_login(pg_catalog.name) IS 'Internal: the login behind what is written with the rights of a role';

-- Why a text is not executed with the rights of a role in this session; NULL if it is.
CREATE FUNCTION berth.refusal(registered_by pg_catalog.name, login pg_catalog.name, role pg_catalog.name) RETURNS pg_catalog.text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE
    WHEN (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = $1) OR ($1 = $3 AND me.login IN ($1, $2)) THEN NULL
    WHEN EXISTS (SELECT FROM pg_roles r WHERE r.rolname IN ($3, me.login) AND r.rolsuper) THEN
      format('not run: it is a text of %I, which is no superuser', $1) || CASE WHEN $1 = $3 THEN ', as the login of this session is' ELSE '' END
    WHEN berth.is_trusted($1) THEN NULL
    WHEN $1 = $3 THEN format('not run: it is a text of %I, which is not the login of this session, and could take its rights', $1)
    ELSE format('not run: it is a text of %I, which is neither %I nor has the level admin', $1, $3) END
    FROM berth.login() me (login)
$$;
COMMENT ON FUNCTION berth.refusal(pg_catalog.name, pg_catalog.name, pg_catalog.name) IS
  'Why a text of a role, written by a login, is not executed with the rights of another role: that takes the same role and login, an author '
  'who is a superuser, or, where no superuser executes it, one with the level admin';

CREATE FUNCTION berth.add_check(version pg_catalog.text, phase pg_catalog.text, name pg_catalog.text, query pg_catalog.text,
                                expect pg_catalog.text DEFAULT 't', scope pg_catalog.text DEFAULT 'default',
                                severity pg_catalog.text DEFAULT 'error')
RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  run pg_catalog.int8;
BEGIN
  INSERT INTO berth.migration_check (scope, version, phase, name, query, expect, severity, registered_by, login, registered_at)
    VALUES ($6, $1, $2, $3, $4, $5, $7, CURRENT_USER, CURRENT_USER, pg_catalog.clock_timestamp())
    ON CONFLICT ON CONSTRAINT migration_check_pkey DO UPDATE SET query = excluded.query, expect = excluded.expect,
      severity = excluded.severity, registered_by = excluded.registered_by, login = excluded.login,
      registered_at = excluded.registered_at;
  run := berth.run_in_progress($6, $1);
  IF run IS NOT NULL THEN
    INSERT INTO berth.migration_checks_due VALUES (run) ON CONFLICT DO NOTHING;
  END IF;
END $$;
COMMENT ON FUNCTION berth.add_check(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text,
                                    pg_catalog.text, pg_catalog.text) IS
  'Registers a query that is asked before (pre) or after (post) a version is applied, and what its first value must be; NULL can be '
  'expected. Of severity error it stops the migration, of severity warn it only warns. Replaces a check of the same name';

CREATE FUNCTION berth.drop_check(version pg_catalog.text, phase pg_catalog.text, name pg_catalog.text,
                                 scope pg_catalog.text DEFAULT 'default')
RETURNS pg_catalog.bool
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  DELETE FROM berth.migration_check c
   WHERE c.scope OPERATOR(pg_catalog.=) $4 AND c.version OPERATOR(pg_catalog.=) $1 AND c.phase OPERATOR(pg_catalog.=) $2
     AND c.name OPERATOR(pg_catalog.=) $3;
  RETURN FOUND;
END $$;
COMMENT ON FUNCTION berth.drop_check(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text) IS
  'Takes a check back; false if there is none';

CREATE FUNCTION berth.checks_of(scope pg_catalog.text, version pg_catalog.text, phase pg_catalog.text, role pg_catalog.name)
RETURNS TABLE (name pg_catalog.text, query pg_catalog.text, expect pg_catalog.text, severity pg_catalog.text, refusal pg_catalog.text)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 5 SET search_path = pg_catalog, pg_temp AS $$
  SELECT c.name, c.query, c.expect, c.severity, berth.refusal(c.registered_by, c.login, $4) FROM berth.migration_check c
   WHERE c.scope = $1 AND c.version = $2 AND c.phase = $3 ORDER BY c.registered_at, c.name
$$;
COMMENT ON FUNCTION berth.checks_of(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.name) IS
  'Internal: the checks of a version, and why this role does not execute them';

-- Executes the checks of a version with the rights of whoever calls this, and says what they gave.
CREATE FUNCTION berth.ask_checks(scope pg_catalog.text, version pg_catalog.text, phase pg_catalog.text)
RETURNS TABLE (name pg_catalog.text, query pg_catalog.text, expect pg_catalog.text, severity pg_catalog.text, ok pg_catalog.bool,
               got pg_catalog.text, duration pg_catalog.interval)
LANGUAGE plpgsql VOLATILE ROWS 5 AS $$
#variable_conflict use_variable
DECLARE
  c pg_catalog.record;
  began pg_catalog.timestamptz;
BEGIN
  FOR c IN SELECT o.* FROM berth.checks_of($1, $2, $3, CURRENT_USER) o LOOP
    name := c.name; query := c.query; expect := c.expect; severity := c.severity;
    began := pg_catalog.clock_timestamp();
    IF c.refusal IS NOT NULL THEN
      ok := false;
      got := c.refusal;
    ELSE
      BEGIN
        got := berth.answer(c.query, c.expect);
        ok := COALESCE(got OPERATOR(pg_catalog.=) c.expect, got IS NULL AND c.expect IS NULL);
      EXCEPTION WHEN OTHERS THEN
        ok := false;
        got := pg_catalog.format('error %s: %s', SQLSTATE, SQLERRM);
      END;
    END IF;
    got := pg_catalog."left"(got, 1000);
    duration := pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) began;
    RETURN NEXT;
  END LOOP;
END $$;
COMMENT ON FUNCTION berth.ask_checks(pg_catalog.text, pg_catalog.text, pg_catalog.text) IS
  'Internal: executes the checks of a version with the rights of the caller';

CREATE FUNCTION berth.subject_of(run pg_catalog.int8)
RETURNS TABLE (scope pg_catalog.text, version pg_catalog.text, mode pg_catalog.text)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.scope, r.version, r.mode FROM berth.migration_run r WHERE r.run_id = $1 AND r.direction = 'apply'
$$;
COMMENT ON FUNCTION berth.subject_of(pg_catalog.int8) IS 'Internal: what a run applies';

CREATE FUNCTION berth.has_checks(run pg_catalog.int8, phase pg_catalog.text) RETURNS pg_catalog.bool
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (SELECT FROM berth.subject_of($1) s JOIN berth.migration_check c USING (scope, version) WHERE c.phase = $2)
$$;
COMMENT ON FUNCTION berth.has_checks(pg_catalog.int8, pg_catalog.text) IS 'Internal: whether checks are registered for a run';

CREATE FUNCTION berth.run_checks(run pg_catalog.int8, phase pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  subject pg_catalog.record;
  c pg_catalog.record;
  message pg_catalog.text;
  failed pg_catalog.text;
  lines pg_catalog.text[];
  hint pg_catalog.text;
BEGIN
  SELECT s.* INTO subject FROM berth.subject_of($1) s;
  FOR c IN SELECT a.* FROM berth.ask_checks(subject.scope, subject.version, $2) a LOOP
    PERFORM berth.note_check($1, c.name, c.ok, c.got, c.duration);
    CONTINUE WHEN c.ok;
    message := pg_catalog.format('assertion "%s" failed: expected %s, got %s', c.name, COALESCE(c.expect, 'NULL'), COALESCE(c.got, 'NULL'));
    IF c.severity OPERATOR(pg_catalog.=) 'warn' THEN
      RAISE WARNING '%', message USING ERRCODE = 'MG020', DETAIL = pg_catalog.format('Query: %s', c.query);
    ELSE
      failed := COALESCE(failed, message);
      lines := pg_catalog.array_append(lines, pg_catalog.format('%s (got %s): %s', c.name, COALESCE(c.got, 'NULL'), c.query));
    END IF;
  END LOOP;
  IF failed IS NOT NULL THEN
    message := pg_catalog.format('Checks (%s) of version "%s" that failed: %s', $2, subject.version, pg_catalog.array_to_string(lines, '; '));
    hint := CASE WHEN $2 OPERATOR(pg_catalog.=) 'pre' THEN 'Nothing was done: put right what it found, then start again.'
                 WHEN subject.mode OPERATOR(pg_catalog.=) 'tx' THEN
                   'The transaction is rolled back and the migration is not applied: correct the script, or what it found.'
                 ELSE pg_catalog.format('Put right what it found, then SELECT berth.migration_finish(%s).', $1) END;
    RAISE EXCEPTION '%', failed USING ERRCODE = 'MG020', DETAIL = message, HINT = hint;
  END IF;
END $$;
COMMENT ON FUNCTION berth.run_checks(pg_catalog.int8, pg_catalog.text) IS
  'Internal: executes the checks of a run with the rights of the caller; MG020 if one of severity error fails';

-- Takes results for a run of this login only, while it goes on.
CREATE FUNCTION berth.note_check(run pg_catalog.int8, name pg_catalog.text, ok pg_catalog.bool, got pg_catalog.text,
                                 duration pg_catalog.interval)
RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO berth.migration_check_result (run_id, scope, version, name, ok, got, at, duration)
    SELECT r.run_id, r.scope, r.version, $2, $3, $4, clock_timestamp(), $5 FROM berth.migration_run r
     WHERE r.run_id = $1 AND r.usename = session_user AND (r.status = 'running' OR r.xid = pg_current_xact_id_if_assigned());
  IF NOT FOUND THEN
    RAISE EXCEPTION 'run % is not one of yours that goes on', $1 USING ERRCODE = 'insufficient_privilege';
  END IF;
END $$;
COMMENT ON FUNCTION berth.note_check(pg_catalog.int8, pg_catalog.text, pg_catalog.bool, pg_catalog.text, pg_catalog.interval) IS
  'Internal: keeps what a check found';

-- In transactional mode the commit makes the checks. The row that brings that about is inserted with the rights of the caller, and so
-- is what its trigger does: in PostgreSQL 18 it has the rights of the role that inserted the row, before that those of the commit.
CREATE FUNCTION berth.run_in_progress(scope pg_catalog.text, version pg_catalog.text) RETURNS pg_catalog.int8
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT m.last_run FROM berth.migration m JOIN berth.migration_run r ON r.run_id = m.last_run AND r.direction = 'apply'
   WHERE m.scope = $1 AND m.version = $2 AND m.state NOT IN ('reverted', 'skipped') AND r.mode = 'tx' AND r.xid = pg_current_xact_id_if_assigned()
$$;
COMMENT ON FUNCTION berth.run_in_progress(pg_catalog.text, pg_catalog.text) IS
  'Internal: the run of this transaction that applied a version, if it is still applied';

CREATE FUNCTION berth.take_due(run pg_catalog.int8) RETURNS pg_catalog.bool
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  DELETE FROM berth.migration_checks_due d WHERE d.run_id = $1;
  RETURN EXISTS (SELECT FROM berth.subject_of($1) s WHERE berth.run_in_progress(s.scope, s.version) = $1);
END $$;
COMMENT ON FUNCTION berth.take_due(pg_catalog.int8) IS 'Internal: whether the checks of a run are to be made now';

CREATE FUNCTION berth.run_due_checks() RETURNS pg_catalog.trigger
LANGUAGE plpgsql AS $$
BEGIN
  IF berth.take_due(NEW.run_id) THEN
    PERFORM berth.run_checks(NEW.run_id, 'post');
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION berth.run_due_checks() IS 'Internal: the checks of a transaction, made by its commit';

CREATE CONSTRAINT TRIGGER migration_checks_due AFTER INSERT ON berth.migration_checks_due DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION berth.run_due_checks();
ALTER TABLE berth.migration_checks_due ENABLE ALWAYS TRIGGER migration_checks_due;

-- What stands in the database and should not --------------------------------------------------------------------------------

CREATE VIEW berth.invalid_index AS
  SELECT n.nspname AS schema_name, t.relname AS table_name, c.relname AS index_name, i.indexrelid AS index_oid,
         i.indisvalid AS is_valid, i.indisready AS is_ready, p.pid AS building_pid, p.phase AS building_phase,
         CASE WHEN p.pid IS NOT NULL THEN 'wait: it is being built'
              WHEN c.relkind = 'I' THEN 'attach an index of each partition'
              ELSE pg_catalog.format('DROP INDEX CONCURRENTLY %I.%I', n.nspname, c.relname) END AS remedy,
         pg_catalog.pg_get_indexdef(i.indexrelid) AS definition
    FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_stat_progress_create_index p
      ON p.datname = pg_catalog.current_database() AND p.index_relid = i.indexrelid
   WHERE NOT (i.indisvalid AND i.indisready AND i.indislive);
COMMENT ON VIEW berth.invalid_index IS 'Indexes that no query uses: what a failed or running CREATE INDEX CONCURRENTLY leaves';
COMMENT ON COLUMN berth.invalid_index.schema_name IS 'The schema';
COMMENT ON COLUMN berth.invalid_index.table_name IS 'The table';
COMMENT ON COLUMN berth.invalid_index.index_name IS 'The index';
COMMENT ON COLUMN berth.invalid_index.index_oid IS 'Its oid';
COMMENT ON COLUMN berth.invalid_index.is_valid IS 'Whether queries may use it';
COMMENT ON COLUMN berth.invalid_index.is_ready IS 'Whether writes keep it up to date, which costs them time';
COMMENT ON COLUMN berth.invalid_index.building_pid IS 'The backend that builds it now';
COMMENT ON COLUMN berth.invalid_index.building_phase IS 'How far that is';
COMMENT ON COLUMN berth.invalid_index.remedy IS 'What to do, a statement where there is one';
COMMENT ON COLUMN berth.invalid_index.definition IS 'What would make it';

CREATE VIEW berth.not_validated AS
  SELECT n.nspname AS schema_name, t.relname AS table_name, c.conname AS constraint_name, c.contype AS constraint_type,
         pg_catalog.format('ALTER TABLE %I.%I VALIDATE CONSTRAINT %I', n.nspname, t.relname, c.conname) AS remedy,
         pg_catalog.pg_get_constraintdef(c.oid) AS definition
    FROM pg_catalog.pg_constraint c
    JOIN pg_catalog.pg_class t ON t.oid = c.conrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
   WHERE NOT c.convalidated AND c.conparentid = 0
     -- From 18 on, what is not enforced is not validated either, and nobody wants it to be.
     AND COALESCE(pg_catalog.to_jsonb(c) ->> 'conenforced', 'true') = 'true';
COMMENT ON VIEW berth.not_validated IS 'Constraints that hold for new rows, and were never proved for those that were there before';
COMMENT ON COLUMN berth.not_validated.schema_name IS 'The schema';
COMMENT ON COLUMN berth.not_validated.table_name IS 'The table';
COMMENT ON COLUMN berth.not_validated.constraint_name IS 'The constraint';
COMMENT ON COLUMN berth.not_validated.constraint_type IS 'c: check, f: foreign key, n: not null';
COMMENT ON COLUMN berth.not_validated.remedy IS 'The statement that proves it; it only takes a weak lock';
COMMENT ON COLUMN berth.not_validated.definition IS 'The constraint''s text';

-- The planner knows nothing of what an index on an expression holds until its table is analyzed. Plain columns have statistics anyway.
-- Whether a table has rows is not asked by its size, which would wait for whoever has locked it.
CREATE FUNCTION berth.unanalyzed_indexes()
RETURNS TABLE (index_name pg_catalog.text, remedy pg_catalog.text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT format('%I.%I', n.nspname, c.relname), format('ANALYZE %I.%I', tn.nspname, t.relname)
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid AND c.relkind = 'i' AND c.relpersistence <> 't'
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class t ON t.oid = i.indrelid
    JOIN pg_namespace tn ON tn.oid = t.relnamespace
   WHERE i.indexprs IS NOT NULL AND i.indisvalid AND (t.relpages > 0 OR pg_stat_get_live_tuples(t.oid) > 0)
     AND NOT EXISTS (SELECT FROM pg_statistic s WHERE s.starelid = i.indexrelid)
$$;
COMMENT ON FUNCTION berth.unanalyzed_indexes() IS 'Internal: indexes on expressions whose tables were not analyzed since';

-- Verification -----------------------------------------------------------------------------------------------------------

CREATE FUNCTION berth.applied_with_checks(version pg_catalog.text, scope pg_catalog.text)
RETURNS TABLE (scope pg_catalog.text, version pg_catalog.text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT m.scope, m.version FROM berth.migration m
   WHERE m.state NOT IN ('reverted', 'skipped') AND ($1 IS NULL OR m.version = $1) AND ($2 IS NULL OR m.scope = $2)
     AND EXISTS (SELECT FROM berth.migration_check c WHERE c.scope = m.scope AND c.version = m.version AND c.phase = 'post')
   ORDER BY m.scope, m.sort_key
$$;
COMMENT ON FUNCTION berth.applied_with_checks(pg_catalog.text, pg_catalog.text) IS 'Internal: what migration_verify() has to ask';

CREATE FUNCTION berth.note_verified(scope pg_catalog.text, version pg_catalog.text, name pg_catalog.text, ok pg_catalog.bool,
                                    got pg_catalog.text, duration pg_catalog.interval)
RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF current_setting('transaction_read_only') = 'off' THEN
    INSERT INTO berth.migration_check_result (scope, version, name, ok, got, at, duration)
      VALUES (coalesce($1, '*'), coalesce($2, '*'), $3, $4, $5, clock_timestamp(), coalesce($6, '0'));
  END IF;
END $$;
COMMENT ON FUNCTION berth.note_verified(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.bool, pg_catalog.text,
                                        pg_catalog.interval) IS 'Internal: keeps what migration_verify() found, with who asked';

CREATE FUNCTION berth.migration_verify(version pg_catalog.text DEFAULT NULL, scope pg_catalog.text DEFAULT 'default')
RETURNS TABLE (name pg_catalog.text, ok pg_catalog.bool, got pg_catalog.text)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_variable
DECLARE
  subject pg_catalog.record;
  c pg_catalog.record;
BEGIN
  FOR subject IN SELECT o.* FROM berth.applied_with_checks($1, $2) o LOOP
    FOR c IN SELECT a.* FROM berth.ask_checks(subject.scope, subject.version, 'post') a LOOP
      name := pg_catalog.concat(CASE WHEN $2 IS NULL THEN pg_catalog.concat(subject.scope, ' ') END, subject.version, ': ', c.name);
      ok := c.ok; got := c.got;
      PERFORM berth.note_verified(subject.scope, subject.version, c.name, c.ok, c.got, c.duration);
      RETURN NEXT;
    END LOOP;
  END LOOP;
  FOR c IN SELECT f.* FROM berth.facts_to_verify($1, $2) f LOOP
    name := c.name; ok := c.ok; got := c.got;
    PERFORM berth.note_verified($2, $1, c.name, c.ok, c.got, NULL);
    RETURN NEXT;
  END LOOP;
END $$;
COMMENT ON FUNCTION berth.migration_verify(pg_catalog.text, pg_catalog.text) IS
  'Executes the post checks of applied versions (of one, or of all) with the rights of the caller, and looks for invalid indexes, '
  'constraints that are not validated, missing statistics and checksums that differ from the plan. What it finds is kept in '
  'migration_check_result. A scope of NULL means all scopes';

CREATE FUNCTION berth.prune_check_results(older_than pg_catalog.interval) RETURNS pg_catalog.int8
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  pruned int8;
BEGIN
  IF $1 IS NULL OR $1 < interval '0' THEN
    RAISE EXCEPTION 'older_than is not negative' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  DELETE FROM berth.migration_check_result c WHERE c.run_id IS NULL AND c.at < clock_timestamp() - $1;
  GET DIAGNOSTICS pruned = ROW_COUNT;
  RETURN pruned;
END $$;
COMMENT ON FUNCTION berth.prune_check_results(pg_catalog.interval) IS
  'Deletes what migration_verify() found longer ago than that, and keeps what belongs to a run; gives the number of rows';

-- What is verified beside checks: one row that is ok, or one for each thing that is not.
CREATE FUNCTION berth.facts_to_verify(version pg_catalog.text, scope pg_catalog.text)
RETURNS TABLE (name pg_catalog.text, ok pg_catalog.bool, got pg_catalog.text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH found (fact, got) AS (
    SELECT 1, format('%I.%I is invalid: %s', i.schema_name, i.index_name, i.remedy) FROM berth.invalid_index i
    UNION ALL
    SELECT 2, format('%I of %I.%I is not validated: %s', v.constraint_name, v.schema_name, v.table_name, v.remedy) FROM berth.not_validated v
    UNION ALL
    SELECT 3, format('%s has no statistics: %s', u.index_name, u.remedy) FROM berth.unanalyzed_indexes() u
    UNION ALL
    SELECT 4, format('%s: planned %s, applied %s', m.version, p.checksum, m.checksum)
      FROM berth.migration m JOIN berth.migration_plan p USING (scope, version)
     WHERE ($1 IS NULL OR m.version = $1) AND ($2 IS NULL OR m.scope = $2) AND m.state NOT IN ('reverted', 'skipped')
       AND p.checksum <> m.checksum AND berth.checksum_algo(p.checksum) = m.checksum_algo
  )
  SELECT t.name, f.fact IS NULL, f.got FROM (VALUES (1, 'indexes'), (2, 'constraints'), (3, 'statistics'), (4, 'checksums')) t (fact, name)
    LEFT JOIN found f USING (fact) ORDER BY t.fact, f.got
$$;
COMMENT ON FUNCTION berth.facts_to_verify(pg_catalog.text, pg_catalog.text) IS 'Internal: what migration_verify() finds without checks';
