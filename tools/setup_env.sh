#!/usr/bin/env bash
# Sets up what the project needs; a second call finds it done and returns at once.
#
#   tools/setup_env.sh system        what napari needs of the system to draw without a display (Debian, Ubuntu)
#   tools/setup_env.sh servers       what the tests of DICOMweb talk to (Orthanc); without it they are skipped
#   tools/setup_env.sh venv EXTRAS   .venv with the package and its extras (all, or all,test,dev)
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}

say() { printf 'setup: %s\n' "$*" >&2; }
stop() { say "$@" && exit 1; }
is_root() { [ "$(id -u)" = 0 ]; }
has() { command -v "$1" >/dev/null 2>&1; }

# Where a release has renamed a package, the newer name stands first: NEW|OLD.
LIBRARIES="
    fonts-dejavu-core libdbus-1-3 libegl1 libfontconfig1 libgl1 libgl1-mesa-dri libglib2.0-0t64|libglib2.0-0
    libgssapi-krb5-2 libopengl0 libx11-xcb1 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0
    libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libxcb-xkb1 libxkbcommon-x11-0
"

installed_packages() {
    dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p'
}

# Prints those of the packages NAME or NEW|OLD that are not installed.
missing_packages() {
    local installed entry name found
    installed=$'\n'"$(installed_packages)"$'\n'
    for entry in "$@"; do
        found=no
        for name in ${entry//|/ }; do
            case "$installed" in *$'\n'"$name"$'\n'*) found=yes ;; esac
        done
        [ $found = yes ] || printf '%s\n' "$entry"
    done
}

# Of NEW|OLD the first that this release has, or else the last.
name_here() {
    local name
    for name in ${1//|/ }; do
        case "$(LC_ALL=C apt-cache policy "$name" 2>/dev/null)" in
            "" | *"Candidate: (none)"*) ;;
            *) break ;;
        esac
    done
    printf '%s\n' "$name"
}

apt_install() {
    local entry names=()
    apt-get update -q </dev/null
    for entry in "$@"; do
        names+=("$(name_here "$entry")")
    done
    say "installing ${names[*]}"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${names[@]}" </dev/null
}

set_up_system() {
    local missing names=() entry
    [ "$(uname -s)" = Linux ] || return 0
    if tools/display.sh present && { [ -z "${CI:-}" ] || ! is_root; }; then
        return 0
    fi
    if ! has apt-get || ! has dpkg-query; then
        has xvfb-run && return 0
        stop "there is no display: install Xvfb with xvfb-run, Mesa's software OpenGL and the xcb libraries of Qt" \
            "with this system's package manager, then run this again."
    fi
    # shellcheck disable=SC2086
    mapfile -t missing < <(missing_packages xvfb xauth $LIBRARIES)
    [ ${#missing[@]} -gt 0 ] || return 0
    if is_root; then
        apt_install "${missing[@]}"
        return
    fi
    for entry in "${missing[@]}"; do
        names+=("$(name_here "$entry")")
    done
    stop "there is no display, and drawing without one needs packages that only root can install; run" \
        "'sudo apt-get install ${names[*]}', then this again."
}

# What a few tests talk to, and are skipped without: nothing depends on it, so nothing fails where it is missing.
set_up_servers() {
    local missing
    has apt-get && has dpkg-query && is_root || return 0
    mapfile -t missing < <(missing_packages orthanc orthanc-dicomweb)
    [ ${#missing[@]} -gt 0 ] || return 0
    apt_install "${missing[@]}" || say "Orthanc could not be installed: its tests are skipped"
}

python_is_recent() {
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

set_up_python() {
    local package
    if ! has "$PYTHON" && [ "$PYTHON" = python3 ] && has apt-get && is_root; then
        apt_install python3 python3-venv
    fi
    has "$PYTHON" || stop "$PYTHON is not here; install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12"
    python_is_recent ||
        stop "Python 3.11 or newer is needed, and $PYTHON is $("$PYTHON" -V 2>&1); name a newer one:" \
            "make PYTHON=/path/to/python3.12"
    if ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
        package=$("$PYTHON" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')
        if has apt-get && is_root; then
            apt_install "$package"
        else
            stop "$PYTHON cannot make virtual environments; on Debian and Ubuntu 'sudo apt-get install $package' mends that."
        fi
    fi
}

# The stamp holds what an install depends on; the install for the tests serves the demo too.
stamp_text() { cksum pyproject.toml constraints.txt; }

is_set_up() {
    local stamp
    for stamp in ".venv/.installed-$1" .venv/.installed-all,test,dev; do
        if [ "$(cat "$stamp" 2>/dev/null)" = "$(stamp_text)" ]; then
            .venv/bin/python -c '' 2>/dev/null && return 0
        fi
    done
    return 1
}

set_up_venv() {
    local extras=$1
    is_set_up "$extras" && return 0
    set_up_python
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        say "making .venv with $("$PYTHON" -V)"
        "$PYTHON" -m venv --clear .venv # also where one is there whose Python is gone, or that was half made
    fi
    rm -f .venv/.installed-*
    say "installing the package with [$extras]; the first time this takes some minutes"
    .venv/bin/python -m pip install --quiet --upgrade pip </dev/null
    .venv/bin/python -m pip install -c constraints.txt -e ".[$extras]" </dev/null
    stamp_text >".venv/.installed-$extras"
}

case "${1:-} ${2:-}" in
    "system ") set_up_system ;;
    "servers ") set_up_servers ;;
    "venv "?*) set_up_venv "$2" ;;
    *) say "usage: tools/setup_env.sh system | servers | venv EXTRAS" && exit 2 ;;
esac
