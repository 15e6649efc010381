-- Statements for psql's \gexec: what can neither run in a function nor in a transaction -----------------------------------

-- What stands behind the name of the table in the definition of an index.
CREATE FUNCTION berth.index_tail(index pg_catalog.oid) RETURNS pg_catalog.text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT substr(d.tail, strpos(d.tail, d.mark) + length(d.mark))
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
         CROSS JOIN LATERAL (SELECT '.' || quote_ident(t.relname) || ' ' AS mark,
           substr(pg_get_indexdef(c.oid), length(format('CREATE %sINDEX %I ON ', CASE WHEN i.indisunique THEN 'UNIQUE ' END, c.relname)) + 1)
           AS tail) d
   WHERE i.indexrelid = $1
$$;
COMMENT ON FUNCTION berth.index_tail(pg_catalog.oid) IS 'Internal: USING and the rest of the definition of an index';

-- The comment by which a statement is known as part of a step. Without a number of a run: the step that this session is at.
CREATE FUNCTION berth.step_tag(run pg_catalog.int8, step_no pg_catalog.int4) RETURNS pg_catalog.text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  run int8 := $1;
  step int4 := $2;
BEGIN
  IF run IS NULL THEN
    SELECT max(l.run_id) INTO run
      FROM berth.migration_lease l JOIN berth.migration_run r ON r.run_id = l.run_id AND r.status = 'running'
     WHERE l.pid = pg_backend_pid() AND r.usename = session_user AND r.application_name = current_setting('application_name')
    HAVING count(*) = 1;
    IF run IS NULL THEN
      RETURN '';
    END IF;
  END IF;
  PERFORM berth.hold_run(run);
  IF step IS NULL THEN
    SELECT max(s.step_no) INTO step FROM berth.migration_step s WHERE s.run_id = run AND s.status = 'running';
  END IF;
  RETURN format('/* berth run %s step %s */ ', run, coalesce(step::text, '-'));
END $$;
COMMENT ON FUNCTION berth.step_tag(pg_catalog.int8, pg_catalog.int4) IS
  'Internal: the comment that attributes a statement to a step; MG007 if the run was lost';

-- The backend that builds an index at this moment.
CREATE FUNCTION berth.index_builder(index pg_catalog.oid) RETURNS pg_catalog.int4
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT p.pid FROM pg_stat_progress_create_index p JOIN pg_index i ON i.indexrelid = $1
   WHERE p.datname = current_database() AND p.relid = i.indrelid AND (p.index_relid = $1 OR p.command LIKE 'REINDEX%') LIMIT 1
$$;
COMMENT ON FUNCTION berth.index_builder(pg_catalog.oid) IS 'Internal: who builds an index now';

-- Whether an index is what this definition would make. Texts differ in blanks, casts and defaults, so the definition is tried on
-- an empty copy of the table, in a subtransaction that is always rolled back. Whoever may make no temporary tables is told so.
CREATE FUNCTION berth.index_is(index pg_catalog.oid, def pg_catalog.text, uniq pg_catalog.bool) RETURNS pg_catalog.bool
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  have pg_catalog.text := berth.index_tail($1);
  want pg_catalog.text;
  rel pg_catalog.name;
  source pg_catalog.text;
BEGIN
  SELECT t.relname, pg_catalog.format('%I.%I', n.nspname, t.relname) INTO rel, source
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class t ON t.oid OPERATOR(pg_catalog.=) i.indrelid
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.relnamespace
   WHERE i.indexrelid OPERATOR(pg_catalog.=) $1 AND i.indisunique OPERATOR(pg_catalog.=) $3;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  IF have IN (pg_catalog.btrim($2), pg_catalog.concat('USING btree ', pg_catalog.btrim($2))) THEN
    RETURN true;
  END IF;
  BEGIN
    EXECUTE pg_catalog.format('CREATE TEMPORARY TABLE %I (LIKE %s)', rel, source);
    EXECUTE pg_catalog.format('CREATE %s INDEX berth_same_definition ON pg_temp.%I %s', CASE WHEN $3 THEN 'UNIQUE' END, rel, $2);
    want := berth.index_tail(pg_catalog.to_regclass('pg_temp.berth_same_definition'));
    RAISE EXCEPTION USING ERRCODE = 'MG000';
  EXCEPTION WHEN SQLSTATE 'MG000' THEN
    RETURN have OPERATOR(pg_catalog.=) want;
  WHEN insufficient_privilege THEN
    RAISE WARNING 'whether index % has the definition that is asked for is not known: %', $1::pg_catalog.regclass, SQLERRM
      USING DETAIL = pg_catalog.format('It is: %s. Asked for: %s.', pg_catalog.pg_get_indexdef($1), $2),
            HINT = 'Definitions are compared by means of a temporary table.';
    RETURN true;
  END;
END $$;
COMMENT ON FUNCTION berth.index_is(pg_catalog.oid, pg_catalog.text, pg_catalog.bool) IS
  'Internal: whether an index has this definition';

CREATE FUNCTION berth.check_index_request(rel pg_catalog.regclass, name pg_catalog.text, def pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  longest int4 := current_setting('max_identifier_length')::int4;
  kind "char" := (SELECT c.relkind FROM pg_class c WHERE c.oid = $1);
  home name := (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1);
  hint text;
BEGIN
  IF coalesce($2, '') = '' OR coalesce($3, '') !~* '^\s*(\(|using\M)' THEN
    RAISE EXCEPTION 'an index has a name, and a definition that begins with "(" or USING'
      USING ERRCODE = 'invalid_parameter_value', DETAIL = format('Given: "%s", "%s".', $2, $3),
            HINT = 'berth.index_sql(''orders'', ''orders_note_idx'', ''(note) WHERE note IS NOT NULL'')';
  ELSIF octet_length($2) > longest THEN
    RAISE EXCEPTION 'the name of an index has at most % bytes: "%" has %', longest, $2, octet_length($2)
      USING ERRCODE = 'name_too_long', HINT = 'PostgreSQL would cut it off, and the index could not be found by its name again.';
  ELSIF starts_with($2, home || '.') THEN
    RAISE EXCEPTION 'an index is in the schema of its table: "%"', $2
      USING ERRCODE = 'invalid_parameter_value', HINT = format('Give its name alone: %L.', substr($2, length(home) + 2));
  ELSIF kind IS NULL THEN
    RAISE EXCEPTION 'there is no such table' USING ERRCODE = 'undefined_table';
  ELSIF kind = 'p' THEN
    hint := format('CREATE INDEX %I ON ONLY %s %s; then berth.index_sql() for each partition; then ALTER INDEX %I ATTACH PARTITION each.',
                   $2, $1, $3, $2);
    RAISE EXCEPTION '% is partitioned: PostgreSQL builds no index of it concurrently', $1 USING ERRCODE = 'feature_not_supported', HINT = hint;
  ELSIF kind NOT IN ('r', 'm') THEN
    RAISE EXCEPTION '% is not a table or materialized view', $1 USING ERRCODE = 'wrong_object_type';
  END IF;
END $$;
COMMENT ON FUNCTION berth.check_index_request(pg_catalog.regclass, pg_catalog.text, pg_catalog.text) IS 'Internal: arguments of index_sql';

-- Remains of builds that did not end well: the index itself and the copies that REINDEX CONCURRENTLY makes, whose names it cuts to fit.
CREATE FUNCTION berth.index_remains(rel pg_catalog.regclass, name pg_catalog.text) RETURNS SETOF pg_catalog.oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT i.indexrelid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
         LEFT JOIN LATERAL regexp_match(c.relname, '^(.*)_cc(?:new|old)[0-9]*$') copy ON true
   WHERE i.indrelid = $1 AND NOT (i.indisvalid AND i.indisready AND i.indislive)
     AND (c.relname = $2 OR copy[1] = $2 OR (octet_length(c.relname) >= 60 AND starts_with($2, copy[1])))
   ORDER BY c.relname <> $2, c.relname
$$;
COMMENT ON FUNCTION berth.index_remains(pg_catalog.regclass, pg_catalog.text) IS
  'Internal: indexes of a table that are not valid and bear this name, or are its copies';

CREATE FUNCTION berth.index_sql(rel pg_catalog.regclass, name pg_catalog.text, def pg_catalog.text, uniq pg_catalog.bool DEFAULT false,
                                run pg_catalog.int8 DEFAULT NULL, step_no pg_catalog.int4 DEFAULT NULL)
RETURNS SETOF pg_catalog.text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  tag pg_catalog.text;
  remains pg_catalog.oid;
  builder pg_catalog.int4;
  home pg_catalog.name;
  tab pg_catalog.name;
  known pg_catalog.oid;
  valid pg_catalog.bool := false;
  drops pg_catalog.text[] := '{}';
  hint pg_catalog.text;
BEGIN
  PERFORM berth.check_index_request($1, $2, $3);
  tag := berth.step_tag($5, $6);
  SELECT n.nspname, t.relname INTO home, tab FROM pg_catalog.pg_class t JOIN pg_catalog.pg_namespace n
      ON n.oid OPERATOR(pg_catalog.=) t.relnamespace WHERE t.oid OPERATOR(pg_catalog.=) $1;
  FOR remains IN SELECT * FROM berth.index_remains($1, $2) LOOP
    builder := berth.index_builder(remains);
    IF builder IS NOT NULL THEN
      RAISE EXCEPTION 'index % is being built by pid %', remains::pg_catalog.regclass, builder
        USING ERRCODE = 'object_in_use', HINT = pg_catalog.format('Wait for it, or SELECT pg_terminate_backend(%s).', builder);
    END IF;
    drops := drops OPERATOR(pg_catalog.||) pg_catalog.format('%sDROP INDEX CONCURRENTLY %I.%I', tag, home,
      (SELECT c.relname FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) remains));
  END LOOP;
  known := pg_catalog.to_regclass(pg_catalog.format('%I.%I', home, $2));
  IF known IS NOT NULL THEN
    SELECT i.indisvalid AND i.indisready AND i.indislive INTO valid FROM pg_catalog.pg_index i
     WHERE i.indexrelid OPERATOR(pg_catalog.=) known AND i.indrelid OPERATOR(pg_catalog.=) $1;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'relation "%" exists and is not an index of %', $2, $1
        USING ERRCODE = 'duplicate_table', HINT = 'Give the index another name.';
    END IF;
    IF valid AND NOT berth.index_is(known, $3, $4) THEN
      hint := pg_catalog.format('Give the index another name, or DROP INDEX CONCURRENTLY %I.%I first.', home, $2);
      RAISE EXCEPTION 'index "%" exists with another definition', $2
        USING ERRCODE = 'duplicate_object', DETAIL = pg_catalog.format('It is: %s. Asked for: %s%s.', pg_catalog.pg_get_indexdef(known),
                                                                      CASE WHEN $4 THEN 'UNIQUE ' END, $3), HINT = hint;
    END IF;
  END IF;
  RETURN QUERY SELECT * FROM pg_catalog.unnest(drops);
  IF NOT valid THEN
    RETURN NEXT pg_catalog.format('%sCREATE %sINDEX CONCURRENTLY %I ON %I.%I %s', tag, CASE WHEN $4 THEN 'UNIQUE ' END, $2, home, tab, $3);
  END IF;
END $$;
COMMENT ON FUNCTION berth.index_sql(pg_catalog.regclass, pg_catalog.text, pg_catalog.text, pg_catalog.bool, pg_catalog.int8,
                                    pg_catalog.int4) IS
  'Statements for \gexec that make an index concurrently: what an earlier attempt left invalid is dropped first; none if the index is there';

CREATE FUNCTION berth.validate_sql(rel pg_catalog.regclass, constraint_name pg_catalog.text, run pg_catalog.int8 DEFAULT NULL,
                                   step_no pg_catalog.int4 DEFAULT NULL)
RETURNS SETOF pg_catalog.text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  tag text := berth.step_tag($3, $4);
  known pg_constraint;
BEGIN
  SELECT * INTO known FROM pg_constraint c WHERE c.conrelid = $1 AND c.conname = $2;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'constraint "%" of % does not exist', $2, $1
      USING ERRCODE = 'undefined_object', HINT = format('ALTER TABLE %s ADD CONSTRAINT %I ... NOT VALID', $1, $2);
  END IF;
  IF NOT known.convalidated THEN
    RETURN NEXT format('%sALTER TABLE %s VALIDATE CONSTRAINT %I', tag, $1, $2);
  END IF;
END $$;
COMMENT ON FUNCTION berth.validate_sql(pg_catalog.regclass, pg_catalog.text, pg_catalog.int8, pg_catalog.int4) IS
  'The statement for \gexec that validates a constraint in a transaction of its own; none if it is validated';
