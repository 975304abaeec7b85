#!/bin/sh
# Measures what files are held to, one after the other: about 6 minutes as root on a machine where nothing else runs.
# usage: gates.sh HIKYAKU LINK       (target/release/hikyaku and bench/target/release/link, which are built already)
set -eu
here=$(dirname "$0")
hikyaku=$1 link=$2
run() { "$here/run.py" "$hikyaku" "$@" 2>/dev/null; }
links() { "$here/link.py" "$hikyaku" "$link" "$@"; }

echo "One file of 2 GiB. Marks: TCP 2.6 x cp and 2.5 CPU s/GB for both ends, no slower than the rsync daemon; QUIC 3.5 x cp."
run --runs 5 --cases cp,rsync,hikyaku-tcp,hikyaku-quic
echo "The same where a packet has 1,452 bytes. Mark: QUIC 6 x cp."
unshare -n sh -c 'ip link set lo mtu 1500 up; exec "$0" "$@"' "$here/run.py" "$hikyaku" --runs 3 --cases cp,hikyaku-quic 2>/dev/null
echo "10,000 files of 4 KiB. Mark: 2.7 x cp -r."
run --runs 5 --files 10000 --cases cp,rsync,rsync-ssh,hikyaku-tcp,hikyaku-quic
echo "100,000 files of 4 KiB. Mark: 11 times as long as 10,000."
run --runs 2 --files 100000 --cases cp,hikyaku-tcp,hikyaku-quic
echo "Links without losses. Mark: 85 % of the link."
links --rates 100 --rtts 20,100 --losses 0 --seconds 20 --cases bare,hikyaku-tcp,hikyaku-quic
links --rates 1000 --rtts 20 --losses 0 --seconds 8 --cases bare,hikyaku-tcp,hikyaku-quic
echo "10,000 files of 4 KiB over 20 ms. Mark: a fifth of rsync over ssh."
links --rates 1000 --rtts 20 --losses 0 --files 10000 --cases rsync-ssh,hikyaku-tcp,hikyaku-quic
