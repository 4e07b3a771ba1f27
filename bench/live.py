"""usage: live.py STORM WORK

Measures the running program: its startup, the freshness of its answers, its memory, and its cost and losses during an
exec storm, in which programs start as fast as possible (STORM is built from storm.c).
"""

import contextlib
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import threading
import time
import typing

from common import ProgramStatistics, Server, query, say, spread, table

STARTS = 5
FRESH = 10
ROUNDS = 3
IDLE_SECONDS = 5
PROGRAM = "/bin/true"
# Programs started in a storm, by the number of processes that start them.
STORMS = {os.cpu_count(): 10_000, 1: 5_000}
WIRE = ("kerntrail_transport_bytes_appended_total", "kerntrail_transport_events_in_total")


def start(work):
    lake = work / "lake"
    rows = query(lake, "select count(*) as n from process_events")["n"]
    seconds = []
    for _ in range(STARTS):
        with Server(lake) as server:
            seconds.append(server.first_answer(rows))
    print(f"### Start\n\n`kerntrail run` on a lake of {rows:,} rows, until the first SQL answer over HTTP.\n")
    table(["starts", "seconds: median (min to max)"], [[STARTS, spread(seconds)]])


class Peak(threading.Thread):
    """The server's peak memory, sampled ten times a second."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.over, self.most = server, threading.Event(), (0.0, 0.0)

    def run(self):
        while not self.over.wait(0.1):
            self.most = tuple(map(max, self.most, self.server.memory()))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


class Wire:
    """Bytes and rows of process_events appended to the event log since it was created."""

    def __init__(self, server):
        self.server, self.before = server, self.now(server)

    @staticmethod
    def now(server):
        return [server.metric(name, table="process_events") for name in WIRE]

    def a_row(self):
        size, rows = (now - before for now, before in zip(self.now(self.server), self.before))
        return f"{size / rows:.0f} ({rows:,.0f} rows)"


class Cost(typing.NamedTuple):
    """Cost of a storm, in seconds."""

    wall: float
    cpu: float


def storm(program, workers, tag):
    count = STORMS[workers]
    done = subprocess.run([program, str(count), str(workers), PROGRAM, tag], check=True, stdout=subprocess.PIPE, text=True)
    return Cost(*map(float, done.stdout.split()))


def exec_rows(data, tag):
    sql = f"select count(*) as n from process_events where activity = 'exec' and args[2] = '{tag}'"
    return query(data, sql)["n"]


def lost(data):
    return query(data, "select coalesce(sum(lost), 0) as n from event_loss")["n"]


def settled(server, tag, made):
    """The storm's rows and lost events, once all have arrived or no more arrive."""
    deadline, seen, since = time.monotonic() + 60, -1, 0.0
    while time.monotonic() < deadline:
        rows = exec_rows(server.data, tag)
        if rows >= made:
            break
        if rows != seen:
            seen, since = rows, time.monotonic()
        elif time.monotonic() - since > 8:
            break
        time.sleep(0.5)
    return rows, lost(server.data)


def fresh(server):
    """Seconds from just before a program's start to the end of the query that shows it, and seconds of the query alone."""
    seen, asked = [], []
    for number in range(FRESH):
        tag = f"fresh-{number}"
        begin = time.monotonic()
        subprocess.run([PROGRAM, tag], check=True)

        def ask():
            before = time.monotonic()
            rows = exec_rows(server.data, tag)
            asked.append(time.monotonic() - before)
            return rows or None

        server.until("a program's row", ask, 30)
        seen.append(time.monotonic() - begin)
    return seen, asked


def in_kernel(program, server):
    """BPF program runs per exec with its fork and exit, and their time in µs."""
    with ProgramStatistics():
        runs, nanoseconds = server.programs()
        storm(program, 1, "timed")
        after = server.programs()
    made = STORMS[1]
    return f"{(after[0] - runs) / made:.1f}", f"{(after[1] - nanoseconds) / made / 1e3:.1f}"


class Live:
    def __init__(self, program, work):
        self.program, self.work = program, work
        self.off = {workers: [] for workers in STORMS}
        self.on = {workers: [] for workers in STORMS}
        self.ledger, self.memory, self.wire, self.costs = [], {}, {}, {workers: [] for workers in STORMS}
        self.seen, self.asked, self.in_kernel = [], [], ()

    @contextlib.contextmanager
    def server(self, number):
        data = self.work / f"live-{number}"
        shutil.rmtree(data, ignore_errors=True)
        with Server(data) as server:
            server.ready()
            yield server
        shutil.rmtree(data)

    def run(self):
        for number in range(ROUNDS):
            say(f"exec storm, round {number + 1} of {ROUNDS}")
            # The order alternates, so that neither side always runs on the state that the other leaves.
            sides = [self.without, self.with_server]
            for side in sides if number % 2 == 0 else reversed(sides):
                if reason := side(number):
                    return reason
        self.report()
        return None

    def without(self, _):
        for workers in STORMS:
            self.off[workers].append(storm(self.program, workers, "off"))

    def with_server(self, number):
        with self.server(number) as server:
            if reason := server.collects():
                return reason
            if number == 0:
                self.quiet(server)
            for workers in STORMS:
                self.under(server, workers)
            if number == ROUNDS - 1:
                time.sleep(IDLE_SECONDS)
                self.memory[f"{IDLE_SECONDS} s after the last storm"] = server.memory()
                self.in_kernel = in_kernel(self.program, server)
        return None

    def quiet(self, server):
        time.sleep(IDLE_SECONDS)
        self.memory["idle"] = server.memory()
        wire = Wire(server)
        self.seen, self.asked = fresh(server)
        self.wire[f"{FRESH} programs, one after the other"] = wire.a_row()

    def under(self, server, workers):
        tag, made, wire, before = f"storm-{workers}", STORMS[workers], Wire(server), lost(server.data)
        cpu = server.cpu()
        with Peak(server) as peak:
            self.on[workers].append(storm(self.program, workers, tag))
            rows, lost_ = settled(server, tag, made)
        self.costs[workers].append((server.cpu() - cpu) / made * 1e6)
        name = f"storm, {workers} at once"
        self.memory[name] = tuple(map(max, self.memory.get(name, (0.0, 0.0)), peak.most))
        self.wire[name] = wire.a_row()
        self.ledger.append([workers, f"{made:,}", f"{rows:,}", f"{made - rows:,}", f"{lost_ - before:,}"])

    def slowdown(self, workers):
        made, line = STORMS[workers], [workers, f"{STORMS[workers]:,}"]
        off, on = self.off[workers], self.on[workers]
        median = statistics.median
        wall_off, wall_on = ([cost.wall for cost in costs] for costs in (off, on))
        cpu_off, cpu_on = ([cost.cpu / made * 1e6 for cost in costs] for costs in (off, on))
        line += [spread(wall_off), spread(wall_on), f"{median(wall_on) / median(wall_off):.2f}",
                 spread([with_ / without for with_, without in zip(wall_on, wall_off)])]
        line += [spread(cpu_off, "{:.0f}"), spread(cpu_on, "{:.0f}"), f"{median(cpu_on) / median(cpu_off):.2f}"]
        return [*line, f"{median(self.costs[workers]):.0f}"]

    def report(self):
        print(f"### Exec storm\n\nvfork + exec of `{PROGRAM}`, {ROUNDS} rounds, without and with `kerntrail run` in turns.\n")
        table(["at once", "execs", "seconds without", "seconds with", "slowdown (medians)", "slowdown of pairs",
               "CPU µs/exec without", "with", "ratio (medians)", "server CPU µs/exec"],
              [self.slowdown(workers) for workers in STORMS])
        table(["BPF program runs per fork + exec + exit", "µs in them, of the execs' CPU"], [self.in_kernel])
        table(["at once", "execs made", "exec rows", "missing", "lost, by event_loss"], self.ledger)
        print("### Freshness\n\nFrom a program's start to the end of the `kerntrail query` process that shows it.\n")
        table(["programs", "p50 s", "max s", "of that, one query process (p50)"],
              [[len(self.seen), f"{statistics.median(self.seen):.2f}", f"{max(self.seen):.2f}", f"{statistics.median(self.asked):.2f}"]])
        print("### Memory and wire\n")
        table(["when", "RSS MiB", "of it anonymous", "bytes/row on the wire, process_events"],
              [[when, *("%.0f" % mib for mib in self.memory.get(when, ())), *([""] * (0 if when in self.memory else 2)),
                self.wire.get(when, "")] for when in dict.fromkeys([*self.memory, *self.wire])])


def main():
    program, work = sys.argv[1], pathlib.Path(sys.argv[2])
    say("start")
    start(work)
    if reason := Live(program, work).run():
        print(f"### Exec storm, freshness, memory and wire\n\nskipped: {reason}\n")


if __name__ == "__main__":
    main()
