#!/bin/sh
# Makes bench/.venv (git-ignored, about 5 GB with the GPU libraries that torch's wheel drags along) with the pinned
# PyTorch that `npm run bench -- --torch` compares with. Needs Python 3.10 or newer with the venv module.
set -e
here=$(cd "$(dirname "$0")" && pwd)
"${PYTHON:-python3}" -m venv "$here/.venv"
"$here/.venv/bin/pip" install --requirement "$here/requirements.txt"
"$here/.venv/bin/python" -c 'import torch; print("torch", torch.__version__)'
