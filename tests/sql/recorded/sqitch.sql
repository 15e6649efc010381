-- sqitch 1.3.1: recorded by tests/tools/run.py --record, without what only reads. Each block is one statement
-- of the session in brackets, with its SQLSTATE where it fails.

-- [1]
SET client_min_messages = WARNING

-- [1]
SET search_path = 'sqitch'

-- [1]
DO $$
BEGIN
SET LOCAL client_min_messages = 'ERROR';
RAISE WARNING USING ERRCODE = 'undefined_table', MESSAGE = 'Sqitch registry not initialized', DETAIL = 'Because the "changes" table does not exist, Sqitch will now initialize the database to create its registry tables.';
END;
$$

-- [2]
BEGIN;

-- [2]
SET client_min_messages = warning;

-- [2]
CREATE SCHEMA IF NOT EXISTS "sqitch";

-- [2]
CREATE TABLE "sqitch".releases (
version         REAL        PRIMARY KEY,
installed_at    TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
installer_name  TEXT        NOT NULL,
installer_email TEXT        NOT NULL
);

-- [2]
CREATE TABLE "sqitch".projects (
project         TEXT        PRIMARY KEY,
uri             TEXT            NULL UNIQUE,
created_at      TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
creator_name    TEXT        NOT NULL,
creator_email   TEXT        NOT NULL
);

-- [2]
CREATE TABLE "sqitch".changes (
change_id       TEXT        PRIMARY KEY,
script_hash     TEXT            NULL,
change          TEXT        NOT NULL,
project         TEXT        NOT NULL REFERENCES "sqitch".projects(project) ON UPDATE CASCADE,
note            TEXT        NOT NULL DEFAULT '',
committed_at    TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
committer_name  TEXT        NOT NULL,
committer_email TEXT        NOT NULL,
planned_at      TIMESTAMPTZ NOT NULL,
planner_name    TEXT        NOT NULL,
planner_email   TEXT        NOT NULL,
UNIQUE(project, script_hash)
);

-- [2]
CREATE TABLE "sqitch".tags (
tag_id          TEXT        PRIMARY KEY,
tag             TEXT        NOT NULL,
project         TEXT        NOT NULL REFERENCES "sqitch".projects(project) ON UPDATE CASCADE,
change_id       TEXT        NOT NULL REFERENCES "sqitch".changes(change_id) ON UPDATE CASCADE,
note            TEXT        NOT NULL DEFAULT '',
committed_at    TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
committer_name  TEXT        NOT NULL,
committer_email TEXT        NOT NULL,
planned_at      TIMESTAMPTZ NOT NULL,
planner_name    TEXT        NOT NULL,
planner_email   TEXT        NOT NULL,
UNIQUE(project, tag)
);

-- [2]
CREATE TABLE "sqitch".dependencies (
change_id       TEXT        NOT NULL REFERENCES "sqitch".changes(change_id) ON UPDATE CASCADE ON DELETE CASCADE,
type            TEXT        NOT NULL,
dependency      TEXT        NOT NULL,
dependency_id   TEXT            NULL REFERENCES "sqitch".changes(change_id) ON UPDATE CASCADE CONSTRAINT dependencies_check CHECK (
(type = 'require'  AND dependency_id IS NOT NULL)
OR (type = 'conflict' AND dependency_id IS NULL)
),
PRIMARY KEY (change_id, dependency)
);

-- [2]
CREATE TABLE "sqitch".events (
event           TEXT        NOT NULL CONSTRAINT events_event_check CHECK (
event IN ('deploy', 'revert', 'fail', 'merge')
),
change_id       TEXT        NOT NULL,
change          TEXT        NOT NULL,
project         TEXT        NOT NULL REFERENCES "sqitch".projects(project) ON UPDATE CASCADE,
note            TEXT        NOT NULL DEFAULT '',
requires        TEXT[]      NOT NULL DEFAULT '{}',
conflicts       TEXT[]      NOT NULL DEFAULT '{}',
tags            TEXT[]      NOT NULL DEFAULT '{}',
committed_at    TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
committer_name  TEXT        NOT NULL,
committer_email TEXT        NOT NULL,
planned_at      TIMESTAMPTZ NOT NULL,
planner_name    TEXT        NOT NULL,
planner_email   TEXT        NOT NULL,
PRIMARY KEY (change_id, committed_at)
);

-- [2]
COMMIT;

-- [1]
SET search_path = 'sqitch'

-- [1]
begin

-- [1]
LOCK TABLE changes IN EXCLUSIVE MODE

-- [1]
INSERT INTO releases (version, installed_at, installer_name, installer_email)
VALUES ('1.1', clock_timestamp(), 'Tester', 'tester@example.org')

-- [1]
commit

-- [1]
INSERT INTO projects (project, uri, creator_name, creator_email, created_at)
VALUES ('shop', NULL, 'Tester', 'tester@example.org', clock_timestamp())

-- [1]
begin

-- [1]
LOCK TABLE changes IN EXCLUSIVE MODE

-- [3]
BEGIN;

-- [3]
CREATE TABLE users (id int);

-- [3]
COMMIT;

-- [1]
INSERT INTO changes (
change_id
, script_hash
, change
, project
, note
, committer_name
, committer_email
, planned_at
, planner_name
, planner_email
, committed_at
)
VALUES ('d193fd7ee667bc84adb89d7954ba114504fdd752', '8bac94702be613f1eee646eac5e2f2e785f28e95', 'users', 'shop', 'users', 'Tester', 'tester@example.org', '2026-01-01 00:00:01+00', 'Tester', 'tester@example.org', clock_timestamp())

-- [1]
INSERT INTO events (
event
, change_id
, change
, project
, note
, tags
, requires
, conflicts
, committer_name
, committer_email
, planned_at
, planner_name
, planner_email
, committed_at
)
VALUES ('deploy', 'd193fd7ee667bc84adb89d7954ba114504fdd752', 'users', 'shop', 'users', '{}', '{}', '{}', 'Tester', 'tester@example.org', '2026-01-01 00:00:01+00', 'Tester', 'tester@example.org', clock_timestamp())

-- [1]
commit

-- adopt

-- [4]
SET client_min_messages = WARNING

-- [4]
SET search_path = 'sqitch'

-- [4]
begin

-- [4]
LOCK TABLE changes IN EXCLUSIVE MODE

-- [5]
BEGIN;

-- [5]
SELECT berth.lock_tables('users');

-- [5]
ALTER TABLE users ADD name text;

-- [5]
COMMIT;

-- [4]
INSERT INTO changes (
change_id
, script_hash
, change
, project
, note
, committer_name
, committer_email
, planned_at
, planner_name
, planner_email
, committed_at
)
VALUES ('46e8f03c713985091baf2be172b3f8a8740bf66e', 'ac01dbb8001f5eb33a826d35405f5219c013d308', 'users_name', 'shop', 'users_name', 'Tester', 'tester@example.org', '2026-01-01 00:00:02+00', 'Tester', 'tester@example.org', clock_timestamp())

-- [4]
INSERT INTO dependencies(
change_id
, type
, dependency
, dependency_id
) VALUES ('46e8f03c713985091baf2be172b3f8a8740bf66e', 'require', 'users', 'd193fd7ee667bc84adb89d7954ba114504fdd752')

-- [4]
INSERT INTO events (
event
, change_id
, change
, project
, note
, tags
, requires
, conflicts
, committer_name
, committer_email
, planned_at
, planner_name
, planner_email
, committed_at
)
VALUES ('deploy', '46e8f03c713985091baf2be172b3f8a8740bf66e', 'users_name', 'shop', 'users_name', '{}', '{users}', '{}', 'Tester', 'tester@example.org', '2026-01-01 00:00:02+00', 'Tester', 'tester@example.org', clock_timestamp())

-- [4]
commit

-- [4]
begin

-- [4]
LOCK TABLE changes IN EXCLUSIVE MODE

-- [6]
CREATE INDEX CONCURRENTLY users_id ON users (id);

-- [4]
INSERT INTO changes (
change_id
, script_hash
, change
, project
, note
, committer_name
, committer_email
, planned_at
, planner_name
, planner_email
, committed_at
)
VALUES ('f7b922f1587c307e653a58fb4473c6fdb0003c3e', '9b5e2faaf866101434a99312b7b2bf79533382cf', 'users_id', 'shop', 'users_id', 'Tester', 'tester@example.org', '2026-01-01 00:00:03+00', 'Tester', 'tester@example.org', clock_timestamp())

-- [4]
INSERT INTO dependencies(
change_id
, type
, dependency
, dependency_id
) VALUES ('f7b922f1587c307e653a58fb4473c6fdb0003c3e', 'require', 'users_name', '46e8f03c713985091baf2be172b3f8a8740bf66e')

-- [4]
INSERT INTO events (
event
, change_id
, change
, project
, note
, tags
, requires
, conflicts
, committer_name
, committer_email
, planned_at
, planner_name
, planner_email
, committed_at
)
VALUES ('deploy', 'f7b922f1587c307e653a58fb4473c6fdb0003c3e', 'users_id', 'shop', 'users_id', '{}', '{users_name}', '{}', 'Tester', 'tester@example.org', '2026-01-01 00:00:03+00', 'Tester', 'tester@example.org', clock_timestamp())

-- [4]
commit

-- [4]
begin

-- [4]
LOCK TABLE changes IN EXCLUSIVE MODE

-- [7]
BEGIN;

-- [7]
DO $$ BEGIN IF berth.migrate_once('orders', scope => 'scripts') THEN CREATE TABLE orders (id int); END IF; END $$;

-- [7]
COMMIT;

-- [4]
INSERT INTO changes (
change_id
, script_hash
, change
, project
, note
, committer_name
, committer_email
, planned_at
, planner_name
, planner_email
, committed_at
)
VALUES ('49a48ef7bfe53d166e0aac6b3cb5ce11e5b5202a', 'b7e10522b86d00b903e62f0a28351449d05b2fe8', 'orders', 'shop', 'orders', 'Tester', 'tester@example.org', '2026-01-01 00:00:04+00', 'Tester', 'tester@example.org', clock_timestamp())

-- [4]
INSERT INTO dependencies(
change_id
, type
, dependency
, dependency_id
) VALUES ('49a48ef7bfe53d166e0aac6b3cb5ce11e5b5202a', 'require', 'users_id', 'f7b922f1587c307e653a58fb4473c6fdb0003c3e')

-- [4]
INSERT INTO events (
event
, change_id
, change
, project
, note
, tags
, requires
, conflicts
, committer_name
, committer_email
, planned_at
, planner_name
, planner_email
, committed_at
)
VALUES ('deploy', '49a48ef7bfe53d166e0aac6b3cb5ce11e5b5202a', 'orders', 'shop', 'orders', '{}', '{users_id}', '{}', 'Tester', 'tester@example.org', '2026-01-01 00:00:04+00', 'Tester', 'tester@example.org', clock_timestamp())

-- [4]
commit

-- [8]
SET client_min_messages = WARNING

-- [8]
SET search_path = 'sqitch'

-- [9]
SET client_min_messages = WARNING

-- [9]
SET search_path = 'sqitch'

-- [9]
begin

-- [9]
LOCK TABLE changes IN EXCLUSIVE MODE

-- [10]
BEGIN;

-- [10] 42P07
CREATE TABLE users (id int);

-- [9]
INSERT INTO events (
event
, change_id
, change
, project
, note
, tags
, requires
, conflicts
, committer_name
, committer_email
, planned_at
, planner_name
, planner_email
, committed_at
)
VALUES ('fail', 'e2f49b0b2fd59f5a925f77d10dcfaad1242e2c34', 'broken', 'shop', 'broken', '{}', '{orders}', '{}', 'Tester', 'tester@example.org', '2026-01-01 00:00:05+00', 'Tester', 'tester@example.org', clock_timestamp())

-- [9]
commit

-- [11]
SET client_min_messages = WARNING

-- [11]
SET search_path = 'sqitch'

-- [11]
begin

-- [11]
LOCK TABLE changes IN EXCLUSIVE MODE

-- [12]
BEGIN;

-- [12]
DROP TABLE orders;

-- [12]
COMMIT;

-- [11]
DELETE FROM tags WHERE change_id = '49a48ef7bfe53d166e0aac6b3cb5ce11e5b5202a' RETURNING tag

-- [11]
DELETE FROM changes where change_id = '49a48ef7bfe53d166e0aac6b3cb5ce11e5b5202a'

-- [11]
INSERT INTO events (
event
, change_id
, change
, project
, note
, tags
, requires
, conflicts
, committer_name
, committer_email
, planned_at
, planner_name
, planner_email
, committed_at
)
VALUES ('revert', '49a48ef7bfe53d166e0aac6b3cb5ce11e5b5202a', 'orders', 'shop', 'orders', '{}', '{users_id}', '{}', 'Tester', 'tester@example.org', '2026-01-01 00:00:04+00', 'Tester', 'tester@example.org', clock_timestamp())

-- [11]
commit
