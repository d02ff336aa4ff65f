# For scripts that start services, which source it: those of this folder, and `../airflow/airflow.sh`.
# shellcheck shell=bash
#
# Each is called with `start` or `stop`. What they start listens on loopback only, and keeps all that it writes in a folder
# of its own, with the ids of its processes; `stop` ends these, and removes that folder. Packages stay installed.
# `start` prints what to export, and nothing else, to standard output.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=$(basename "$0" .sh)
folder=/run/amltk-clusters/$name
slots=8 # more than the machine may have: tests need several clusters of several workers, most of them idle
host=$(hostname -s)

say() { echo "$name: $*" >&2; }

die() {
    say "$*"
    exit 1
}

need_root() {
    ((EUID == 0)) || die "must be run as root, in a container or on a machine that is for tests"
}

# Installs what is missing, and keeps packages from starting their services: they do not have our settings.
install_packages() {
    local missing=() package policy=/usr/sbin/policy-rc.d
    for package in "$@"; do
        [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || die "needs the packages ${missing[*]}, and there is no apt-get"
    say "installing ${missing[*]}"
    (
        flock 9 # those of another script; apt-get does not wait for the lists of packages
        if [[ ! -e $policy ]]; then
            printf '#!/bin/sh\nexit 101\n' >$policy
            chmod +x $policy
            trap 'rm $policy' EXIT
        fi
        apt-get -qq update && apt-get -qq -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "${missing[@]}"
    ) 9>/run/amltk-clusters/apt.lock >"$folder/apt.log" 2>&1 || {
        cat "$folder/apt.log" >&2
        die "apt-get could not install ${missing[*]}"
    }
}

# An id is given anew when its process has ended: together with the time of its start it is not. Names may have spaces.
begun() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }

# Is what `daemon` started under this name still there?
alive() {
    local pid time
    read -r pid time 2>/dev/null <"$folder/$1.pid" && [[ $(begun "$pid") == "$time" ]]
}

# daemon NAME COMMAND...: starts a command that stays in the foreground, unless it is there.
daemon() {
    local called=$1
    shift
    alive "$called" && return
    setsid "$@" </dev/null >>"$folder/$called.log" 2>&1 &
    echo "$! $(begun $!)" >"$folder/$called.pid"
    disown
}

# wait_for WHAT SECONDS CONDITION...: waits until a command succeeds; shows the logs when it does not.
wait_for() {
    local what=$1 end=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= end)); then
            tail -n 20 "$folder"/*.log >&2 || true
            die "$what: not within the time"
        fi
        sleep 0.2
    done
}

# start_postgres PORT: a database server of its own, whose user `postgres` has the password in $folder/password.
start_postgres() {
    local port=$1 programs password=$folder/password
    programs=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
    if [[ ! -e $folder/database ]]; then
        install -d -o postgres "$folder/database"
        head -c 12 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$password"
        chown postgres "$password"
        chmod 400 "$password"
        (cd / && setpriv --reuid=postgres --regid=postgres --init-groups "$programs/initdb" --auth=scram-sha-256 --pwfile="$password" --no-sync \
            "$folder/database") >"$folder/initdb.log" 2>&1
    fi
    daemon postgres setpriv --reuid=postgres --regid=postgres --init-groups "$programs/postgres" -D "$folder/database" -c listen_addresses=127.0.0.1 -c port=$port \
        -c unix_socket_directories="$folder/database" -c fsync=off
    wait_for "answer of PostgreSQL" 30 "$programs/pg_isready" --host=127.0.0.1 --port=$port
}

gone() { ! alive "$1"; }

# Ends what `daemon` started, the last first.
end_daemons() {
    local called
    for called in "$@"; do
        alive "$called" || continue
        kill "$(cut -d ' ' -f 1 "$folder/$called.pid")"
        wait_for "end of $called" 20 gone "$called"
    done
}

main() {
    case ${1-} in
    start)
        need_root
        mkdir -p "$folder"
        start
        say "up; stop it with: bash ${BASH_SOURCE[1]} stop"
        exports
        ;;
    stop)
        [[ -d $folder ]] || exit 0
        need_root
        stop
        rm -rf "$folder"
        say "stopped"
        ;;
    *) die "usage: bash ${BASH_SOURCE[1]} start | stop" ;;
    esac
}
