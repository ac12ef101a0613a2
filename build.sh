#!/bin/sh
# build.sh - the one entry: deps, build (no verb), demo, test, bench, qemu, clean, help.
set -eu
cd "$(dirname "$0")"

# What it takes to build, to run the tests, and to run the corpus of unmodified Debian programs.
packages="meson ninja-build pkg-config gcc g++ python3 libelf-dev zlib1g-dev libzydis-dev libzstd-dev
 libsodium-dev libyaml-dev libjansson-dev libcriterion-dev musl-tools linux-libc-dev clang clang-format
 libclang-rt-14-dev libdpdk-dev"
test_packages="golang-go rustc coreutils grep sed gawk sqlite3 jq xz-utils gzip bzip2 zstd openssl perl
 bc file diffutils findutils binutils util-linux
 redis-server redis-tools memcached nginx-light wrk hey iproute2 tcpdump curl wget media-types runc"

# Debian's own tools, whatever else a machine has earlier in PATH.
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export PATH

# The apt packages, if any is missing. Quick when none is.
deps() {
	have=$(dpkg-query -W -f='${db:Status-Abbrev}${Package}\n' 2>/dev/null | sed -n 's/^ii //p')
	missing=
	for p in $packages $test_packages; do
		case "
$have
" in *"
$p
"*) ;; *) missing="$missing $p" ;; esac
	done
	[ -n "$missing" ] || return 0
	[ "$(id -u)" = 0 ] || {
		echo "build.sh: packages missing:$missing; run './build.sh deps' as root" >&2
		exit 1
	}
	apt-get update -q
	# Servers that the tests pack into images shall not start as services of this machine.
	policy=/usr/sbin/policy-rc.d
	if [ -e "$policy" ]; then policy=; else printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"; fi
	ret=0
	# shellcheck disable=SC2086
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing || ret=$?
	[ -z "$policy" ] || rm -f "$policy"
	return $ret
}

build() {
	deps
	[ -f build/build.ninja ] || meson setup build >/dev/null
	if [ -t 1 ]; then
		ninja -C build
	else # quiet in a pipe, unless it fails
		ninja -C build >build/ninja.out || { cat build/ninja.out; exit 1; }
	fi
}

# Packs a C program and the libraries it names into a sealed image, shows it, and runs it.
demo() {
	build
	dir=$(mktemp -d /tmp/junction-demo.XXXXXX)
	trap 'rm -rf "$dir"' EXIT INT TERM
	run() { echo "\$ $*" | sed "s|$dir/||g"; "$@"; }
	run build/bin/junction build -f images/hello/recipe.yaml -o "$dir/hello.jimg"
	run build/bin/junction verify "$dir/hello.jimg"
	run build/bin/junction inspect "$dir/hello.jimg"
	run build/bin/junction run "$dir/hello.jimg"
	echo "demo: hello ran inside an isolated process on the library OS"
}

verb=${1:-build}
[ $# -gt 0 ] && shift
case "$verb" in
deps) deps ;;
build) build ;;
demo) demo ;;
test) build; exec /usr/bin/python3 test/run "$@" ;;
bench) build; exec /usr/bin/python3 test/bench/bench.py "$@" ;;
clean) rm -rf build build-* corpus-out ;;
help|-h|--help)
	cat <<'HELP'
./build.sh                  install what is missing (apt), build; binaries land in build/bin
./build.sh deps             only install what is missing
./build.sh demo             build a sealed image of a C program and run it
./build.sh test [FILTER]    all tests; with FILTER only those whose name contains it
./build.sh test --sanitize  unit and hostile-input tests under the address and UB sanitizers
./build.sh bench            figures against native Linux: a table, and JSON in test/bench/results
./build.sh qemu             boot an image in QEMU (nothing behind it yet)
./build.sh clean            remove what was built
HELP
	;;
qemu) echo "build.sh qemu: nothing behind it yet: images do not boot in QEMU until there is a network driver" >&2; exit 1 ;;
*) echo "build.sh: $verb: no such verb; see ./build.sh help" >&2; exit 1 ;;
esac
