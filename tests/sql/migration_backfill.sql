-- backfill: its arguments, keys of each type, batches, resumption, the second pass, replicas that lag, errors.
\ir helpers.sql
\pset fieldsep '\n'
SELECT * FROM no_plan();

CREATE FUNCTION pg_temp.step(no int) RETURNS text[] LANGUAGE sql AS
  $$ SELECT array[status, rows_done::text, rows_total::text, cursor_value, settles::text] FROM berth.migration_step WHERE step_no = $1 ORDER BY run_id DESC LIMIT 1 $$;

-- Who updates what, and in which transaction: each row must be updated once, and no transaction may have more than a batch.
CREATE TABLE seen (tab text, key text, xid xid8 DEFAULT pg_current_xact_id());
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  INSERT INTO seen (tab, key) VALUES (TG_TABLE_NAME, to_jsonb(NEW) ->> 'k');
  RETURN NEW;
END $$;
CREATE FUNCTION pg_temp.watch(tab regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CREATE TRIGGER see AFTER UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION see()', tab);
END $$;
-- rows, rows updated twice, the biggest transaction
CREATE FUNCTION pg_temp.seen(tab text) RETURNS text[] LANGUAGE sql AS $$
  SELECT array[count(*), count(*) - count(DISTINCT key), (SELECT max(c) FROM (SELECT count(*) AS c FROM seen WHERE seen.tab = $1 GROUP BY xid) x)]::text[]
    FROM seen WHERE seen.tab = $1
$$;

SELECT run_id FROM berth.migration_start('0001') \gset
CREATE TABLE ints (k int PRIMARY KEY, note text);
INSERT INTO ints SELECT g * 3 FROM generate_series(1, 95) g;
ANALYZE ints;
SELECT pg_temp.watch('ints');

-- It has no place in a transaction block, nor in a function.
\set ON_ERROR_STOP 0
BEGIN;
CALL berth.backfill(:run_id, 1, 'ints', 'note = ''''', 'note IS NULL', 'k');
ROLLBACK;
SELECT is(:'LAST_ERROR_MESSAGE'::text, 'berth.backfill() must be called outside a transaction block', 'in a block: MG009');
CALL berth.backfill(:run_id, 1, 'ints', 'note = ''''', 'note IS NULL', 'k');
SELECT is(:'SQLSTATE'::text || ' ' || :'LAST_ERROR_MESSAGE', '55000 step 1 of run 1 has not begun', 'its step must have begun');
\set ON_ERROR_STOP 1

-- Batches.
SELECT ok(berth.migration_step_begin(:run_id, 1, 'fill'));
CALL berth.backfill(:run_id, 1, 'ints', 'note = ''n'' || k', 'note IS NULL', 'k', batch => 10, pause => '0');
SELECT pg_temp.same(pg_temp.step(1), '{done,95,95,285,true}', 'done, with its progress');
SELECT is((SELECT kind FROM berth.migration_step WHERE step_no = 1), 'backfill', 'its kind');
SELECT pg_temp.same(pg_temp.seen('ints'), '{95,0,10}', 'every row once, at most ten at a time');
SELECT is_empty($$SELECT FROM ints WHERE note IS DISTINCT FROM 'n' || k$$, 'every row has its value');
CALL berth.backfill(:run_id, 1, 'ints', 'note = ''again''', 'true', 'k');
SELECT is_empty($$SELECT FROM ints WHERE note = 'again'$$, 'a step that is done is not done again');

-- Only some rows; nothing to do; no rows at all.
SELECT ok(berth.migration_step_begin(:run_id, 2, 'some'));
CALL berth.backfill(:run_id, 2, 'ints', 'note = ''x''', 'k % 90 = 0', 'k', batch => 2, pause => '0');
SELECT pg_temp.same(pg_temp.step(2), '{done,3,3,285,false}', 'a condition that stays true ends all the same');
SELECT pg_temp.same((pg_temp.seen('ints'))[1:2], '{98,3}', 'and updates no row twice');
SELECT ok(berth.migration_step_begin(:run_id, 3, 'none'));
CALL berth.backfill(:run_id, 3, 'ints', 'note = ''y'' -- a comment', 'note = ''y'' -- another', 'k', pause => '0');
SELECT pg_temp.same(pg_temp.step(3), '{done,0,0,285,NULL}', 'nothing to do');
CREATE TABLE "Empty" ("Key" int PRIMARY KEY);
SELECT ok(berth.migration_step_begin(:run_id, 4, 'empty'));
CALL berth.backfill(:run_id, 4, '"Empty"', '"Key" = 1', '"Empty"."Key" = 1', 'Key');
SELECT pg_temp.same(pg_temp.step(4), '{done,0,0,NULL,NULL}', 'no rows at all');

-- Keys of each type, each in the order of its own, with settings that would write and read dates in another way.
CREATE TABLE keys_int8 (k int8 PRIMARY KEY, v int);
CREATE TABLE keys_int2 (k int2 PRIMARY KEY, v int);
CREATE TABLE keys_numeric (k numeric PRIMARY KEY, v int);
CREATE TABLE keys_uuid (k uuid PRIMARY KEY, v int);
CREATE TABLE keys_text (k text COLLATE "C" PRIMARY KEY, v int);
CREATE TABLE keys_varchar (k varchar(40) PRIMARY KEY, v int);
CREATE TABLE keys_timestamptz (k timestamptz PRIMARY KEY, v int);
CREATE TABLE keys_timestamp (k timestamp(3) PRIMARY KEY, v int);
CREATE TABLE keys_date (k date PRIMARY KEY, v int);
CREATE DOMAIN id AS int8 CHECK (value > 0);
CREATE TABLE keys_domain (k id PRIMARY KEY, v int);
INSERT INTO keys_int8 SELECT 9223372036854775807 - g FROM generate_series(0, 24) g;
INSERT INTO keys_int2 SELECT g - 12 FROM generate_series(0, 24) g;
INSERT INTO keys_numeric SELECT (g - 12) / 7.0 FROM generate_series(0, 23) g UNION ALL SELECT 'NaN';
INSERT INTO keys_uuid SELECT gen_random_uuid() FROM generate_series(0, 24) g;
INSERT INTO keys_text SELECT chr(33 + g) || E'"\\ \n''é' FROM generate_series(0, 23) g UNION ALL SELECT '';
INSERT INTO keys_varchar SELECT 'null' || g FROM generate_series(0, 23) g UNION ALL SELECT 'null';
INSERT INTO keys_timestamptz SELECT '2026-02-01 00:00:00.000001+00'::timestamptz + g * interval '11 days' FROM generate_series(0, 23) g UNION ALL SELECT 'infinity';
INSERT INTO keys_timestamp SELECT '2026-02-01 00:00:00.001'::timestamp + g * interval '11 days' FROM generate_series(0, 24) g;
INSERT INTO keys_date SELECT '2026-02-01'::date + g * 11 FROM generate_series(0, 24) g;
INSERT INTO keys_domain SELECT g + 1 FROM generate_series(0, 24) g;
SELECT pg_temp.watch(relid) FROM pg_stat_user_tables WHERE relname LIKE 'keys\_%';
SET datestyle = 'SQL, DMY';
SET timezone = 'Asia/Kathmandu';
SELECT s FROM unnest('{int8,int2,numeric,uuid,text,varchar,timestamptz,timestamp,date,domain}'::text[]) WITH ORDINALITY t (t, n)
  CROSS JOIN LATERAL (VALUES (format('SELECT ok(berth.migration_step_begin(%s, %s, ''%s''))', :run_id, 100 + n, t)),
    (format('CALL berth.backfill(%s, %s, ''keys_%s'', ''v = 1'', ''v IS NULL'', ''k'', batch => 4, pause => ''0'')', :run_id, 100 + n, t)),
    (format('SELECT pg_temp.same(pg_temp.seen(''keys_%s''), ''{25,0,4}'', ''by %1$s'')', t))) v (s) \gexec
RESET datestyle;
RESET timezone;

-- A key with equal values, a partitioned table, a table joined in.
CREATE TABLE ties (k int NOT NULL, v int, id int);
CREATE INDEX ON ties (k, id);
INSERT INTO ties SELECT g / 10, NULL, g FROM generate_series(0, 44) g;
SELECT ok(berth.migration_step_begin(:run_id, 5, 'ties'));
CALL berth.backfill(:run_id, 5, 'ties', 'v = 1', 'v IS NULL', 'k', batch => 3, pause => '0');
SELECT is(count(v), 45::bigint, 'equal keys are one batch') FROM ties;
CREATE TABLE parted (k int PRIMARY KEY, v int) PARTITION BY RANGE (k);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (50);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (50) TO (100);
INSERT INTO parted SELECT g FROM generate_series(0, 99) g;
SELECT ok(berth.migration_step_begin(:run_id, 6, 'parted'));
CALL berth.backfill(:run_id, 6, 'parted', 'v = (SELECT t.id FROM ties t WHERE t.id = parted.k)', 'v IS NULL AND EXISTS (SELECT FROM ties t WHERE t.id = k)', 'k',
                    batch => 7, pause => '0');
SELECT pg_temp.same(array_agg(v::text ORDER BY k), array_agg(CASE WHEN k < 45 THEN k::text END ORDER BY k), 'partitions, with a subquery') FROM parted;

-- It goes on behind the key that was committed last; another text is other work.
CREATE TABLE work (k int PRIMARY KEY, v int DEFAULT 0);
INSERT INTO work SELECT g FROM generate_series(1, 40) g;
ANALYZE work;
SELECT ok(berth.migration_step_begin(:run_id, 7, 'work'));
\set ON_ERROR_STOP 0
CALL berth.backfill(:run_id, 7, 'work', 'v = v + 1 / (k - 25)', 'true', 'k', batch => 10, pause => '0');
SELECT is(:'SQLSTATE'::text, '22012', 'an error in the third batch');
\set ON_ERROR_STOP 1
SELECT pg_temp.same(pg_temp.step(7), '{failed,20,40,20,false}', 'what was done before stays');
SELECT pg_temp.same(array[sqlstate, message], '{22012,division by zero}', 'the error is kept') FROM berth.migration_step WHERE step_no = 7;
SELECT ok(berth.migration_step_begin(:run_id, 7, 'work'));
UPDATE work SET k = 125 WHERE k = 25;
UPDATE work SET v = 0;
CALL berth.backfill(:run_id, 7, 'work', 'v = v + 1 / (k - 25)', 'true', 'k', batch => 10, pause => '0');
SELECT pg_temp.same(pg_temp.step(7), '{done,40,40,125,false}', 'it goes on');
SELECT is(array_agg(k ORDER BY k), '{24,26}', 'from there') FROM work WHERE v <> 0;
SELECT ok(berth.migration_step_begin(:run_id, 8, 'work'));
\set ON_ERROR_STOP 0
CALL berth.backfill(:run_id, 8, 'work', 'v = 1 / (k - 24)', 'k < 26', 'k', batch => 10, pause => '0');
CALL berth.backfill(:run_id, 8, 'work', 'v = 1 / (k - 24)', 'k < 26', 'k', batch => 10, pause => '0');
SELECT is(:'SQLSTATE'::text, '55000', 'a step that failed must begin again');
\set ON_ERROR_STOP 1
UPDATE berth.migration_step SET cursor_value = '20', status = 'running' WHERE step_no = 8;
CALL berth.backfill(:run_id, 8, 'work', 'v = 77', 'k < 26', 'k', batch => 10, pause => '0');
SELECT is(count(*), 24::bigint, 'other work begins at the first row') FROM work WHERE v = 77;
UPDATE berth.migration_step SET cursor_value = '20', status = 'failed' WHERE step_no = 8;
SELECT ok(berth.migration_step_begin(:run_id, 8, 'work', sql_hash => 'h1')), ok(berth.migration_step_begin(:run_id, 8, 'work', sql_hash => 'h1'));
SELECT is(cursor_value, '20', 'by the hash of the script: the same work') FROM berth.migration_step WHERE step_no = 8;
SELECT ok(berth.migration_step_begin(:run_id, 8, 'work', sql_hash => 'h2'));
SELECT is(cursor_value, NULL, 'and other work') FROM berth.migration_step WHERE step_no = 8;

-- Rows that come meanwhile, before and behind the place where it is. If rows no longer match after their update, all of them are
-- found; if rows still do, only what is behind.
CREATE TABLE growing (k int PRIMARY KEY, v text);
CREATE FUNCTION grow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO growing VALUES (NEW.k - 1), (NEW.k + 1000);
  RETURN NEW;
END $$;
CREATE TRIGGER grow AFTER UPDATE ON growing FOR EACH ROW WHEN (NEW.k % 10 = 0) EXECUTE FUNCTION grow();
INSERT INTO growing SELECT g FROM generate_series(10, 300, 10) g;
SELECT ok(berth.migration_step_begin(:run_id, 9, 'growing'));
CALL berth.backfill(:run_id, 9, 'growing', 'v = ''x''', 'v IS NULL', 'k', batch => 7, pause => '0');
SELECT is_empty('SELECT FROM growing WHERE v IS NULL AND (k < 1000 OR k % 10 = 0 AND k < 2000)', 'all that was there before the second pass');
SELECT is(count(*), 60::bigint, 'what comes during the second one is left') FROM growing WHERE v IS NULL;
TRUNCATE growing;
INSERT INTO growing SELECT g FROM generate_series(10, 300, 10) g;
SELECT ok(berth.migration_step_begin(:run_id, 10, 'growing'));
CALL berth.backfill(:run_id, 10, 'growing', 'v = coalesce(v, '''') || ''x''', 'true', 'k', batch => 7, pause => '0');
SELECT is_empty('SELECT FROM growing WHERE length(v) > 1', 'no row twice');
SELECT is_empty('SELECT FROM growing WHERE v IS NULL AND k % 10 = 0 AND k < 2000', 'nothing behind the place is left');

-- Replicas that lag: it waits, and stops after lag_wait. Lag is made up here.
CREATE TABLE lags (n serial, lag interval);
CREATE OR REPLACE FUNCTION berth.replay_lag() RETURNS interval LANGUAGE sql AS
  $$ DELETE FROM public.lags WHERE n = (SELECT min(n) FROM public.lags) RETURNING lag $$;
INSERT INTO lags (lag) VALUES (NULL), ('0.5s'), ('2s'), ('1.5s'), ('0.9s');
UPDATE ints SET note = NULL;
SELECT ok(berth.migration_step_begin(:run_id, 11, 'lag'));
CALL berth.backfill(:run_id, 11, 'ints', 'note = ''z''', 'note IS NULL', 'k', batch => 10, pause => '0', max_lag => '1s');
SELECT pg_temp.same(pg_temp.step(11), '{done,95,95,285,true}', 'waited for');
SELECT is_empty('SELECT FROM lags', 'as long as it lasted');
INSERT INTO lags (lag) VALUES (NULL), ('2s'), ('3s');
UPDATE ints SET note = NULL;
SELECT ok(berth.migration_step_begin(:run_id, 12, 'lag'));
\set ON_ERROR_STOP 0
CALL berth.backfill(:run_id, 12, 'ints', 'note = ''z''', 'note IS NULL', 'k', batch => 10, pause => '0', max_lag => '1s', lag_wait => '0.1s');
SELECT is(:'SQLSTATE'::text || ' ' || :'LAST_ERROR_MESSAGE', 'MG021 backfill stopped: replica lag 00:00:03 over 00:00:01', 'MG021');
\set ON_ERROR_STOP 1
SELECT pg_temp.same(array[status, rows_done::text, cursor_value, sqlstate, message], '{failed,10,30,MG021,backfill stopped: replica lag 00:00:03 over 00:00:01}',
                    'what is done is kept') FROM berth.migration_step WHERE step_no = 12;
SELECT is(count(note), 10::bigint, 'in the table, too') FROM ints;

-- Privileges are the caller's own.
CREATE TABLE secret (k int PRIMARY KEY, v int);
INSERT INTO secret VALUES (1);
SELECT berth.grant_access('app2', 'runner');
GRANT SELECT, UPDATE ON ints TO app2;
SELECT ok(berth.migration_step_begin(:run_id, 13, 'by another'));
SET ROLE app2;
\set ON_ERROR_STOP 0
CALL berth.backfill(:run_id, 13, 'secret', 'v = 1', 'true', 'k');
SELECT :'SQLSTATE' AS code \gset
CALL berth.backfill(:run_id, 13, 'ints', 'note = (SELECT v::text FROM secret)', 'note IS NULL', 'k');
\set ON_ERROR_STOP 1
RESET ROLE;
SELECT is(:'code'::text, '42501', 'no table of others');
SELECT is(sqlstate, '42501', 'nor by an expression') FROM berth.migration_step WHERE step_no = 13;
SELECT ok(berth.migration_step_begin(:run_id, 13, 'by another'));
SET ROLE app2;
CALL berth.backfill(:run_id, 13, 'ints', 'note = ''by '' || current_user', 'note IS NULL', 'k');
RESET ROLE;
SELECT is(count(*), 85::bigint, 'its own it may') FROM ints WHERE note = 'by app2';

-- Arguments. From here on errors are caught in subtransactions, which count as a block.
CREATE OR REPLACE FUNCTION berth.refuse_block(name text) RETURNS void LANGUAGE sql AS '';
SELECT ok(berth.migration_step_begin(:run_id, 14, 'arguments'));
SELECT is((pg_temp.error_of(format('CALL berth.backfill(%s, 14, %s)', :run_id, arguments)))[1], '22023', arguments) FROM unnest(array[
  $$NULL, 'v = 1', 'true', 'k'$$, $$'work', '', 'true', 'k'$$, $$'work', 'v = 1', ' ', 'k'$$, $$'work', 'v = 1', NULL, 'k'$$, $$'work', 'v = 1', 'true', 'k', 0$$,
  $$'work', 'v = 1', 'true', 'k', 1000001$$, $$'work', 'v = 1', 'true', 'k', NULL$$, $$'work', 'v = 1', 'true', 'k', pause => '-1s'$$,
  $$'work', 'v = 1', 'true', 'k', max_lag => '0'$$, $$'work', 'v = 1', 'true', 'k', attempt_timeout => '0'$$,
  $$'work', 'v = 1', 'true', 'k', attempt_timeout => NULL$$, $$'work', 'v = 1', 'true', 'k', lag_wait => NULL$$]) arguments;
CREATE TABLE odd (f float8 PRIMARY KEY, nullable int UNIQUE, bare int NOT NULL, partial int NOT NULL, second int NOT NULL, hashed int NOT NULL, v int);
CREATE INDEX ON odd (partial) WHERE v IS NULL;
CREATE INDEX ON odd (nullable, second);
CREATE INDEX ON odd USING hash (hashed);
CREATE VIEW seen_view AS SELECT * FROM odd;
SELECT is((pg_temp.error_of(format('CALL berth.backfill(%s, 14, %s)', :run_id, arguments)))[1], code, arguments) FROM (VALUES
  ('0A000', $$'odd', 'v = 1', 'true', 'f'$$), ('0A000', $$'odd', 'v = 1', 'true', 'nullable'$$), ('0A000', $$'odd', 'v = 1', 'true', 'bare'$$),
  ('0A000', $$'odd', 'v = 1', 'true', 'partial'$$), ('0A000', $$'odd', 'v = 1', 'true', 'second'$$), ('0A000', $$'odd', 'v = 1', 'true', 'hashed'$$),
  ('42703', $$'odd', 'v = 1', 'true', 'none'$$), ('42703', $$'odd', 'v = 1', 'true', 'ctid'$$), ('42703', $$'odd', 'v = 1', 'true', NULL$$),
  ('42703', $$'odd', 'v = 1', 'true', 'f, v'$$), ('42703', $$'seen_view', 'v = 1', 'true', 'f'$$)) v (code, arguments);
SELECT pg_temp.same(pg_temp.error_of(format($$CALL berth.backfill(%s, 14, 'odd', 'v = 1', 'true', 'nullable')$$, :run_id)), array['0A000',
  'column "nullable" of public.odd cannot lead a backfill', 'It is integer, may be NULL.', 'The key is one column, NOT NULL, first in a valid btree index of the whole table, '
  'of one of these types: int2, int4, int8, numeric, uuid, text, varchar, date, timestamp, timestamptz.'], 'it says what a key is');
UPDATE berth.migration_lease SET run_id = 0;
SELECT is((pg_temp.error_of(format($$CALL berth.backfill(%s, 14, 'work', 'v = 1', 'true', 'k')$$, :run_id)))[1], 'MG007', 'without its lease: MG007');

-- How many rows there are to do is known of a column without statistics, too. The first batch fails, so the estimate stays.
CREATE TABLE fresh (k int PRIMARY KEY, extra int);
INSERT INTO fresh SELECT g FROM generate_series(1, 2000) g;
ANALYZE fresh;
ALTER TABLE fresh ADD half bool;
SELECT run_id FROM berth.migration_start('0000', scope => 'estimate') \gset
SELECT ok(berth.migration_step_begin(:run_id, 1, 'fill'));
\set ON_ERROR_STOP 0
CALL berth.backfill(:run_id, 1, 'fresh', 'half = 1 / 0 = 1', 'half IS NULL AND k > 500', 'k', batch => 10);
\set ON_ERROR_STOP 1
SELECT is((SELECT rows_total FROM berth.migration_step WHERE run_id = :run_id), 1500::bigint, 'an estimate from a few pages');
SELECT cmp_ok(berth.sample_percent('fresh'), '=', 100::real, 'a small table is read as a whole');

SELECT * FROM finish();
