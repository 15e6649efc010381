-- What auth_query needs ------------------------------------------------------------------------------------------------

CREATE FUNCTION berth.role_generation() RETURNS pg_catalog.int8
  LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pgberth_role_generation_0_2';
COMMENT ON FUNCTION berth.role_generation() IS
  'Grows whenever this backend hears of a change of any role: while it stays, what auth_query has fetched over this connection holds';
