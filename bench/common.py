"""Shared by the measurements: measured processes, the server under test, statistics and tables."""

import ctypes
import json
import os
import pathlib
import platform
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

KERNTRAIL = os.environ["KERNTRAIL"]
# The caller's settings must not change what is measured.
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("KERNTRAIL")}


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def spread(values, form="{:.2f}"):
    """The median with minimum and maximum."""
    numbers = [form.format(value) for value in (statistics.median(values), min(values), max(values))]
    return "{} ({} to {})".format(*numbers)


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    print("\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n", flush=True)


class Measured:
    """Runs a command to its end: wall and CPU seconds, and peak resident memory in MiB."""

    def __init__(self, command):
        start = time.monotonic()
        process = subprocess.Popen(command, env=CLEAN, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        self.wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"bench: {command[0]} ended with {process.returncode}:\n{errors}")
        self.cpu = usage.ru_utime + usage.ru_stime
        self.memory = usage.ru_maxrss / 1024


def kerntrail(data, *arguments):
    """The standard output of a command of the program."""
    command = [KERNTRAIL, *arguments, "--config", os.devnull, "--data-dir", str(data)]
    return subprocess.run(command, env=CLEAN, check=True, stdout=subprocess.PIPE, text=True).stdout


def query(data, sql):
    """The first row of a query on the lake's files."""
    return json.loads(kerntrail(data, "query", "-o", "ndjson", sql).splitlines()[0])


class ProgramStatistics:
    """Lets the kernel time BPF programs during the block (BPF_ENABLE_STATS). Costs some ns per run, so nothing else is
    measured meanwhile."""

    SYSCALL = {"x86_64": 321, "aarch64": 280}
    BPF_ENABLE_STATS = 32

    def __enter__(self):
        run_time = ctypes.create_string_buffer(128)  # bpf_attr with type 0: BPF_STATS_RUN_TIME
        number = self.SYSCALL[platform.machine()]
        self.file = ctypes.CDLL(None, use_errno=True).syscall(number, self.BPF_ENABLE_STATS, run_time, len(run_time))
        if self.file < 0:
            sys.exit(f"bench: BPF_ENABLE_STATS: {os.strerror(ctypes.get_errno())}")
        return self

    def __exit__(self, *_):
        os.close(self.file)


class Server:
    """`kerntrail run` on its own data folder; stopped at the end of the block."""

    def __init__(self, data):
        self.data = pathlib.Path(data)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % free.getsockname()[1]
        self.log = self.data.with_suffix(".log")

    def __enter__(self):
        self.data.mkdir(parents=True, exist_ok=True)
        command = [KERNTRAIL, "run", "--config", os.devnull, "--data-dir", str(self.data), "--http-listen", self.address]
        self.started = time.monotonic()
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, env=CLEAN, stdout=log, stderr=log)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def http(self, path, body=None):
        """The body of the response, or None when the server does not respond."""
        try:
            request = urllib.request.Request(f"http://{self.address}{path}", body)
            token = self.data / "token"
            if token.exists():
                request.add_header("Authorization", f"Bearer {token.read_text().strip()}")
            return urllib.request.urlopen(request, timeout=60).read().decode()
        except (urllib.error.URLError, ConnectionError):
            return None

    def until(self, what, ask, seconds=60, pause=0.01):
        """Calls `ask` until it returns something other than None; returns that."""
        deadline = time.monotonic() + seconds
        while (answer := ask()) is None:
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"bench: {what}: not within {seconds} s; the server's log:\n{self.log.read_text()}")
            time.sleep(pause)
        return answer

    def ready(self):
        self.until("ready", lambda: self.http("/readyz"))

    def first_answer(self, rows):
        """Seconds from the start of the process to the first result of a query, which must count at least `rows`."""
        answer = self.until("first answer", lambda: self.http("/api/v1/query", b"select count(*) as n from process_events"))
        seconds = time.monotonic() - self.started
        if json.loads(answer)["rows"][0]["n"] < rows:
            sys.exit(f"bench: the first answer is wrong: {answer}")
        return seconds

    def collects(self):
        """None, or the reason why the program collects nothing on this machine."""
        def state():
            for line in self.log.read_text().splitlines():
                if "no live collection: " in line:
                    return line.partition("no live collection: ")[2]
                if " collecting" in line:
                    return ""
        return self.until("collecting", state) or None

    def metric(self, name, **labels):
        """The sum of a metric over all series that have `labels`."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        lines = (self.http("/metrics") or "").splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines
                   if line.startswith((name + "{", name + " ")) and all(text in line for text in wanted))

    def memory(self):
        """Resident memory in MiB, and the anonymous part of it."""
        fields = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines())
        return tuple(int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon"))

    def programs(self):
        """Runs of its BPF programs and their time in ns, as counted while statistics are on."""
        runs = nanoseconds = 0
        seen = set()
        for entry in pathlib.Path(f"/proc/{self.process.pid}/fdinfo").iterdir():
            fields = dict(line.split(":", 1) for line in entry.read_text().splitlines() if ":" in line)
            if "run_time_ns" in fields and fields["prog_id"] not in seen:
                seen.add(fields["prog_id"])
                runs += int(fields["run_cnt"])
                nanoseconds += int(fields["run_time_ns"])
        return runs, nanoseconds

    def cpu(self):
        """CPU seconds so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
