-- An index on a table in use: concurrently, so not in a transaction, so in steps. If the build dies, its invalid rest is dropped
-- and the next run of this file builds it anew.
\set ON_ERROR_STOP on
\set body `cat 0196_orders_customer_idx.sql`
SELECT run_id FROM berth.migration_start('0196', 'index orders by customer', checksum => berth.checksum(:'body'), tool => 'psql') \gset
SELECT berth.migration_step_begin(:run_id, 1, 'index', 'index') AS step \gset
\if :step
SELECT * FROM berth.index_sql('orders', 'orders_customer_idx', '(customer_id)', run => :run_id, step_no => 1) \gexec
SELECT berth.migration_step_end(:run_id, 1, index => 'orders_customer_idx');
\endif
SELECT berth.migration_finish(:run_id);
