#!/usr/bin/env bash
# Grid Engine with one host: `eval "$(bash sge.sh start)"`, `bash sge.sh stop`.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

export SGE_ROOT=$folder/root SGE_CELL=default SGE_QMASTER_PORT=26444 SGE_EXECD_PORT=26445
common=$SGE_ROOT/$SGE_CELL/common

exports() { printf 'export %s\n' "SGE_ROOT=$SGE_ROOT" SGE_CELL=$SGE_CELL SGE_QMASTER_PORT=$SGE_QMASTER_PORT SGE_EXECD_PORT=$SGE_EXECD_PORT; }

start() {
    # The packages ask whether they shall make a cluster, which we do ourselves.
    echo "gridengine-common shared/gridengineconfig boolean false
gridengine-client shared/gridengineconfig boolean false" | debconf-set-selections
    install_packages gridengine-master gridengine-exec gridengine-client tcc libc6-dev
    [[ -e $common/host_aliases ]] || make_cell
    [[ -e $folder/loopback.so ]] || tcc -shared -o "$folder/loopback.so" "$here/loopback.c"
    # SGE_ND: stay in the foreground.
    daemon sge_qmaster env SGE_ND=1 LD_PRELOAD="$folder/loopback.so" sge_qmaster
    wait_for "answer of sge_qmaster" 30 qconf -sh
    configure >"$folder/configure.log" 2>&1
    daemon sge_execd env SGE_ND=1 LD_PRELOAD="$folder/loopback.so" sge_execd
    wait_for "a host that reports" 60 host_works
    qmod -cq '*' >/dev/null || true # of an earlier run, when a job could not be started
}

host_works() { grep -q 'lx-amd64 *$' <<<"$(qstat -f -q main.q)"; }

no_jobs() { [[ -z $(qstat -u '*') ]]; }

stop() {
    if alive sge_qmaster && alive sge_execd; then
        no_jobs || qdel -u '*' >&2 || true
        wait_for "end of the jobs" 30 no_jobs
    fi
    end_daemons sge_execd sge_qmaster
}

# What the package's own first start does, in a folder of ours.
make_cell() {
    local part
    mkdir -p "$common" "$folder"/spool/{spooldb,qmaster/job_scripts,execd}
    for part in bin lib util utilbin; do ln -sfn "/var/lib/gridengine/$part" "$SGE_ROOT/$part"; done
    sed -e "s|/var/spool/gridengine|$folder/spool|" /usr/share/gridengine/default-bootstrap >"$common/bootstrap"
    sed -e "s|/var/spool/gridengine|$folder/spool|" /usr/share/gridengine/default-configuration >"$folder/configuration"
    sed -e "s|^baseconf=.*|baseconf=$folder/configuration|" /usr/share/gridengine/scripts/init_cluster >"$folder/init_cluster"
    echo localhost >"$common/act_qmaster"
    chown -R sgeadmin: "$SGE_ROOT" "$folder/spool"
    su -s /bin/sh sgeadmin -c "sh '$folder/init_cluster' '$SGE_ROOT' $SGE_CELL '$folder/spool/spooldb' sgeadmin" >"$folder/init_cluster.log"
    # The machine is called as its loopback is, which is where all of it listens.
    echo "localhost $host $(hostname -f)" >"$common/host_aliases"
}

as_manager() { su -s /bin/sh sgeadmin -c "$*"; }

configure() {
    local file=$folder/global
    grep -qx root <<<"$(qconf -sm)" || as_manager qconf -am root
    grep -qx localhost <<<"$(qconf -ss 2>/dev/null)" || qconf -as localhost
    # Jobs of root are welcome.
    qconf -sconf global | sed -e '/^#/d' -e 's/^\(min_[ug]id\) .*/\1 0/' >"$file"
    qconf -Mconf "$file"
    # Looks for jobs to start at once, not every 15 seconds.
    qconf -ssconf | sed -e 's/^schedule_interval.*/schedule_interval 0:0:1/' -e 's/^flush_\(submit\|finish\)_sec.*/flush_\1_sec 1/' >"$file"
    qconf -Msconf "$file"
    if ! grep -qx localhost <<<"$(qconf -sel 2>/dev/null)"; then
        printf '%s\n' 'hostname localhost' 'load_scaling NONE' 'complex_values NONE' 'user_lists NONE' 'xuser_lists NONE' 'projects NONE' \
            'xprojects NONE' 'usage_scaling NONE' 'report_variables NONE' >"$file"
        qconf -Ae "$file"
    fi
    if ! grep -qx smp <<<"$(qconf -spl 2>/dev/null)"; then
        sed -e 's/^slots .*/slots 999/' /usr/share/gridengine/util/resources/pe/smp >"$file"
        qconf -Ap "$file"
    fi
    if ! grep -qx main.q <<<"$(qconf -sql 2>/dev/null)"; then
        qconf -sq | sed -e 's/^qname .*/qname main.q/' -e 's/^hostlist .*/hostlist localhost/' -e "s/^slots .*/slots $slots/" -e 's/^pe_list .*/pe_list smp/' \
            -e 's/^load_thresholds .*/load_thresholds NONE/' -e 's|^shell .*|shell /bin/bash|' -e 's/^shell_start_mode .*/shell_start_mode unix_behavior/' >"$file"
        qconf -Aq "$file"
    fi
}

main "$@"
