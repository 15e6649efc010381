"""What the tests of stepwise migrations share: psql scripts that are killed, leases that end, and states to compare."""

import subprocess

from harness import system, wire
from harness.psql import client_environment

# A migration of every kind of step. Each line "-- kill" is a place where its client may die.
SCRIPT = r"""
\set ON_ERROR_STOP on
\set VERBOSITY verbose
SELECT run_id, token FROM berth.migration_start('0001', 'notes of orders', tool => 'psql', wait => '0s') \gset
-- kill
SELECT berth.migration_step_begin(:run_id, 1, 'column') AS go \gset
-- kill
\if :go
ALTER TABLE orders ADD COLUMN IF NOT EXISTS note text;
-- kill
SELECT berth.migration_step_end(:run_id, 1);
\endif
-- kill
SELECT berth.migration_step_begin(:run_id, 2, 'index', 'index') AS go \gset
-- kill
\if :go
SELECT * FROM berth.index_sql('orders', 'orders_note_idx', '(note)', run => :run_id, step_no => 2) \gexec
-- kill
SELECT berth.migration_step_end(:run_id, 2, index => 'orders_note_idx');
\endif
-- kill
SELECT berth.migration_step_begin(:run_id, 3, 'fill') AS go \gset
-- kill
\if :go
CALL berth.backfill(:run_id, 3, 'orders', 'note = ''n'' || id, times = times + 1', 'note IS NULL', key => 'id', batch => 100, pause => '0');
\endif
-- kill
SELECT berth.migration_step_begin(:run_id, 4, 'check') AS go \gset
\if :go
ALTER TABLE orders DROP CONSTRAINT IF EXISTS orders_note, ADD CONSTRAINT orders_note CHECK (note IS NOT NULL) NOT VALID;
-- kill
SELECT berth.migration_step_end(:run_id, 4);
\endif
SELECT berth.migration_step_begin(:run_id, 5, 'validate', 'validate') AS go \gset
-- kill
\if :go
SELECT * FROM berth.validate_sql('orders', 'orders_note', :run_id, 5) \gexec
-- kill
SELECT berth.migration_step_end(:run_id, 5, constraint_name => 'orders_note', rel => 'orders');
\endif
-- kill
SELECT berth.migration_finish(:run_id);
-- kill
"""
ORDERS = ("create table orders (id bigint generated always as identity primary key, times int default 0); "
          "insert into orders select from generate_series(1, 1000)")
STATE = """
select (select md5(string_agg(o::text, ',' order by id)) from orders o),
       (select string_agg(pg_get_indexdef(indexrelid) || indisvalid, ',' order by indexrelid::regclass::text) from pg_index
         where indrelid = 'orders'::regclass),
       (select string_agg(conname || convalidated, ',' order by conname) from pg_constraint where conrelid = 'orders'::regclass),
       (select string_agg(concat_ws('|', step_no, label, kind, status, rows_done, rows_total, cursor_value, settles), ',' order by step_no)
          from berth.migration_step where run_id = (select max(run_id) from berth.migration_run)),
       (select concat_ws('|', version, state, description) from berth.migration),
       (select count(*) from berth.migration_run where status not in ('done', 'resolved')), (select count(*) from berth.migration_lease)
"""
PLACES = SCRIPT.count("-- kill")


def killed_at(number, by):
    """The script up to its place of this number, where `by` kills it."""
    return "\n-- kill".join(SCRIPT.split("\n-- kill")[:number + 1]) + "\n" + by + "\n"


def start_psql(url, text, **variables):
    """psql with a script."""
    command = [str(system.PG_BIN / "psql"), "-X", "-A", "-t", "-q", *(f"-v{key}={value}" for key, value in variables.items()), url]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env=client_environment())
    process.stdin.write(text)
    process.stdin.close()
    process.stdin = None  # communicate() would close it again
    return process


def psql(url, text, **variables):
    """Runs a script; its exit status and output."""
    process = start_psql(url, text, **variables)
    output, _ = process.communicate(timeout=80)
    return process.returncode, output


def url_of(place, database):
    return f"postgresql://postgres@127.0.0.1:{place.postgres.port}/{database}"


def value(place, database, text):
    return place.sql(text, database)[0][0]


def forsake(place, database):
    """The backends of former clients have ended, and the time of every lease is over."""
    system.eventually(lambda: place.sql("select from pg_stat_activity a join berth.migration_lease l on a.pid = l.pid "
                                        "where a.backend_start = l.backend_start and not l.via_broker", database) == [], "the backend ends")
    place.sql("update berth.migration_lease set expires_at = now() - interval '1s'", database)


def failed(answer):
    """SQLSTATE and message of each error."""
    return [(error.sqlstate, error.fields["M"]) for error in wire.errors(answer)]
