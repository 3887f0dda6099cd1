/** Who runs: this library, plain tfjs on stock tfjs-wasm, PyTorch as the paper writes it, PyTorch with our maths. */
export type Contestant = 'ialp' | 'tfjs' | 'torchNaive' | 'torchSameMaths';

/** One A2C update; see `ialp-update.ts`. */
export interface UpdateCase {
  readonly kind: 'update';
  /** Rows B. */
  readonly batch: number;
  /** Items A. */
  readonly items: number;
  /** Measured updates a round. */
  readonly updates: number;
  readonly contestants: readonly Contestant[];
}

/** One PPO update with all that training uses; see `ialp-trained.ts`. */
export interface TrainedCase extends Omit<UpdateCase, 'kind'> {
  readonly kind: 'trained';
}

/** Encode one history, score all items, take the ten best, on one thread. */
export interface TopCase {
  readonly kind: 'top10';
  /** Items A. */
  readonly items: number;
  readonly contestants: readonly Contestant[];
}

/** PPO end to end on a world, 32 environments; the time is that of 1,000 environment steps. */
export interface PpoCase {
  readonly kind: 'ppo';
  readonly world: 'coat' | 'industrial';
  /** Measured epochs of 1,024 steps. */
  readonly epochs: number;
  readonly contestants: readonly Contestant[];
}

/** A world stepped by a random policy, one thread; the time is that of 1,000 environment steps. */
export interface EnvCase {
  readonly kind: 'env';
  readonly world: 'coat' | 'industrial';
  /** Users stepped together. */
  readonly size: number;
  readonly contestants: readonly Contestant[];
}

export type BenchCase = UpdateCase | TrainedCase | TopCase | PpoCase | EnvCase;

const everyone = ['ialp', 'tfjs', 'torchNaive', 'torchSameMaths'] as const;
const withoutTfjs = ['ialp', 'torchNaive', 'torchSameMaths'] as const;
const withNaive = ['ialp', 'torchNaive'] as const;
const alone = ['ialp'] as const;

/** All cases by name, in the order they run. */
export const CASES = {
  'update-32-290': { kind: 'update', batch: 32, items: 290, updates: 60, contestants: everyone },
  'update-128-5814': { kind: 'update', batch: 128, items: 5814, updates: 16, contestants: everyone },
  'update-128-18297': { kind: 'update', batch: 128, items: 18_297, updates: 12, contestants: everyone },
  // Stock tfjs would need 1.8 GB and seconds an update here.
  'update-128-100000': { kind: 'update', batch: 128, items: 100_000, updates: 8, contestants: withoutTfjs },
  'trained-32-290': { kind: 'trained', batch: 32, items: 290, updates: 60, contestants: withNaive },
  'trained-128-5814': { kind: 'trained', batch: 128, items: 5814, updates: 16, contestants: withNaive },
  'trained-128-18297': { kind: 'trained', batch: 128, items: 18_297, updates: 12, contestants: withNaive },
  'trained-128-100000': { kind: 'trained', batch: 128, items: 100_000, updates: 8, contestants: withNaive },
  'scale-128-1000': { kind: 'update', batch: 128, items: 1000, updates: 10, contestants: alone },
  'scale-128-10000': { kind: 'update', batch: 128, items: 10_000, updates: 8, contestants: alone },
  'scale-128-30000': { kind: 'update', batch: 128, items: 30_000, updates: 6, contestants: alone },
  'top10-5814': { kind: 'top10', items: 5814, contestants: withoutTfjs },
  'top10-18297': { kind: 'top10', items: 18_297, contestants: withoutTfjs },
  'top10-100000': { kind: 'top10', items: 100_000, contestants: withoutTfjs },
  'ppo-coat': { kind: 'ppo', world: 'coat', epochs: 10, contestants: alone },
  'ppo-industry': { kind: 'ppo', world: 'industrial', epochs: 20, contestants: alone },
  'env-coat': { kind: 'env', world: 'coat', size: 2048, contestants: alone },
  'env-industry': { kind: 'env', world: 'industrial', size: 256, contestants: alone },
} as const satisfies Record<string, BenchCase>;

export type CaseName = keyof typeof CASES;

/** Updates before those that are measured: code gets hot, and their losses are compared between contestants. */
export const COMPARED = 5;
/** Stock tfjs takes seconds for the largest: fewer of both. */
export const TFJS = { compared: 2, updates: 2 } as const;
/** Calls of `top10-*`. */
export const TOP = { k: 10, warmUp: 30, calls: 200 } as const;
/** Environments of `ppo-*`, and steps between two looks at the clock: four rollouts of 8 steps each. */
export const PPO = { lanes: 32, stepsPerEpoch: 1024 } as const;
