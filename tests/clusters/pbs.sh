#!/usr/bin/env bash
# The commands of PBS over the Slurm of `slurm.sh`: `eval "$(bash pbs.sh start)"`, `bash pbs.sh stop`.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

commands=$folder/commands/usr/bin

exports() {
    bash "$here/slurm.sh" start
    echo "export PATH=$commands:\$PATH"
}

start() {
    install_packages libslurm-perl libslurmdb-perl libswitch-perl slurm-client
    # Installed, their package would remove the commands of Grid Engine, which have the same names.
    if [[ ! -e $commands/qsub ]]; then
        (cd "$folder" && apt-get -qq -o APT::Sandbox::User=root download slurm-wlm-torque)
        dpkg-deb --extract "$folder"/slurm-wlm-torque_*.deb "$folder/commands"
        ln -s /usr/bin/{sbatch,srun,scancel} "$commands" # looked for beside them
    fi
    [[ -e $folder/../slurm || -e $folder/started-slurm ]] || touch "$folder/started-slurm"
    eval "$(bash "$here/slurm.sh" start)"
    wait_for "answer of qstat" 20 commands_answer
}

commands_answer() { [[ $("$commands/qstat" -q) == *debug* ]]; } # its exit code says nothing

stop() { [[ ! -e $folder/started-slurm ]] || bash "$here/slurm.sh" stop; }

main "$@"
