#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Requests that attackers send, byte for byte, to `serve` without and with a token: what each is answered with, that every answer, errors
too, carries the headers that a browser is kept safe by, and that one connection gets one answer, whatever is packed into it."""
import itertools
import os
import re
import select
import socket
import subprocess
import sys
import tempfile
import unittest

LOOPSCOPE = os.environ["LOOPSCOPE_BIN"]
TOKEN = "correct-horse-battery"
DEADLINE = 60
SAFETY = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-store",
          "cross-origin-resource-policy": "same-origin"}
ROUTES = ("/", "/index.html", "/app.js", "/app.css", "/healthz", "/metrics", "/sd", "/api/v1/snapshot", "/api/v1/turns", "/api/v1/descriptors",
          "/api/v1/stream", "/none")


class Attacks(unittest.TestCase):
    tried = 0

    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.root = directory.name
        with open(os.path.join(cls.root, "token"), "w", encoding="ascii") as file:
            file.write(TOKEN + "\n")
        os.mkdir(os.path.join(cls.root, "recordings"), 0o700)
        cls.port = cls.serve()
        cls.guarded = cls.serve("--token-file", os.path.join(cls.root, "token"))

    @classmethod
    def serve(cls, *options):
        process = subprocess.Popen([LOOPSCOPE, "serve", "--listen", "127.0.0.1:0", "--dir", os.path.join(cls.root, "recordings"), *options],
                                   stderr=subprocess.PIPE, env={key: value for key, value in os.environ.items() if not key.startswith("LOOPSCOPE")})

        def end():
            process.terminate()
            process.wait(timeout=DEADLINE)
            process.stderr.close()

        cls.addClassCleanup(end)
        said = b""
        while b"end with Ctrl-C" not in said:
            if not select.select([process.stderr], [], [], DEADLINE)[0]:
                raise AssertionError(said)
            more = os.read(process.stderr.fileno(), 4096)
            if not more:
                raise AssertionError(said)
            said += more
        return int(re.search(rb"http://127\.0\.0\.1:(\d+)/", said).group(1))

    def raw(self, request, port=None):
        """The whole answer; of a stream its head."""
        type(self).tried += 1
        with socket.create_connection(("127.0.0.1", port or self.port), timeout=DEADLINE) as client:
            answer = b""
            try:
                client.sendall(request)
                client.shutdown(socket.SHUT_WR)
                while b"text/event-stream" not in answer:
                    more = client.recv(65536)
                    if not more:
                        break
                    answer += more
            except (ConnectionResetError, BrokenPipeError):
                pass
        return answer

    def ask(self, request, port=None):
        """Status, headers, body; the answer must be one, and a safe one."""
        answer = self.raw(request, port)
        self.assertEqual(len(re.findall(rb"HTTP/1\.1 \d\d\d ", answer)), 1, answer[:400])
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *lines = head.decode("ascii").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            self.assertNotIn(name.lower(), headers, "twice")
            headers[name.lower()] = value.strip()
        for name, value in SAFETY.items():
            self.assertEqual(headers.get(name), value, answer[:400])
        policy = headers["content-security-policy"]
        for part in ("default-src 'none'", "frame-ancestors 'none'"):
            self.assertIn(part, policy)
        self.assertNotIn("unsafe", policy)
        for name in headers:
            self.assertFalse(name.startswith("access-control-") or name in ("server", "set-cookie", "location"), name)
        return int(status.split()[1]), headers, body

    @staticmethod
    def get(path, *headers, method="GET", host="localhost", version="HTTP/1.1"):
        lines = [f"{method} {path} {version}", *([f"Host: {host}"] if host is not None else []), *headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def test_other_methods(self):
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "GETX", "HEADS"):
            for path in ROUTES:
                status, headers, body = self.ask(self.get(path, method=method))
                self.assertIn(status, (405, 400, 501), (method, path))
                if status == 405:
                    self.assertEqual(headers["allow"], "GET, HEAD")
                self.assertNotIn(b"processes", body)

    def test_other_files(self):
        roots = ("/", "/app.js/", "/api/v1/", "/index.html/")
        ups = ("../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "..\\", "....//", "..;/", "%252e%252e%252f", "%c0%ae%c0%ae/", "..%00/", "..%c0%af", "./../",
               "%uff0e%uff0e/")
        for root, up in itertools.product(roots, ups):
            for file in ("etc/passwd", "proc/self/environ", "app.js%00.png"):
                status, _, body = self.ask(self.get(root + up * 6 + file))
                self.assertIn(status, (400, 404), root + up + file)
                self.assertNotIn(b"root:", body)
                self.assertNotIn(b"PATH=", body)
        for path in ("//etc/passwd", "/.git/config", "/app.js%00", "/APP.JS", "/app.js.", "/app.js/", "file:///etc/passwd", "*", "/?/../../etc/passwd", "/%"):
            status, _, body = self.ask(self.get(path))
            self.assertNotIn(b"root:", body)
            if not path.startswith("/?"):
                self.assertIn(status, (400, 403, 404), path)

    def test_names_that_are_not_ours(self):
        names = ("evil.example", "evil.example:9464", "127.0.0.1.evil.example", "localhost.evil.example", "127.0.0.1:80@evil.example", "evil.example#localhost",
                 "localhost,evil.example", "localhost evil.example", "127.0.0.2", "0.0.0.0", "0", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "[::]",
                 "localhost.", "localhost:80:80", "localhost:-1", "", "@localhost", "localhost/evil", "\u00a0localhost")
        for name, path in itertools.product(names, ROUTES):
            self.assertIn(self.ask(self.get(path, host=name))[0], (403, 400), name)
        for head in (self.get("/metrics", "Host: evil.example"), self.get("/metrics", "Host: localhost"), self.get("/metrics", host=None),
                     self.get("/metrics", " Host: evil.example"), self.get("http://evil.example/metrics"),
                     self.get("http://evil.example/metrics", host="evil.example"), self.get("/metrics", "host : evil.example", host=None)):
            self.assertIn(self.ask(head)[0], (400, 403), head)

    def test_other_sites(self):
        for origin, path in itertools.product(("http://evil.example", "https://evil.example", "null", "", "http://localhost", "http://localhost:1",
                                               "http://localhost.evil.example", "file://", "chrome-extension://abc", "http://evil.example http://localhost",
                                               "HTTP://EVIL.EXAMPLE"), ROUTES):
            host = f"localhost:{self.port}"
            status, _, body = self.ask(self.get(path, f"Origin: {origin}", host=host))
            self.assertEqual(status, 403, (origin, path))
            self.assertNotIn(b"processes", body)
        upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
        for path in ROUTES:
            self.assertEqual(self.ask(self.get(path, "Origin: http://evil.example", *upgrade))[0], 403)
            self.assertNotEqual(self.ask(self.get(path, *upgrade))[0], 101)

    def test_two_requests_in_one(self):
        hidden = self.get("/metrics")
        for first in (self.get("/healthz"), self.get("/healthz", f"Content-Length: {len(hidden)}"), self.get("/healthz", "Content-Length: 0"),
                      self.get("/healthz", "Content-Length: 0", "Content-Length: 5"), self.get("/healthz", "Content-Length: 5, 0"),
                      self.get("/healthz", "Transfer-Encoding: chunked", "Content-Length: 4"), self.get("/healthz", "Transfer-Encoding: chunked"),
                      self.get("/healthz", "Transfer-Encoding : chunked"), self.get("/healthz", "Transfer-Encoding: xchunked"),
                      self.get("/healthz", "X: y\nContent-Length: 0"), self.get("/healthz", "X: a\r b"), self.get("/healthz", "X: a\r\n folded: b"),
                      self.get("/healthz", "Content-Length: -1"), self.get("/healthz", "Content-Length: +1"), self.get("/healthz", "Content-Length: 0x10"),
                      self.get("/healthz", "Content-Length: 99999999999999999999"), self.get("/healthz", "X: \0"), self.get("/healthz", "Connection: keep-alive"),
                      self.get("/healthz", "Expect: 100-continue", "Content-Length: 4"), self.get("/healthz").replace(b"\r\n", b"\n"),
                      self.get("/healthz", ": empty"), self.get("/healthz", "no colon"), b"\r\n" + self.get("/healthz")):
            for second in (hidden, b"0\r\n\r\n" + hidden, b"4\r\nx\r\n" + hidden):
                status, _, body = self.ask(first + second)
                self.assertIn(status, (200, 400, 405, 408, 411, 413, 417, 501), first)
                self.assertNotIn(b"loopscope_build_info", body)

    def test_answers_cannot_be_split(self):
        for bad in ("%0d%0aSet-Cookie:%20a=b", "%0aX:1", "%0d%0a%0d%0a<script>alert(1)</script>", "<script>alert(1)</script>", "%3Cscript%3E"):
            for path in (f"/{bad}", f"/metrics?process={bad}", f"/api/v1/snapshot?recent={bad}", f"/api/v1/turns?process={bad}",
                         f"/api/v1/descriptors?process={bad}", f"/api/v1/descriptors?sort={bad}", f"/sd?{bad}"):
                _, headers, _ = self.ask(self.get(path.replace(" ", "%20")))
                self.assertNotIn("html", headers["content-type"], path)

    def test_the_token_is_in_no_other_place(self):
        wanted = [path for path in ROUTES if path.startswith(("/metrics", "/sd", "/api"))]
        for path in wanted:
            for headers in ((), (f"Authorization: Basic {TOKEN}",), (f"Authorization: {TOKEN}",), (f"Authorization: Bearer  {TOKEN}",),
                            (f"Authorization: Bearer {TOKEN}x",), (f"Authorization: Bearer {TOKEN[:-1]}",), (f"Authorization: Bearer {TOKEN.upper()}",),
                            ("Authorization: Bearer ",), ("Authorization: Bearer",), (f"Authorization: Bearer {TOKEN}{TOKEN}",),
                            (f"Authorization: Bearer {TOKEN}", f"Authorization: Bearer {TOKEN}"), (f"Cookie: token={TOKEN}",), (f"X-Token: {TOKEN}",),
                            (f"Proxy-Authorization: Bearer {TOKEN}",)):
                self.assertEqual(self.ask(self.get(path, *headers), self.guarded)[0], 401, (path, headers))
            for query in (f"token={TOKEN}", f"access_token={TOKEN}", f"bearer={TOKEN}"):
                self.assertEqual(self.ask(self.get(f"{path}?{query}"), self.guarded)[0], 401)
            self.assertNotEqual(self.ask(self.get(path, f"Authorization: Bearer {TOKEN}"), self.guarded)[0], 401)

    def test_too_much(self):
        for request, status in ((self.get("/" + "a" * 5000), 414), (self.get("/healthz", "X: " + "a" * 20000), 431), (self.get("/" + "a" * 70000), 400),
                                (self.get("/healthz", *(f"X{i}: y" for i in range(5000))), 400), (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),
                                (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 505), (b"GET /\r\n\r\n", 400), (b"\0\r\n\r\n", 400)):
            self.assertEqual(self.ask(request)[0], status, request[:60])


if __name__ == "__main__":
    ended = unittest.main(verbosity=2, exit=False)
    if ended.result.wasSuccessful():
        print(f"reliability: attacks: {Attacks.tried} hostile requests: foreign names and origins, other methods, paths that climb, smuggled and split "
              "messages, tokens in other places: none was given anything, each answer was one, with the safety headers")
    sys.exit(0 if ended.result.wasSuccessful() else 1)
