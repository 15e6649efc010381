-- int to bigint, second half: the columns change places, and the old one goes. To the application it is the same name all the time.
\set ON_ERROR_STOP on
\set body `cat 0202_total_contract.sql`
BEGIN;
SELECT berth.migrate_once('0202', 'orders.total as bigint: contract', checksum => berth.checksum(:'body'), requires => '{0200,0201}',
                          info => '{"tool": "psql", "phase": "contract", "contracts": "0200"}') AS go \gset
\if :go
SELECT * FROM berth.lock_tables('orders');
DROP TRIGGER orders_total_both ON orders;
DROP FUNCTION orders_total_both();
ALTER TABLE orders ALTER COLUMN total_big SET NOT NULL;
ALTER TABLE orders DROP CONSTRAINT orders_total_same;
ALTER TABLE orders DROP COLUMN total;
ALTER TABLE orders RENAME COLUMN total_big TO total;
SELECT berth.expect($$SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'total'$$,
                    'total is a bigint', 'bigint');
SELECT berth.add_check('0202', 'post', 'no order without a total', $$SELECT count(*) FROM orders WHERE total IS NULL$$, '0');
\endif
COMMIT;
