-- NOT NULL without a scan under a strong lock: a check that is not valid yet, validated in a transaction of its own while others
-- read and write, and then SET NOT NULL, which believes the check.
\set ON_ERROR_STOP on
\set body `cat 0198_orders_note_not_null.sql`
SELECT run_id FROM berth.migration_start('0198', 'orders.note is not null', checksum => berth.checksum(:'body'), requires => '{0197}',
                                                 tool => 'psql') \gset
SELECT berth.migration_step_begin(:run_id, 1, 'check, not validated') AS step \gset
\if :step
BEGIN;
SELECT * FROM berth.lock_tables('orders');
ALTER TABLE orders DROP CONSTRAINT IF EXISTS orders_note_not_null;
ALTER TABLE orders ADD CONSTRAINT orders_note_not_null CHECK (note IS NOT NULL) NOT VALID;
COMMIT;
SELECT berth.migration_step_end(:run_id, 1);
\endif
SELECT berth.migration_step_begin(:run_id, 2, 'validate', 'validate') AS step \gset
\if :step
ALTER TABLE orders VALIDATE CONSTRAINT orders_note_not_null;
SELECT berth.migration_step_end(:run_id, 2, constraint_name => 'orders_note_not_null');
\endif
SELECT berth.migration_step_begin(:run_id, 3, 'not null') AS step \gset
\if :step
BEGIN;
SELECT * FROM berth.lock_tables('orders');
ALTER TABLE orders ALTER COLUMN note SET NOT NULL;
ALTER TABLE orders DROP CONSTRAINT IF EXISTS orders_note_not_null;
COMMIT;
SELECT berth.migration_step_end(:run_id, 3);
\endif
SELECT berth.migration_finish(:run_id);
