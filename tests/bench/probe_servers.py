# SPDX-License-Identifier: Apache-2.0
"""Servers as their users have them, each with the load that its own project measures with: nginx and wrk, redis-server and
redis-benchmark, and the echo server on bare libev.

A workload's measure(launch) starts the server in one variant, loads it, ends it, and answers
{load: (requests a second, nanoseconds of the server's CPU a request)}. The server serves on the loop's CPU, the load comes
from the other one and is never under the probe; only the echo's is, being a fork of its server.
"""

import csv
import os
import re
import socket
import subprocess
import time

from support import Failed, Scraper, free_port, tool


def needed(name, package):
    found = tool(name)
    if found is None:
        raise Failed(f"{name} (Debian's {package}) is not installed")
    return found


def until(what, answer, seconds=10):
    """answer() once it is neither None nor an OSError."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            got = answer()
            if got is not None:
                return got
        except (OSError, ValueError):
            pass
        time.sleep(0.01)
    raise Failed(f"{what}: nothing after {seconds} s")


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def cpu_ns(pid):
    """Of the process' first thread, which is the one with the loop."""
    try:
        return int(read(f"/proc/{pid}/schedstat").split()[0])
    except OSError:  # a kernel without CONFIG_SCHED_INFO: by ticks
        fields = read(f"/proc/{pid}/task/{pid}/stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Server:
    """One that listens on a port and is loaded by a program of its own."""

    def __init__(self, bench, seconds):
        self.bench, self.seconds = bench, seconds
        self.loop_cpu, self.load_cpu = bench.machine.loop_cpu, bench.machine.load_cpu

    def load(self, launch, command):
        done = subprocess.run(command, env=launch.environment_without_probe(), capture_output=True, text=True, timeout=60,
                              check=False, preexec_fn=lambda: os.sched_setaffinity(0, {self.load_cpu}))
        if done.returncode != 0:
            raise Failed(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip()[-300:]}")
        return done.stdout

    def serve(self, launch, command, port, pid_of, measure):
        """measure(pid) while the server runs."""
        log = os.path.join(launch.directory, "output")
        with open(log, "w", encoding="utf-8") as output:
            process = launch.popen(command, stdout=output, stderr=subprocess.STDOUT)
        scraper = None
        try:
            def connected():
                if process.poll() is not None:
                    raise Failed(f"{' '.join(command)}: status {process.returncode}: {read(log).strip()[-300:]}")
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return True

            until(f"{command[0]}: port {port}", connected)
            pid = until(f"{command[0]}: its pid", pid_of)
            if launch.url:
                scraper = Scraper(launch.url, False, self.load_cpu, interval=1)
                scraper.start()
            results = measure(pid)
            if scraper and scraper.scrapes == 0:
                raise Failed(f"{command[0]} under `loopscope run`: nothing was scraped while it was measured")
            process.terminate()
            if process.wait(timeout=10) != 0:
                raise Failed(f"{command[0]}: status {process.returncode} at its end: {read(log).strip()[-300:]}")
            return results
        finally:
            if scraper:
                scraper.stopped.set()
            if process.poll() is None:
                process.kill()
                process.wait()


class Nginx(Server):
    """One worker, two loads: an answer from memory, and a file that is opened and closed for every request."""

    CONFIGURATION = """
user root;  # nobody else could read the directory; without privileges nginx ignores it
daemon off;
worker_processes 1;
worker_cpu_affinity {mask};
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 1024; use epoll; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  sendfile on;
  server {{
    listen 127.0.0.1:{port};
    location = /small {{ return 200 "hello\\n"; }}
    location / {{ root {directory}; }}
  }}
}}
"""

    def __init__(self, bench, seconds):
        super().__init__(bench, seconds)
        self.nginx, self.wrk = needed("nginx", "nginx"), needed("wrk", "wrk")

    def measure(self, launch):
        port, directory = free_port(), launch.directory
        mask = bin(1 << self.loop_cpu)[2:]
        with open(f"{directory}/nginx.conf", "w", encoding="utf-8") as file:
            file.write(self.CONFIGURATION.format(mask=mask, directory=directory, port=port))
        with open(f"{directory}/file", "w", encoding="utf-8") as file:
            file.write("x" * 5000)

        def worker():
            master = int(read(f"{directory}/nginx.pid"))
            children = read(f"/proc/{master}/task/{master}/children").split()
            return int(children[0]) if children else None

        def loads(pid):
            return {f"nginx, {words}": self.wrk_of(launch, pid, f"http://127.0.0.1:{port}{path}")
                    for words, path in (("answers from memory", "/small"), ("a file of 5 kB", "/file"))}

        command = [self.nginx, "-e", f"{directory}/early.log", "-p", directory, "-c", f"{directory}/nginx.conf"]
        return self.serve(launch, command, port, worker, loads)

    def wrk_of(self, launch, pid, url):
        seconds = max(1, round(self.seconds))  # wrk knows whole seconds only
        before = cpu_ns(pid)
        out = self.load(launch, [self.wrk, "-t1", "-c50", f"-d{seconds}s", url])
        used = cpu_ns(pid) - before
        requests = re.search(r"([1-9]\d*) requests in", out)
        rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
        if not requests or not rate or "Non-2xx" in out or "Socket errors" in out:
            raise Failed(f"wrk {url}: {out.strip()[-300:]}")
        return float(rate.group(1)), used / int(requests.group(1))


class Redis(Server):
    """SET and GET, one at a time on each of 50 connections and 16 at a time."""

    def __init__(self, bench, seconds):
        super().__init__(bench, seconds)
        self.redis = needed("redis-server", "redis-server")
        self.benchmark = needed("redis-benchmark", "redis-tools")
        self.rates = {}  # of the first run of each load: how many requests take self.seconds

    def measure(self, launch):
        port, directory = free_port(), launch.directory
        pid_file = f"{directory}/redis.pid"
        command = [self.redis, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no",
                   "--dir", directory, "--pidfile", pid_file, "--server_cpulist", str(self.loop_cpu),
                   "--bio_cpulist", str(self.load_cpu)]

        def loads(pid):
            return {f"redis, {name.upper()}" + (f", {depth} pipelined" if depth > 1 else ""):
                    self.benchmark_of(launch, pid, port, name, depth) for depth in (1, 16) for name in ("set", "get")}

        return self.serve(launch, command, port, lambda: int(read(pid_file)), loads)

    def benchmark_of(self, launch, pid, port, name, depth):
        def run(requests):
            out = self.load(launch, [self.benchmark, "-h", "127.0.0.1", "-p", str(port), "-t", name, "-P", str(depth), "-c", "50",
                                     "-n", str(requests), "--csv"])
            for line in csv.reader(out.splitlines()):
                if line and line[0].lower() == name:
                    return float(line[1])
            raise Failed(f"redis-benchmark: {out.strip()[-300:]}")

        if (name, depth) not in self.rates:
            self.rates[name, depth] = run(20000 * depth)
        requests = max(1000, int(self.rates[name, depth] * self.seconds / 2))  # of four loads: half the time each
        before = cpu_ns(pid)
        rate = run(requests)
        return rate, (cpu_ns(pid) - before) / requests


class Echo(Server):
    """echo_bare: a libev program that does not know loopscope, and its forked client."""

    def measure(self, launch):
        scraper = None
        if launch.url:
            scraper = Scraper(launch.url, False, self.load_cpu, interval=1)
            scraper.start()
        try:
            got = launch.json([self.bench.path("echo_bare"), "--connections", "50", "--seconds", str(self.seconds), "--cpu",
                               str(self.loop_cpu), "--client-cpu", str(self.load_cpu)])
        finally:
            if scraper:
                scraper.stopped.set()
        if scraper and scraper.scrapes == 0:
            raise Failed("echo under `loopscope run`: nothing was scraped while it was measured")
        return {"libev echo, 50 connections": (got["echoes_per_second"], got["cpu_ns_per_echo"])}
