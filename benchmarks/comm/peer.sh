#!/usr/bin/env bash
# Runs Python with the PyTorch that setup-peer.sh has unpacked: peer.sh FOLDER SCRIPT [ARGUMENTS]
folder=$1
shift
libraries=$folder/usr/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH=$libraries:$libraries/openblas-pthread:$libraries/blas:$libraries/lapack:$folder/lib/x86_64-linux-gnu:$folder/usr/lib
export PYTHONPATH=$folder/usr/lib/python3/dist-packages
exec /usr/bin/python3 "$@"
