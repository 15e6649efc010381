-- "front" registered another secret than its console takes, "trusting" does not ask for it, "sneaky" wants a file read.
\ir helpers.sql
BEGIN;
SELECT * FROM no_plan();

SELECT is((SELECT count(*) FROM berth.brokers WHERE reachable), 0::bigint, 'none is asked');
SELECT ok(problem LIKE '%password authentication failed for user "consoler"', problem) FROM berth.brokers WHERE broker = 'front';
SELECT is((SELECT problem FROM berth.brokers WHERE broker = 'trusting'), 'it did not ask for the secret that it registered');
SELECT is((SELECT problem FROM berth.brokers WHERE broker = 'sneaky'), 'parameter passfile is not allowed here');
SELECT is_empty('SELECT * FROM berth.databases', 'no rows');
SELECT ok(bool_and(problem NOT LIKE '%wrong%'), 'no secret in what is told') FROM berth.brokers;

-- A name would be looked up inside the backend, where no timeout and no cancel counts.
SELECT results_eq($$ SELECT host, problem FROM unnest(ARRAY['name.invalid', '127.0.0.1,name.invalid']) host
    CROSS JOIN LATERAL berth.exchange('{x}', ARRAY['host=' || host || ' port=1'], '{s}', '{SHOW POOLS}', 1, 0, true) $$,
  $$ SELECT host, format('to look "%s" up could take any time, its address is needed: hostaddr', host)
       FROM unnest(ARRAY['name.invalid', '127.0.0.1,name.invalid']) host $$, 'names are refused');
SELECT ok(problem NOT LIKE '%look%', problem) FROM unnest(ARRAY['127.0.0.1', '::1', '/nowhere', 'name.invalid hostaddr=127.0.0.1']) host
  CROSS JOIN LATERAL berth.exchange('{x}', ARRAY['host=' || host || ' port=1'], '{s}', '{SHOW POOLS}', 1, 0, true);

SELECT * FROM finish();
ROLLBACK;
