-- A value of an enum. It can be added in a transaction, but not used in the same one.
\set ON_ERROR_STOP on
\set body `cat 0199_status_held.sql`
BEGIN;
SELECT berth.migrate_once('0199', 'orders can be held', checksum => berth.checksum(:'body'), info => '{"tool": "psql"}') AS go \gset
\if :go
ALTER TYPE order_status ADD VALUE IF NOT EXISTS 'held' BEFORE 'sent';
SELECT berth.add_check('0199', 'post', 'held comes before sent',
  $$SELECT array_agg(enumlabel::text ORDER BY enumsortorder) = '{new,paid,held,sent}' FROM pg_enum WHERE enumtypid = 'order_status'::regtype$$);
\endif
COMMIT;
