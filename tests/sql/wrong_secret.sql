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

SELECT * FROM finish();
ROLLBACK;
