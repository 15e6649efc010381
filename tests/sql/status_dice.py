"""migration_status() beside the same told slowly: random histories, judged version by version in plain Python."""

import random

SCOPES, VERSIONS = ("a", "b", "ab"), range(1, 13)
COLUMNS = ("scope", "version", "kind", "state", "checksum", "checksum_algo", "applied_by", "last_run")


def history(dice):
    """Statements that make a history: what is recorded, what is planned, what was tried, and the rules."""
    recorded, planned, tried, rules = [], [], [], []
    for scope in SCOPES:
        for version in VERSIONS:
            for _ in range(dice.choice((0, 0, 1, 2))):
                status = dice.choice(("running", "failed", "interrupted", "done", "resolved", "resolved"))
                outcome = f"'{dice.choice(('applied', 'reverted', 'retry'))}'" if status == "resolved" else "null"
                ended = "null" if status == "running" else f"'2026-01-01'::timestamptz + interval '{dice.randrange(90)}s'"
                tried.append(f"('{scope}', '{version}', '{dice.choice(('apply', 'apply', 'revert'))}', '{dice.choice(('tx', 'step'))}', "
                             f"'{status}', {outcome}, '2026-01-01', {ended}, 1, 'x', 'x', 1, berth.cluster())")
            if dice.random() < 0.6:
                kind = dice.choice(("versioned",) * 6 + ("repeatable",) * 2 + ("baseline",) * (version < 4))
                state = dice.choice(("applied", "applied", "applied", "expanded", "contracted", "reverted", "skipped"))
                checksum = dice.choice(("null, null", "'x:1', 'x'", "'x:2', 'x'", "'y:1', 'y'", "'plain', 'given'"))
                run = f"(select max(run_id) from berth.migration_run where scope = '{scope}' and version = '{version}')"
                recorded.append(f"('{scope}', '{version}', '{kind}', '{state}', {checksum}, '2026-02-01', 'u{version}', {run})")
            if dice.random() < 0.6:
                checksum = dice.choice(("null", "'x:1'", "'x:2'", "'plain'", "'other'"))
                planned.append(f"('{scope}', '{version}', '{dice.choice(('versioned', 'versioned', 'repeatable'))}', {checksum})")
    for scope in ("a", "*"):
        if dice.random() < 0.5:
            rules.append(f"('{scope}', 'checksum', '{dice.choice(('off', 'log', 'warn', 'error'))}')")
    for table, columns, rows in (
            ("migration_run", "scope, version, direction, mode, status, outcome, started_at, finished_at, attempt, usename, role_name, "
                              "pid, cluster", tried),
            ("migration", "scope, version, kind, state, checksum, checksum_algo, applied_at, applied_by, last_run", recorded),
            ("migration_plan", "scope, version, kind, checksum", planned), ("migration_policy", "scope, rule, action", rules)):
        yield f"delete from berth.{table}"
        if rows:
            yield f"insert into berth.{table} ({columns}) values {', '.join(rows)}"


def expected(rows, plan, runs, open_runs, rules):
    """What migration_status(NULL) must say, version by version: [scope, version, state, kind, by, duration, checksum_ok, problem]."""
    def checksum(recorded, planned):
        if recorded is None or planned is None or recorded["state"] in ("reverted", "skipped") or planned["checksum"] is None:
            return None
        if recorded["checksum"] == planned["checksum"]:
            return "t"
        formula = planned["checksum"].partition(":")[0] if ":" in planned["checksum"] else "given"
        return "f" if recorded["checksum_algo"] == formula else None

    undone = {(run["scope"], run["version"]) for run in runs.values() if run["outcome"] == "reverted"}
    table = []
    for scope, version in {*rows, *plan, *open_runs, *undone}:
        key = (scope, version)
        recorded, planned, tried = rows.get(key), plan.get(key), open_runs.get(key)
        kind = (recorded or planned or {"kind": "versioned"})["kind"]
        had = recorded["state"] if recorded else None
        there = had in ("applied", "expanded", "contracted")
        ok = checksum(recorded, planned)
        bases = [int(v) for (s, v), row in rows.items() if s == scope and row["kind"] == "baseline" and row["state"] == "applied"]
        covered = recorded is None and kind == "versioned" and bases and int(version) <= max(bases)
        if there and kind != "repeatable" and not (tried and tried["direction"] == "revert"):
            state = "drifted" if ok == "f" and rules.get(scope, rules.get("*", "error")) != "off" else "applied"
        elif covered:
            state = "applied"
        elif tried:
            state = tried["status"]
        elif had == "skipped":
            state = "skipped"
        elif had in ("reverted", None) or ok == "f":
            state = "pending"
        else:
            state = "applied"
        problem = None
        if covered or state == "running":
            pass
        elif state in ("failed", "interrupted"):
            problem = tried["problem"]
        elif state == "pending" and there:
            problem = "its script has changed since it was applied"
        elif state == "pending" and (had == "reverted" or key in undone):
            problem = "it was reverted"
        elif state in ("applied", "drifted"):
            problem = "; ".join(text for text in (
                "the checksum of the plan is another one than that of what was applied" if ok == "f" else None,
                "expanded, and not contracted yet" if had == "expanded" else None,
                f"a later attempt {tried['problem']}" if tried and tried["status"] in ("failed", "interrupted") else None) if text) or None
        run = runs.get(recorded["last_run"]) if there else None
        table.append([scope, version, state, kind, recorded["applied_by"] if there else None, run and run["duration"], ok, problem])
    return sorted(table, key=lambda row: (row[0], int(row[1])))


def keyed(place, database, query, names):
    """Rows as dictionaries, by scope and version."""
    return {(row[0], row[1]): dict(zip(names, row)) for row in place.sql(query, database)}


def compare(place, database, seed):
    """None if the function says of a random history what the slow telling says, else where they differ."""
    place.sql("set session_replication_role = replica; " + "; ".join(history(random.Random(seed))), database)
    rows = keyed(place, database, f"select {', '.join(COLUMNS)} from berth.migration", COLUMNS)
    plan = keyed(place, database, "select scope, version, kind, checksum from berth.migration_plan",
                 ("scope", "version", "kind", "checksum"))
    runs = {row[2]: dict(zip(("scope", "version", "run_id", "duration", "outcome"), row)) for row in place.sql(
        "select scope, version, run_id, duration, case when status = 'resolved' then outcome end from berth.migration_run", database)}
    open_runs = keyed(place, database, "select scope, version, status, direction, problem from berth.open_runs(null) order by run_id",
                      ("scope", "version", "status", "direction", "problem"))
    rules = dict(place.sql("select scope, action from berth.migration_policy where rule = 'checksum'", database))
    want = expected(rows, plan, runs, open_runs, rules)
    query = 'select scope, version, state, kind, "by", duration, checksum_ok, problem from berth.migration_status({})'
    have = place.sql(query.format("null"), database)
    for scope in SCOPES:
        if place.sql(query.format(f"'{scope}'"), database) != [row for row in have if row[0] == scope]:
            return f"seed {seed}: scope {scope} by itself is another one than among all"
    wrong = [pair for pair in zip(have, want) if pair[0] != pair[1]]
    if wrong or len(have) != len(want):
        return f"seed {seed}: {len(have)} rows for {len(want)}; have, want: {wrong[:1]}"
    return None
