#!/usr/bin/env bash
# Builds programs of other projects that the tests need, from their published Go modules, into a
# cache outside the checkout. A family is a folder beside this file with a go.mod and a go.sum: one
# module per family, because a common one would mix the versions that they ask for.
#
#   build.sh FAMILY...         builds what is absent; progress goes to stderr
#   build.sh --path FAMILY     the same, then prints the folder that holds the programs
#   build.sh --find FAMILY     prints the folder; fails, and says what to run, when it is absent
#
# Guarantees: the folder's name holds the hash of go.mod and go.sum, so a change of either builds
# anew and nothing else does; a folder of that name is complete (it appears by one rename); two
# runs never build at once. KUBEBUILDER_ASSETS, if set, is used for kubernetes and etcd instead.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache="${VMCP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vmcp}/tools"
go_needed=1.26
report_every=15

say() { printf 'tools: %s\n' "$*" >&2; }
fail() {
    say "ERROR: $*"
    exit 1
}
clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# NAME PACKAGE of each program of the family.
programs() {
    case $1 in
    kubernetes)
        local name
        for name in kube-apiserver kube-controller-manager kubectl; do
            echo "$name k8s.io/kubernetes/cmd/$name"
        done
        ;;
    etcd) echo "etcd go.etcd.io/etcd/server/v3" ;;
    helm) echo "helm helm.sh/helm/v4/cmd/helm" ;;
    kubeconform) echo "kubeconform github.com/yannh/kubeconform/cmd/kubeconform" ;;
    *) fail "unknown family '$1': one of kubernetes, etcd, helm, kubeconform" ;;
    esac
}

# Without a version stamp the API server calls itself v0.0.0-master, and charts with a
# `kubeVersion` refuse it.
stamp() {
    [ "$1" = kubernetes ] || return 0
    local version minor
    version=$(awk '$1 == "k8s.io/kubernetes" && $2 ~ /^v/ { print $2 }' "$here/kubernetes/go.mod")
    minor=${version#v*.}
    printf -- ' -X k8s.io/component-base/version.%s' "gitVersion=$version" "gitMajor=1" \
        "gitMinor=${minor%%.*}" "gitTreeState=clean"
    printf -- ' -X k8s.io/client-go/pkg/version.gitVersion=%s' "$version"
}

home_of() {
    local hash
    hash=$(cat "$here/$1/go.mod" "$here/$1/go.sum" | sha256sum | cut -c 1-16)
    echo "$cache/$1-$hash"
}

# The folder named by KUBEBUILDER_ASSETS, when it stands for this family; checked to be whole.
assets_for() {
    [ -n "${KUBEBUILDER_ASSETS:-}" ] || return 1
    [ "$1" = kubernetes ] || [ "$1" = etcd ] || return 1
    local name
    for name in etcd kube-apiserver kubectl kube-controller-manager; do
        [ -x "$KUBEBUILDER_ASSETS/$name" ] ||
            fail "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS holds no $name: put it there" \
                "(the tests need kube-controller-manager besides what envtest brings)," \
                "or unset the variable to have all four built"
    done
    echo "$KUBEBUILDER_ASSETS"
}

require_go() {
    command -v go >/dev/null ||
        fail "go is missing: install Go $go_needed or newer and put it on PATH," \
            "or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver," \
            "kube-controller-manager and kubectl"
    local version
    version=$(GOTOOLCHAIN=local go env GOVERSION)
    version=${version#go}
    printf '%s\n%s\n' "$go_needed" "${version%%[ -]*}" | sort -V -C ||
        fail "Go $version is too old: install Go $go_needed or newer"
}

# build_program FAMILY NAME PACKAGE OUT LOG
build_program() {
    local start=$SECONDS next=$report_every pid compiled status=0
    say "$1: building $2"
    (
        cd "$here/$1"
        CGO_ENABLED=0 GOWORK=off GOFLAGS='' exec go build -v -mod=readonly -buildvcs=false \
            -trimpath -ldflags "-s -w$(stamp "$1")" -o "$4/$2" "$3"
    ) </dev/null >"$5" 2>&1 9>&- &
    pid=$!
    trap 'kill "$pid" 2>/dev/null; exit 130' INT TERM
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.5
        if [ $((SECONDS - start)) -ge "$next" ]; then
            next=$((next + report_every))
            compiled=$(wc -l <"$5")
            say "$1: building $2, $(clock $((SECONDS - start))) elapsed, $compiled packages done"
        fi
    done
    wait "$pid" || status=$?
    trap - INT TERM
    if [ "$status" -ne 0 ]; then
        grep -v '^[a-zA-Z0-9./_-]*$' "$5" | tail -n 20 >&2 || true
        fail "$1: building $2 failed after $(clock $((SECONDS - start))); full log: $5"
    fi
    say "$1: built $2 in $(clock $((SECONDS - start)))"
}

build_family() {
    local family=$1 home start=$SECONDS work name package
    home=$(home_of "$family")
    [ ! -d "$home" ] || return 0
    require_go
    mkdir -p "$cache"
    exec 9>"$cache/.lock"
    if ! flock -n 9; then
        say "$family: another build is running, waiting for it"
        flock 9
    fi
    if [ ! -d "$home" ]; then
        rm -rf "$cache"/.building-*
        work=$(mktemp -d "$cache/.building-$family-XXXXXX")
        mkdir "$work/bin"
        while read -r name package; do
            build_program "$family" "$name" "$package" "$work/bin" "$cache/build-$name.log"
        done < <(programs "$family")
        chmod 755 "$work"
        mv -T "$work" "$home"
        say "$family: ready after $(clock $((SECONDS - start))) in $home"
    fi
    exec 9>&-
}

find_family() {
    local home
    assets_for "$1" && return
    home=$(home_of "$1")
    [ -d "$home" ] || fail "$1 is not built: run tests/tools/build.sh $1 (minutes when cold)"
    echo "$home/bin"
}

mode=build
case "${1:-}" in
--path | --find)
    mode=${1#--}
    shift
    ;;
esac
[ $# -ge 1 ] || fail "usage: build.sh [--path | --find] FAMILY..."
for family in "$@"; do
    programs "$family" >/dev/null
done
for family in "$@"; do
    # Apart from the condition, because `set -e` has no effect inside of one.
    assets=''
    if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [[ $family == kubernetes || $family == etcd ]]; then
        assets=$(assets_for "$family")
    fi
    if [ "$mode" != find ] && [ -z "$assets" ]; then build_family "$family"; fi
    if [ "$mode" != build ]; then find_family "$family"; fi
done
