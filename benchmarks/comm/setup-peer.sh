#!/usr/bin/env bash
# Unpacks Debian's PyTorch and what it needs into a folder of its own; nothing is installed. Needs apt and about 2 GiB.
set -euo pipefail
folder=${1:-artifacts/peer-torch}
mkdir -p "$folder/debs"
cd "$folder/debs"
packages=$(apt-get install --simulate --no-install-recommends python3-torch | awk '/^Inst/ {print $2}')
apt-get download $packages
for package in *.deb; do
    dpkg -x "$package" ..
done
rm -f ./*.deb
