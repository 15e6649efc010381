-- Status -----------------------------------------------------------------------------------------------------------------

-- The backends that are busy with a statement of a run, which bears its number and its step in a comment, and are of its user. Not
-- the text.
CREATE FUNCTION berth.busy_backends() RETURNS TABLE (pid pg_catalog.int4, run_id pg_catalog.int8, step_no pg_catalog.int4)
LANGUAGE sql VOLATILE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
  SELECT a.pid, marker[1]::int8, marker[2]::int4
    FROM pg_stat_get_activity(NULL) a
    CROSS JOIN LATERAL regexp_match(a.query, '/\* berth run (\d{1,18})(?: step (\d{1,9}))? \*/') marker
   WHERE a.datid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) AND a.state = 'active' AND marker IS NOT NULL
     AND a.pid <> pg_backend_pid()
     AND EXISTS (SELECT FROM berth.migration_run r JOIN pg_roles o ON o.rolname = r.usename WHERE r.run_id = marker[1]::int8 AND o.oid = a.usesysid)
$$;
COMMENT ON FUNCTION berth.busy_backends() IS 'Internal: which backends execute a statement that names its run';

-- Runs that did not end, with what is true of them now: one that says it is running may have died, or be of another cluster.
CREATE FUNCTION berth.open_runs(scope pg_catalog.text)
RETURNS TABLE (run_id pg_catalog.int8, scope pg_catalog.text, version pg_catalog.text, status pg_catalog.text, direction pg_catalog.text,
               problem pg_catalog.text)
LANGUAGE sql VOLATILE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
  SELECT o.run_id, o.scope, o.version, o.now, o.direction,
         CASE o.now WHEN 'failed' THEN concat_ws(' ', 'failed' || coalesce(' at step ' || o.stalled, ''), o.sqlstate, o.message)
           WHEN 'interrupted' THEN concat(CASE WHEN o.foreign_cluster THEN 'it ran in another cluster, or in the database that this one is a copy of'
                                          ELSE 'its client went away' END, coalesce(' at step ' || o.stalled, '')) END ||
         CASE WHEN o.now = 'running' THEN NULL
              WHEN o.mode = 'tx' THEN '; apply it again'
              WHEN o.tool = 'golang-migrate' THEN '; its table stays dirty: put right what it left, then "migrate force"'
              WHEN o.tool = 'flyway' THEN '; put right what it left, then "flyway repair"'
              ELSE format('; start it again, which resumes it, or resolve run %s', o.run_id) END
    FROM (SELECT r.*, r.cluster <> berth.cluster() AS foreign_cluster, berth.stalled_step(r.run_id) AS stalled,
                 CASE WHEN r.status = 'running' AND (r.cluster <> berth.cluster() OR (r.mode = 'step' AND NOT EXISTS
                        (SELECT FROM berth.migration_lease l WHERE l.run_id = r.run_id AND berth.lease_is_live(l))))
                      THEN 'interrupted' ELSE r.status END AS now
            FROM berth.migration_run r
           WHERE r.status IN ('running', 'failed', 'interrupted') AND ($1 IS NULL OR r.scope = $1)) o
$$;
COMMENT ON FUNCTION berth.open_runs(pg_catalog.text) IS 'Internal: runs that did not end, and what is the matter with them';

-- All in one pass over the tables: no function is called for each row, which would take ten times the time of the rest, and what most
-- rows are, applied and nothing more to say of it, is found out once. PL/pgSQL keeps the plan for the session. Nothing is compiled to
-- machine code: the estimates would have it done at each call, which takes longer than the rest.
CREATE FUNCTION berth.migration_status(INOUT scope pg_catalog.text DEFAULT 'default', OUT version pg_catalog.text,
                                       OUT state pg_catalog.text, OUT kind pg_catalog.text, OUT applied_at pg_catalog.timestamptz,
                                       OUT "by" pg_catalog.name, OUT duration pg_catalog.interval, OUT checksum_ok pg_catalog.bool,
                                       OUT problem pg_catalog.text)
RETURNS SETOF pg_catalog.record
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 1000 SET search_path = pg_catalog, pg_temp SET jit = off AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH open_run AS MATERIALIZED (
    SELECT DISTINCT ON (o.scope, o.version) o.*, berth.version_key(o.version) COLLATE "C" AS sort_key
      FROM berth.open_runs($1) o ORDER BY o.scope, o.version, o.run_id DESC
  ), undone AS MATERIALIZED (
    SELECT DISTINCT r.scope, r.version, berth.version_key(r.version) COLLATE "C" AS sort_key
      FROM berth.migration_run r WHERE r.status = 'resolved' AND r.outcome = 'reverted' AND ($1 IS NULL OR r.scope = $1)
  ), rule AS MATERIALIZED (
    SELECT p.scope, p.action FROM berth.migration_policy p WHERE p.rule = 'checksum'
  ), base AS MATERIALIZED (
    SELECT m.scope, max(m.sort_key) AS sort_key FROM berth.migration m
     WHERE m.kind = 'baseline' AND m.state = 'applied' AND ($1 IS NULL OR m.scope = $1) GROUP BY m.scope
  ), odd AS MATERIALIZED (  -- the few versions of which there is more to say; one set, because each join costs
    SELECT o.scope, o.version, max(o.sort_key) AS sort_key, max(o.status) AS attempted, max(o.direction) AS direction, max(o.attempt) AS attempt,
           bool_or(o.undone) AS undone, max(o.by_hand) AS by_hand, bool_or(o.is_error) AS is_error
      FROM (SELECT r.scope, r.version, r.sort_key, r.status, r.direction, r.problem, false, NULL, false FROM open_run r
            UNION ALL SELECT u.scope, u.version, u.sort_key, NULL, NULL, NULL, true, NULL, false FROM undone u
            UNION ALL SELECT h.scope, h.version, NULL, NULL, NULL, NULL, false, h.problem, h.is_error FROM berth.changed_by_hand($1) h)
           o (scope, version, sort_key, status, direction, attempt, undone, by_hand, is_error)
     GROUP BY o.scope, o.version
  ), recorded AS (
    SELECT coalesce(m.scope, p.scope) AS scope, coalesce(m.version, p.version) AS version, coalesce(m.sort_key, p.sort_key) AS sort_key,
           coalesce(m.kind, p.kind) AS kind, m.state AS had, m.applied_at, m.applied_by, m.duration,
           CASE WHEN p.checksum IS NULL THEN NULL
                WHEN p.checksum = m.checksum THEN m.state NOT IN ('reverted', 'skipped') OR NULL
                WHEN m.state NOT IN ('reverted', 'skipped') AND m.checksum_algo = berth.checksum_algo(p.checksum) THEN false END AS checksum_ok
      FROM (SELECT * FROM berth.migration m WHERE $1 IS NULL OR m.scope = $1) m
      FULL JOIN (SELECT * FROM berth.migration_plan p WHERE $1 IS NULL OR p.scope = $1) p ON p.scope = m.scope AND p.version = m.version
    UNION ALL  -- what was tried, and is neither planned nor recorded
    SELECT t.scope, t.version, t.sort_key, 'versioned', NULL, NULL, NULL, NULL, NULL
      FROM odd t
     WHERE t.sort_key IS NOT NULL AND NOT EXISTS (SELECT FROM berth.migration m WHERE m.scope = t.scope AND m.version = t.version)
       AND NOT EXISTS (SELECT FROM berth.migration_plan p WHERE p.scope = t.scope AND p.version = t.version)
  ), known AS (
    SELECT k.*, o.attempt, o.by_hand, o.undone, o.attempted,
           CASE WHEN o.version IS NULL AND k.had = 'applied' AND k.checksum_ok IS NOT FALSE THEN NULL  -- applied, and no more to say
                WHEN k.had IN ('applied', 'expanded', 'contracted') AND k.kind <> 'repeatable' AND o.direction IS DISTINCT FROM 'revert' THEN
                  CASE WHEN o.is_error OR (k.checksum_ok IS FALSE AND 'off' <> coalesce((SELECT w.action FROM rule w WHERE w.scope = k.scope),
                            (SELECT w.action FROM rule w WHERE w.scope = '*'), 'error')) THEN 'drifted' ELSE 'applied' END
                WHEN k.had IS NULL AND k.kind = 'versioned' AND k.sort_key <= (SELECT b.sort_key FROM base b WHERE b.scope = k.scope) THEN NULL
                WHEN o.attempted IS NOT NULL THEN o.attempted
                WHEN k.had = 'skipped' THEN 'skipped'
                WHEN k.had = 'reverted' OR k.had IS NULL OR k.checksum_ok IS FALSE THEN 'pending'
                ELSE 'applied' END AS state
      FROM recorded k
      LEFT JOIN odd o ON o.version = k.version AND o.scope = k.scope
    OFFSET 0
  )
  SELECT k.scope, k.version, coalesce(k.state, 'applied'), k.kind, CASE WHEN k.state IS NULL OR t.here THEN k.applied_at END,
         CASE WHEN k.state IS NULL OR t.here THEN k.applied_by END, CASE WHEN k.state IS NULL OR t.here THEN k.duration END, k.checksum_ok,
         CASE WHEN k.state IS NULL OR k.state = 'running' THEN NULL
              WHEN k.state IN ('failed', 'interrupted') THEN k.attempt
              WHEN k.state = 'pending' AND t.here THEN 'its script has changed since it was applied'
              WHEN k.state = 'pending' AND (k.had = 'reverted' OR k.undone) THEN 'it was reverted'
              WHEN k.state IN ('applied', 'drifted') THEN
                nullif(concat_ws('; ', CASE WHEN k.checksum_ok IS FALSE THEN 'the checksum of the plan is another one than that of what was applied' END,
                  k.by_hand, CASE WHEN k.had = 'expanded' THEN 'expanded, and not contracted yet' END,
                  CASE WHEN k.attempted IN ('failed', 'interrupted') THEN 'a later attempt ' || k.attempt END), '') END
    FROM known k CROSS JOIN LATERAL (SELECT k.had IN ('applied', 'expanded', 'contracted')) t (here)
   ORDER BY (CASE WHEN $1 IS NULL THEN k.scope || E'\x01' || k.sort_key ELSE k.sort_key END) COLLATE "C";  -- one key sorts faster than two
END $$;
COMMENT ON FUNCTION berth.migration_status(pg_catalog.text) IS
  'A row for each version that is planned, applied or was tried, in order: applied, pending, running, failed, interrupted, skipped or '
  'drifted, and the problem in words. A scope of NULL means all scopes';

-- DDL outside of migrations on what a migration made or changed last: of the last one that touched it.
CREATE FUNCTION berth.changed_by_hand(INOUT scope pg_catalog.text, OUT version pg_catalog.text, OUT problem pg_catalog.text,
                                      OUT is_error pg_catalog.bool)
RETURNS SETOF pg_catalog.record
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 5 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH last AS MATERIALIZED (  -- what migrations have made is less than what others do, and is looked up one by one
    SELECT d.identity, max(d.id) AS id FROM berth.ddl_log d WHERE d.run_id IS NOT NULL AND d.identity IS NOT NULL GROUP BY d.identity
  ), touched AS (
    SELECT s.*, (SELECT d.run_id FROM berth.ddl_log d WHERE d.id = last.id) AS run_id FROM last
     CROSS JOIN LATERAL (SELECT d.identity, d.id, d.at, d.usename FROM berth.ddl_unattributed d
                          WHERE "left"(d.identity, 500) = "left"(last.identity, 500) AND d.identity = last.identity AND d.id > last.id
                          ORDER BY d.id DESC LIMIT 1) s
  ), found AS (
    SELECT r.scope, r.version, string_agg(format('%s was changed outside of migrations at %s by %s', t.identity, t.at, t.usename), '; ' ORDER BY t.id) AS problem
      FROM touched t JOIN berth.migration_run r USING (run_id) WHERE $1 IS NULL OR r.scope = $1 GROUP BY r.scope, r.version
  )
  SELECT f.scope, f.version, f.problem, p.action = 'error' FROM found f
   CROSS JOIN LATERAL berth.policy(f.scope, 'unattributed_ddl') p (action) WHERE p.action IN ('warn', 'error');
END $$;
COMMENT ON FUNCTION berth.changed_by_hand(pg_catalog.text) IS
  'Internal: versions whose objects were changed by DDL that belongs to no migration (unattributed_ddl: warn or error)';

CREATE FUNCTION berth.migration_pending(scope pg_catalog.text DEFAULT 'default')
RETURNS TABLE (scope pg_catalog.text, version pg_catalog.text, description pg_catalog.text, kind pg_catalog.text,
               checksum pg_catalog.text, state pg_catalog.text, problem pg_catalog.text)
LANGUAGE sql VOLATILE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
  SELECT s.scope, s.version, coalesce(p.description, m.description), s.kind, coalesce(p.checksum, m.checksum), s.state, s.problem
    FROM berth.migration_status($1) WITH ORDINALITY s (scope, version, state, kind, applied_at, "by", duration, checksum_ok, problem, number)
    LEFT JOIN berth.migration_plan p USING (scope, version) LEFT JOIN berth.migration m USING (scope, version)
   WHERE s.state IN ('pending', 'failed', 'interrupted') ORDER BY s.scope, s.kind = 'repeatable', s.number
$$;
COMMENT ON FUNCTION berth.migration_pending(pg_catalog.text) IS
  'What is still to be done, in order: pending, failed and interrupted versions, repeatable ones last';

CREATE FUNCTION berth.migration_exit_code(scope pg_catalog.text DEFAULT 'default') RETURNS pg_catalog.int4
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(bit_or(CASE s.state WHEN 'pending' THEN 1 WHEN 'running' THEN 2 WHEN 'failed' THEN 4 WHEN 'interrupted' THEN 4
                                      WHEN 'drifted' THEN 8 ELSE 0 END), 0)
         | CASE WHEN EXISTS (SELECT FROM berth.scope_busy($1) b WHERE b) THEN 2 ELSE 0 END
         | CASE WHEN berth.policy(coalesce($1, '*'), 'invalid_index') <> 'off' AND EXISTS (SELECT FROM berth.invalid_index) OR
                     EXISTS (SELECT FROM berth.not_validated) THEN 16 ELSE 0 END
    FROM berth.migration_status($1) s
$$;
COMMENT ON FUNCTION berth.migration_exit_code(pg_catalog.text) IS
  'For CI, the sum of: 1 something is pending, 2 running, 4 failed or interrupted, 8 a checksum or an object differs, 16 an index is '
  'invalid or a constraint not validated; 0: all is well';

-- A migration in transactional mode is visible by the lock of its scope only.
CREATE FUNCTION berth.scope_busy(scope pg_catalog.text) RETURNS pg_catalog.bool
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (SELECT FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
      AND l.classid = 1650815592 AND l.objsubid = 2 AND l.pid IS DISTINCT FROM pg_backend_pid()  -- NULL: prepared
      AND ($1 IS NULL OR l.objid::int8 = (hashtext($1)::int8 & 4294967295)))
$$;
COMMENT ON FUNCTION berth.scope_busy(pg_catalog.text) IS 'Internal: whether another session holds the lock of a scope';

-- For applications at their start: a few index lookups.
CREATE FUNCTION berth.assert_ready(min pg_catalog.text, max pg_catalog.text DEFAULT NULL, scope pg_catalog.text DEFAULT 'default',
                                   app pg_catalog.text DEFAULT NULL)
RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  low text COLLATE "C" := berth.version_key($1);
  high text COLLATE "C" := berth.version_key($2);
  mine text COLLATE "C" := berth.version_key($4);
  base text COLLATE "C" := (SELECT max(m.sort_key) FROM berth.migration m WHERE m.scope = $3 AND m.kind = 'baseline' AND m.state = 'applied');
  have record;
  missing text[];
  beyond text[];
  window_ record;
  detail text;
  hint text := format('SELECT * FROM berth.migration_status(%L).', $3);
BEGIN
  SELECT m.version, m.sort_key INTO have FROM berth.migration m
   WHERE m.scope = $3 AND m.kind <> 'repeatable' AND m.state NOT IN ('reverted', 'skipped') ORDER BY m.sort_key DESC LIMIT 1;
  IF $1 IS NOT NULL THEN
    SELECT array_agg(v.version || coalesce(' (' || v.status || ')', '') ORDER BY v.sort_key) INTO missing FROM (
      SELECT DISTINCT ON (n.version) n.version, n.sort_key, n.status FROM (
        SELECT $1, low, NULL WHERE NOT berth.is_applied($3, $1)
        UNION ALL
        SELECT p.version, p.sort_key, NULL FROM berth.migration_plan p
         WHERE p.scope = $3 AND p.kind = 'versioned' AND p.sort_key <= low
           AND NOT EXISTS (SELECT FROM berth.migration m WHERE m.scope = $3 AND m.version = p.version AND m.state NOT IN ('reverted', 'skipped'))
           AND (p.sort_key > base OR base IS NULL OR EXISTS (SELECT FROM berth.migration m WHERE m.scope = $3 AND m.version = p.version))
        UNION ALL
        SELECT o.version, berth.version_key(o.version), o.status FROM berth.open_runs($3) o
         WHERE berth.version_key(o.version) COLLATE "C" <= low AND o.direction = 'apply' AND NOT berth.is_applied($3, o.version)
      ) n (version, sort_key, status) ORDER BY n.version, n.status NULLS LAST) v;
    IF missing IS NOT NULL THEN
      detail := format('Scope "%s"; missing: %s.', $3, array_to_string(missing, ', '));
      RAISE EXCEPTION 'database %, application needs at least "%"',
        coalesce('is at "' || have.version || '"', 'has no migration applied'), $1
        USING ERRCODE = 'MG030', DETAIL = detail, HINT = hint;
    END IF;
  END IF;
  IF have.sort_key > high THEN
    SELECT array_agg(m.version ORDER BY m.sort_key) INTO beyond FROM berth.migration m
     WHERE m.scope = $3 AND m.kind <> 'repeatable' AND m.state NOT IN ('reverted', 'skipped') AND m.sort_key > high;
    detail := format('Scope "%s"; applied beyond that: %s.', $3, array_to_string(beyond, ', '));
    RAISE EXCEPTION 'database is at "%", application needs at most "%"', have.version, $2
      USING ERRCODE = 'MG031', DETAIL = detail, HINT = hint;
  END IF;
  IF $4 IS NOT NULL THEN
    SELECT m.version, m.app_min, m.app_max INTO window_ FROM berth.migration m
     WHERE m.scope = $3 AND (m.app_min IS NOT NULL OR m.app_max IS NOT NULL) AND m.state NOT IN ('reverted', 'skipped')
       AND (berth.version_key(m.app_min) COLLATE "C" > mine OR berth.version_key(m.app_max) COLLATE "C" < mine)
     ORDER BY m.sort_key DESC LIMIT 1;
    IF FOUND THEN
      detail := format('Scope "%s"; this is application "%s".', $3, $4);
      RAISE EXCEPTION 'database is at "%", migration "%" needs an application%', have.version, window_.version,
          coalesce(format(' of at least "%s"', window_.app_min), '') || coalesce(format(' of at most "%s"', window_.app_max), '')
        USING ERRCODE = 'MG031', DETAIL = detail, HINT = hint;
    END IF;
  END IF;
END $$;
COMMENT ON FUNCTION berth.assert_ready(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text) IS
  'For the start of an application: MG030 unless this version and all planned ones before it are applied, MG031 if a version beyond '
  'max is applied, or if a migration is made for other versions of the application (app_min, app_max)';
