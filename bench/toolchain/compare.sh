#!/usr/bin/env bash
# Compiles kernels.c (clang 19 and lld 19 of Debian: apt-get install clang-19 lld-19) and assembly/kernels.ts (AssemblyScript)
# and times both, interleaved. Usage: bench/toolchain/compare.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
clang=(clang-19 --target=wasm32 -O3 -msimd128 -nostdlib -Wl,--no-entry -Wl,--import-memory)
asc=(npx --no-install asc assembly/kernels.ts -O3 --noAssert --runtime stub --uncheckedBehavior always --importMemory --noExportMemory --enable simd --enable bulk-memory --enable threads)
"${clang[@]}" -o "$out/c.wasm" kernels.c
"${clang[@]}" -mrelaxed-simd -DRELAXED -o "$out/c-relaxed.wasm" kernels.c
"${asc[@]}" --outFile "$out/as.wasm"
"${asc[@]}" --enable relaxed-simd --outFile "$out/as-relaxed.wasm"
node --experimental-wasm-relaxed-simd time.mjs "$out"/{c,as,c-relaxed,as-relaxed}.wasm
