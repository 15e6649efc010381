-- The shop that the examples change: customers, and orders with a sum in an integer that will be too small one day.
-- Usage: psql -v rows=200000 -f setup.sql
\set ON_ERROR_STOP on
\if :{?rows} \else \set rows 200000 \endif
BEGIN;
CREATE TYPE order_status AS ENUM ('new', 'paid', 'sent');
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE orders (
  id          int PRIMARY KEY,
  customer_id int NOT NULL,
  status      order_status NOT NULL DEFAULT 'new',
  total       int NOT NULL
);
INSERT INTO customers SELECT i, 'customer ' || i FROM generate_series(1, 1000) i;
INSERT INTO orders SELECT i, 1 + i % 1000, 'new', i % 10000 FROM generate_series(1, :rows) i;
COMMIT;
ANALYZE customers, orders;
