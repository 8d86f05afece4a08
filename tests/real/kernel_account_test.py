#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The reader of strace's logs, which the other tests measure by: logs made up for what is hard in them, and real runs whose
sums are strace's own and whose descriptors are those that /proc shows.

    TEXTBOOK=.../textbook_epoll TOOLS=build/tools/usr/bin python3 kernel_account_test.py
"""

import os
import signal
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True  # no __pycache__ in the source tree
import kernel_account  # noqa: E402  pylint: disable=wrong-import-position
import load  # noqa: E402  pylint: disable=wrong-import-position
import observed  # noqa: E402  pylint: disable=wrong-import-position

TEXTBOOK = os.environ.get("TEXTBOOK", "textbook_epoll")
START = '100 execve("/usr/bin/server", ["server"], 0x7ffc /* 9 vars */) = 0\n'


def read(text, recordings=None, inside=(), outside=()):
    with tempfile.NamedTemporaryFile("w", suffix=".trace") as file:
        file.write(START + text)
        file.flush()
        return kernel_account.read_log(file.name, recordings, inside, outside)


class Logs(unittest.TestCase):
    maxDiff = None

    def image(self, text, **settings):
        account = read(text, **settings)
        self.assertEqual(account.anomalies, [])
        return account.images[0]

    def test_waits(self):
        image = self.image("""\
100 epoll_create1(EPOLL_CLOEXEC) = 3
100 epoll_wait(0x3, 0x7ffe0, 0x2, 0x3e8) = 0x2
100 epoll_wait(0x3, 0x7ffe0, 0x2, 0xffffffff) = 0x1
100 epoll_wait(0x3, 0x7ffe0, 0x2, 0) = 0
100 epoll_wait(0x3, 0x7ffe0, 0x2, 0x64) = 0 (Timeout)
100 epoll_pwait(0x3, 0x7ffe0, 0x40, 0x64, 0, 0x8) = -1 EINTR (Interrupted system call)
100 epoll_pwait2(3, [{events=EPOLLIN, data={u32=5, u64=5}}], 64, {tv_sec=0, tv_nsec=0}, NULL, 8) = 1
100 epoll_wait(0x3, 0x7ffe0, 0, 0x64) = -1 EINVAL (Invalid argument)
100 epoll_wait(0x3, 0x7ffe0, 0x2, 0xffffffff <unfinished ...>) = ?
100 +++ killed by SIGKILL +++
""")
        self.assertEqual(
            image.loops[(100, 3, 0)].as_dict(),
            dict(returns=7, ready=4, timeouts=2, interrupted=1, errors=1, nonblocking=2, saturated=1))
        self.assertEqual(image.end, "killed by SIGKILL")
        self.assertEqual(list(image.open), [0, 1, 2, 3])

    def test_a_number_that_is_two_epoll_descriptors_one_after_the_other(self):
        image = self.image("""\
100 epoll_create1(0) = 3
100 epoll_wait(0x3, 0x7ffe0, 0x2, 0) = 0
100 close(3) = 0
100 epoll_create1(0) = 3
100 epoll_wait(0x3, 0x7ffe0, 0x2, 0) = 0
100 epoll_wait(0x3, 0x7ffe0, 0x2, 0) = 0
""")
        self.assertEqual({key: waits.returns for key, waits in image.loops.items()}, {(100, 3, 0): 1, (100, 3, 1): 2})

    def test_waits_that_start_again(self):
        # A stop or a handler in poll: the kernel resumes it by restart_syscall, or makes it again; the program sees one wait.
        image = self.image("""\
100 poll([{fd=0, events=POLLIN}], 1, 1000) = ? ERESTART_RESTARTBLOCK (Interrupted by signal)
100 --- SIGCONT {si_signo=SIGCONT, si_code=SI_USER, si_pid=1, si_uid=0} ---
100 restart_syscall(<... resuming interrupted poll ...>) = 1
100 ppoll([{fd=0, events=POLLIN}], 1, NULL, NULL, 8) = ? ERESTARTNOHAND (To be restarted if no handler)
100 --- SIGCONT {si_signo=SIGCONT} ---
100 ppoll([{fd=0, events=POLLIN}], 1, NULL, NULL, 8) = 1 ([{fd=0, revents=POLLIN}])
100 poll([{fd=0, events=POLLIN}], 1, 1000) = ? ERESTART_RESTARTBLOCK (Interrupted by signal)
100 --- SIGUSR1 {si_signo=SIGUSR1} ---
100 rt_sigreturn({mask=[]}) = -1 EINTR (Interrupted system call)
100 pselect6(4, [0 3], NULL, NULL, {tv_sec=0, tv_nsec=0}, NULL) = 2 (in [0 3], left {tv_sec=0, tv_nsec=0})
""")
        self.assertEqual(image.polls[(100, "poll", (0,))].as_dict(),
                         dict(returns=2, ready=1, timeouts=0, interrupted=1, errors=0, nonblocking=0, saturated=0))
        self.assertEqual(image.polls[(100, "ppoll", (0,))].as_dict(),
                         dict(returns=1, ready=1, timeouts=0, interrupted=0, errors=0, nonblocking=0, saturated=0))
        self.assertEqual(image.polls[(100, "pselect6", (0, 3))].as_dict(),
                         dict(returns=1, ready=2, timeouts=0, interrupted=0, errors=0, nonblocking=1, saturated=0))

    def test_a_poll_on_the_epoll_descriptor_is_part_of_the_turn(self):
        image = self.image("""\
100 epoll_create1(0) = 3
100 ppoll([{fd=3, events=POLLIN}], 1, {tv_sec=0, tv_nsec=90000000}, NULL, 8) = 1 ([{fd=3, revents=POLLIN}], left {})
100 epoll_wait(0x3, 0x7ffe0, 0x10, 0) = 0x2
100 ppoll([{fd=3, events=POLLIN}], 1, {tv_sec=0, tv_nsec=90000000}, NULL, 8) = 0 (Timeout)
100 epoll_wait(0x3, 0x7ffe0, 0x10, 0) = 0
100 ppoll([{fd=3, events=POLLIN}], 1, {tv_sec=0, tv_nsec=90000000}, NULL, 8) = 0 (Timeout)
100 ppoll([{fd=0, events=POLLIN}], 1, {tv_sec=0, tv_nsec=90000000}, NULL, 8) = 0 (Timeout)
100 epoll_wait(0x3, 0x7ffe0, 0x10, 0) = 0
""")
        self.assertEqual(image.turns[(100, 3, 0)].as_dict(),
                         dict(returns=4, ready=2, timeouts=3, interrupted=0, errors=0, nonblocking=1, saturated=0))
        self.assertEqual(image.loops[(100, 3, 0)].returns, 3)

    def test_births_and_deaths(self):
        image = self.image("""\
100 openat(AT_FDCWD, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3
100 close(3) = 0
100 openat(AT_FDCWD, "/tmp/a) = 7", O_RDWR|O_CREAT, 0644) = 3
100 openat(AT_FDCWD, "/none", O_RDONLY) = -1 ENOENT (No such file or directory)
100 socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_IP) = 4
100 accept4(4, {sa_family=AF_INET, sin_port=htons(4), sin_addr=inet_addr("127.0.0.1")}, [128 => 16], SOCK_NONBLOCK) = 5
100 accept4(4, 0x7ffe, [128], SOCK_NONBLOCK) = -1 EAGAIN (Resource temporarily unavailable)
100 pipe2([6, 7], O_CLOEXEC) = 0
100 socketpair(AF_UNIX, SOCK_STREAM, 0, [8, 9]) = 0
100 dup2(8, 5) = 5
100 dup2(5, 5) = 5
100 fcntl(3, F_DUPFD_CLOEXEC, 10) = 10
100 fcntl(3, F_GETFD) = 0
100 signalfd4(-1, [INT], 8, SFD_CLOEXEC) = 11
100 signalfd4(11, [INT TERM], 8, 0) = 11
100 recvmsg(8, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="x", iov_len=1}], msg_iovlen=1, msg_control=[{cmsg_len=24, \
cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[12, 13]}], msg_controllen=24, msg_flags=0}, 0) = 1
100 close(99) = -1 EBADF (Bad file descriptor)
100 close_range(12, 4294967295, 0) = 0
100 close_range(10, 11, CLOSE_RANGE_CLOEXEC) = 0
""")
        self.assertEqual(image.opened_by_call, {"openat": 1, "socket": 1, "accept4": 1, "pipe2": 2, "socketpair": 2, "dup2": 1,
                                                "fcntl": 1, "signalfd4": 1, "recvmsg": 2})
        self.assertEqual(image.closed_by_call, {"dup2": 1, "close_range": 2})
        self.assertEqual((image.accepts, image.bad_closes), (1, 1))
        self.assertEqual(dict(image.inside), {"shared objects": [1, 1]})
        self.assertEqual(sorted(image.open), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
        self.assertEqual(sorted(fd for fd, entry in image.open.items() if entry.cloexec), [4, 6, 7, 10, 11])
        self.assertEqual(image.opened_by_kind["unix"], 3)  # of the pair, and the dup2 of one

    def test_a_wait_that_a_deadly_signal_ends_does_not_return(self):
        image = self.image("""\
100 epoll_create1(0) = 3
100 epoll_wait(0x3, 0x7ffe0, 0x2, 0xffffffff) = 0x1
100 epoll_wait(0x3, 0x7ffe0, 0x2, 0xffffffff) = -1 EINTR (Interrupted system call)
100 --- SIGTERM {si_signo=SIGTERM, si_code=SI_USER, si_pid=1, si_uid=0} ---
100 +++ killed by SIGTERM +++
""")
        self.assertEqual((image.loops[(100, 3, 0)].returns, image.loops[(100, 3, 0)].interrupted), (1, 0))

    def test_a_wait_whose_return_meets_a_handler(self):
        sigterm = "100 --- SIGTERM {si_signo=SIGTERM, si_code=SI_USER, si_pid=1, si_uid=0} ---\n"
        start = """\
100 rt_sigaction(SIGTERM, {sa_handler=0x5572, sa_mask=[], sa_flags=SA_RESTORER, sa_restorer=0x7f}, NULL, 8) = 0
100 epoll_create1(0) = 3
100 epoll_wait(0x3, 0x7ffe0, 0x2, 0xffffffff) = 0x2
"""
        interrupted = "100 epoll_wait(0x3, 0x7ffe0, 0x2, 0xffffffff) = -1 EINTR (Interrupted system call)\n"
        events = "100 epoll_wait(0x3, 0x7ffe0, 0x2, 0xffffffff) = 0x1\n"
        exits = "100 close(3) = 0\n100 +++ exited with 0 +++\n"
        returns = "100 rt_sigreturn({mask=[]}) = -1 EINTR (Interrupted system call)\n"
        for text, expected in ((start + interrupted + sigterm + exits, 1), (start + interrupted + sigterm + returns + exits, 2),
                               (start + events + sigterm + exits, 2)):
            waits = self.image(text).loops[(100, 3, 0)]
            self.assertEqual((waits.returns, waits.interrupted), (expected, expected - 1 if text.find("EINTR") > 0 else 0), text)

    def test_another_threads_close_that_the_log_shows_too_late(self):
        image = self.image("""\
100 clone3({flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD|CLONE_SYSVSEM}, 88) = 101
100 eventfd2(0, 0) = 3
101 close(3 <unfinished ...>
100 eventfd2(0, EFD_CLOEXEC) = 3
101 <... close resumed>) = 0
101 close(3) = 0
""")
        self.assertEqual((image.opened, image.closed, sorted(image.open)), (2, 2, [0, 1, 2]))
        self.assertEqual(image.threads, {100, 101})

    def test_a_child_whose_lines_come_before_its_parents_clone_returns(self):
        account = read("""\
100 eventfd2(0, EFD_CLOEXEC) = 3
100 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD <unfinished ...>
101 close(3) = 0
100 <... clone resumed>, child_tidptr=0x7f) = 101
101 execve("/bin/true", ["true"], 0x55 /* 9 vars */) = 0
101 +++ exited with 0 +++
100 close(3) = 0
100 vfork() = 102
102 close(0) = 0
102 execve("/bin/false", ["false"], 0x55 /* 9 vars */) = 0
102 +++ exited with 1 +++
100 +++ exited with 0 +++
""")
        self.assertEqual(account.anomalies, [])
        self.assertEqual([(image.pid, image.number, image.path, image.closed, image.end) for image in account.images],
                         [(100, 0, "/usr/bin/server", 1, "exited with 0"), (101, 0, "/usr/bin/server", 1, "execve"),
                          (101, 1, "/bin/true", 0, "exited with 0"), (102, 0, "/usr/bin/server", 1, "execve"),
                          (102, 1, "/bin/false", 0, "exited with 1")])
        self.assertEqual(sorted(account.images[0].open), [0, 1, 2])

    def test_execve_from_a_thread(self):
        account = read("""\
100 pipe2([3, 4], O_CLOEXEC) = 0
100 clone3({flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD|CLONE_SYSVSEM}, 88) = 101
101 execve("/bin/true", ["true"], 0x55 /* 9 vars */ <unfinished ...>
100 epoll_wait(0x5, 0x1, 0x2, 0xffffffff <unfinished ...>) = ?
100 +++ superseded by execve in pid 101 +++
100 <... execve resumed>) = 0
100 close(0) = 0
100 +++ exited with 0 +++
""")
        self.assertEqual(account.anomalies, [])
        before, after = account.images
        self.assertEqual((before.end, before.closed_by_exec, after.path, after.closed), ("execve", 2, "/bin/true", 1))

    def test_what_the_probe_does_is_not_the_programs(self):
        account = read("""\
100 openat(AT_FDCWD, "/lib/libc.so.6", O_RDONLY|O_CLOEXEC) = 3
100 close(3) = 0
100 openat(AT_FDCWD, "/proc/self/stat", O_RDONLY|O_CLOEXEC) = 3
100 close(3) = 0
100 openat(AT_FDCWD, "/run/r/100-5-0.loopscope", O_RDWR|O_CREAT|O_EXCL|O_NOFOLLOW|O_CLOEXEC, 0600) = 3
100 close(3) = 0
100 openat(AT_FDCWD, "/proc/self/cmdline", O_RDONLY|O_CLOEXEC) = 3
100 close(3) = 0
100 ppoll([{fd=0, events=0}, {fd=1, events=0}], 2, {tv_sec=0, tv_nsec=0}, NULL, 0) = 0 (Timeout)
100 eventfd2(0, 0) = 3
100 openat(AT_FDCWD, "/run/r/100-5-0.loopscope", O_RDWR|O_NOFOLLOW|O_CLOEXEC) = 4
100 close(4) = 0
100 clone(child_stack=NULL, flags=SIGCHLD) = 101
101 close(3) = 0
101 openat(AT_FDCWD, "/run/r/101-6-0.loopscope", O_RDWR|O_CREAT|O_EXCL|O_NOFOLLOW|O_CLOEXEC, 0600) = 3
101 close(3) = 0
101 ppoll([{fd=0, events=0}, {fd=1, events=0}], 2, {tv_sec=0, tv_nsec=0}, NULL, 0) = 0 (Timeout)
101 eventfd2(0, 0) = 3
101 close(0) = 0
""", recordings="/run/r")
        self.assertEqual(account.anomalies, [])
        parent, child = account.images
        self.assertEqual((parent.recording, parent.opened, parent.closed, parent.before, parent.own),
                         ("100-5-0.loopscope", 1, 0, [3, 3], 2))
        self.assertEqual(list(parent.polls), [])
        self.assertEqual((child.recording, child.opened, child.closed, child.before), ("101-6-0.loopscope", 1, 1, [0, 1]))

    def test_what_libc_opens_for_itself(self):
        image = self.image("""\
100 openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3
100 close(3) = 0
100 socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, 0) = 3
100 connect(3, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT (No such file or directory)
100 close(3) = 0
100 openat(AT_FDCWD, "/srv/mine", O_RDONLY) = 3
100 openat(AT_FDCWD, "/etc/hosts", O_RDONLY|O_CLOEXEC) = 4
100 openat(AT_FDCWD, "/etc/resolv.conf", O_RDONLY) = 5
100 openat(AT_FDCWD, "/proc/self/task/101/comm", O_RDWR) = 6
""", inside=(("mine", "/srv/.*"),), outside=("/etc/hosts$",))
        self.assertEqual((image.opened, image.closed), (2, 0))
        self.assertEqual(image.paths, {"/etc/hosts": 1, "/etc/resolv.conf": 1})
        self.assertEqual(dict(image.inside), {"name service": [2, 2], "mine": [1, 0], "thread names": [1, 0]})

    def test_it_says_what_it_does_not_understand(self):
        account = read("100 close(7) = 0\n100 eventfd2(0, 0) = 2\nnonsense\n555 close(0) = 0\n")
        self.assertEqual(len(account.anomalies), 4, account.anomalies)


class Runs(observed.RealProgramTest):
    """Under strace alone."""

    def trace(self, command):
        directory = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        self.addCleanup(directory.cleanup)
        trace = kernel_account.Trace(command, os.path.join(directory.name, "trace"), stdout=subprocess.DEVNULL, summary=True)
        self.addCleanup(trace.kill)
        return trace

    def check_sums(self, trace):
        """Every call is in the account once: the table that strace keeps while it writes the log says how many there were."""
        table = kernel_account.read_summary(trace.log)
        account = kernel_account.read_log(trace.log)
        self.assertEqual(account.anomalies, [])
        images = account.images

        def succeeded(*calls):
            return sum(table[call][0] - table[call][1] for call in calls if call in table)
        waits = [waits for image in images for waits in image.loops.values()]
        epolls = [table[call] for call in kernel_account.EPOLL_WAITS if call in table]
        self.assertEqual(sum(one.returns for one in waits), sum(calls for calls, _ in epolls))
        self.assertEqual(sum(one.interrupted + one.errors for one in waits), sum(errors for _, errors in epolls))
        self.assertEqual(sum(image.accepts for image in images), succeeded("accept", "accept4"))
        inside = sum(closed for image in images for _, closed in image.inside.values())
        closes = sum(image.closed_by_call["close"] for image in images) + inside
        self.assertEqual(closes, succeeded("close"))
        births = sum(image.opened for image in images) + sum(opened for image in images for opened, _ in image.inside.values())
        made = succeeded("open", "openat", "openat2", "socket", "accept", "accept4", "eventfd", "eventfd2", "epoll_create",
                         "epoll_create1", "timerfd_create", "inotify_init1", "memfd_create", "dup", "pidfd_open") \
            + 2 * succeeded("pipe", "pipe2", "socketpair")
        by_others = sum(image.opened_by_call[call] for image in images
                        for call in ("fcntl", "dup2", "dup3", "recvmsg", "signalfd4", "clone3", "clone"))
        self.assertEqual(births - by_others, made)
        return account

    def test_sums_of_a_program_that_does_everything(self):
        program = """
import os, select, socket, subprocess, threading
epoll = select.epoll()
server = socket.create_server(("127.0.0.1", 0)); server.setblocking(False)
epoll.register(server, select.EPOLLIN)
def client():
    for _ in range(20):
        with socket.create_connection(server.getsockname()) as one: one.sendall(b"x")
threads = [threading.Thread(target=client) for _ in range(4)]
for thread in threads: thread.start()
served = 0
while served < 80:
    for fd, _ in epoll.poll(1):
        one, _ = server.accept(); one.close(); served += 1
a, b = socket.socketpair()
socket.send_fds(a, [b"x"], [0, 1]); socket.recv_fds(b, 1, 2)
subprocess.run(["true"]); subprocess.run("exec true", shell=True, close_fds=False)
os.dup2(0, 50); os.close(50); os.closerange(60, 70)
if os.fork() == 0:
    epoll.poll(0.01); os._exit(0)
os.wait()
"""
        trace = self.trace([sys.executable, "-c", program])
        trace.wait()
        account = self.check_sums(trace)
        main = account.images[0]
        self.assertEqual(main.accepts, 80)
        self.assertGreaterEqual(len(main.threads), 5)

    def killed(self, command, load_it):
        """The account's open descriptors of a program that is killed, and those that /proc showed just before."""
        trace = self.trace(command)
        pid = trace.first_pid()
        clients = load_it()
        previous = None

        def open_now():
            nonlocal previous
            last, previous = previous, sorted(int(number) for number in os.listdir(f"/proc/{pid}/fd"))
            return last == previous and previous
        seen = observed.eventually("the same descriptors twice", open_now, pause=0.05)
        os.kill(pid, signal.SIGKILL)
        trace.wait()
        for client in clients:
            client.close()
        account = self.check_sums(trace)
        self.assertEqual(account.images[0].end, "killed by SIGKILL")
        self.assertEqual(sorted(account.images[0].open), seen)
        return account.images[0]

    @staticmethod
    def some_stay(port, request, answer):
        """Four clients that hang up and five that stay."""
        observed.eventually("a listener", lambda: observed.listening(port))
        crowd = [load.connect(port) for _ in range(9)]
        for client in crowd:
            client.sendall(request)
            load.read_exactly(client, answer)
        for client in crowd[:4]:
            load.hung_up(client)
        return crowd[4:]

    def test_descriptors_of_the_textbook_program_are_those_of_proc(self):
        port = observed.free_port()
        image = self.killed([TEXTBOOK, str(port)], lambda: self.some_stay(port, b"x", 1))
        self.assertEqual((len(image.open), image.closed), (3 + 2 + 5, 4))

    def test_descriptors_of_redis_are_those_of_proc(self):
        port = observed.free_port()
        image = self.killed([observed.tool("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
                            lambda: self.some_stay(port, b"PING\r\n", 7))
        self.assertEqual(image.accepts, 9)


if __name__ == "__main__":
    unittest.main(verbosity=2)
