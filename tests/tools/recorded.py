"""What a tool sends to PostgreSQL, taken from the server's log: statements with their sessions, parameters and errors."""

import re

LINE = re.compile(r"^(\d+) (\w+) (\S*) \|(\w+):  (.*)$")
STATEMENT = re.compile(r"(?:statement|execute [^:]*): (.*)", re.S)
# Reading, and comments on a tool's own tables, change nothing.
LEFT_OUT = re.compile(r"\s*(select(?!\s+berth)|comment|show)\b", re.I)
BEGINS = re.compile(r"begin\b", re.I)
NOTHING = re.compile(r"(begin|set\s+search_path|commit|rollback)\b", re.I)


def without_idle(blocks):
    """Without the transactions in which nothing was done, of which Liquibase makes many."""
    kept = []
    for block in blocks:
        kept.append(block)
        if re.match(r"(commit|rollback)\b", block[2], re.I):
            begun = len(kept) - 1
            while begun > 0 and kept[begun][0] == block[0] and NOTHING.match(kept[begun][2]) and not BEGINS.match(kept[begun][2]):
                begun -= 1
            if BEGINS.match(kept[begun][2]) and kept[begun][0] == block[0]:
                del kept[begun:]
    return kept


class Recorder:
    """Records what role app does from now on."""

    def __init__(self, postgres):
        self.postgres = postgres
        postgres.sql("alter system set log_statement = 'all'")
        postgres.sql("alter system set log_line_prefix = '%p %e %u |'")
        postgres.sql("select pg_reload_conf()")
        postgres.sql("select pg_sleep(0.2)")
        self.start = postgres.log.stat().st_size
        self.marks = []

    def mark(self, name):
        self.marks.append((self.postgres.log.stat().st_size, name))

    def entries(self):
        """(offset, pid, sqlstate, user, kind, text), continuation lines joined."""
        offset, found = self.start, []
        for line in self.postgres.log.read_bytes()[self.start:].decode().splitlines(keepends=True):
            match = LINE.match(line.rstrip("\n"))
            if match:
                pid, sqlstate, user, kind, text = match.groups()
                found.append([offset, pid, sqlstate, user, kind, text])
            elif line.startswith("\t") and found:
                found[-1][5] += "\n" + line[1:].rstrip("\n")
            offset += len(line.encode())
        return found

    def write(self, path, title):
        sessions, blocks, last = {}, [], {}
        for offset, pid, sqlstate, user, kind, text in self.entries():
            while self.marks and offset >= self.marks[0][0]:
                blocks.append(["adopt", "", self.marks.pop(0)[1]])
            if user != "app":
                continue
            statement = STATEMENT.match(text) if kind == "LOG" else None
            if statement:
                block = last[pid] = [pid, "", re.sub(r"\s*\n\s*", "\n", statement[1].strip())]
                if not LEFT_OUT.match(block[2]):
                    blocks.append(block)
            elif kind == "DETAIL" and text.startswith("parameters: "):
                values = dict(re.findall(r"\$(\d+) = ('(?:[^']|'')*'|NULL)", text))
                last[pid][2] = re.sub(r"\$(\d+)", lambda number: values[number[1]], last[pid][2])
            elif kind == "ERROR" and pid in last:
                last[pid][1] = " " + sqlstate
        lines = [f"-- {title}: recorded by tests/tools/run.py --record, without what only reads. Each block is one statement",
                 "-- of the session in brackets, with its SQLSTATE where it fails.", ""]
        for pid, sqlstate, text in without_idle(blocks):
            text = re.sub("LOCKEDBY = '[^']*'", "LOCKEDBY = 'host'", text)  # of the machine where this was recorded
            name = "adopt" if pid == "adopt" else f"[{sessions.setdefault(pid, len(sessions) + 1)}]{sqlstate}"
            lines += [f"-- {name}", text, ""] if pid != "adopt" else [f"-- {name}", ""]
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines), encoding="utf-8")
