-- In a database that was restored from a dump of one with the extension, a live registration and a grant.
\ir helpers.sql
BEGIN;
SELECT * FROM no_plan();

SELECT has_extension('pgberth');
SELECT is((SELECT count(*) FROM berth.broker_registration), 0::bigint, 'registrations do not come along');
SELECT is_empty('SELECT * FROM berth.brokers', 'no brokers, no errors');
SELECT ok(has_function_privilege('app2', 'berth.pause(text, interval)', 'EXECUTE'), 'grants do');
SELECT ok(has_table_privilege('app2', 'berth.pools', 'SELECT'), 'on views, too');
SELECT ok(NOT has_table_privilege('app2', 'berth.broker_registration', 'SELECT'), 'the table is for nobody');
SELECT is_empty($$ SELECT p.oid::regprocedure FROM pg_proc p CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
  WHERE p.pronamespace = 'berth'::regnamespace AND a.grantee = 0 AND p.proname NOT IN ('version', 'to_inet') $$, 'still nothing for PUBLIC');
SELECT lives_ok('DROP EXTENSION pgberth', 'it can be dropped');
SELECT hasnt_schema('berth', 'with its schema');
SELECT lives_ok('CREATE EXTENSION pgberth', 'and made anew');

SELECT * FROM finish();
ROLLBACK;
