-- Privileges -------------------------------------------------------------------------------------------------------------

-- What each level may do; a level has those of the levels that it includes, too. read, control and broker are those of 0.1.0.
CREATE FUNCTION berth.access_objects(level pg_catalog.text) RETURNS TABLE (kind pg_catalog.text, object pg_catalog.text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT o.kind, o.object FROM (VALUES
    ('read', 'FUNCTION', 'berth.show(text[], text[])'),
    ('read', 'FUNCTION', 'berth.rows_of(text)'),
    ('read', 'FUNCTION', 'berth.console(text, int4)'),
    ('read', 'FUNCTION', 'berth.broker_states()'),
    ('read', 'FUNCTION', 'berth.findings(jsonb)'),
    ('read', 'FUNCTION', 'berth.facts()'),
    ('read', 'TABLE', 'berth.brokers, berth.pools, berth.clients, berth.servers, berth.databases, berth.stats, berth.latency'),
    ('read', 'TABLE', 'berth.errors, berth.disconnects, berth.settings, berth.activity, berth.blocking, berth.backend_history'),
    ('read', 'TABLE', 'berth.queue, berth.advice'),
    ('read', 'FUNCTION', 'berth.is_applied(text, text)'),
    ('read', 'FUNCTION', 'berth.version_key(text)'),
    ('read', 'FUNCTION', 'berth.normalise(text)'),
    ('read', 'FUNCTION', 'berth.checksum(text)'),
    ('read', 'FUNCTION', 'berth.sha256_of(text)'),
    ('read', 'FUNCTION', 'berth.policy(text, text)'),
    ('read', 'FUNCTION', 'berth.blockers(regclass[], text)'),
    ('read', 'TABLE', 'berth.ddl, berth.ddl_unattributed'),
    ('control', 'FUNCTION', 'berth.pause(text, interval)'),
    ('control', 'FUNCTION', 'berth.resume(text)'),
    ('control', 'FUNCTION', 'berth.reconnect(text)'),
    ('control', 'FUNCTION', 'berth.reload()'),
    ('control', 'FUNCTION', 'berth.kill_client(text, int8)'),
    ('broker', 'FUNCTION', 'berth.register_broker(text, text, text, text, text, timestamptz)'),
    ('broker', 'FUNCTION', 'berth.heartbeat(text)'),
    ('broker', 'FUNCTION', 'berth.deregister_broker(text)'),
    ('broker', 'FUNCTION', 'berth.role_generation()'),
    ('runner', 'FUNCTION', 'berth.migrate_once(text, text, text, text[], text[], text, text, text, text, interval, jsonb)'),
    ('runner', 'FUNCTION', 'berth.migrate_undo(text, text, interval, jsonb)'),
    ('runner', 'FUNCTION', 'berth.migration_failed(text, text, text, text, text, text, text, jsonb)'),
    ('runner', 'FUNCTION', 'berth.expect(text, text, text)'),
    ('runner', 'FUNCTION', 'berth.answer(text, text)'),
    ('runner', 'FUNCTION', 'berth.note_expected(text, text, interval)'),
    ('runner', 'FUNCTION', 'berth.in_transaction_block()'),
    ('read', 'TABLE', 'berth.invalid_index, berth.not_validated'),
    ('read', 'FUNCTION', 'berth.is_trusted(name)'),
    ('read', 'FUNCTION', 'berth.refusal(name, name, name)'),
    ('read', 'TABLE', 'berth.migration_history, berth.migration_current, berth.migration_running, berth.progress, berth.tenants'),
    ('read', 'FUNCTION', 'berth.running()'),
    ('read', 'FUNCTION', 'berth.migration_status(text)'),
    ('read', 'FUNCTION', 'berth.migration_pending(text)'),
    ('read', 'FUNCTION', 'berth.migration_exit_code(text)'),
    ('read', 'FUNCTION', 'berth.assert_ready(text, text, text, text)'),
    ('read', 'FUNCTION', 'berth.export(text)'),
    ('runner', 'FUNCTION', 'berth.plan(text, text, text, text, text)'),
    ('runner', 'FUNCTION', 'berth.unplan(text, text)'),
    ('admin', 'FUNCTION', 'berth.migration_resolve(int8, text, text, text, text)'),
    ('admin', 'FUNCTION', 'berth.import(jsonb)'),
    ('admin', 'FUNCTION', 'berth.import_history(jsonb)'),
    ('runner', 'FUNCTION', 'berth.begin_once(text, text, text, text[], text[], text, text, text, text, interval, jsonb, text)'),
    ('runner', 'FUNCTION', 'berth.add_check(text, text, text, text, text, text, text)'),
    ('runner', 'FUNCTION', 'berth.author_login(name)'),
    ('runner', 'FUNCTION', 'berth.drop_check(text, text, text, text)'),
    ('runner', 'FUNCTION', 'berth.run_checks(int8, text)'),
    ('runner', 'FUNCTION', 'berth.ask_checks(text, text, text)'),
    ('runner', 'FUNCTION', 'berth.checks_of(text, text, text, name)'),
    ('runner', 'FUNCTION', 'berth.has_checks(int8, text)'),
    ('runner', 'FUNCTION', 'berth.subject_of(int8)'),
    ('runner', 'FUNCTION', 'berth.note_check(int8, text, bool, text, interval)'),
    ('runner', 'FUNCTION', 'berth.run_in_progress(text, text)'),
    ('runner', 'FUNCTION', 'berth.take_due(int8)'),
    ('runner', 'FUNCTION', 'berth.migration_verify(text, text)'),
    ('runner', 'FUNCTION', 'berth.applied_with_checks(text, text)'),
    ('runner', 'FUNCTION', 'berth.facts_to_verify(text, text)'),
    ('runner', 'FUNCTION', 'berth.note_verified(text, text, text, bool, text, interval)'),
    ('runner', 'ROWS', 'berth.migration_check, berth.migration_checks_due'),
    ('runner', 'FUNCTION', 'berth.need_block(text, text)'),
    ('runner', 'FUNCTION', 'berth.lock_tables(regclass[])'),
    ('runner', 'FUNCTION', 'berth.lock_tables_with(regclass[], text, interval, interval, interval, bool)'),
    ('runner', 'PROCEDURE', 'berth.locked_exec(text, regclass[], interval, int4, interval)'),
    ('runner', 'FUNCTION', 'berth.lock_modes()'),
    ('runner', 'FUNCTION', 'berth.lock_conflicts(text)'),
    ('runner', 'FUNCTION', 'berth.lock_statement(regclass[], text)'),
    ('runner', 'FUNCTION', 'berth.check_lock_times(interval, interval, interval)'),
    ('runner', 'FUNCTION', 'berth.check_locked_exec(text, regclass[], interval, int4, interval)'),
    ('runner', 'FUNCTION', 'berth.lock_pause(interval, int4)'),
    ('runner', 'FUNCTION', 'berth.milliseconds(interval)'),
    ('runner', 'FUNCTION', 'berth.try_lock(regclass[], text, interval)'),
    ('runner', 'FUNCTION', 'berth.blockers_told(regclass[], text, jsonb, bool)'),
    ('runner', 'FUNCTION', 'berth.raise_not_locked(regclass[], text, int4, interval, jsonb)'),
    ('runner', 'FUNCTION', 'berth.note_lock(int4, interval)'),
    ('admin', 'FUNCTION', 'berth.drain(regclass[], interval, text, interval)'),
    ('admin', 'FUNCTION', 'berth.enable_ddl_log()'),
    ('admin', 'FUNCTION', 'berth.disable_ddl_log()'),
    ('admin', 'FUNCTION', 'berth.prune_ddl_log(interval)'),
    ('admin', 'FUNCTION', 'berth.prune_check_results(interval)'),
    ('read', 'FUNCTION', 'berth.run_state(int8)'),
    ('read', 'FUNCTION', 'berth.replay_lag()'),
    ('runner', 'FUNCTION', 'berth.refuse_block(text)'),
    ('runner', 'FUNCTION', 'berth.hold_run(int8)'),
    ('runner', 'FUNCTION', 'berth.migration_start(text, text, text, text[], text[], text, text, text, text, interval, jsonb, text, text, '
                           'interval)'),
    ('runner', 'FUNCTION', 'berth.begin_steps(text, text, text, text[], text[], text, text, text, text, interval, jsonb, interval)'),
    ('runner', 'FUNCTION', 'berth.migration_step_begin(int8, int4, text, text, text)'),
    ('runner', 'FUNCTION', 'berth.migration_step_end(int8, int4, regclass, text, int8, regclass)'),
    ('runner', 'FUNCTION', 'berth.migration_step_fail(int8, int4, text, text)'),
    ('runner', 'FUNCTION', 'berth.migration_heartbeat(uuid)'),
    ('runner', 'FUNCTION', 'berth.migration_finish(int8)'),
    ('runner', 'FUNCTION', 'berth.finish_begin(int8)'),
    ('runner', 'FUNCTION', 'berth.finish_end(int8)'),
    ('runner', 'FUNCTION', 'berth.migration_fail(int8, text, text, text, text, text)'),
    ('runner', 'FUNCTION', 'berth.migration_lock(text, interval, interval)'),
    ('runner', 'FUNCTION', 'berth.migration_unlock(uuid)'),
    ('runner', 'FUNCTION', 'berth.index_sql(regclass, text, text, bool, int8, int4)'),
    ('runner', 'FUNCTION', 'berth.validate_sql(regclass, text, int8, int4)'),
    ('runner', 'FUNCTION', 'berth.check_index_request(regclass, text, text)'),
    ('runner', 'FUNCTION', 'berth.index_remains(regclass, text)'),
    ('runner', 'FUNCTION', 'berth.index_builder(oid)'),
    ('runner', 'FUNCTION', 'berth.index_tail(oid)'),
    ('runner', 'FUNCTION', 'berth.index_is(oid, text, bool)'),
    ('runner', 'FUNCTION', 'berth.step_tag(int8, int4)'),
    ('runner', 'PROCEDURE', 'berth.backfill(int8, int4, regclass, text, text, text, int4, interval, interval, interval, interval)'),
    ('runner', 'PROCEDURE', 'berth.idle(int8, interval)'),
    ('runner', 'FUNCTION', 'berth.check_backfill(regclass, text, text, int4, interval, interval, interval, interval)'),
    ('runner', 'FUNCTION', 'berth.backfill_begin(int8, int4, regclass, text, text)'),
    ('runner', 'FUNCTION', 'berth.backfill_texts(text, text, text, text, text, text)'),
    ('runner', 'FUNCTION', 'berth.backfill_expect(int8, int4, int8)'),
    ('runner', 'FUNCTION', 'berth.sample_percent(regclass)'),
    ('runner', 'FUNCTION', 'berth.backfill_note(int8, int4, text, text, int8, int8)'),
    ('runner', 'FUNCTION', 'berth.backfill_rewind(int8, int4)'),
    ('runner', 'FUNCTION', 'berth.backfill_end(int8, int4)'),
    ('runner', 'FUNCTION', 'berth.note_step_failed(int8, int4, text, text)'),
    ('admin', 'FUNCTION', 'berth.migration_baseline(text, text, text, bool)'),
    ('admin', 'FUNCTION', 'berth.set_policy(text, text, text)'),
    ('admin', 'FUNCTION', 'berth.adopt(text, regclass, text)'),
    ('admin', 'FUNCTION', 'berth.unadopt(regclass)')
  ) o (level, kind, object) WHERE o.level = $1
$$;
COMMENT ON FUNCTION berth.access_objects(pg_catalog.text) IS 'Internal: what a level of berth.grant_access() consists of';

CREATE OR REPLACE FUNCTION berth.grant_access(role pg_catalog.regrole, level pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  included text[] := CASE level
    WHEN 'read' THEN '{read}' WHEN 'reader' THEN '{read}' WHEN 'control' THEN '{control,read}' WHEN 'broker' THEN '{broker}'
    WHEN 'runner' THEN '{runner,read}' WHEN 'admin' THEN '{admin,runner,control,read}' END;
  object record;
BEGIN
  IF role IS NULL OR included IS NULL THEN
    RAISE EXCEPTION 'a role, and one of the levels read, control, broker, runner, admin' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  EXECUTE format('GRANT USAGE ON SCHEMA berth TO %s', role);
  FOR object IN SELECT o.kind, o.object FROM unnest(included) l CROSS JOIN LATERAL berth.access_objects(l) o LOOP
    EXECUTE format('GRANT %s ON %s %s TO %s', CASE object.kind WHEN 'TABLE' THEN 'SELECT' WHEN 'ROWS' THEN 'SELECT, INSERT, UPDATE, DELETE'
                   ELSE 'EXECUTE' END, replace(object.kind, 'ROWS', 'TABLE'), object.object, role);
  END LOOP;
END $$;
COMMENT ON FUNCTION berth.grant_access(pg_catalog.regrole, pg_catalog.text) IS
  'Gives a role the views and the history (read: its own rows, all of them with pg_read_all_stats), these and control of the brokers '
  '(control), what a broker''s link and its auth_query need (broker), what migration scripts need (runner), or all of it with repair and policy (admin)';

-- Only what is new: whatever rights an object of 0.1.0 has when an update gives or takes one would all become the extension's own,
-- and a dump would leave out those that a DBA has granted.
DO $$
DECLARE
  object record;
BEGIN
  FOR object IN
    SELECT 'ROUTINE' AS kind, p.oid::pg_catalog.regprocedure::text AS name, 'EXECUTE' AS what,
           EXISTS (SELECT FROM berth.access_objects('read') o
                    WHERE CASE WHEN o.kind <> 'TABLE' THEN o.object::pg_catalog.regprocedure END = p.oid) AS readable
      FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'berth'::pg_catalog.regnamespace AND p.proacl IS NULL
    UNION ALL
    SELECT 'TABLE', c.oid::pg_catalog.regclass::text, 'SELECT',
           EXISTS (SELECT FROM berth.access_objects('read') o
                   CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.string_to_array(o.object, ', ')) name
                    WHERE CASE WHEN o.kind = 'TABLE' THEN name::pg_catalog.regclass END = c.oid)
      FROM pg_catalog.pg_class c
     WHERE c.relnamespace = 'berth'::pg_catalog.regnamespace AND c.relacl IS NULL AND c.relkind IN ('r', 'p', 'v', 'm')
  LOOP
    EXECUTE pg_catalog.format('REVOKE ALL ON %s %s FROM PUBLIC', object.kind, object.name);
    IF object.readable THEN
      EXECUTE pg_catalog.format('GRANT %s ON %s %s TO pg_read_all_stats', object.what, object.kind, object.name);
    END IF;
  END LOOP;
END $$;
