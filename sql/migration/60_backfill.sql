-- Backfill: an UPDATE of many rows in small transactions ----------------------------------------------------------------------

-- Where a backfill stands, and what its statements are made of. Refuses what it cannot do, before anything is done.
CREATE FUNCTION berth.backfill_begin(run pg_catalog.int8, step_no pg_catalog.int4, rel pg_catalog.regclass, work pg_catalog.text,
                                     key pg_catalog.text, OUT target pg_catalog.text, OUT key_name pg_catalog.text,
                                     OUT key_type pg_catalog.text, OUT place pg_catalog.text, OUT done pg_catalog.bool)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  types constant text[] := '{int2,int4,int8,numeric,uuid,text,varchar,date,timestamp,timestamptz}';
  known berth.migration_step;
  attribute pg_attribute;
  base name;
  hash text;
BEGIN
  PERFORM berth.hold_run($1);
  SELECT * INTO known FROM berth.migration_step s WHERE s.run_id = $1 AND s.step_no = $2;
  done := known.status IN ('done', 'skipped');
  IF done THEN
    RETURN;
  ELSIF known.status IS NULL OR known.status <> 'running' THEN
    RAISE EXCEPTION 'step % of run % has not begun', $2, $1
      USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = format('It is %s.', coalesce(known.status, 'unknown')),
            HINT = format('SELECT berth.migration_step_begin(%s, %s, ''what it does'')', $1, $2);
  END IF;
  SELECT format('%I.%I', n.nspname, c.relname), quote_ident(c.relname) || '.' || quote_ident($5) INTO target, key_name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $3 AND c.relkind IN ('r', 'p');
  SELECT * INTO attribute FROM pg_attribute a WHERE a.attrelid = $3 AND a.attname = $5 AND a.attnum > 0 AND NOT a.attisdropped;
  IF target IS NULL OR attribute.attname IS NULL THEN
    RAISE EXCEPTION '% is not a table with a column "%"', $3, $5
      USING ERRCODE = 'undefined_column', HINT = 'key is the name of one column.';
  END IF;
  SELECT t.typname INTO base FROM pg_type t
   WHERE t.oid = (SELECT CASE d.typtype WHEN 'd' THEN d.typbasetype ELSE d.oid END FROM pg_type d WHERE d.oid = attribute.atttypid);
  IF base <> ALL (types) OR NOT attribute.attnotnull OR NOT EXISTS
     (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam AND m.amname = 'btree'
       WHERE i.indrelid = $3 AND i.indkey[0] = attribute.attnum AND i.indisvalid AND i.indpred IS NULL) THEN
    RAISE EXCEPTION 'column "%" of % cannot lead a backfill', $5, $3
      USING ERRCODE = 'feature_not_supported', DETAIL = format('It is %s%s.', format_type(attribute.atttypid, attribute.atttypmod),
                                                              CASE WHEN attribute.attnotnull THEN ' NOT NULL' ELSE ', may be NULL' END),
            HINT = 'The key is one column, NOT NULL, first in a valid btree index of the whole table, of one of these types: '
                   || array_to_string(types, ', ') || '.';
  END IF;
  key_type := format_type(attribute.atttypid, attribute.atttypmod);
  hash := 'backfill:' || berth.sha256_of(concat_ws(E'\n', target, key_name, $4));
  -- Another text is other work, which begins at the first row.
  UPDATE berth.migration_step s SET kind = 'backfill', sql_hash = CASE WHEN s.sql_hash LIKE 'backfill:%' OR s.sql_hash IS NULL THEN hash
                                                                       ELSE s.sql_hash END,
         cursor_value = CASE WHEN s.sql_hash NOT LIKE 'backfill:%' OR s.sql_hash = hash THEN s.cursor_value END
   WHERE s.run_id = $1 AND s.step_no = $2 RETURNING s.cursor_value INTO place;
END $$;
COMMENT ON FUNCTION berth.backfill_begin(pg_catalog.int8, pg_catalog.int4, pg_catalog.regclass, pg_catalog.text, pg_catalog.text) IS
  'Internal: where a backfill stands';

CREATE FUNCTION berth.check_backfill(rel pg_catalog.regclass, set_expr pg_catalog.text, where_expr pg_catalog.text, batch pg_catalog.int4,
                                     pause pg_catalog.interval, max_lag pg_catalog.interval, attempt_timeout pg_catalog.interval,
                                     lag_wait pg_catalog.interval)
RETURNS pg_catalog.void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  wrong text := CASE
    WHEN $1 IS NULL THEN 'there is no such table'
    WHEN coalesce(btrim($2), '') = '' OR coalesce(btrim($3), '') = '' THEN 'a backfill has a set_expr and a where_expr, which may be ''true'''
    WHEN $4 IS NULL OR $4 NOT BETWEEN 1 AND 1000000 THEN 'a batch has from 1 to 1000000 rows'
    WHEN $5 IS NULL OR $5 < interval '0' THEN 'pause is not negative'
    WHEN $6 <= interval '0' THEN 'max_lag is positive, or NULL'
    WHEN $7 IS NULL OR $7 < interval '1ms' OR $7 > interval '1 hour' THEN 'attempt_timeout is between 1 ms and 1 hour'
    WHEN $8 IS NULL OR $8 < interval '0' THEN 'lag_wait is not negative' END;
BEGIN
  IF wrong IS NOT NULL THEN
    RAISE EXCEPTION '%', wrong USING ERRCODE = 'invalid_parameter_value';
  END IF;
END $$;
COMMENT ON FUNCTION berth.check_backfill(pg_catalog.regclass, pg_catalog.text, pg_catalog.text, pg_catalog.int4, pg_catalog.interval,
                                         pg_catalog.interval, pg_catalog.interval, pg_catalog.interval) IS 'Internal: arguments of backfill';

-- A batch is done: in the same transaction as its rows. Two calls at one step (a client that lost its connection and called
-- again) do not both get here: the second one's place is no longer that of the journal, and its batch is rolled back.
CREATE FUNCTION berth.backfill_note(run pg_catalog.int8, step_no pg_catalog.int4, place pg_catalog.text, upto pg_catalog.text,
                                    count pg_catalog.int8, again pg_catalog.int8)
RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  UPDATE berth.migration_step s SET cursor_value = $4, rows_done = coalesce(s.rows_done, 0) + $5,
         settles = CASE WHEN $5 > 0 THEN coalesce(s.settles, true) AND $6 = 0 ELSE s.settles END
   WHERE s.run_id = $1 AND s.step_no = $2 AND s.status = 'running' AND s.cursor_value IS NOT DISTINCT FROM $3 AND berth.run_is_mine($1);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'step % of run % is done by another call', $2, $1
      USING ERRCODE = 'object_in_use', DETAIL = format('This one was at key %s; its batch is rolled back.', coalesce($3, '-')),
            HINT = format('Wait for the other one: SELECT * FROM berth.migration_running WHERE run_id = %s.', $1);
  END IF;
END $$;
COMMENT ON FUNCTION berth.backfill_note(pg_catalog.int8, pg_catalog.int4, pg_catalog.text, pg_catalog.text, pg_catalog.int8,
                                        pg_catalog.int8) IS 'Internal: progress of a backfill';

-- Statistics know nothing of a column that was just added, so a few pages are looked at: at most pages_max of the table.
CREATE FUNCTION berth.sample_percent(rel pg_catalog.regclass) RETURNS pg_catalog.float4
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  pages_max CONSTANT int8 := 300;
  pages int8;
BEGIN
  SELECT sum(pg_relation_size(t.oid)) / current_setting('block_size')::int8 INTO pages
    FROM (SELECT rel AS oid UNION SELECT p.relid FROM pg_partition_tree(rel) p WHERE p.isleaf) t;
  RETURN least(100, 100.0 * pages_max / greatest(pages, 1));
END $$;
COMMENT ON FUNCTION berth.sample_percent(pg_catalog.regclass) IS 'Internal: how much of a table is read for an estimate';

CREATE FUNCTION berth.backfill_expect(run pg_catalog.int8, step_no pg_catalog.int4, total pg_catalog.int8) RETURNS pg_catalog.void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE berth.migration_step s SET rows_total = coalesce(s.rows_done, 0) + $3
   WHERE s.run_id = $1 AND s.step_no = $2 AND s.status = 'running' AND berth.run_is_mine($1)
$$;
COMMENT ON FUNCTION berth.backfill_expect(pg_catalog.int8, pg_catalog.int4, pg_catalog.int8) IS 'Internal: how many rows are still to come';

-- The texts of its statements: $1 is the key behind which they begin, $2 the last one, $3 how many.
CREATE FUNCTION berth.backfill_texts(target pg_catalog.text, key_name pg_catalog.text, key_type pg_catalog.text, set_expr pg_catalog.text,
                                     where_expr pg_catalog.text, place pg_catalog.text, OUT estimate pg_catalog.text, OUT sample pg_catalog.text,
                                     OUT last pg_catalog.text, OUT look pg_catalog.text, OUT pick pg_catalog.text,
                                     OUT change pg_catalog.text)
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  -- Keys are written as JSON writes them, which no setting changes: DateStyle and TimeZone of the next session may be others.
  written constant text := 'pg_catalog.to_jsonb(w.k) OPERATOR(pg_catalog.#>>) ''{}''';
  bounds constant text := format('($1 IS NULL OR %1$s OPERATOR(pg_catalog.>) $1::%2$s) AND %1$s OPERATOR(pg_catalog.<=) $2::%2$s', $2, $3);
  condition constant text := format(E'(%s\n)', $5);
  behind constant text := CASE WHEN $6 IS NULL THEN 'true' ELSE format('%s OPERATOR(pg_catalog.>) %L::%s', $2, $6, $3) END;
BEGIN
  estimate := format('EXPLAIN (FORMAT JSON) SELECT FROM %s WHERE %s', $1, behind);
  sample := format(E'SELECT pg_catalog.count(*) FILTER (WHERE %s) AS rows, pg_catalog.count(*) FILTER (WHERE %1$s AND %s) AS hits\n'
                   'FROM %s TABLESAMPLE SYSTEM ($1)', behind, condition, $1);
  last := format('SELECT %s FROM (SELECT %s AS k FROM %s ORDER BY %2$s DESC LIMIT 1) w', written, $2, $1);
  look := format('SELECT %s FROM (SELECT v.k FROM (SELECT %s AS k FROM %s WHERE %s ORDER BY %2$s LIMIT $3) v ORDER BY v.k DESC LIMIT 1) w',
                 written, $2, $1, bounds);
  pick := format('SELECT %s, w.n FROM (SELECT v.k, pg_catalog.count(*) OVER () AS n FROM '
                 '(SELECT %s AS k FROM %s WHERE %s AND %s ORDER BY %2$s LIMIT $3) v ORDER BY v.k DESC LIMIT 1) w',
                 written, $2, $1, bounds, condition);
  change := format(E'WITH u AS (UPDATE %s SET %s\n WHERE %s AND %s RETURNING %4$s IS TRUE AS again) '
                   'SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE u.again) FROM u', $1, $4, bounds, condition);
END $$;
COMMENT ON FUNCTION berth.backfill_texts(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text,
                                         pg_catalog.text) IS 'Internal: the statements of a backfill';

-- Where the second pass begins: at the first row if rows that were updated are no longer asked for, so that going over all of
-- them again does no harm.
CREATE FUNCTION berth.backfill_rewind(run pg_catalog.int8, step_no pg_catalog.int4) RETURNS pg_catalog.text
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE berth.migration_step s SET cursor_value = CASE WHEN NOT coalesce(s.settles, true) THEN s.cursor_value END
   WHERE s.run_id = $1 AND s.step_no = $2 AND s.status = 'running' AND berth.run_is_mine($1) RETURNING s.cursor_value
$$;
COMMENT ON FUNCTION berth.backfill_rewind(pg_catalog.int8, pg_catalog.int4) IS 'Internal: where the second pass of a backfill begins';

CREATE FUNCTION berth.backfill_end(run pg_catalog.int8, step_no pg_catalog.int4) RETURNS pg_catalog.void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  PERFORM berth.hold_run($1);
  UPDATE berth.migration_step s SET status = 'done', finished_at = clock_timestamp(), rows_done = coalesce(s.rows_done, 0),
         rows_total = coalesce(s.rows_done, 0), sqlstate = NULL, message = NULL
   WHERE s.run_id = $1 AND s.step_no = $2 AND s.status = 'running';
END $$;
COMMENT ON FUNCTION berth.backfill_end(pg_catalog.int8, pg_catalog.int4) IS 'Internal: a backfill is done';

CREATE FUNCTION berth.replay_lag() RETURNS pg_catalog.interval
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT max(s.replay_lag) FROM pg_stat_replication s
$$;
COMMENT ON FUNCTION berth.replay_lag() IS 'How far the slowest replica is behind in time; NULL if none is behind or there is none';

-- Time passes with no transaction longer than a tenth of a second: a snapshot that is held would stop vacuum and others' concurrent
-- index builds. The lease is kept meanwhile.
CREATE PROCEDURE berth.idle(run pg_catalog.int8, duration pg_catalog.interval)
LANGUAGE plpgsql AS $$
DECLARE
  slice CONSTANT pg_catalog.float8 := 0.1;
  "left" pg_catalog.float8 := pg_catalog.date_part('epoch', $2);
  slices pg_catalog.int4 := 0;
BEGIN
  WHILE "left" OPERATOR(pg_catalog.>) 0 LOOP
    PERFORM pg_catalog.pg_sleep(LEAST("left", slice));
    COMMIT;
    "left" := "left" OPERATOR(pg_catalog.-) slice;
    slices := slices OPERATOR(pg_catalog.+) 1;
    IF slices OPERATOR(pg_catalog.%) 5 OPERATOR(pg_catalog.=) 0 THEN
      PERFORM berth.hold_run($1);
      COMMIT;
    END IF;
  END LOOP;
END $$;
COMMENT ON PROCEDURE berth.idle(pg_catalog.int8, pg_catalog.interval) IS 'Internal: a pause of a backfill';

-- Goes over the rows in the order of a key, each batch in a transaction that also writes how far it is: what is committed is never
-- done again, even after kill -9. The statements run with the rights and the search_path of the caller, so there is no SET clause
-- (which would forbid COMMIT, too) and every name is qualified; COMMIT stands outside of the block that catches errors.
--
-- The first pass ends at the highest key that there was when it began. The second one takes what was inserted meanwhile: behind
-- that key, and, if the condition has proved to be false for rows that were updated, everywhere.
CREATE PROCEDURE berth.backfill(run pg_catalog.int8, step_no pg_catalog.int4, rel pg_catalog.regclass, set_expr pg_catalog.text,
                                where_expr pg_catalog.text, key pg_catalog.text, batch pg_catalog.int4 DEFAULT 1000,
                                pause pg_catalog.interval DEFAULT '50ms', max_lag pg_catalog.interval DEFAULT NULL,
                                attempt_timeout pg_catalog.interval DEFAULT '1s', lag_wait pg_catalog.interval DEFAULT '5min')
LANGUAGE plpgsql AS $$
DECLARE
  attempts_max CONSTANT pg_catalog.int4 := 10;  -- of one batch
  window_max CONSTANT pg_catalog.int4 := 10;    -- how many batches of rows one statement looks through for rows to update
  timeout CONSTANT pg_catalog.text := pg_catalog.ceil(pg_catalog.date_part('epoch', $10) OPERATOR(pg_catalog.*) 1000)::pg_catalog.text;
  has pg_catalog.record;
  texts pg_catalog.record;
  plan pg_catalog.json;
  sample pg_catalog.record;
  place pg_catalog.text;    -- the last key that is done
  finish pg_catalog.text;   -- the last key of this pass
  reach pg_catalog.text;    -- the last key of this window
  upto pg_catalog.text;     -- the last key of this batch
  hits pg_catalog.int8;
  updated pg_catalog.int8;
  again pg_catalog.int8;
  attempt pg_catalog.int4;
  lag pg_catalog.interval;
  waited pg_catalog.timestamptz;
  code pg_catalog.text;
  message pg_catalog.text;
  detail pg_catalog.text;
  hint pg_catalog.text;
BEGIN
  PERFORM berth.refuse_block('backfill');
  PERFORM berth.check_backfill($3, $4, $5, $7, $8, $9, $10, $11);
  has := berth.backfill_begin($1, $2, $3, pg_catalog.concat_ws(E'\n', $4, $5), $6);
  IF has.done THEN
    RETURN;
  END IF;
  IF pg_catalog.row_security_active($3) THEN
    RAISE WARNING 'row-level security applies to % here: rows that it hides are left as they are', $3
      USING HINT = 'Let the owner of the table do it, or a role with BYPASSRLS.';
  END IF;
  place := has.place;
  texts := berth.backfill_texts(has.target, has.key_name, has.key_type, $4, $5, place);
  EXECUTE texts.estimate INTO plan;
  EXECUTE texts.sample INTO sample USING berth.sample_percent($3);
  PERFORM berth.backfill_expect($1, $2, ((plan OPERATOR(pg_catalog.#>>) '{0,Plan,"Plan Rows"}')::pg_catalog.float8
    OPERATOR(pg_catalog.*) sample.hits OPERATOR(pg_catalog./) NULLIF(sample.rows, 0))::pg_catalog.int8);
  FOR pass IN 1..2 LOOP
    EXECUTE texts.last INTO finish;
    reach := NULL;
    COMMIT;
    WHILE finish IS NOT NULL LOOP
      -- Replicas come first.
      waited := pg_catalog.clock_timestamp();
      LOOP
        lag := CASE WHEN $9 IS NOT NULL THEN berth.replay_lag() END;
        EXIT WHEN lag IS NULL OR lag OPERATOR(pg_catalog.<=) $9;
        IF pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) waited OPERATOR(pg_catalog.>=) $11 THEN
          message := pg_catalog.format('backfill stopped: replica lag %s over %s', lag, $9);
          PERFORM berth.note_step_failed($1, $2, 'MG021', message);
          COMMIT;
          RAISE EXCEPTION '%', message USING ERRCODE = 'MG021',
            DETAIL = pg_catalog.format('Waited for %s. What is done is committed, up to key %s.', $11, COALESCE(place, '-')),
            HINT = 'Run the script again when the replica has caught up: it goes on where it stopped.';
        END IF;
        COMMIT;
        CALL berth.idle($1, '0.5s');
      END LOOP;

      -- One batch, which may be tried several times.
      attempt := 0;
      LOOP
        attempt := attempt OPERATOR(pg_catalog.+) 1;
        code := NULL;
        PERFORM berth.hold_run($1);
        PERFORM pg_catalog.set_config('lock_timeout', timeout, true);
        BEGIN
          IF reach IS NULL THEN
            EXECUTE texts.look USING place, finish, $7 OPERATOR(pg_catalog.*) window_max INTO reach;
          END IF;
          updated := 0;
          again := 0;
          IF reach IS NOT NULL THEN
            EXECUTE texts.pick USING place, reach, $7 INTO upto, hits;
            IF hits IS NULL OR hits OPERATOR(pg_catalog.<) $7 THEN
              upto := reach;
            END IF;
            IF hits OPERATOR(pg_catalog.>) 0 THEN
              EXECUTE texts.change USING place, upto INTO updated, again;
            END IF;
          END IF;
        EXCEPTION WHEN OTHERS THEN
          GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
        END;
        EXIT WHEN code IS NULL;
        IF code NOT IN ('55P03', '40P01') OR attempt OPERATOR(pg_catalog.>=) attempts_max THEN
          PERFORM berth.note_step_failed($1, $2, code, message);
          COMMIT;
          detail := pg_catalog.concat_ws(' ', NULLIF(detail, ''), pg_catalog.format('What is done is committed, up to key %s; attempt %s.',
                                                                                    COALESCE(place, '-'), attempt));
          RAISE EXCEPTION '%', message USING ERRCODE = code, DETAIL = detail,
            HINT = COALESCE(NULLIF(hint, ''), 'Run the script again: it goes on where it stopped.');
        END IF;
        COMMIT;
        CALL berth.idle($1, pg_catalog.make_interval(secs => LEAST(1.0, 0.02 OPERATOR(pg_catalog.*) (2 OPERATOR(pg_catalog.^) attempt))
                                                             OPERATOR(pg_catalog.*) (0.5 OPERATOR(pg_catalog.+) pg_catalog.random())));
      END LOOP;
      EXIT WHEN reach IS NULL;  -- nothing is left behind this place
      PERFORM berth.backfill_note($1, $2, place, upto, updated, again);
      COMMIT;
      place := upto;
      IF upto OPERATOR(pg_catalog.=) reach THEN
        reach := NULL;
      END IF;
      IF updated OPERATOR(pg_catalog.>) 0 THEN
        CALL berth.idle($1, $8);
      END IF;
    END LOOP;
    IF pass OPERATOR(pg_catalog.=) 1 THEN
      place := berth.backfill_rewind($1, $2);
    END IF;
  END LOOP;
  PERFORM berth.backfill_end($1, $2);
END $$;
COMMENT ON PROCEDURE berth.backfill(pg_catalog.int8, pg_catalog.int4, pg_catalog.regclass, pg_catalog.text, pg_catalog.text,
                                    pg_catalog.text, pg_catalog.int4, pg_catalog.interval, pg_catalog.interval, pg_catalog.interval,
                                    pg_catalog.interval) IS
  'UPDATE rel SET set_expr WHERE where_expr, in batches in the order of key with a COMMIT after each; resumes where it stopped, and ends '
  'its step';
