#!/bin/sh
# build.sh - the one entry: deps, build, demo, test, bench, qemu, clean, help.
set -eu
cd "$(dirname "$0")"

packages="meson ninja-build pkg-config gcc g++ python3 libelf-dev zlib1g-dev libzydis-dev libzstd-dev
 libsodium-dev libyaml-dev libjansson-dev libcriterion-dev musl-tools linux-libc-dev clang clang-format libclang-rt-14-dev"

deps() {
	missing=
	for p in $packages; do
		dpkg-query -W -f='${db:Status-Abbrev}' "$p" 2>/dev/null | grep -q '^ii' || missing="$missing $p"
	done
	[ -z "$missing" ] && return
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
}

build() {
	deps
	[ -f build/build.ninja ] || meson setup build >/dev/null
	ninja -C build --quiet
}

case "${1:-build}" in
deps) deps ;;
build) build ;;
clean) rm -rf build build-* ;;
help) sed -n 2p "$0" ;;
*) echo "build.sh: $1: not there yet; see build.sh help" >&2; exit 1 ;;
esac
