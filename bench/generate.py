#!/usr/bin/env python3
"""usage: generate.py LINES FILE [SEED]

Writes LINES records of Tetragon's JSON export (process_exec and process_exit), one per line; deterministic for a seed.

Simulates a small cluster: nodes assign rising pids, workloads have replicas, few containers are busy and many are
quiet, and they run the process trees of probes, builds, jobs and interactive shells. So parents exist, values repeat
as in a real export, and an exit repeats the data of its exec.
"""

import base64
import datetime
import heapq
import itertools
import json
import math
import random
import sys

DAY = datetime.datetime(2026, 3, 9, tzinfo=datetime.timezone.utc)
START = 9 * 3600.0  # The first record's time, in seconds of the day.
TREES_PER_SECOND = 260
NODES = 24
WORKLOADS = 90
UNSET_LOGIN = 4294967295

# A process tree: argv, mean seconds of run time, children that it starts one after the other.
# {n}, {ip} and {id} are filled in for each tree.
PROBE = [(["/bin/sh", "-c", "wget -q -O /dev/null http://127.0.0.1:8080/healthz || exit 1"], 0.03, [
    (["/usr/bin/wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/healthz"], 0.02, [])])]
DATABASE = [
    (["/usr/bin/pg_isready", "-U", "postgres", "-h", "127.0.0.1", "-p", "5432"], 0.01, []),
    (["/bin/bash", "-c", "redis-cli ping | grep -q PONG"], 0.02, [
        (["/usr/bin/redis-cli", "ping"], 0.01, []), (["/bin/grep", "-q", "PONG"], 0.01, [])]),
    (["/usr/lib/postgresql/16/bin/pg_dump", "--format=custom", "--file=/backup/{n}.dump", "orders"], 8.0, []),
]
BUILD = [
    (["/bin/bash", "-e", "/builds/{id}/script.sh"], 4.0, [
        (["/usr/bin/git", "fetch", "--depth=1", "origin", "refs/heads/feature-{n}"], 0.8, [
            (["/usr/lib/git-core/git-remote-https", "origin", "https://git.example.net/team/app-{n}.git"], 0.6, [])]),
        (["/usr/bin/make", "-j2", "all"], 2.5, [
            (["/usr/bin/gcc", "-O2", "-Wall", "-Iinclude", "-c", "src/unit{n}.c", "-o", "build/unit{n}.o"], 0.4, [
                (["/usr/lib/gcc/x86_64-linux-gnu/12/cc1", "-quiet", "-Iinclude", "src/unit{n}.c", "-O2", "-Wall",
                  "-o", "/tmp/cc{id}.s"], 0.3, []),
                (["/usr/bin/as", "--64", "-o", "build/unit{n}.o", "/tmp/cc{id}.s"], 0.05, [])]),
            (["/usr/bin/strip", "--strip-debug", "build/app"], 0.05, [])])]),
]
JOB = [
    (["/bin/sh", "/etc/periodic/rotate.sh"], 1.0, [
        (["/usr/bin/find", "/var/log/app", "-name", "*.log", "-mtime", "+{n}"], 0.2, []),
        (["/bin/gzip", "-9", "/var/log/app/app.{n}.log"], 0.5, []),
        (["/bin/rm", "-f", "/var/log/app/app.{n}.log.1"], 0.01, [])]),
    (["/usr/bin/python3", "-m", "jobs.report", "--shard", "{n}", "--since", "1 hour ago"], 6.0, [
        (["/usr/bin/curl", "-sS", "--max-time", "10", "http://{ip}:9000/reports/{id}"], 0.2, [])]),
]
WORKER = [
    (["/usr/bin/python3", "/srv/worker.py", "--queue", "orders-{n}"], 20.0, [
        (["/bin/uname", "-p"], 0.01, []),
        (["/usr/bin/convert", "/tmp/{id}.png", "-resize", "640x480", "/tmp/{id}-s.png"], 0.5, [])]),
    (["/usr/local/bin/node", "dist/task.js", "--id={id}"], 3.0, []),
]
SHELL = [
    (["/bin/bash"], 90.0, [
        (["/bin/ls", "-la"], 0.01, []), (["/usr/bin/id"], 0.01, []),
        (["/bin/cat", "/var/run/secrets/kubernetes.io/serviceaccount/namespace"], 0.01, []),
        (["/usr/bin/curl", "-k", "-H", "Accept: application/json", "https://{ip}/api/v1/pods"], 0.3, []),
        (["/bin/ps", "auxww"], 0.02, []), (["/usr/bin/grep", "-rn", "password = ", "/etc/app"], 0.1, [])]),
]
HOST = [
    (["/usr/sbin/iptables-restore", "-w", "5", "--noflush", "--counters"], 0.03, []),
    (["/usr/sbin/runc", "--root", "/run/containerd/runc/k8s.io", "exec", "--process", "/tmp/runc-process{id}",
      "--detach", "{id}"], 0.1, [(["/proc/self/exe", "init"], 0.05, [])]),
    (["/bin/sh", "-c", "cd / && run-parts --report /etc/cron.hourly"], 0.1, [
        (["/usr/bin/run-parts", "--report", "/etc/cron.hourly"], 0.05, [])]),
]
# Role of a workload, share, and its trees with their weights.
ROLES = [
    ("api", 34, [(PROBE, 9), (SHELL, 0.01)]), ("web", 22, [(PROBE, 9), (WORKER, 0.5)]),
    ("worker", 18, [(WORKER, 4), (PROBE, 2), (SHELL, 0.01)]), ("db", 10, [(DATABASE, 6), (SHELL, 0.02)]),
    ("cron", 9, [(JOB, 1)]), ("runner", 7, [(BUILD, 1)]),
]


def dump(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def joined(arguments):
    """The arguments after argv[0] in one line, as Tetragon joins them."""
    line = ""
    for argument in arguments:
        if " " in argument:
            line += f' "{argument}"'
        else:
            line += f" {argument}" if line else argument
    return line


class Clock:
    """Times as the export writes them: RFC 3339 with nanoseconds."""

    @staticmethod
    def text(seconds):
        whole = math.floor(seconds)
        moment = DAY + datetime.timedelta(seconds=whole)
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{int((seconds - whole) * 1e9):09d}Z"


class Node:
    def __init__(self, name, random_):
        self.name = name
        self.booted = START - random_.uniform(1, 40) * 86400
        self.pid = random_.randrange(2_000, 900_000)
        self.init = Process(self, None, None, ["/usr/lib/systemd/systemd", "--system"], 0, self.booted + 1, pid=1)

    def next_pid(self, random_):
        # Threads and programs that are not exported use pids too.
        self.pid += 1 + int(random_.expovariate(0.25))
        if self.pid >= 4_194_304:
            self.pid = 300
        return self.pid


class Process:
    """A running program; `text` is its JSON in records, as actor and as parent."""

    __slots__ = ("node", "exec_id", "text")

    def __init__(self, node, container, parent, argv, uid, start, pid, flags="execve clone"):
        self.node = node
        boot_ns = int((start - node.booted) * 1e9)
        self.exec_id = base64.b64encode(f"{node.name}:{boot_ns}:{pid}".encode()).decode()
        fields = {"exec_id": self.exec_id, "pid": pid, "uid": uid,
                  "cwd": container["cwd"] if container else "/", "binary": argv[0]}
        if len(argv) > 1:
            fields["arguments"] = joined(argv[1:])
        fields |= {"flags": flags if container and container["cwd"] != "/" else flags.replace("execve", "execve rootcwd"),
                   "start_time": Clock.text(start), "auid": UNSET_LOGIN}
        text = dump(fields)[:-1]
        if container:
            text += ',"pod":' + container["pod"] + ',"docker":"' + container["id"][:31] + '"'
        if parent:
            text += ',"parent_exec_id":"' + parent.exec_id + '"'
        self.text = text + f',"tid":{pid}' + "}"


class Cluster:
    """The nodes, and their containers with the share of work of each."""

    def __init__(self, random_):
        self.random = random_
        self.nodes = [Node(f"pool-{'abc'[i % 3]}-{i:02d}", random_) for i in range(NODES)]
        self.containers, self.weights = [], []
        for number in range(WORKLOADS):
            self.workload(number)
        self.busy = list(itertools.accumulate(self.weights))

    def hex(self, digits):
        return f"{self.random.getrandbits(digits * 4):0{digits}x}"

    def uuid(self):
        text = self.hex(32)
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"

    def workload(self, number):
        role, _, trees = self.random.choices(ROLES, [share for _, share, _ in ROLES])[0]
        kind = {"db": "StatefulSet", "cron": "CronJob"}.get(role, "Deployment")
        namespace = self.random.choice(["checkout", "catalog", "billing", "search", "platform", "ci", "analytics"])
        name = f"{self.random.choice(['orders', 'cart', 'users', 'stock', 'mail', 'price', 'media'])}-{role}-{number}"
        image = f"registry.example.net/{namespace}/{role}:v{self.random.randrange(1, 9)}.{self.random.randrange(30)}.0"
        digest = "sha256:" + self.hex(64)
        template = self.hex(10)
        weight = 1 / (1 + number) ** 0.8
        for replica in range(1 + min(11, int(self.random.expovariate(0.35)))):
            pod = f"{name}-{replica}" if kind == "StatefulSet" else f"{name}-{template}-{self.hex(5)}"
            labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": namespace, "tier": role}
            if kind == "Deployment":
                labels["pod-template-hash"] = template
            started = START - self.random.uniform(0.1, 60) * 3600
            identity = self.hex(64)
            pod = {"namespace": namespace, "name": pod, "uid": self.uuid(), "container": {
                "id": "containerd://" + identity, "name": role,
                "image": {"id": image.rpartition(":")[0] + "@" + digest, "name": image},
                "start_time": Clock.text(started)[:19] + "Z", "pid": 1 + self.random.randrange(60)},
                "pod_labels": labels, "workload": name, "workload_kind": kind}
            self.container(dict(id=identity, pod=dump(pod), cwd=self.random.choice(["/", "/srv", "/app"]), trees=trees,
                                uid=self.random.choice([0, 1000, 10001])), started)
            self.weights.append(weight)

    def container(self, container, started):
        node = self.random.choice(self.nodes)
        shim = ["/usr/bin/containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", container["id"], "-address",
                "/run/containerd/containerd.sock"]
        shim = Process(node, None, node.init, shim, 0, max(started, node.booted + 60), node.next_pid(self.random))
        container["node"] = node
        container["shim"] = shim
        container["entry"] = Process(node, container, shim, ["/usr/bin/tini", "--", "/entrypoint.sh"], container["uid"],
                                     max(started, node.booted + 60) + 0.4, node.next_pid(self.random))
        self.containers.append(container)

    def place(self):
        """Chooses where the next tree runs, which one it is, and its parent."""
        if self.random.random() < 0.06:
            node = self.random.choice(self.nodes)
            return node, None, node.init, self.random.choice(HOST)
        container = self.random.choices(self.containers, cum_weights=self.busy)[0]
        kinds, weights = zip(*container["trees"])
        trees = self.random.choices(kinds, weights)[0]
        # The runtime starts probes and interactive shells, the entry program everything else.
        parent = container["shim"] if trees in (PROBE, SHELL, DATABASE) else container["entry"]
        return container["node"], container, parent, self.random.choice(trees)


class Run:
    """Programs that start and end, in order of time."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.cluster = Cluster(self.random)
        self.coming = []
        self.order = 0

    def put(self, time, node, line):
        self.order += 1
        heapq.heappush(self.coming, (time, self.order, node, line))

    def tree(self, time, tree, node, container, parent, filled=None):
        """Schedules exec and exit of the tree's programs; returns the time at which its root ends."""
        argv, mean, children = tree
        filled = filled or {"n": str(self.random.randrange(100)), "id": self.cluster.hex(12),
                            "ip": "10.42." + ".".join(str(self.random.randrange(1, 250)) for _ in range(2))}
        argv = [self.fill(argument, filled) for argument in argv]
        uid = container["uid"] if container else 0
        process = Process(node, container, parent, argv, uid, time, node.next_pid(self.random))
        body = '":{"process":' + process.text + ',"parent":' + parent.text
        self.put(time, node, '{"process_exec' + body + "}")
        end = time + self.random.expovariate(1 / mean) * 0.3
        for child in children:
            end = self.tree(end + self.random.expovariate(500), child, node, container, process, filled)
        end += self.random.expovariate(1 / mean) * 0.7
        self.put(end, node, '{"process_exit' + body + self.outcome() + ',"time":"' + Clock.text(end) + '"}')
        return end

    @staticmethod
    def fill(argument, filled):
        if "{" in argument:
            for name, value in filled.items():
                argument = argument.replace("{" + name + "}", value)
        return argument

    def outcome(self):
        chance = self.random.random()
        if chance < 0.93:
            return ""
        return f',"status":{self.random.choice([1, 1, 1, 2, 7, 126, 127])}' if chance < 0.99 else ',"signal":"SIGKILL"'

    def lines(self):
        time = START
        while True:
            time += self.random.expovariate(TREES_PER_SECOND)
            while self.coming and self.coming[0][0] <= time:
                at, _, node, line = heapq.heappop(self.coming)
                yield f'{line},"node_name":"{node.name}","time":"{Clock.text(at)}"' + "}\n"
            node, container, parent, tree = self.cluster.place()
            self.tree(time, tree, node, container, parent)


def main():
    count, path, seed = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 1
    with open(path, "w", encoding="utf-8") as file:
        for _, line in zip(range(count), Run(seed).lines()):
            file.write(line)


if __name__ == "__main__":
    main()
