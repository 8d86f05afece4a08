# SPDX-License-Identifier: Apache-2.0
"""pytest plugin: fails the test that leaves a descriptor open, and names the line that opened it.

    PYTHONPATH=/usr/local/share/loopscope/testing python3 -m pytest -p loopscope_pytest

A test is judged when its teardown is over, so the failure is an error at its teardown; descriptors of objects that only
the garbage collector would close are collected first. What a fixture of a wider scope than one test opens while it is set
up is that fixture's: it is judged when the fixture is torn down, at the end of the last test that used it. A test that
failed is not judged: its traceback keeps its variables, and so their descriptors, alive.

Meant to stay open: `@pytest.mark.fds_kept("why")` on a test; for all of them in pytest.ini
    fd_leaks_allowed =
        eventfd:*
        file:/var/cache/app/*
(KIND:TARGET, patterns of fnmatch; kinds are file, directory, device, socket, pipe, eventfd, eventpoll ...).

The line is known for what Python opens by open(), os.open, socket, os.pipe, os.dup, os.memfd_create, os.eventfd,
os.pidfd_open, os.openpty and accept(); not for what extension modules open, and select.epoll(). `loopscope check` knows
these too. Two threads that open at the same moment may be given each other's lines. Linux only.

Cost: 2 µs and a look at the calling frames for each open; a listing of /proc/self/fd before and after each test. The
garbage collector runs only after tests that have more open than before.
"""

import collections
import fnmatch
import functools
import gc
import os
import socket
import stat
import sys
import sysconfig
import threading

import pytest

_LIBRARY = tuple({os.path.realpath(sysconfig.get_path(each)) + os.sep for each in ("stdlib", "platstdlib")})
_PACKAGES = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep)
_SHOWN = 20  # descriptors of one test

Descriptor = collections.namedtuple("Descriptor", "number device inode mode kind target")


def _describe(number):
    try:
        status = os.fstat(number)
        target = os.readlink("/proc/self/fd/%d" % number)
    except OSError:
        return None  # closed meanwhile
    if target.startswith("anon_inode:"):
        kind = target[len("anon_inode:"):].strip("[]")
    elif target.startswith("/memfd:"):
        kind = "memfd"
    else:
        kind = {stat.S_IFSOCK: "socket", stat.S_IFIFO: "pipe", stat.S_IFDIR: "directory", stat.S_IFCHR: "device",
                stat.S_IFBLK: "device", stat.S_IFREG: "file"}.get(stat.S_IFMT(status.st_mode), "other")
    if kind == "socket":
        target = _socket_text(number) or target
    return Descriptor(number, status.st_dev, status.st_ino, stat.S_IFMT(status.st_mode), kind, target)


def _socket_text(number):
    """The addresses of a socket, by a copy of its descriptor."""
    def text(address):
        if isinstance(address, tuple):
            return "%s:%s" % address[:2]
        return address.decode(errors="replace") if isinstance(address, bytes) else address
    try:
        with socket.socket(fileno=os.dup(number)) as copy:
            local = text(copy.getsockname())
            try:
                return "%s -> %s" % (local, text(copy.getpeername())) if copy.getpeername() else local
            except OSError:
                return local
    except OSError:
        return None


def _open_now():
    """Number -> Descriptor."""
    with _Quiet():
        found = {}
        listing = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            numbers = [int(name) for name in os.listdir(listing)]
        finally:
            os.close(listing)
        for number in numbers:
            descriptor = _describe(number)
            # os.listdir has a copy of `listing`, which is closed by now.
            if descriptor is not None and number != listing:
                found[number] = descriptor
        return found


def _same(one, other):
    # A socket is told by its inode; its addresses may come and go.
    return one is not None and one[:4] == other[:4]


# --- who opened it ---

_quiet = threading.local()
_places = {}  # number -> (kinds that it can be, [(file, line, function)] innermost first)
_PATHS = ("file", "directory", "device", "pipe", "other")


class _Quiet:
    """What this plugin opens itself is not noted."""

    def __enter__(self):
        _quiet.depth = getattr(_quiet, "depth", 0) + 1

    def __exit__(self, *unused):
        _quiet.depth -= 1


def _stack():
    frame = sys._getframe(1)
    found = []
    while frame is not None and len(found) < 30:
        code = frame.f_code
        if code.co_filename != __file__:
            found.append((code.co_filename, frame.f_lineno, code.co_name))
        frame = frame.f_back
    return found


def _audit(event, arguments):
    # open: not of a descriptor that is open already. The event comes before the call; the kernel gives the lowest free
    # number, so that is the one it will have.
    if event == "socket.__new__" or (event == "open" and not isinstance(arguments[0], int)):
        if getattr(_quiet, "depth", 0):
            return
        with _Quiet():
            try:
                number = os.open("/", os.O_PATH | os.O_CLOEXEC)
            except OSError:
                return
            os.close(number)
            _places[number] = (_PATHS if event == "open" else ("socket",), _stack())


def _noting(function, kinds):
    """`function` returns a descriptor, or a tuple with some. `kinds`: None for any."""
    @functools.wraps(function)
    def noted(*arguments, **named):
        result = function(*arguments, **named)
        if not getattr(_quiet, "depth", 0):
            for each in result if isinstance(result, tuple) else (result,):
                if isinstance(each, int):
                    _places[each] = (kinds, _stack())
        return result
    return noted


def _watch_openings():
    sys.addaudithook(_audit)
    for name, kinds in (("pipe", ("pipe",)), ("pipe2", ("pipe",)), ("dup", None), ("memfd_create", ("memfd",)),
                        ("eventfd", ("eventfd",)), ("pidfd_open", ("pidfd",)), ("openpty", ("device",))):
        if hasattr(os, name):
            setattr(os, name, _noting(getattr(os, name), kinds))
    # accept() makes the Python object after the descriptor.
    socket.socket._accept = _noting(socket.socket._accept, ("socket",))


def _forget_closed(open_now):
    """What is not seen opening would be given the line of the number's last owner."""
    for number in set(_places) - set(open_now):
        _places.pop(number, None)


def _place(descriptor):
    """The innermost line that is not Python's own library or a package, else the innermost one."""
    kinds, stack = _places.get(descriptor.number, ((), None))
    if not stack or (kinds is not None and descriptor.kind not in kinds):
        return None
    packaged = [each for each in stack if not _is_library(each[0])]
    own = [each for each in packaged if not any(part in each[0] for part in _PACKAGES)]
    return (own or packaged or stack)[0]


def _is_library(file):
    if file.startswith("<"):
        return True
    file = os.path.realpath(file)
    return file.startswith(_LIBRARY) and not any(part in file for part in _PACKAGES)


# --- judging ---

class FdLeaks:
    def __init__(self, config):
        self.allowed = [line.strip() for line in config.getini("fd_leaks_allowed") if line.strip()]
        self.before = {}
        self.shared = {}   # fixture -> Descriptors that its setup left open
        self.forgotten = []  # (text, Descriptor) of fixtures that are gone
        self.failed = False  # the test that runs, in its setup or its body
        self.process = os.getpid()

    def is_allowed(self, descriptor):
        text = "%s:%s" % (descriptor.kind, descriptor.target)
        return any(fnmatch.fnmatchcase(text, pattern) for pattern in self.allowed)

    def since(self, before):
        shared = {each for descriptors in self.shared.values() for each in descriptors}
        return [each for number, each in sorted(_open_now().items())
                if not _same(before.get(number), each) and not self.is_allowed(each)
                and not any(_same(other, each) and other.number == number for other in shared)]

    def leaks(self):
        found = self.since(self.before)
        if found:
            gc.collect()
            found = self.since(self.before)
        return found

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item):
        self.before = _open_now()
        _forget_closed(self.before)
        self.failed = False
        yield

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        outcome = yield
        self.failed = self.failed or outcome.get_result().failed

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef, request):
        if fixturedef.scope == "function":
            yield
            return
        before = _open_now()
        yield
        known = {each for descriptors in self.shared.values() for each in descriptors}
        self.shared[fixturedef] = [each for number, each in _open_now().items()
                                   if not _same(before.get(number), each) and each not in known]

    @pytest.hookimpl
    def pytest_fixture_post_finalizer(self, fixturedef, request):
        # Called more than once for a fixture.
        for descriptor in self.shared.pop(fixturedef, []):
            text = "by fixture %s (scope %s)" % (fixturedef.argname, fixturedef.scope)
            self.forgotten.append((text, descriptor))

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item, nextitem):
        outcome = yield
        # A child that a test forked and let run into pytest has its parent's descriptors.
        if os.getpid() != self.process:
            return
        leaks = [("", each) for each in self.leaks()]
        for text, descriptor in self.forgotten:
            now = _open_now().get(descriptor.number)
            leaks = [each for each in leaks if each[1].number != descriptor.number]
            if now is not None and _same(descriptor, now) and not self.is_allowed(now):
                leaks.append((text, now))
        self.forgotten = []
        if not leaks or item.get_closest_marker("fds_kept") is not None:
            return
        # What failed already keeps its variables, and their descriptors, in its traceback.
        if outcome.excinfo is None and not self.failed:
            failure = pytest.fail.Exception(self.describe(leaks), pytrace=False)
            if not hasattr(outcome, "force_exception"):  # pluggy before 1.1
                raise failure
            outcome.force_exception(failure)

    @staticmethod
    def describe(leaks):
        lines = ["1 descriptor was opened and is still open" if len(leaks) == 1
                 else "%d descriptors were opened and are still open" % len(leaks)]
        for text, descriptor in leaks[:_SHOWN]:
            line = "  fd %d  %s  %s" % (descriptor.number, descriptor.kind, descriptor.target)
            place = _place(descriptor)
            if place is not None:
                line += "\n    opened at %s:%d in %s" % place
            if text:
                line += "\n    %s" % text
            lines.append(line)
        if len(leaks) > _SHOWN:
            lines.append("  and %d more" % (len(leaks) - _SHOWN))
        if any(_place(descriptor) is None for _, descriptor in leaks):
            lines.append("For lines that Python does not know: loopscope check -- python3 -m pytest ...")
        return "\n".join(lines)


def pytest_addoption(parser):
    parser.addini("fd_leaks_allowed", "descriptors that tests may leave open, KIND:TARGET patterns", type="linelist")


def pytest_configure(config):
    config.addinivalue_line("markers", "fds_kept(reason): descriptors that the test opens may stay open")
    if not os.path.isdir("/proc/self/fd"):
        raise pytest.UsageError("loopscope_pytest: there is no /proc/self/fd here, so leaks cannot be seen")
    _watch_openings()
    config.pluginmanager.register(FdLeaks(config), "loopscope-fd-leaks")
