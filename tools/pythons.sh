#!/usr/bin/env bash
# Pythons that are newer than the system: `PATH=$PATH:$(bash tools/pythons.sh)`. It prints the folder that has them.
# They are those of Debian 14, unpacked into a folder, with the libraries that they need: no package of the system changes.
# They run as any other program does, and environments made by them too. Debian, as root.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/debian.sh"

root=/var/lib/amltk-pythons # stays, as installed packages do

unpack() {
    local new=$root.new library loader patchelf version
    rm -rf "$new"
    unpack_debian forky "$new" python{3.14,3.15}-venv patchelf
    library=$(echo "$new"/usr/lib/*-linux-gnu)
    loader=$(echo "$library"/ld-linux*.so.?)
    patchelf=("$loader" --library-path "$library" "$new/usr/bin/patchelf")
    for version in 3.14 3.15; do
        # In this order: patchelf 0.18 spoils the program in the other one.
        "${patchelf[@]}" --force-rpath --set-rpath "$root${library#"$new/usr"}" "$new/usr/bin/python$version"
        "${patchelf[@]}" --set-interpreter "$root${loader#"$new/usr"}" "$new/usr/bin/python$version"
    done
    sed -i "s|/usr/share/python-wheels|$root/share/python-wheels|" "$new"/usr/lib/python3.*/_sysconfig* # with pip, for `venv`
    find "$new/usr/bin" ! -type d ! -name 'python3.??' -delete # what else is there needs the rest of Debian 14
    mv "$new/usr" $root
    rm -rf "$new"
    for version in 3.14 3.15; do
        "$root/bin/python$version" -c 'import ctypes, ssl, sqlite3'
        "$root/bin/python$version" -m compileall -q -j 0 "$root/lib/python$version" >/dev/null || true # quicker starts; a file for tests is no Python
    done
}

if [[ ! -e $root ]]; then
    echo "unpacking Python 3.14 and 3.15 of Debian 14 into $root" >&2
    trap 'rm -rf $root $root.new' EXIT
    unpack
    trap - EXIT
fi
echo $root/bin
