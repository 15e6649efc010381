-- Stepwise mode: start, steps, leases, errors with their DETAIL and HINT; index_sql and validate_sql.
\ir helpers.sql
\pset fieldsep '\n'
SELECT * FROM no_plan();
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text, total int);
INSERT INTO orders (note) SELECT 'n' || g FROM generate_series(1, 20) g;

-- As if the client of a scope had gone away some time ago.
CREATE FUNCTION pg_temp.forsake(scope text DEFAULT 'default') RETURNS void LANGUAGE sql AS
  $$ UPDATE berth.migration_lease l SET pid = 0, expires_at = now() - interval '1s' WHERE l.scope = $1 $$;

-- In a transaction block nothing of it works, because the journal could not tell what was done before a crash.
BEGIN;
SELECT is((pg_temp.error_of(statement))[1], 'MG009', statement) FROM unnest(array[
  $$SELECT berth.migration_start('1')$$, $$SELECT berth.migration_step_begin(1, 1, 'a')$$, $$SELECT berth.migration_step_end(1, 1)$$,
  $$SELECT berth.migration_step_fail(1, 1, 'a', 'b')$$, $$SELECT berth.migration_heartbeat(NULL)$$, $$SELECT berth.migration_finish(1)$$,
  $$SELECT berth.migration_fail(1, 'a', 'b')$$, $$SELECT berth.migration_lock()$$, $$SELECT berth.migration_unlock(NULL)$$]) statement;
SELECT is((pg_temp.error_of('SELECT berth.migration_finish(1)'))[2], 'berth.migration_finish() must be called outside a transaction block', 'its text');
COMMIT;
SELECT is_empty('SELECT FROM berth.migration_run', 'nothing is recorded');

-- From here on errors are caught in subtransactions, which count as a block.
CREATE OR REPLACE FUNCTION berth.refuse_block(name text) RETURNS void LANGUAGE sql AS '';

-- Arguments.
SELECT is((pg_temp.error_of(statement))[1], '22023', statement) FROM unnest(array[
  $$SELECT berth.migration_start('')$$, $$SELECT berth.migration_start('1', scope => '*')$$, $$SELECT berth.migration_start('1', lease => '0s')$$,
  $$SELECT berth.migration_start('1', lease => '2 days')$$, $$SELECT berth.migration_start('1', lease => NULL)$$,
  $$SELECT berth.migration_start('1', kind => 'repeatable')$$, $$SELECT berth.migration_step_begin(1, 0, 'a')$$,
  $$SELECT berth.migration_step_begin(1, 1, ' ')$$, $$SELECT berth.migration_step_begin(1, 1, 'a', 'b')$$,
  $$SELECT berth.migration_step_begin(1, 1, 'a')$$, $$SELECT berth.migration_step_begin(NULL, 1, 'a')$$, $$SELECT berth.migration_finish(7)$$,
  $$SELECT berth.migration_finish(NULL)$$, $$SELECT berth.migration_lock('*')$$, $$SELECT berth.migration_lock('x', '0s')$$]) statement;

-- A run with three steps.
SELECT run_id, token, resume FROM berth.migration_start('0001', 'first', checksum => 'a:1', info => '{"tool": "x", "ticket": 7}',
                                                         tool => 'psql', source_ref => 'abc') \gset
SELECT is(:'resume'::text, 'f', 'a new one');
SELECT pg_temp.same(array[direction, mode, status, attempt::text, usename, tool, source_ref, info::text, berth.run_state(run_id)],
          array['apply', 'step', 'running', '1', session_user, 'psql', 'abc', '{"ticket": 7}', 'running'], 'its run') FROM berth.migration_run;
SELECT pg_temp.same(array[scope, token::text, run_id::text, ttl::text, via_broker::text, pid::text],
          array['default', :'token', :'run_id', '00:01:00', 'false', pg_backend_pid()::text], 'its lease') FROM berth.migration_lease;
SELECT is(berth.run_state(0), NULL, 'no such run, no state');
SELECT ok(berth.migration_step_begin(:run_id, 1, 'one', sql_hash => 'h1'), 'step 1');
SELECT pg_temp.same(pg_temp.error_of(format('SELECT berth.migration_finish(%s)', :run_id)),
          array['MG012', 'run 1 cannot finish: step 1 is running', 'Steps that are not done: 1.',
                'Do the step, SELECT berth.migration_step_end(1, 1), and finish then.'], 'MG012');
SELECT berth.migration_step_end(:run_id, 1, rows => 5);
SELECT lives_ok(format('SELECT berth.migration_step_end(%s, 1)', :run_id), 'said twice: once');
SELECT pg_temp.same(array[label, kind, sql_hash, status, attempts::text, rows_done::text], '{one,sql,h1,done,1,5}', 'step 1 is done') FROM berth.migration_step;
SELECT ok(finished_at >= started_at, 'with its times') FROM berth.migration_step;
SELECT ok(NOT berth.migration_step_begin(:run_id, 1, 'one', sql_hash => 'h1'), 'and not done again');
SELECT pg_temp.same(pg_temp.error_of(format('SELECT berth.migration_step_end(%s, 2)', :run_id)),
          array['55000', 'step 2 of run 1 has not begun', 'It is unknown.', 'SELECT berth.migration_step_begin(1, 2, ''what it does'')'], 'end without begin');
SELECT is((pg_temp.error_of(format('SELECT berth.migration_step_fail(%s, 2, ''a'', ''b'')', :run_id)))[1], '55000', 'nor can it fail');

-- Another script under the number of a step that is done.
SELECT pg_temp.same(e[1:2] || e[4], array['MG004', 'checksum of done step 1 of migration "0001" differs: stored h1, given h2',
          'Restore the script, or begin from its first step after SELECT berth.migration_resolve(1, ''reverted'', ''why'').'], 'MG004')
  FROM pg_temp.error_of(format('SELECT berth.migration_step_begin(%s, 1, ''one'', sql_hash => ''h2'')', :run_id)) e;
SELECT is((pg_temp.error_of(format('SELECT berth.migration_step_begin(%s, 1, ''other'')', :run_id)))[2],
          'checksum of done step 1 of migration "0001" differs: stored h1, given "other"', 'without a hash its label counts');
SELECT berth.set_policy('checksum', 'off');
SELECT ok(NOT berth.migration_step_begin(:run_id, 1, 'one', sql_hash => 'h2'), 'the policy can allow it');
SELECT berth.set_policy('checksum', 'error');

-- A step that fails can begin again; a heartbeat renews.
SELECT ok(berth.migration_step_begin(:run_id, 2, 'two'), 'step 2');
SELECT berth.migration_step_fail(:run_id, 2, '55P03', 'canceling statement due to lock timeout');
SELECT pg_temp.same(array[status, sqlstate, message], '{failed,55P03,canceling statement due to lock timeout}', 'failed') FROM berth.migration_step WHERE step_no = 2;
SELECT is((pg_temp.error_of(format('SELECT berth.migration_finish(%s)', :run_id)))[2], 'run 1 cannot finish: step 2 is failed', 'MG012');
SELECT ok(berth.migration_step_begin(:run_id, 2, 'two'), 'again');
SELECT pg_temp.same(array[status, attempts::text, sqlstate, finished_at::text], '{running,2,NULL,NULL}', 'the second time') FROM berth.migration_step WHERE step_no = 2;
UPDATE berth.migration_lease SET expires_at = '2000-01-01';
SELECT ok(berth.migration_heartbeat(:'token') > now(), 'a heartbeat renews the lease');
SELECT ok(expires_at > now(), 'as it says') FROM berth.migration_lease;
UPDATE berth.migration_lease SET expires_at = '2000-01-01';
SELECT berth.migration_step_end(:run_id, 2);
SELECT ok(expires_at > now(), 'every call does, as long as nobody has taken it') FROM berth.migration_lease;
SELECT is((pg_temp.error_of($$SELECT berth.migration_heartbeat(gen_random_uuid())$$))[1], 'MG007', 'of another lease: MG007');

-- The end.
SELECT berth.migration_finish(:run_id);
SELECT pg_temp.same(array[scope, version, kind, description, checksum, state, applied_by, last_run::text],
          array['default', '0001', 'versioned', 'first', 'a:1', 'applied', session_user, :'run_id'], 'the version') FROM berth.migration;
SELECT pg_temp.same(array[status, (duration > '0')::text, berth.run_state(run_id)], '{done,true,done}', 'the run') FROM berth.migration_run;
SELECT is_empty('SELECT FROM berth.migration_lease', 'the lease is given up');
SELECT lives_ok(format('SELECT berth.migration_finish(%s)', :run_id), 'finished twice: once');
SELECT pg_temp.same(pg_temp.error_of(format('SELECT berth.migration_step_begin(%s, 3, ''x'')', :run_id)),
          array['MG007', 'lease of run 1 was lost', 'The run is done since ' || (SELECT finished_at FROM berth.migration_run) || '.',
                'Do not continue: someone else may be migrating. If not, run the script again from its beginning, which resumes at the step '
                'that is not done.'], 'after the end: MG007');

-- An applied version has run 0, so that the script passes over everything.
SELECT run_id, token, resume FROM berth.migration_start('0001', checksum => 'a:1') \gset
SELECT is(:run_id, 0, 'run 0');
SELECT ok(NOT berth.migration_step_begin(:run_id, 1, 'whatever'), 'its steps are done');
SELECT is(berth.migration_heartbeat(:'token'), NULL, 'it has no lease');
SELECT lives_ok('SELECT berth.migration_finish(0)', 'and ends');
SELECT is(count(*), 1::bigint, 'with no other run') FROM berth.migration_run;
SELECT is((pg_temp.error_of($$SELECT berth.migration_start('0001', on_applied => 'error')$$))[1], 'MG001', 'MG001');
SELECT is((pg_temp.error_of($$SELECT berth.migration_start('0001', checksum => 'a:2')$$))[1], 'MG004', 'MG004');
SELECT is((pg_temp.error_of($$SELECT berth.migration_start('0005', requires => '{0009}')$$))[1], 'MG002', 'MG002');
SELECT is((pg_temp.error_of($$SELECT berth.migration_start('0005', conflicts => '{0001}')$$))[1], 'MG003', 'MG003');
SELECT is((pg_temp.error_of($$SELECT berth.migration_start('0000')$$))[1], 'MG005', 'MG005');
SELECT is(run_id, 0::bigint, 'out of order, skipped') FROM berth.migration_start('0000', out_of_order => 'skip');
SELECT pg_temp.same(array[m.state, r.status], '{skipped,done}', 'with a row') FROM berth.migration m JOIN berth.migration_run r ON r.run_id = m.last_run
  WHERE m.version = '0000';
SELECT is_empty('SELECT FROM berth.migration_lease', 'and no lease');

-- A run that fails is resumed; its error is kept; others of its scope must wait for it.
SELECT run_id FROM berth.migration_start('0002') \gset
SELECT ok(berth.migration_step_begin(:run_id, 1, 'one')), berth.migration_step_end(:run_id, 1);
SELECT ok(berth.migration_step_begin(:run_id, 2, 'two'));
SELECT berth.migration_fail(:run_id, '23505', 'could not create unique index', 'Key (a)=(1) is duplicated.', 'a hint', 'its context');
SELECT pg_temp.same(array[status, sqlstate, message, detail, hint, context, failed_step::text],
          array['failed', '23505', 'could not create unique index', 'Key (a)=(1) is duplicated.', 'a hint', 'its context', '2'], 'the failed run')
  FROM berth.migration_run WHERE run_id = :run_id;
SELECT pg_temp.same(array_agg(status ORDER BY step_no), '{done,failed}', 'its steps') FROM berth.migration_step WHERE run_id = :run_id;
SELECT is_empty('SELECT FROM berth.migration_lease', 'gives up its lease');
SELECT is((pg_temp.error_of(format('SELECT berth.migration_step_begin(%s, 3, ''x'')', :run_id)))[1], 'MG007', 'and is over');
SELECT pg_temp.same(e[1:2] || e[4], array['MG008', format('run %s was interrupted at step 2 "two" (0002), resume or resolve it first', :run_id),
          format('Run the script of "0002" again, which resumes it, or SELECT berth.migration_resolve(%s, ''reverted'', ''why'').', :run_id)], 'MG008')
  FROM pg_temp.error_of($$SELECT berth.migration_start('0003')$$) e;
SELECT :run_id AS failed_run \gset
SELECT run_id, resume FROM berth.migration_start('0002') \gset
SELECT is(:'resume'::text, 't', 'resumed');
SELECT pg_temp.same(array[resumed_from, attempt]::text[], array[:failed_run, 2]::text[], 'as the second attempt') FROM berth.migration_run WHERE run_id = :run_id;
SELECT pg_temp.same(array_agg(status ORDER BY step_no), '{done,pending}', 'what is done stays done') FROM berth.migration_step WHERE run_id = :run_id;
SELECT ok(NOT berth.migration_step_begin(:run_id, 1, 'one'), 'not again');
SELECT ok(berth.migration_step_begin(:run_id, 2, 'two'), 'but this');
SELECT is(attempts, 2, 'for the second time') FROM berth.migration_step WHERE run_id = :run_id AND step_no = 2;

-- A run whose client goes away is found, shown as interrupted, and resumed; its former calls are refused.
SELECT pg_temp.forsake();
SELECT pg_temp.same(array[status, berth.run_state(run_id)], '{running,interrupted}', 'nobody is at it') FROM berth.migration_run WHERE run_id = :run_id;
SELECT is((pg_temp.error_of($$SELECT berth.migration_start('0003')$$))[1:2], array['MG008', format('run %s was interrupted at step 2 "two" (0002), '
          'resume or resolve it first', :run_id)], 'MG008 before anybody has closed it');
SELECT :run_id AS lost_run \gset
SELECT run_id, resume FROM berth.migration_start('0002') \gset
SELECT pg_temp.same(array[status, message, failed_step::text], '{interrupted,its client went away,2}', 'it is closed') FROM berth.migration_run WHERE run_id = :lost_run;
SELECT pg_temp.same(e[1:2] || left(e[3], 39), array['MG007', format('lease of run %s was lost', :lost_run),
          left(format('Scope "default" is held by run %s since ', :run_id), 39)], statement)
  FROM (SELECT format(unnest(array['SELECT berth.migration_step_begin(%s, 2, ''two'')', 'SELECT berth.migration_step_end(%s, 2)',
    'SELECT berth.migration_step_fail(%s, 2, ''a'', ''b'')', 'SELECT berth.migration_finish(%s)', 'SELECT berth.migration_fail(%s, ''a'', ''b'')',
    'SELECT berth.index_sql(''orders'', ''a'', ''(note)'', run => %s)', 'SELECT berth.validate_sql(''orders'', ''orders_pkey'', run => %s)']),
    :lost_run) AS statement) s CROSS JOIN LATERAL pg_temp.error_of(statement) e;
SELECT ok(berth.migration_step_begin(:run_id, 2, 'two')), berth.migration_step_end(:run_id, 2), berth.migration_finish(:run_id);
SELECT pg_temp.same(array_agg(concat_ws(' ', status, outcome) ORDER BY run_id), '{resolved retry,resolved retry,done}', 'three attempts')
  FROM berth.migration_run WHERE version = '0002';
SELECT is(berth.is_applied('default', '0002'), true, 'applied');

-- A statement that bears the number of the run keeps it alive when nothing else does: this one does.
SELECT run_id FROM berth.migration_start('0003') \gset
UPDATE berth.migration_lease SET expires_at = '2000-01-01', via_broker = true;
SELECT is(berth.run_state(:run_id), 'interrupted', 'behind a broker the lease alone counts');
SELECT format('SELECT is(berth.run_state(%s), ''running'', ''and its statements'') /* berth run %1$s step 1 */', :run_id) \gexec
SELECT is(berth.migration_step_begin(:run_id, 1, 'one'), true, 'and it is renewed');
UPDATE berth.migration_lease SET expires_at = 'infinity';
UPDATE berth.migration_run SET cluster = 'another' WHERE run_id = :run_id;
SELECT is(berth.run_state(:run_id), 'interrupted', 'in a copy of the database nobody is at it');
SELECT is((pg_temp.error_of(format('SELECT berth.migration_step_end(%s, 1)', :run_id)))[1:3], array['MG007', format('lease of run %s was lost', :run_id),
  'Nobody holds it: it was taken away, or this database is a copy of the one where the run was.'], 'and cannot be');
SELECT is(resume, true, 'but it can be resumed') FROM berth.migration_start('0003');

-- What was resolved: retry resumes, reverted begins anew; so does what was undone.
SELECT max(run_id) AS run_id FROM berth.migration_run \gset
SELECT ok(berth.migration_step_begin(:run_id, 1, 'one')), berth.migration_step_end(:run_id, 1), berth.migration_fail(:run_id, 'XX000', 'why');
UPDATE berth.migration_run SET status = 'resolved', outcome = 'retry' WHERE run_id = :run_id;
SELECT run_id, resume FROM berth.migration_start('0003') \gset
SELECT is(:'resume'::text, 't', 'retry: resumed');
SELECT is(status, 'done', 'its step is done') FROM berth.migration_step WHERE run_id = :run_id;
SELECT berth.migration_fail(:run_id, 'XX000', 'why');
UPDATE berth.migration_run SET status = 'resolved', outcome = 'reverted' WHERE version = '0003';
SELECT run_id, resume FROM berth.migration_start('0003') \gset
SELECT is(:'resume'::text, 'f', 'reverted: from its first step');
SELECT ok(berth.migration_step_begin(:run_id, 1, 'another one')), berth.migration_step_end(:run_id, 1), berth.migration_finish(:run_id);
BEGIN;
SELECT ok(berth.migrate_undo('0003'), 'undone');
COMMIT;
SELECT run_id, resume FROM berth.migration_start('0003') \gset
SELECT is(:'resume'::text, 'f', 'from its first step, too');
SELECT berth.migration_finish(:run_id);

-- Repeatable ones, expansion, scopes.
SELECT run_id FROM berth.migration_start('views', kind => 'repeatable', checksum => 'a') \gset
SELECT berth.migration_finish(:run_id);
SELECT is(run_id, 0::bigint, 'not repeated') FROM berth.migration_start('views', kind => 'repeatable', checksum => 'a');
SELECT run_id FROM berth.migration_start('views', kind => 'repeatable', checksum => 'b') \gset
SELECT ok(:run_id > 0, 'changed: repeated');
SELECT isnt(run_id, 0::bigint, 'another scope is another history') FROM berth.migration_start('0001', scope => 'tenant', info => '{"phase": "expand"}');
SELECT berth.migration_finish(:run_id), berth.migration_finish(l.run_id) FROM berth.migration_lease l WHERE scope = 'tenant';
SELECT is(state, 'expanded', 'expanded') FROM berth.migration WHERE scope = 'tenant';

-- Checks: those before are made when it begins, not when it is resumed; those after keep it from its end.
SELECT berth.add_check('0003b', 'pre', 'no y yet', $$SELECT count(*) = 0 FROM pg_class WHERE relname = 'y'$$),
       berth.add_check('0003b', 'post', 'y is full', 'SELECT count(*) FROM y', '1');
CREATE TABLE y (i int);
SELECT is(e[1:2], '{MG020,"assertion \"no y yet\" failed: expected t, got f"}', 'a check before') FROM pg_temp.error_of($$SELECT berth.migration_start('0003b')$$) e;
SELECT is_empty($$SELECT FROM berth.migration_run WHERE version = '0003b'$$, 'nothing has begun');
DROP TABLE y;
SELECT run_id FROM berth.migration_start('0003b') \gset
CREATE TABLE y (i int);
SELECT is(e[1:2] || e[4], array['MG020', 'assertion "y is full" failed: expected 1, got 0', format('Put right what it found, then SELECT berth.migration_finish(%s).', :run_id)],
          'a check after') FROM pg_temp.error_of(format('SELECT berth.migration_finish(%s)', :run_id)) e;
SELECT is(berth.run_state(:run_id), 'running', 'it goes on');
SELECT pg_temp.forsake();
SELECT run_id, resume FROM berth.migration_start('0003b') \gset
SELECT is(:'resume'::text, 't', 'resumed without the check before');
INSERT INTO y VALUES (1);
SELECT berth.migration_finish(:run_id);
SELECT pg_temp.same(array_agg(concat_ws(' ', r.name, r.ok) ORDER BY r.result_id), '{no y yet t,y is full t}', 'what they found') FROM berth.migration_check_result r
  WHERE r.version = '0003b';

-- Locks without a run.
SELECT berth.migration_lock('tool', '30s', '0s') AS token \gset
SELECT pg_temp.same(array[scope, run_id::text, ttl::text], '{tool,NULL,00:00:30}', 'a lock') FROM berth.migration_lease;
SELECT is((pg_temp.error_of($$SELECT berth.migration_lock('tool', wait => '0s')$$))[1], 'MG006', 'is held');
SELECT ok(berth.migration_heartbeat(:'token') IS NOT NULL, 'renewed');
SELECT berth.migration_unlock(:'token');
SELECT is((pg_temp.error_of(format('SELECT berth.migration_unlock(%L)', :'token')))[1:2], array['MG007', format('lease %s was lost', :'token')], 'and given back once');
SELECT berth.migration_lock('tool') AS token \gset
SELECT pg_temp.forsake('tool');
SELECT lives_ok($$SELECT berth.migration_lock('tool', wait => '0s')$$, 'one that ended is taken');
SELECT is((pg_temp.error_of(format('SELECT berth.migration_heartbeat(%L)', :'token')))[1], 'MG007', 'from who had it');
SELECT berth.migration_unlock(token) FROM berth.migration_lease;
SELECT run_id, token FROM berth.migration_start('0004') \gset
SELECT is((pg_temp.error_of(format('SELECT berth.migration_unlock(%L)', :'token')))[1:2], array['55000', format('this token is that of run %s', :run_id)], 'a run is no lock');
SELECT berth.migration_finish(:run_id);

-- One migrator for each scope, whatever its mode.
SELECT run_id FROM berth.migration_start('0005') \gset
SELECT pg_temp.same(e[1:2] || e[4], array['MG006', format('another migration of scope "default" is running: run %s, "0005" since %s, pid %s, %s', :run_id,
          l.acquired_at, pg_backend_pid(), l.holder), format('Wait longer (wait =>), or, if it is dead, SELECT berth.migration_resolve(%s, ''retry'', ''why'').',
          :run_id)], statement)
  FROM berth.migration_lease l CROSS JOIN unnest(array[$$SELECT berth.migration_start('0005', wait => '0s')$$, $$SELECT berth.migration_start('0006', wait => '0s')$$,
    $$DO 'BEGIN PERFORM berth.migrate_once(''0006'', wait => ''0s''); END'$$, $$SELECT berth.migration_lock(wait => '20ms')$$]) statement
  CROSS JOIN LATERAL pg_temp.error_of(statement) e;

-- Indexes: nothing if it is there, a clear error if it is another one, drop and create if it is invalid.
CREATE FUNCTION pg_temp.index_sql(arguments text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  statements text[];
BEGIN
  EXECUTE format('SELECT coalesce(array_agg(s), ''{}'') FROM berth.index_sql(%s) s', arguments) INTO statements;
  RETURN statements;
END $$;
CREATE TABLE parted (i int) PARTITION BY RANGE (i);
CREATE SCHEMA "My Schema";
CREATE TABLE "My Schema"."T""x" (a int, "B b" text, c timestamptz);
SELECT ok(berth.migration_step_begin(:run_id, 1, 'index', 'index'));
SELECT pg_temp.same(pg_temp.index_sql($$'orders', 'orders_note_idx', '(note)'$$),
          array[format('/* berth run %s step 1 */ CREATE INDEX CONCURRENTLY orders_note_idx ON public.orders (note)', :run_id)], 'the run of the session');
SELECT pg_temp.same(pg_temp.index_sql(format($$'orders', 'orders_note_idx', '(note)', true, %s, 5$$, :run_id)),
          array[format('/* berth run %s step 5 */ CREATE UNIQUE INDEX CONCURRENTLY orders_note_idx ON public.orders (note)', :run_id)], 'its run and step, unique');
SELECT pg_temp.same(pg_temp.index_sql($$'"My Schema"."T""x"', 'An "index"', ' using btree ("B b" DESC)'$$),
          array[format('/* berth run %s step 1 */ CREATE INDEX CONCURRENTLY "An ""index""" ON "My Schema"."T""x"  using btree ("B b" DESC)', :run_id)], 'quoted');
SELECT berth.index_sql('orders', 'orders_note_idx', '(note text_pattern_ops) WHERE note > ''a''') \gexec
SELECT berth.index_sql('"My Schema"."T""x"', 'An "index"', '(lower("T""x"."B b"), a) INCLUDE (c) WITH (fillfactor = 70)', uniq => true) \gexec
SELECT lives_ok(format('SELECT berth.migration_step_end(%s, 1, index => ''orders_note_idx'')', :run_id), 'valid');
SELECT pg_temp.same(pg_temp.index_sql(arguments), '{}', arguments) FROM unnest(array[
  $$'orders', 'orders_note_idx', '(note text_pattern_ops) WHERE note > ''a'''$$,
  $$'orders', 'orders_note_idx', 'USING btree (note text_pattern_ops) WHERE (note > ''a''::text)'$$,
  $$'orders', 'orders_note_idx', 'USING BTREE ( "note" text_pattern_ops ASC NULLS LAST )where orders.note>text ''a'''$$,
  $$'"My Schema"."T""x"', 'An "index"', 'using btree(LOWER("B b"),a) include(c) with (fillfactor=''70'')', true$$]) arguments;
SELECT is(e[1:2], array['42710', format('index "%s" exists with another definition', name)], arguments) FROM (VALUES
  ('orders_note_idx', $$'orders', 'orders_note_idx', '(note) WHERE note > ''a'''$$),
  ('orders_note_idx', $$'orders', 'orders_note_idx', '(note text_pattern_ops)'$$),
  ('orders_note_idx', $$'orders', 'orders_note_idx', '(note text_pattern_ops) WHERE note > ''a''', true$$),
  ('An "index"', $$'"My Schema"."T""x"', 'An "index"', '(lower("B b"), a) INCLUDE (c)', true$$)) v (name, arguments)
  CROSS JOIN LATERAL pg_temp.error_of(format('SELECT berth.index_sql(%s)', arguments)) e;
SELECT pg_temp.same(e[3:4], array['It is: CREATE INDEX orders_note_idx ON public.orders USING btree (note text_pattern_ops) WHERE (note > ''a''::text). Asked for: UNIQUE (id).',
          'Give the index another name, or DROP INDEX CONCURRENTLY public.orders_note_idx first.'], 'both definitions')
  FROM pg_temp.error_of($$SELECT berth.index_sql('orders', 'orders_note_idx', '(id)', true)$$) e;
SELECT is_empty($$SELECT FROM pg_class WHERE relname IN ('berth_same_definition') OR (relname = 'orders' AND relpersistence = 't')$$, 'the comparison leaves nothing');
SELECT is((pg_temp.error_of(format('SELECT berth.index_sql(%s)', arguments)))[1], code, arguments) FROM (VALUES
  ('42P07', $$'orders', 'orders', '(note)'$$), ('42P07', $$'"My Schema"."T""x"', 'T"x', '(a)'$$), ('22023', $$'orders', '', '(note)'$$),
  ('22023', $$'orders', NULL, '(note)'$$), ('22023', $$'orders', 'a', 'note'$$), ('22023', $$'orders', 'a', NULL$$), ('22023', $$'orders', 'public.a', '(note)'$$),
  ('42P01', $$'nothing', 'a', '(note)'$$), ('42P01', $$NULL, 'a', '(note)'$$), ('42809', $$'berth.pools', 'a', '(broker)'$$), ('0A000', $$'parted', 'a', '(i)'$$),
  ('42622', $$'orders', repeat('é', 32), '(note)'$$)) v (code, arguments);
SELECT pg_temp.same(pg_temp.error_of($$SELECT berth.index_sql('parted', 'parted_i', '(i)')$$), array['0A000', 'public.parted is partitioned: PostgreSQL builds no index of it concurrently', '',
  'CREATE INDEX parted_i ON ONLY public.parted (i); then berth.index_sql() for each partition; then ALTER INDEX parted_i ATTACH PARTITION each.'], 'partitioned');
SELECT is(cardinality(pg_temp.index_sql($$'orders', repeat('é', 31), '(note)'$$)), 1, '62 bytes are a name');

-- A failed unique build leaves an invalid index, which is never accepted.
INSERT INTO orders (note) VALUES ('twice'), ('twice');
SELECT ok(berth.migration_step_begin(:run_id, 2, 'unique', 'index'));
\set ON_ERROR_STOP 0
SELECT berth.index_sql('orders', 'orders_note_key', '(note)', uniq => true) \gexec
SELECT is(:'ERROR'::text, 'true', 'the build fails');  -- psql 17 loses the SQLSTATE of what \gexec ran
\set ON_ERROR_STOP 1
SELECT pg_temp.same(pg_temp.error_of(format('SELECT berth.migration_step_end(%s, 2, index => ''orders_note_key'')', :run_id)),
  array['MG016', 'index public.orders_note_key is invalid after step 2', 'Its build did not end well: valid f, ready f.',
        format('It is dropped and built again by: SELECT * FROM berth.index_sql(''public.orders'', ''orders_note_key'', ''USING btree (note)'', uniq => true, run => %s, '
               'step_no => 2) \gexec', :run_id)], 'MG016');
SELECT pg_temp.same(pg_temp.index_sql($$'orders', 'orders_note_key', '(note)', true$$), array[
  format('/* berth run %s step 2 */ DROP INDEX CONCURRENTLY public.orders_note_key', :run_id),
  format('/* berth run %s step 2 */ CREATE UNIQUE INDEX CONCURRENTLY orders_note_key ON public.orders (note)', :run_id)], 'dropped first');
DELETE FROM orders WHERE note = 'twice';
SELECT * FROM berth.index_sql('public.orders', 'orders_note_key', 'USING btree (note)', uniq => true, run => :run_id, step_no => 2) \gexec
SELECT lives_ok(format('SELECT berth.migration_step_end(%s, 2, index => ''orders_note_key'')', :run_id), 'by the statement of the hint');
SELECT is((pg_temp.error_of(format('SELECT berth.migration_step_end(%s, 2, index => ''orders'')', :run_id)))[1:2], '{42809,public.orders is not an index}', 'a table is no index');

-- What REINDEX CONCURRENTLY leaves behind goes, too, also under names that it had to cut.
SELECT rpad('orders_', 63, 'x') AS long_name \gset
CREATE INDEX :long_name ON orders (total);
INSERT INTO orders (note, total) VALUES ('a', 1);
ALTER INDEX orders_note_key RENAME TO orders_note_key_ccnew;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'orders_note_key_ccnew'::regclass;
CREATE INDEX orders_note_key_ccold2 ON orders (total);
CREATE UNIQUE INDEX orders_note_key ON orders (note);
SELECT left(:'long_name', 57) || '_ccnew' AS cut_name \gset
CREATE INDEX :cut_name ON orders (total);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = :'cut_name'::regclass;
SELECT pg_temp.same(pg_temp.index_sql($$'orders', 'orders_note_key', '(note)', true$$),
          array[format('/* berth run %s step - */ DROP INDEX CONCURRENTLY public.orders_note_key_ccnew', :run_id)], 'the invalid copy only');
SELECT pg_temp.same(pg_temp.index_sql(format($$'orders', %L, '(total)'$$, :'long_name')),
          array[format('/* berth run %s step - */ DROP INDEX CONCURRENTLY public.%s', :run_id, :'cut_name')], 'the cut copy');

-- Constraints in a transaction of their own.
ALTER TABLE orders ADD CONSTRAINT positive CHECK (total > 0) NOT VALID, ADD CONSTRAINT "Odd name" CHECK (id > 0);
SELECT ok(berth.migration_step_begin(:run_id, 3, 'validate', 'validate'));
SELECT is(e[1:3], array['MG016', 'constraint "positive" of public.orders is not validated after step 3', 'CHECK ((total > 0)) NOT VALID'], 'not validated: MG016'),
       is(e[4], format('SELECT * FROM berth.validate_sql(''public.orders'', ''positive'', run => %s, step_no => 3) \gexec', :run_id), 'and what to do')
  FROM pg_temp.error_of(format('SELECT berth.migration_step_end(%s, 3, constraint_name => ''positive'')', :run_id)) e;
SELECT is((pg_temp.error_of(format('SELECT berth.migration_step_end(%s, 3, constraint_name => %L, rel => ''parted'')', :run_id, name)))[1], '42704', name)
  FROM unnest('{positive,none}'::text[]) name;
SELECT is(s, format('/* berth run %s step 3 */ ALTER TABLE public.orders VALIDATE CONSTRAINT positive', :run_id), 'its statement') FROM berth.validate_sql('orders', 'positive') s;
SELECT berth.validate_sql('orders', 'positive') \gexec
SELECT is_empty($$SELECT berth.validate_sql('orders', 'positive')$$, 'validated');
SELECT is_empty($$SELECT berth.validate_sql('orders', 'Odd name')$$, 'this one, too');
SELECT is((pg_temp.error_of($$SELECT berth.validate_sql('orders', 'none')$$))[1:2], array['42704', 'constraint "none" of public.orders does not exist'], 'no such one');
SELECT lives_ok(format('SELECT berth.migration_step_end(%s, 3, constraint_name => ''positive'', rel => ''orders'')', :run_id), 'and the step is done');
SELECT berth.migration_finish(:run_id);
SELECT pg_temp.same(pg_temp.index_sql($$'orders', 'x', '(note)'$$), '{CREATE INDEX CONCURRENTLY x ON public.orders (note)}', 'without a run there is no comment');

SELECT * FROM finish();
