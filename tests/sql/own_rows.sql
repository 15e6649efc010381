-- Who may read sees the rows of the roles whose rights it has, members of pg_read_all_stats see all; clients as in views.sql.
\ir helpers.sql
BEGIN;
SELECT * FROM no_plan();
SELECT berth.grant_access('app2', 'read');

SELECT is(pg_temp.as_role('monitor', $$ SELECT string_agg(application_name, ',' ORDER BY application_name) FROM berth.clients
  WHERE database = 'e2e' $$), 'blocked,holder,idler,waiter', 'a monitor sees all clients');
SELECT is(pg_temp.as_role('app2', $$ SELECT string_agg(application_name, ',' ORDER BY application_name) FROM berth.clients $$),
  'idler', 'others see their own');
SELECT is(pg_temp.as_role('app2', 'SELECT string_agg(DISTINCT usename, $$,$$) FROM berth.pools'), 'app2', 'their own pools');
SELECT is(pg_temp.as_role('app2', 'SELECT count(*) FROM berth.servers WHERE usename <> $$app2$$'), '0', 'no servers of others');
SELECT is(pg_temp.as_role('app2', 'SELECT count(client_id) FROM berth.activity'), '0', 'nobody else''s clients behind backends');
SELECT is(pg_temp.as_role('app2', 'SELECT count(*) FROM berth.blocking WHERE blocked_client_id IS NOT NULL'), '0',
  'nor in blocking');
SELECT is(pg_temp.as_role('app2', 'SELECT count(*) FROM berth.settings'), '0', 'settings are for monitors');
SELECT is(pg_temp.as_role('app2', $$ SELECT count(*) FROM berth.databases WHERE broker = 'front' AND database = 'e2e' $$), '1',
  'databases are for everybody who may read');
SELECT is(pg_temp.as_role('app2', 'SELECT count(*) FROM berth.brokers WHERE reachable'), '2', 'and so are brokers');
SELECT is(pg_temp.as_role('app2', $$ SELECT count(*) FROM berth.advice WHERE usename = 'app' $$), '0', 'advice on one''s own');
SELECT is(pg_temp.as_role('app2', $$ SELECT count(*) FROM berth.show('{SHOW CLIENTS,SHOW CONFIG}') WHERE "row" ->> 'user' IS DISTINCT FROM 'app2' $$),
  '0', 'show filters');
SELECT is(pg_temp.as_role('app2', $$ SELECT count(*) FROM berth.console(E'show\tclients ;') WHERE "row" ->> 'user' IS DISTINCT FROM 'app2' $$),
  '0', 'console filters');
SELECT is(pg_temp.as_role('app2', $$ SELECT count(*) FROM berth.console('SHOW CONFIG') $$), '0', 'console has no settings for them');
GRANT app TO app2;
SELECT is(pg_temp.as_role('app2', $$ SELECT string_agg(application_name, ',' ORDER BY application_name) FROM berth.clients
  WHERE database = 'e2e' $$), 'blocked,holder,idler,waiter', 'a member of a role sees its rows');

SELECT * FROM finish();
ROLLBACK;
