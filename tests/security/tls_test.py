#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`serve` and `run` with a certificate: who speaks TLS is answered, who does not is not; old versions and weak ciphers are refused; a
certificate or a key that cannot be used is said, and nothing is served then. A real Prometheus scrapes it, from PATH or from $TOOLS."""
import http.client
import json
import os
import re
import select
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import warnings

LOOPSCOPE = os.environ["LOOPSCOPE_BIN"]
TOOLS = os.environ.get("TOOLS", "")
DEADLINE = 60


def tool(name):
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), TOOLS]))
    if not found:
        raise AssertionError(f"{name} is neither in PATH nor in $TOOLS ({TOOLS or 'not set'}): install Debian's {name}")
    return found


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=DEADLINE)


class Tls(unittest.TestCase):
    handshakes = 0

    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.root = directory.name
        for name, kind in (("server", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]), ("other", ["-newkey", "rsa:2048"])):
            openssl("req", "-x509", *kind, "-nodes", "-keyout", cls.path(f"{name}.key"), "-out", cls.path(f"{name}.pem"), "-days", "30", "-subj",
                    "/CN=loopscope", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        openssl("pkey", "-in", cls.path("server.key"), "-aes128", "-passout", "pass:x", "-out", cls.path("locked.key"))
        with open(cls.path("both.pem"), "w", encoding="ascii") as both:
            for name in ("server.key", "server.pem"):
                with open(cls.path(name), encoding="ascii") as part:
                    both.write(part.read())
        for name in ("server.key", "other.key", "locked.key", "both.pem"):
            os.chmod(cls.path(name), 0o600)
        with open(cls.path("empty"), "w", encoding="ascii"):
            pass
        os.mkdir(cls.path("recordings"), 0o700)
        cls.environment = {key: value for key, value in os.environ.items() if not key.startswith(("LOOPSCOPE", "LD_"))}

    @classmethod
    def path(cls, name):
        return os.path.join(cls.root, name)

    def serve(self, *options):
        """The process and its port."""
        process = subprocess.Popen([LOOPSCOPE, "serve", "--listen", "127.0.0.1:0", "--dir", self.path("recordings"), *options], stderr=subprocess.PIPE,
                                   env=self.environment)
        self.addCleanup(self.end, process)
        said = b""
        while b"end with Ctrl-C" not in said:
            self.assertTrue(select.select([process.stderr], [], [], DEADLINE)[0], said)
            more = os.read(process.stderr.fileno(), 4096)
            self.assertTrue(more, said)
            said += more
        self.said = said.decode()
        return process, int(re.search(r"serving https?://127\.0\.0\.1:(\d+)/", self.said).group(1))

    @staticmethod
    def end(process):
        process.terminate()
        process.wait(timeout=DEADLINE)
        process.stderr.close()

    def context(self, ca="server.pem"):
        return ssl.create_default_context(cafile=self.path(ca))

    def get(self, port, path, headers=None, context=None):
        client = http.client.HTTPSConnection("localhost", port, timeout=DEADLINE, context=context or self.context())
        try:
            client.request("GET", path, headers=headers or {})
            answer = client.getresponse()
            type(self).handshakes += 1
            return answer, answer.read()
        finally:
            client.close()

    def test_serves_all_routes(self):
        for options in (["--tls-cert", self.path("both.pem")], ["--tls-cert", self.path("server.pem"), "--tls-key", self.path("server.key")],
                        ["--tls-cert", self.path("other.pem"), "--tls-key", self.path("other.key")]):
            with self.subTest(options=options):
                _, port = self.serve(*options)
                self.assertIn("https://", self.said)
                context = self.context("other.pem" if "other" in options[1] else "server.pem")
                for path in ("/", "/app.js", "/metrics", "/sd", "/api/v1/snapshot", "/healthz"):
                    answer, body = self.get(port, path, context=context)
                    self.assertEqual(answer.status, 200, path)
                    self.assertEqual(len(body), int(answer.getheader("Content-Length")))
                    self.assertIn("default-src 'none'", answer.getheader("Content-Security-Policy"))
                    self.assertEqual(answer.getheader("X-Content-Type-Options"), "nosniff")

    def test_streams(self):
        _, port = self.serve("--tls-cert", self.path("both.pem"))
        client = http.client.HTTPSConnection("localhost", port, timeout=DEADLINE, context=self.context())
        self.addCleanup(client.close)
        client.request("GET", "/api/v1/stream")
        answer = client.getresponse()
        events = 0
        while events < 3:
            events += answer.readline().startswith(b"data:")

    def test_names_and_origins_are_checked_and_a_token(self):
        token = self.path("token")
        with open(token, "w", encoding="ascii") as file:
            file.write("correct-horse\n")
        _, port = self.serve("--tls-cert", self.path("both.pem"), "--token-file", token)
        bearer = {"Authorization": "Bearer correct-horse"}
        for headers, status in (({}, 401), (bearer, 200), ({"Authorization": "Bearer wrong-horse..."}, 401), ({**bearer, "Host": "evil.example"}, 403),
                                ({**bearer, "Origin": f"https://localhost:{port}"}, 200), ({**bearer, "Origin": f"http://localhost:{port}"}, 403),
                                ({**bearer, "Origin": "https://evil.example"}, 403)):
            self.assertEqual(self.get(port, "/api/v1/snapshot", headers)[0].status, status, headers)

    def test_plain_http_is_hung_up_on(self):
        _, port = self.serve("--tls-cert", self.path("both.pem"))
        for sent in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\0" * 64, b"\x16\x03\x01\x40\x00" + b"x" * 3000, b"\x16\x03\x01"):
            with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as client:
                client.sendall(sent)
                got = b""
                try:
                    client.shutdown(socket.SHUT_WR)
                    while more := client.recv(4096):
                        got += more
                except OSError:
                    pass  # reset, perhaps before we had said all
                self.assertNotIn(b"HTTP/", got)
        self.assertEqual(self.get(port, "/healthz")[0].status, 200, "it goes on")

    def test_old_versions_and_weak_ciphers_are_refused(self):
        _, port = self.serve("--tls-cert", self.path("both.pem"))

        def handshake(low, high, ciphers=None):
            context = self.context()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that they are old is the point
                context.minimum_version, context.maximum_version = low, high
            context.set_ciphers(ciphers or "ALL:@SECLEVEL=0")
            with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as plain:
                with context.wrap_socket(plain, server_hostname="localhost") as client:
                    return client.version()

        version = ssl.TLSVersion
        for good in (version.TLSv1_2, version.TLSv1_3):
            self.assertEqual(handshake(good, good), good.name.replace("_", "."))
        for old in (version.TLSv1, version.TLSv1_1):
            with self.assertRaises((ssl.SSLError, ConnectionResetError)):
                handshake(old, old)
        for weak in ("AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-SHA", "ADH-AES256-SHA256:@SECLEVEL=0", "NULL-SHA256:@SECLEVEL=0"):
            with self.assertRaises((ssl.SSLError, ConnectionResetError), msg=weak):
                handshake(version.TLSv1_2, version.TLSv1_2, weak)

    def test_handshakes_that_do_not_end_keep_nobody_out(self):
        _, port = self.serve("--tls-cert", self.path("both.pem"))
        silent = [socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) for _ in range(100)]
        for number, client in enumerate(silent):
            if number % 2:
                client.sendall(b"\x16\x03\x01\x02\x00\x01")
        self.assertEqual(self.get(port, "/healthz")[0].status, 200)
        for client in silent:
            client.close()

    def test_many_at_once(self):
        _, port = self.serve("--tls-cert", self.path("both.pem"))
        wrong = []

        def scrape():
            for _ in range(20):
                answer, body = self.get(port, "/app.js")
                if answer.status != 200 or len(body) != int(answer.getheader("Content-Length")):
                    wrong.append((answer.status, len(body)))

        threads = [threading.Thread(target=scrape) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_what_cannot_be_used_is_said_and_nothing_is_served(self):
        missing = self.path("missing")
        for options, message in ((["--tls-cert", missing], f"certificate file {missing}: No such file"),
                                 (["--tls-cert", self.root], f"certificate file {self.root}: not a file"),
                                 (["--tls-cert", self.path("server.pem"), "--tls-key", missing], f"key file {missing}: No such file"),
                                 (["--tls-cert", self.path("server.pem")], "the key in"),
                                 (["--tls-cert", self.path("server.pem"), "--tls-key", self.path("other.key")], "the key in"),
                                 (["--tls-cert", self.path("server.pem"), "--tls-key", self.path("locked.key")], "without a pass phrase"),
                                 (["--tls-cert", self.path("empty")], "cannot use the certificate"),
                                 (["--tls-key", self.path("server.key")], "but no certificate")):
            for command in (["serve", "--dir", self.path("recordings")], ["run"]):
                with self.subTest(options=options, command=command):
                    program = ["--", "touch", self.path("ran")] if command == ["run"] else []
                    done = subprocess.run([LOOPSCOPE, *command, "--listen", "127.0.0.1:0", *options, *program], capture_output=True, text=True,
                                          stdin=subprocess.DEVNULL, timeout=DEADLINE, check=False, env=self.environment)
                    self.assertEqual(done.returncode, 2, done.stderr)
                    self.assertIn(message, done.stderr)
                    self.assertNotIn("http", done.stderr)
                    self.assertFalse(os.path.exists(self.path("ran")))

    def test_without_openssl_it_says_so_and_never_serves_plain_http(self):
        """As on a machine without it: a directory that comes first has a library of that name that is none."""
        hidden = self.path("hidden")
        os.mkdir(hidden)
        shutil.copy(self.path("server.pem"), os.path.join(hidden, "libssl.so.3"))
        done = subprocess.run([LOOPSCOPE, "serve", "--listen", "127.0.0.1:0", "--tls-cert", self.path("both.pem")], capture_output=True, text=True,
                              timeout=DEADLINE, check=False, env={**self.environment, "LD_LIBRARY_PATH": hidden})
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("TLS cannot be had", done.stderr)
        self.assertIn("libssl.so.3", done.stderr)
        self.assertNotIn("http", done.stderr)

    def test_a_key_that_everybody_can_read_is_warned_of(self):
        loose = self.path("loose.pem")
        shutil.copy(self.path("both.pem"), loose)
        os.chmod(loose, 0o644)
        self.serve("--tls-cert", loose)
        self.assertIn(f"everybody on this machine can read the key in {loose}", self.said)

    def test_run_and_curl(self):
        done = subprocess.run([LOOPSCOPE, "run", "--listen", "127.0.0.1:0", "--tls-cert", self.path("both.pem"), "--dir", self.path("recordings"), "--",
                               "sleep", "0"], capture_output=True, text=True, timeout=DEADLINE, check=False, env=self.environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, r"https://127\.0\.0\.1:\d+/ shows sleep")
        _, port = self.serve("--tls-cert", self.path("both.pem"))
        done = subprocess.run([tool("curl"), "-sS", "--cacert", self.path("server.pem"), f"https://localhost:{port}/healthz"], capture_output=True, text=True,
                              timeout=DEADLINE, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, "ok\n"), done.stderr)

    def prometheus(self, port):
        """A Prometheus with three jobs for the page at `port`; a function that asks it: what it answers, or None while it does not."""
        with open(self.path("prometheus.yml"), "w", encoding="ascii") as file:
            file.write(f"""global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: with-ca
    scheme: https
    tls_config: {{ca_file: {self.path('server.pem')}}}
    static_configs: [{{targets: ['localhost:{port}']}}]
  - job_name: without-ca
    scheme: https
    static_configs: [{{targets: ['localhost:{port}']}}]
  - job_name: plain
    static_configs: [{{targets: ['localhost:{port}']}}]
""")
        for attempt in range(3):  # the port is free now, but may be another's a moment later
            with socket.create_server(("127.0.0.1", 0)) as free:
                own = free.getsockname()[1]
            log = open(self.path(f"prometheus{attempt}.log"), "w+", encoding="utf-8")
            self.addCleanup(log.close)
            server = subprocess.Popen([tool("prometheus"), f"--config.file={self.path('prometheus.yml')}", f"--web.listen-address=127.0.0.1:{own}",
                                       f"--storage.tsdb.path={self.path(f'tsdb{attempt}')}"], stdout=log, stderr=log)
            self.addCleanup(server.wait, timeout=DEADLINE)
            self.addCleanup(server.kill)

            def ask(what, port=own):
                client = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
                try:
                    client.request("GET", f"/api/v1/{what}")
                    return json.loads(client.getresponse().read())["data"]
                except (OSError, http.client.HTTPException, ValueError, KeyError):
                    return None
                finally:
                    client.close()

            deadline = time.monotonic() + DEADLINE
            while server.poll() is None and time.monotonic() < deadline:
                if ask("targets"):
                    return ask
                time.sleep(0.1)
        log.seek(0)
        raise AssertionError(f"Prometheus did not start: {log.read()}")

    def eventually(self, what, expected):
        """A scrape may time out where the machine has other things to do: the next will not."""
        deadline = time.monotonic() + DEADLINE
        while (got := what()) != expected and time.monotonic() < deadline:
            time.sleep(0.3)
        self.assertEqual(got, expected)

    def test_prometheus_scrapes_it(self):
        """Who is given the certificate is up; who is not refuses what cannot be verified, and says so; who comes without TLS is down."""
        process, port = self.serve("--tls-cert", self.path("both.pem"))
        ask = self.prometheus(port)

        def health():
            targets = (ask("targets") or {"activeTargets": []})["activeTargets"]
            return {each["labels"]["job"]: (each["health"], "x509" in each["lastError"]) for each in targets}

        def series(query):
            result = (ask(f"query?query={query}") or {"result": []})["result"]
            return {each["metric"]["job"]: each["value"][1] for each in result}

        self.eventually(health, {"with-ca": ("up", False), "without-ca": ("down", True), "plain": ("down", False)})
        self.eventually(lambda: series("up"), {"with-ca": "1", "without-ca": "0", "plain": "0"})
        self.eventually(lambda: series("loopscope_build_info"), {"with-ca": "1"})
        self.assertIsNone(process.poll())


if __name__ == "__main__":
    ended = unittest.main(verbosity=2, exit=False)
    if ended.result.wasSuccessful():
        print(f"reliability: tls: {Tls.handshakes} requests over TLS 1.2 and 1.3 answered, curl's and those of a Prometheus that has the "
              "certificate too; one that has not, plain HTTP, TLS 1.0 and 1.1, 5 weak ciphers, and 8 certificates and keys that cannot be used refused")
    sys.exit(0 if ended.result.wasSuccessful() else 1)
