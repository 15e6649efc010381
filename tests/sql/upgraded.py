"""ALTER EXTENSION UPDATE from each older version leads to what CREATE EXTENSION makes, object by object."""

from results import check

# One line for each fact about what the extension consists of; nothing in it depends on the order in which it came about.
FACTS = """
with extension as (select oid, extname, extversion, extconfig, extcondition from pg_extension where extname = 'pgberth'),
  member as (select d.classid, d.objid from pg_depend d join extension e on d.refobjid = e.oid
              where d.refclassid = 'pg_extension'::regclass and d.deptype = 'e'),
  relation as (select c.* from member m join pg_class c on m.classid = 'pg_class'::regclass and c.oid = m.objid),
  routine as (select p.* from member m join pg_proc p on m.classid = 'pg_proc'::regclass and p.oid = m.objid),
  fact (fact) as (
    select concat_ws(' ', 'member', pg_describe_object(classid, objid, 0), obj_description(objid, classid::regclass::name)) from member
    union all select concat_ws(' ', 'version', extversion) from extension
    union all select concat_ws(' ', 'config', c.oid::regclass, e.extcondition[i])
      from extension e cross join generate_subscripts(e.extconfig, 1) i join pg_class c on c.oid = e.extconfig[i]
    union all select concat_ws(' ', 'routine', oid::regprocedure, pg_get_functiondef(oid)) from routine
    union all select concat_ws(' ', 'routine', oid::regprocedure, 'may', privilege_type, grantee::regrole, is_grantable)
      from routine cross join lateral aclexplode(coalesce(proacl, acldefault('f', proowner)))
    union all select concat_ws(' ', 'relation', oid::regclass, relkind, relpersistence, reloptions, relrowsecurity,
      case when relkind in ('v', 'm') then pg_get_viewdef(oid) end) from relation
    union all select concat_ws(' ', 'relation', oid::regclass, 'may', privilege_type, grantee::regrole, is_grantable)
      from relation cross join lateral aclexplode(coalesce(relacl, acldefault('r', relowner)))
    union all select concat_ws(' ', 'column', r.oid::regclass, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
      a.attidentity, a.attgenerated, a.attacl, pg_get_expr(d.adbin, d.adrelid), col_description(r.oid, a.attnum))
      from relation r join pg_attribute a on a.attrelid = r.oid and a.attnum > 0
      left join pg_attrdef d on d.adrelid = r.oid and d.adnum = a.attnum
    union all select concat_ws(' ', 'constraint', r.oid::regclass, c.conname, pg_get_constraintdef(c.oid))
      from relation r join pg_constraint c on c.conrelid = r.oid
    union all select concat_ws(' ', 'index', pg_get_indexdef(i.indexrelid)) from relation r join pg_index i on i.indrelid = r.oid
    union all select concat_ws(' ', 'trigger', pg_get_triggerdef(t.oid), t.tgenabled)
      from relation r join pg_trigger t on t.tgrelid = r.oid and not t.tgisinternal
    union all select concat_ws(' ', 'event trigger', evtname, evtevent, evtfoid::regprocedure, evtenabled, evttags) from pg_event_trigger
    union all select concat_ws(' ', 'schema', nspname, 'may', privilege_type, grantee::regrole)
      from pg_namespace cross join lateral aclexplode(coalesce(nspacl, acldefault('n', nspowner))) where nspname = 'berth'
    union all select concat_ws(' ', 'first right of', pg_describe_object(i.classoid, i.objoid, i.objsubid), privilege_type,
      grantee::regrole) from member m join pg_init_privs i on i.classoid = m.classid and i.objoid = m.objid
      cross join lateral aclexplode(i.initprivs))
select fact from fact order by fact collate "C"
"""


def upgraded(place):
    """The extension at each older version, with a broker registered, is updated."""
    facts = lambda database: [row[0] for row in place.sql(FACTS, database)]
    place.sql("create database fresh", "postgres")
    place.sql("create extension pgberth", "fresh")
    want = facts("fresh")
    older = place.sql("select version from pg_available_extension_versions where name = 'pgberth' and version <> "
                      "(select default_version from pg_available_extensions where name = 'pgberth') order by 1", "fresh")
    results = [("there are objects to compare", len(want) > 200, True), ("and versions to come from", ["0.1.0"] in older, True)]
    for number, [version] in enumerate(older):
        database = f"older_{number}"
        place.sql(f"create database {database}", "postgres")
        place.sql(f"create extension pgberth version '{version}'; select berth.grant_access('app2', 'control')", database)
        place.register("front", database=database)
        before = place.sql("select count(*) from berth.pools", database, "app2")
        place.sql("alter extension pgberth update", database)
        brokers = place.sql("select broker from berth.brokers where reachable", database)
        may = place.sql("select has_function_privilege('app2', 'berth.reload()', 'execute')", database)
        results.append((f"{version}: a grant lives on", may, [["t"]]))
        results.append((f"{version}: and so does a registration", brokers, [["front"]]))
        results.append((f"{version}: the views answer", place.sql("select count(*) from berth.pools", database, "app2"), before))
        have = [fact for fact in facts(database) if not fact.endswith((" EXECUTE app2 f", " SELECT app2 f", " USAGE app2"))]
        results.append((f"{version}: missing after the update", sorted(set(want) - set(have)), []))
        results.append((f"{version}: left after the update", sorted(set(have) - set(want)), []))
        place.links.pop("front").terminate()
    return check(*results)


SCENARIOS = (upgraded,)
