-- Nothing is registered; the setting names a broker (variables: its conninfo and its port).
\ir helpers.sql
BEGIN;
SELECT * FROM no_plan();

SELECT set_config('berth.brokers', ' ; ' || :'console' || ' ; host=127.0.0.1 port=1 ;', false) \g /dev/null
SELECT results_eq('SELECT broker, source, reachable, version IS NULL FROM berth.brokers ORDER BY broker',
  $$ VALUES ('127.0.0.1:1', 'setting', false, true), ('127.0.0.1:$$ || :'back' || $$', 'setting', true,
     (SELECT version IS NULL FROM berth.brokers WHERE reachable)) $$, 'brokers of the setting');
SELECT isnt_empty('SELECT * FROM berth.databases', 'they are asked');

-- The same broker registers: it is not asked twice.
SELECT berth.register_broker('id', 'named', '1', 'host=127.0.0.1 port=' || :'back' || ' dbname=pgberth user=consoler', 's', now());
SELECT results_eq('SELECT broker, source FROM berth.brokers ORDER BY broker',
  $$ VALUES ('127.0.0.1:1', 'setting'), ('named', 'registered') $$, 'a broker that registers itself counts once');
SELECT berth.deregister_broker('id');

SET berth.brokers = 'host=127.0.0.1 password=x';
SELECT is((SELECT problem FROM berth.brokers), 'berth.brokers may not hold a password, use passfile');
SET berth.brokers = 'nonsense';
SELECT ok(NOT reachable AND broker = 'berth.brokers' AND problem LIKE 'missing "="%', problem) FROM berth.brokers;

SELECT * FROM finish();
ROLLBACK;
