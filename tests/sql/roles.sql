-- berth.role_generation(): it grows with each change of a role, whoever makes it, and stays otherwise.
\ir helpers.sql
BEGIN;
SELECT * FROM no_plan();

CREATE TEMP TABLE seen (at serial, generation int8);
-- What the number did since the last call.
CREATE FUNCTION pg_temp.moved() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  before int8 := (SELECT generation FROM seen ORDER BY at DESC LIMIT 1);
  now int8 := berth.role_generation();
BEGIN
  INSERT INTO seen (generation) VALUES (now);
  RETURN CASE WHEN before IS NULL THEN 'first' WHEN now = before THEN 'same' WHEN now > before THEN 'more' ELSE 'less' END;
END $$;

SELECT is(pg_temp.moved(), 'first');
SELECT is(pg_temp.moved(), 'same', 'nothing has changed');
CREATE ROLE generation_test LOGIN;
SELECT is(pg_temp.moved(), 'more', 'CREATE ROLE');
ALTER ROLE generation_test PASSWORD 'a';
SELECT is(pg_temp.moved(), 'more', 'a password');
ALTER ROLE generation_test VALID UNTIL '2020-01-01';
SELECT is(pg_temp.moved(), 'more', 'VALID UNTIL');
ALTER ROLE generation_test NOLOGIN;
SELECT is(pg_temp.moved(), 'more', 'NOLOGIN');
ALTER ROLE generation_test RENAME TO generation_test_2;
SELECT is(pg_temp.moved(), 'more', 'another name');
CREATE TEMP TABLE generation_test (a int);
DROP TABLE generation_test;
ANALYZE pg_class;
SELECT is(pg_temp.moved(), 'same', 'what is no role does not matter');
DROP ROLE generation_test_2;
SELECT is(pg_temp.moved(), 'more', 'DROP ROLE');

SELECT is(pg_temp.as_role('nobody_special', 'SELECT berth.role_generation()'), '42501', 'PUBLIC may not ask');
SELECT berth.grant_access('app3', 'broker');
SELECT matches(pg_temp.as_role('app3', 'SELECT berth.role_generation()'), '^[0-9]+$', 'a broker''s role may, and need be no superuser');

SELECT * FROM finish();
ROLLBACK;
