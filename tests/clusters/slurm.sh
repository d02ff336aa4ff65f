#!/usr/bin/env bash
# Slurm with one node: `eval "$(bash slurm.sh start)"`, `bash slurm.sh stop`.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

export SLURM_CONF=$folder/slurm.conf

exports() { echo "export SLURM_CONF=$SLURM_CONF"; }

start() {
    install_packages munge slurm-client slurmctld slurmd
    chmod 755 "$folder" # munged wants a socket that all can get at
    if [[ ! -e $SLURM_CONF ]]; then
        head -c 1024 /dev/urandom >"$folder/munge.key"
        chmod 400 "$folder/munge.key"
        settings >"$SLURM_CONF"
    fi
    daemon munged munged --foreground --force --num-threads=2 --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
        --pid-file="$folder/munged.own-pid" --seed-file="$folder/munge.seed" --log-file="$folder/munged.log"
    wait_for "answer of munged" 20 munge --no-input --socket="$folder/munge.socket"
    daemon slurmctld slurmctld -D -f "$SLURM_CONF"
    wait_for "answer of slurmctld" 30 controller_answers
    daemon slurmd slurmd -D -f "$SLURM_CONF"
    wait_for "an idle node" 30 node_works
}

controller_answers() { [[ $(scontrol ping) == *'is UP'* ]]; }

node_works() { [[ $(sinfo --noheader --format=%T) =~ ^(idle|mixed|allocated)$ ]]; }

no_jobs() { [[ -z $(squeue --noheader 2>/dev/null) ]]; }

stop() {
    if alive slurmctld && alive slurmd; then
        squeue --noheader --format=%A | xargs --no-run-if-empty scancel || true
        wait_for "end of the jobs" 30 no_jobs
    fi
    end_daemons slurmd slurmctld munged
}

settings() {
    cat <<CONF
ClusterName=amltk
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.own-pid
SlurmdPidFile=$folder/slurmd.own-pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
# The node has the processors that we say, not those of the machine.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=500
# Looks for jobs to start every second, not every minute; one that is to end has two seconds after SIGTERM.
SchedulerParameters=sched_interval=1,batch_sched_delay=1,sched_min_interval=0,bf_interval=1
KillWait=2
MinJobAge=60
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$slots RealMemory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo) State=UNKNOWN
PartitionName=debug Nodes=$host Default=YES MaxTime=2:00:00 PreemptMode=OFF State=UP
PartitionName=short Nodes=$host MaxTime=0:01:00 PreemptMode=OFF State=UP
# Jobs of "urgent" take the place of those of "spare".
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=spare Nodes=$host PreemptMode=REQUEUE GraceTime=1 State=UP
PartitionName=urgent Nodes=$host PriorityTier=10 PreemptMode=OFF State=UP
CONF
}

main "$@"
