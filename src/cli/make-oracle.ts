import { Option } from 'commander';
import type { Catalog } from '../catalog/catalog.js';
import type { Method } from '../experiment/result-schema.js';
import type { PreferenceOracle } from '../oracle/preference-oracle.js';
import { SimulatedOracle } from '../oracle/simulated-oracle.js';

/** Oracles a command knows. */
export const ORACLE_NAMES = ['simulated', 'shuffled', 'random', 'none'] as const;
/** One of {@link ORACLE_NAMES}. */
export type OracleName = (typeof ORACLE_NAMES)[number];

/** `--oracle`, with its names. */
export function oracleOption(): Option {
  return new Option(
    '--oracle <name>',
    'who is asked: one that reads text, or a control that must teach nothing (other texts; chance; always None)',
  )
    .choices(ORACLE_NAMES)
    .default('simulated');
}

/** The oracle of a name, and what rows call a policy that learned from it. */
export function makeOracle(
  name: OracleName,
  { catalog, noise, seed }: { readonly catalog: Catalog; readonly noise: number; readonly seed: number },
): { readonly oracle: PreferenceOracle; readonly method: Method } {
  const base = { catalog, noise, seed };
  switch (name) {
    case 'simulated':
      return { oracle: new SimulatedOracle(base), method: 'ialp' };
    case 'shuffled':
      return { oracle: new SimulatedOracle({ ...base, shuffledText: seed }), method: 'ialpShuffledOracle' };
    case 'random':
      return { oracle: new SimulatedOracle({ ...base, control: 'random' }), method: 'ialp' };
    case 'none':
      return { oracle: new SimulatedOracle({ ...base, control: 'alwaysNone' }), method: 'ialp' };
  }
}
