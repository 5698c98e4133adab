#!/usr/bin/env bash
# Builds the container images of the tests without a registry, and loads them when a cluster is up:
#   images.sh [--state STATE-FOLDER] [pause|operator|worker|own|worker-cuda|all]...
# all: the first three. own: a program in a folder of its own on worker-base, as users build theirs. worker-cuda: its program and
# layers; its native libraries, several gigabytes, only with DEEPSPEED_TEST_CUDA=1.
# The archives lie in the cache folder (images/); an image is built again only when something that it is made of changed.
# DEEPSPEED_TEST_PUBLISH names a folder with out/operator, out/worker and out/libtorch to be used instead of building.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

STATE=
if [ "${1:-}" = --state ]; then STATE="$2"; shift 2; fi
STATE="$(state_folder "$STATE")"
[ "$#" -gt 0 ] || set -- all
if [ "$*" = all ]; then set -- pause operator worker; fi

BASE_IMAGE=localhost/deepspeed-base:bookworm
IMAGES="$CACHE/images"
PUBLISH="$CACHE/publish"
mkdir -p "$IMAGES"
exec 9>"$IMAGES/lock"
flock 9

# overlay where the file system of the cache can do it (several times faster), else vfs.
can_overlay() {
  local folder rc=0
  folder="$(mktemp -d "$CACHE/overlay-XXXXXX")"
  mkdir "$folder"/{lower,upper,work,merged}
  unshare --mount --propagation private mount -t overlay overlay \
    -o "lowerdir=$folder/lower,upperdir=$folder/upper,workdir=$folder/work" "$folder/merged" 2>/dev/null || rc=1
  rm -rf "$folder"
  return "$rc"
}
DRIVER="${DEEPSPEED_TEST_STORAGE_DRIVER:-}"
if [ -z "$DRIVER" ]; then if can_overlay; then DRIVER=overlay; else DRIVER=vfs; fi; fi

# In a mount namespace of its own, so that an interrupted build leaves no mounts.
image_tool() {
  unshare --mount --propagation private buildah --root "$CACHE/buildah/$DRIVER" --runroot "$CACHE/buildah/$DRIVER-run" \
    --storage-driver "$DRIVER" "$@"
}

# Says whether the archive NAME.tar was made of the same things.
current() { [ -e "$IMAGES/$1.tar" ] && [ "$(cat "$IMAGES/$1.hash" 2>/dev/null)" = "$2" ]; }
archive() { # NAME IMAGE HASH
  rm -f "$IMAGES/$1.new"
  # Of the archive formats, this is the one whose layers are not compressed: gzip would take longer than all the rest.
  image_tool push --quiet "$2" "docker-archive:$IMAGES/$1.new:$2"
  mv "$IMAGES/$1.new" "$IMAGES/$1.tar"
  printf '%s\n' "$3" >"$IMAGES/$1.hash"
}
hash_of() { sort -z | xargs -0 sha256sum | sha256sum | cut -c1-64; }

build_pause() {
  local hash folder container
  hash="$(sha256sum "$HERE/pause.c" | cut -c1-64)"
  current pause "$hash" && return 0
  folder="$(mktemp -d)"
  gcc -Os -static -s -o "$folder/pause" "$HERE/pause.c"
  container="$(image_tool from scratch)"
  image_tool copy -q "$container" "$folder/pause" /pause >/dev/null
  image_tool config --entrypoint '["/pause"]' --user 65535:65535 "$container"
  image_tool commit -q --rm "$container" "$PAUSE_IMAGE" >/dev/null
  rm -rf "$folder"
  archive pause "$PAUSE_IMAGE" "$hash"
}

# A small Debian with what a self-contained .NET program needs. Made once.
base_image() {
  image_tool inspect --type image "$BASE_IMAGE" >/dev/null 2>&1 && return 0
  local folder mirror container
  mirror="$(debian_mirror)"
  [ -n "$mirror" ] || skip "no Debian mirror is configured for apt: cannot make the base image"
  say "making the base image"
  folder="$(mktemp -d "$CACHE/base-XXXXXX")"
  unshare --mount --propagation private nice debootstrap --variant=minbase --include=libstdc++6,libssl3,ca-certificates,tzdata \
    bookworm "$folder/root" "$mirror" >"$CACHE/base.log" 2>&1 || { tail -n 20 "$CACHE/base.log" >&2; die "debootstrap failed"; }
  rm -rf "$folder"/root/var/cache/apt/* "$folder"/root/var/lib/apt/lists/* "$folder"/root/usr/share/{doc,man,info,locale}/* \
    "$folder"/root/var/log/* "$folder"/root/etc/apt/sources.list
  : >"$folder/root/etc/resolv.conf"
  : >"$folder/root/etc/hostname"
  tar -C "$folder/root" --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' -cf "$folder/base.tar" .
  container="$(image_tool from scratch)"
  image_tool add -q "$container" "$folder/base.tar" / >/dev/null
  image_tool config --cmd /bin/bash --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  image_tool commit -q --rm "$container" "$BASE_IMAGE" >/dev/null
  rm -rf "$folder"
}

# What the published programs are made of.
source_hash() {
  find "$REPO" -maxdepth 1 -type f \( -name '*.props' -o -name '*.targets' -o -name '*.json' -o -name '*.txt' -o -iname 'nuget.config' \
    -o -name .editorconfig -o -name Dockerfile -o -name .dockerignore \) -print0 >"$IMAGES/files"
  find "$REPO/src" "$REPO/deploy/crds" \( -name bin -o -name obj \) -prune -o -type f -print0 2>/dev/null >>"$IMAGES/files" || true
  hash_of <"$IMAGES/files"
}

publish() { # PROJECT FOLDER PROPERTIES...
  local project="$1" folder="$2"
  shift 2
  say "publishing $project"
  rm -rf "$folder.new"
  # Its own artifacts folder: a build that somebody runs in the repository at the same time does not get in the way.
  nice dotnet publish "$REPO/src/$project" -c Release -r linux-x64 --self-contained --artifacts-path "$CACHE/artifacts" \
    -nologo -v quiet -o "$folder.new" "$@" || die "dotnet publish of $project failed"
  rm -rf "$folder"
  mv "$folder.new" "$folder"
}

# Publishes what a target is made of, unless that is there already.
programs() { # TARGET FOLDER HASH
  local folder="$2/out" stamp="$2/$1.hash"
  [ -z "${DEEPSPEED_TEST_PUBLISH:-}" ] || return 0
  # The number of the folder tells whether it is still the one that was published for this.
  [ "$(cat "$stamp" 2>/dev/null)" != "$3 $(stat -c %i "$folder/${1%-cuda}" 2>/dev/null)" ] || return 0
  case "$1" in
  operator) publish Operator "$folder/operator" ;;
  worker)
    publish WorkerImage "$folder/worker" -p:LibTorch=cpu
    rm -rf "$folder/libtorch"
    "$HERE/split-libtorch.sh" "$folder/worker" "$folder/libtorch"
    ;;
  worker-cuda)
    publish WorkerImage "$folder/worker" "-p:LibTorch=$([ "${DEEPSPEED_TEST_CUDA:-}" = 1 ] && echo cuda || echo none)"
    rm -rf "$folder/libtorch"
    "$HERE/split-libtorch.sh" "$folder/worker" "$folder/libtorch"
    ;;
  esac
  printf '%s %s\n' "$3" "$(stat -c %i "$folder/${1%-cuda}")" >"$stamp"
}

make_target() { # TARGET IMAGE FOLDER
  base_image
  say "building $2"
  [ -e "$PUBLISH/tini" ] || cp /usr/bin/tini-static "$PUBLISH/tini"
  # The stages with programs are not run: their names stand for folders.
  image_tool build --quiet --pull-never --layers --target "$1" --build-context "build-operator=$3" \
    --build-context "build-cpu=$3" --build-context "build-cuda=$3" --build-context "init=$PUBLISH" \
    --build-arg "REVISION=$(git -C "$REPO" rev-parse --short HEAD 2>/dev/null || echo unknown)" \
    --build-arg "SDK_IMAGE=$BASE_IMAGE" --build-arg "RUNTIME_IMAGE=$BASE_IMAGE" \
    --file "$REPO/Dockerfile" --ignorefile "$REPO/.dockerignore" --tag "$2" "$REPO" >/dev/null
}

build_target() { # TARGET IMAGE
  local target="$1" image="$2" hash context="$PUBLISH"
  if [ -n "${DEEPSPEED_TEST_PUBLISH:-}" ]; then
    context="$DEEPSPEED_TEST_PUBLISH"
    hash="$(find "$context/out" "$REPO/Dockerfile" "$REPO/src" -type f -print0 | hash_of)"
  else
    hash="$(source_hash)"
    [ "$target" != worker-cuda ] || context="$PUBLISH/cuda"
  fi
  hash="$hash $(sha256sum "$HERE/split-libtorch.sh" | cut -c1-12)"
  current "$target" "$hash" && return 0
  mkdir -p "$PUBLISH" "$context"
  programs "$target" "$context" "$hash"
  make_target "$target" "$image" "$context"
  archive "$target" "$image" "$hash"
  image_tool rmi --prune >/dev/null 2>&1 || true
}

# What docs/images.md tells users to do, with the worker as their program.
build_own() {
  local hash folder
  build_target worker "$WORKER_IMAGE"
  hash="$(cat "$IMAGES/worker.hash") own"
  current own "$hash" && return 0
  make_target worker-base "$WORKER_BASE_IMAGE" "${DEEPSPEED_TEST_PUBLISH:-$PUBLISH}"
  folder="$(mktemp -d)"
  cat >"$folder/Dockerfile" <<END
FROM $WORKER_BASE_IMAGE
COPY out/worker/ /workspace/app/
ENTRYPOINT ["/sbin/tini", "--", "/workspace/app/deepspeed-worker"]
END
  image_tool build --quiet --pull-never --file "$folder/Dockerfile" --tag "$OWN_IMAGE" "${DEEPSPEED_TEST_PUBLISH:-$PUBLISH}" >/dev/null
  rm -rf "$folder"
  archive own "$OWN_IMAGE" "$hash"
}

ARCHIVES=()
for NAME in "$@"; do
  case "$NAME" in
  pause) build_pause ;;
  operator) build_target operator "$OPERATOR_IMAGE" ;;
  worker) build_target worker "$WORKER_IMAGE" ;;
  worker-cuda) build_target worker-cuda "$WORKER_CUDA_IMAGE" ;;
  own) build_own ;;
  *) die "no such image: $NAME" ;;
  esac
  ARCHIVES+=("$IMAGES/$NAME.tar")
done

if [ -n "$(nodes_up "$STATE")" ]; then
  "$HERE/load-image.sh" --state "$STATE" "${ARCHIVES[@]}"
fi
