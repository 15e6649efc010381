-- Flyway 9: not recorded, but written after its source (JdbcTableSchemaHistory, PostgreSQLDatabase), because the tool itself
-- could not be had. Each block is one statement of the session in brackets, with its SQLSTATE where it fails. A baseline; a
-- migration; a repeatable one, twice; one without a transaction that fails; repair; the corrected one; an undo.

-- [1]
CREATE TABLE "public"."flyway_schema_history" (
    "installed_rank" INT NOT NULL,
    "version" VARCHAR(50),
    "description" VARCHAR(200) NOT NULL,
    "type" VARCHAR(20) NOT NULL,
    "script" VARCHAR(1000) NOT NULL,
    "checksum" INTEGER,
    "installed_by" VARCHAR(100) NOT NULL,
    "installed_on" TIMESTAMP NOT NULL DEFAULT now(),
    "execution_time" INTEGER NOT NULL,
    "success" BOOLEAN NOT NULL
)

-- [1]
INSERT INTO "public"."flyway_schema_history" ("installed_rank", "version", "description", "type", "script", "checksum", "installed_by", "execution_time", "success") VALUES (0, NULL, '<< Flyway Schema Creation >>', 'SCHEMA', '"shop"', NULL, 'app', 0, true)

-- [1]
INSERT INTO "public"."flyway_schema_history" ("installed_rank", "version", "description", "type", "script", "checksum", "installed_by", "execution_time", "success") VALUES (1, '1', '<< Flyway Baseline >>', 'BASELINE', '<< Flyway Baseline >>', NULL, 'app', 0, true)

-- adopt

-- [2]
BEGIN

-- [2]
CREATE TABLE users (id int);

-- [2]
INSERT INTO "public"."flyway_schema_history" ("installed_rank", "version", "description", "type", "script", "checksum", "installed_by", "execution_time", "success") VALUES (2, '2', 'users', 'SQL', 'V2__users.sql', -1270385921, 'app', 12, true)

-- [2]
COMMIT

-- [2]
BEGIN

-- [2]
CREATE OR REPLACE VIEW names AS SELECT 1 AS one;

-- [2]
INSERT INTO "public"."flyway_schema_history" ("installed_rank", "version", "description", "type", "script", "checksum", "installed_by", "execution_time", "success") VALUES (3, NULL, 'names', 'SQL', 'R__names.sql', 17, 'app', 3, true)

-- [2]
COMMIT

-- [3]
BEGIN

-- [3]
CREATE OR REPLACE VIEW names AS SELECT 2 AS one;

-- [3]
INSERT INTO "public"."flyway_schema_history" ("installed_rank", "version", "description", "type", "script", "checksum", "installed_by", "execution_time", "success") VALUES (4, NULL, 'names', 'SQL', 'R__names.sql', 18, 'app', 3, true)

-- [3]
COMMIT

-- [3] 42703
CREATE INDEX CONCURRENTLY users_name ON users (name);

-- [3]
INSERT INTO "public"."flyway_schema_history" ("installed_rank", "version", "description", "type", "script", "checksum", "installed_by", "execution_time", "success") VALUES (5, '3', 'index', 'SQL', 'V3__index.sql', 99, 'app', 5, false)

-- failed

-- [4]
DELETE FROM "public"."flyway_schema_history" WHERE success = false AND version = '3'

-- [4]
UPDATE "public"."flyway_schema_history" SET "description" = 'users', "type" = 'SQL', "checksum" = 1234 WHERE "version" = '2'

-- [5]
CREATE INDEX CONCURRENTLY users_id ON users (id);

-- [5]
INSERT INTO "public"."flyway_schema_history" ("installed_rank", "version", "description", "type", "script", "checksum", "installed_by", "execution_time", "success") VALUES (5, '3', 'index', 'SQL', 'V3__index.sql', 100, 'app', 5, true)

-- [6]
BEGIN

-- [6]
DROP INDEX users_id;

-- [6]
INSERT INTO "public"."flyway_schema_history" ("installed_rank", "version", "description", "type", "script", "checksum", "installed_by", "execution_time", "success") VALUES (6, '3', 'index', 'UNDO_SQL', 'U3__index.sql', 7, 'app', 2, true)

-- [6]
COMMIT
