# What the suites are written in. Sourced, not run.
# Needs UNDERCLOUD. UNDERCLOUD_SUITE_WORK is the suite's directory, UNDERCLOUD_TYPED collects what the
# suites of one run typed of docs/guide.md.

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
work=${UNDERCLOUD_SUITE_WORK:-}
[ -n "$work" ] || work=$(mktemp -d /var/tmp/uc-suite.XXXXXX)
state=$work/state
export XDG_CONFIG_HOME=$work/config

undercloud() { "$UNDERCLOUD" --state "$state" "$@"; }
say() { echo "-- $* (at $SECONDS s)"; }
# Ends the run. The reason comes last: what keeps only the end of a log keeps it.
fail() {
  for log in "$state"/lab/machines/*/vm/console.log "$state"/logs/undercloud.log; do
    [ -f "$log" ] && { echo "== $log" >&2; tail -n 20 "$log" >&2; }
  done
  echo "FAILED: $* (at $SECONDS s)" >&2
  exit 1
}

# Whether a command's output has a line that matches. Not by a pipe: `grep -q` leaves at the first
# match, and a client that still writes fails then.
shows() { # pattern, command
  local pattern=$1 text
  shift
  text=$("$@") || fail "$*"
  grep -q -- "$pattern" <<< "$text" || { echo "$text"; fail "$* does not show: $pattern"; }
}

# `sudo ./up …`, as the guide has it.
sudo() {
  [ "$1" = ./up ] || fail "the guide types sudo $*"
  shift
  case "${1:-}" in
    --down) shift; "$root/up" --down --state "$state" "$@" ;;
    *) "$root/up" --state "$state" "$@" ;;
  esac
}

# The commands of docs/guide.md, a line each, without their comments: blocks that name no language.
guide_commands() {
  awk '/^```/ { fenced = !fenced; typed = fenced && $0 == "```"; next } typed' "$root/docs/guide.md" | sed 's/  *#.*//'
}

# Types a command of the guide: the line as it stands there, then WORD=value for each of its words in
# capitals. Its directory is this run's.
guide() {
  local line=$1 typed=$1 pair
  shift
  grep -qxF -- "$line" <<< "$(guide_commands)" || fail "docs/guide.md does not have: $line"
  echo "$line" >> "${UNDERCLOUD_TYPED:-$work/typed}"
  for pair; do typed=${typed//${pair%%=*}/${pair#*=}}; done
  echo "\$ $line" >&2
  eval "${typed//\/var\/lib\/undercloud/$state}"
}
guide_was_typed() {
  local missing
  missing=$(comm -23 <(guide_commands | sort -u) <(sort -u "$UNDERCLOUD_TYPED"))
  [ -z "$missing" ] || fail "nobody typed these commands of docs/guide.md: $missing"
}

# The ordinary client, from its own package index.
ensure_openstack_client() {
  export PATH=$UNDERCLOUD_CACHE/openstack-client/bin:$PATH
  command -v openstack > /dev/null && return
  python3 -m venv "$UNDERCLOUD_CACHE/openstack-client"
  "$UNDERCLOUD_CACHE/openstack-client/bin/pip" install --quiet python-openstackclient
}

# Waits until a command succeeds; fails after so many seconds.
await() {
  local what=$2 end=$((SECONDS + $1))
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || fail "$what: not in time"
    read -rt 0.5 <> <(:) || true
  done
}

# One value of a JSON document: a Python expression over `it`.
json() { python3 -c 'import json, sys; it = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }
holds() { [ "$(json "$1" 2> /dev/null)" = True ]; }

running() { undercloud node list > /dev/null 2>&1; }
# Whether a machine was told just so many times to write its disk.
writing() {
  undercloud node history "$1" -o json 2> /dev/null \
    | holds "sum('writing its disk' in e['text'] for e in it) == $2"
}
image_is_there() { undercloud image show "$1" > /dev/null 2>&1; }
all_active() {
  undercloud node list -o json | holds "len(it) == 2 and all(n['state'] == 'active' for n in it)"
}
# So many steps, of that run.
steps_done() {
  undercloud cloud show -o json 2> /dev/null \
    | holds "it['attempt'] == $2 and sum(s['attempt'] == $2 for s in it['steps']) >= $1"
}
# How often a machine's disk was written to its end.
times_written() {
  undercloud node history "$1" -o json \
    | json "sum('wait call-back → deploying' in e['text'] for e in it)"
}
each_disk_was_written_once() {
  local machine
  for machine in controller-0 compute-0; do
    [ "$(times_written "$machine")" = 1 ] || fail "$machine was written $(times_written "$machine") times"
  done
}
machine_pids() { undercloud lab list -o json | json "' '.join(str(m['pid']) for m in it if m.get('pid'))"; }
daemon_pid() { undercloud status -o json | json "it['pid']"; }

# Runs `up` behind the test's back; its output comes when it has ended.
begin_up() { # its arguments
  undercloud up "$@" > "$work/up.log" 2>&1 &
  up=$!
}
# Waits for something that `up` brings about.
await_of_up() {
  local what=$2 end=$((SECONDS + $1))
  shift 2
  until "$@"; do
    kill -0 "$up" 2> /dev/null || { cat "$work/up.log"; fail "up ended before $what"; }
    [ "$SECONDS" -lt "$end" ] || { cat "$work/up.log"; fail "$what: not in time"; }
    read -rt 0.1 <> <(:) || true
  done
}
# It has to fail, with a sentence that matches and a hint.
up_must_fail() {
  if wait "$up"; then fail "up ended well, and should have said: $1"; fi
  cat "$work/up.log"
  grep -q "^error: .*$1" "$work/up.log" || fail "up did not say: $1"
  grep -q '^hint: ' "$work/up.log" || fail "up failed without a hint"
}

# What ipmitool needs to reach a machine's BMC: $address, $port, $user and a file with the password.
bmc_access() {
  python3 - "$state/instackenv.json" "$1" "$work/password" > "$work/bmc" <<'PY'
import json, os, sys
node = next(n for n in json.load(open(sys.argv[1]))["nodes"] if n["name"] == sys.argv[2])
with open(os.open(sys.argv[3], os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as f:
    f.write(node["pm_password"])
print(node["pm_addr"], node["pm_port"], node["pm_user"])
PY
  read -r address port user < "$work/bmc"
}
bmc() { # machine, ipmitool arguments
  bmc_access "$1"
  shift
  ipmitool -I lanplus -H "$address" -p "$port" -U "$user" -f "$work/password" "$@"
}

# A link from the host into the lab's provisioning network, as a cable to machines of metal would be.
cable() { # the link's name on the host
  local namespace
  namespace=$(comm -13 <(echo "$namespaces_before") <(namespaces))
  ip link add "$1" type veth peer name metal netns "$namespace"
  ip -n "$namespace" link set metal master br-provisioning up
  ip address add 192.168.24.2/24 dev "$1"
  ip link set "$1" up
}

# The lab's enrolment file, with a machine that is driven by Redfish and boots from a CD.
by_virtual_media() { # machine
  local redfish
  redfish=$(undercloud status -o json \
    | json "next(e['address'] for e in it['endpoints'] if e['name'] == 'redfish')")
  ENROLMENT=$state/instackenv.json python3 - "$1" "${redfish%/redfish/v1}" "$state/pki/ca.pem" <<'PY'
import json, os, sys
name, address, ca = sys.argv[1:]
nodes = json.load(open(os.environ["ENROLMENT"]))["nodes"]
node = next(n for n in nodes if n["name"] == name)
node.pop("pm_port")
node.update(pm_type="redfish", pm_addr=address, pm_system_id=f"/redfish/v1/Systems/{name}",
            redfish_verify_ca=ca, boot_interface="redfish-virtual-media")
print(json.dumps({"nodes": nodes}))
PY
}

# Remembers what the host has, and later says what is too much.
look_at_host() {
  namespaces_before=$(namespaces)
  links_before=$(links)
  mounts_before=$(mounts)
  loops_before=$(loops)
  groups_before=$(groups_of_machines)
}
nothing_is_left() {
  [ ! -e "$state" ] || fail "the state directory is left"
  [ "$(namespaces)" = "$namespaces_before" ] || fail "a network namespace is left"
  [ "$(links)" = "$links_before" ] || fail "a network link is left"
  [ "$(mounts)" = "$mounts_before" ] || { diff <(echo "$mounts_before") <(mounts); fail "a mount is left"; }
  [ "$(loops)" = "$loops_before" ] || { losetup; fail "a loop device is left"; }
  if pgrep -f "$work" | grep -vx "$$" > /dev/null; then fail "a process is left"; fi
  [ "$(groups_of_machines)" = "$groups_before" ] || fail "a control group is left"
}
groups_of_machines() { find /sys/fs/cgroup -type d -path '*/undercloud/uc-*' 2> /dev/null | sort; }
loops() { losetup --noheadings --output BACK-FILE | sort; }

namespaces() { ip netns list | cut -d' ' -f1 | sort; }
links() { ip -o link | cut -d: -f2 | cut -d@ -f1 | tr -d ' ' | sort; }
mounts() { cut -d' ' -f5 /proc/self/mountinfo | sort; }

# The host loses its power: every process of this state at once, then what only a kernel keeps.
power_cut() {
  local pids pid name
  pids="$(daemon_pid) $(machine_pids)"
  # shellcheck disable=SC2086
  kill -9 $pids
  for pid in $pids; do await 30 "process $pid ends" eval "! kill -0 $pid 2> /dev/null"; done
  for name in $(comm -13 <(echo "$namespaces_before") <(namespaces)); do ip netns del "$name"; done
  for name in $(comm -13 <(echo "$links_before") <(links)); do ip link del "$name" || true; done
}

# Where the host has Debian from; a mirror has all releases.
mirror() {
  apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' | sort -u | head -n 1
}
# The host's proxies and time-outs, as the builders of images take them over.
apt_settings() {
  apt-config dump | grep -E '^Acquire::(http|https|tor|Retries|ForceIPv[46]|Check-)' | grep '";$' || true
  echo 'Dir::Etc::netrc "/etc/apt/auth.conf";'
  echo 'Dir::Etc::netrcparts "/etc/apt/auth.conf.d";'
}
# Unpacks a root file system of Debian's packages. Each is made once, from the host's own package
# sources, and kept in the cache.
make_root() { # its name in the cache, release, directory, more packages separated by commas
  local cache=${UNDERCLOUD_CACHE:-/var/cache/undercloud}/package-roots uri
  if [ ! -f "$cache/$1.tar" ]; then
    say "the root file system $1, once"
    command -v mmdebstrap > /dev/null || "$UNDERCLOUD" preflight --install
    uri=$(mirror)
    [ -n "$uri" ] || fail "no source of this host is Debian's: apt-get update"
    apt_settings > "$work/apt.conf"
    mkdir -p "$cache"
    # Not a Python of somebody's own, which mmdebstrap would start for each package.
    PATH=/usr/sbin:/usr/bin:/sbin:/bin mmdebstrap --quiet --mode=root --variant=apt --architectures=amd64 \
      --aptopt="$work/apt.conf" --dpkgopt=force-unsafe-io --dpkgopt=path-exclude='/usr/share/doc/*' \
      --dpkgopt=path-exclude='/usr/share/locale/*' ${4:+--include="$4"} "$2" "$work/$1.tar" "$uri" \
      || fail "no root of $2 could be made from $uri"
    mv "$work/$1.tar" "$cache/$1.tar"
  fi
  mkdir "$3"
  tar -xf "$cache/$1.tar" -C "$3"
}
