# Debian packages that tests need; sourced by their install scripts, which define have, say and skip. Never run.
# shellcheck shell=bash

# Of lines "FILE[|FILE...] PACKAGE", the packages of which no file is there.
missing_packages() {
  local files package file found
  while read -r files package; do
    [ -n "$files" ] || continue
    found=
    for file in ${files//|/ }; do [ -e "$file" ] && found=1; done
    [ -n "$found" ] || printf '%s\n' "$package"
  done
}

# Installs packages without letting their services start: a policy-rc.d that says no, for as long as apt runs, and
# (where systemd runs) units that came with the new packages are disabled again.
apt_install() {
  have apt-get || skip "no apt-get here, and these are missing: $*"
  local policy=/usr/sbin/policy-rc.d ours='' before=''
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    ours=1
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  [ ! -d /run/systemd/system ] || before="$(systemctl list-unit-files --no-legend --state=enabled | awk '{print $1}')"
  say "installing: $*"
  apt-get update -qq || skip "apt-get update failed, and these are missing: $*"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null \
    || skip "apt-get install failed for: $*"
  if [ -d /run/systemd/system ]; then
    systemctl list-unit-files --no-legend --state=enabled | awk '{print $1}' | while read -r unit; do
      grep -qxF "$unit" <<<"$before" || systemctl disable -q "$unit" || true
    done
  fi
  if [ -n "$ours" ]; then rm -f "$policy"; trap - EXIT; fi
}

ensure_packages() {
  local packages
  mapfile -t packages < <(missing_packages <<<"$1" | sort -u)
  [ "${#packages[@]}" = 0 ] || apt_install "${packages[@]}"
}
