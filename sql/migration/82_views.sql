-- Views of the history and of what is going on -----------------------------------------------------------------------------

CREATE VIEW berth.migration_history AS
  SELECT r.run_id, r.scope, r.version, m.description, r.direction, r.mode, r.status, r.attempt, r.resumed_from, r.started_at, r.finished_at,
         r.duration, r.usename, r.role_name, r.application_name, r.client_addr, r.broker_client, r.pid, r.tool, r.tool_version,
         r.source_ref, r.info, r.lock_wait, r.hold_time, r.lock_attempts, r.sqlstate, r.message, r.detail, r.hint, r.context, r.failed_step,
         (SELECT pg_catalog.count(*) FROM berth.migration_step s WHERE s.run_id = r.run_id) AS steps,
         (SELECT pg_catalog.count(*) FROM berth.migration_step s WHERE s.run_id = r.run_id AND s.status IN ('done', 'skipped')) AS steps_done,
         (SELECT pg_catalog.sum(s.rows_done)::pg_catalog.int8 FROM berth.migration_step s WHERE s.run_id = r.run_id) AS rows_done,
         (SELECT pg_catalog.count(*) FROM berth.migration_check_result c WHERE c.run_id = r.run_id) AS checks,
         (SELECT pg_catalog.count(*) FROM berth.migration_check_result c WHERE c.run_id = r.run_id AND NOT c.ok) AS checks_failed,
         (SELECT pg_catalog.count(*) FROM berth.ddl_log d WHERE d.run_id = r.run_id) AS ddl_statements,
         r.outcome, r.reason, r.resolved_by, r.resolved_at, r.cluster
    FROM berth.migration_run r LEFT JOIN berth.migration m USING (scope, version);
COMMENT ON VIEW berth.migration_history IS 'Every attempt to apply or to revert a migration, and what it did';
COMMENT ON COLUMN berth.migration_history.run_id IS 'Its number';
COMMENT ON COLUMN berth.migration_history.scope IS 'The scope: one history each, for example one for each tenant';
COMMENT ON COLUMN berth.migration_history.version IS 'The version';
COMMENT ON COLUMN berth.migration_history.description IS 'The description of that version, as it was applied last';
COMMENT ON COLUMN berth.migration_history.direction IS 'apply, revert, baseline, or repair: a checksum that was accepted';
COMMENT ON COLUMN berth.migration_history.mode IS 'tx: in one transaction; step: each step by itself';
COMMENT ON COLUMN berth.migration_history.status IS 'running, done, failed, interrupted, or resolved: by migration_resolve or by a later run';
COMMENT ON COLUMN berth.migration_history.attempt IS 'Which attempt at this version it was';
COMMENT ON COLUMN berth.migration_history.resumed_from IS 'The run whose finished steps this one did not repeat';
COMMENT ON COLUMN berth.migration_history.started_at IS 'When it began';
COMMENT ON COLUMN berth.migration_history.finished_at IS 'When it ended';
COMMENT ON COLUMN berth.migration_history.duration IS 'How long it took';
COMMENT ON COLUMN berth.migration_history.usename IS 'Who logged in';
COMMENT ON COLUMN berth.migration_history.role_name IS 'Whose rights it had, after SET ROLE';
COMMENT ON COLUMN berth.migration_history.application_name IS 'The application_name of its session';
COMMENT ON COLUMN berth.migration_history.client_addr IS 'Where it came from; the broker, if it came through one';
COMMENT ON COLUMN berth.migration_history.broker_client IS 'The client behind the broker';
COMMENT ON COLUMN berth.migration_history.pid IS 'The backend that was last seen at it';
COMMENT ON COLUMN berth.migration_history.tool IS 'What ran it (info: tool)';
COMMENT ON COLUMN berth.migration_history.tool_version IS 'The version of that (info: tool_version)';
COMMENT ON COLUMN berth.migration_history.source_ref IS 'Where its script is from, as a commit (info: source_ref)';
COMMENT ON COLUMN berth.migration_history.info IS 'What else was given as info';
COMMENT ON COLUMN berth.migration_history.lock_wait IS 'How long lock_tables waited';
COMMENT ON COLUMN berth.migration_history.hold_time IS 'For how long it held locks of lock_tables, to the end of its transaction';
COMMENT ON COLUMN berth.migration_history.lock_attempts IS 'How often lock_tables tried';
COMMENT ON COLUMN berth.migration_history.sqlstate IS 'The error that ended it';
COMMENT ON COLUMN berth.migration_history.message IS 'That error''s text';
COMMENT ON COLUMN berth.migration_history.detail IS 'Its detail';
COMMENT ON COLUMN berth.migration_history.hint IS 'Its hint';
COMMENT ON COLUMN berth.migration_history.context IS 'Its context';
COMMENT ON COLUMN berth.migration_history.failed_step IS 'The step that failed';
COMMENT ON COLUMN berth.migration_history.steps IS 'How many steps it has begun';
COMMENT ON COLUMN berth.migration_history.steps_done IS 'How many of them are done, by this run or by the one that it resumed';
COMMENT ON COLUMN berth.migration_history.rows_done IS 'How many rows its backfills have changed';
COMMENT ON COLUMN berth.migration_history.checks IS 'How many checks and assertions were made';
COMMENT ON COLUMN berth.migration_history.checks_failed IS 'How many of them failed (of severity warn: the others end the run)';
COMMENT ON COLUMN berth.migration_history.ddl_statements IS 'How many statements of the DDL log are its own';
COMMENT ON COLUMN berth.migration_history.outcome IS 'As what it was resolved: applied, reverted, retry or accept';
COMMENT ON COLUMN berth.migration_history.reason IS 'Why it was resolved so';
COMMENT ON COLUMN berth.migration_history.resolved_by IS 'By whom';
COMMENT ON COLUMN berth.migration_history.resolved_at IS 'And when';
COMMENT ON COLUMN berth.migration_history.cluster IS 'Where it ran: system identifier and oid of the database';

CREATE VIEW berth.migration_current AS
  SELECT m.scope, m.version, m.kind, m.state, m.description, m.applied_at, m.applied_by, m.seq, m.out_of_order, m.requires, m.conflicts,
         m.app_min, m.app_max, m.checksum, m.last_run AS run_id, r.mode, r.attempt, r.duration, r.usename, r.role_name, r.application_name,
         r.broker_client, r.tool, r.tool_version, r.source_ref, r.lock_wait, r.hold_time
    FROM berth.migration m LEFT JOIN berth.migration_run r ON r.run_id = m.last_run
   WHERE m.state IN ('applied', 'expanded', 'contracted');
COMMENT ON VIEW berth.migration_current IS 'What is applied now, and the run that applied it';
COMMENT ON COLUMN berth.migration_current.scope IS 'The scope';
COMMENT ON COLUMN berth.migration_current.version IS 'The version';
COMMENT ON COLUMN berth.migration_current.kind IS 'versioned, repeatable or baseline';
COMMENT ON COLUMN berth.migration_current.state IS 'applied; expanded: its contraction is still to come; contracted: it came';
COMMENT ON COLUMN berth.migration_current.description IS 'Its description';
COMMENT ON COLUMN berth.migration_current.applied_at IS 'When it was applied last';
COMMENT ON COLUMN berth.migration_current.applied_by IS 'By whom';
COMMENT ON COLUMN berth.migration_current.seq IS 'The order in which versions were applied';
COMMENT ON COLUMN berth.migration_current.out_of_order IS 'Whether a higher version was there before';
COMMENT ON COLUMN berth.migration_current.requires IS 'Versions that it requires';
COMMENT ON COLUMN berth.migration_current.conflicts IS 'Versions that it does not stand beside';
COMMENT ON COLUMN berth.migration_current.app_min IS 'The lowest version of the application that can live with it';
COMMENT ON COLUMN berth.migration_current.app_max IS 'The highest one';
COMMENT ON COLUMN berth.migration_current.checksum IS 'The checksum of its script';
COMMENT ON COLUMN berth.migration_current.run_id IS 'The run that applied it';
COMMENT ON COLUMN berth.migration_current.mode IS 'tx: in one transaction; step: each step by itself';
COMMENT ON COLUMN berth.migration_current.attempt IS 'Which attempt that was';
COMMENT ON COLUMN berth.migration_current.duration IS 'How long it took';
COMMENT ON COLUMN berth.migration_current.usename IS 'Who logged in';
COMMENT ON COLUMN berth.migration_current.role_name IS 'Whose rights it had';
COMMENT ON COLUMN berth.migration_current.application_name IS 'The application_name of its session';
COMMENT ON COLUMN berth.migration_current.broker_client IS 'The client behind the broker';
COMMENT ON COLUMN berth.migration_current.tool IS 'What ran it';
COMMENT ON COLUMN berth.migration_current.tool_version IS 'The version of that';
COMMENT ON COLUMN berth.migration_current.source_ref IS 'Where its script is from';
COMMENT ON COLUMN berth.migration_current.lock_wait IS 'How long lock_tables waited';
COMMENT ON COLUMN berth.migration_current.hold_time IS 'For how long it held locks of lock_tables';

-- How far backends are with what they do, whatever it is. Percentages are those of the phase.
CREATE VIEW berth.progress AS
  SELECT p.pid, p.command, p.phase,
         COALESCE(100.0 * p.blocks_done / NULLIF(p.blocks_total, 0), 100.0 * p.tuples_done / NULLIF(p.tuples_total, 0),
                  100.0 * p.lockers_done / NULLIF(p.lockers_total, 0)) AS percent,
         NULLIF(p.current_locker_pid, 0)::pg_catalog.int4 AS current_locker_pid, p.relid
    FROM pg_catalog.pg_stat_progress_create_index p WHERE p.datname = pg_catalog.current_database()
  UNION ALL
  SELECT p.pid, p.command, p.phase, 100.0 * p.heap_blks_scanned / NULLIF(p.heap_blks_total, 0), NULL, p.relid
    FROM pg_catalog.pg_stat_progress_cluster p WHERE p.datname = pg_catalog.current_database()
  UNION ALL
  SELECT p.pid, 'VACUUM', p.phase, 100.0 * p.heap_blks_scanned / NULLIF(p.heap_blks_total, 0), NULL, p.relid
    FROM pg_catalog.pg_stat_progress_vacuum p WHERE p.datname = pg_catalog.current_database()
  UNION ALL
  SELECT p.pid, p.command, p.type, 100.0 * p.bytes_processed / NULLIF(p.bytes_total, 0), NULL, p.relid
    FROM pg_catalog.pg_stat_progress_copy p WHERE p.datname = pg_catalog.current_database()
  UNION ALL
  SELECT p.pid, 'ANALYZE', p.phase, 100.0 * p.sample_blks_scanned / NULLIF(p.sample_blks_total, 0), NULL, p.relid
    FROM pg_catalog.pg_stat_progress_analyze p WHERE p.datname = pg_catalog.current_database();
COMMENT ON VIEW berth.progress IS 'Backends of this database that report progress, one view for all of pg_stat_progress_*';
COMMENT ON COLUMN berth.progress.pid IS 'The backend';
COMMENT ON COLUMN berth.progress.command IS 'What it executes';
COMMENT ON COLUMN berth.progress.phase IS 'The phase that it is in';
COMMENT ON COLUMN berth.progress.percent IS 'How much of that phase is done';
COMMENT ON COLUMN berth.progress.current_locker_pid IS 'The backend whose transaction a CREATE INDEX CONCURRENTLY waits for';
COMMENT ON COLUMN berth.progress.relid IS 'The table';

-- What is running, with the backend that is at it. A migration in transactional mode is not visible to others before its commit, but
-- for the lock of its scope: it has no number and no version here.
CREATE FUNCTION berth.running()
RETURNS TABLE (run_id pg_catalog.int8, scope pg_catalog.text, version pg_catalog.text, direction pg_catalog.text, mode pg_catalog.text,
               started_at pg_catalog.timestamptz, usename pg_catalog.name, pid pg_catalog.int4, step_no pg_catalog.int4,
               lease_expires_at pg_catalog.timestamptz, interrupted pg_catalog.bool)
LANGUAGE sql VOLATILE SECURITY DEFINER ROWS 5 SET search_path = pg_catalog, pg_temp AS $$
  WITH busy AS MATERIALIZED (SELECT b.* FROM berth.busy_backends() b), held AS MATERIALIZED (
    SELECT l.pid, l.objid::int8 AS hash, a.xact_start, a.usesysid FROM pg_locks l LEFT JOIN pg_stat_get_activity(NULL) a ON a.pid = l.pid
     WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 1650815592 AND l.objsubid = 2
       AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
  )
  SELECT r.run_id, r.scope, r.version, r.direction, r.mode, r.started_at, r.usename, coalesce(b.pid, r.pid), s.step_no, l.expires_at,
         r.mode = 'step' AND (r.cluster <> berth.cluster() OR l.scope IS NULL OR NOT berth.lease_is_live(l))
    FROM berth.migration_run r
    LEFT JOIN berth.migration_lease l ON l.scope = r.scope AND l.run_id = r.run_id
    LEFT JOIN LATERAL (SELECT b.pid, b.step_no FROM busy b WHERE b.run_id = r.run_id LIMIT 1) b ON true
    LEFT JOIN LATERAL (SELECT coalesce(b.step_no, (SELECT max(t.step_no) FROM berth.migration_step t WHERE t.run_id = r.run_id
                                                     AND t.status = 'running')) AS step_no) s ON true
   WHERE r.status = 'running'
  UNION ALL
  SELECT NULL, k.scope, NULL, NULL, 'tx', h.xact_start, pg_get_userbyid(h.usesysid), h.pid, NULL, NULL, false
    FROM held h
    LEFT JOIN (SELECT m.scope FROM berth.migration m UNION SELECT p.scope FROM berth.migration_plan p UNION SELECT 'default') k
      ON h.hash = (hashtext(k.scope)::int8 & 4294967295)
   WHERE NOT EXISTS (SELECT FROM berth.migration_run r WHERE r.status = 'running' AND r.scope = k.scope)
$$;
COMMENT ON FUNCTION berth.running() IS 'Internal: what is running, without what only some may see';

CREATE VIEW berth.migration_running AS
  SELECT r.run_id, r.scope, r.version, r.direction, r.mode, r.started_at, pg_catalog.clock_timestamp() - r.started_at AS elapsed, r.usename,
         r.interrupted, r.lease_expires_at, r.step_no, s.label AS step_label, s.kind AS step_kind, s.started_at AS step_started_at,
         COALESCE(p.command, s.kind) AS command, p.phase,
         pg_catalog.round(COALESCE(p.percent, 100.0 * s.rows_done / NULLIF(s.rows_total, 0)), 1) AS percent, s.rows_done, s.rows_total, r.pid,
         a.application_name, a.broker, a.client_id, a.state, a.wait_event_type, a.wait_event, a.query, p.current_locker_pid,
         w.pids AS blocked_by, w.blockers
    FROM berth.running() r
    LEFT JOIN berth.migration_step s ON s.run_id = r.run_id AND s.step_no = r.step_no
    LEFT JOIN berth.progress p ON p.pid = r.pid AND NOT r.interrupted
    CROSS JOIN LATERAL (SELECT ARRAY(SELECT pg_catalog.unnest(pg_catalog.pg_blocking_pids(r.pid)) WHERE NOT r.interrupted
                                     UNION SELECT p.current_locker_pid WHERE p.current_locker_pid IS NOT NULL) AS pids) b
    LEFT JOIN LATERAL (
      SELECT (pg_catalog.array_agg(o.application_name) FILTER (WHERE o.pid = r.pid))[1] AS application_name,
             pg_catalog.max(o.broker) FILTER (WHERE o.pid = r.pid) AS broker, pg_catalog.max(o.client_id) FILTER (WHERE o.pid = r.pid) AS client_id,
             pg_catalog.max(o.state) FILTER (WHERE o.pid = r.pid) AS state,
             pg_catalog.max(o.wait_event_type) FILTER (WHERE o.pid = r.pid) AS wait_event_type,
             pg_catalog.max(o.wait_event) FILTER (WHERE o.pid = r.pid) AS wait_event, pg_catalog.max(o.query) FILTER (WHERE o.pid = r.pid) AS query,
             pg_catalog.string_agg(pg_catalog.concat('pid ', o.pid, ' ' || o.usename, ' ' || NULLIF(o.application_name, ''), ', ' || o.state,
               ' for ' || pg_catalog.date_trunc('second', o.transaction_age), ', ' || o.broker || ' client ' || o.client_id,
               ' ' || o.origin_addr || ':' || o.origin_port, ' ' || o.origin_application), '; ' ORDER BY o.pid)
               FILTER (WHERE o.pid = ANY (b.pids)) AS blockers
        FROM berth.activity o WHERE NOT r.interrupted AND (o.pid = r.pid OR o.pid = ANY (b.pids))
    ) a ON true
    CROSS JOIN LATERAL (SELECT NULLIF(b.pids, '{}') AS pids, a.blockers) w;
COMMENT ON VIEW berth.migration_running IS
  'Migrations that go on: their step, how far it is, what it waits for and who is in the way. One in transactional mode that is not yet '
  'committed has no version here: it is seen by its lock only';
COMMENT ON COLUMN berth.migration_running.run_id IS 'Its number; null in transactional mode';
COMMENT ON COLUMN berth.migration_running.scope IS 'Its scope';
COMMENT ON COLUMN berth.migration_running.version IS 'Its version';
COMMENT ON COLUMN berth.migration_running.direction IS 'apply or revert';
COMMENT ON COLUMN berth.migration_running.mode IS 'tx: in one transaction; step: each step by itself';
COMMENT ON COLUMN berth.migration_running.started_at IS 'When it began';
COMMENT ON COLUMN berth.migration_running.elapsed IS 'How long ago that is';
COMMENT ON COLUMN berth.migration_running.usename IS 'Who logged in';
COMMENT ON COLUMN berth.migration_running.interrupted IS 'Whether nobody is at it any more: its lease has ended, so start it again or resolve it';
COMMENT ON COLUMN berth.migration_running.lease_expires_at IS 'When its lease ends if nobody renews it; it may live on by its backend';
COMMENT ON COLUMN berth.migration_running.step_no IS 'The step that it is at; null: between steps';
COMMENT ON COLUMN berth.migration_running.step_label IS 'What that step is called';
COMMENT ON COLUMN berth.migration_running.step_kind IS 'sql, index, backfill or validate';
COMMENT ON COLUMN berth.migration_running.step_started_at IS 'When the step began';
COMMENT ON COLUMN berth.migration_running.command IS 'What its backend executes, if that tells of its progress';
COMMENT ON COLUMN berth.migration_running.phase IS 'The phase of that';
COMMENT ON COLUMN berth.migration_running.percent IS 'How much is done: of that phase, or of a backfill''s rows';
COMMENT ON COLUMN berth.migration_running.rows_done IS 'Rows that a backfill has changed';
COMMENT ON COLUMN berth.migration_running.rows_total IS 'How many there were at its start, estimated';
COMMENT ON COLUMN berth.migration_running.pid IS 'The backend that is at it, or was seen at it last';
COMMENT ON COLUMN berth.migration_running.application_name IS 'The application_name of that backend';
COMMENT ON COLUMN berth.migration_running.broker IS 'The broker whose backend it is';
COMMENT ON COLUMN berth.migration_running.client_id IS 'The client behind that broker';
COMMENT ON COLUMN berth.migration_running.state IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.migration_running.wait_event_type IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.migration_running.wait_event IS 'As in pg_stat_activity';
COMMENT ON COLUMN berth.migration_running.query IS 'As in pg_stat_activity: of others only for members of pg_read_all_stats';
COMMENT ON COLUMN berth.migration_running.current_locker_pid IS 'The backend whose transaction a CREATE INDEX CONCURRENTLY waits for';
COMMENT ON COLUMN berth.migration_running.blocked_by IS 'The backends that it waits for';
COMMENT ON COLUMN berth.migration_running.blockers IS 'Who they are, with the client behind the broker';

-- Scopes side by side. One with a plan is measured by it; the others by the scope that is ahead of all.
CREATE VIEW berth.tenants AS
  WITH state AS MATERIALIZED (SELECT s.* FROM berth.migration_status(NULL) s),
  applied AS MATERIALIZED (
    SELECT DISTINCT ON (m.scope) m.scope, m.version, m.sort_key, m.applied_at FROM berth.migration m
     WHERE m.state IN ('applied', 'expanded', 'contracted') AND m.kind <> 'repeatable' ORDER BY m.scope, m.sort_key DESC
  ), ahead AS MATERIALIZED (SELECT a.scope FROM applied a ORDER BY a.sort_key DESC, a.scope LIMIT 1),
  counted AS (
    SELECT s.scope, pg_catalog.count(*) FILTER (WHERE s.state IN ('applied', 'drifted')) AS applied,
           pg_catalog.count(*) FILTER (WHERE s.state IN ('pending', 'running', 'failed', 'interrupted')) AS open,
           pg_catalog.array_agg(s.version || ' ' || s.state) FILTER (WHERE s.state IN ('running', 'failed', 'interrupted', 'drifted')) AS problems
      FROM state s GROUP BY s.scope
  ), lag AS (
    SELECT c.scope, pg_catalog.count(*) AS lacking FROM counted c
      JOIN berth.migration l ON l.scope = (SELECT h.scope FROM ahead h) AND l.kind <> 'repeatable' AND l.state IN ('applied', 'expanded', 'contracted')
     WHERE NOT EXISTS (SELECT FROM berth.migration m WHERE m.scope = c.scope AND m.version = l.version
                          AND m.state IN ('applied', 'expanded', 'contracted'))
       AND l.sort_key > COALESCE((SELECT pg_catalog.max(b.sort_key) FROM berth.migration b
                                   WHERE b.scope = c.scope AND b.kind = 'baseline' AND b.state = 'applied'), '')
     GROUP BY c.scope
  )
  SELECT c.scope, a.version AS last_version, a.applied_at AS last_applied_at, c.applied,
         CASE WHEN p.planned THEN c.open ELSE COALESCE(g.lacking, 0) END AS behind,
         CASE WHEN p.planned THEN 'plan' ELSE (SELECT h.scope FROM ahead h) END AS behind_what, c.problems
    FROM counted c
    CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM berth.migration_plan p WHERE p.scope = c.scope) AS planned) p
    LEFT JOIN applied a ON a.scope = c.scope
    LEFT JOIN lag g ON g.scope = c.scope;
COMMENT ON VIEW berth.tenants IS 'Each scope: its last version, and how many versions it is behind its plan, or behind the scope that is ahead';
COMMENT ON COLUMN berth.tenants.scope IS 'The scope';
COMMENT ON COLUMN berth.tenants.last_version IS 'The highest version that is applied';
COMMENT ON COLUMN berth.tenants.last_applied_at IS 'When that was applied';
COMMENT ON COLUMN berth.tenants.applied IS 'How many versions are applied';
COMMENT ON COLUMN berth.tenants.behind IS 'How many are lacking';
COMMENT ON COLUMN berth.tenants.behind_what IS 'By what that is measured: plan, or the name of a scope';
COMMENT ON COLUMN berth.tenants.problems IS 'Versions that are running, failed, interrupted or drifted';
