-- The facts of a real broker, made older: "roomy" has pools of 20; 2 servers at once were the most that app used, app2 used 10.
\ir helpers.sql
BEGIN;
SELECT * FROM no_plan();

-- As if the brokers had started so much earlier. All else is what they say.
CREATE FUNCTION pg_temp.too_large(age interval) RETURNS SETOF record LANGUAGE sql AS $$
  WITH aged AS (
    SELECT jsonb_agg(CASE WHEN f ->> 'command' = 'SHOW BROKER' THEN
             jsonb_set(f, '{row,started_at}', to_jsonb((f -> 'row' ->> 'started_at')::timestamptz - age)) ELSE f END) AS facts
      FROM jsonb_array_elements(berth.facts()) f)
  SELECT broker, database, usename, evidence LIKE 'never more than 2 servers were in use since %, pool_size is 20'
    FROM aged CROSS JOIN LATERAL berth.findings(facts) WHERE finding = 'pool too large'
$$;
SELECT is_empty($$ SELECT * FROM pg_temp.too_large('0') AS (a text, b text, c text, d bool) $$, 'too early to say');
SELECT results_eq($$ SELECT * FROM pg_temp.too_large('61 min') AS (a text, b text, c text, d bool) $$,
  $$ VALUES ('roomy', 'e2e', 'app', true) $$, 'an hour later the pool is too large, and the one that was half in use is not');

SELECT * FROM finish();
ROLLBACK;
