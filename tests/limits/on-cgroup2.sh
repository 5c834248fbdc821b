#!/bin/sh
# Runs the tests of limits under a kernel of its own that has cgroups of version 2 and no others:
# Debian's user-mode Linux, an ordinary process, on this machine's files. Needs Debian on x86-64.
#
#     tests/limits/on-cgroup2.sh [command …]
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ash-user-mode-linux
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ $# -gt 0 ] || set -- .venv/bin/python -m pytest -q --basetemp="$work/tmp/pytest" tests/limits

if [ ! -x "$cache/usr/bin/linux.uml" ]; then
    mkdir -p "$cache"
    (cd "$cache" && apt-get download -qq user-mode-linux && dpkg -x user-mode-linux_*.deb . && rm ./*.deb)
fi

mkdir "$work/tmp"
cat > "$work/init" <<END
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs tmpfs $work/tmp
mkdir -p /dev/shm
mount -t tmpfs tmpfs /dev/shm
export PATH=/usr/local/bin:/usr/bin:/bin HOME=$work/tmp TMPDIR=$work/tmp PYTHONDONTWRITEBYTECODE=1
cd $root
$*
echo "exit code \$?"
echo o > /proc/sysrq-trigger
sleep 10
END
chmod +x "$work/init"

"$cache/usr/bin/linux.uml" rootfstype=hostfs rootflags=/ rw init="$work/init" mem=3G \
    con=null con0=null,fd:1 quiet panic=1 </dev/null 2>/dev/null | tee "$work/said"
grep -q '^exit code 0' "$work/said"
