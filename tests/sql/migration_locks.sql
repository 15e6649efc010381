-- Locks as one session sees them: arguments, settings, the record, errors, privileges. A prepared transaction is the other one.
\ir helpers.sql
\pset fieldsep '\n'
SELECT * FROM no_plan();
CREATE TABLE orders (id int PRIMARY KEY);
CREATE TABLE parts (id int) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE "odd ""name" (id int);
CREATE VIEW seen AS SELECT o.id FROM orders o;
CREATE ROLE migrator; CREATE ROLE operator; CREATE ROLE onlooker;
SELECT berth.grant_access('migrator', 'runner'), berth.grant_access('operator', 'admin'), berth.grant_access('onlooker', 'read');
GRANT SELECT, UPDATE ON orders TO migrator, operator;

CREATE FUNCTION pg_temp.locked() RETURNS text[] LANGUAGE sql AS $$
  SELECT array_agg(l.relation::regclass || ' ' || l.mode ORDER BY l.relation::regclass::text) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
   WHERE l.pid = pg_backend_pid() AND c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND l.mode ~ 'Exclusive|Share[A-Z]*Lock$'
     AND l.mode <> 'AccessShareLock'
$$;

-- Outside and inside of a transaction.
\set ON_ERROR_STOP 0
SELECT berth.lock_tables('orders');
SELECT is(:'SQLSTATE'::text, 'MG009', 'lock_tables in autocommit'),
       is(:'LAST_ERROR_MESSAGE'::text, 'berth.lock_tables() must be called inside a transaction block', 'by its name');
SELECT berth.lock_tables_with('{orders}');
SELECT is(:'LAST_ERROR_MESSAGE'::text, 'berth.lock_tables_with() must be called inside a transaction block', 'so does the other one');
BEGIN;
CALL berth.locked_exec('SELECT 1', '{orders}');
SELECT 1;
ROLLBACK;
SELECT is(:'SQLSTATE'::text, '00000', 'after a rollback');
\set ON_ERROR_STOP 1
DO $$ BEGIN
  CALL berth.locked_exec('SELECT 1', '{orders}');
END $$;
BEGIN;
SELECT pg_temp.same(pg_temp.error_of($$CALL berth.locked_exec('SELECT 1', '{orders}')$$),
          array['MG009', 'berth.locked_exec() must be called outside a transaction block', 'Each of its attempts is a transaction of its own.',
                'Call it in autocommit, or SELECT berth.lock_tables() within the transaction.'], 'locked_exec in a block');
ROLLBACK;

-- What is locked, and that nothing else stays.
SET lock_timeout = '1234ms';
BEGIN;
SELECT is(attempts, 1, 'the first attempt'), ok(waited >= '0' AND waited < '1h', 'its time'), is(held, NULL, 'no broker holds'),
       is(last_blockers, NULL, 'nobody was in the way') FROM berth.lock_tables('orders', 'parts', '"odd ""name"', 'orders');
SELECT pg_temp.same(pg_temp.locked(), '{"\"odd \"\"name\" AccessExclusiveLock",orders AccessExclusiveLock,parts AccessExclusiveLock,parts_1 AccessExclusiveLock}',
          'all tables, and the partition');
SELECT is(current_setting('lock_timeout'), '1234ms', 'the lock_timeout of the session is what it was');
SET LOCAL lock_timeout = '77ms';
SELECT FROM berth.lock_tables('orders');
SELECT is(current_setting('lock_timeout'), '77ms', 'and that of the transaction');
SET lock_timeout = '88ms';
SELECT FROM berth.lock_tables('orders');
COMMIT;
SELECT is(current_setting('lock_timeout'), '88ms', 'one that was set in the transaction stays');
BEGIN;
SAVEPOINT s;
SELECT FROM berth.lock_tables('seen');
SELECT pg_temp.same(pg_temp.locked(), '{orders AccessExclusiveLock,seen AccessExclusiveLock}', 'what a view reads');
ROLLBACK TO s;
SELECT is(pg_temp.locked(), NULL, 'a savepoint gives locks back');
SELECT is(coalesce(current_setting('berth.locked_at', true), ''), '', 'and the time of the first one');
SELECT FROM berth.lock_tables_with('{orders}', 'share row exclusive');
SELECT pg_temp.same(pg_temp.locked(), '{orders ShareRowExclusiveLock}', 'another mode');
SELECT ok(current_setting('berth.locked_at')::timestamptz BETWEEN now() AND clock_timestamp(), 'when it was locked first');
SET LOCAL berth.locked_at = '2000-01-01 00:00:00+00';
SELECT FROM berth.lock_tables('orders');
SELECT is(current_setting('berth.locked_at'), '2000-01-01 00:00:00+00', 'the first lock counts');
COMMIT;
RESET lock_timeout;
DO $$ BEGIN
  PERFORM berth.lock_tables('orders');
END $$;
SELECT is(coalesce(current_setting('berth.locked_at', true), ''), '', 'nothing is left of a DO block');

-- With a run.
BEGIN;
SELECT FROM berth.migrate_once('1');
SELECT FROM berth.lock_tables('orders');
SELECT FROM berth.lock_tables('parts');
COMMIT;
SELECT ok(lock_wait > '0', 'the wait is kept with the run'), is(lock_attempts, 2, 'and the attempts'), ok(hold_time > '0', 'the time of the lock')
  FROM berth.migration_run;
BEGIN;
SELECT FROM berth.migrate_once('2');
COMMIT;
SELECT ok(hold_time IS NULL AND lock_wait IS NULL AND lock_attempts IS NULL, 'without locks there is none') FROM berth.migration_run WHERE version = '2';

-- Arguments.
SELECT is((pg_temp.error_of(statement))[1], '22023', statement) FROM unnest(array[
  $$SELECT berth.lock_tables_with('{}')$$, $$SELECT berth.lock_tables_with(NULL)$$, $$SELECT berth.lock_tables_with('{orders,NULL}')$$,
  $$SELECT berth.lock_tables_with('{orders}', 'strong')$$, $$SELECT berth.lock_tables_with('{orders}', NULL)$$,
  $$SELECT berth.lock_tables_with('{orders}', attempt_timeout => '0')$$, $$SELECT berth.lock_tables_with('{orders}', attempt_timeout => NULL)$$,
  $$SELECT berth.lock_tables_with('{orders}', max_wait => '-1s')$$, $$SELECT berth.lock_tables_with('{orders}', backoff => '-1s')$$,
  $$SELECT * FROM berth.blockers('{orders}', 'strong')$$, $$SELECT * FROM berth.drain('{}')$$,
  $$SELECT * FROM berth.drain('{orders}', action => 'kill')$$, $$SELECT * FROM berth.drain('{orders}', older_than => '-1s')$$,
  $$SELECT * FROM berth.drain('{orders}', grace => '2h')$$]) statement;
\set ON_ERROR_STOP 0
CALL berth.locked_exec('', '{orders}');
\set codes :SQLSTATE
CALL berth.locked_exec('SELECT 1', '{orders}', max_attempts => 0);
\set codes :codes :SQLSTATE
CALL berth.locked_exec('SELECT 1', '{}');
\set codes :codes :SQLSTATE
CALL berth.locked_exec('SELECT 1', '{orders}', attempt_timeout => '0');
\set codes :codes :SQLSTATE
\set ON_ERROR_STOP 1
SELECT is(:'codes'::text, '22023220232202322023', 'arguments of locked_exec');
SELECT is((pg_temp.error_of($$SELECT berth.lock_tables_with('{orders}', 'strong')$$))[2:4],
          array['no such lock mode: "strong"', '', 'One of ' || array_to_string(berth.lock_modes(), ', ') || '.'], 'which modes there are');
SELECT is((pg_temp.error_of($$SELECT berth.lock_tables(999999::regclass)$$))[1:2], array['42P01', 'there is no such table any more: 999999'], 'a dropped one');
SELECT is((pg_temp.error_of($$SELECT berth.lock_tables('orders_pkey')$$))[1], '42809', 'what LOCK TABLE does not take');
SELECT ok(bool_and(pause BETWEEN interval '25ms' AND interval '50ms'), 'the first pause'), ok(count(DISTINCT pause) > 1, 'differs')
  FROM (SELECT berth.lock_pause('50ms', 1) AS pause FROM generate_series(1, 20)) p;
SELECT ok(berth.lock_pause('50ms', 4) BETWEEN '200ms' AND '400ms', 'the fourth'), ok(berth.lock_pause('50ms', 2000000) <= '2s', 'has a limit');

-- Somebody has it: a prepared transaction.
BEGIN;
SELECT FROM parts;
PREPARE TRANSACTION 'left behind';
SELECT pg_temp.same(array[pid::text, usename, lockmode, kind, query], array[NULL, 'postgres', 'AccessShareLock', 'prepared xact', 'left behind'],
          'a prepared transaction is in the way'), ok(xact_age > '0', 'since') FROM berth.blockers('{parts_1}');
SELECT is(count(*), 1::bigint, 'found by its parent, too') FROM berth.blockers('{parts}');
SELECT is_empty($$SELECT * FROM berth.blockers('{parts}', 'EXCLUSIVE')$$, 'but not for a weaker lock');
SELECT is_empty($$SELECT * FROM berth.blockers('{orders}')$$, 'nor of another table');
SELECT is(e[1], 'MG010', 'MG010'),
       matches(e[2], '^could not lock public.orders, public.parts in ACCESS EXCLUSIVE mode after [2-9][0-9]* attempts in 00:00:00\.', 'what'),
       pg_temp.same(array[e[3]::jsonb #>> '{0,kind}', e[3]::jsonb #>> '{0,query}', e[3]::jsonb #>> '{0,lockmode}', e[3]::jsonb #>> '{1,kind}'],
          array['prepared xact', 'left behind', 'AccessShareLock', NULL], 'who, as JSON'),
       is(e[4], 'Try again later. Who is in the way now: SELECT * FROM berth.blockers(''{public.orders,public.parts}'');', 'what to do')
  FROM pg_temp.error_of($$SELECT berth.lock_tables_with('{orders,parts}', attempt_timeout => '10ms', max_wait => '150ms', backoff => '5ms')$$) e;
SELECT matches((pg_temp.error_of($$SELECT berth.lock_tables_with('{parts}', attempt_timeout => '1ms', max_wait => '0')$$))[2], 'after 1 attempts', 'no wait, one attempt');
BEGIN;
SELECT lives_ok($$SELECT berth.lock_tables_with('{parts}', 'EXCLUSIVE')$$, 'the weaker lock can be had');
ROLLBACK;
SET statement_timeout = '200ms';
\set ON_ERROR_STOP 0
BEGIN;
SELECT berth.lock_tables_with('{parts}', max_wait => '1h');
ROLLBACK;
\set code :LAST_ERROR_SQLSTATE
\set ON_ERROR_STOP 1
RESET statement_timeout;
SELECT is(:'code'::text, '57014', 'the caller''s statement_timeout ends the wait');
BEGIN;
DO $$ BEGIN
  PERFORM berth.lock_tables_with('{parts}', attempt_timeout => '5ms', max_wait => '0');
EXCEPTION WHEN SQLSTATE 'MG010' THEN NULL;
END $$;
SELECT is(pg_temp.locked(), NULL, 'a failure leaves no lock'), is(current_setting('lock_timeout'), '0', 'and no setting');
ROLLBACK;
SELECT pg_temp.same(array[kind, verdict, done::text, reason, query],
          array['prepared xact', 'spared', NULL, 'it has no process: COMMIT PREPARED or ROLLBACK PREPARED ''left behind''', 'left behind'],
          'drain says how') FROM berth.drain('{parts}', action => 'terminate');
SELECT pg_temp.same(array[verdict, done::text], '{report,NULL}', 'it only reports by default') FROM berth.drain('{parts}');
SELECT is_empty($$SELECT * FROM berth.drain('{parts}', older_than => '1h')$$, 'and leaves out what is young');
\set ON_ERROR_STOP 0
CALL berth.locked_exec('SELECT 1', '{parts}', '5ms', 3, '1ms');
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'MG010', 'locked_exec gives up'),
       matches(:'LAST_ERROR_MESSAGE'::text, '^could not lock public.parts in ACCESS EXCLUSIVE mode after 3 attempts in ', 'after so many');
CALL berth.locked_exec('ALTER TABLE nowhere ADD x int', '{orders}');
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '42P01', 'an error of the statement is its own');
\set ON_ERROR_STOP 1
ROLLBACK PREPARED 'left behind';
CALL berth.locked_exec('ALTER TABLE parts ADD y int', '{parts,orders}');
SELECT has_column('parts', 'y', 'locked_exec runs the statement');
SELECT is(current_setting('lock_timeout'), '0', 'and leaves no setting');
SELECT is_empty($$SELECT * FROM berth.blockers('{parts}')$$, 'nobody is left');
BEGIN;
SELECT FROM berth.lock_tables('orders');
SELECT is_empty($$SELECT * FROM berth.blockers('{orders}')$$, 'who asks is not in its own way');
SELECT is_empty($$SELECT * FROM berth.drain('{orders}', action => 'terminate')$$, 'and does not end itself');
ROLLBACK;

-- Kinds.
SELECT pg_temp.same(array[berth.holder_kind('client backend', 'autovacuum: VACUUM public.t (to prevent wraparound)'),
                          berth.holder_kind('autovacuum worker', 'autovacuum: VACUUM public.t (to prevent wraparound)'),
                          berth.holder_kind('autovacuum worker', 'autovacuum: VACUUM ANALYZE public.t')],
          '{holder,autovacuum to prevent wraparound,autovacuum}', 'kinds of holders');
SELECT pg_temp.same(array[berth.spared('autovacuum to prevent wraparound', 'autovacuum worker', NULL, 1, ''), berth.spared('autovacuum', 'autovacuum worker', NULL, 1, ''),
                          berth.spared('holder', 'walsender', 10, 1, ''), berth.spared('holder', 'logical replication worker', 10, 1, ''),
                          berth.spared('holder', 'client backend', 10, 1, '')],
          '{it must come to its end,NULL,a process of the server: walsender,a process of the server: logical replication worker,NULL}', 'who is spared');

-- By level.
CREATE TEMP TABLE attempt (name text, statement text, level int);
INSERT INTO attempt VALUES
  ('blockers', $$SELECT count(*) FROM berth.blockers('{orders}')$$, 1),
  ('lock_tables', $$SELECT attempts FROM berth.lock_tables('orders')$$, 2),
  ('lock_tables_with', $$SELECT attempts FROM berth.lock_tables_with('{orders}')$$, 2),
  ('locked_exec', $$CALL berth.locked_exec('SELECT 1', '{orders}')$$, 2),
  ('drain', $$SELECT count(*) FROM berth.drain('{orders}', action => 'cancel')$$, 3),
  ('lock_holders', $$SELECT berth.lock_holders('{orders}', 'SHARE')$$, 4), ('broker_clients', 'SELECT berth.broker_clients(NULL)', 4),
  ('signal', $$SELECT berth.signal_holders('{orders}', '{}', true)$$, 4), ('note_drained', $$SELECT berth.note_drained(1, 'x', 'x', true)$$, 4);
GRANT SELECT ON attempt TO PUBLIC;
SELECT is(pg_temp.as_role(r.role, a.statement) = '42501', a.level > r.level, r.role || ' and ' || a.name)
  FROM attempt a, (VALUES ('onlooker', 1), ('migrator', 2), ('operator', 3)) r (role, level);
SELECT is(pg_temp.as_role('migrator', $$SELECT berth.lock_tables('parts')$$), '42501', 'the caller''s own rights decide about the table');
SELECT is(pg_temp.as_role('operator', $$SELECT count(*) FROM berth.drain('{parts}', action => 'cancel')$$), 'MG040', 'whoever may not lock may not drain');
BEGIN;
SET LOCAL ROLE operator;
SELECT pg_temp.same(pg_temp.error_of($$SELECT * FROM berth.drain('{parts,orders}', action => 'cancel')$$),
          array['MG040', 'role operator may not drain public.parts', 'It has none of the privileges that LOCK TABLE needs: UPDATE, DELETE, TRUNCATE.',
                'GRANT UPDATE ON public.parts TO operator;'], 'MG040');
RESET ROLE;
CREATE VIEW of_parts AS SELECT * FROM parts;
ALTER VIEW of_parts OWNER TO operator;
SET LOCAL ROLE operator;
SELECT is((pg_temp.error_of($$SELECT * FROM berth.drain('{of_parts}', action => 'cancel')$$))[2], 'role operator may not drain public.parts, public.parts_1',
          'a view of a table is no way to those who use the table');
ROLLBACK;
SELECT is(pg_temp.as_role('operator', $$SELECT count(*) FROM berth.drain('{parts}')$$), '0', 'a report is for them, too');

SELECT * FROM finish();
DROP OWNED BY migrator, operator, onlooker;
DROP ROLE migrator, operator, onlooker;
