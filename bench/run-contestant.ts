import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { type BenchCase, CASES, type CaseName, COMPARED, type Contestant, TOP } from './cases.js';
import type { ContestantSettings } from './contestant.js';
import type { CaseResult } from './measure.js';

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const run = promisify(execFile);
const PYTHON = here('./.venv/bin/python');

/**
 * Untuned, torch on two threads is 5 to 100 times slower where threads move between cores, and up to 2.6 times where
 * large blocks go back to the system (`performance.md` 7).
 */
const TORCH_ENVIRONMENT = {
  OMP_PROC_BIND: 'true',
  MALLOC_MMAP_THRESHOLD_: '2000000000',
  MALLOC_TRIM_THRESHOLD_: '4000000000',
  MALLOC_TOP_PAD_: '200000000',
};

/** Starts contestants, each in a process of its own. */
export class Contestants {
  readonly #script: string;
  readonly #folder: string;

  private constructor(script: string, folder: string) {
    this.#script = script;
    this.#folder = folder;
  }

  /** Bundles this library's contestants: a loader of TypeScript would count 70 MB to their memory. */
  static async prepare(): Promise<Contestants> {
    // Below `node_modules`, where the bundle's imports are found and git looks away.
    const cache = here('../node_modules/.cache/ialp-bench');
    await mkdir(cache, { recursive: true });
    await build({
      entryPoints: [here('./contestant.ts')],
      outfile: path.join(cache, 'contestant.mjs'),
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      packages: 'external',
      logLevel: 'warning',
    });
    const folder = await mkdtemp(path.join(os.tmpdir(), 'ialp-bench-'));
    return new Contestants(path.join(cache, 'contestant.mjs'), folder);
  }

  /** Writes what torch reads of a case. */
  async writeTorchFile(name: CaseName): Promise<void> {
    await run(process.execPath, [this.#script, name, 'write', this.#torchFile(name)]);
  }

  /** Frees the disk of what torch read. */
  async removeTorchFile(name: CaseName): Promise<void> {
    await rm(this.#torchFile(name), { force: true });
  }

  /** Runs one contestant of one case. */
  async run(name: CaseName, contestant: Contestant, settings: ContestantSettings): Promise<CaseResult> {
    const isTorch = contestant === 'torchNaive' || contestant === 'torchSameMaths';
    const { stdout } = isTorch
      ? await this.#runTorch(name, contestant)
      : await run(process.execPath, [this.#script, name, contestant, JSON.stringify(settings)]);
    return JSON.parse(stdout) as CaseResult;
  }

  /** Removes the files it wrote. */
  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }

  #runTorch(name: CaseName, contestant: Contestant): Promise<{ stdout: string }> {
    const { kind }: BenchCase = CASES[name];
    const settings = { compared: COMPARED, threads: kind === 'top10' ? 1 : 2, warmUp: TOP.warmUp, k: TOP.k };
    return run(
      PYTHON,
      [here('./torch_contestants.py'), kind, contestant, this.#torchFile(name), JSON.stringify(settings)],
      { env: { ...process.env, ...TORCH_ENVIRONMENT } },
    );
  }

  #torchFile(name: CaseName): string {
    return path.join(this.#folder, `${name}.safetensors`);
  }
}

/**
 * The version of the PyTorch in `bench/.venv`.
 *
 * @throws {Error} naming the script that makes it, where there is none.
 */
export async function torchVersion(): Promise<string> {
  const make = 'make it with `sh bench/make-venv.sh`, or leave `--torch` away';
  if (!existsSync(PYTHON))
    throw new Error(`--torch needs the Python environment bench/.venv, which is missing: ${make}`);
  try {
    const { stdout } = await run(PYTHON, ['-c', 'import torch; print(torch.__version__)']);
    return stdout.trim();
  } catch (cause) {
    throw new Error(`--torch needs PyTorch in bench/.venv, which does not load: ${make}`, { cause });
  }
}
