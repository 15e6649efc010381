-- A column, in one transaction with its record. Adding it takes an instant, waiting for its lock might not: lock_tables gives up
-- each attempt after 100 ms, so that nobody queues behind it for longer.
\set ON_ERROR_STOP on
\set body `cat 0194_orders_note.sql`
BEGIN;
SELECT berth.migrate_once('0194', 'orders.note', checksum => berth.checksum(:'body'), info => '{"tool": "psql"}') AS go \gset
\if :go
SELECT * FROM berth.lock_tables('orders');
ALTER TABLE orders ADD COLUMN note text;
SELECT berth.expect($$SELECT count(*) = 1 FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'note'$$, 'the column is there');
\endif
COMMIT;
