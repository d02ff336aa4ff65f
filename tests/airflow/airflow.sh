#!/usr/bin/env bash
# Airflow with the LocalExecutor, and a PostgreSQL of its own: `eval "$(bash airflow.sh start)"`, `bash airflow.sh stop`.
# While it is up, `bash airflow.sh end COMPONENT` and `bash airflow.sh begin COMPONENT` do so with one of its three parts.
source "$(dirname "${BASH_SOURCE[0]}")/../clusters/common.sh"

script=$(realpath "${BASH_SOURCE[0]}")
root=${script%/tests/airflow/*}
venv=$root/.venv/airflow # stays, as what is installed elsewhere does
port=26480
database_port=26433
# The last is what the example of tuning needs in workers.
requirements='apache-airflow>=3.3,<3.4 asyncpg psycopg2-binary scikit-learn>=1.5'
components=(api-server scheduler dag-processor)

exports() {
    cat <<EOF
export AMLTK_AIRFLOW_URL=http://127.0.0.1:$port
export AMLTK_AIRFLOW_USERNAME=tester
export AMLTK_AIRFLOW_PASSWORD=$(<"$folder/user-password")
export AMLTK_AIRFLOW_KEY=$(<"$folder/key")
EOF
}

start() {
    install_packages postgresql
    chmod 755 "$folder"
    install_airflow
    start_postgres $database_port
    settle
    [[ -e $folder/migrated ]] || make_database
    "$venv/bin/amltk" airflow install-dag "$folder/dags" >&2
    local component
    for component in "${components[@]}"; do begin "$component"; done
    wait_for "answer of the API" 90 api_answers
    wait_for "DAG" 60 dag_is_there
}

stop() {
    local component
    for component in "${components[@]}"; do end "$component"; done
    # A task may have left its group.
    leftovers | xargs --no-run-if-empty kill -KILL
    end_daemons postgres
}

begin() { daemon "$1" "$folder/airflow" "$1" $([[ $1 != scheduler ]] || echo --skip-serve-logs); }

# A signal for the first process alone would leave its children.
end() {
    local pid
    alive "$1" || return 0
    pid=$(cut -d ' ' -f 1 "$folder/$1.pid")
    kill -- "-$pid"
    wait_for "end of $1" 30 session_ended "$pid"
}

session_ended() { ! pgrep --session "$1"; }

# Everything of this Airflow has its home in the environment, whoever started it.
leftovers() { grep -lzxs "AIRFLOW_HOME=$folder/home" /proc/[0-9]*/environ | cut -d / -f 3 || true; }

api_answers() { python3 -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:$port/api/v2/version', timeout=5)"; }

dag_is_there() { [[ $(sql airflow "SELECT 1 FROM dag WHERE dag_id = 'amltk' AND NOT is_paused") ]]; }

install_airflow() {
    local wanted
    local ours=(amltk_core amltk_backends/amltk-airflow amltk_plugins/amltk-pynisher amltk_plugins/amltk-testing)
    wanted=$(cd "$root" && echo "$requirements" | cat - "${ours[@]/%//pyproject.toml}" | sha256sum)
    [[ $(cat "$venv/complete" 2>/dev/null) != "$wanted" ]] || return 0
    say "installing Airflow into $venv (this takes a minute or two)"
    rm -rf "$venv"
    local install=("$venv/bin/python" -m pip install -qq --no-compile)
    if command -v uv >/dev/null; then
        uv venv --quiet --python "$(command -v python3)" "$venv"
        install=(uv pip install --quiet --python "$venv/bin/python")
    else
        python3 -m venv "$venv"
    fi
    # shellcheck disable=SC2086
    "${install[@]}" $requirements ${ours[@]/#/-e $root/} >&2
    echo "$wanted" >"$venv/complete"
}

# settings: what all of its processes have in their environment.
settings() {
    cat <<EOF
AIRFLOW_HOME=$folder/home
AIRFLOW__API__BASE_URL=http://127.0.0.1:$port
AIRFLOW__API__HOST=127.0.0.1
AIRFLOW__API__PORT=$port
AIRFLOW__API__SECRET_KEY=$(<"$folder/secret")
AIRFLOW__API__WORKERS=1
AIRFLOW__API_AUTH__JWT_SECRET=$(<"$folder/secret")
AIRFLOW__CORE__DAGS_FOLDER=$folder/dags
AIRFLOW__CORE__EXECUTION_API_SERVER_URL=http://127.0.0.1:$port/execution/
AIRFLOW__CORE__EXECUTOR=LocalExecutor
AIRFLOW__CORE__LOAD_EXAMPLES=False
AIRFLOW__CORE__PARALLELISM=$slots
AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE=$folder/passwords.json
AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS=tester:admin
AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL=5
AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=postgresql+psycopg2://postgres:$(<"$folder/password")@127.0.0.1:$database_port/airflow
AIRFLOW__LOGGING__BASE_LOG_FOLDER=$folder/logs
AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD=5
AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC=1
AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME=0.2
AIRFLOW__USAGE_DATA_COLLECTION__ENABLED=False
AMLTK_AIRFLOW_KEY=$(<"$folder/key")
HOME=$folder/home
LC_ALL=C.UTF-8
PATH=$venv/bin:/usr/bin:/bin
PYTHONPATH=$root/tests/airflow:$root/tests/faults
EOF
}

secret() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }

settle() {
    local file
    umask 077
    mkdir -p "$folder"/{dags,home,logs}
    for file in secret key user-password; do
        [[ -e $folder/$file ]] || secret >"$folder/$file"
    done
    printf '{"tester": "%s"}' "$(<"$folder/user-password")" >"$folder/passwords.json"
    {
        echo '#!/bin/bash'
        echo 'exec env --ignore-environment \'
        settings | sed "s/.*/    '&' \\\\/"
        echo "    $venv/bin/airflow \"\$@\""
    } >"$folder/airflow"
    chmod 700 "$folder/airflow"
    umask 022
}

make_database() {
    sql postgres 'CREATE DATABASE airflow'
    "$folder/airflow" db migrate >"$folder/migrate.log" 2>&1
    : >"$folder/migrated"
}

sql() {
    PGPASSWORD=$(<"$folder/password") psql --host=127.0.0.1 --port=$database_port --username=postgres --quiet --no-align --tuples-only \
        --dbname="$1" --command="$2"
}

case ${1-} in
begin | end)
    need_root
    [[ -d $folder && -n ${2-} ]] || die "start it first; then: bash $script begin | end ${components[*]}"
    "$1" "$2"
    ;;
*) main "$@" ;;
esac
