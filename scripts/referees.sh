# Sourced by ./test: the programs that the tests of the BMCs take a second opinion from. A user of
# undercloud needs none of them.

referee_packages() {
  command -v bmc-info > /dev/null && command -v ipmiconsole > /dev/null || echo freeipmi-tools
  [ -x /bin/busybox ] || echo busybox-static
  command -v c++ > /dev/null || echo g++
  command -v ipmi_sim > /dev/null || echo openipmi
  /usr/bin/python3 -c 'import libvirt' 2> /dev/null || echo python3-libvirt
  command -v virsh > /dev/null || echo libvirt-clients
  [ -x /usr/sbin/libvirtd ] || echo libvirt-daemon libvirt-daemon-driver-qemu
  python3 -c 'import ensurepip' 2> /dev/null || echo python3-venv
}

ensure_referees() {
  local packages policy=/usr/sbin/policy-rc.d ours=false
  mapfile -t packages < <(referee_packages | tr ' ' '\n')
  [ "${#packages[@]}" -gt 0 ] || return 0
  # While it says "no", maintainer scripts start no daemon (Debian Policy, section 9.3.3).
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod +x "$policy"
    ours=true
  fi
  apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -y --no-install-recommends install "${packages[@]}" > /dev/null || {
    if $ours; then rm -f "$policy"; fi
    echo "error: cannot install ${packages[*]}" >&2
    return 1
  }
  if $ours; then rm -f "$policy"; fi
}
