#!/usr/bin/env python3
"""Times sending one file, or one tree of small files, into a directory: `hikyaku send PATH --to :` beside cp, scp, rsync.

usage: run.py HIKYAKU [--runs 5] [--mib 2048 | --files 10000] [--directory /dev/shm] [--cases cp,scp,…]

HIKYAKU is the program (target/release/hikyaku). Everything happens in a temporary directory below --directory, which
should be a memory file system, and on the loopback interface: servers, keys and configurations are made there and are
gone afterwards. The cases take turns, in another order each time. The time is the client command's, from its start to
its end; the processor time is that of the client with all it starts, and of the server with all that it has started.
The first copy of each case is compared with the original, byte by byte. Needs sshd and rsync for their cases.
Cases: cp, scp, rsync (a daemon, not encrypted), rsync-ssh, tar-ssh, hikyaku-tcp, hikyaku-quic.
"""
import argparse
import contextlib
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import cases as ways

# A server's children are counted once they have been waited for.
SETTLE = 0.3


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("hikyaku", type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--files", type=int, help="a tree of so many files of 4 KiB instead of one file")
    parser.add_argument("--directory", default="/dev/shm")
    parser.add_argument("--cases", default="cp,scp,rsync,hikyaku-tcp,hikyaku-quic")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="bench-files-") as work, contextlib.ExitStack() as stack:
        work = pathlib.Path(work)
        source = work / "source"
        # For the source and a copy, and as much again for whoever needs it meanwhile.
        size = options.files * 2 * ways.PAGE if options.files else options.mib << 20
        stack.enter_context(ways.memory_at_hand(work, 3 * size))
        if options.files:
            ways.make_tree(source, options.files)
        else:
            ways.make_file(source, options.mib)
        makers = ways.makers(work, options.hikyaku.resolve(), ways.Ends())
        cases = {name: stack.enter_context(contextlib.closing(makers[name]())) for name in options.cases.split(",")}
        results = measure(cases, source, options.runs)
        size = options.files / 1e4 if options.files else source.stat().st_size / 1e9
        print_table(cases, results, size, "10,000 files" if options.files else "GB", options.runs)


def measure(cases, source, runs):
    results = {name: [] for name in cases}
    names = list(cases)
    for run in range(runs):
        for at in range(len(names)):
            name = names[(at + run) % len(names)]
            case = cases[name]
            copy = case.into / source.name
            remove(copy)
            before = case.server_seconds()
            begun = time.monotonic()
            client = ways.run_and_count(case, source)
            wall = time.monotonic() - begun
            time.sleep(SETTLE)
            server = case.server_seconds() - before
            if run == 0 and subprocess.run(["diff", "-rq", source, copy]).returncode != 0:
                sys.exit(f"{name} made a different copy")
            remove(copy)
            results[name].append((wall, client, server))
            print(f"run {run}: {name}: {wall:.2f} s", file=sys.stderr)
    return results


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def print_table(cases, results, size, unit, runs):
    print(
        f"| case | wall s (least to most of {runs} runs) | × cp | {unit}/s "
        f"| client CPU s/{unit} | server CPU s/{unit} | both |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, rows in results.items():
        walls = [row[0] for row in rows]
        ratios = [row[0] / reference[0] for row, reference in zip(rows, results.get("cp", rows))]
        client, server = (statistics.median(row[column] for row in rows) / size for column in (1, 2))
        wall = statistics.median(walls)
        print(
            f"| {cases[name].description} | {wall:.2f} ({min(walls):.2f} to {max(walls):.2f}) "
            f"| {statistics.median(ratios):.2f} | {size / wall:.2f} "
            f"| {client:.2f} | {server:.2f} | {client + server:.2f} |"
        )


if __name__ == "__main__":
    main()
