#!/usr/bin/env bash
# Builds the Kubernetes programs from the source package `kubernetes` of Debian 12 (bookworm), which is the last one that
# is complete, with its dependencies, and puts them into FOLDER/bin. About ten minutes on two cores. Called by install.sh.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

TARGET="${1:?folder}"
WORK="$(mktemp -d "$CACHE/build-XXXXXX")"
trap 'chmod -R u+w "$WORK"; rm -rf "$WORK"' EXIT

# The mirror this machine already uses for Debian, with an apt configuration of our own: the system's files stay as they
# are, and apt checks the signatures as ever.
MIRROR="$(debian_mirror)"
[ -n "$MIRROR" ] || skip "no Debian mirror is configured for apt: cannot fetch the sources of Kubernetes"

APT="$WORK/apt"
mkdir -p "$APT/lists/partial" "$APT/cache/archives/partial"
printf 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s bookworm main\n' "$MIRROR" >"$APT/sources.list"
own_apt() {
  apt-get -q -o Dir::Etc::sourcelist="$APT/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$APT/lists" \
    -o Dir::Cache="$APT/cache" -o APT::Sandbox::User=root "$@"
}

cd "$WORK"
own_apt update || skip "apt-get update failed: cannot fetch the sources of Kubernetes"
own_apt source kubernetes || skip "cannot fetch the sources of Kubernetes"
SOURCE="$(find "$WORK" -maxdepth 1 -type d -name 'kubernetes-*')"
[ -d "$SOURCE/vendor" ] || die "the source package has no vendor folder"

# reflect2 1.0.1 reads freed memory when it walks maps under Go 1.18 or later: the API server dies after some minutes.
rm -rf "$SOURCE/vendor/github.com/modern-go/reflect2"
cp -rL /usr/share/gocode/src/github.com/modern-go/reflect2 "$SOURCE/vendor/github.com/modern-go/reflect2"
rm -f "$SOURCE"/vendor/github.com/modern-go/reflect2/*_test.go

cd "$SOURCE"
say "building Kubernetes $KUBERNETES_VERSION: about ten minutes"
env GO111MODULE=off GOFLAGS= KUBE_GIT_VERSION="v$KUBERNETES_VERSION" KUBE_GIT_COMMIT=faecb196815e248d3ecfb03c680a4507229c2a56 \
  KUBE_GIT_TREE_STATE=archive KUBE_GIT_MAJOR=1 KUBE_GIT_MINOR=20 \
  nice make WHAT="cmd/kube-apiserver cmd/kube-controller-manager cmd/kube-scheduler cmd/kubelet cmd/kubectl" GOLDFLAGS="-s -w"

mkdir -p "$TARGET"
rm -rf "$TARGET/bin.new"
mkdir "$TARGET/bin.new"
for program in kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl; do
  [ -x "_output/local/go/bin/$program" ] || die "the build made no $program"
  cp "_output/local/go/bin/$program" "$TARGET/bin.new/$program"
done
rm -rf "${TARGET:?}/bin"
mv "$TARGET/bin.new" "$TARGET/bin"
say "built into $TARGET/bin"
