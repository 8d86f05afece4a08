#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Real servers, unchanged, under the probe: what their recordings say is equal to the kernel's account of the same run.

    LOOPSCOPE_PROBE_LIB=.../libloopscope-probe.so LOOPSCOPE_BIN=.../loopscope TEXTBOOK=.../textbook_epoll \
        DEMO=.../demo TOOLS=build/tools/usr/bin python3 servers_test.py [Nginx.test_two_workers ...]

README.md tells which package each server is from, and what each shows.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True  # no __pycache__ in the source tree
import load  # noqa: E402  pylint: disable=wrong-import-position
import observed  # noqa: E402  pylint: disable=wrong-import-position
from observed import PROBE, RealProgramTest, free_port, tool  # noqa: E402  pylint: disable=wrong-import-position

TEXTBOOK = os.environ.get("TEXTBOOK", "textbook_epoll")
DEMO = os.environ.get("DEMO", "demo")
ROOT = os.geteuid() == 0  # only then do nginx, memcached, hitch and haproxy become another user


def write(directory, name, text):
    path = os.path.join(directory, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


class ServersTest(RealProgramTest):
    def assert_some(self, waits, *names):
        """The run had some of each: else equality would say little."""
        for name in names:
            self.assertGreater(getattr(waits, name), 0, f"{name}: {waits}")

    def scratch(self):
        """A directory that a server which has become another user can still read."""
        directory = tempfile.mkdtemp(prefix="lsd-")
        self.addCleanup(shutil.rmtree, directory)
        os.chmod(directory, 0o755)
        return directory

    def only_loop(self, image):
        self.assertEqual(len(image.loops), 1, image)
        return next(iter(image.loops.values()))


class Textbook(ServersTest):
    def serve(self, **load_size):
        run = self.observe([TEXTBOOK])
        port = int(run.wait_for(r"^port (\d+)$").group(1))
        load.echo(port, **load_size)
        run.settle()
        time.sleep(0.12)  # two of its ticks: waits that end by their timeout
        run.settle()
        return run

    def test_echo(self):
        run = self.serve(clients=40, messages=8)
        run.signal()
        both = run.finish()
        self.assertEqual(run.status, 0)
        (image,) = both.account.images
        waits = self.only_loop(image)
        self.assert_some(waits, "ready", "timeouts", "interrupted", "saturated")
        self.assertEqual(image.accepts, 40)
        self.assertEqual((image.opened, image.closed), (42, 42))  # + listener, epoll
        # The account's reader is held to the program's own count as well.
        self.assertEqual(waits.returns, int(re.search(r"waits (\d+)$", run.output(), re.MULTILINE).group(1)))
        self.assert_equal_to_the_kernels(both)

    def test_killed(self):
        """kill -9 in the middle of a wait: nobody closes anything, and the recording is all there."""
        run = self.serve(clients=12, messages=20)
        run.signal(signal.SIGKILL)
        both = run.finish()
        (image,) = both.account.images
        self.assertEqual(image.end, "killed by SIGKILL")
        self.assertEqual((image.opened, image.closed), (14, 12))
        self.assert_equal_to_the_kernels(both)
        if PROBE:
            self.assertEqual(both.of(image)["state"], "killed")


class Nginx(ServersTest):
    CONFIGURATION = """
daemon {daemon};
master_process on;
worker_processes 2;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 128; use epoll; multi_accept off; }}
http {{
  access_log {directory}/access.log;
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
    location /proxied {{ proxy_pass http://127.0.0.1:{port}/small; }}
  }}
}}
"""

    def check(self, daemon):
        port = free_port()
        directory = self.scratch()
        write(directory, "file", "x" * 5000)
        configuration = write(directory, "nginx.conf",
                              self.CONFIGURATION.format(daemon=daemon, directory=directory, port=port))
        run = self.observe([tool("nginx"), "-e", f"{directory}/early.log", "-p", directory, "-c", configuration])
        run.wait_for_port(port)
        master = int(run.eventually("nginx.pid", lambda: read(f"{directory}/nginx.pid")))
        load.http(port, ["/small", "/file"], connections=10, requests=10)
        load.http(port, ["/file", "/proxied"], connections=10, requests=4, keep_alive=False)
        run.settle()
        run.signal(signal.SIGQUIT, master)  # the workers finish what they do, then all end
        both = run.finish()
        workers = [image for image in both.account.images if image.loops]
        self.assertEqual(len(workers), 2, workers)
        self.assertEqual({worker.parent.pid for worker in workers}, {master})
        if PROBE:  # nginx clears its environment, and its workers become another user
            self.assertTrue(all(worker.recording for worker in workers), workers)
        self.assertEqual(sum(worker.accepts for worker in workers), 10 + 40 + 20)  # 20 are nginx' own, to itself
        self.assertEqual(sum(waits.ready > 0 for worker in workers for waits in worker.loops.values()), 2, workers)
        self.assert_equal_to_the_kernels(both, least_images=3)
        return both

    def test_two_workers(self):
        self.check("off")

    def test_two_workers_of_a_daemon(self):
        both = self.check("on")
        if PROBE:
            self.assertEqual(len(both.account.observed()), 4)  # the one that started it, the master, two workers


class Redis(ServersTest):
    def check(self, drive):
        port = free_port()
        run = self.observe([tool("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""], cwd=self.scratch())
        run.wait_for("Ready to accept connections")
        drive(port)
        run.settle()
        run.signal()
        return run.finish()

    @staticmethod
    def sets_and_gets(port):
        exchanges = [(f"SET key{number} {number}\r\nGET key{number}\r\nPING\r\n".encode(),
                      f"+OK\r\n${len(str(number))}\r\n{number}\r\n+PONG\r\n".encode()) for number in range(30)]
        load.dialogue(port, exchanges, clients=15)

    def test_pipelines(self):
        both = self.check(self.sets_and_gets)
        (image,) = both.account.images
        waits = self.only_loop(image)
        self.assert_some(waits, "ready", "timeouts")
        self.assertEqual(image.accepts, 15)
        self.assert_equal_to_the_kernels(both)

    def test_benchmark(self):
        def drive(port):
            subprocess.run([tool("redis-benchmark"), "-p", str(port), "-c", "10", "-n", "400", "-t", "set,get", "-q"],
                           check=True, timeout=20, stdout=subprocess.DEVNULL)
        both = self.check(drive)
        (image,) = both.account.images
        self.assertGreaterEqual(image.accepts, 20)
        self.assert_equal_to_the_kernels(both)

    def test_daemon(self):
        """The process that was started leaves; its child has descriptors 0, 1 and 2 made anew."""
        port, directory = free_port(), self.scratch()
        run = self.observe([tool("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--daemonize", "yes",
                            "--pidfile", f"{directory}/pid", "--dir", directory])
        run.wait_for_port(port)
        daemon = int(run.eventually("the daemon's pid", lambda: read(f"{directory}/pid")))
        self.sets_and_gets(port)
        run.settle()
        run.signal(signal.SIGTERM, daemon)
        both = run.finish()
        self.assertEqual([image.pid for image in both.account.images], [run.pid, daemon])
        self.assertEqual(both.account.images[1].accepts, 15)
        self.assert_equal_to_the_kernels(both, least_images=2)

    def test_snapshot_in_a_forked_child(self):
        """BGSAVE: the child writes a file and ends by _exit; its descriptors are not its parent's."""
        def drive(port):
            self.sets_and_gets(port)
            load.dialogue(port, [(b"BGSAVE\r\n", b"+Background saving started\r\n")], clients=1)
            client = load.connect(port)

            def saved():
                client.sendall(b"INFO persistence\r\n")
                return b"rdb_bgsave_in_progress:0" in load.read_until(client, b"module_fork_last_cow_size")
            observed.eventually("the end of BGSAVE", saved)
            client.close()
        both = self.check(drive)
        self.assertEqual(len(both.account.images), 2)
        self.assertGreater(both.account.images[1].opened, 0)
        self.assert_equal_to_the_kernels(both, least_images=2)


class Haproxy(ServersTest):
    inside = (("scandir", r"/usr/lib/ssl/certs$"),)  # opened and closed within that call
    CONFIGURATION = """
global
  nbthread 2
  maxconn 200
defaults
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend answers
  mode http
  bind 127.0.0.1:{http}
  http-request return status 200 content-type text/plain string "hello"
listen relay
  mode tcp
  bind 127.0.0.1:{tcp}
  server echo 127.0.0.1:{echo}
"""

    def test_two_threads(self):
        echo = load.EchoServer()
        self.addCleanup(echo.close)
        http, tcp = free_port(), free_port()
        directory = self.scratch()
        configuration = write(directory, "haproxy.cfg", self.CONFIGURATION.format(http=http, tcp=tcp, echo=echo.port))
        run = self.observe([tool("haproxy"), "-db", "-f", configuration])
        run.wait_for_port(http)
        run.wait_for_port(tcp)
        load.http(http, ["/"], connections=10, requests=10)
        load.echo(tcp, clients=20, messages=10)
        run.settle()
        run.signal(signal.SIGTERM)
        both = run.finish()
        (image,) = [image for image in both.account.images if image.loops]
        self.assertEqual(len(image.loops), 2, image)  # an epoll descriptor for each thread
        self.assertEqual(image.accepts, 30)
        self.assert_equal_to_the_kernels(both)


    def test_master_and_worker_that_is_locked_in(self):
        """The master becomes itself once more by execve; its worker gives up its user and its root directory."""
        echo = load.EchoServer()
        self.addCleanup(echo.close)
        http, tcp, directory = free_port(), free_port(), self.scratch()
        os.mkdir(f"{directory}/empty")
        locked_in = f"\n  chroot {directory}/empty\n  user nobody\n  group nogroup" if ROOT else ""
        configuration = write(directory, "haproxy.cfg", self.CONFIGURATION.format(http=http, tcp=tcp, echo=echo.port).replace(
            "nbthread 2", f"nbthread 1{locked_in}"))
        run = self.observe([tool("haproxy"), "-W", "-db", "-f", configuration])
        run.wait_for_port(http)
        run.wait_for_port(tcp)
        load.http(http, ["/"], connections=5, requests=10)
        load.echo(tcp, clients=5, messages=10)
        run.settle()
        run.signal(signal.SIGTERM)
        both = run.finish()
        (worker,) = [image for image in both.account.images if image.accepts]
        self.assertEqual(worker.accepts, 10)
        self.assertEqual(worker.parent.pid, run.pid)
        self.assertEqual([image.end for image in both.account.of_pid(run.pid)][:-1].count("execve"), 1)
        self.assert_equal_to_the_kernels(both, least_images=3)


class Memcached(ServersTest):
    def test_libevent_threads(self):
        port = free_port()
        run = self.observe([tool("memcached"), "-p", str(port), "-U", "0", "-l", "127.0.0.1", "-t", "2", "-u", "nobody"])
        run.wait_for_port(port)
        exchanges = []
        for number in range(20):
            value = f"value {number}"
            exchanges.append((f"set key{number} 0 0 {len(value)}\r\n{value}\r\n".encode(), b"STORED\r\n"))
            exchanges.append((f"get key{number}\r\n".encode(),
                              f"VALUE key{number} 0 {len(value)}\r\n{value}\r\nEND\r\n".encode()))
        load.dialogue(port, exchanges, clients=20)
        run.settle()
        run.signal(signal.SIGTERM)
        both = run.finish()
        (image,) = both.account.images
        self.assertEqual(len({tid for tid, _, _ in image.loops}), 3, image)  # one that accepts, two that serve
        self.assertEqual(image.accepts, 20)
        self.assert_equal_to_the_kernels(both)


class Nghttp(ServersTest):
    """libev: nghttpd, with a loop for each worker thread, and its client, which is a libev program as well."""

    def directory(self):
        directory = self.scratch()
        write(directory, "file", "y" * 5000)
        write(directory, "small", "hello\n")
        return directory

    def test_server(self):
        port = free_port()
        run = self.observe([tool("nghttpd"), "--no-tls", "-a", "127.0.0.1", "-n", "2", "-d", self.directory(), str(port)])
        run.wait_for_port(port)
        done = subprocess.run([tool("h2load"), "-n", "300", "-c", "6", "-m", "5", f"http://127.0.0.1:{port}/file",
                               f"http://127.0.0.1:{port}/small"], capture_output=True, text=True, timeout=20, check=True)
        self.assertIn("300 succeeded", done.stdout)
        run.settle()
        run.signal(signal.SIGTERM)
        both = run.finish()
        (image,) = both.account.images
        self.assertEqual(image.accepts, 6)
        self.assertGreaterEqual(len(image.loops), 3, image)
        self.assert_equal_to_the_kernels(both)

    def test_client(self):
        port = free_port()
        server = subprocess.Popen([tool("nghttpd"), "--no-tls", "-a", "127.0.0.1", "-d", self.directory(), str(port)])
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        observed.eventually("nghttpd", lambda: load.connect(port).close() or True)
        run = self.observe([tool("h2load"), "-t", "2", "-n", "300", "-c", "6", "-m", "5", f"http://127.0.0.1:{port}/file"])
        both = run.finish()
        self.assertEqual(run.status, 0)
        self.assertIn("300 succeeded", run.output())
        (image,) = both.account.images
        self.assertEqual(len({tid for tid, _, _ in image.loops}), 2, image)
        self.assert_equal_to_the_kernels(both)


class Hitch(ServersTest):
    """libev in forked workers that give up their user: a TLS server in front of an echo server."""

    def test_two_workers(self):
        echo = load.EchoServer()
        self.addCleanup(echo.close)
        port = free_port()
        directory = self.scratch()
        pem = os.path.join(directory, "both.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "2", "-subj", "/CN=localhost", "-keyout", pem + ".key", "-out", pem],
                       check=True, capture_output=True, timeout=20)
        with open(pem, "a", encoding="ascii") as both_parts, open(pem + ".key", encoding="ascii") as key:
            both_parts.write(key.read())
        run = self.observe([tool("hitch"), "--workers=2", f"--frontend=[127.0.0.1]:{port}",
                            f"--backend=[127.0.0.1]:{echo.port}", "--ocsp-dir=", *(["--user=nobody"] if ROOT else []), pem])
        run.wait_for_port(port)
        load.echo(port, clients=12, messages=6, tls=load.trusting())
        # Its workers end when their pipe from the master does. (By SIGTERM they get both at once, and exit in the handler that
        # runs on the return of the wait that has told of the pipe: for the kernel a wait more, which nobody saw the end of.)
        run.settle()
        run.signal(signal.SIGKILL)
        both = run.finish()
        workers = [image for image in both.account.images if image.accepts]
        self.assertEqual(sum(image.accepts for image in workers), 12)
        self.assert_equal_to_the_kernels(both, least_images=3)


class Multiwatch(ServersTest):
    """libev as a supervisor: it watches for signals and children, and starts programs that have loops of their own."""

    def test_two_programs(self):
        run = self.observe([tool("multiwatch"), "-f", "2", "--", TEXTBOOK])

        def both_listen():
            found = re.findall(r"^port (\d+)$", run.output(), re.MULTILINE)
            return found if len(found) == 2 else None
        ports = run.eventually("two ports", both_listen)
        for port in ports:
            load.echo(int(port), clients=10, messages=5)
        run.settle()
        run.signal(signal.SIGTERM)  # it passes that on, and ends when they have
        both = run.finish()
        programs = [image for image in both.account.images if image.accepts]
        self.assertEqual([image.accepts for image in programs], [10, 10])
        (supervisor,) = [image for image in both.account.of_pid(run.pid) if image.loops]
        self.assert_some(self.only_loop(supervisor), "ready")
        self.assert_equal_to_the_kernels(both, least_images=3)


class Demo(ServersTest):
    """The project's own demo, whose library is kept from recording (its directory cannot be made): only the probe observes."""

    def test_uninstrumented(self):
        run = self.observe([DEMO, "--no-inspector", "--admin-port", str(free_port()), "--connections", "10", "--rate", "200",
                            "--duration", "2"], {"LOOPSCOPE_DIR": "/proc/none"}, options="dir=RECORDINGS")
        both = run.finish()
        self.assertEqual(run.status, 0, run.output())
        (image,) = both.account.images
        self.assertGreaterEqual(len(image.loops), 2, image)
        self.assertGreaterEqual(image.accepts, 10)
        self.assert_equal_to_the_kernels(both)


if __name__ == "__main__":
    unittest.main(verbosity=2)
