-- A table for messages that must leave once and only once: they are written in the transaction that they tell of.
\set ON_ERROR_STOP on
\set body `cat 0195_outbox.sql`
BEGIN;
SELECT berth.migrate_once('0195', 'outbox', checksum => berth.checksum(:'body'), info => '{"tool": "psql"}') AS go \gset
\if :go
CREATE TABLE outbox (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  key        text NOT NULL UNIQUE,  -- the receiver's protection against doubles
  payload    jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  sent_at    timestamptz
);
-- The table is empty, so nobody waits for this index.
CREATE INDEX outbox_unsent ON outbox (id) WHERE sent_at IS NULL;
SELECT berth.add_check('0195', 'post', 'messages find their index',
  $$SELECT count(*) = 1 FROM pg_index WHERE indexrelid = 'outbox_unsent'::regclass AND indisvalid$$);
\endif
COMMIT;
