-- "front" lives. "dead" was registered by a connection that is gone. The links of "gone" and "deaf" live, but the console of one
-- does not answer and the other has none that this database could reach.
\ir helpers.sql
BEGIN;
SELECT * FROM no_plan();

SELECT results_eq('SELECT broker, reachable, problem IS NULL FROM berth.brokers ORDER BY broker',
  $$ VALUES ('deaf', false, false), ('front', true, true), ('gone', false, false) $$, 'brokers');
SELECT is((SELECT problem FROM berth.brokers WHERE broker = 'deaf'), 'it has no listener that this database could reach');
SELECT ok(problem LIKE '%port 1 failed: Connection refused', problem) FROM berth.brokers WHERE broker = 'gone';
SELECT is((SELECT count(DISTINCT broker) FROM berth.databases), 1::bigint, 'the others'' rows come all the same');

-- Another backend gets the process id of a link that is gone.
UPDATE berth.broker_registration SET backend_pid = pg_backend_pid() WHERE id = 'id-dead';
SELECT is((SELECT count(*) FROM berth.brokers WHERE broker = 'dead'), 0::bigint, 'a process id that came again is not the link');

SELECT is((SELECT count(*) FROM berth.broker_registration WHERE id = 'id-dead'), 1::bigint, 'a dead registration lies there unseen');
SELECT berth.register_broker('id-new', 'new', '1', '', 's', now());
SELECT is((SELECT count(*) FROM berth.broker_registration WHERE id = 'id-dead'), 0::bigint, 'until the next one registers');
SELECT berth.deregister_broker('id-new');

SELECT * FROM finish();
ROLLBACK;
