#!/usr/bin/env bash
# Makes sure that everything the test cluster needs is on this machine. Does nothing when it already is.
# Exit codes: 0 ready, 77 not possible here (tests that need the cluster are to be skipped), else an error.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if [ "${DEEPSPEED_TEST_CLUSTER:-}" = existing ]; then
  [ -n "${KUBECONFIG:-}" ] || die "DEEPSPEED_TEST_CLUSTER=existing needs KUBECONFIG"
  have kubectl || die "DEEPSPEED_TEST_CLUSTER=existing needs a kubectl"
  say "using the cluster of KUBECONFIG"
  exit 0
fi

need_root

# program (or file) and the Debian package that has it
WANTED="
/usr/bin/etcd                       etcd-server
/usr/bin/containerd                 containerd
/usr/bin/runc                       runc
/usr/lib/cni/bridge                 containernetworking-plugins
/usr/bin/buildah                    buildah
/usr/sbin/dnsmasq                   dnsmasq-base
/usr/sbin/debootstrap               debootstrap
/usr/bin/prometheus                 prometheus
/usr/bin/kubectl|/usr/local/bin/kubectl                 kubernetes-client
/usr/sbin/ip|/sbin/ip|/bin/ip       iproute2
/usr/bin/jq                         jq
/usr/bin/curl                       curl
/usr/bin/openssl                    openssl
/usr/bin/gcc                        gcc
/usr/include/stdio.h                libc6-dev
/usr/bin/go                         golang-go
/usr/share/gocode/src/github.com/Masterminds/sprig      golang-github-masterminds-sprig-dev
/usr/share/gocode/src/gopkg.in/yaml.v3                  golang-gopkg-yaml.v3-dev
"
# needed only to build Kubernetes
WANTED_BUILD="
/usr/share/gocode/src/github.com/modern-go/reflect2     golang-github-modern-go-reflect2-dev
/usr/bin/dpkg-source                dpkg-dev
/usr/bin/rsync                      rsync
/usr/bin/make                       make
/usr/share/keyrings/debian-archive-keyring.gpg          debian-archive-keyring
"

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

ensure_packages "$WANTED"

# The Kubernetes programs: a folder given by the user, else the cache, else a build of Debian's source package.
if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  if complete_programs "$KUBEBUILDER_ASSETS"; then
    say "using the programs of KUBEBUILDER_ASSETS"
    exit 0
  fi
  say "KUBEBUILDER_ASSETS has not all five programs (kubelet included, pods are to run): not used"
fi
if complete_programs "$KUBERNETES_CACHE/bin"; then exit 0; fi

mkdir -p "$CACHE"
exec 9>"$CACHE/build.lock"
flock 9
if complete_programs "$KUBERNETES_CACHE/bin"; then exit 0; fi # somebody else built it while this one waited

ensure_packages "$WANTED_BUILD"
"$HERE/build-kubernetes.sh" "$KUBERNETES_CACHE"
complete_programs "$KUBERNETES_CACHE/bin" || die "the build left no programs in $KUBERNETES_CACHE/bin"
