-- Checks: who registers them, whose text is executed with whose rights, when, and what is kept; migration_verify.
\ir helpers.sql
\pset fieldsep '\n'
SELECT * FROM no_plan();
CREATE TABLE orders (id int PRIMARY KEY, note text);
INSERT INTO orders SELECT g, 'note' FROM generate_series(1, 3) g;

CREATE FUNCTION pg_temp.error_as(role text, statement text) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('SET LOCAL ROLE %I', role);
  RETURN pg_temp.error_of(statement);
END $$;
-- Roles are of the cluster: these are of this file.
DO $$ BEGIN
  PERFORM berth.grant_access('app', 'runner');
  PERFORM berth.grant_access('app2', 'runner');
  PERFORM berth.grant_access('admin', 'admin');
  PERFORM berth.grant_access('app3', 'read');
END $$;
GRANT CREATE ON SCHEMA public TO app, app2, admin;
GRANT SELECT ON orders TO PUBLIC;

-- Before and after, in transactional mode.
SELECT lives_ok($$SELECT berth.add_check('0001', 'pre', 'has rows', 'SELECT count(*) = 3 FROM public.orders')$$, 'a check before');
SELECT lives_ok($$SELECT berth.add_check('0001', 'post', 'total', 'SELECT count(*) FROM public.orders WHERE total IS NULL', '3')$$, 'and after');
BEGIN;
SELECT ok(berth.migrate_once('0001'), 'it may run');
ALTER TABLE orders ADD total int;
SELECT is((SELECT count(*) FROM berth.migration_checks_due), 1::bigint, 'the commit has a check to make');
COMMIT;
SELECT pg_temp.same(array_agg(name || ' ' || ok || ' ' || got || ' ' || asked_by ORDER BY result_id),
          array['has rows true t ' || session_user, 'total true 3 ' || session_user], 'both are kept') FROM berth.migration_check_result;
SELECT is_empty('SELECT FROM berth.migration_checks_due', 'nothing is due');
SELECT is(r.status, 'done', 'the run is closed') FROM berth.migration_run r;

SELECT berth.add_check('0002', 'pre', 'many rows', 'SELECT count(*) > 1000 FROM public.orders');
BEGIN;
SELECT pg_temp.same(pg_temp.error_of($$SELECT berth.migrate_once('0002')$$),
          array['MG020', 'assertion "many rows" failed: expected t, got f',
                'Checks (pre) of version "0002" that failed: many rows (got f): SELECT count(*) > 1000 FROM public.orders',
                'Nothing was done: put right what it found, then start again.'], 'a check before that fails');
COMMIT;
SELECT ok(NOT berth.is_applied('default', '0002'), 'stops it');
SELECT ok(berth.drop_check('0002', 'pre', 'many rows'), 'taken back');
SELECT ok(NOT berth.drop_check('0002', 'pre', 'many rows'), 'once');

SELECT berth.add_check('0002', 'post', 'first', 'SELECT 1', '2'), berth.add_check('0002', 'post', 'broken', 'SELECT 1 / 0'),
       berth.add_check('0002', 'post', 'warns', 'SELECT false', severity => 'warn');
BEGIN;
SELECT ok(berth.migrate_once('0002'), 'it may run');
\set ON_ERROR_STOP 0
COMMIT;
\set ON_ERROR_STOP 1
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'MG020', 'a check after that fails, at the commit');
SELECT is(:'LAST_ERROR_MESSAGE'::text, 'assertion "first" failed: expected 2, got 1', 'the first one');
SELECT ok(NOT berth.is_applied('default', '0002'), 'takes the migration along');
SELECT berth.add_check('0002', 'post', 'first', 'SELECT NULL::int', NULL), berth.add_check('0002', 'post', 'broken', 'SELECT 1');
SELECT berth.add_check('0002', 'post', 'broken', 'SELECT true');
BEGIN;
SELECT ok(berth.migrate_once('0002'), 'it may run');
COMMIT;
SELECT pg_temp.same(array_agg(name || ' ' || ok || ' ' || coalesce(got, 'NULL') ORDER BY name), '{broken true t,first true NULL,warns false f}',
          'one that warns does not stop it') FROM berth.migration_check_result WHERE version = '0002';

-- Registered by the script itself, after migrate_once.
BEGIN;
SELECT ok(berth.migrate_once('0003'), 'it may run');
SELECT berth.add_check('0003', 'post', 'late', 'SELECT count(*) FROM public.orders', '4');
SELECT berth.add_check('0003', 'post', 'later', 'SELECT true');
\set ON_ERROR_STOP 0
COMMIT;
\set ON_ERROR_STOP 1
SELECT is(:'LAST_ERROR_MESSAGE'::text, 'assertion "late" failed: expected 4, got 3', 'a check of the same transaction');
SELECT is_empty($$SELECT FROM berth.migration_check WHERE version = '0003'$$, 'goes with it');
BEGIN;
SELECT ok(berth.migrate_once('0003'), 'again');
SELECT berth.add_check('0003', 'post', 'late', 'SELECT count(*) FROM public.orders', '3');
COMMIT;
SELECT ok(ok, 'it holds now') FROM berth.migration_check_result WHERE version = '0003';
BEGIN;
SELECT ok(berth.migrate_once('0004'), 'one that is undone before the commit');
SELECT berth.add_check('0004', 'post', 'never', 'SELECT false');
SELECT berth.migrate_undo('0004');
COMMIT;
SELECT is(state, 'reverted', 'is not checked') FROM berth.migration WHERE version = '0004';

-- In stepwise mode: before the first step, and by migration_finish.
SELECT berth.add_check('0100', 'pre', 'ready', 'SELECT false');
\set ON_ERROR_STOP 0
SELECT berth.migration_start('0100');
\set ON_ERROR_STOP 1
SELECT is(:'LAST_ERROR_MESSAGE'::text, 'assertion "ready" failed: expected t, got f', 'a check before a stepwise run');
SELECT is_empty($$SELECT FROM berth.migration_run WHERE version = '0100' UNION ALL SELECT FROM berth.migration_lease$$, 'leaves nothing');
SELECT berth.add_check('0100', 'pre', 'ready', 'SELECT true'), berth.add_check('0100', 'post', 'done', 'SELECT count(*) FROM public.step_made', '1');
SELECT run_id AS run FROM berth.migration_start('0100') \gset
SELECT berth.migration_step_begin(:run, 1, 'table');
CREATE TABLE step_made (i int);
SELECT berth.migration_step_end(:run, 1);
\set ON_ERROR_STOP 0
SELECT berth.migration_finish(:run);
\set ON_ERROR_STOP 1
SELECT is(:'LAST_ERROR_MESSAGE'::text, 'assertion "done" failed: expected 1, got 0', 'a check after it');
SELECT pg_temp.same(array[status, berth.is_applied('default', '0100')::text], '{running,false}', 'leaves the run as it is') FROM berth.migration_run WHERE run_id = :run;
SELECT is((SELECT (pg_temp.error_of(format($$SELECT berth.run_checks(%s, 'post')$$, :run)))[4]),
          format('Put right what it found, then SELECT berth.migration_finish(%s).', :run), 'it says how to go on');
INSERT INTO step_made VALUES (1);
SELECT berth.migration_finish(:run);
SELECT pg_temp.same(array_agg(name || ' ' || got ORDER BY result_id), '{ready t,done 1}', 'what they found is kept') FROM berth.migration_check_result WHERE run_id = :run;
SELECT ok(berth.is_applied('default', '0100'), 'it is applied');
DELETE FROM berth.migration WHERE version = '0100';
DELETE FROM berth.migration_check WHERE version = '0100';

-- Arguments.
SELECT is((pg_temp.error_of(statement))[1], '23514', statement) FROM unnest(array[
  $$SELECT berth.add_check('9', 'while', 'x', 'SELECT 1')$$, $$SELECT berth.add_check('9', 'pre', 'x', 'SELECT 1', severity => 'bad')$$]) statement;

-- With the rights of whoever migrates; only its own text, or that of roles that may do more anyway.
CREATE TABLE secret (word text);
INSERT INTO secret VALUES ('xyzzy');
BEGIN;
SET LOCAL ROLE app;
SELECT berth.add_check('0005', 'post', 'spy', 'SELECT count(*) FROM public.secret', '1');
SELECT is(registered_by, 'app', 'a check bears the name of its author') FROM berth.migration_check WHERE version = '0005';
SELECT ok(berth.migrate_once('0005'), 'a runner migrates');
RESET ROLE;
\set ON_ERROR_STOP 0
SET LOCAL ROLE app;
COMMIT;
\set ON_ERROR_STOP 1
SELECT is(:'LAST_ERROR_MESSAGE'::text, 'assertion "spy" failed: expected 1, got error 42501: permission denied for table secret',
          'its check has no more rights than it has');

-- A runner cannot get a superuser, or another runner, to execute its text, by whatever way.
CREATE TABLE stolen (by name);
GRANT INSERT ON stolen TO PUBLIC;
CREATE FUNCTION public.steal() RETURNS bool LANGUAGE sql AS $$ INSERT INTO public.stolen VALUES (current_user) RETURNING true $$;
BEGIN;
SET LOCAL ROLE app;
SELECT berth.add_check('0005', 'post', 'evil', 'SELECT public.steal()');
INSERT INTO berth.migration_check VALUES ('default', '0005', 'post', 'forged', 'SELECT public.steal()', 't', 'error', 'postgres', 'postgres', now());
UPDATE berth.migration_check SET registered_by = 'postgres', login = 'postgres' WHERE version = '0005' AND registered_by = 'app';
-- Deputies: functions of the runner that a superuser executes, whose rights are the runner's.
CREATE FUNCTION public.deputy() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  PERFORM berth.add_check('0005', 'post', 'by deputy', 'SELECT public.steal()');
  RETURN 1;
END $$;
CREATE FUNCTION public.indexed(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  PERFORM berth.add_check('0005', 'post', 'by analyze', 'SELECT public.steal()');
  RETURN i;
EXCEPTION WHEN OTHERS THEN
  RETURN i;
END $$;
CREATE TABLE public.bait AS SELECT 1 AS i;
CREATE INDEX bait_i ON public.bait (public.indexed(i));
COMMIT;
SELECT is(public.deputy(), 1, 'a superuser calls a function of the runner');
ANALYZE public.bait;
SELECT pg_temp.same(array_agg(DISTINCT registered_by::text), '{app}', 'all of it bears the name of the runner') FROM berth.migration_check WHERE version = '0005';
SELECT is(count(*), 4::bigint, 'four checks') FROM berth.migration_check WHERE version = '0005' AND query LIKE '%steal%';
BEGIN;
SELECT pg_temp.same(e[1:2] || array[e[4]], array['MG020', 'assertion "forged" failed: expected t, got not run: it is a text of app, which is no superuser',
          'The transaction is rolled back and the migration is not applied: correct the script, or what it found.'], 'a superuser does not execute it')
  FROM pg_temp.error_of($$SELECT berth.migrate_once('0005'); SET CONSTRAINTS ALL IMMEDIATE$$) e;
ROLLBACK;
SELECT is((pg_temp.error_as('app2', $$SELECT berth.migrate_once('0005'); SET CONSTRAINTS ALL IMMEDIATE$$))[2],
          'assertion "forged" failed: expected t, got not run: it is a text of app, which is no superuser', 'nor as another runner');
BEGIN;
SELECT berth.grant_access('app', 'admin');
SELECT is((pg_temp.error_of($$SELECT berth.migrate_once('0005'); SET CONSTRAINTS ALL IMMEDIATE$$))[2],
          'assertion "forged" failed: expected t, got not run: it is a text of app, which is no superuser', 'a superuser not even that of an admin');
ROLLBACK;
SELECT is_empty('SELECT FROM stolen', 'nobody has executed it');
BEGIN;
INSERT INTO berth.migration (scope, version, kind, state, applied_at, applied_by) VALUES ('default', '0005', 'versioned', 'applied', now(), 'x');
SELECT is(count(*), 4::bigint, 'migration_verify does not either') FROM berth.migration_verify('0005') v WHERE v.got LIKE 'not run: %' AND NOT v.ok;
SELECT is_empty('SELECT FROM stolen', 'nor by a trick');
ROLLBACK;
SELECT berth.grant_access('app', 'runner');
-- Nor if it has set the role of the runner, to which the text could put an end: only what was written in such a session is executed in one.
SELECT pg_temp.same(array_agg(concat(name, ' ', login) ORDER BY name), array['by analyze app', 'by deputy app', 'evil ' || session_user,
          'forged ' || session_user], 'checks know whose session they are from') FROM berth.migration_check WHERE version = '0005' AND query LIKE '%steal%';
UPDATE berth.migration_check SET login = 'app' WHERE version = '0005';
DELETE FROM berth.migration_check WHERE name = 'spy';
SELECT pg_temp.same((pg_temp.error_as('app', $$SELECT berth.migrate_once('0005'); SET CONSTRAINTS ALL IMMEDIATE$$))[1:2], array['MG020',
          'assertion "forged" failed: expected t, got not run: it is a text of app, which is no superuser, as the login of this session is'],
          'not under SET ROLE');
SET SESSION AUTHORIZATION app;
SELECT is((pg_temp.error_of($$SELECT berth.migrate_once('0005'); SET CONSTRAINTS ALL IMMEDIATE$$))[1], 'MG020', 'nor under SET SESSION AUTHORIZATION');
RESET SESSION AUTHORIZATION;
SELECT is_empty('SELECT FROM stolen', 'nobody has executed it');
SELECT pg_temp.same(array[berth.refusal('app', 'app', 'app'), berth.refusal('app', session_user, 'app'), berth.refusal(session_user, session_user, 'app')],
          array['not run: it is a text of app, which is no superuser, as the login of this session is', NULL, NULL], 'by rule');

-- Whose text others execute may be changed only by those.
BEGIN;
SET LOCAL ROLE admin;
SELECT berth.add_check('0006', 'post', 'of admin', 'SELECT current_user', 'app2');
SET LOCAL ROLE app2;
SELECT pg_temp.same(pg_temp.error_of(statement), array['MG040', 'role "app2" may not change the check "of admin" of "admin"',
                'It belongs to version "0006" of scope "default".', 'SELECT berth.grant_access(''app2'', ''admin''), or choose another name.'], statement)
  FROM unnest(array[$$SELECT berth.add_check('0006', 'post', 'of admin', 'SELECT true')$$, $$SELECT berth.drop_check('0006', 'post', 'of admin')$$]) statement;
SELECT lives_ok($$SELECT berth.add_check('0005', 'post', 'evil', 'SELECT true')$$, 'that of a runner by another runner');
SELECT is(registered_by, 'app2', 'whose it is then') FROM berth.migration_check WHERE version = '0005' AND name = 'evil';
ROLLBACK;
SELECT pg_temp.same(array[berth.is_trusted('app')::text, berth.is_trusted('admin')::text, berth.is_trusted('postgres')::text, berth.is_trusted('gone')::text],
          '{false,true,true,false}', 'who is trusted');

-- Results cannot be put under the runs of others.
SELECT is((pg_temp.error_of($$SELECT berth.note_check(1, 'forged', true, 't', '0')$$))[1:2], array['42501', 'run 1 is not one of yours that goes on'],
          'a run that has ended takes no results');
CREATE FUNCTION pg_temp.code_as(role text, statement text) RETURNS text LANGUAGE sql AS $$ SELECT (pg_temp.error_as($1, $2))[1] $$;
SELECT is(pg_temp.code_as('app3', statement), '42501', 'level read may not: ' || statement) FROM unnest(array[
  $$SELECT berth.add_check('9', 'pre', 'x', 'SELECT 1')$$, $$SELECT berth.drop_check('9', 'pre', 'x')$$, $$SELECT berth.run_checks(1, 'post')$$,
  $$SELECT berth.note_check(1, 'x', true, 't', '0')$$, $$SELECT * FROM berth.migration_verify()$$, $$SELECT * FROM berth.migration_check$$,
  $$SELECT berth.note_verified('a', 'b', 'c', true, 'd', '0')$$, $$INSERT INTO berth.migration_checks_due VALUES (1)$$]) statement;
SELECT is(pg_temp.code_as('app', 'UPDATE berth.migration_run SET status = status'), '42501', 'runs are written by functions only');

-- What migration_verify sees.
DELETE FROM berth.migration_check WHERE version = '0005';
INSERT INTO berth.migration_check SELECT 'default', '0008', 'post', name, query, 't', 'error', by, by, now() FROM
  (VALUES ('own', 'SELECT public.steal()', 'app'), ('of admin', 'SELECT current_user <> ''admin''', 'admin')) v (name, query, by);
SELECT berth.add_check('0001', 'post', 'total', 'SELECT count(*) FROM public.orders WHERE total IS NULL', '3');
SELECT pg_temp.same(array_agg(name || ' ' || ok), '{"0001: total true","0002: warns false","0002: first true","0002: broken true","0003: late true",'
          '"indexes true","constraints true","statistics true","checksums true"}', 'all of them') FROM berth.migration_verify() WHERE name <> 'x';
SELECT pg_temp.same(array_agg(name || ' ' || ok), '{"0003: late true","indexes true","constraints true","statistics true","checksums true"}', 'one version')
  FROM berth.migration_verify('0003');
SELECT is(count(*), 1::bigint, 'all scopes') FROM berth.migration_verify(scope => NULL) WHERE name = 'default 0003: late';
SELECT is(count(*), 4::bigint, 'a scope without checks') FROM berth.migration_verify(scope => 'other') WHERE ok;
UPDATE orders SET total = 1;
SELECT pg_temp.same(array[ok::text, got], '{false,0}', 'what does not hold any more') FROM berth.migration_verify('0001') WHERE name = '0001: total';
SELECT pg_temp.same(array_agg(got ORDER BY result_id), '{3,3,3,0}', 'all is kept') FROM berth.migration_check_result WHERE version = '0001' AND name = 'total';
BEGIN READ ONLY;
SELECT is(count(*), 5::bigint, 'it also works where nothing can be kept') FROM berth.migration_verify('0003');
COMMIT;

INSERT INTO berth.migration_plan (version, checksum) VALUES ('0001', 'x:1'), ('0003', 'y:1');
UPDATE berth.migration SET checksum = 'x:2', checksum_algo = 'x' WHERE version IN ('0001', '0003');
SELECT pg_temp.same(array[ok::text, got], '{false,"0001: planned x:1, applied x:2"}', 'checksums of one formula') FROM berth.migration_verify() WHERE name = 'checksums';
INSERT INTO orders VALUES (4, 'note');
\set ON_ERROR_STOP 0
CREATE UNIQUE INDEX CONCURRENTLY orders_note ON orders (note);
\set ON_ERROR_STOP 1
ALTER TABLE orders ADD CONSTRAINT positive CHECK (total > 0) NOT VALID;
CREATE INDEX orders_upper ON orders (upper(note));
SELECT pg_stat_force_next_flush();  -- that orders has rows is known by this, where an index tells nothing of its table (17 and newer without autovacuum)
SELECT pg_temp.same(array_agg(ok || ' ' || got), array['false public.orders_note is invalid: DROP INDEX CONCURRENTLY public.orders_note',
          'false positive of public.orders is not validated: ALTER TABLE public.orders VALIDATE CONSTRAINT positive',
          'false public.orders_upper has no statistics: ANALYZE public.orders'], 'what stands there')
  FROM berth.migration_verify('0002') WHERE NOT ok AND name <> '0002: warns';
SELECT pg_temp.same(array[schema_name::text, table_name::text, index_name::text, is_valid::text, remedy, definition], array['public', 'orders', 'orders_note', 'false',
          'DROP INDEX CONCURRENTLY public.orders_note', 'CREATE UNIQUE INDEX orders_note ON public.orders USING btree (note)'], 'invalid_index')
  FROM berth.invalid_index WHERE building_pid IS NULL;
SELECT pg_temp.same(array[schema_name::text, table_name::text, constraint_name::text, constraint_type::text, definition], array['public', 'orders', 'positive', 'c',
          'CHECK ((total > 0)) NOT VALID'], 'not_validated') FROM berth.not_validated;
DROP INDEX CONCURRENTLY public.orders_note;
ALTER TABLE public.orders VALIDATE CONSTRAINT positive;
ANALYZE public.orders;
SELECT is_empty('SELECT FROM berth.invalid_index UNION ALL SELECT FROM berth.not_validated', 'the remedies help');
SELECT is_empty($$SELECT FROM berth.migration_verify('0002') WHERE got LIKE '%orders%'$$, 'so does ANALYZE');

-- What was found does not pile up for ever.
UPDATE berth.migration_check_result SET at = at - interval '30 days';
SELECT count(*) AS found FROM berth.migration_verify() \gset
SELECT count(*) AS of_runs FROM berth.migration_check_result WHERE run_id IS NOT NULL \gset
SELECT count(*) AS old FROM berth.migration_check_result WHERE run_id IS NULL AND at < now() - interval '7 days' \gset
SELECT cmp_ok(:old, '>', 0, 'there are old ones');
SELECT is(pg_temp.as_role('app', $$SELECT berth.prune_check_results('7 days')$$), '42501', 'a runner does not delete them');
SELECT is((pg_temp.error_of($$SELECT berth.prune_check_results('-1 day')$$))[1:2], ARRAY['22023', 'older_than is not negative'], 'not the future');
SELECT is(pg_temp.as_role('admin', $$SELECT berth.prune_check_results('7 days')$$), :'old', 'an admin does');
SELECT is((SELECT count(*) FROM berth.migration_check_result), :found + :of_runs::bigint, 'those of runs are kept');
SELECT * FROM finish();
