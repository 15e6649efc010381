-- int to bigint, in between: the rows that nobody has touched since 0200, and the proof that the new column may be relied on.
\set ON_ERROR_STOP on
\set body `cat 0201_total_fill.sql`
SELECT run_id FROM berth.migration_start('0201', 'orders.total as bigint: fill', checksum => berth.checksum(:'body'), requires => '{0200}',
                                                 tool => 'psql', lease => '5s', wait => '15s') \gset
SELECT berth.migration_step_begin(:run_id, 1, 'fill', 'backfill') AS step \gset
\if :step
CALL berth.backfill(:run_id, 1, 'orders', 'total_big = total', 'total_big IS NULL', key => 'id', pause => '10ms');
\endif
SELECT berth.migration_step_begin(:run_id, 2, 'check, not validated') AS step \gset
\if :step
BEGIN;
SELECT * FROM berth.lock_tables('orders');
ALTER TABLE orders DROP CONSTRAINT IF EXISTS orders_total_same;
ALTER TABLE orders ADD CONSTRAINT orders_total_same CHECK (total_big IS NOT NULL AND total_big = total) NOT VALID;
COMMIT;
SELECT berth.migration_step_end(:run_id, 2);
\endif
SELECT berth.migration_step_begin(:run_id, 3, 'validate', 'validate') AS step \gset
\if :step
ALTER TABLE orders VALIDATE CONSTRAINT orders_total_same;
SELECT berth.migration_step_end(:run_id, 3, constraint_name => 'orders_total_same');
\endif
SELECT berth.migration_finish(:run_id);
