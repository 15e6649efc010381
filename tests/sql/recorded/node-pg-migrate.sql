-- node-pg-migrate 7.9.1: recorded by tests/tools/run.py --record, without what only reads. Each block is one statement
-- of the session in brackets, with its SQLSTATE where it fails.

-- [1]
SET search_path TO "public"

-- [1]
CREATE TABLE "public"."pgmigrations" (id SERIAL PRIMARY KEY, name varchar(255) NOT NULL, run_on timestamp NOT NULL)

-- [1]
BEGIN

-- [1]
CREATE TABLE users (id int);

-- [1]
INSERT INTO "public"."pgmigrations" (name, run_on) VALUES ('1700000000001_users', NOW());

-- [1]
COMMIT

-- adopt

-- [2]
SET search_path TO "public"

-- [2]
BEGIN

-- [2]
SELECT berth.lock_tables('users'); ALTER TABLE users ADD name text;

-- [2]
INSERT INTO "public"."pgmigrations" (name, run_on) VALUES ('1700000000002_users_name', NOW());

-- [2]
COMMIT;

-- [2]
CREATE INDEX CONCURRENTLY users_id ON users (id);

-- [2]
INSERT INTO "public"."pgmigrations" (name, run_on) VALUES ('1700000000003_users_id', NOW());

-- [2]
BEGIN;

-- [2]
DO $$ BEGIN IF berth.migrate_once('orders', scope => 'scripts') THEN CREATE TABLE orders (id int); END IF; END $$;

-- [2]
INSERT INTO "public"."pgmigrations" (name, run_on) VALUES ('1700000000004_orders', NOW());

-- [2]
COMMIT

-- [3]
SET search_path TO "public"

-- [4]
SET search_path TO "public"

-- [4]
BEGIN

-- [4] 42P07
CREATE TABLE users (id int);

-- [4]
ROLLBACK

-- [5]
SET search_path TO "public"

-- [5]
BEGIN

-- [5]
DROP TABLE orders;

-- [5]
DELETE FROM "public"."pgmigrations" WHERE name='1700000000004_orders';

-- [5]
COMMIT
