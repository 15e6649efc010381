-- A foreign key: not valid at first, which needs its locks for an instant only, and validated while others work.
\set ON_ERROR_STOP on
\set body `cat 0203_orders_customer_fk.sql`
SELECT run_id FROM berth.migration_start('0203', 'orders belong to customers', checksum => berth.checksum(:'body'), requires => '{0196}',
                                                 tool => 'psql') \gset
SELECT berth.add_check('0203', 'post', 'every order has its customer',
  $$SELECT count(*) FROM orders o WHERE NOT EXISTS (SELECT FROM customers c WHERE c.id = o.customer_id)$$, '0');
SELECT berth.migration_step_begin(:run_id, 1, 'foreign key, not validated') AS step \gset
\if :step
BEGIN;
SELECT * FROM berth.lock_tables('customers', 'orders');
ALTER TABLE orders DROP CONSTRAINT IF EXISTS orders_customer_fk;
ALTER TABLE orders ADD CONSTRAINT orders_customer_fk FOREIGN KEY (customer_id) REFERENCES customers NOT VALID;
COMMIT;
SELECT berth.migration_step_end(:run_id, 1);
\endif
SELECT berth.migration_step_begin(:run_id, 2, 'validate', 'validate') AS step \gset
\if :step
ALTER TABLE orders VALIDATE CONSTRAINT orders_customer_fk;
SELECT berth.migration_step_end(:run_id, 2, constraint_name => 'orders_customer_fk');
\endif
SELECT berth.migration_finish(:run_id);
