"""Runs one server and one client, each on its own core."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

running = []


class Bystanders:
    """How much of the two cores other programs used meanwhile: with much of it the figures are worth little."""

    def __init__(self, cores):
        self.cores = cores
        self.begun, self.busy, self.own = time.monotonic(), self.busy_now(), self.own_now()

    def busy_now(self):
        """Seconds of user and system time of our cores; proc(5): the unit is a tick of 10 ms, the fields user, nice, system."""
        lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
        names = {f"cpu{core}" for core in self.cores}
        return sum(sum(map(int, line[1:4])) for line in lines if line[0] in names) / 100

    def own_now(self):
        times = os.times()
        return times.user + times.system + times.children_user + times.children_system

    def share(self):
        """0 to 1."""
        room = (time.monotonic() - self.begun) * len(self.cores)
        return max(0.0, (self.busy_now() - self.busy) - (self.own_now() - self.own)) / room


class Failed(Exception):
    """This implementation did not do this work."""


# More than this of the cores used by others while a figure is taken, and it is taken again.
DISTURBED = 0.05


class Patience:
    """Takes figures in quiet moments, as long as it has time to wait for them."""

    def __init__(self, secs, cores):
        self.left, self.cores = secs, cores
        # So that one figure cannot use up what all the others may need.
        self.each = secs / 10

    def wait(self):
        """Until nobody else uses the cores."""
        least = self.left - self.each
        while self.left > max(least, 0):
            look = Bystanders(self.cores)
            time.sleep(0.3)
            self.left -= 0.3
            if look.share() < DISTURBED:
                return

    def once(self, *args):
        """One run, and again when it was disturbed."""
        least = self.left - self.each
        while True:
            self.wait()
            look = Bystanders(self.cores)
            result = once(*args)
            result["others"] = round(look.share(), 3)
            if result["others"] <= DISTURBED or self.left <= max(least, 0):
                return result
            self.left -= time.monotonic() - look.begun


def start(command, core, **more):
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}), **more,
    )
    running.append(child)
    return child


def end(child, how=signal.SIGTERM):
    """Ends a child of ours, by its own number."""
    if child.poll() is None:
        child.send_signal(how)
    try:
        out, err = child.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        child.kill()
        out, err = child.communicate()
    if child in running:
        running.remove(child)
    return out, err


def end_all(*_):
    for child in list(running):
        end(child, signal.SIGKILL)


def last_line(text):
    lines = [line for line in text.splitlines() if line.startswith("{")]
    return json.loads(lines[-1]) if lines else {}


def limits(work, is_weir, secs, count):
    """What ends the work."""
    flags = ["--count", str(count)] if work.work.startswith("idle-") else []
    if not flags or not is_weir:
        flags += ["--secs", f"{secs:g}"]
    return flags


def once(command, work, secs, count, cores):
    """One run: the client's JSON line with the server's use of CPU and memory added."""
    # Some servers come without a client of their own.
    program, flags, client_program = (*command, command[0])[:3]
    is_weir = program[-1] == "perf"
    flags = [*flags, *work.both, *(() if is_weir else work.peer)]
    server = start([*program, "server", "--addr", "127.0.0.1:0", *flags], cores[0])
    try:
        first = server.stdout.readline()
        if not first.startswith("{"):
            raise Failed(f"server: {(first + end(server)[1]).strip() or 'no line'}")
        address = json.loads(first)["listening"]
        limit = limits(work, is_weir, secs, count)
        client = start([*client_program, "client", "--addr", address, "--work", work.work, *limit, *work.client, *flags], cores[1])
        try:
            out, err = client.communicate(timeout=secs * 10 + 60)
        except subprocess.TimeoutExpired:
            raise Failed("client: no end in time") from None
        finally:
            end(client, signal.SIGKILL)
        result = last_line(out)
        if client.returncode != 0 or not result:
            raise Failed(f"client: {err.strip().splitlines()[-1] if err.strip() else client.returncode}")
        used = last_line(end(server)[0])
        result["server_cpu_s"] = used.get("cpu_s")
        result["server_max_rss_kib"] = used.get("max_rss_kib")
        if result.get("gbps") and result.get("cpu_s"):
            both = result["cpu_s"] + (result["server_cpu_s"] or 0)
            result["cpu_per_gib"] = both / (result["bytes"] / 2**30)
        return result
    finally:
        end(server)
