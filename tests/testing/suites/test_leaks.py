# SPDX-License-Identifier: Apache-2.0
"""Tests that leak and tests that do not, under the plugin. Run by pytest_test.py, which knows what each must come to."""

import asyncio
import os
import select
import socket
import subprocess
import tempfile
import unittest

import pytest

kept = []


def open_null():
    return os.open("/dev/null", os.O_RDONLY)  # LINE: os.open


def test_leaks_os_open():
    open_null()


def test_leaks_file():
    kept.append(open(os.devnull))  # LINE: open


def test_leaks_socket():
    server = socket.socket()  # LINE: socket
    server.bind(("127.0.0.1", 0))
    server.listen()
    kept.append(server)


def test_leaks_accepted():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        kept.append(server.accept()[0])  # LINE: accept


def test_leaks_pipe():
    kept.append(os.pipe())  # LINE: pipe


def test_leaks_epoll():
    os.close(open_null())
    kept.append(select.epoll())


def test_leaks_temporary_file():
    kept.append(tempfile.TemporaryFile())  # LINE: temporary


#: Open before the first test.
replaced, closed = open_null(), open_null()


def test_reuses_a_number():
    os.close(replaced)
    assert os.open("/dev/zero", os.O_RDONLY) == replaced


class TestOfUnittest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = open_null()

    @classmethod
    def tearDownClass(cls):
        os.close(cls.shared)

    def test_healthy_with_shared(self):
        os.fstat(self.shared)

    def test_leaks_in_unittest(self):
        kept.append(os.dup(self.shared))  # LINE: dup


@pytest.fixture(scope="module")
def forgetful():
    return open_null()


@pytest.fixture(scope="module")
def shared():
    number = open_null()
    yield number
    os.close(number)


def test_healthy_with_module_fixture(shared):
    os.fstat(shared)


def test_healthy_with_module_fixture_again(shared):
    os.fstat(shared)


def test_healthy_function_fixture(tmp_path, capfd):
    with open(tmp_path / "a", "w") as file:
        file.write("a")
    os.write(1, b"captured")
    assert capfd.readouterr().out == "captured"


def test_healthy_cycle():
    class Node:
        pass
    one = Node()
    one.me = one
    one.file = socket.socket()


def test_healthy_opened_before_closed_inside():
    os.close(closed)


def test_healthy_processes():
    assert subprocess.run(["true"], stdout=subprocess.PIPE, check=True).stdout == b""


def test_healthy_asyncio():
    async def talk():
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
    asyncio.run(talk())


@pytest.mark.fds_kept("the test says so")
def test_healthy_marked():
    open_null()


def test_healthy_allowed():
    kept.append(os.open("/dev/full", os.O_WRONLY))


def test_fails_by_itself():
    file = open(os.devnull)
    assert file is None


def test_healthy_skipped():
    pytest.skip("not here")


def test_last_user_of_forgetful(forgetful):
    os.fstat(forgetful)
