"""Medians, ratios, and the tables in markdown. Pure: it reads the samples and returns text."""

from statistics import median

FIGURES = ("tps", "p50_ms", "p99_ms", "cpu_us", "switches", "smaller_share", "foreign_cores", "bytes_per_client",
           "empty_rss")
BUSY = 0.15  # cores that others used during a measurement, above which a row is marked


def medians(samples):
    """{row: {subject: {figure: median over the rounds}}}, with the first failure of a subject under 'failure'."""
    table = {}
    for row, by_subject in samples.items():
        for subject, rounds in by_subject.items():
            cell = {}
            for figure in FIGURES:
                values = [r[figure] for r in rounds if r.get(figure) is not None]
                if values:
                    cell[figure] = median(values)
            failures = [r["failure"] for r in rounds if r.get("failure")]
            if failures:
                cell["failure"] = failures[0]
            opened = [r["opened"] for r in rounds if "opened" in r]
            if opened:
                cell["opened"] = min(opened)
            table.setdefault(row, {})[subject] = cell
    return table


def ratio(table, row, subject, other, figure="cpu_us"):
    """The figure of `subject` over that of `other` in the same row, or None."""
    mine = table.get(row, {}).get(subject, {}).get(figure)
    theirs = table.get(row, {}).get(other, {}).get(figure)
    return mine / theirs if mine is not None and theirs else None


def number(value, form):
    return "" if value is None else format(value, form)


def load_table(table):
    lines = ["| row | subject | tps | p50 ms | p99 ms | CPU µs/tx | to pgbouncer | to relay | switches/tx | remark |",
             "|---|---|--:|--:|--:|--:|--:|--:|--:|---|"]
    for row, by_subject in table.items():
        for subject, cell in by_subject.items():
            if "bytes_per_client" in cell or "opened" in cell:
                continue
            remarks = [cell["failure"]] if "failure" in cell else []
            if subject.endswith("-2w") and "smaller_share" in cell:
                remarks.append(f"smaller worker {cell['smaller_share']:.0%}")
            if cell.get("foreign_cores", 0) > BUSY:
                remarks.append(f"others used {cell['foreign_cores']:.2f} cores")
            fields = [row, subject, number(cell.get("tps"), ",.0f"), number(cell.get("p50_ms"), ".2f"),
                      number(cell.get("p99_ms"), ".2f"),
                      number(cell.get("cpu_us") if subject != "direct" else None, ".2f")]
            for other in ("pgbouncer", "relay"):
                known = None if subject == "direct" else ratio(table, row, subject, other)
                fields.append(number(known, ".3f"))
            fields += [number(cell.get("switches") if subject != "direct" else None, ".3f"), "; ".join(remarks)]
            lines.append("| " + " | ".join(fields) + " |")
    return lines if len(lines) > 2 else []


def memory_table(table):
    lines = ["| row | subject | bytes per idle client | to pgbouncer | process without clients, MB | clients let in "
             "| remark |",
             "|---|---|--:|--:|--:|--:|---|"]
    for row, by_subject in table.items():
        for subject, cell in by_subject.items():
            if "opened" not in cell:
                continue
            fields = [row, subject, number(cell.get("bytes_per_client"), ",.0f"),
                      number(ratio(table, row, subject, "pgbouncer", "bytes_per_client"), ".3f"),
                      number(cell["empty_rss"] / 1e6, ".1f"), str(cell["opened"]), cell.get("failure", "")]
            lines.append("| " + " | ".join(fields) + " |")
    return lines if len(lines) > 2 else []


def targets(table):
    """The figures to reach: (what, limit as text, measured or None, reached)."""
    checks = []

    def at_most(what, limit, value, form=".3f"):
        checks.append((what, f"at most {limit:{form}}", number(value, form), value is not None and value <= limit,
                       value is not None))

    for row in ("simple-32", "prepared-32", "simple-100", "prepared-100"):
        at_most(f"CPU per transaction to PgBouncer's, {row}", 0.85, ratio(table, row, "pgberth", "pgbouncer"))
    for row in ("simple-20", "prepared-20"):
        at_most(f"CPU per transaction to the relay's, {row}", 1.15, ratio(table, row, "pgberth", "relay"))
    for row in ("simple-100", "prepared-100"):
        at_most(f"CPU per transaction of 2 workers to 1, {row}", 1.1, ratio(table, row, "pgberth-2w", "pgberth"))
        share = table.get(row, {}).get("pgberth-2w", {}).get("smaller_share")
        checks.append((f"smaller worker's share, {row}", "at least 35 %", number(share, ".0%"),
                       share is not None and share >= 0.35, share is not None))
        at_most(f"CPU per transaction with recording to without, {row}", 1.03,
                ratio(table, row, "pgberth", "pgberth-bare"))
    idle = table.get("idle-10000", {}).get("pgberth", {})
    at_most("bytes per idle client", 700, idle.get("bytes_per_client"), ".0f")
    at_most("process without clients, MB", 30, idle["empty_rss"] / 1e6 if "empty_rss" in idle else None, ".1f")
    at_most("CPU per login to PgBouncer's", 1.0, ratio(table, "logins-8", "pgberth", "pgbouncer"))
    alone = table.get("alone-100", {}).get("pgberth", {}).get("cpu_us")
    crowd = table.get("crowd-100", {}).get("pgberth", {}).get("cpu_us")
    at_most("CPU per transaction with 9,900 idle clients to without", 1.1, crowd / alone if alone and crowd else None)
    for row in ("simple-500", "idle-10000"):
        cell = table.get(row, {}).get("pgberth")
        failures = None if cell is None else 1 if "failure" in cell else 0
        at_most(f"rounds with a connection error, {row}", 0, failures, "d")
    return [check[:4] for check in checks if check[4]]


def target_table(table):
    lines = ["| figure to reach | limit | measured | reached |", "|---|---|--:|---|"]
    for what, limit, value, good in targets(table):
        lines.append(f"| {what} | {limit} | {value} | {'yes' if good else 'no'} |")
    return lines if len(lines) > 2 else []


def markdown(samples, about):
    """All tables, below lines that say what was measured where."""
    table = medians(samples)
    parts = [[f"- {line}" for line in about], load_table(table), memory_table(table), target_table(table)]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"
