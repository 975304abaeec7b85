#!/usr/bin/env python3
"""Runs the room log's benchmark: each end a process of its own, every server fresh for every run, peers in between.

usage: run.py FANOUT [--runs 3] [--store DIRECTORY] [--scenarios fan1000,… | --figures] [--only-ours] [--output FILE.jsonl]
              [--peers HARNESS --fanload PROGRAM] [--peer 'nats tls' …]

FANOUT is the program of this folder. DIRECTORY must be on a real disk: our store is made durable there, and the time of
an fsync is printed. HARNESS is a folder with `fan.py` (the load generator's runner for NATS, mosquitto and ngircd; its
README says how to set it up, with BENCH_WORK in the environment) and PROGRAM its generator. Both generators keep the same
loop: one worker thread, so many messages in flight, each delivery read and its latency counted.

--figures runs all of what the project holds itself to, prints which marks are met, and takes about ten minutes.

Run it where nothing else uses the loopback interface, such as below `unshare -n sh -c 'ip link set lo up; …'`: wire bytes
are that interface's.
"""
import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

FAN = [(1000, 64), (1000, 8), (1000, 1), (100, 64), (100, 8), (100, 1)]


def messages(members, window):
    return {64: 3_000_000, 8: 800_000, 1: 200_000}[window] // members


# name: our scenario, keys of ours, server options, scenario of the peers' generator (None: not theirs)
SCENARIOS = {}
for m, w in FAN:
    keys = f"members={m} messages={messages(m, w)} window={w}"
    SCENARIOS[f"fan{m}w{w}"] = ("fan", keys, "", f"fan {keys}")
    # Readers that decode one event in 16, and take the others from the follower as they are.
    SCENARIOS[f"fan{m}w{w}relay"] = ("fan", f"{keys} decode=16", "", None)
SCENARIOS["rooms"] = ("rooms", "rooms=100 members=10 rate=2 secs=5", "", "rooms rooms=100 members=10 rate=2 secs=5")
for n in (1000, 5000, 10000):
    SCENARIOS[f"idle{n}"] = ("idle", f"conns={n}", "", f"idle conns={n}")
    SCENARIOS[f"following{n}"] = ("idle", f"conns={n} follow=1", "", None)
    SCENARIOS[f"idle{n}quic"] = ("idle", f"conns={n} transport=quic", "", None)
SCENARIOS["authors64"] = ("authors", "authors=64", "", None)
SCENARIOS["authors64single"] = ("authors", "authors=64", "--commit-events 1", None)
SCENARIOS["resume"] = ("resume", "conns=5000 missed=1000", "", None)
SCENARIOS["steady"] = ("stall", "members=100 rate=500", "", None)
SCENARIOS["stalled"] = ("stall", "members=100 rate=500 stalled=1", "", None)
USUAL = [f"fan{m}w{w}" for m, w in FAN] + ["rooms", "idle1000", "idle5000", "idle10000", "authors64", "authors64single", "steady", "stalled"]
FIGURES = ["fan1000w64", "fan1000w64relay", "fan1000w8", "fan1000w1", "fan100w64", "fan100w64relay", "fan100w8", "fan100w1"]
FIGURES += ["rooms", "authors64", "authors64single", "steady", "stalled", "resume"]
FIGURES += ["idle1000", "idle5000", "idle10000", "idle1000quic", "idle10000quic"]

# Clients over QUIC have a socket each with 2 MB to receive into. Mapped, only what is used of it is memory; from the heap,
# 10,000 of them would take 20 GB.
CLIENTS = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1048576"}

COLUMNS = {
    "fan": "per_s server_us_per_msg gen_us_per_msg msgs_per_update wire_bytes_per_msg p50_us p99_us max_us lost broken rss_mb",
    "idle": "conns connect_s cpu_us_per_connect kb_per_conn rss_before_mb rss_mb idle_cpu_s",
    "resume": "secs per_s server_us_per_msg gen_us_per_msg steady_mb peak_mb peak_ratio lost broken",
}
for other in ("rooms", "authors", "stall"):
    COLUMNS[other] = COLUMNS["fan"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fanout", type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--store", default=tempfile.gettempdir())
    parser.add_argument("--scenarios", default=",".join(USUAL))
    parser.add_argument("--figures", action="store_true")
    parser.add_argument("--peers", type=pathlib.Path)
    parser.add_argument("--fanload")
    parser.add_argument("--peer", action="append")
    parser.add_argument("--only-ours", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output")
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    peers = [] if options.only_ours or not options.peers else load_peers(options)
    begun, sync = time.monotonic(), fsync(options.store)
    print(f"fsync of 16 KiB in the store's directory: {sync['text']}; load {os.getloadavg()[0]:.1f}", flush=True)
    rows = []
    for scenario in FIGURES if options.figures else options.scenarios.split(","):
        ours, keys, server, theirs = SCENARIOS[scenario]
        runs = options.runs if ours in ("fan", "rooms", "authors", "stall") else 1
        for run in range(runs):
            turns = [("hikyaku", lambda: once(options, ours, keys, server))]
            if theirs:
                turns += [(peer.name, lambda peer=peer: peer.once(theirs)) for peer in peers if peer.can(scenario)]
            # Another order each time, so that nobody always comes after the same neighbour.
            for name, measure in turns[run % len(turns) :] + turns[: run % len(turns)]:
                try:
                    row = measure() | {"scenario": scenario, "peer": name, "run": run, "kind": ours}
                except Exception as error:
                    print(f"{scenario}: {name}: {error!r}"[:500], file=sys.stderr)
                    continue
                rows.append(row)
                if options.output:
                    with open(options.output, "a") as file:
                        print(json.dumps(row), file=file)
    print_tables(rows)
    if options.figures:
        print_marks(rows, sync["median"])
    print(f"\n{(time.monotonic() - begun) / 60:.1f} minutes; load {os.getloadavg()[0]:.1f} at the end")


def once(options, scenario, keys, server):
    """One run of ours, with a fresh store."""
    with tempfile.TemporaryDirectory(dir=options.store, prefix="bench-fanout-") as store:
        command = [options.fanout, "serve", store, "--threads", str(options.threads), *server.split()]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        try:
            _, address, trust = process.stdout.readline().split()
            command = [options.fanout, "load", scenario, address, trust, *keys.split(), f"pid={process.pid}"]
            result = subprocess.run(command, capture_output=True, text=True, timeout=400, env=os.environ | CLIENTS)
            if result.returncode != 0 or result.stderr:
                print(result.stderr.strip()[:500], file=sys.stderr)
            return json.loads(result.stdout)
        finally:
            process.kill()
            process.wait()


def load_peers(options):
    sys.path.insert(0, str(options.peers.resolve()))
    os.environ["FANLOAD"] = options.fanload or "fanload"
    import fan

    class Peer:
        def __init__(self, peer):
            self.peer, self.name = peer, peer[0]

        def can(self, scenario):
            # ngircd's logins take ever longer as it fills, and mosquitto needs minutes for what others do in seconds.
            slow = {"ngircd": "idle", "mosquitto": "fan" if options.figures else "fan1000"}
            return not any(name in self.name and scenario.startswith(what) for name, what in slow.items())

        def once(self, scenario):
            fan.SCENARIOS["here"] = scenario
            before = loopback_bytes()
            row = fan.once(self.peer, "here")
            # Connecting is in it: some 5 KB a connection.
            if row.get("delivered"):
                row["wire_bytes_per_msg"] = (loopback_bytes() - before) / row["delivered"]
            return row

    wanted = options.peer or ["nats tls", "mosquitto tls", "ngircd tls"]
    return [Peer(peer) for peer in fan.PEERS if peer[0] in wanted]


def loopback_bytes():
    for line in pathlib.Path("/proc/net/dev").read_text().splitlines():
        name, _, rest = line.strip().partition(":")
        if name == "lo":
            return int(rest.split()[0])
    return 0


def fsync(directory):
    with tempfile.NamedTemporaryFile(dir=directory, prefix="bench-fsync-") as file:
        times = []
        for _ in range(200):
            file.write(bytes(16 * 1024))
            file.flush()
            begun = time.monotonic()
            os.fdatasync(file.fileno())
            times.append((time.monotonic() - begun) * 1e3)
    times.sort()
    text = f"median {times[100]:.2f} ms, p90 {times[180]:.2f} ms, p99 {times[198]:.2f} ms"
    return {"median": times[100], "text": text}


def print_tables(rows):
    header = None
    groups = {}
    for row in rows:
        groups.setdefault((row["scenario"], row["peer"]), []).append(row)
    for (scenario, peer), runs in groups.items():
        columns = COLUMNS[runs[0]["kind"]].split()
        if columns != header:
            header = columns
            print("\n| scenario | server | runs | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 3) + "|")
        cells = [cell([run[column] for run in runs if column in run]) for column in columns]
        print(f"| {scenario} | {peer} | {len(runs)} | " + " | ".join(cells) + " |")


def print_marks(rows, fsync_ms):
    """What is promised beside what was measured: medians, and ratios within a run where somebody else is measured too."""

    def runs(scenario, peer, column):
        return {row["run"]: row[column] for row in rows if (row["scenario"], row["peer"]) == (scenario, peer) and column in row}

    def median(scenario, column, peer="hikyaku"):
        values = runs(scenario, peer, column).values()
        return statistics.median(values) if values else None

    def ratio(scenario, column, peer):
        ours, theirs = runs(scenario, "hikyaku", column), runs(scenario, peer, column)
        ratios = [ours[run] / theirs[run] for run in ours if theirs.get(run)]
        return statistics.median(ratios) if ratios else None

    def over(one, other):
        return one / other if one is not None and other else None

    lines = []
    for members in (1000, 100):
        scenario = f"fan{members}w64"
        lines.append((f"{members} members, 64 in flight: deliveries/s × NATS", ratio(scenario, "per_s", "nats tls"), 1.5, False))
        lines.append(
            (f"{members} members, 64 in flight: server time × NATS", ratio(scenario, "server_us_per_msg", "nats tls"), 0.6, True)
        )
    lines.append(("100 rooms: server time × mosquitto", ratio("rooms", "server_us_per_msg", "mosquitto tls"), 1, True))
    p99 = over(median("rooms", "p99_us"), 1e3)
    lines.append(("100 rooms: p99, ms", p99, 3 + fsync_ms, True))
    for count in (1000, 5000, 10000):
        lines.append((f"{count} idle over TLS: KB each", median(f"idle{count}", "kb_per_conn"), 10, True))
        lines.append((f"{count} idle over TLS: µs of the server to connect", median(f"idle{count}", "cpu_us_per_connect"), 800, True))
    lines.append(("10000 idle over QUIC: KB each", median("idle10000quic", "kb_per_conn"), None, True))
    single = over(median("authors64", "per_s"), median("authors64single", "per_s"))
    lines.append(("64 authors: messages/s × one commit a message", single, 15, False))
    lines.append(("64 authors: p99, ms", over(median("authors64", "p99_us"), 1e3), 5 * fsync_ms, True))
    lines.append(("5,000 come back: memory × steady", median("resume", "peak_ratio"), 2, True))
    lines.append(("5,000 come back: lost", median("resume", "lost"), 0, True))
    stall = over(median("stalled", "p99_us"), median("steady", "p99_us"))
    lines.append(("one of 101 stalls: p99 of the others × without it", stall, 1.15, True))
    print("\n| what | measured | mark | |\n|---|---|---|---|")
    for what, found, mark, at_most in lines:
        found_text = "-" if found is None else f"{found:.2f}"
        mark_text = "reported" if mark is None else f"{'≤' if at_most else '≥'} {mark:.4g}"
        is_met = None if found is None or mark is None else (found <= mark if at_most else found >= mark)
        print(f"| {what} | {found_text} | {mark_text} | {'' if is_met is None else 'met' if is_met else 'missed'} |")


def cell(values):
    if not values:
        return "-"
    middle = statistics.median(values)
    form = "{:.2f}" if abs(middle) < 100 and middle != int(middle) else "{:.0f}"
    text = form.format(middle)
    if min(values) == max(values):
        return text
    return f"{text} ({form.format(min(values))} to {form.format(max(values))})"


if __name__ == "__main__":
    main()
