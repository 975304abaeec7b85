#!/usr/bin/env python3
"""Times sending over emulated links: each a pair of network namespaces with bench/link between them. Needs root.

usage: link.py HIKYAKU LINK [--rates 100,1000] [--rtts 0,20,100] [--losses 0,5000] [--seconds 8] [--files 0]
               [--congestion NAME] [--cases bare,scp,rsync-ssh,hikyaku-tcp,hikyaku-quic]

HIKYAKU and LINK are the programs (target/release/hikyaku, bench/target/release/link). Rates in Mbit/s, round trips in
milliseconds, losses in packets of a million. A file is as large as the link would carry in --seconds; with --files N
a tree of so many files of 4 KiB is sent instead. The queue of each link holds one round trip at its rate, at least 256 KiB.
--congestion sets TCP's congestion control at both ends. What limited each TCP connection, as `ss` tells it four times a
second, goes to the standard error.
"""
import argparse
import contextlib
import itertools
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

import cases as ways


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("hikyaku", type=pathlib.Path)
    parser.add_argument("link", type=pathlib.Path)
    parser.add_argument("--rates", default="100,1000")
    parser.add_argument("--rtts", default="0,20,100")
    parser.add_argument("--losses", default="0,5000")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--files", type=int, default=0)
    parser.add_argument("--congestion")
    parser.add_argument("--directory", default="/dev/shm")
    parser.add_argument("--cases", default="bare,scp,rsync-ssh,hikyaku-tcp,hikyaku-quic")
    options = parser.parse_args()
    names = options.cases.split(",")
    print("| Mbit/s | round trip ms | lost | " + " | ".join(names) + " |")
    print("|" + "---|" * (3 + len(names)))
    lists = [[int(value) for value in text.split(",")] for text in (options.rates, options.rtts, options.losses)]
    for rate, rtt, loss in itertools.product(*lists):
        cells = [measure(options, name, rate, rtt, loss) for name in names]
        print(f"| {rate} | {rtt} | {loss / 1e4:.1f} % | " + " | ".join(cells) + " |", flush=True)


def measure(options, name, rate, rtt, loss):
    """One case on one link that is made for it."""
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="bench-link-") as work, contextlib.ExitStack() as stack:
        work = pathlib.Path(work)
        source = work / "source"
        if options.files:
            ways.make_tree(source, options.files)
        else:
            ways.make_file(source, max(8, int(rate * options.seconds / 8 / 1.048576)))
        ends = stack.enter_context(link(options.link, rate, rtt, loss))
        for end in (ends.client, ends.server) if options.congestion else ():
            setting = f"net.ipv4.tcp_congestion_control={options.congestion}"
            subprocess.run([*end, "sysctl", "-q", "-w", setting], check=True)
        case = stack.enter_context(contextlib.closing(ways.makers(work, options.hikyaku.resolve(), ends)[name]()))
        begun = time.monotonic()
        with watched(ends, f"{rate} Mbit/s, {rtt} ms, {loss / 1e4:.1f} %: {name}"):
            ways.run_and_count(case, source)
        wall = time.monotonic() - begun
        if subprocess.run(["diff", "-rq", source, case.into / "source"]).returncode != 0:
            sys.exit(f"{name} made a different copy")
        if options.files:
            return f"{wall:.2f} s"
        return f"{source.stat().st_size * 8 / 1e6 / wall:.0f} Mbit/s ({wall:.1f} s)"


@contextlib.contextmanager
def watched(ends, what):
    """Says at the end what limited the TCP connection of the client that carried most."""
    samples, over = [], threading.Event()

    def number(text, name):
        found = re.search(rf"\b{name}:(\d+)", text)
        return int(found[1]) if found else 0

    def watch():
        while not over.wait(0.25):
            told = subprocess.run([*ends.client, "ss", "-tinH"], capture_output=True, text=True).stdout.splitlines()
            samples.append(max((line for line in told if "cwnd:" in line), key=lambda line: number(line, "bytes_sent"), default=""))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        samples[:] = [sample for sample in samples if number(sample, "bytes_sent") > 100_000]
        if samples:
            last, windows = samples[-1], sorted(number(sample, "cwnd") * number(sample, "mss") for sample in samples)
            waits = re.findall(r"(?:rwnd|sndbuf)_limited:\S+", last)
            starved = sum("app_limited" in sample for sample in samples) / len(samples)
            control = re.search(r"\b(bbr|cubic|reno)\b", last)
            again = number(last, "bytes_retrans") / max(1, number(last, "bytes_sent"))
            print(
                f"{what}: {control[1] if control else '?'}, window {windows[len(windows) // 2] / 1e6:.2f} MB (most {windows[-1] / 1e6:.2f}), "
                f"sent again {again:.1%}, starved in {starved:.0%} of the samples {' '.join(waits)}",
                file=sys.stderr,
                flush=True,
            )


@contextlib.contextmanager
def link(program, rate, rtt, loss):
    queue = max(256, int(rate * 1e6 / 8 * rtt / 1e3 / 1024))
    words = [program, "--rate-mbit", rate, "--delay-ms", rtt / 2, "--queue-kib", queue, "--loss-ppm", loss]
    process = subprocess.Popen([*map(str, words), "--", "sh", "-c", "echo up; cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        if process.stdout.readline() != b"up\n":
            sys.exit("the link did not come up")
        enter = [["ip", "netns", "exec", f"hk-{process.pid}-{end}"] for end in "ab"]
        yield ways.Ends("10.77.0.2", *enter)
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            process.wait()


if __name__ == "__main__":
    main()
