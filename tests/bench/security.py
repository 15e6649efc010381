#!/usr/bin/python3
"""What logins and TLS cost: pgberth, PgBouncer and OpenSSL by itself, side by side in one run.

    tests/bench/security.py [--rows tls-login,tls-idle-2000] [--rounds 3] [--seconds 7] [--logins 2000]

    tls-login         CPU per login with a whole handshake; beside it a login without TLS, and a bare server's handshake with the same
                      certificate (tests/bench/tls_bare.cc)
    tls-resumed       CPU per login that takes up the session of the one before; beside it a bare server's handshake of that kind, in
                      the client's order of ciphers and with AES-128 first, as pgberth has it
    scram-login       CPU per login with SCRAM-SHA-256, the user list has the verifier, and the clients have salted the password before;
                      beside it pgbench's logins, whose clients salt it each time: then the broker mostly waits
    tls-simple-32     CPU per transaction over TLS, as bench.py's rows of that name
    tls-prepared-100
    tls-idle-2000     memory per silent client over TLS
    tls-floor         what OpenSSL by itself takes for a handshake, in memory (tests/bench/tls_floor.cc)

Logins come from four threads of one program (tests/bench/tls_clients.cc), SCRAM's and transactions from pgbench. The certificate has an
EC key (P-256), the protocol is TLS 1.3. Rounds are interleaved; the tables show medians.
"""

import argparse
import base64
import hashlib
import hmac
import os
import socket
import subprocess
import sys
import time
from statistics import median

import bench
import measure
from cluster import DATABASE, ROOT, USER, BenchError, Cluster, raise_file_limit
from rows import Row
from subjects import PEERS, IniBroker, Subject, compile_helper

ROWS = ("tls-login", "tls-resumed", "scram-login", "tls-simple-32", "tls-prepared-100", "tls-idle-2000", "tls-floor")
FLOOR = ("whole, AES-256", "whole, AES-128", "resumed, AES-256", "resumed, AES-128", "of it X25519")
PASSWORD = "bench-password"
ITERATIONS = 4096
IDLE_FIRST, IDLE_LAST = 500, 2000
TLS = ("PGSSLMODE", "require"), ("PGSSLNEGOTIATION", "postgres")
LOADS = {"tls-simple-32": Row("tls-simple-32", "simple", 32, environment=TLS),
         "tls-prepared-100": Row("tls-prepared-100", "prepared", 100, environment=TLS),
         "scram-login": Row("scram-login", "simple", 8, logins=True, environment=(("PGPASSWORD", PASSWORD),))}
UNITS = {"cpu_us": "CPU µs", "bytes_per_client": "bytes"}


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=7, help="measured seconds of a load of pgbench")
    parser.add_argument("--logins", type=int, default=2000, help="logins of each measurement")
    parser.add_argument("--jobs", type=int, default=1, help="threads of pgbench")
    parser.add_argument("--pgberth", default=os.path.join(ROOT, "build", "pgberth"), help="the broker's program")
    parser.add_argument("--keep", action="store_true", help="keep the directory with configurations and logs")
    parser.set_defaults(client_socket=False, scale=10)
    options = parser.parse_args(arguments)
    options.rows = options.rows.split(",")
    unknown = set(options.rows) - set(ROWS)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    return options


def verifier(password):
    """What PostgreSQL stores of a password."""
    salt = b"0123456789abcdef"
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt, stored, server = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${ITERATIONS}:{salt}${stored}:{server}"


def certificate(cluster):
    """(certificate, key) of a server, for this run."""
    paths = [os.path.join(cluster.subdirectory("tls"), name) for name in ("server.crt", "server.key")]
    done = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                           "-subj", "/CN=localhost", "-out", paths[0], "-keyout", paths[1]], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"openssl: {done.stderr}")
    os.chmod(paths[1], 0o600)
    if cluster.identity:
        for path in paths:
            os.chown(path, cluster.identity["user"], cluster.identity["group"])
    return paths


class Secure(IniBroker):
    """A broker that offers TLS; with `scram`, one that asks for a password instead."""

    def __init__(self, name, cluster, source, files, scram, extra=""):
        tls = f"client_tls_sslmode = allow\nclient_tls_cert_file = {files[0]}\nclient_tls_key_file = {files[1]}\n"
        super().__init__(name, cluster, source, extra + ("" if scram else tls))
        if scram:
            self.write("userlist.txt", f'"{USER}" "{verifier(PASSWORD)}"\n')
            with open(self.config, encoding="utf-8") as config:
                text = config.read()
            self.write("broker.ini", text.replace("auth_type = trust", "auth_type = scram-sha-256"))

    def start(self, prefix=(), seconds=30):
        """Waits for the port only: psql has no password here."""
        self.process = self.cluster.popen([*prefix, *self.command()], f"{self.name}.out")
        wait_for_port(self)


class Bare(Subject):
    """OpenSSL by itself: tests/bench/tls_bare.cc."""

    def __init__(self, name, cluster, source, files, *suites):
        super().__init__(name, cluster)
        self.install(source)
        self.files, self.suites = files, suites

    def command(self):
        return [*self.program, str(self.port), *self.files, *self.suites]

    def start(self, prefix=(), seconds=30):
        self.process = self.cluster.popen([*prefix, *self.command()], f"{self.name}.out")
        wait_for_port(self)

    def version(self):
        return subprocess.run(["openssl", "version"], capture_output=True, text=True, check=False).stdout.strip()


def wait_for_port(subject, seconds=30):
    deadline = time.monotonic() + seconds
    while subject.alive() and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", subject.port)) == 0:
                time.sleep(1)  # the set of servers fills
                return
        time.sleep(0.1)
    tail = subject.tail()
    subject.stop()
    raise BenchError(f"{subject.name} does not listen\n{tail}")


class Clients:
    """tests/bench/tls_clients.cc."""

    def __init__(self, program, subject):
        self.process = subprocess.Popen([program, str(subject.port), USER, DATABASE, PASSWORD], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, line):
        """(how many, how many of them resumed)."""
        self.process.stdin.write(line + "\n")
        answer = self.process.stdout.readline().split()
        if not answer or answer[0] != "done":
            raise BenchError(f"{line}: {' '.join(answer[1:]) or 'the clients have ended'}")
        return int(answer[1]), int(answer[2])

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


def logins(subject, program, kind, count):
    clients = Clients(program, subject)
    try:
        clients.ask(f"login {kind} 200")
        before = measure.tasks_of(subject.pid)
        done, resumed = clients.ask(f"login {kind} {count}")
        time.sleep(0.3)  # the goodbyes
        spent = sum(ns - before.get(task, 0) for task, ns in measure.tasks_of(subject.pid).items())
    finally:
        clients.close()
    return {"cpu_us": spent / 1e3 / done, "resumed": resumed / done}


def idle(subject, program, kind):
    subject.stop()
    subject.start()
    clients = Clients(program, subject)
    try:
        seen = {}
        for more in (IDLE_FIRST, IDLE_LAST - IDLE_FIRST):
            total, _ = clients.ask(f"idle {kind} {more}")
            time.sleep(0.5)
            seen[total] = measure.memory_of(subject.pid)[0]
    finally:
        clients.close()
    return {"bytes_per_client": (seen[IDLE_LAST] - seen[IDLE_FIRST]) / (IDLE_LAST - IDLE_FIRST)}


def floor(files):
    """One run of the program measures all of it."""
    seen = {}

    def of(name):
        if name == FLOOR[0]:
            done = subprocess.run([compile_helper("tls_floor", "-lssl", "-lcrypto"), *files], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise BenchError(done.stderr)
            seen.update(line.split("\t") for line in done.stdout.splitlines())
        return {"cpu_us": float(seen[name])}

    for name in FLOOR:
        yield "tls-floor", name, lambda n=name: of(n)


def measurements(ground, options):
    """For each row the pairs (what stands in the table, how it is measured), in the order of a round."""
    program = compile_helper("tls_clients", "-lssl", "-lcrypto")
    brokers = [name for name in ("pgberth", "pgbouncer") if name in ground]

    def load(name, row):
        return lambda: measure.run_load(ground[name].cluster, ground[name], LOADS[row], options)

    for row in options.rows:
        if row == "tls-login":
            for name in brokers:
                yield row, name, lambda n=name: logins(ground[n], program, "full", options.logins)
                yield row, f"{name} without TLS", lambda n=name: logins(ground[n], program, "plain", options.logins)
            yield row, "bare OpenSSL", lambda: logins(ground["bare"], program, "bare", options.logins)
        elif row == "tls-resumed":
            for name in brokers:
                yield row, name, lambda n=name: logins(ground[n], program, "resumed", options.logins)
            for name, what in (("bare", "bare OpenSSL, resumed"), ("bare-aes128", "bare OpenSSL, resumed, AES-128")):
                yield row, what, lambda n=name: logins(ground[n], program, "bare-resumed", options.logins)
        elif row == "scram-login":
            for name in brokers:
                yield row, name, lambda n=name: logins(ground[n + "-scram"], program, "scram", options.logins)
                yield row, f"{name} by pgbench", load(f"{name}-scram", row)
        elif row == "tls-idle-2000":
            for name in brokers:
                yield row, name, lambda n=name: idle(ground[n], program, "full")
            yield row, "bare OpenSSL", lambda: idle(ground["bare"], program, "bare")
        elif row == "tls-floor":
            yield from floor(ground["bare"].files)
        else:
            for name in brokers:
                yield row, name, load(name, row)


def targets(cells):
    """(what, limit, measured or None, whether more is better) of the figures to reach."""
    def figure(row, name, unit="cpu_us"):
        return cells.get((row, name), {}).get(unit)

    def over(one, other, factor=1.0):
        return one / (other * factor) if one is not None and other else None

    full, plain, bare = (figure("tls-login", name) for name in ("pgberth", "pgberth without TLS", "bare OpenSSL"))
    yield "CPU per TLS login to a bare handshake plus our plain login", 1.15, over(full, plain + bare if plain and bare else None), False
    for row, what, limit in (("tls-resumed", "resumed logins per CPU second to PgBouncer's", 1.5),
                             ("scram-login", "SCRAM logins per CPU second to PgBouncer's", 1.2)):
        yield what, limit, over(figure(row, "pgbouncer"), figure(row, "pgberth")), True
    for row in ("tls-simple-32", "tls-prepared-100"):
        yield f"CPU per transaction to PgBouncer's, {row}", 0.8, over(figure(row, "pgberth"), figure(row, "pgbouncer")), False
    ours, theirs, least = (figure("tls-idle-2000", name, "bytes_per_client") for name in ("pgberth", "pgbouncer", "bare OpenSSL"))
    yield "bytes per idle TLS client above bare OpenSSL", 2048, ours - least if ours and least else None, False
    yield "bytes per idle TLS client to PgBouncer's", 0.7, over(ours, theirs), False


def tables(samples):
    cells = {place: {figure: median(values) for figure in ("cpu_us", "bytes_per_client", "resumed", "tps", "p99_ms")
                     if (values := [r[figure] for r in rounds if r.get(figure) is not None])}
             for place, rounds in samples.items()}
    lines = ["| row | subject | measured | to pgbouncer | remark |", "|---|---|--:|--:|---|"]
    for (row, name), cell in cells.items():
        unit = next((u for u in UNITS if u in cell), None)
        theirs = cells.get((row, "pgbouncer"), {}).get(unit)
        remarks = [r["failure"] for r in samples[row, name] if "failure" in r][:1]
        if row == "tls-resumed" and "resumed" in cell:
            remarks.append(f"{cell['resumed']:.0%} resumed")
        measured = f"{cell[unit]:,.1f} {UNITS[unit]}" if unit else ""
        lines.append(f"| {row} | {name} | {measured} | {f'{cell[unit] / theirs:.3f}' if unit and theirs else ''} | {'; '.join(remarks)} |")
    lines += ["", "| figure to reach | limit | measured | reached |", "|---|---|--:|---|"]
    for what, limit, value, more in targets(cells):
        if value is not None:
            reached = value >= limit if more else value <= limit
            lines.append(f"| {what} | at {'least' if more else 'most'} {limit} | {value:,.3f} | {'yes' if reached else 'no'} |")
    return "\n".join(lines)


def subjects(cluster, options):
    files = certificate(cluster)
    bare = compile_helper("tls_bare", "-lssl", "-lcrypto")
    ground = {"bare": Bare("bare", cluster, bare, files),
              "bare-aes128": Bare("bare-aes128", cluster, bare, files, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384")}
    sources = {"pgberth": (options.pgberth, "workers = 1\nmax_prepared_statements = 200\n")}
    if os.path.exists(os.path.join(PEERS, "complete")):
        sources["pgbouncer"] = (os.path.join(PEERS, "pgbouncer"), "max_prepared_statements = 200\n")
    else:
        bench.say("PgBouncer is not here, so not measured: make bench-peers")
    for name, (source, extra) in sources.items():
        ground[name] = Secure(name, cluster, source, files, False, extra)
        ground[name + "-scram"] = Secure(name + "-scram", cluster, source, files, True, extra)
    return ground


def main():
    options = parse(sys.argv[1:])
    raise_file_limit()
    cluster, ground, samples = Cluster(options.scale), {}, {}
    try:
        cluster.start()
        ground = subjects(cluster, options)
        for subject in ground.values():
            subject.start()
        about = bench.about(list(ground.values()), options)
        for turn in range(options.rounds):
            bench.say(f"round {turn + 1}: {bench.busy_note()}")
            for row, name, measured in measurements(ground, options):
                try:
                    sample = measured()
                except (BenchError, OSError) as error:
                    sample = {"failure": str(error).replace("\n", " ").replace("|", "/")}
                samples.setdefault((row, name), []).append(sample)
                bench.say(f"  {row} {name}: {bench.shown(sample)}")
        print("\n".join(f"- {line}" for line in about) + "\n\n" + tables(samples), flush=True)
    except BenchError as error:
        sys.exit(f"bench: {error}")
    finally:
        for subject in ground.values():
            subject.stop()
        cluster.stop(options.keep)


if __name__ == "__main__":
    main()
