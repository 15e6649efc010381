-- Migration tracking: what was applied to this database, by whom, in which order, with what result.
--
-- Two modes. Transactional: one call (migrate_once) inside the script's own transaction, and the history commits or vanishes
-- with the DDL. Stepwise: calls in autocommit journal each step, for what cannot run inside a transaction.
--
-- This file is put together from sql/migration/*.sql, in the order of their names.
\echo Use "ALTER EXTENSION pgberth UPDATE" or "CREATE EXTENSION pgberth" to load this file. \quit

-- Numbers compare as numbers: 9 before 10, 1.9 before 1.10, 0194 before 0195_b.
CREATE FUNCTION berth.version_key(version pg_catalog.text) RETURNS pg_catalog.text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT (COALESCE(pg_catalog.string_agg(CASE WHEN part[1] OPERATOR(pg_catalog.~) '^[0-9]' THEN
             pg_catalog.lpad(pg_catalog.length(pg_catalog.ltrim(part[1], '0'))::pg_catalog.text, 3, '0')
             OPERATOR(pg_catalog.||) pg_catalog.ltrim(part[1], '0') ELSE part[1] END, '' ORDER BY number), '')
          OPERATOR(pg_catalog.||) ' ' OPERATOR(pg_catalog.||) $1) COLLATE "C"
    FROM pg_catalog.regexp_matches($1, '[0-9]+|[^0-9]+', 'g') WITH ORDINALITY parts (part, number)
$$;
COMMENT ON FUNCTION berth.version_key(pg_catalog.text) IS 'What versions are ordered by: numbers in them compare as numbers';

-- Tables ----------------------------------------------------------------------------------------------------------------

-- What holds now: one row for each version of each scope. Events are in migration_run.
CREATE TABLE berth.migration (
  scope         pg_catalog.text NOT NULL,
  version       pg_catalog.text NOT NULL,
  kind          pg_catalog.text NOT NULL CHECK (kind IN ('versioned', 'repeatable', 'baseline')),
  seq           pg_catalog.int8 NOT NULL GENERATED ALWAYS AS IDENTITY,
  description   pg_catalog.text,
  checksum      pg_catalog.text,
  checksum_algo pg_catalog.text,
  requires      pg_catalog.text[] NOT NULL DEFAULT '{}',
  conflicts     pg_catalog.text[] NOT NULL DEFAULT '{}',
  out_of_order  pg_catalog.bool NOT NULL DEFAULT false,
  app_min       pg_catalog.text,
  app_max       pg_catalog.text,
  state         pg_catalog.text NOT NULL CHECK (state IN ('applied', 'expanded', 'contracted', 'reverted', 'skipped')),
  applied_at    pg_catalog.timestamptz NOT NULL,
  applied_by    pg_catalog.name NOT NULL,
  last_run      pg_catalog.int8,
  duration      pg_catalog.interval,         -- that of last_run, so that migration_status() need not look at each run
  sort_key      pg_catalog.text COLLATE "C" NOT NULL GENERATED ALWAYS AS (berth.version_key(version)) STORED,
  PRIMARY KEY (scope, version)
);
CREATE INDEX migration_in_order ON berth.migration (scope, sort_key);
CREATE INDEX migration_of_run ON berth.migration (last_run);
CREATE INDEX migration_baselines ON berth.migration (scope, sort_key) WHERE kind = 'baseline' AND state = 'applied';
CREATE INDEX migration_conflicting ON berth.migration (scope) WHERE conflicts <> '{}';
CREATE INDEX migration_window ON berth.migration (scope) WHERE app_min IS NOT NULL OR app_max IS NOT NULL;
COMMENT ON TABLE berth.migration IS 'What is applied to this database now: one row for each version of each scope';

-- Every attempt. A row does not change once it is closed, but for its resolution.
CREATE TABLE berth.migration_run (
  run_id           pg_catalog.int8 PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  scope            pg_catalog.text NOT NULL,
  version          pg_catalog.text NOT NULL,
  direction        pg_catalog.text NOT NULL CHECK (direction IN ('apply', 'revert', 'baseline', 'repair')),
  mode             pg_catalog.text NOT NULL CHECK (mode IN ('tx', 'step')),
  status           pg_catalog.text NOT NULL CHECK (status IN ('running', 'done', 'failed', 'interrupted', 'resolved')),
  attempt          pg_catalog.int4 NOT NULL,
  resumed_from     pg_catalog.int8,          -- the run whose finished steps this one does not repeat
  started_at       pg_catalog.timestamptz NOT NULL,
  finished_at      pg_catalog.timestamptz,
  duration         pg_catalog.interval GENERATED ALWAYS AS (finished_at OPERATOR(pg_catalog.-) started_at) STORED,
  xid              pg_catalog.xid8,          -- of the transaction (tx), or of the one that began the run (step)
  usename          pg_catalog.name NOT NULL, -- who logged in
  role_name        pg_catalog.name NOT NULL, -- whose rights it had, after SET ROLE
  application_name pg_catalog.text,
  client_addr      pg_catalog.inet,
  broker_client    pg_catalog.text,          -- the client behind the backend, as its broker knows it
  pid              pg_catalog.int4 NOT NULL, -- the backend that was last seen at it
  backend_start    pg_catalog.timestamptz,
  tool             pg_catalog.text,
  tool_version     pg_catalog.text,
  source_ref       pg_catalog.text,
  info             pg_catalog.jsonb NOT NULL DEFAULT '{}',
  request          pg_catalog.jsonb NOT NULL DEFAULT '{}', -- the arguments, which finish() turns into the row of migration
  lock_wait        pg_catalog.interval,
  hold_time        pg_catalog.interval,      -- from the first lock of lock_tables to the end of the transaction
  lock_attempts    pg_catalog.int4,
  sqlstate         pg_catalog.text,
  message          pg_catalog.text,
  detail           pg_catalog.text,
  hint             pg_catalog.text,
  context          pg_catalog.text,
  failed_step      pg_catalog.int4,
  outcome          pg_catalog.text CHECK (outcome IN ('applied', 'reverted', 'retry', 'accept')),
  reason           pg_catalog.text,          -- given to migration_resolve
  resolved_by      pg_catalog.name,
  resolved_at      pg_catalog.timestamptz,
  cluster          pg_catalog.text NOT NULL  -- where it ran: a copy of the database does not believe in running work
);
CREATE INDEX migration_run_of_version ON berth.migration_run (scope, version, run_id);
CREATE INDEX migration_run_open ON berth.migration_run (scope) WHERE status IN ('running', 'failed', 'interrupted');
CREATE INDEX migration_run_undone ON berth.migration_run (scope, version) WHERE status = 'resolved' AND outcome = 'reverted';
COMMENT ON TABLE berth.migration_run IS 'Every attempt to apply or to revert a migration';

-- No foreign key, here and below: the one of an extension's table is there before the rows of a dump, and pg_restore -j copies tables
-- in any order. Runs are never deleted.
CREATE TABLE berth.migration_step (
  run_id       pg_catalog.int8 NOT NULL,
  step_no      pg_catalog.int4 NOT NULL,
  label        pg_catalog.text NOT NULL,
  kind         pg_catalog.text NOT NULL CHECK (kind IN ('sql', 'index', 'backfill', 'validate')),
  sql_hash     pg_catalog.text,
  status       pg_catalog.text NOT NULL CHECK (status IN ('pending', 'running', 'done', 'failed', 'skipped')),
  attempts     pg_catalog.int4 NOT NULL DEFAULT 0,
  started_at   pg_catalog.timestamptz,
  finished_at  pg_catalog.timestamptz,
  rows_done    pg_catalog.int8,
  rows_total   pg_catalog.int8,              -- an estimate
  cursor_value pg_catalog.text,              -- the last key that a backfill has committed
  settles      pg_catalog.bool,              -- a backfill's condition was false for each row after its update
  sqlstate     pg_catalog.text,
  message      pg_catalog.text,
  PRIMARY KEY (run_id, step_no)
);
COMMENT ON TABLE berth.migration_step IS 'The steps of stepwise runs, each with its result';

-- Who may change a scope now, over several transactions and connections. Never part of a dump.
CREATE TABLE berth.migration_lease (
  scope         pg_catalog.text PRIMARY KEY,
  token         pg_catalog.uuid NOT NULL,
  run_id        pg_catalog.int8,
  holder        pg_catalog.text NOT NULL,
  pid           pg_catalog.int4 NOT NULL,    -- the backend that was last seen
  backend_start pg_catalog.timestamptz,
  via_broker    pg_catalog.bool NOT NULL,    -- then the backend is not the client's own, and its life tells nothing
  ttl           pg_catalog.interval NOT NULL,
  acquired_at   pg_catalog.timestamptz NOT NULL,
  renewed_at    pg_catalog.timestamptz NOT NULL,
  expires_at    pg_catalog.timestamptz NOT NULL
);
COMMENT ON TABLE berth.migration_lease IS 'Who is migrating a scope: a lease that ends by itself';

-- Queries whose answers say whether a version may run (pre) and whether it holds (post).
CREATE TABLE berth.migration_check (
  scope         pg_catalog.text NOT NULL,
  version       pg_catalog.text NOT NULL,
  phase         pg_catalog.text NOT NULL CHECK (phase IN ('pre', 'post')),
  name          pg_catalog.text NOT NULL,
  query         pg_catalog.text NOT NULL,
  expect        pg_catalog.text,             -- NULL can be expected
  severity      pg_catalog.text NOT NULL DEFAULT 'error' CHECK (severity IN ('error', 'warn')),
  registered_by pg_catalog.name NOT NULL,    -- whose text it is: berth.refusal()
  login         pg_catalog.name NOT NULL,    -- who had logged in and, by SET ROLE, was that
  registered_at pg_catalog.timestamptz NOT NULL,
  PRIMARY KEY (scope, version, phase, name)
);
COMMENT ON TABLE berth.migration_check IS 'Queries that are asked before and after a version, and by migration_verify';

CREATE TABLE berth.migration_check_result (
  result_id pg_catalog.int8 PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  run_id    pg_catalog.int8,                 -- NULL: of migration_verify
  scope     pg_catalog.text NOT NULL,
  version   pg_catalog.text NOT NULL,
  name      pg_catalog.text NOT NULL,
  ok        pg_catalog.bool NOT NULL,
  got       pg_catalog.text,
  at        pg_catalog.timestamptz NOT NULL,
  duration  pg_catalog.interval NOT NULL,
  asked_by  pg_catalog.name NOT NULL DEFAULT SESSION_USER
);
CREATE INDEX migration_check_result_of_run ON berth.migration_check_result (run_id);
CREATE INDEX migration_check_result_of_version ON berth.migration_check_result (scope, version, at);
COMMENT ON TABLE berth.migration_check_result IS 'What checks, expect() and migration_verify() found';

-- Runs of transactions that are not committed yet, whose checks are made by the commit. Always empty for everybody else.
CREATE TABLE berth.migration_checks_due (run_id pg_catalog.int8 PRIMARY KEY);
COMMENT ON TABLE berth.migration_checks_due IS 'Internal: whose checks the commit makes';

-- What a release consists of, so that what is pending is visible in SQL.
CREATE TABLE berth.migration_plan (
  scope       pg_catalog.text NOT NULL DEFAULT 'default',
  version     pg_catalog.text NOT NULL,
  ord         pg_catalog.int8 NOT NULL GENERATED BY DEFAULT AS IDENTITY,
  description pg_catalog.text,
  checksum    pg_catalog.text,
  kind        pg_catalog.text NOT NULL DEFAULT 'versioned' CHECK (kind IN ('versioned', 'repeatable')),
  sort_key    pg_catalog.text COLLATE "C" NOT NULL GENERATED ALWAYS AS (berth.version_key(version)) STORED,
  PRIMARY KEY (scope, version)
);
CREATE INDEX migration_plan_in_order ON berth.migration_plan (scope, sort_key);
COMMENT ON TABLE berth.migration_plan IS 'What should be applied; what is not, is pending';

-- Rules for a scope, or for all of them (*). What is not here has its default: berth.policy().
CREATE TABLE berth.migration_policy (
  scope  pg_catalog.text NOT NULL DEFAULT '*',
  rule   pg_catalog.text NOT NULL CHECK (rule IN ('out_of_order', 'checksum', 'table_rewrite', 'unattributed_ddl',
                                                  'invalid_index')),
  action pg_catalog.text NOT NULL CHECK (action IN ('off', 'log', 'warn', 'error')),
  PRIMARY KEY (scope, rule)
);
COMMENT ON TABLE berth.migration_policy IS 'Rules: what to do about each kind of irregularity';

-- DDL as it happened, written by the event triggers of berth.enable_ddl_log().
CREATE TABLE berth.ddl_log (
  id               pg_catalog.int8 PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  at               pg_catalog.timestamptz NOT NULL,
  xid              pg_catalog.xid8,
  pid              pg_catalog.int4 NOT NULL,
  usename          pg_catalog.name NOT NULL,
  application_name pg_catalog.text,
  run_id           pg_catalog.int8,          -- NULL: no migration, so it is drift
  event            pg_catalog.text NOT NULL,
  tag              pg_catalog.text NOT NULL,
  object_type      pg_catalog.text,
  object_oid       pg_catalog.oid,
  identity         pg_catalog.text,
  in_extension     pg_catalog.bool NOT NULL DEFAULT false,
  statement_sha    pg_catalog.text,
  statement        pg_catalog.text
);
CREATE INDEX ddl_log_at ON berth.ddl_log (at);
CREATE INDEX ddl_log_of_run ON berth.ddl_log (run_id);
-- Identities of functions with many arguments are longer than an index bears.
CREATE INDEX ddl_log_stray ON berth.ddl_log (pg_catalog.left(identity, 500), id) WHERE run_id IS NULL AND NOT in_extension;
COMMENT ON TABLE berth.ddl_log IS 'Every DDL statement, and the migration that it belongs to';

-- Dumps keep the history with its sequences, and nothing that was running.
SELECT pg_catalog.pg_extension_config_dump('berth.migration', '');
SELECT pg_catalog.pg_extension_config_dump('berth.migration_seq_seq', '');
SELECT pg_catalog.pg_extension_config_dump('berth.migration_run', 'WHERE status <> ''running''');
SELECT pg_catalog.pg_extension_config_dump('berth.migration_run_run_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('berth.migration_step',
  'WHERE run_id IN (SELECT run_id FROM berth.migration_run WHERE status <> ''running'')');
SELECT pg_catalog.pg_extension_config_dump('berth.migration_check', '');
SELECT pg_catalog.pg_extension_config_dump('berth.migration_check_result',
  'WHERE run_id IS NULL OR run_id IN (SELECT run_id FROM berth.migration_run WHERE status <> ''running'')');
SELECT pg_catalog.pg_extension_config_dump('berth.migration_check_result_result_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('berth.migration_plan', '');
SELECT pg_catalog.pg_extension_config_dump('berth.migration_plan_ord_seq', '');
SELECT pg_catalog.pg_extension_config_dump('berth.migration_policy', '');
SELECT pg_catalog.pg_extension_config_dump('berth.ddl_log', '');
SELECT pg_catalog.pg_extension_config_dump('berth.ddl_log_id_seq', '');
