#!/usr/bin/env bash
# Makes sure that everything the test cluster needs is on this machine. Does nothing when it already is.
# Exit codes: 0 ready, 77 not possible here (tests that need the cluster are to be skipped), else an error.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$HERE/../packages.sh"

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
/usr/bin/tini-static                tini
/usr/sbin/dnsmasq                   dnsmasq-base
/usr/sbin/debootstrap               debootstrap
/usr/bin/prometheus                 prometheus
/usr/bin/kubectl|/usr/local/bin/kubectl                 kubernetes-client
/usr/sbin/ip|/sbin/ip|/bin/ip       iproute2
/usr/bin/jq                         jq
/usr/bin/curl                       curl
/usr/bin/openssl                    openssl
/usr/lib/*/faketime/libfaketime.so.1                    libfaketime
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
