/**
 * One contestant of one case, in a process of its own, so that its peak memory is its own. Started by `run-contestant.ts`:
 *
 * - `CASE ialp|tfjs JSON` prints a {@link CaseResult} as one line of JSON;
 * - `CASE write FILE` writes the initial weights and the data for torch.
 */
import { writeFile } from 'node:fs/promises';
import process from 'node:process';
import { encodeNamedArrays } from '../src/foundation/named-arrays.js';
import { torchArrays } from './case-data.js';
import { type BenchCase, CASES, type CaseName } from './cases.js';
import { ialpEnv } from './ialp-env.js';
import { ialpPpo } from './ialp-ppo.js';
import { ialpTop } from './ialp-top.js';
import { ialpTrained } from './ialp-trained.js';
import { ialpUpdate } from './ialp-update.js';
import type { EngineSettings } from './kernel-facts.js';
import type { CaseResult } from './measure.js';
import { tfjsUpdate } from './plain-tfjs.js';

/** What a contestant is told beside its case. */
export interface ContestantSettings {
  readonly engine: EngineSettings;
  /** Where the data set of `ppo-*` and `env-*` is. */
  readonly folder?: string | undefined;
}

function runIalp(benchCase: BenchCase, { engine, folder }: ContestantSettings): Promise<CaseResult> {
  switch (benchCase.kind) {
    case 'update':
      return ialpUpdate(benchCase, engine);
    case 'trained':
      return ialpTrained(benchCase, engine);
    case 'top10':
      return ialpTop(benchCase, engine);
    case 'ppo':
      return ialpPpo(benchCase, engine, folder as string);
    case 'env':
      return ialpEnv(benchCase, engine, folder as string);
  }
}

const [, , name, contestant, argument] = process.argv as [string, string, CaseName, 'ialp' | 'tfjs' | 'write', string];
const benchCase: BenchCase = CASES[name];
if (contestant === 'write') {
  if (benchCase.kind === 'ppo' || benchCase.kind === 'env') throw new Error(`${name} has no contestant in torch`);
  await writeFile(argument, encodeNamedArrays(torchArrays(benchCase)));
} else if (contestant === 'ialp') {
  console.log(JSON.stringify(await runIalp(benchCase, JSON.parse(argument) as ContestantSettings)));
} else {
  if (benchCase.kind !== 'update') throw new Error(`${name} has no contestant in plain tfjs`);
  console.log(JSON.stringify(await tfjsUpdate(benchCase)));
}
