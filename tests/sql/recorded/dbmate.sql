-- dbmate 2.36.0: recorded by tests/tools/run.py --record, without what only reads. Each block is one statement
-- of the session in brackets, with its SQLSTATE where it fails.

-- [1]
create table if not exists public.schema_migrations (version varchar primary key)

-- [1]
BEGIN READ WRITE

-- [1]
-- migrate:up
CREATE TABLE users (id int);

-- [1]
insert into public.schema_migrations (version) values ('20260101000001')

-- [1]
COMMIT

-- adopt

-- [2]
create table if not exists public.schema_migrations (version varchar primary key)

-- [2]
BEGIN READ WRITE

-- [2]
-- migrate:up
SELECT berth.lock_tables('users'); ALTER TABLE users ADD name text;

-- [2]
insert into public.schema_migrations (version) values ('20260101000002')

-- [2]
COMMIT

-- [2]
-- migrate:up transaction:false
CREATE INDEX CONCURRENTLY users_id ON users (id);

-- [2]
insert into public.schema_migrations (version) values ('20260101000003')

-- [2]
BEGIN READ WRITE

-- [2]
-- migrate:up
DO $$ BEGIN IF berth.migrate_once('orders', scope => 'scripts') THEN CREATE TABLE orders (id int); END IF; END $$;

-- [2]
insert into public.schema_migrations (version) values ('20260101000004')

-- [2]
COMMIT

-- [3]
create table if not exists public.schema_migrations (version varchar primary key)

-- [3]
BEGIN READ WRITE

-- [3] 42P07
-- migrate:up
CREATE TABLE users (id int);

-- [3]
ROLLBACK

-- [4]
create table if not exists public.schema_migrations (version varchar primary key)

-- [4]
BEGIN READ WRITE

-- [4]
-- migrate:down
DROP TABLE orders;

-- [4]
delete from public.schema_migrations where version = '20260101000004'

-- [4]
COMMIT
