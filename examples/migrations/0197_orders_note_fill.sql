-- 200,000 rows get a value, in batches that each commit. Killed at any point, it goes on behind the last batch.
-- The lease is short, so that a run whose client has died can be resumed after five seconds.
\set ON_ERROR_STOP on
\set body `cat 0197_orders_note_fill.sql`
SELECT run_id FROM berth.migration_start('0197', 'fill orders.note', checksum => berth.checksum(:'body'), requires => '{0194}',
                                                 tool => 'psql', lease => '5s', wait => '15s') \gset
SELECT berth.migration_step_begin(:run_id, 1, 'new rows get a value by themselves') AS step \gset
\if :step
BEGIN;
SELECT * FROM berth.lock_tables('orders');
ALTER TABLE orders ALTER COLUMN note SET DEFAULT '';
COMMIT;
SELECT berth.migration_step_end(:run_id, 1);
\endif
SELECT berth.migration_step_begin(:run_id, 2, 'fill', 'backfill') AS step \gset
\if :step
CALL berth.backfill(:run_id, 2, 'orders', $$note = ''$$, 'note IS NULL', key => 'id', pause => '10ms');
\endif
SELECT berth.migration_finish(:run_id);
