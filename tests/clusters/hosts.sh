#!/usr/bin/env bash
# Three hosts on one machine, with a Slurm of two nodes: `bash hosts.sh start`, `bash hosts.sh stop`.
#
# A host has network, name, mounts and processes of its own; it shares all files but /dev/shm and /etc/hosts. `login` has the
# interface `lan0`, `node1` and `node2` have `fast0`. Cables end at a bridge, in a network of its own without a way out.
#
#     bash hosts.sh on login squeue        runs a command on a host
#     bash hosts.sh cable node2 down       pulls the cable of a host; `up` puts it back
#     bash hosts.sh power node2 off        ends all that runs on a host at once; `on` starts it again
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

export SLURM_CONF=$folder/slurm.conf
switch=amltk-hosts
network=10.213.77
declare -A number=([login]=1 [node1]=11 [node2]=12) interface=([login]=lan0 [node1]=fast0 [node2]=fast0)

exports() { :; }

# The first process on a host, as seen from here.
first() { pgrep --parent "$(cut -d ' ' -f 1 "$folder/$1.pid")"; }

# A host is there when its first process has given it its name, which is the last thing it does.
named() { [[ $(nsenter --target "$(first "$1")" --uts hostname) == "$1" ]]; }

on() {
    local host=$1
    shift
    # shellcheck disable=SC2016 # it is for the shell over there, which begins in the root folder
    nsenter --target "$(first "$host")" --net --uts --mount --pid -- sh -c 'cd "$0" && exec "$@"' "$PWD" "$@"
}

host_on() {
    local host=$1
    daemon "$host" unshare --net --uts --mount --pid --fork --kill-child --propagation slave bash -c "
        mount -t proc proc /proc && mount -t tmpfs tmpfs /dev/shm && mount --bind '$folder/names' /etc/hosts && hostname $host
        trap : TERM HUP INT
        while :; do sleep infinity & wait \$!; done"
    wait_for "host $host" 20 named "$host"
    ip -netns $switch link delete "to-$host" 2>/dev/null || true # the kernel takes its time to do so for a host that is gone
    ip -netns $switch link add "to-$host" type veth peer name "${interface[$host]}" netns "$(first "$host")"
    ip -netns $switch link set "to-$host" master bridge up
    on "$host" sh -c "ip link set lo up; ip address add $network.${number[$host]}/24 dev ${interface[$host]}; ip link set ${interface[$host]} up"
    on "$host" setsid munged --foreground --force --num-threads=2 --key-file="$folder/munge.key" --socket=/dev/shm/munge.socket \
        --pid-file=/dev/shm/munged.pid --seed-file=/dev/shm/munge.seed --log-file="$folder/munged-$host.log" </dev/null >/dev/null 2>&1 &
    wait_for "answer of munged on $host" 20 on "$host" munge --no-input --socket=/dev/shm/munge.socket
    # What its jobs and programs write as their own is gone with the host.
    on "$host" mkdir --parents /dev/shm/spool /dev/shm/tmp
    case $host in
    login) on login setsid slurmctld -D -f "$SLURM_CONF" </dev/null >>"$folder/slurmctld.out" 2>&1 & ;;
    *) on "$host" env TMPDIR=/dev/shm/tmp setsid slurmd -D -N "$host" -f "$SLURM_CONF" </dev/null >>"$folder/slurmd-$host.out" 2>&1 & ;;
    esac
}

host_off() {
    alive "$1" || return 0
    kill -KILL "$(first "$1")"
    wait_for "end of $1" 20 gone "$1"
}

start() {
    install_packages munge slurm-client slurmctld slurmd iproute2 util-linux procps
    chmod 755 "$folder"
    alive login && return
    host_names >"$folder/names"
    head -c 1024 /dev/urandom >"$folder/munge.key"
    chmod 400 "$folder/munge.key"
    epilog >"$folder/epilog"
    chmod +x "$folder/epilog"
    settings >"$SLURM_CONF"
    ip netns add $switch
    ip -netns $switch link add bridge type bridge
    ip -netns $switch link set bridge up
    local host
    for host in login node1 node2; do host_on $host; done
    wait_for "two idle nodes" 40 nodes_work
}

nodes_work() { [[ $(on login sinfo --noheader --partition=debug --states=idle --format=%D) == 2 ]]; }

stop() {
    local host
    for host in node2 node1 login; do host_off $host; done
    ip netns delete $switch 2>/dev/null || true
}

host_names() {
    echo "127.0.0.1 localhost"
    local host
    for host in login node1 node2; do echo "$network.${number[$host]} $host"; done
}

# Runs on a node after each job, and takes as long as there is a file `epilog-waits`.
epilog() {
    cat <<SCRIPT
#!/bin/sh
while [ -e '$folder/epilog-waits' ]; do sleep 0.1; done
SCRIPT
}

settings() {
    cat <<CONF
ClusterName=amltk-hosts
SlurmctldHost=login($network.${number[login]})
SlurmUser=root
SlurmdUser=root
AuthInfo=socket=/dev/shm/munge.socket
StateSaveLocation=/dev/shm/spool
SlurmdSpoolDir=/dev/shm/spool
SlurmctldPidFile=/dev/shm/slurmctld.pid
SlurmdPidFile=/dev/shm/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=500
SchedulerParameters=sched_interval=1,batch_sched_delay=1,sched_min_interval=0,bf_interval=1
Epilog=$folder/epilog
KillWait=2
MinJobAge=60
ReturnToService=2
# A node that does not answer for so long has failed, and its jobs with it.
SlurmdTimeout=15
TCPTimeout=2
NodeName=node1 NodeAddr=$network.${number[node1]} CPUs=4 RealMemory=8000 State=UNKNOWN
NodeName=node2 NodeAddr=$network.${number[node2]} CPUs=4 RealMemory=8000 State=UNKNOWN
PartitionName=debug Nodes=node1,node2 Default=YES MaxTime=2:00:00 State=UP LLN=YES
PartitionName=second Nodes=node2 MaxTime=2:00:00 State=UP
CONF
}

case ${1-} in
on) on "${@:2}" ;;
cable) ip -netns $switch link set "to-$2" "$3" ;;
power) "host_$3" "$2" ;;
*) main "$@" ;;
esac
