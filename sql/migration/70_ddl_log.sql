-- The log of DDL -----------------------------------------------------------------------------------------------------------

-- Event triggers write it. They are not members of the extension, because a member would be there before the rows of a dump and
-- would log the restore: berth.enable_ddl_log() makes them, and pg_dump puts them at the end.

-- The text of a statement without the secrets that it may hold: from there on it is cut off, and in URLs they are left out. More is
-- cut than has to be, never less.
CREATE FUNCTION berth.without_secrets(statement pg_catalog.text) RETURNS pg_catalog.text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  blank CONSTANT text := '(\s|/\*.*?\*/|--[^\n]*\n)*';
  kept text := CASE WHEN strpos($1, '://') = 0 THEN $1 ELSE regexp_replace($1, '(\w+://[^:/@\s'']*):[^@\s'']*@', '\1:***@', 'g') END;
  spots text[] := ARRAY['\mpassword\M' || blank || '([EN]|U&)?[''$=]', '\mconnection\M' || blank || '([EN]|U&)?[''$]'];
  spot text;
  found int4;
  cut int4 := 2147483647;
BEGIN
  IF kept !~* 'password|connection|options' THEN
    RETURN kept;  -- as nearly all: a tool may send a file at once, and then this is asked for each statement of it
  END IF;
  IF $1 ~* '\m(mapping|server|wrapper)\M' THEN
    spots := spots || ('\moptions\M' || blank || '\(');
  END IF;
  FOREACH spot IN ARRAY spots LOOP
    found := length((regexp_match(kept, '^(.*?)' || spot, 'i'))[1]);
    cut := least(cut, found);  -- least() passes over NULL
  END LOOP;
  RETURN CASE WHEN cut > length(kept) THEN kept ELSE left(kept, cut) || '/* the rest is not kept, it may hold a secret */' END;
END $$;
COMMENT ON FUNCTION berth.without_secrets(pg_catalog.text) IS
  'Internal: a statement up to the first password, connection string or options of a foreign server';

-- The migration that a statement of this session belongs to. The mark in a statement counts for the user of that run only.
CREATE FUNCTION berth.ddl_run(statement pg_catalog.text) RETURNS pg_catalog.int8
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  run int8 := berth.current_run();
BEGIN
  IF run IS NULL AND strpos($1, '/* berth run ') > 0 THEN
    SELECT r.run_id INTO run FROM berth.migration_run r
     WHERE r.mode = 'step' AND r.status = 'running' AND r.usename = session_user
       AND r.run_id = ((regexp_match($1, '/\* berth run ([0-9]{1,18}) step [0-9]+ \*/'))[1])::int8;
  END IF;
  IF run IS NULL THEN
    SELECT max(r.run_id) INTO run FROM berth.migration_run r
     WHERE r.mode = 'step' AND r.status = 'running' AND r.usename = session_user AND r.pid = pg_backend_pid()
       AND r.application_name IS NOT DISTINCT FROM current_setting('application_name')
       AND (SELECT coalesce(r.backend_start = a.backend_start, true) FROM pg_stat_get_activity(pg_backend_pid()) a);
  END IF;
  RETURN run;
END $$;
COMMENT ON FUNCTION berth.ddl_run(pg_catalog.text) IS
  'Internal: the run that DDL is attributed to: of this transaction, by the mark in the statement, or of this session';

-- What is done by these functions of ours is part of the extension''s own work.
CREATE FUNCTION berth.ddl_is_own(context pg_catalog.text) RETURNS pg_catalog.bool
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT $1 ~ '\n[^\n]* berth\.(grant_access|adopt|unadopt)\('
$$;
COMMENT ON FUNCTION berth.ddl_is_own(pg_catalog.text) IS 'Internal: whether DDL comes from a function of the extension, by its call stack';

-- What the client sent, and of that no more than anybody would read: a dump may come as one text of many megabytes.
CREATE FUNCTION berth.ddl_text() RETURNS pg_catalog.text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  looked_at_max CONSTANT int4 := 100000;
BEGIN
  RETURN left(current_query(), looked_at_max);
END $$;
COMMENT ON FUNCTION berth.ddl_text() IS 'Internal: the statement at top level';

-- Writes rows for what an event trigger was called for; the objects, in words, that no migration has to do with.
CREATE FUNCTION berth.log_ddl(event pg_catalog.text, tag pg_catalog.text, context pg_catalog.text, rewritten pg_catalog.oid DEFAULT NULL)
RETURNS pg_catalog.text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  text_max CONSTANT int4 := 10000;
  named_max CONSTANT int4 := 3;
  text text := berth.without_secrets(berth.ddl_text());
  sha text := berth.sha256_of(text);
  run int8 := berth.ddl_run(berth.ddl_text());
  own bool := berth.ddl_is_own($3);
  drift text[];
BEGIN
  WITH object AS (
    SELECT c.command_tag AS tag, c.object_type, c.objid, c.object_identity, c.schema_name, c.in_extension
      FROM pg_event_trigger_ddl_commands() c WHERE $1 = 'ddl_command_end'
    UNION ALL
    SELECT $2, d.object_type, d.objid, d.object_identity, d.schema_name, false
      FROM pg_event_trigger_dropped_objects() d WHERE $1 = 'sql_drop' AND d.original AND NOT d.is_temporary
    UNION ALL
    SELECT $2, 'table', c.oid, format('%I.%I', n.nspname, c.relname), n.nspname, false
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = $4 AND c.relpersistence <> 't'
  ), logged AS (
    INSERT INTO berth.ddl_log (at, xid, pid, usename, application_name, run_id, event, tag, object_type, object_oid, identity,
                               in_extension, statement_sha, statement)
      SELECT clock_timestamp(), pg_current_xact_id(), pg_backend_pid(), session_user, current_setting('application_name'), run, $1,
             o.tag, o.object_type, o.objid, o.object_identity, o.in_extension OR own, sha,
             CASE WHEN NOT o.in_extension THEN left(text, text_max) END
        FROM object o WHERE o.schema_name IS DISTINCT FROM 'pg_temp'
      RETURNING *
  )
  SELECT array_agg(DISTINCT l.tag || coalesce(' ' || coalesce(l.identity, l.object_type), '')) INTO drift
    FROM logged l
   WHERE l.run_id IS NULL AND NOT l.in_extension AND l.identity !~ '^berth(\.|$)' IS NOT false
     AND (l.event = 'ddl_command_end' OR (l.event = 'sql_drop' AND l.tag LIKE 'DROP %'));
  RETURN array_to_string(drift[1:named_max], ', ') ||
         CASE WHEN cardinality(drift) > named_max THEN format(' and %s more', cardinality(drift) - named_max) ELSE '' END;
END $$;
COMMENT ON FUNCTION berth.log_ddl(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.oid) IS 'Internal: writes the log of DDL';

CREATE FUNCTION berth.ddl_not_logged(message pg_catalog.text, code pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE WARNING 'DDL was not logged: %', $1
    USING ERRCODE = 'MG014', DETAIL = format('SQLSTATE %s. The statement itself is not affected.', $2),
          HINT = 'SELECT berth.disable_ddl_log(); ends the attempts.';
END $$;
COMMENT ON FUNCTION berth.ddl_not_logged(pg_catalog.text, pg_catalog.text) IS 'Internal: a warning';

-- What the policy says of DDL that belongs to no migration.
CREATE FUNCTION berth.unattributed_ddl(action pg_catalog.text, objects pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  message text := 'DDL outside of a migration: ' || $2;
BEGIN
  PERFORM berth.irregular($1, 'MG013', message, 'Policy unattributed_ddl; it is shown in berth.ddl_unattributed.',
    'Put it into a migration: berth.migrate_once(), or berth.migration_start() for what cannot run in a transaction.');
END $$;
COMMENT ON FUNCTION berth.unattributed_ddl(pg_catalog.text, pg_catalog.text) IS 'Internal: MG013, as the policy has it';

-- The event triggers. Nothing that goes wrong with the log may reach the statement: an error at the end of CREATE INDEX CONCURRENTLY
-- would leave an invalid index behind. Not even a wait for the log may, so that is short; and a cancel that comes now finds the
-- statement done. What a policy forbids is another matter, and is raised outside of that.
CREATE FUNCTION berth.ddl_done() RETURNS pg_catalog.event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
  maintenance CONSTANT text[] := '{REINDEX,REFRESH MATERIALIZED VIEW}';  -- they change no definition
  context text;
  drift text;
  action text;
BEGIN
  IF TG_TAG = ANY (maintenance) THEN
    RETURN;
  END IF;
  BEGIN
    GET DIAGNOSTICS context = PG_CONTEXT;
    drift := berth.log_ddl(TG_EVENT, TG_TAG, context);
    IF drift IS NOT NULL THEN
      action := berth.policy('*', 'unattributed_ddl');
    END IF;
  EXCEPTION WHEN OTHERS OR query_canceled OR assert_failure THEN
    PERFORM berth.ddl_not_logged(SQLERRM, SQLSTATE);
  END;
  IF action IS NOT NULL THEN
    PERFORM berth.unattributed_ddl(action, drift);
  END IF;
END $$;
COMMENT ON FUNCTION berth.ddl_done() IS 'Internal: event trigger for ddl_command_end and sql_drop';

-- What works concurrently cannot be refused at its end, when half of it is committed: it is refused before it begins.
CREATE FUNCTION berth.ddl_begins() RETURNS pg_catalog.event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
  refused bool := false;
BEGIN
  BEGIN
    refused := TG_TAG IN ('CREATE INDEX', 'DROP INDEX', 'ALTER TABLE') AND berth.ddl_text() ~* '\mconcurrently\M'
           AND berth.policy('*', 'unattributed_ddl') = 'error' AND berth.ddl_run(berth.ddl_text()) IS NULL;
  EXCEPTION WHEN OTHERS OR query_canceled OR assert_failure THEN
    PERFORM berth.ddl_not_logged(SQLERRM, SQLSTATE);
  END;
  IF refused THEN
    PERFORM berth.unattributed_ddl('error', TG_TAG || ' CONCURRENTLY');
  END IF;
END $$;
COMMENT ON FUNCTION berth.ddl_begins() IS 'Internal: event trigger for ddl_command_start';

-- Why ALTER TABLE rewrites a table, and what to do instead. The bits are those of event_trigger.h.
CREATE FUNCTION berth.rewrite_reason(bits pg_catalog.int4, OUT words pg_catalog.text, OUT recipe pg_catalog.text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(nullif(concat_ws(', ', CASE WHEN $1 & 1 > 0 THEN 'change of LOGGED or UNLOGGED' END,
                                         CASE WHEN $1 & 2 > 0 THEN 'a default that must be computed for each row' END,
                                         CASE WHEN $1 & 4 > 0 THEN 'change of a column''s type' END,
                                         CASE WHEN $1 & 8 > 0 THEN 'change of the access method' END), ''), $1::text),
         CASE WHEN $1 & 4 > 0 THEN
                'Expand and contract: add a column of the new type, let a trigger keep it in step, fill it by CALL berth.backfill(...), '
                'let applications use it, and drop the old one in a later migration.'
              WHEN $1 & 2 > 0 THEN
                'Expand and contract: add the column without a default, then ALTER COLUMN ... SET DEFAULT, which is for new rows, and fill '
                'the old ones by CALL berth.backfill(...).'
              ELSE 'Make a new table, fill it by CALL berth.backfill(...) while a trigger keeps it in step, and rename both in one transaction.'
         END
$$;
COMMENT ON FUNCTION berth.rewrite_reason(pg_catalog.int4) IS 'Internal: the reason for a rewrite in words, and the recipe without one';

CREATE FUNCTION berth.ddl_rewrites() RETURNS pg_catalog.event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
  action text := 'off';
  rel regclass;
  message text;
  detail text;
  reason record;
BEGIN
  BEGIN
    PERFORM berth.log_ddl(TG_EVENT, TG_TAG, '', pg_event_trigger_table_rewrite_oid());
    SELECT c.oid, berth.policy(coalesce((SELECT r.scope FROM berth.migration_run r WHERE r.run_id = berth.ddl_run(berth.ddl_text())), '*'),
                               'table_rewrite') INTO rel, action
      FROM pg_class c WHERE c.oid = pg_event_trigger_table_rewrite_oid() AND c.relpersistence <> 't';
    reason := berth.rewrite_reason(pg_event_trigger_table_rewrite_reason());
    message := format('statement would rewrite table %s (reason %s)', rel, reason.words);
    detail := format('Policy table_rewrite. The table has about %s, and nobody can use it meanwhile.', pg_size_pretty(pg_table_size(rel)));
  EXCEPTION WHEN OTHERS OR query_canceled OR assert_failure THEN
    PERFORM berth.ddl_not_logged(SQLERRM, SQLSTATE);
    RETURN;
  END;
  IF rel IS NOT NULL THEN
    PERFORM berth.irregular(action, 'MG015', message, detail, reason.recipe);
  END IF;
END $$;
COMMENT ON FUNCTION berth.ddl_rewrites() IS 'Internal: event trigger for table_rewrite';

CREATE FUNCTION berth.enable_ddl_log() RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM berth.disable_ddl_log();
  CREATE EVENT TRIGGER berth_ddl_start ON ddl_command_start EXECUTE FUNCTION berth.ddl_begins();
  CREATE EVENT TRIGGER berth_ddl_end ON ddl_command_end EXECUTE FUNCTION berth.ddl_done();
  CREATE EVENT TRIGGER berth_ddl_drop ON sql_drop EXECUTE FUNCTION berth.ddl_done();
  CREATE EVENT TRIGGER berth_ddl_rewrite ON table_rewrite EXECUTE FUNCTION berth.ddl_rewrites();
END $$;
COMMENT ON FUNCTION berth.enable_ddl_log() IS
  'From now on DDL in this database is logged: event triggers are made, which DROP EXTENSION does not drop without CASCADE';

CREATE FUNCTION berth.disable_ddl_log() RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  name name;
BEGIN
  FOR name IN SELECT t.evtname FROM pg_event_trigger t JOIN pg_proc p ON p.oid = t.evtfoid
               WHERE p.pronamespace = 'berth'::regnamespace AND t.evtname LIKE 'berth\_ddl\_%' LOOP
    EXECUTE format('DROP EVENT TRIGGER %I', name);
  END LOOP;
END $$;
COMMENT ON FUNCTION berth.disable_ddl_log() IS 'DDL is no longer logged: the event triggers are dropped, and what was logged is kept';

CREATE FUNCTION berth.prune_ddl_log(older_than pg_catalog.interval) RETURNS pg_catalog.int8
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  pruned int8;
BEGIN
  IF $1 IS NULL OR $1 < interval '0' THEN
    RAISE EXCEPTION 'older_than is not negative' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  DELETE FROM berth.ddl_log l WHERE l.at < clock_timestamp() - $1;
  GET DIAGNOSTICS pruned = ROW_COUNT;
  RETURN pruned;
END $$;
COMMENT ON FUNCTION berth.prune_ddl_log(pg_catalog.interval) IS 'Deletes what was logged longer ago than that; gives the number of rows';

-- Everybody may know that a table was altered, as the catalogs show it; the text of a statement is for those who may see queries.
CREATE VIEW berth.ddl AS
  SELECT l.id, l.at, l.usename, l.application_name, l.tag, l.object_type, l.identity, l.run_id, r.scope, r.version, r.direction, r.mode,
         l.in_extension, l.event, l.object_oid,
         CASE WHEN pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') OR
                   (SELECT pg_catalog.pg_has_role(u.oid, 'USAGE') FROM pg_catalog.pg_roles u WHERE u.rolname OPERATOR(pg_catalog.=) l.usename)
              THEN l.statement END AS statement,
         l.statement_sha, l.pid, l.xid
    FROM berth.ddl_log l LEFT JOIN berth.migration_run r ON r.run_id OPERATOR(pg_catalog.=) l.run_id;
COMMENT ON VIEW berth.ddl IS 'DDL as it happened, and the migration that it belongs to: one row for each object of each statement';
COMMENT ON COLUMN berth.ddl.id IS 'Number of the row';
COMMENT ON COLUMN berth.ddl.at IS 'When';
COMMENT ON COLUMN berth.ddl.usename IS 'Who had logged in (session_user)';
COMMENT ON COLUMN berth.ddl.application_name IS 'application_name of the session';
COMMENT ON COLUMN berth.ddl.tag IS 'Command tag of this command, as CREATE TABLE';
COMMENT ON COLUMN berth.ddl.object_type IS 'Type of the object, as table';
COMMENT ON COLUMN berth.ddl.identity IS 'Qualified name of the object; NULL for GRANT and REVOKE';
COMMENT ON COLUMN berth.ddl.run_id IS 'Run of the migration; NULL when it belongs to none';
COMMENT ON COLUMN berth.ddl.scope IS 'Scope of that migration';
COMMENT ON COLUMN berth.ddl.version IS 'Version of that migration';
COMMENT ON COLUMN berth.ddl.direction IS 'apply, revert, baseline or repair';
COMMENT ON COLUMN berth.ddl.mode IS 'tx or step';
COMMENT ON COLUMN berth.ddl.in_extension IS 'Made by the script of an extension, or by a function of this one';
COMMENT ON COLUMN berth.ddl.event IS 'ddl_command_end, sql_drop or table_rewrite';
COMMENT ON COLUMN berth.ddl.object_oid IS 'OID of the object';
COMMENT ON COLUMN berth.ddl.statement IS
  'Text that the client sent, without secrets and up to 10000 characters; for members of pg_read_all_stats and of its role';
COMMENT ON COLUMN berth.ddl.statement_sha IS 'SHA-256 of that text, up to 100000 characters, without secrets';
COMMENT ON COLUMN berth.ddl.pid IS 'Process of the session';
COMMENT ON COLUMN berth.ddl.xid IS 'Its transaction';

CREATE VIEW berth.ddl_unattributed AS
  SELECT d.id, d.at, d.usename, d.application_name, d.tag, d.object_type, d.identity, d.event, d.statement, d.statement_sha, d.pid
    FROM berth.ddl d
   WHERE d.run_id IS NULL AND NOT d.in_extension AND d.event OPERATOR(pg_catalog.<>) 'table_rewrite'
     AND (d.identity OPERATOR(pg_catalog.!~) '^berth(\.|$)') IS NOT FALSE
     AND d.at OPERATOR(pg_catalog.>) COALESCE((SELECT pg_catalog.max(r.finished_at) FROM berth.migration_run r
           WHERE r.direction OPERATOR(pg_catalog.=) 'baseline' AND r.status OPERATOR(pg_catalog.=) 'done'), '-infinity');
COMMENT ON VIEW berth.ddl_unattributed IS
  'Drift: DDL that belongs to no migration, since the last baseline, which takes over what was there. Not shown are what extensions '
  'make, and what is in the schema berth';
COMMENT ON COLUMN berth.ddl_unattributed.id IS 'Number of the row in berth.ddl';
COMMENT ON COLUMN berth.ddl_unattributed.at IS 'When';
COMMENT ON COLUMN berth.ddl_unattributed.usename IS 'Who had logged in (session_user)';
COMMENT ON COLUMN berth.ddl_unattributed.application_name IS 'application_name of the session';
COMMENT ON COLUMN berth.ddl_unattributed.tag IS 'Command tag, as ALTER TABLE';
COMMENT ON COLUMN berth.ddl_unattributed.object_type IS 'Type of the object, as table';
COMMENT ON COLUMN berth.ddl_unattributed.identity IS 'Qualified name of the object; NULL for GRANT and REVOKE';
COMMENT ON COLUMN berth.ddl_unattributed.event IS 'ddl_command_end or sql_drop';
COMMENT ON COLUMN berth.ddl_unattributed.statement IS 'Text that the client sent, as in berth.ddl';
COMMENT ON COLUMN berth.ddl_unattributed.statement_sha IS 'SHA-256 of that text';
COMMENT ON COLUMN berth.ddl_unattributed.pid IS 'Process of the session';
