-- int to bigint, first half: a second column beside the first, and a trigger that keeps both the same. ALTER COLUMN TYPE would
-- write the whole table anew while nobody can read it.
\set ON_ERROR_STOP on
\set body `cat 0200_total_expand.sql`
BEGIN;
SELECT berth.migrate_once('0200', 'orders.total as bigint: expand', checksum => berth.checksum(:'body'),
                          info => '{"tool": "psql", "phase": "expand"}') AS go \gset
\if :go
CREATE FUNCTION orders_total_both() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.total_big := NEW.total;
  RETURN NEW;
END $$;
SELECT * FROM berth.lock_tables('orders');
ALTER TABLE orders ADD COLUMN total_big bigint;
CREATE TRIGGER orders_total_both BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION orders_total_both();
\endif
COMMIT;
