#!/bin/sh
# A parcel over a cable that is cut: two network namespaces, the server and Ben in one, Ana and Eva in the other. Ana sends into
# a room, Ben and Eva fetch along, the cable is cut in the middle for a while, and all three go on by themselves. As root.
# usage: cable.sh HIKYAKU [SECONDS] [TRANSPORT]       (how long it is cut: 15; tcp, quic or auto)
set -eu
hikyaku=$(realpath "$1") cut=${2:-15} transport=${3:-auto}
work=$(mktemp -d)
near=hikyaku-near far=hikyaku-far
finish() {
    kill $(jobs -p) 2>/dev/null || true
    ip netns delete "$near" 2>/dev/null || true
    ip netns delete "$far" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
for namespace in "$near" "$far"; do
    ip netns add "$namespace"
    ip -n "$namespace" link set lo up
done
ip link add hk0 netns "$near" type veth peer name hk0 netns "$far"
ip -n "$near" address add 10.77.0.1/24 dev hk0
ip -n "$far" address add 10.77.0.2/24 dev hk0
ip -n "$near" link set hk0 up
ip -n "$far" link set hk0 up
at() { # at NAMESPACE HOME ARGUMENT…
    namespace=$1 home=$2
    shift 2
    HIKYAKU_HOME=$work/$home ip netns exec "$namespace" "$hikyaku" --transport "$transport" "$@"
}
cd "$work"
mkdir ben-has eva-has
ip netns exec "$near" "$hikyaku" serve --data "$work/data" --listen 10.77.0.1:4747 > served 2> served.err &
until grep -q ready: served; do sleep 0.1; done
sed -n 's/^invite: //p' served | at "$far" ana join - --name ana
at "$far" ana room create ops
at "$far" ana invite create | at "$near" ben join - --name ben
at "$far" ana invite create | at "$far" eva join - --name eva
dd if=/dev/urandom of=big.iso bs=1M count=32 2> /dev/null
begun=$(date +%s)
at "$far" ana send big.iso --to '#ops' --limit-rate 4M > said-ana 2>&1 &
sending=$!
sleep 2
at "$near" ben get '#ops:1' --into ben-has > said-ben 2>&1 &
ben=$!
at "$far" eva get '#ops:1' --into eva-has > said-eva 2>&1 &
eva=$!
sleep 2
echo "the cable is cut for $cut s"
ip -n "$far" link set hk0 down
sleep "$cut"
at "$near" ben tail ops
ip -n "$far" link set hk0 up
echo "it is whole again, after $(($(date +%s) - begun)) s"
for one in "$sending ana" "$ben ben" "$eva eva"; do
    code=0
    wait "${one% *}" || code=$?
    echo "${one#* }: exit $code after $(($(date +%s) - begun)) s"
    sed 's/^/    /' "said-${one#* }"
done
cmp big.iso ben-has/big.iso
cmp big.iso eva-has/big.iso
at "$near" ben tail ops
