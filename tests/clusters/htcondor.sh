#!/usr/bin/env bash
# HTCondor with one machine: `eval "$(bash htcondor.sh start)"`, `bash htcondor.sh stop`.
# Debian 12 has none. That of Debian 13 is unpacked into a folder, which its daemons and jobs see as `/`, with the folders
# where programs and data are. They have the rights of root, but believe to be an ordinary user, since HTCondor takes no job of root's.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$here/../../tools/debian.sh"

root=/var/lib/amltk-clusters/debian-13 # stays, as installed packages do
export CONDOR_CONFIG=$folder/condor_config

exports() { echo "export PATH=$folder/bin:\$PATH"; }

start() {
    [[ -e $root ]] || unpack
    mkdir -p "$folder"/{bin,log,spool,execute,lock}
    settings >"$CONDOR_CONFIG"
    printf '%s\n' root:x:0:0::/root:/bin/bash "$user:x:$uid:$uid::/tmp:/bin/bash" >"$folder/passwd"
    daemon condor_master unshare --mount --propagation private bash "$here/htcondor.sh" inside
    make_commands
    wait_for "a machine that takes jobs" 60 machine_works
}

machine_works() { [[ $("$folder/bin/condor_status" -af Name) == slot1@* && $("$folder/bin/condor_q" -totals) == *"Total for"* ]]; }

no_jobs() { [[ -z $("$folder/bin/condor_q" -allusers -af ClusterId) ]]; }

stop() {
    if alive condor_master; then
        "$folder/bin/condor_rm" -all >"$folder/condor_rm.log" 2>&1 || true
        wait_for "end of the jobs" 30 no_jobs
    fi
    end_daemons condor_master
}

user=amltk
uid=1000

unpack() {
    say "unpacking condor of Debian 13"
    rm -rf $root.new
    # Condor asks for what it needs, except for what every system has.
    unpack_debian trixie $root.new condor bash coreutils dash grep sed
    mv $root.new $root
}

# Becomes HTCondor, in namespaces of its own: the mounts are nobody else's, and gone with it.
inside() {
    local path
    for path in /*/ /usr/local/; do
        case $path in /bin/ | /boot/ | /etc/ | /lib*/ | /sbin/ | /sys/ | /usr/ | /var/) continue ;; esac
        mkdir -p "$root$path"
        mount --rbind "$path" "$root$path"
    done
    # Python of the system, if there is one.
    for path in /etc/hosts /etc/resolv.conf /usr/bin/python3.?? /usr/lib/python3 /usr/lib/python3.??; do
        [[ -e $path ]] || continue
        if [[ -d $path ]]; then mkdir -p "$root$path"; else touch "$root$path"; fi
        mount --bind $path "$root$path"
    done
    touch $root/etc/passwd
    mount --bind "$folder/passwd" $root/etc/passwd
    exec unshare --user --map-user=$uid --map-group=$uid --root=$root --wd=/tmp condor_master -f
}

# The commands do the same: they go where the daemon is.
make_commands() {
    local command
    cat >"$folder/command" <<COMMAND
#!/usr/bin/env bash
export CONDOR_CONFIG=$CONDOR_CONFIG
exec nsenter --target $(cut -d ' ' -f 1 "$folder/condor_master.pid") --mount --user --preserve-credentials --root --wdns="\$PWD" "/usr/bin/\${0##*/}" "\$@"
COMMAND
    chmod +x "$folder/command"
    for command in condor_submit condor_rm condor_q condor_history condor_status condor_vacate_job; do ln -sf ../command "$folder/bin/$command"; done
}

settings() {
    cat <<CONFIG
RELEASE_DIR = /usr
SBIN = /usr/sbin
BIN = /usr/bin
LIBEXEC = /usr/libexec/condor
LOCAL_DIR = $folder
LOG = $folder/log
SPOOL = $folder/spool
EXECUTE = $folder/execute
LOCK = $folder/lock
RUN = $folder/lock
DAEMON_LIST = MASTER COLLECTOR NEGOTIATOR SCHEDD STARTD
CONDOR_HOST = 127.0.0.1
COLLECTOR_HOST = 127.0.0.1:26618
NETWORK_INTERFACE = 127.0.0.1
BIND_ALL_INTERFACES = False
ENABLE_IPV6 = False
USE_SHARED_PORT = False
SEC_DEFAULT_AUTHENTICATION_METHODS = FS
ALLOW_READ = *
ALLOW_WRITE = *
ALLOW_ADMINISTRATOR = *
ALLOW_NEGOTIATOR = *
ALLOW_DAEMON = *
# One slot that is divided as jobs ask; with more processors than the machine may have.
NUM_CPUS = $slots
NUM_SLOTS = 1
NUM_SLOTS_TYPE_1 = 1
SLOT_TYPE_1 = 100%
SLOT_TYPE_1_PARTITIONABLE = True
START = True
SUSPEND = False
PREEMPT = False
KILL = False
RUNBENCHMARKS = False
# Looks for jobs to start every other second. Folders of their own would need more rights than these daemons have.
NEGOTIATOR_INTERVAL = 2
NEGOTIATOR_MIN_INTERVAL = 1
NEGOTIATOR_CYCLE_DELAY = 1
SCHEDD_INTERVAL = 2
UPDATE_INTERVAL = 5
MOUNT_UNDER_SCRATCH =
CONFIG
}

if [[ ${1-} == inside ]]; then inside; fi
main "$@"
