#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Healthy programs as Debian ships them, under `loopscope check`: not one error, by default, without suppressions of the test's.

    LOOPSCOPE_BIN=.../loopscope TOOLS=build/tools/usr/bin python3 check_healthy_test.py [Git.test_status ...]

Each test runs a program as its users do (servers under a short load, ended by the signal that an operator sends), and reads the
JSON report: no finding may be an error, the exit status is the program's own, and the processes that should have been judged were,
with descriptors opened: silence must not be blindness. What was listed as kept until exit, as a warning or as suppressed is
printed, so that a reader of the log sees what the grading has to tell apart. `Control` holds the test itself to programs that leak.

LOOPSCOPE_TEST_KEEP=1 keeps the directory of each run (report, output, scratch files) and prints its name.
"""

import collections
import glob
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import unittest
import urllib.request

sys.dont_write_bytecode = True  # no __pycache__ in the source tree
import load  # noqa: E402  pylint: disable=wrong-import-position
import observed  # noqa: E402  pylint: disable=wrong-import-position
from observed import BIN, KEEP, free_port, listening, tool  # noqa: E402  pylint: disable=wrong-import-position
from scripted_support import PYTHON, SCRIPTS  # noqa: E402  pylint: disable=wrong-import-position
from servers_test import Haproxy, Nginx, Redis, read, write  # noqa: E402  pylint: disable=wrong-import-position

ROOT = os.geteuid() == 0  # only then do nginx, memcached and hitch become another user
TEXTBOOK = os.environ.get("TEXTBOOK", "textbook_epoll")
DEMO = os.environ.get("DEMO", "demo")

# Their tests are in servers_test.py; here only their configurations are used.
NGINX, HAPROXY, SETS_AND_GETS = Nginx.CONFIGURATION, Haproxy.CONFIGURATION, Redis.sets_and_gets
del Nginx, Haproxy, Redis


AS_INSTALLED = 'mount -t overlay overlay -o "lowerdir=$1:/usr" /usr && shift && exec "$@"'


def as_installed(program):
    """(what to put in front, the program): one of a package that is unpacked below $TOOLS runs where Debian installs it, below
    /usr: the unpacked files are laid over it, in a mount namespace of the run's own. Where a program lies is part of the verdict."""
    root = os.path.dirname(observed.TOOLS) if observed.TOOLS else ""
    if not root or not program.startswith(root + "/"):
        return [], program
    front = ["unshare", "-m", "sh", "-c", AS_INSTALLED, "sh", root]
    tried = subprocess.run(front + ["true"], capture_output=True, text=True, timeout=20, check=False)
    if tried.returncode != 0:
        raise unittest.SkipTest(f"cannot lay {root} over /usr as if it was installed (root can): {tried.stderr.strip()}")
    return front, "/usr" + program[len(root):]


class Checked:
    """A program under `loopscope check`: while it runs, and its report once it has ended."""

    def __init__(self, test, command, options, cwd, environment, stdin):
        front, program = as_installed(command[0])
        command = [program, *command[1:]]
        self.directory = test.scratch()
        self.report_path = os.path.join(self.directory, "report.json")
        self._output = open(os.path.join(self.directory, "output"), "w+b")  # pylint: disable=consider-using-with
        recordings = os.path.join(self.directory, "recordings")
        os.mkdir(recordings, 0o700)
        variables = {**os.environ, "LOOPSCOPE_DIR": recordings, **(environment or {})}
        variables.pop("LD_PRELOAD", None)
        self.popen = subprocess.Popen(  # pylint: disable=consider-using-with
            [*front, BIN, "check", "-o", f"json:{self.report_path}", *options, "--", *command],
            stdin=subprocess.PIPE if isinstance(stdin, bytes) else stdin, stdout=self._output, stderr=subprocess.STDOUT,
            cwd=cwd or self.directory, env=variables)
        test.addCleanup(self._clean)
        if isinstance(stdin, bytes):
            self.popen.stdin.write(stdin)
            self.popen.stdin.close()

    def _clean(self):
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        self._output.close()

    def output(self):
        return os.pread(self._output.fileno(), 1 << 20, 0).decode(errors="replace")

    def _running(self):
        if self.popen.poll() is not None:
            raise RuntimeError(f"{self.popen.args} ended with {self.popen.returncode}: {self.output()}")

    def wait_for(self, what, attempt, deadline=40):
        def check():
            self._running()
            return attempt()
        return observed.eventually(what, check, deadline)

    def wait_for_port(self, port):
        return self.wait_for(f"a listener on port {port}", lambda: listening(port))

    def ready(self):
        """The port that a script of scripts/ says."""
        def ports():
            lines = [line for line in self.output().splitlines() if line.startswith(("READY ", "port "))]
            return lines[0].split()[1:] if lines else None
        return int(self.wait_for("READY", ports)[0])

    def end(self, how=None, pid=None, deadline=60):
        """Sends the signal to loopscope, which passes it on, or to a daemon; waits for the report."""
        if how is not None:
            os.kill(pid or self.popen.pid, how)
        self.popen.wait(deadline)
        text = read(self.report_path)
        if not text:
            raise AssertionError(f"{self.popen.args} ended with {self.popen.returncode} and wrote no report: {self.output()}")
        return json.loads(text)


def sentence(report, finding):
    process = report["processes"][finding["process"]]
    place = next((frame for place in finding["places"][:1] for frame in [place["frame"]] if frame is not None), None)
    stack = finding["places"][0]["stack"] if finding["places"] else []
    where = stack[place] if place is not None else {}
    told = where.get("function") or os.path.basename(where.get("module") or "") or "?"
    if where.get("script"):
        told = f"{os.path.basename(where.get('file') or '?')}:{where.get('line')}"
    by = f" by {finding['suppressed_by']}" if finding["status"] == "suppressed" else ""
    return f"{process['command']}: {finding['rule']} {finding['count']} {finding['kind'] or ''} at {told} ({finding['status']}{by})"


class HealthyTest(unittest.TestCase):
    maxDiff = None

    def scratch(self):
        """A directory that a server which has become another user can still read."""
        directory = tempfile.mkdtemp(prefix="lsh-")
        os.chmod(directory, 0o755)
        if KEEP:
            self.addCleanup(print, f"kept: {directory}", file=sys.stderr)
        else:
            self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        return directory

    def start(self, command, options=(), cwd=None, environment=None, stdin=subprocess.DEVNULL):
        command = [command[0] if os.path.sep in command[0] else tool(command[0])] + list(command[1:])
        return Checked(self, command, options, cwd, environment, stdin)

    def assert_healthy(self, run, report, status=0, judged=1, opened=1):
        """No error; the program's own status; at least `judged` processes were judged, which opened `opened` descriptors."""
        kept = collections.Counter(sentence(report, finding) for finding in report["findings"])
        for line, times in sorted(kept.items()):
            print(f"  {self.id().split('.', 1)[1]}: {line}{f' x{times}' if times > 1 else ''}", file=sys.stderr)
        errors = [finding for finding in report["findings"] if finding["severity"] == "error"]
        if any(finding["status"] != "suppressed" for finding in errors):
            self.fail(run.output())  # loopscope's own report is in it
        self.assertIsNone(report["unseen"], run.output())
        self.assertEqual(report["counts"]["errors"], 0)
        self.assertEqual((run.popen.returncode, report["exit_status"]), (status, status), run.output())
        seen = [process for process in report["processes"] if not process["unjudged"]]
        self.assertGreaterEqual(len(seen), judged, [(process["command"], process["unjudged"]) for process in report["processes"]])
        self.assertGreaterEqual(sum(process["opened"] for process in seen), opened, report["processes"])

    def healthy(self, command, status=0, judged=1, opened=1, **how):
        run = self.start(command, **how)
        report = run.end()
        self.assert_healthy(run, report, status, judged, opened)
        return run.output()

    def served(self, command, drive, how=signal.SIGTERM, port=None, judged=1, **options):
        """A server: started, driven, ended by a signal; `port` None: it says which."""
        run = self.start(command, **options)
        if port is None:
            port = run.ready()
        else:
            run.wait_for_port(port)
        drive(port)
        report = run.end(how)
        self.assert_healthy(run, report, run.popen.returncode, judged)
        self.assertIn(run.popen.returncode, (0, 128 + how), run.output())
        return report


class Control(unittest.TestCase):
    """What the rest relies on: a program that leaks is told, and one that fails keeps its status."""

    scratch = HealthyTest.scratch
    start = HealthyTest.start

    def test_a_leak_is_told(self):
        run = self.start([PYTHON, "-c", "import os\nfor _ in range(3): os.open('/etc/passwd', os.O_RDONLY)\n"])
        report = run.end()
        self.assertEqual(run.popen.returncode, 1, run.output())
        self.assertEqual([(finding["rule"], finding["count"]) for finding in report["findings"] if finding["severity"] == "error"],
                         [("fd-leak", 3)])

    def test_a_failure_keeps_its_status(self):
        run = self.start(["sh", "-c", "exit 7"])
        self.assertEqual(run.end()["exit_status"], 7)
        self.assertEqual(run.popen.returncode, 7)


class Git(HealthyTest):
    def repository(self):
        directory = os.path.join(self.scratch(), "repository")
        os.mkdir(directory)
        for number in range(20):
            write(directory, f"file{number}", f"text {number}\n" * 50)
        self.environment = {
            "HOME": directory, "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org"}
        for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
            subprocess.run([tool("git"), *command], cwd=directory, env={**os.environ, **self.environment}, check=True, timeout=20)
        write(directory, "file1", "changed\n")
        return directory

    def git(self, directory, *arguments, **how):
        return self.healthy(["git", *arguments], cwd=directory, environment=self.environment, **how)

    def test_status(self):
        self.assertIn("modified:   file1", self.git(self.repository(), "status"))

    def test_commit_log_and_diff(self):
        directory = self.repository()
        self.git(directory, "diff", "--stat")
        self.git(directory, "commit", "-q", "-a", "-m", "second")
        self.assertIn("second", self.git(directory, "log", "-p"))
        self.git(directory, "fsck", "--full")

    def test_clone_and_fetch(self):
        directory = self.repository()
        clone = directory + "-clone"
        self.git(self.scratch(), "clone", "-q", f"file://{directory}", clone, judged=2)
        self.git(clone, "fetch", "-q", "--all")
        self.git(directory, "gc", "-q", judged=2)


class Clients(HealthyTest):
    def test_curl(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # pylint: disable=invalid-name
                body = b"hello\n" * 10000
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format, *args):  # pylint: disable=redefined-builtin
                pass
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        url = f"http://127.0.0.1:{server.server_port}/"
        self.healthy(["curl", "-sS", "-o", "/dev/null", url, "-o", "/dev/null", url])
        self.healthy(["curl", "-sS", "-Z", *(part for number in range(5) for part in ("-o", f"out{number}", f"{url}{number}"))])
        self.healthy(["curl", "-sS", f"http://localhost:{server.server_port}/", "-o", "out"])  # resolves a name
        self.healthy(["curl", "-sS", f"http://127.0.0.1:{free_port()}/"], status=7)  # nobody listens

    def test_redis_cli(self):
        port = free_port()
        server = subprocess.Popen([tool("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
                                  stdout=subprocess.DEVNULL)
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)
        observed.eventually("redis", lambda: listening(port))
        self.assertIn("PONG", self.healthy(["redis-cli", "-p", str(port), "ping"]))
        self.healthy(["redis-cli", "-p", str(port)], stdin=b"set a 1\nget a\nincr a\n")
        self.healthy(["redis-benchmark", "-p", str(port), "-c", "5", "-n", "200", "-t", "set,get", "-q"])

    def test_ssh_tools(self):
        directory = self.scratch()
        self.healthy(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{directory}/key"])
        self.healthy(["ssh-keygen", "-l", "-f", f"{directory}/key.pub"])
        self.healthy(["ssh", "-V"], opened=0)
        self.healthy(["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-p", str(free_port()), "127.0.0.1", "true"],
                     status=255)

    def test_openssl(self):
        directory = self.scratch()
        self.healthy(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                      "-keyout", f"{directory}/key", "-out", f"{directory}/certificate"])
        self.healthy(["openssl", "dgst", "-sha256", f"{directory}/certificate"])

    def test_sqlite(self):
        text = b"create table t(a, b);\ninsert into t values(1, 'x'), (2, 'y');\nselect * from t;\n"
        self.assertIn("2|y", self.healthy(["sqlite3", ":memory:"], stdin=text))
        self.healthy(["sqlite3", os.path.join(self.scratch(), "file.db")], stdin=b"pragma journal_mode=wal;\n" + text)


class Shells(HealthyTest):
    def script(self, text):
        return write(self.scratch(), "script", textwrap.dedent(text))

    def test_bash(self):
        self.assertIn("3 lines", self.healthy(["bash", self.script("""\
            set -euo pipefail
            printf 'b\\na\\nc\\n' > in
            diff <(sort in) <(sort -r in | sort) && echo same
            exec 5<in 6>out
            while read -r line <&5; do echo "$line" >&6; done
            exec 5<&- 6>&-
            sort < out | uniq | cat | tee copy > /dev/null
            echo "$(wc -l < copy) lines"
            cat <<TEXT | tr a-z A-Z > /dev/null
            $(cat copy)
            TEXT
            (cd / && ls) | head -1
            mapfile -t words < <(grep . copy); test "${#words[@]}" -eq 3
            coproc cat; echo x >&"${COPROC[1]}"; read -r answer <&"${COPROC[0]}"; exec {COPROC[1]}>&-; wait
            for i in 1 2 3; do sleep 0.01 & done; wait
            trap 'echo done' EXIT
            """)], judged=5))

    def test_bash_that_never_closes_what_it_redirected(self):
        """`exec 9>file` for the whole of a script is how scripts take locks."""
        self.healthy(["bash", self.script("""\
            exec 9>lock
            flock -n 9
            exec > >(cat > log) 2>&1
            echo started
            """)])

    def test_sh(self):
        self.healthy(["sh", self.script("""\
            set -e
            echo one > f; echo two >> f
            while read -r line; do echo "$line"; done < f | sort -r | grep -c o
            exec 3< f; read -r x <&3; exec 3<&-
            x=$(cat f | wc -l); test "$x" -eq 2
            """)], judged=3)

    def test_tools(self):
        directory = self.scratch()
        for number in range(30):
            write(directory, f"file{number}.txt", "some words of text\n" * 100)
        for command in (
                "tar -cf - . | gzip > ../t.tgz && tar -tzf ../t.tgz | wc -l; rm ../t.tgz",
                "find . -name '*.txt' -print0 | xargs -0 -n 5 -P 2 grep -l words | sort | head -3",
                "find . -type f -exec cat {} + | awk '{ n[$1]++ } END { for (w in n) print w, n[w] }'",
                "awk '{ print > (\"out\" NR % 3) }' file1.txt && sed -i s/words/WORDS/ file1.txt && cmp -s file1.txt file2.txt || true",
                "cp -r . ../copy && ls -lR ../copy > /dev/null && du -s ../copy && rm -r ../copy",
                "sort -S 1M file*.txt | uniq -c; xz -k file3.txt; sha256sum file*.txt > sums; sha256sum -c --quiet sums",
                "seq 10 | bc -l; date; id; env | cut -d= -f1 | paste -s -d, - | tr , '\\n' | tail -2"):
            with self.subTest(command):
                work = os.path.join(self.scratch(), "work")
                shutil.copytree(directory, work)
                self.healthy(["sh", "-c", command], cwd=work, judged=2)

    def test_perl(self):
        self.healthy(["perl", "-e", 'open(my $f, "<", "/etc/passwd") or die; my @l = <$f>; print scalar(@l) > 0 ? "ok" : "no";'
                                    'open(P, "ls / |"); print <P>; close(P); print `true`; system("true");'
                                    'opendir(D, "/"); readdir(D); closedir(D);'])

    def test_perl_one_liner_that_leaves_closing_to_the_end(self):
        self.healthy(["perl", "-ne", "print if /root/", "/etc/passwd"])
        self.healthy(["perl", "-e", 'open(F, "/etc/passwd"); print scalar(<F>);'])


class Builds(HealthyTest):
    def test_make(self):
        directory = self.scratch()
        write(directory, "a.h", "int f(int);\n")
        for name in "abcd":
            write(directory, f"{name}.c", f'#include "a.h"\n#include <stdio.h>\nint {name}(void) {{ return f(1); }}\n')
        write(directory, "main.c", '#include "a.h"\n#include <stdio.h>\nint f(int x) { return x; }\n'
                                   'int main(void) { printf("%d\\n", f(2)); return 0; }\n')
        write(directory, "Makefile", "program: main.o a.o b.o c.o d.o\n\tcc -o $@ $^\n%.o: %.c\n\tcc -g -O1 -c -o $@ $<\n"
                                     "check: program\n\t./program\n")
        self.healthy(["make", "-j2", "check"], cwd=directory, judged=12)
        self.healthy(["make", "-j2", "check"], cwd=directory)  # nothing to be done

    def test_cmake(self):
        directory = self.scratch()
        write(directory, "CMakeLists.txt", "cmake_minimum_required(VERSION 3.13)\nproject(p C)\nenable_testing()\n"
                                           "add_executable(p main.c)\nadd_test(NAME t COMMAND p)\n")
        write(directory, "main.c", "int main(void) { return 0; }\n")
        self.healthy(["cmake", "-S", ".", "-B", "build"], cwd=directory, judged=5)
        self.healthy(["cmake", "--build", "build"], cwd=directory, judged=3)
        self.healthy(["ctest"], cwd=os.path.join(directory, "build"), judged=2)


PYTHON_SUITE = '''
import io, os, socket, subprocess, sys, tempfile, threading, unittest
from concurrent.futures import ThreadPoolExecutor
class Suite(unittest.TestCase):
    def test_files(self):
        with tempfile.TemporaryDirectory() as d:
            with open(os.path.join(d, "f"), "w") as f: f.write("x")
            with open(os.path.join(d, "f")) as f: self.assertEqual(f.read(), "x")
            self.assertEqual(os.listdir(d), ["f"])
    def test_file_that_the_collector_closes(self):
        self.assertTrue(open("/etc/passwd").read())
    def test_children(self):
        for _ in range(5):
            subprocess.run(["true"], check=True)
        self.assertEqual(subprocess.check_output(["echo", "x"]), b"x\\n")
        p = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.assertEqual(p.communicate(b"hello")[0], b"hello")
    def test_sockets(self):
        a, b = socket.socketpair()
        with a, b:
            a.send(b"x"); self.assertEqual(b.recv(1), b"x")
        with socket.create_server(("127.0.0.1", 0)) as s, socket.create_connection(s.getsockname()) as c:
            p, _ = s.accept(); p.close()
    def test_threads(self):
        with ThreadPoolExecutor(3) as pool:
            self.assertEqual(sum(pool.map(len, ["a", "bb"])), 3)
    def test_asyncio(self):
        import asyncio
        async def main():
            p = await asyncio.create_subprocess_exec("echo", "x", stdout=subprocess.PIPE)
            self.assertEqual((await p.communicate())[0], b"x\\n")
            await asyncio.sleep(0.01)
        asyncio.run(main())
    def test_processes(self):
        import multiprocessing
        with multiprocessing.get_context("fork").Pool(2) as pool:
            self.assertEqual(pool.map(abs, [-1, -2]), [1, 2])
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            self.assertEqual(pool.map(abs, [-1]), [1])
if __name__ == "__main__":
    unittest.main()
'''

NODE_SUITE = '''
import test from "node:test";
import assert from "node:assert";
import fs from "node:fs";
import http from "node:http";
import { execFile } from "node:child_process";
import { Worker } from "node:worker_threads";
test("files", () => assert.ok(fs.readFileSync("/etc/passwd").length));
test("promises", async () => { const f = await fs.promises.open("/etc/passwd"); await f.read(); await f.close(); });
test("children", (t, done) => execFile("echo", ["x"], (e, out) => { assert.equal(out, "x\\n"); done(); }));
test("http", (t, done) => { const s = http.createServer((q, r) => r.end("x")); s.listen(0, "127.0.0.1", () =>
  http.get({ port: s.address().port, agent: false }, r => { r.resume(); r.on("end", () => s.close(done)); })); });
test("worker", (t, done) => { new Worker("setTimeout(()=>{},5)", { eval: true }).on("exit", () => done()); });
test("fetch", async () => { const s = http.createServer((q, r) => r.end("x")); await new Promise(r => s.listen(0, "127.0.0.1", r));
  assert.equal(await (await fetch(`http://127.0.0.1:${s.address().port}/`)).text(), "x"); s.closeAllConnections(); s.close(); });
'''

RUBY_SUITE = '''
require "socket"; require "tempfile"; require "open3"; require "net/http"; require "timeout"
Tempfile.create("x") { |f| f.write("x"); f.flush; raise unless File.read(f.path) == "x" }
raise unless File.foreach("/etc/passwd").count > 0
a, b = UNIXSocket.pair; a.write("x"); raise unless b.readpartial(1) == "x"; a.close; b.close
TCPServer.open("127.0.0.1", 0) { |s| c = TCPSocket.new("127.0.0.1", s.addr[1]); p = s.accept; c.close; p.close }
raise unless `echo x` == "x\\n"
out, status = Open3.capture2("cat", stdin_data: "hello"); raise unless out == "hello"
3.times { system("true") }
r, w = IO.pipe; pid = fork { r.close; w.write("child"); w.close; exit!(0) }; w.close; raise unless r.read == "child"; r.close
Process.wait(pid)
5.times.map { |i| Thread.new { sleep 0.01 * i } }.each(&:join)
Timeout.timeout(1) { sleep 0.01 }
begin; TCPSocket.new("127.0.0.1", %d); rescue SystemCallError; end
puts "DONE"
'''


class Runtimes(HealthyTest):
    def test_python_unittest(self):
        directory = self.scratch()
        write(directory, "test_suite.py", PYTHON_SUITE)
        self.assertIn("OK", self.healthy([PYTHON, "-m", "unittest", "-v", "test_suite"], cwd=directory, judged=5))

    def test_python_pytest(self):
        directory = self.scratch()
        write(directory, "test_suite.py", PYTHON_SUITE)
        self.assertIn("7 passed", self.healthy([PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=directory, judged=5))

    def test_python_children(self):
        """Many children at once, by every way that subprocess has."""
        program = write(self.scratch(), "children.py", """\
import os, subprocess, sys
crowd = [subprocess.Popen(["sh", "-c", "read x; echo $x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=n % 2)
         for n in range(10)]
for n, child in enumerate(crowd):
    assert child.communicate(b"%d\\n" % n)[0] == b"%d\\n" % n
for _ in range(10):
    subprocess.run("true | cat | cat > /dev/null", shell=True, check=True)
assert os.popen("echo x").read() == "x\\n"
assert os.system("exit 3") >> 8 == 3
r, w = os.pipe()
if os.fork() == 0:
    os.close(r); os.write(w, b"child"); os._exit(0)
os.close(w); assert os.read(r, 9) == b"child"; os.close(r); os.wait()
os.posix_spawn("/bin/true", ["true"], os.environ); os.wait()
subprocess.run([sys.executable, "-c", "print(1)"], check=True)
""")
        self.healthy([PYTHON, program], judged=20)

    def test_python_tools(self):
        self.healthy([PYTHON, "-m", "json.tool"], stdin=b'{"a": 1}')
        self.healthy([PYTHON, "-m", "compileall", "-q", self.scratch()])
        self.healthy([PYTHON, "-c", "import ssl, sqlite3, asyncio, http.client, email, ctypes, decimal, xml.dom.minidom"])

    def test_node(self):
        directory = self.scratch()
        path = write(directory, "suite.test.mjs", NODE_SUITE)
        self.assertRegex(self.healthy(["node", "--test", path], cwd=directory, judged=2), r"# fail 0|ℹ fail 0")
        self.healthy(["node", path], cwd=directory)
        self.healthy(["node", "-e", "require('fs').readdirSync('/'); process.exit(0)"])

    def test_npm(self):
        directory = self.scratch()
        write(directory, "package.json", '{"name": "x", "version": "1.0.0", "scripts": {"test": "node -e 0"}}')
        self.healthy(["npm", "test", "--silent"], cwd=directory, environment={"HOME": directory}, judged=2)

    def test_ruby(self):
        program = write(self.scratch(), "suite.rb", RUBY_SUITE % free_port())
        self.assertIn("DONE", self.healthy(["ruby", program], judged=3))

    def test_ruby_minitest(self):
        directory = self.scratch()
        path = write(directory, "suite.rb", 'require "minitest/autorun"\nclass T < Minitest::Test\n'
                                            '  def test_file = assert(File.read("/etc/passwd").size > 0)\n'
                                            '  def test_child = assert_equal("x\\n", `echo x`)\nend\n')
        self.healthy(["ruby", path], cwd=directory, judged=2)

    def test_gdb(self):
        self.healthy(["gdb", "-q", "-batch", "-ex", "print 1", tool("true")])


class Servers(HealthyTest):
    @staticmethod
    def http(port):
        load.http(port, ["/small", "/file"], connections=10, requests=10)
        load.http(port, ["/file", "/small"], connections=10, requests=4, keep_alive=False)

    @staticmethod
    def echo(port):
        load.echo(port, clients=20, messages=10)

    @staticmethod
    def pages(port):
        load.http(port, ["/"], connections=10, requests=10)
        load.http(port, ["/"], connections=10, requests=2, keep_alive=False)

    def nginx(self, how, daemon="off"):
        port, directory = free_port(), self.scratch()
        write(directory, "file", "x" * 5000)
        configuration = write(directory, "nginx.conf", NGINX.format(daemon=daemon, directory=directory, port=port))
        command = [tool("nginx"), "-e", f"{directory}/early.log", "-p", directory, "-c", configuration]
        run = self.start(command, options=["--wait", "20s"])
        observed.eventually(f"a listener on port {port}", lambda: listening(port))  # a daemon's starter ends before
        master = int(observed.eventually("nginx.pid", lambda: read(f"{directory}/nginx.pid")))
        self.http(port)
        observed.eventually("both workers", lambda: self.workers_of(master) == 2)  # one alone may have served it all
        report = run.end(how, master)
        self.assert_healthy(run, report, judged=3 if daemon == "off" else 4)

    @staticmethod
    def workers_of(master):
        """How many have begun to work, as their titles say."""
        children = read(f"/proc/{master}/task/{master}/children").split()
        return sum(b"worker process" in open(f"/proc/{child}/cmdline", "rb").read() for child in children)

    def test_nginx_quit(self):
        self.nginx(signal.SIGQUIT)

    def test_nginx_terminate(self):
        self.nginx(signal.SIGTERM)

    def test_nginx_daemon(self):
        self.nginx(signal.SIGQUIT, "on")

    def test_redis(self):
        port = free_port()
        self.served(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""], SETS_AND_GETS, port=port)

    def test_redis_append_only(self):
        port = free_port()

        def drive(of):
            SETS_AND_GETS(of)
            load.dialogue(of, [(b"BGREWRITEAOF\r\n", b"+Background append only file rewriting started\r\n")], clients=1)
        self.served(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--appendonly", "yes"], drive, port=port)

    def test_memcached(self):
        port = free_port()
        exchanges = [(b"set key 0 0 1\r\nx\r\n", b"STORED\r\n"), (b"get key\r\n", b"VALUE key 0 1\r\nx\r\nEND\r\n")] * 10
        self.served(["memcached", "-p", str(port), "-U", "0", "-l", "127.0.0.1", "-t", "2", *(["-u", "nobody"] if ROOT else [])],
                    lambda of: load.dialogue(of, exchanges, clients=20), port=port)

    def test_haproxy(self):
        echo = load.EchoServer()
        self.addCleanup(echo.close)
        http_port, tcp = free_port(), free_port()
        configuration = write(self.scratch(), "haproxy.cfg", HAPROXY.format(http=http_port, tcp=tcp, echo=echo.port))

        def drive(port):
            self.pages(port)
            load.echo(tcp, clients=20, messages=10)
        self.served(["haproxy", "-db", "-f", configuration], drive, port=http_port)
        self.served(["haproxy", "-W", "-db", "-f", configuration], drive, port=http_port, judged=2)
        self.served(["haproxy", "-db", "-f", configuration], drive, how=signal.SIGUSR1, port=http_port)  # the gentle end

    def test_nghttpd(self):
        port, directory = free_port(), self.scratch()
        write(directory, "file", "y" * 5000)

        def drive(of):
            self.healthy(["h2load", "-n", "300", "-c", "6", "-m", "5", f"http://127.0.0.1:{of}/file"])
        self.served(["nghttpd", "--no-tls", "-a", "127.0.0.1", "-n", "2", "-d", directory, str(port)], drive, port=port)

    def test_hitch(self):
        echo = load.EchoServer()
        self.addCleanup(echo.close)
        port, directory = free_port(), self.scratch()
        pem = os.path.join(directory, "both.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "2", "-subj", "/CN=localhost", "-keyout", pem + ".key", "-out", pem],
                       check=True, capture_output=True, timeout=20)
        write(directory, "both.pem", read(pem) + read(pem + ".key"))
        self.served(["hitch", "--workers=2", f"--frontend=[127.0.0.1]:{port}", f"--backend=[127.0.0.1]:{echo.port}",
                     "--ocsp-dir=", *(["--user=nobody"] if ROOT else []), pem],
                    lambda of: load.echo(of, clients=12, messages=6, tls=load.trusting()), port=port, judged=3)

    def test_multiwatch(self):
        """A supervisor and two servers, which it ends."""
        run = self.start(["multiwatch", "-f", "2", "--", TEXTBOOK])
        ports = run.wait_for("two ports", lambda: (lambda found: found if len(found) == 2 else None)(
            [line.split()[1] for line in run.output().splitlines() if line.startswith("port ")]))
        for port in ports:
            self.echo(int(port))
        self.assert_healthy(run, run.end(signal.SIGTERM), run.popen.returncode, judged=3)

    def test_textbook(self):
        self.served([TEXTBOOK], self.echo)

    def test_demo(self):
        """This project's own: its library records by itself, and stands aside for the probe."""
        self.healthy([DEMO, "--no-inspector", "--admin-port", str(free_port()), "--connections", "10", "--rate", "200",
                      "--duration", "2"])

    def script(self, command, drive, environment=None):
        self.served(command, drive, cwd=SCRIPTS, environment=environment)

    def test_node_server(self):
        self.script(["node", "node_http.js"], self.pages)

    def test_tornado(self):
        self.script([PYTHON, "tornado_http.py"], self.pages)

    def test_asyncio(self):
        self.script([PYTHON, "asyncio_echo.py", "epoll"], self.echo)

    def test_gevent(self):
        self.script([PYTHON, "gevent_echo.py", "epoll"], self.echo)

    def test_eventmachine(self):
        self.script(["ruby", "em_echo.rb", "epoll"], self.echo)

    def test_thin(self):
        thin = tool("thin")
        root = os.path.dirname(os.path.dirname(thin))
        gem, = glob.glob(f"{root}/lib/x86_64-linux-gnu/rubygems-integration/*/gems/thin-*")
        libraries = [f"{gem}/lib", gem.replace("/gems/", "/extensions/x86_64-linux/3.1.0/")]
        port = free_port()
        self.served(["ruby", *(f"-I{path}" for path in libraries), f"{gem}/bin/thin", "-R", "thin.ru", "-a", "127.0.0.1",
                     "-p", str(port), "start"], self.pages, port=port, cwd=SCRIPTS)

    def test_cool_io(self):
        self.script(["ruby", "coolio_echo.rb"], self.echo)

    def test_async(self):
        self.script(["ruby", "async_echo.rb"], self.echo)

    def test_any_event(self):
        self.script(["perl", "ev_echo.pl"], self.echo)

    def test_python_http_server(self):
        port = free_port()

        def drive(of):
            for _ in range(10):
                with urllib.request.urlopen(f"http://127.0.0.1:{of}/", timeout=10) as page:
                    self.assertIn(b"Directory listing", page.read())
        self.served([PYTHON, "-m", "http.server", "--bind", "127.0.0.1", str(port)], drive, how=signal.SIGINT, port=port,
                    cwd=self.scratch())


if __name__ == "__main__":
    unittest.main(verbosity=2)
