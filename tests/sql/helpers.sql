-- Included by the tests: quiet psql, and a statement as another role.
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP 1
SET client_min_messages = error;

-- The first value that a statement gives to a role, or the SQLSTATE of its error.
CREATE FUNCTION pg_temp.as_role(role text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  answer text;
BEGIN
  EXECUTE format('SET LOCAL ROLE %I', role);
  BEGIN
    EXECUTE statement INTO answer;
  EXCEPTION WHEN OTHERS THEN
    answer := SQLSTATE;
  END;
  RESET ROLE;
  RETURN answer;
END $$;

-- How many descriptors of this backend are sockets or epoll sets: none may be left by a call.
CREATE FUNCTION pg_temp.descriptors() RETURNS bigint LANGUAGE sql AS
  $$ SELECT count(*) FROM pg_catalog.pg_ls_dir('/proc/self/fd') $$;

-- Resident memory of this backend in kilobytes.
CREATE FUNCTION pg_temp.resident_kb() RETURNS bigint LANGUAGE sql AS
  $$ SELECT (regexp_match(pg_catalog.pg_read_file('/proc/self/status'), 'VmRSS:\s+(\d+)'))[1]::bigint $$;

-- The error of a statement: its SQLSTATE, message, detail and hint; NULL if there is none.
CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  message text;
  detail text;
  hint text;
BEGIN
  EXECUTE statement;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  RETURN ARRAY[SQLSTATE, message, detail, hint];
END $$;

-- is() of texts, whatever the types of the elements were.
CREATE FUNCTION pg_temp.same(have text[], want text[], name text) RETURNS text LANGUAGE sql AS $$ SELECT is($1, $2, $3) $$;
