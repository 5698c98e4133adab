#!/usr/bin/env bash
# Builds the container images of the tests without a registry, and loads them when a cluster is up:
#   images.sh [--state STATE-FOLDER] [pause|operator|worker|all]...
# The archives lie in the cache folder (images/); an image is built again only when something that it is made of changed.
# DEEPSPEED_TEST_PUBLISH names a folder with out/operator, out/worker (and out/libtorch) to be used instead of building.
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

build_target() { # TARGET IMAGE
  local target="$1" image="$2" hash context="$PUBLISH"
  if [ -n "${DEEPSPEED_TEST_PUBLISH:-}" ]; then
    context="$DEEPSPEED_TEST_PUBLISH"
    hash="$(find "$context/out" "$REPO/Dockerfile" "$REPO/src" -type f -print0 | hash_of)"
  else
    hash="$(source_hash)"
  fi
  hash="$hash $(sha256sum "$HERE/split-libtorch.sh" | cut -c1-12)"
  current "$target" "$hash" && return 0
  if [ -z "${DEEPSPEED_TEST_PUBLISH:-}" ]; then
    case "$target" in
    operator) publish Operator "$context/out/operator" ;;
    worker)
      publish WorkerImage "$context/out/worker" -p:LibTorch=cpu
      rm -rf "$context/out/libtorch"
      "$HERE/split-libtorch.sh" "$context/out/worker" "$context/out/libtorch"
      ;;
    esac
  fi
  base_image
  say "building $image"
  # The build stage is not run: its name stands for the folder of programs.
  image_tool build --quiet --pull-never --layers --target "$target" --build-context "build=$context" \
    --build-arg "SDK_IMAGE=$BASE_IMAGE" --build-arg "RUNTIME_IMAGE=$BASE_IMAGE" \
    --file "$REPO/Dockerfile" --ignorefile "$REPO/.dockerignore" --tag "$image" "$REPO" >/dev/null
  archive "$target" "$image" "$hash"
  image_tool rmi --prune >/dev/null 2>&1 || true
}

ARCHIVES=()
for NAME in "$@"; do
  case "$NAME" in
  pause) build_pause ;;
  operator) build_target operator "$OPERATOR_IMAGE" ;;
  worker) build_target worker "$WORKER_IMAGE" ;;
  *) die "no such image: $NAME" ;;
  esac
  ARCHIVES+=("$IMAGES/$NAME.tar")
done

if [ -n "$(nodes_up "$STATE")" ]; then
  "$HERE/load-image.sh" --state "$STATE" "${ARCHIVES[@]}"
fi
