-- golang-migrate v4: not recorded, but written after its source (database/postgres/postgres.go: Lock, ensureVersionTable,
-- SetVersion, Run), because the tool itself could not be had. Each block is one statement of the session in brackets, with its
-- SQLSTATE where it fails. Up to 3 of which the third fails; force 2; down 1.

-- [1]
SELECT pg_advisory_lock(1234)

-- [1]
CREATE TABLE IF NOT EXISTS "public"."schema_migrations" (version bigint not null primary key, dirty boolean not null)

-- [1]
SELECT pg_advisory_unlock(1234)

-- [1]
BEGIN

-- [1]
TRUNCATE "public"."schema_migrations"

-- [1]
INSERT INTO "public"."schema_migrations" (version, dirty) VALUES (1, true)

-- [1]
COMMIT

-- [1]
CREATE TABLE users (id int);

-- [1]
BEGIN

-- [1]
TRUNCATE "public"."schema_migrations"

-- [1]
INSERT INTO "public"."schema_migrations" (version, dirty) VALUES (1, false)

-- [1]
COMMIT

-- adopt

-- [2]
SELECT pg_advisory_lock(1234)

-- [2]
BEGIN

-- [2]
TRUNCATE "public"."schema_migrations"

-- [2]
INSERT INTO "public"."schema_migrations" (version, dirty) VALUES (2, true)

-- [2]
COMMIT

-- [2]
SELECT berth.lock_tables('users'); ALTER TABLE users ADD name text;

-- [2]
BEGIN

-- [2]
TRUNCATE "public"."schema_migrations"

-- [2]
INSERT INTO "public"."schema_migrations" (version, dirty) VALUES (2, false)

-- [2]
COMMIT

-- [2]
BEGIN

-- [2]
TRUNCATE "public"."schema_migrations"

-- [2]
INSERT INTO "public"."schema_migrations" (version, dirty) VALUES (3, true)

-- [2]
COMMIT

-- [2] 42P07
CREATE TABLE users (id int);

-- [2]
SELECT pg_advisory_unlock(1234)

-- failed

-- [3]
BEGIN

-- [3]
TRUNCATE "public"."schema_migrations"

-- [3]
INSERT INTO "public"."schema_migrations" (version, dirty) VALUES (2, false)

-- [3]
COMMIT

-- [4]
SELECT pg_advisory_lock(1234)

-- [4]
BEGIN

-- [4]
TRUNCATE "public"."schema_migrations"

-- [4]
INSERT INTO "public"."schema_migrations" (version, dirty) VALUES (1, true)

-- [4]
COMMIT

-- [4]
ALTER TABLE users DROP name;

-- [4]
BEGIN

-- [4]
TRUNCATE "public"."schema_migrations"

-- [4]
INSERT INTO "public"."schema_migrations" (version, dirty) VALUES (1, false)

-- [4]
COMMIT
