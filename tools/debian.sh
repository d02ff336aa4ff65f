# For scripts that source it: packages of another Debian than the system's.
# shellcheck shell=bash

# unpack_debian RELEASE FOLDER PACKAGE...: writes the files of packages, and of what they need, below FOLDER.
# Installs nothing. The packages come from the mirror that the system's own come from.
unpack_debian() {
    local release=$1 folder=$2 work mirror apt archive code=0
    shift 2
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' | head -n 1)
    if [[ -z $mirror ]]; then
        echo "apt-get knows no mirror of Debian: run apt-get update first." >&2
        return 1
    fi
    work=$(mktemp -d)
    mkdir -p "$work"/{apt/lists/partial,apt/sources,archives/partial} "$folder"
    touch "$work/apt/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release main" >"$work/apt/sources.list"
    apt=(apt-get -qq -o APT::Sandbox::User=root -o Dir::State="$work/apt" -o Dir::State::status="$work/apt/status" -o Dir::Cache="$work"
        -o Dir::Etc::sourcelist="$work/apt/sources.list" -o Dir::Etc::sourceparts="$work/apt/sources" -o Dir::Etc::preferencesparts="$work/apt/sources")
    if "${apt[@]}" update && "${apt[@]}" install -y --download-only --no-install-recommends "$@"; then
        for archive in "$work"/archives/*.deb; do dpkg-deb --extract "$archive" "$folder" || code=$?; done
    else
        code=1
    fi >"$work/log" 2>&1
    ((code == 0)) || cat "$work/log" >&2
    rm -rf "$work"
    return $code
}
