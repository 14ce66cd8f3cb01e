#!/usr/bin/env bash
# What the suite `hosts` runs on the host that it makes, as a service of that host's systemd.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/support.sh"
machine=m-0
# On a host that has just started: not what systemd mounts for its own units, nor what `ip netns` makes for the
# first namespace of a host's life, and leaves.
mounts() { cut -d' ' -f5 /proc/self/mountinfo | grep -vE '^/run/(credentials/.*|user/.*|netns)$' | sort; }

say "the host is what it is meant to be"
[ "$(cat /proc/1/comm)" = systemd ] || fail "process 1 is not systemd"
[ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] || fail "/sys/fs/cgroup is not version 2"
if grep ' - cgroup ' /proc/self/mountinfo; then fail "version 1 of control groups is there"; fi
[ "$(cat /sys/module/apparmor/parameters/enabled)" = Y ] || fail "AppArmor is off"
profiles=/sys/kernel/security/apparmor/profiles
grep -q '(enforce)' "$profiles" || fail "no profile of AppArmor is in force"
ipv6=on
if grep -qw ipv6.disable=1 /proc/cmdline; then
  ipv6=off
  [ ! -e /proc/net/if_inet6 ] || fail "IPv6 is on"
fi
. /etc/os-release
echo "$PRETTY_NAME, Linux $(uname -r), systemd $(systemctl --version | awk 'NR == 1 { print $2 }')," \
  "AppArmor with $(wc -l < "$profiles") profiles, IPv6 $ipv6"
echo "security modules: $(cat /sys/kernel/security/lsm)"

say "preflight"
# The host has memory for one small machine; what else preflight says has to be right.
undercloud preflight -o json > "$work/preflight.json" 2> "$work/preflight.errors" || true
python3 - "$work/preflight.json" <<'PY' || fail "preflight"
import json, sys
checks = json.load(open(sys.argv[1]))
for c in checks:
    print(f"{c['result']:5} {c['check']}: {c.get('seen') or c['wrong']}")
wrong = [c["check"] for c in checks if c["result"] == "fail" and c["check"] != "memory"]
assert not wrong, wrong
PY

look_at_host
say "root inside means harm"
# The others need a time that emulation does not keep, or what QEMU is for.
tests='a_hostile_root_inside_reaches_nothing_of_the_host it_has_more_than_one_disk_and_boots_from_the_first
  it_is_reset_switched_off_by_its_button_and_by_itself a_killed_machine_leaves_nothing_that_runs_or_is_mounted'
# shellcheck disable=SC2086
UNDERCLOUD_TEST_PATIENCE_S=240 "$HOSTILE" --exact --nocapture --test-threads 1 $tests > "$work/hostile.log" 2>&1 \
  || { cat "$work/hostile.log"; fail "root inside got further than it should, or a machine is not as it should be"; }
if grep '^skipped' "$work/hostile.log"; then fail "a test was skipped"; fi
grep -q '^test result: ok. 4 passed' "$work/hostile.log" || { cat "$work/hostile.log"; fail "not four tests"; }
grep '^refused ' "$work/hostile.log" | sort -u

say "a machine, from nothing to active"
cat > "$work/lab.toml" <<'TOML'
[[network]]
name = "provisioning"
cidr = "192.168.24.0/24"
[[network]]
name = "external"
cidr = "10.0.0.0/24"
[[machine]]
name = "m-0"
profile = "control"
firmware = "bios"
memory_mib = 1536
cpus = 2
disk_gib = 4
networks = ["provisioning", "external"]
TOML
undercloud serve --detach
undercloud lab create --file "$work/lab.toml" --machines container
undercloud node import "$state/instackenv.json"
for verb in manage inspect provide deploy; do
  undercloud node "$verb" "$machine" || { undercloud node history "$machine"; fail "node $verb"; }
done
undercloud node list -o json | holds "[n['state'] for n in it] == ['active']" || fail "$machine is not active"
undercloud status
group=$(groups_of_machines | head -n 1)
[ -n "$group" ] || fail "the machine has no control group"
echo "$group: memory.max $(cat "$group/memory.max"), pids.max $(cat "$group/pids.max"), cpu.weight $(cat "$group/cpu.weight")"
[ "$(cat "$group/memory.max")" = $((1536 << 20)) ] || fail "the machine's memory is not limited"
shows "^$machine$" undercloud ssh "$machine" cat /proc/sys/kernel/hostname
failed=$(undercloud ssh "$machine" systemctl list-units --failed --plain --no-legend)
[ -z "$failed" ] || fail "units of the machine have failed: $failed"
undercloud node power off "$machine"

say "down leaves nothing"
undercloud down
nothing_is_left
[ ! -e /sys/fs/cgroup/undercloud ] || fail "the group of all machines is left"
failed=$(systemctl list-units --failed --plain --no-legend)
[ -z "$failed" ] || fail "units of the host have failed: $failed"
if dmesg | grep 'apparmor="DENIED"'; then fail "AppArmor refused something"; fi
echo "hosts.inside: ok"
