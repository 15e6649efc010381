-- Who may do what: PUBLIC nothing, by level the rest; secrets nobody.
\ir helpers.sql
BEGIN;
SELECT * FROM no_plan();

SELECT is_empty($$ SELECT p.oid::regprocedure FROM pg_proc p CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
  WHERE p.pronamespace = 'berth'::regnamespace AND a.grantee = 0 AND p.proname NOT IN ('version', 'to_inet') $$,
  'PUBLIC may execute nothing that writes or connects out');
SELECT is_empty($$ SELECT c.relname FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
  WHERE c.relnamespace = 'berth'::regnamespace AND a.grantee = 0 $$, 'nor read anything');
SELECT ok(NOT has_schema_privilege('nobody_special', 'berth', 'USAGE'), 'nor use the schema');
SELECT is_empty($$ SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'berth'::regnamespace AND p.prosecdef
  AND 'search_path=pg_catalog, pg_temp' <> ALL (coalesce(p.proconfig, '{}')) $$, 'SECURITY DEFINER has a fixed search_path');
SELECT is_empty($$ SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'berth'::regnamespace AND NOT p.prosecdef
  AND p.proname IN ('register_broker', 'heartbeat', 'deregister_broker', 'show', 'console', 'broker_states', 'pause', 'resume',
                    'reconnect', 'reload', 'kill_client') $$, 'what is granted runs as its owner');

SELECT is(pg_temp.as_role('nobody_special', 'SELECT count(*) FROM berth.pools'), '42501', 'nothing without a grant');
SELECT is(pg_temp.as_role('monitor', 'SELECT count(*) FROM berth.brokers'), '1', 'members of pg_monitor read');

-- Statements by role and what they come to: a value or the SQLSTATE of the refusal.
CREATE TEMP TABLE attempt (name text, statement text);
INSERT INTO attempt VALUES
  ('secret', 'SELECT secret FROM berth.broker_registration'),
  ('targets', 'SELECT secret FROM berth.targets()'),
  ('exchange', $$ SELECT problem FROM berth.exchange('{x}', '{host=127.0.0.1}', '{x}', '{SHOW POOLS}', 1, 100, true) $$),
  ('ask', $$ SELECT problem FROM berth.ask('{SHOW POOLS}', 1, 100, true, NULL) $$),
  ('command', $$ SELECT message FROM berth.command('SHUTDOWN', 100, NULL) $$),
  ('setting', 'SELECT current_setting($$berth.brokers$$)'),
  ('set', 'SET berth.brokers = $$host=127.0.0.1$$'),
  ('grant', 'SELECT berth.grant_access($$nobody_special$$, $$control$$)'),
  ('console', $$ SELECT count(*) FROM berth.console('PAUSE') $$),
  ('two', $$ SELECT count(*) FROM berth.console('SHOW POOLS; PAUSE') $$),
  ('show', $$ SELECT count(*) FROM berth.show('{PAUSE}') $$),
  ('register', $$ SELECT berth.register_broker('a', 'a', 'a', 'a', 'a', now()) $$),
  ('heartbeat', 'SELECT berth.heartbeat($$a$$)'),
  ('pause', 'SELECT ok FROM berth.pause()'), ('resume', 'SELECT ok FROM berth.resume()'),
  ('reconnect', 'SELECT ok FROM berth.reconnect()'), ('reload', 'SELECT ok FROM berth.reload()'),
  ('kill', 'SELECT ok FROM berth.kill_client($$front$$, 1)');
GRANT SELECT ON attempt TO PUBLIC;

SELECT is(pg_temp.as_role('monitor', statement), '42501', 'a monitor may not: ' || name) FROM attempt
  WHERE name <> 'setting';  -- members of pg_read_all_settings may
SELECT is(pg_temp.as_role('app', statement), '42501', 'PUBLIC may not: ' || name) FROM attempt;

SELECT berth.grant_access('app2', 'broker');
SELECT is(pg_temp.as_role('app2', statement), '42501', 'a broker''s role may not: ' || name) FROM attempt
  WHERE name NOT IN ('register', 'heartbeat');
SELECT is(pg_temp.as_role('app2', 'SELECT count(*) FROM berth.pools'), '42501', 'a broker''s role reads no views');
SELECT is(pg_temp.as_role('app2', $$ SELECT berth.register_broker('other', 'other', '1', '', 's', now()) $$), '', 'it registers');
SELECT is(pg_temp.as_role('app2', 'SELECT berth.heartbeat($$other$$)'), 'true', 'its heart beats');
SELECT is(pg_temp.as_role('app2', 'SELECT berth.heartbeat($$id-front$$)'), 'false', 'another''s does not by its hand');
SELECT is(pg_temp.as_role('app2', 'SELECT berth.deregister_broker($$id-front$$)'), '', 'it can only take back its own');
SELECT is((SELECT count(*) FROM berth.brokers), 2::bigint, 'two brokers');
SELECT is(pg_temp.as_role('app2', 'SELECT berth.deregister_broker($$other$$)'), '', 'it leaves');
SELECT is((SELECT count(*) FROM berth.brokers), 1::bigint, 'one broker');
SELECT throws_ok($$ SELECT berth.register_broker('', 'x', '1', '', 's', now()) $$, '22023');

SELECT berth.grant_access('app3', 'control');
SELECT is(pg_temp.as_role('app3', statement), '42501', 'control may not: ' || name) FROM attempt
  WHERE name IN ('secret', 'targets', 'exchange', 'ask', 'command', 'setting', 'set', 'grant', 'show', 'register');
SELECT is(pg_temp.as_role('app3', 'SELECT ok FROM berth.reload()'), 'true', 'control may reload');
SELECT is(pg_temp.as_role('app3', 'SELECT count(*) FROM berth.pools WHERE usename <> $$app3$$'), '0', 'and reads its own rows');

SELECT throws_ok($$ SELECT berth.grant_access('app', 'all') $$, '22023');
SELECT throws_ok($$ SELECT berth.grant_access('public', 'control') $$, '42704');

-- The setting cannot be smuggled in before the library is loaded either: it is the superuser's.
SELECT is((SELECT context FROM pg_settings WHERE name = 'berth.brokers'), 'superuser', 'berth.brokers is the superuser''s');

SELECT * FROM finish();
ROLLBACK;
