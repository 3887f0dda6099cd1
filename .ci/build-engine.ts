import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

// Compiles the engine's AssemblyScript to WebAssembly and writes each binary as a TypeScript module of base64, which
// every tool sees (tsc, vitest, bundlers) and git ignores. Does nothing where the sources are those of the last build.
// Usage: tsx .ci/build-engine.ts [--force]; `npm ci`, `npm run build` and vitest call it.

const require = createRequire(import.meta.url);
const compiler = require.resolve('assemblyscript/bin/asc.js');
const root = fileURLToPath(new URL('..', import.meta.url));
const folder = 'src/compute/fused';
const output = `${folder}/generated`;

/** Flags of each binary. Memory is imported as shared; the loader rewrites that one byte where no thread shares it. */
const VARIANTS: Readonly<Record<string, readonly string[]>> = {
  simd: [],
  'relaxed-simd': ['--enable', 'relaxed-simd'],
};
const FLAGS = [
  ['-O3', '--noAssert', '--runtime', 'stub', '--uncheckedBehavior', 'always'],
  ['--importMemory', '--noExportMemory', '--sharedMemory', '--initialMemory', '1', '--maximumMemory', '65536'],
  ['--enable', 'threads', '--enable', 'simd', '--enable', 'bulk-memory'],
].flat();

/** Builds what is out of date; gives the sizes of the binaries in bytes, or undefined where nothing was to do. */
export async function buildEngine(force = false): Promise<Readonly<Record<string, number>> | undefined> {
  const digest = digestOfSources();
  const stale = Object.keys(VARIANTS).filter((variant) => force || digestOfBuild(variant) !== digest);
  if (stale.length === 0) return undefined;
  const sizes: Record<string, number> = {};
  mkdirSync(root + output, { recursive: true });
  await Promise.all(
    stale.map(async (variant) => {
      const binary = await compile(variant);
      checkBinary(binary, variant);
      sizes[variant] = binary.length;
      const text = [
        `// Made by .ci/build-engine.ts from sources ${digest}; do not edit.`,
        `/** The engine for ${variant}: WebAssembly, base64. */`,
        `export const binary: string =\n  '${Buffer.from(binary).toString('base64')}';\n`,
      ].join('\n');
      // Another build may run at the same time: each file appears whole.
      const path = `${root}${output}/${variant}.ts`;
      writeFileSync(`${path}.${process.pid}`, text);
      renameSync(`${path}.${process.pid}`, path);
    }),
  );
  return sizes;
}

/** vitest's global setup. */
export async function setup(): Promise<void> {
  await buildEngine();
}

/** Digest over names and contents of all that the binaries are made from. */
function digestOfSources(): string {
  const inside = (path: string) => readdirSync(root + path).map((name) => `${path}/${name}`);
  const layouts = inside(folder).filter((path) => path.endsWith('-layout.ts'));
  const sources = [...inside(`${folder}/assembly`), ...layouts].sort();
  const hash = createHash('sha256');
  const tools = [fileURLToPath(import.meta.url), `${dirname(dirname(compiler))}/package.json`];
  for (const path of [...sources.map((source) => root + source), ...tools]) {
    const text = readFileSync(path);
    hash.update(`${basename(path)} ${text.length}\n`).update(text);
  }
  return hash.digest('hex').slice(0, 32);
}

function digestOfBuild(variant: string): string | undefined {
  const path = `${root}${output}/${variant}.ts`;
  if (!existsSync(path)) return undefined;
  return /^\/\/ Made by \S+ from sources ([0-9a-f]{32});/.exec(readFileSync(path, 'utf8'))?.[1];
}

/** The compiler is a process of its own, so that the variants are built side by side. */
async function compile(variant: string): Promise<Uint8Array> {
  const scratch = mkdtempSync(`${tmpdir()}/engine-`);
  const flags = [...FLAGS, ...(VARIANTS[variant] as readonly string[]), '--outFile', `${scratch}/engine.wasm`];
  try {
    const args = [compiler, `${folder}/assembly/index.ts`, ...flags];
    const { stderr } = await promisify(execFile)(process.execPath, args, { cwd: root });
    process.stderr.write(stderr);
    return readFileSync(`${scratch}/engine.wasm`);
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

/**
 * Threads instantiate the binary over one memory, and a SIMD variant takes it over from another: so the binary may
 * write nothing at instantiation (data segments, a start function), keep no state (globals) and ask for nothing but
 * the memory.
 */
function checkBinary(binary: Uint8Array, variant: string): void {
  if (!Buffer.from(binary).includes(SHARED_IMPORT))
    throw new Error(`${variant}: expected to import env.memory, shared`);
  for (const { id, count, name } of sectionsOf(binary)) {
    const most = id === IMPORTS ? 1 : STATE.includes(id) ? 0 : Number.POSITIVE_INFINITY;
    if (count > most) throw new Error(`${variant}: expected at most ${most} in section ${name}, got ${count}`);
  }
}

/** `env`, `memory`, a memory, shared with a maximum. */
const SHARED_IMPORT = Buffer.from([3, 101, 110, 118, 6, 109, 101, 109, 111, 114, 121, 2, 3]);
const IMPORTS = 2;
/** Globals, start function, data. */
const STATE = [6, 8, 11];

/** Sections of a WebAssembly binary: number, name and how many entries. */
function* sectionsOf(binary: Uint8Array): Generator<{ id: number; count: number; name: string }> {
  const names = ['custom', 'type', 'import', 'function', 'table', 'memory', 'global', 'export', 'start', 'element'];
  let at = 8;
  const number = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = binary[at++] as number;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < binary.length) {
    const id = binary[at++] as number;
    const end = number() + at;
    yield { id, count: number(), name: names[id] ?? (id === 11 ? 'data' : `section ${id}`) };
    at = end;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const started = performance.now();
  const sizes = await buildEngine(process.argv.includes('--force'));
  const list = Object.entries(sizes ?? {}).map(([variant, bytes]) => `${variant} ${(bytes / 1000).toFixed(1)} kB`);
  if (list.length > 0)
    console.log(`engine: ${list.join(', ')} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
}
