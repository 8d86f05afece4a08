# SPDX-License-Identifier: Apache-2.0
"""socket.detach() gives the number away, and nobody takes it."""

import socket
import sys


def hand_over(healthy):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # LEAK
    udp.bind(("127.0.0.1", 0))
    if healthy:
        udp.close()
    udp.detach()


for _ in range(3):
    hand_over(sys.argv[-1] == "healthy")
