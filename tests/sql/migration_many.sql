-- Ten thousand versions: what is asked often calls no function for each of them, and looks up what it needs.
\ir helpers.sql
SELECT * FROM no_plan();
CREATE FUNCTION pg_temp.calls_of(statement text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  before bigint := (SELECT coalesce(sum(calls), 0) FROM pg_stat_xact_user_functions WHERE schemaname = 'berth');
BEGIN
  EXECUTE statement;
  RETURN (SELECT coalesce(sum(calls), 0) FROM pg_stat_xact_user_functions WHERE schemaname = 'berth') - before;
END $$;
SET track_functions = 'all';
BEGIN;
SELECT is(count(*), 10000::bigint, 'ten thousand are applied') FROM berth.migration_status() WHERE state = 'applied' AND checksum_ok;
SELECT cmp_ok(pg_temp.calls_of('SELECT berth.version_key(''1''), berth.version_key(''2'')'), '=', 2::bigint, 'calls are counted');
SELECT cmp_ok(pg_temp.calls_of(statement), '<', 60::bigint, 'few calls: ' || statement) FROM unnest(array[
  'SELECT * FROM berth.migration_status()', 'SELECT * FROM berth.migration_status(NULL)', 'SELECT berth.migration_exit_code()',
  $$SELECT berth.assert_ready('10000', '10000', app => '1')$$, $$SELECT berth.migrate_once('00500')$$, $$SELECT berth.migrate_once('10001')$$,
  'SELECT * FROM berth.tenants', 'SELECT * FROM berth.migration_pending()']) statement;
SELECT * FROM finish();
ROLLBACK;
