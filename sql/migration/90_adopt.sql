-- Other tools' histories -------------------------------------------------------------------------------------------------

-- Triggers on the history table of another tool keep berth.migration in step with it. Three rules hold for all of them.
--   They never break the tool: whatever goes wrong is a warning, and a wait for the journal is short.
--   They run with the rights of the extension's owner, on a table whose columns its owner may turn into anything. Values are
--   therefore taken by format('%s'), which calls output functions only; a cast would call a function that somebody made.
--   They leave out COPY: no tool writes its history so, but a restore does, and berth.migration is in the dump already.

-- What each tool calls its table, what that must have, and how its rows are read when it is taken over. Of several rows of a
-- version the last one counts.
CREATE FUNCTION berth.adoptable()
RETURNS TABLE (tool pg_catalog.text, usual pg_catalog.text, needs pg_catalog.text[], events pg_catalog.text[], source pg_catalog.text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  VALUES
    ('golang-migrate', 'public.schema_migrations', '{version,dirty}'::text[], '{INSERT OR UPDATE/ROW,DELETE OR TRUNCATE/STATEMENT}'::text[],
     'SELECT format(''%s'', t.version), ''baseline'', NULL, NULL, NULL, NULL, NULL, NULL, CASE format(''%s'', t.dirty) WHEN ''t'' THEN
             ''failed'' WHEN ''f'' THEN ''applied'' END, ''table is marked dirty'' FROM ONLY %s t WHERE format(''%s'', t.version) <> ''-1'''),
    ('flyway', 'public.flyway_schema_history',
     '{installed_rank,version,description,type,script,checksum,installed_by,installed_on,execution_time,success}',
     '{INSERT OR UPDATE OR DELETE/ROW}',
     'SELECT f.version, f.kind, f.description, f.checksum, NULL, NULL, format(''%s'', t.installed_on), format(''%s'', t.installed_by),
             f.state, ''flyway recorded a failure; its log has the error'' FROM ONLY %s t CROSS JOIN LATERAL berth.flyway_row(
             format(''%s'', t.version), format(''%s'', t.description), format(''%s'', t.type), format(''%s'', t.script),
             format(''%s'', t.checksum), format(''%s'', t.success)) f ORDER BY t.installed_rank'),
    ('dbmate', 'public.schema_migrations', '{version}', '{INSERT OR DELETE/ROW}',
     'SELECT format(''%s'', t.version), ''versioned'', NULL, NULL, NULL, NULL, NULL, NULL, ''applied'', NULL FROM ONLY %s t ORDER BY 1'),
    ('node-pg-migrate', 'public.pgmigrations', '{name,run_on}', '{INSERT OR DELETE/ROW}',
     'SELECT format(''%s'', t.name), ''versioned'', NULL, NULL, NULL, NULL, format(''%s'', t.run_on), NULL, ''applied'', NULL
        FROM ONLY %s t ORDER BY t.run_on'),
    ('sqitch', 'sqitch.events', '{event,change_id,change,project,note,requires,conflicts,committed_at,committer_name}', '{INSERT/ROW}',
     'SELECT format(''%s:%s'', t.project, t.change), ''versioned'', format(''%s'', t.note), NULL,
             berth.sqitch_names(format(''%s'', t.project), format(''%s'', t.requires))::text,
             berth.sqitch_names(format(''%s'', t.project), format(''%s'', t.conflicts))::text, format(''%s'', t.committed_at),
             format(''%s'', t.committer_name), CASE format(''%s'', t.event) WHEN ''revert'' THEN ''reverted'' WHEN ''fail'' THEN ''failed''
             ELSE ''applied'' END, ''sqitch recorded a failure; its output has the error'' FROM ONLY %s t ORDER BY t.committed_at'),
    ('liquibase', 'public.databasechangelog', '{id,author,filename,dateexecuted,orderexecuted,exectype,md5sum,comments,liquibase}',
     '{INSERT OR UPDATE OR DELETE/ROW}',
     'SELECT format(''%s::%s::%s'', t.filename, t.id, t.author), ''versioned'', format(''%s'', t.comments),
             ''liquibase:'' || nullif(format(''%s'', t.md5sum), ''''), NULL, NULL, format(''%s'', t.dateexecuted), NULL,
             CASE format(''%s'', t.exectype) WHEN ''SKIPPED'' THEN ''reverted'' WHEN ''FAILED'' THEN ''failed'' ELSE ''applied'' END,
             ''liquibase recorded a failure; its log has the error'' FROM ONLY %s t ORDER BY t.orderexecuted')
$$;
COMMENT ON FUNCTION berth.adoptable() IS 'Internal: the tools that berth.adopt() knows';

-- What a row of Flyway says. Those of a schema or of the table itself say nothing of a migration.
CREATE FUNCTION berth.flyway_row(version pg_catalog.text, description pg_catalog.text, type pg_catalog.text, script pg_catalog.text,
                                 checksum pg_catalog.text, success pg_catalog.text)
RETURNS TABLE (version pg_catalog.text, kind pg_catalog.text, description pg_catalog.text, checksum pg_catalog.text, state pg_catalog.text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(nullif($1, ''), $4), CASE WHEN $1 = '' THEN 'repeatable' WHEN $3 LIKE '%BASELINE' THEN 'baseline' ELSE 'versioned' END,
         $2, 'flyway:' || nullif($5, ''),
         CASE WHEN $6 = 'f' THEN 'failed' WHEN $3 = 'DELETE' OR $3 LIKE 'UNDO%' THEN 'reverted' ELSE 'applied' END
   WHERE $3 NOT IN ('SCHEMA', 'TABLE')
$$;
COMMENT ON FUNCTION berth.flyway_row(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text,
                                     pg_catalog.text) IS 'Internal: what a row of flyway_schema_history says';

-- Sqitch names a change of the same project without it, and may add a tag: users, users@v1, other:users.
CREATE FUNCTION berth.sqitch_names(project pg_catalog.text, names pg_catalog.text) RETURNS pg_catalog.text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(array_agg(CASE WHEN strpos(n.name, ':') > 0 THEN n.name ELSE $1 || ':' || n.name END ORDER BY n.number)
                    FILTER (WHERE n.name <> ''), '{}')
    FROM (SELECT split_part(u.name, '@', 1) AS name, u.number FROM unnest($2::text[]) WITH ORDINALITY u (name, number)) n
$$;
COMMENT ON FUNCTION berth.sqitch_names(pg_catalog.text, pg_catalog.text) IS 'Internal: names of changes with their project';

CREATE FUNCTION berth.is_copy() RETURNS pg_catalog.bool
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT current_query() ~* '^\s*copy\s' $$;
COMMENT ON FUNCTION berth.is_copy() IS 'Internal: whether the statement is a COPY';

-- Why a tool's row is not in the journal. The tool goes on.
CREATE FUNCTION berth.not_recorded(rel pg_catalog.regclass, sqlstate pg_catalog.text, message pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE WARNING 'berth could not record what happened to %: %', $1, $3
    USING DETAIL = format('SQLSTATE %s. The table itself is as its tool wanted it.', $2),
          HINT = format('Afterwards SELECT berth.adopt(...) for %s takes over what is missing; berth.unadopt(%L) ends it.', $1, $1);
END $$;
COMMENT ON FUNCTION berth.not_recorded(pg_catalog.regclass, pg_catalog.text, pg_catalog.text) IS 'Internal: warns';

-- A run that another tool has told of when it was over.
CREATE FUNCTION berth.adopted_run(scope pg_catalog.text, version pg_catalog.text, direction pg_catalog.text, mode pg_catalog.text,
                                  status pg_catalog.text, began pg_catalog.timestamptz, info pg_catalog.jsonb, request pg_catalog.jsonb,
                                  message pg_catalog.text DEFAULT NULL)
RETURNS pg_catalog.int8
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  run int8;
BEGIN
  run := berth.open_run($1, $2, $3, $4, $7, $8);
  UPDATE berth.migration_run r SET status = $5, started_at = least(coalesce($6, r.started_at), r.started_at),
         finished_at = clock_timestamp(), message = $9 WHERE r.run_id = run;
  PERFORM berth.adopted_ddl(run);
  RETURN run;
END $$;
COMMENT ON FUNCTION berth.adopted_run(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text,
                                      pg_catalog.timestamptz, pg_catalog.jsonb, pg_catalog.jsonb, pg_catalog.text) IS
  'Internal: a run of another tool, which is over';

-- Tools tell of a migration after its DDL: what this transaction did before, what this session did since the last run, and what
-- the psql did that sqitch starts while it holds the lock on its own table.
CREATE FUNCTION berth.adopted_ddl(run pg_catalog.int8) RETURNS pg_catalog.void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE berth.ddl_log d SET run_id = $1
    FROM berth.migration_run r
   WHERE r.run_id = $1 AND d.run_id IS NULL AND NOT d.in_extension AND d.usename = r.usename AND
         ((d.at >= transaction_timestamp() AND (d.xid = r.xid OR (r.tool = 'sqitch' AND d.application_name = 'psql')))
          OR (d.pid = r.pid AND d.application_name = r.application_name AND d.at >= r.backend_start AND d.at > coalesce(
              (SELECT max(o.finished_at) FROM berth.migration_run o WHERE o.scope = r.scope AND o.run_id < r.run_id), '-infinity')))
$$;
COMMENT ON FUNCTION berth.adopted_ddl(pg_catalog.int8) IS 'Internal: the DDL that belongs to a run of another tool';

-- `again` is for what is applied anew without having been undone. Otherwise an applied version is known already: a restore, or a
-- script that called migrate_once() for it.
CREATE FUNCTION berth.adopted_apply(scope pg_catalog.text, version pg_catalog.text, began pg_catalog.timestamptz, info pg_catalog.jsonb,
                                    request pg_catalog.jsonb, ordered pg_catalog.bool, again pg_catalog.bool DEFAULT false)
RETURNS pg_catalog.void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  IF NOT $7 AND EXISTS (SELECT FROM berth.migration m WHERE m.scope = $1 AND m.version = $2 AND m.state NOT IN ('reverted', 'skipped')) THEN
    RETURN;
  END IF;
  PERFORM berth.supersede($1, $2);
  PERFORM berth.record_applied(berth.adopted_run($1, $2, 'apply', 'tx', 'done', $3, $4, $5 || jsonb_build_object('out_of_order',
    $6 AND $5 ->> 'kind' = 'versioned' AND EXISTS (
      SELECT FROM berth.migration m WHERE m.scope = $1 AND m.kind <> 'repeatable' AND m.state NOT IN ('reverted', 'skipped')
         AND m.sort_key > berth.version_key($2)))), 'applied');
END $$;
COMMENT ON FUNCTION berth.adopted_apply(pg_catalog.text, pg_catalog.text, pg_catalog.timestamptz, pg_catalog.jsonb, pg_catalog.jsonb,
                                        pg_catalog.bool, pg_catalog.bool) IS 'Internal: another tool has applied a version';

CREATE FUNCTION berth.adopted_revert(scope pg_catalog.text, version pg_catalog.text, began pg_catalog.timestamptz, info pg_catalog.jsonb)
RETURNS pg_catalog.void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  IF EXISTS (SELECT FROM berth.migration m WHERE m.scope = $1 AND m.version = $2 AND m.state NOT IN ('reverted', 'skipped')) THEN
    UPDATE berth.migration m SET state = 'reverted', last_run = berth.adopted_run($1, $2, 'revert', 'tx', 'done', $3, $4, '{}')
     WHERE m.scope = $1 AND m.version = $2;
  END IF;
END $$;
COMMENT ON FUNCTION berth.adopted_revert(pg_catalog.text, pg_catalog.text, pg_catalog.timestamptz, pg_catalog.jsonb) IS
  'Internal: another tool has undone a version';

-- dbmate, and node-pg-migrate -----------------------------------------------------------------------------------------------

CREATE FUNCTION berth.adopted_dbmate() RETURNS pg_catalog.trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
  IF berth.is_copy() THEN
    RETURN NULL;
  ELSIF TG_OP = 'INSERT' THEN
    PERFORM berth.adopted_apply(TG_ARGV[0], format('%s', NEW.version), transaction_timestamp(), '{"tool": "dbmate"}',
                                '{"kind": "versioned"}', true);
  ELSE
    PERFORM berth.adopted_revert(TG_ARGV[0], format('%s', OLD.version), transaction_timestamp(), '{"tool": "dbmate"}');
  END IF;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  PERFORM berth.not_recorded(TG_RELID::regclass, SQLSTATE, SQLERRM);
  RETURN NULL;
END $$;
COMMENT ON FUNCTION berth.adopted_dbmate() IS 'Internal: the trigger on the table of dbmate, and of Rails, which has the same';

CREATE FUNCTION berth.adopted_node_pg_migrate() RETURNS pg_catalog.trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
  IF berth.is_copy() THEN
    RETURN NULL;
  ELSIF TG_OP = 'INSERT' THEN
    PERFORM berth.adopted_apply(TG_ARGV[0], format('%s', NEW.name), transaction_timestamp(), '{"tool": "node-pg-migrate"}',
                                '{"kind": "versioned"}', true);
  ELSE
    PERFORM berth.adopted_revert(TG_ARGV[0], format('%s', OLD.name), transaction_timestamp(), '{"tool": "node-pg-migrate"}');
  END IF;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  PERFORM berth.not_recorded(TG_RELID::regclass, SQLSTATE, SQLERRM);
  RETURN NULL;
END $$;
COMMENT ON FUNCTION berth.adopted_node_pg_migrate() IS 'Internal: the trigger on the table of node-pg-migrate';

-- Flyway --------------------------------------------------------------------------------------------------------------------

-- A failed row is written for a migration without a transaction, which stands half done until `flyway repair` deletes the row.
CREATE FUNCTION berth.adopted_flyway() RETURNS pg_catalog.trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  told record;
  request jsonb;
  info jsonb := '{"tool": "flyway"}';
  began timestamptz;
BEGIN
  IF berth.is_copy() THEN
    RETURN NULL;
  ELSIF TG_OP = 'DELETE' THEN
    SELECT * INTO told FROM berth.flyway_row(format('%s', OLD.version), format('%s', OLD.description), format('%s', OLD.type),
      format('%s', OLD.script), format('%s', OLD.checksum), format('%s', OLD.success));
    IF told.state = 'failed' THEN
      PERFORM berth.adopted_repair(TG_ARGV[0], told.version, 'flyway repair');
    ELSIF told.state = 'applied' THEN
      PERFORM berth.adopted_revert(TG_ARGV[0], told.version, NULL, info);
    END IF;
    RETURN NULL;
  END IF;
  SELECT * INTO told FROM berth.flyway_row(format('%s', NEW.version), format('%s', NEW.description), format('%s', NEW.type),
    format('%s', NEW.script), format('%s', NEW.checksum), format('%s', NEW.success));
  began := clock_timestamp() - make_interval(secs => coalesce(nullif(format('%s', NEW.execution_time), '')::float8, 0) / 1000);
  info := info || jsonb_build_object('source_ref', format('%s', NEW.script));
  request := jsonb_build_object('kind', told.kind, 'description', told.description, 'checksum', told.checksum);
  IF TG_OP = 'UPDATE' THEN  -- repair gives an applied row the checksum of its file
    UPDATE berth.migration m SET checksum = told.checksum, description = told.description
     WHERE m.scope = TG_ARGV[0] AND m.version = told.version AND told.state = 'applied';
  ELSIF told.state = 'applied' THEN
    PERFORM berth.adopted_apply(TG_ARGV[0], told.version, began, info, request, true, told.kind = 'repeatable');
  ELSIF told.state = 'reverted' THEN
    PERFORM berth.adopted_revert(TG_ARGV[0], told.version, began, info);
  ELSIF told.state = 'failed' THEN
    PERFORM berth.adopted_run(TG_ARGV[0], told.version, 'apply', 'step', 'failed', began, info, request,
                              'flyway recorded a failure; its log has the error');
  END IF;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  PERFORM berth.not_recorded(TG_RELID::regclass, SQLSTATE, SQLERRM);
  RETURN NULL;
END $$;
COMMENT ON FUNCTION berth.adopted_flyway() IS 'Internal: the trigger on the table of Flyway';

CREATE FUNCTION berth.adopted_repair(scope pg_catalog.text, version pg_catalog.text, reason pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE berth.migration_run r SET status = 'resolved', outcome = 'reverted', reason = $3, resolved_by = session_user,
         resolved_at = clock_timestamp()
   WHERE r.scope = $1 AND r.version = $2 AND r.status = 'failed'
$$;
COMMENT ON FUNCTION berth.adopted_repair(pg_catalog.text, pg_catalog.text, pg_catalog.text) IS
  'Internal: another tool''s failed run was resolved by that tool';

-- Sqitch --------------------------------------------------------------------------------------------------------------------

-- A change that was reworked is deployed twice under one name: undoing the second one leaves the first.
CREATE FUNCTION berth.adopted_sqitch() RETURNS pg_catalog.trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  name text;
  event text;
  info jsonb;
  request jsonb;
BEGIN
  IF berth.is_copy() THEN
    RETURN NULL;
  END IF;
  event := format('%s', NEW.event);
  name := format('%s:%s', NEW.project, NEW.change);
  info := jsonb_build_object('tool', 'sqitch', 'change_id', format('%s', NEW.change_id), 'committer', format('%s', NEW.committer_name));
  request := jsonb_build_object('kind', 'versioned', 'description', nullif(format('%s', NEW.note), ''),
    'requires', to_jsonb(berth.sqitch_names(format('%s', NEW.project), format('%s', NEW.requires))),
    'conflicts', to_jsonb(berth.sqitch_names(format('%s', NEW.project), format('%s', NEW.conflicts))));
  IF event IN ('deploy', 'merge') THEN
    PERFORM berth.adopted_apply(TG_ARGV[0], name, transaction_timestamp(), info, request, false, true);
  ELSIF event = 'fail' THEN
    PERFORM berth.adopted_run(TG_ARGV[0], name, 'apply', 'tx', 'failed', transaction_timestamp(), info, request,
                              'sqitch recorded a failure; its output has the error');
  ELSIF event = 'revert' AND EXISTS (
      SELECT FROM berth.migration_run r WHERE r.scope = TG_ARGV[0] AND r.version = name AND r.direction = 'apply' AND r.status = 'done'
         AND r.info ->> 'change_id' <> format('%s', NEW.change_id) AND NOT EXISTS (
           SELECT FROM berth.migration_run o WHERE o.scope = r.scope AND o.version = r.version AND o.direction = 'revert'
              AND o.run_id > r.run_id AND o.info ->> 'change_id' = r.info ->> 'change_id')) THEN
    PERFORM berth.adopted_run(TG_ARGV[0], name, 'revert', 'tx', 'done', transaction_timestamp(), info, '{}');
  ELSIF event = 'revert' THEN
    PERFORM berth.adopted_revert(TG_ARGV[0], name, transaction_timestamp(), info);
  END IF;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  PERFORM berth.not_recorded(TG_RELID::regclass, SQLSTATE, SQLERRM);
  RETURN NULL;
END $$;
COMMENT ON FUNCTION berth.adopted_sqitch() IS 'Internal: the trigger on the events of Sqitch';

-- Liquibase -----------------------------------------------------------------------------------------------------------------

-- A change set that runs again is an update of its row; other updates set tags or forget checksums.
CREATE FUNCTION berth.adopted_liquibase() RETURNS pg_catalog.trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  name text;
  type text;
  sum text;
  info jsonb;
BEGIN
  IF berth.is_copy() THEN
    RETURN NULL;
  ELSIF TG_OP = 'DELETE' THEN
    name := format('%s::%s::%s', OLD.filename, OLD.id, OLD.author);
    PERFORM berth.adopted_revert(TG_ARGV[0], name, transaction_timestamp(), '{"tool": "liquibase"}');
    RETURN NULL;
  END IF;
  name := format('%s::%s::%s', NEW.filename, NEW.id, NEW.author);
  type := format('%s', NEW.exectype);
  sum := 'liquibase:' || nullif(format('%s', NEW.md5sum), '');
  info := jsonb_build_object('tool', 'liquibase', 'tool_version', nullif(format('%s', NEW.liquibase), ''), 'exectype', type);
  IF type = 'SKIPPED' OR (TG_OP = 'UPDATE' AND format('%s', NEW.orderexecuted) = format('%s', OLD.orderexecuted)) THEN
    UPDATE berth.migration m SET checksum = sum WHERE m.scope = TG_ARGV[0] AND m.version = name;
  ELSIF type = 'FAILED' THEN
    PERFORM berth.adopted_run(TG_ARGV[0], name, 'apply', 'tx', 'failed', transaction_timestamp(), info, '{}',
                              'liquibase recorded a failure; its log has the error');
  ELSE
    PERFORM berth.adopted_apply(TG_ARGV[0], name, transaction_timestamp(), info, jsonb_build_object('kind', 'versioned',
      'description', nullif(format('%s', NEW.comments), ''), 'checksum', sum), false, TG_OP = 'UPDATE');
  END IF;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  PERFORM berth.not_recorded(TG_RELID::regclass, SQLSTATE, SQLERRM);
  RETURN NULL;
END $$;
COMMENT ON FUNCTION berth.adopted_liquibase() IS 'Internal: the trigger on the table of Liquibase';

-- golang-migrate ------------------------------------------------------------------------------------------------------------

-- Its table has one row: the version, and whether it is still on the way there (dirty). It writes by TRUNCATE and INSERT, or by
-- TRUNCATE alone for "no version". So the triggers only note what they saw, and the end of the transaction is what counts.
CREATE TABLE berth.adopted_position (
  rel     pg_catalog.oid PRIMARY KEY,
  scope   pg_catalog.text NOT NULL,
  version pg_catalog.text NOT NULL,          -- -1: none
  dirty   pg_catalog.bool NOT NULL
);
COMMENT ON TABLE berth.adopted_position IS 'What the tables of golang-migrate said last; not part of a dump';

CREATE FUNCTION berth.adopted_golang_migrate() RETURNS pg_catalog.trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
  IF NOT berth.is_copy() THEN
    INSERT INTO berth.adopted_position AS p (rel, scope, version, dirty)
      VALUES (TG_RELID, TG_ARGV[0], CASE TG_LEVEL WHEN 'ROW' THEN format('%s', NEW.version) ELSE '-1' END,
              CASE TG_LEVEL WHEN 'ROW' THEN format('%s', NEW.dirty) = 't' ELSE false END)
      ON CONFLICT ON CONSTRAINT adopted_position_pkey
      DO UPDATE SET scope = excluded.scope, version = excluded.version, dirty = excluded.dirty;
  END IF;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  PERFORM berth.not_recorded(TG_RELID::regclass, SQLSTATE, SQLERRM);
  RETURN NULL;
END $$;
COMMENT ON FUNCTION berth.adopted_golang_migrate() IS 'Internal: the trigger on the table of golang-migrate';

CREATE FUNCTION berth.adopted_golang_seen() RETURNS pg_catalog.trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  seen berth.adopted_position;
BEGIN
  SELECT * INTO STRICT seen FROM berth.adopted_position p WHERE p.rel = NEW.rel;
  PERFORM berth.adopted_golang_now(seen.scope, seen.version, seen.dirty);
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  PERFORM berth.not_recorded(NEW.rel::regclass, SQLSTATE, SQLERRM);
  RETURN NULL;
END $$;
COMMENT ON FUNCTION berth.adopted_golang_seen() IS 'Internal: what golang-migrate''s table says at the end of a transaction';

CREATE CONSTRAINT TRIGGER adopted_position_seen AFTER INSERT OR UPDATE ON berth.adopted_position DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION berth.adopted_golang_seen();

-- The highest version that golang-migrate has applied to a scope, as far as the journal knows.
CREATE FUNCTION berth.adopted_golang_version(scope pg_catalog.text) RETURNS pg_catalog.text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT m.version FROM berth.migration m JOIN berth.migration_run r ON r.run_id = m.last_run
   WHERE m.scope = $1 AND r.tool = 'golang-migrate' AND m.state NOT IN ('reverted', 'skipped')
   ORDER BY m.sort_key DESC LIMIT 1
$$;
COMMENT ON FUNCTION berth.adopted_golang_version(pg_catalog.text) IS 'Internal: the version of a scope of golang-migrate';

-- Dirty: a run towards this version begins, up if it is higher than what is applied, else down. Clean: the run towards this
-- version is over. Clean without such a run: somebody forced it, or repaired the table by hand.
CREATE FUNCTION berth.adopted_golang_now(scope pg_catalog.text, version pg_catalog.text, dirty pg_catalog.bool) RETURNS pg_catalog.void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  info CONSTANT jsonb := '{"tool": "golang-migrate"}';
  begun berth.migration_run;
  stands text := berth.adopted_golang_version($1);
  up bool := coalesce(berth.version_key($2) COLLATE "C" >= berth.version_key(stands), true) AND $2 <> '-1';
  run int8;
BEGIN
  SELECT * INTO begun FROM berth.migration_run r
   WHERE r.scope = $1 AND r.tool = 'golang-migrate' AND r.mode = 'step' AND r.status IN ('running', 'failed', 'interrupted')
   ORDER BY r.run_id DESC LIMIT 1;
  IF $3 AND begun.request ->> 'target' = $2 THEN
    RETURN;  -- this one is known already
  END IF;
  IF begun.run_id IS NOT NULL THEN
    PERFORM berth.adopted_golang_end(begun, $2, NOT $3);
  END IF;
  IF $3 THEN
    run := berth.open_run($1, CASE WHEN up THEN $2 ELSE coalesce(stands, $2) END, CASE WHEN up THEN 'apply' ELSE 'revert' END, 'step',
                          info, jsonb_build_object('kind', 'versioned', 'target', $2));
    PERFORM berth.adopted_golang_lease(run);
  ELSIF stands IS DISTINCT FROM nullif($2, '-1') THEN
    -- A run that went up has its row by now; what is left is to undo what is higher, and to know the version itself.
    run := CASE WHEN begun.request ->> 'target' = $2 THEN begun.run_id
                WHEN berth.adopted_golang_version($1) IS DISTINCT FROM nullif($2, '-1') THEN
                  berth.adopted_run($1, CASE WHEN $2 = '-1' THEN stands ELSE $2 END, 'repair', 'tx', 'done', NULL, info, '{}') END;
    UPDATE berth.migration m SET state = 'reverted', last_run = run
     WHERE m.scope = $1 AND m.state NOT IN ('reverted', 'skipped') AND m.sort_key > berth.version_key($2)
       AND EXISTS (SELECT FROM berth.migration_run r WHERE r.run_id = m.last_run AND r.tool = 'golang-migrate');
    IF $2 <> '-1' AND NOT EXISTS (SELECT FROM berth.migration m WHERE m.scope = $1 AND m.version = $2
                                     AND m.state NOT IN ('reverted', 'skipped')) THEN
      INSERT INTO berth.migration AS m (scope, version, kind, state, applied_at, applied_by, last_run)
        VALUES ($1, $2, 'baseline', 'applied', clock_timestamp(), session_user, run)
        ON CONFLICT ON CONSTRAINT migration_pkey DO UPDATE SET state = 'applied', applied_at = excluded.applied_at,
          applied_by = excluded.applied_by, last_run = excluded.last_run, seq = DEFAULT;
    END IF;
  END IF;
END $$;
COMMENT ON FUNCTION berth.adopted_golang_now(pg_catalog.text, pg_catalog.text, pg_catalog.bool) IS
  'Internal: brings the journal into step with golang-migrate''s table';

-- A run whose backend is gone did not finish: somebody forced the version, or repaired the table by hand.
CREATE FUNCTION berth.adopted_golang_end(begun berth.migration_run, version pg_catalog.text, clean pg_catalog.bool)
RETURNS pg_catalog.void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  arrived bool := $3 AND $1.request ->> 'target' = $2;
  finished bool := arrived AND $1.status = 'running' AND EXISTS
    (SELECT FROM pg_stat_get_activity($1.pid) a WHERE a.backend_start = $1.backend_start);
BEGIN
  IF finished THEN
    UPDATE berth.migration_run r SET status = 'done', finished_at = clock_timestamp() WHERE r.run_id = $1.run_id;
  ELSE
    UPDATE berth.migration_run r SET status = 'resolved', finished_at = coalesce(r.finished_at, clock_timestamp()),
           outcome = CASE WHEN NOT $3 THEN 'retry' WHEN berth.version_key(r.version) <= berth.version_key($2) COLLATE "C" THEN 'applied'
                          ELSE 'reverted' END,
           reason = format('the table of golang-migrate was set to %s%s', $2, CASE WHEN NOT $3 THEN ', dirty' END),
           resolved_by = session_user, resolved_at = clock_timestamp()
     WHERE r.run_id = $1.run_id;
  END IF;
  DELETE FROM berth.migration_lease l WHERE l.run_id = $1.run_id;
  IF arrived AND $1.direction = 'apply' THEN
    PERFORM berth.record_applied($1.run_id, 'applied');
  END IF;
END $$;
COMMENT ON FUNCTION berth.adopted_golang_end(berth.migration_run, pg_catalog.text, pg_catalog.bool) IS
  'Internal: the end of a run of golang-migrate';

-- Its run lives as long as its connection; through a broker, where that says nothing, for some minutes.
CREATE FUNCTION berth.adopted_golang_lease(run pg_catalog.int8) RETURNS pg_catalog.void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO berth.migration_lease AS l
      (scope, token, run_id, holder, pid, backend_start, via_broker, ttl, acquired_at, renewed_at, expires_at)
    SELECT r.scope, gen_random_uuid(), r.run_id, concat_ws(' ', 'golang-migrate', r.usename, host(r.client_addr)), r.pid, r.backend_start,
           r.broker_client IS NOT NULL, t.ttl, clock_timestamp(), clock_timestamp(), clock_timestamp() + t.ttl
      FROM berth.migration_run r
     CROSS JOIN LATERAL (SELECT CASE WHEN r.broker_client IS NULL THEN interval '0' ELSE interval '5 min' END AS ttl) t
     WHERE r.run_id = $1
    ON CONFLICT ON CONSTRAINT migration_lease_pkey DO UPDATE
      SET token = excluded.token, run_id = excluded.run_id, holder = excluded.holder, pid = excluded.pid,
          backend_start = excluded.backend_start, via_broker = excluded.via_broker, ttl = excluded.ttl,
          acquired_at = excluded.acquired_at, renewed_at = excluded.renewed_at, expires_at = excluded.expires_at
      WHERE NOT berth.lease_is_live(l)
$$;
COMMENT ON FUNCTION berth.adopted_golang_lease(pg_catalog.int8) IS 'Internal: who runs golang-migrate now';

-- Taking over ---------------------------------------------------------------------------------------------------------------

-- The triggers of berth.adopt() on a table.
CREATE FUNCTION berth.adopted_triggers(rel pg_catalog.regclass)
RETURNS TABLE (name pg_catalog.name, tool pg_catalog.text, scope pg_catalog.text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT t.tgname, a.tool, convert_from(substring(t.tgargs FROM 1 FOR octet_length(t.tgargs) - 1), getdatabaseencoding())
    FROM pg_trigger t JOIN berth.adoptable() a
      ON t.tgfoid = to_regproc('berth.adopted_' || replace(a.tool, '-', '_'))
   WHERE t.tgrelid = $1 AND t.tgnargs = 1
$$;
COMMENT ON FUNCTION berth.adopted_triggers(pg_catalog.regclass) IS 'Internal: what berth.adopt() has made on a table';

-- The role of the session must own the table, or be a superuser.
CREATE FUNCTION berth.adopt_rights(rel pg_catalog.regclass, verb pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  owner oid := (SELECT c.relowner FROM pg_class c WHERE c.oid = $1);
BEGIN
  IF NOT pg_has_role(berth.caller(), owner, 'USAGE') THEN
    RAISE EXCEPTION 'role % may not % %', pg_get_userbyid(berth.caller()), $2, $1
      USING ERRCODE = 'MG040', DETAIL = format('The table belongs to %s.', pg_get_userbyid(owner)),
            HINT = format('Call berth.%s() as %s, as a member of it, or as a superuser.', $2, pg_get_userbyid(owner));
  END IF;
END $$;
COMMENT ON FUNCTION berth.adopt_rights(pg_catalog.regclass, pg_catalog.text) IS 'Internal: raises MG040';

CREATE FUNCTION berth.adopt(tool pg_catalog.text, rel pg_catalog.regclass DEFAULT NULL, scope pg_catalog.text DEFAULT 'default')
RETURNS pg_catalog.text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  known record;
  mine record;
  lacking text[];
  taken int8;
  event text;
BEGIN
  PERFORM berth.check_request($3, '1', 'versioned', NULL, 'skip', NULL, interval '0', '{}');
  SELECT * INTO known FROM berth.adoptable() a WHERE a.tool = $1;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no such tool: "%"', $1
      USING ERRCODE = 'invalid_parameter_value',
            HINT = format('One of: %s.', (SELECT string_agg(a.tool, ', ' ORDER BY a.tool) FROM berth.adoptable() a));
  END IF;
  $2 := coalesce($2, to_regclass(known.usual));
  IF $2 IS NULL THEN
    RAISE EXCEPTION 'there is no table %', known.usual
      USING ERRCODE = 'undefined_table',
            HINT = format('Let %s make it first, or name it: SELECT berth.adopt(%L, ''schema.table'').', $1, $1);
  END IF;
  PERFORM berth.adopt_rights($2, 'adopt');
  EXECUTE format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', $2);
  SELECT array_agg(n.name ORDER BY n.number) INTO lacking FROM unnest(known.needs) WITH ORDINALITY n (name, number)
   WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = $2 AND a.attname = n.name AND a.attnum > 0 AND NOT a.attisdropped);
  IF lacking IS NOT NULL OR (SELECT c.relkind FROM pg_class c WHERE c.oid = $2) <> 'r'
     OR ($1 = 'dbmate' AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = $2 AND a.attname = 'dirty' AND NOT a.attisdropped)) THEN
    RAISE EXCEPTION '% is not a history table of %: %', $2, $1, CASE WHEN lacking IS NOT NULL THEN
        format('it has no column %s', array_to_string(lacking, ', ')) WHEN $1 = 'dbmate' AND 'dirty' = ANY (ARRAY(
        SELECT a.attname FROM pg_attribute a WHERE a.attrelid = $2)) THEN 'it has a column dirty, as golang-migrate''s has'
        ELSE 'it is not an ordinary table' END
      USING ERRCODE = 'wrong_object_type', DETAIL = format('Columns that it must have: %s.', array_to_string(known.needs, ', ')),
            HINT = format('%s calls its table %s unless it is told otherwise.', $1, known.usual);
  END IF;
  SELECT t.tool, t.scope INTO mine FROM berth.adopted_triggers($2) t LIMIT 1;
  IF mine.tool <> $1 OR mine.scope <> $3 THEN
    RAISE EXCEPTION '% is adopted already, as a table of % in scope "%"', $2, mine.tool, mine.scope
      USING ERRCODE = 'duplicate_object', HINT = format('End that first: SELECT berth.unadopt(%L).', $2::text);
  END IF;
  IF mine.tool IS NULL THEN
    FOREACH event IN ARRAY known.events LOOP
      EXECUTE format('CREATE TRIGGER %I AFTER %s ON %s FOR EACH %s EXECUTE FUNCTION berth.%I(%L)',
                     'berth_adopt_' || lower(split_part(event, '/', 2)), split_part(event, '/', 1), $2, split_part(event, '/', 2),
                     'adopted_' || replace($1, '-', '_'), $3);
    END LOOP;
  END IF;
  taken := berth.take_over($1, $2, $3, known.source);
  RETURN format('%s %s of %s, in scope "%s"; %s', CASE WHEN mine.tool IS NULL THEN 'adopted' ELSE 'had already adopted' END, $2, $1, $3,
                CASE taken WHEN 0 THEN 'nothing was to be taken over' WHEN 1 THEN 'one row was taken over'
                ELSE format('%s rows were taken over', taken) END);
END $$;
COMMENT ON FUNCTION berth.adopt(pg_catalog.text, pg_catalog.regclass, pg_catalog.text) IS
  'Takes over the history of another tool (golang-migrate, flyway, dbmate, node-pg-migrate, sqitch, liquibase) and keeps in step with '
  'it by triggers on its table; called again, it takes over what is missing';

-- What a tool has in its table, and the journal not: one run for all of it.
CREATE FUNCTION berth.take_over(tool pg_catalog.text, rel pg_catalog.regclass, scope pg_catalog.text, source pg_catalog.text)
RETURNS pg_catalog.int8
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  info jsonb := jsonb_build_object('tool', $1, 'table', $2::text);
  told record;
  run int8;
  taken int8 := 0;
BEGIN
  FOR told IN EXECUTE format(
    'SELECT * FROM (SELECT s.*, row_number() OVER (PARTITION BY s.version ORDER BY s.number DESC) AS place FROM (
       SELECT o.*, row_number() OVER () AS number FROM (%s) o (version, kind, description, checksum, requires, conflicts, at, who, state, message)
     ) s) l WHERE l.place = 1 ORDER BY l.number', replace($4, 'ONLY %s', 'ONLY ' || $2::text))
  LOOP
    IF told.state = 'failed' THEN
      IF NOT EXISTS (SELECT FROM berth.migration_run r WHERE r.scope = $3 AND r.version = told.version
                        AND r.status IN ('running', 'failed', 'interrupted')) THEN
        PERFORM berth.adopted_run($3, told.version, 'apply', CASE WHEN $1 IN ('golang-migrate', 'flyway') THEN 'step' ELSE 'tx' END,
          'failed', NULL, info, jsonb_build_object('kind', 'versioned', 'target', told.version), told.message);
        taken := taken + 1;
      END IF;
    ELSIF told.state = 'applied' AND NOT EXISTS (SELECT FROM berth.migration m WHERE m.scope = $3 AND m.version = told.version
                                                    AND m.state NOT IN ('reverted', 'skipped')) THEN
      run := coalesce(run, berth.adopted_run($3, told.version, 'baseline', 'tx', 'done', NULL, info, '{}'));
      INSERT INTO berth.migration AS m (scope, version, kind, description, checksum, checksum_algo, requires, conflicts, state,
                                        applied_at, applied_by, last_run)
        VALUES ($3, told.version, told.kind, nullif(told.description, ''), told.checksum, berth.checksum_algo(told.checksum),
                coalesce(told.requires::text[], '{}'), coalesce(told.conflicts::text[], '{}'), 'applied',
                coalesce(nullif(told.at, '')::timestamptz, clock_timestamp()), coalesce(nullif(told.who, ''), session_user)::name, run)
        ON CONFLICT ON CONSTRAINT migration_pkey DO UPDATE SET kind = excluded.kind, description = excluded.description,
          checksum = excluded.checksum, checksum_algo = excluded.checksum_algo, requires = excluded.requires,
          conflicts = excluded.conflicts, state = excluded.state, applied_at = excluded.applied_at, applied_by = excluded.applied_by,
          last_run = excluded.last_run, seq = DEFAULT;
      UPDATE berth.migration_run r SET version = told.version, info = r.info || jsonb_build_object('rows', taken + 1) WHERE r.run_id = run;
      taken := taken + 1;
    END IF;
  END LOOP;
  RETURN taken;
END $$;
COMMENT ON FUNCTION berth.take_over(pg_catalog.text, pg_catalog.regclass, pg_catalog.text, pg_catalog.text) IS
  'Internal: the rows of another tool that are not in the journal yet';

CREATE FUNCTION berth.unadopt(rel pg_catalog.regclass) RETURNS pg_catalog.text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  made record;
  last record;
BEGIN
  PERFORM berth.adopt_rights($1, 'unadopt');
  FOR made IN SELECT * FROM berth.adopted_triggers($1) LOOP
    EXECUTE format('DROP TRIGGER %I ON %s', made.name, $1);
    last := made;
  END LOOP;
  IF last IS NULL THEN
    RETURN format('%s is not adopted', $1);
  END IF;
  DELETE FROM berth.adopted_position p WHERE p.rel = $1;
  RETURN format('%s of %s is no longer adopted; its history in scope "%s" stays', $1, last.tool, last.scope);
END $$;
COMMENT ON FUNCTION berth.unadopt(pg_catalog.regclass) IS
  'Ends what berth.adopt() began: the triggers go, the history that was recorded stays';
