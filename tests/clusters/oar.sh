#!/usr/bin/env bash
# OAR with one node, and a PostgreSQL of its own: `eval "$(bash oar.sh start)"`, `bash oar.sh stop`.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# The only places where OAR looks; as they were is put back in the end.
settings=/etc/oar/oar.conf
job_profile=/var/lib/oar/.batch_job_bashrc
port=26432

exports() { :; }

start() {
    install_packages postgresql oar-server oar-server-pgsql oar-node oar-user oar-user-pgsql libjson-perl tcc libc6-dev
    chmod 755 "$folder"
    [[ -e $folder/oar.log ]] || install -o oar /dev/null "$folder/oar.log"
    start_postgres $port
    [[ -e $folder/before ]] || (mkdir "$folder/before.new" && cp --preserve $settings "$folder/before.new" && mv "$folder/before.new" "$folder/before")
    configure
    oar-database --check >/dev/null 2>&1 || make_database
    mkdir -p /run/sshd
    daemon sshd /usr/sbin/sshd -D -f /etc/oar/sshd_config -o ListenAddress=127.0.0.1 -o PidFile=none
    [[ -e $folder/loopback.so ]] || tcc -shared -o "$folder/loopback.so" "$here/loopback.c"
    # As Almighty in /usr/sbin starts it, which becomes oar and can't have anything preloaded.
    daemon almighty setpriv --reuid=oar --regid=oar --init-groups env LD_PRELOAD="$folder/loopback.so" OARCONFFILE=$settings OARDIR=/usr/lib/oar OARUSER=oar \
        OARDO_USER=root OARDO_UID=0 USER=oar LOGNAME=oar HOME=/var/lib/oar SHELL=/bin/bash PATH="/usr/bin:/usr/sbin:/bin:/sbin:/usr/lib/oar/oardodo" \
        /usr/lib/oar/Almighty
    wait_for "answer of the server" 30 server_answers
    make_resources
    wait_for "a node that is alive" 60 node_works
}

server_answers() { oarstat; }

node_works() { [[ $(oarnodes --state) == *Alive* ]]; }

no_jobs() { [[ -z $(oarstat 2>/dev/null) ]]; }

stop() {
    if alive almighty; then
        oarstat --full 2>/dev/null | sed -n 's/^Job_Id: //p' | xargs --no-run-if-empty oardel >&2 || true
        wait_for "end of the jobs" 30 no_jobs
    fi
    end_daemons almighty sshd postgres
    [[ ! -e $folder/before ]] || cp --preserve "$folder/before/oar.conf" $settings
}

configure() {
    local option file=$folder/oar.conf
    cp "$folder/before/oar.conf" "$file"
    for option in DB_PORT=$port DB_BASE_PASSWD="$(<"$folder/password")" DB_BASE_PASSWD_RO="$(<"$folder/password")" LOG_FILE="$folder/oar.log" LOG_LEVEL=3 \
        SCHEDULER_MIN_TIME_BETWEEN_2_CALLS=0 SCHEDULER_JOB_SECURITY_TIME=1; do
        sed -i "s|^#\? *${option%%=*}=.*|${option%%=*}=\"${option#*=}\"|" "$file"
    done
    # Jobs are not confined to their processors: that would need control groups of version 1.
    sed -i 's|^JOB_RESOURCE_MANAGER_PROPERTY_DB_FIELD=|#&|' "$file"
    cmp --silent "$file" $settings || cat "$file" >$settings # keeps owner and mode
    # Each bash in a job would read ~/.bashrc: one that calls a bash script would call itself for ever. It stays empty
    # afterwards, for something of a job may outlive all this.
    : >$job_profile
}

make_database() {
    oar-database --create --db-admin-user=postgres --db-admin-pass="$(<"$folder/password")" --force-yes >"$folder/oar-database.log" 2>&1
    # Root may submit: an ordinary user might not even see the Python that the tests run on.
    PGPASSWORD=$(<"$folder/password") psql --host=127.0.0.1 --port=$port --username=oar --quiet oar \
        --command="UPDATE admission_rules SET enabled = 'NO' WHERE rule LIKE '%root and oar users are not allowed%'"
}

make_resources() {
    local number
    grep -qx core <<<"$(oarproperty --list)" || oarproperty --add core >/dev/null
    for ((number = $(oarnodes | grep -c '^resource_id') + 1; number <= slots; number++)); do
        oarnodesetting --add --hostname localhost --property core=$number --property cpuset=$((number - 1)) >/dev/null
    done
}

main "$@"
