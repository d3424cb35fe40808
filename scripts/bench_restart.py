#!/usr/bin/env python3
"""How long a service that was killed takes to be ready again: from the start of the program to a 200 of /health/ready.

scripts/bench_restart.py target/release/tasnif --models models --model default
"""

import argparse
import http.client
import signal
import socket
import statistics
import subprocess
import time


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def seconds_until_ready(command: list[str], port: int) -> float:
    begun = time.perf_counter()
    service = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while not is_ready(port):
            if service.poll() is not None:
                raise SystemExit(f"{' '.join(command)}: ended with {service.returncode}")
            time.sleep(0.01)
        return time.perf_counter() - begun
    finally:
        service.send_signal(signal.SIGKILL)
        service.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--times", type=int, default=10)
    arguments, flags = parser.parse_known_args()
    port = free_port()
    command = [arguments.program, "serve", "--port", str(port), *flags]
    # The first start may read the files from the disk; what follows are restarts after kill -9.
    first, *restarts = (seconds_until_ready(command, port) for _ in range(arguments.times + 1))
    median = statistics.median(restarts)
    print(
        f"first {first:.2f} s; after kill -9, {len(restarts)} times: median {median:.2f} s, worst {max(restarts):.2f} s"
    )


if __name__ == "__main__":
    main()
