-- What the application does meanwhile: pgbench -n -f load.sql -c 100
\set id random(1, 200000)
BEGIN;
UPDATE orders SET total = total + 1 WHERE id = :id;
SELECT id, customer_id, status, total FROM orders WHERE id = :id;
COMMIT;
SELECT count(*) FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id BETWEEN :id AND :id + 10;
