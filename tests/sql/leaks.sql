-- Ten thousand calls, also refused, failed and interrupted ones, in one backend: no memory, descriptor or connection is left.
\ir helpers.sql
SELECT * FROM no_plan();

CREATE FUNCTION pg_temp.ask(times int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1..times LOOP
    PERFORM count(*) FROM berth.show('{SHOW DATABASES}', '{SHOW NOTHING}');
    IF i % 10 = 0 THEN
      BEGIN
        PERFORM 1 / (3 - cl_active) FROM berth.pools;  -- an error while a result is being read
        PERFORM count(*) FROM berth.exchange('{x}', '{host=127.0.0.1 port=1}', '{s}', '{SHOW POOLS}', 1, 100, true);
        PERFORM count(*) FROM berth.exchange('{x}', '{nonsense}', '{s}', '{SHOW POOLS}', 1, 100, true);
        PERFORM count(*) FROM berth.exchange('{a,b}', '{host=127.0.0.1}', '{s}', '{SHOW POOLS}', 1, 100, true);
      EXCEPTION WHEN OTHERS THEN
        NULL;
      END;
    END IF;
  END LOOP;
END $$;

-- What the measurement itself keeps is there before it counts.
CREATE FUNCTION pg_temp.contexts() RETURNS bigint LANGUAGE sql AS
  $$ SELECT sum(used_bytes)::bigint FROM pg_catalog.pg_backend_memory_contexts $$;
SELECT ok(true, 'a first test, so that pgTAP has its tables');
SELECT pg_temp.ask(200), pg_temp.contexts(), pg_temp.descriptors(), pg_temp.resident_kb() \g /dev/null
SELECT pg_temp.descriptors() AS descriptors, pg_temp.resident_kb() AS resident,
       pg_temp.contexts() AS contexts \gset
SELECT pg_temp.ask(9800) \g /dev/null
SELECT is(pg_temp.descriptors(), :descriptors::bigint, 'descriptors');
SELECT cmp_ok(pg_temp.resident_kb() - :resident, '<', 2000::bigint, 'resident memory of the process, in kilobytes');
SELECT cmp_ok(pg_temp.contexts() - :contexts, '<', 100000::bigint, 'memory contexts, in bytes');

SELECT * FROM finish();
