import alea from 'seedrandom/lib/alea.js';
import { argumentError } from './arguments.js';
import { CheckpointError, InvalidArgumentError } from './errors.js';
import { describeValue } from './options.js';

/** The inner state of the generator, four numbers. */
export interface RngWords {
  /** Carry. */
  readonly c: number;
  /** First word, in [0, 1). */
  readonly s0: number;
  /** Second word, in [0, 1). */
  readonly s1: number;
  /** Third word, in [0, 1). */
  readonly s2: number;
}

/** State of an {@link Rng}: plain JSON, to be kept in checkpoints. */
export interface RngState {
  /** The seed and the labels of every fork on the way to this generator. */
  readonly path: string;
  /** The generator's words, or `null` when nothing was drawn yet. */
  readonly words: RngWords | null;
}

/** Arrays that {@link Rng.shuffle} accepts. */
export type Shuffled = unknown[] | Int32Array | Uint32Array | Float32Array | Float64Array | Uint8Array;

type Generator = ReturnType<typeof newGenerator>;

function newGenerator(path: string) {
  return alea(path, { state: true });
}

/**
 * Seeded random numbers (seedrandom's Alea). The same seed gives the same numbers on every platform; nothing global is
 * read or seeded.
 *
 * Randomness is shared out by {@link Rng.fork}: a fork depends on its parent's seed and labels only, *never on how many
 * numbers the parent or a sibling drew*, so that a new consumer changes nobody else's numbers. A fork costs one string
 * until it draws.
 */
export class Rng {
  #path: string;
  #generator: Generator | undefined;

  /**
   * @param seed - any finite number or any string; `1` and `'1'` are the same seed.
   * @throws {InvalidArgumentError} when it is neither.
   */
  constructor(seed: number | string) {
    if (typeof seed !== 'string' && !(typeof seed === 'number' && Number.isFinite(seed))) {
      throw new InvalidArgumentError(
        `Rng: expected \`seed\` to be a finite number or a string, got ${describeValue(seed)}`,
        {
          argument: 'seed',
          wanted: 'a finite number or a string',
          got: seed,
        },
      );
    }
    this.#path = segment(seed);
  }

  /**
   * A generator of its own for one consumer. Depends on this generator's seed path and the label only, not on any draw:
   * the same label twice gives two generators of the same numbers.
   *
   * @param label - names the consumer, e.g. `'init'` or `'lane/3/episode/17'`; `3` and `'3'` are the same label.
   * `fork('a').fork('b')` and `fork('a/b')` are different generators.
   * @returns the generator, at its start.
   * @throws {InvalidArgumentError} when the label is neither.
   */
  fork(label: string | number): Rng {
    if (typeof label !== 'string' && !Number.isFinite(label)) {
      throw argumentError('Rng.fork', 'label', 'a string or a finite number', label);
    }
    return Rng.#at(`${this.#path}/${segment(label)}`);
  }

  /** @returns a number in [0, 1), a multiple of 2^-53. */
  uniform(): number {
    return this.#started().double();
  }

  /**
   * @param n - how many.
   * @returns `n` numbers in [0, 1), the same that `n` calls of {@link Rng.uniform} give.
   * @throws {InvalidArgumentError} when `n` is not an integer >= 0.
   */
  uniforms(n: number): Float64Array {
    checkCount('uniforms', 'n', n, 0, MAX_LENGTH);
    const generator = this.#started();
    const out = new Float64Array(n);
    for (let i = 0; i < n; i++) out[i] = generator.double();
    return out;
  }

  /**
   * @param n - from 1 to 2^32.
   * @returns an integer from 0 to n - 1, each equally likely (the bias is below 2^-21).
   * @throws {InvalidArgumentError} when `n` is out of its range.
   */
  integer(n: number): number {
    checkCount('integer', 'n', n, 1, 2 ** 32);
    return Math.floor(this.uniform() * n);
  }

  /** @returns a number from the standard normal distribution (Box-Muller, two uniforms a call, no hidden spare). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /**
   * Shuffles in place, every order equally likely (Fisher-Yates).
   *
   * @param array - changed in place.
   * @returns the same array.
   * @throws {InvalidArgumentError} when it is none.
   */
  shuffle<A extends Shuffled>(array: A): A {
    if (!Array.isArray(array) && !ArrayBuffer.isView(array))
      throw argumentError('Rng.shuffle', 'array', 'an array', array);
    const list = array as unknown[];
    for (let i = list.length - 1; i > 0; i--) {
      const j = Math.floor(this.uniform() * (i + 1));
      const other = list[j];
      list[j] = list[i];
      list[i] = other;
    }
    return array;
  }

  /**
   * Draws without replacement, in random order; costs O(k) memory, however large `n` is.
   *
   * @param n - how many there are.
   * @param k - how many are drawn, 0 to n.
   * @returns `[k]` distinct integers from 0 to n - 1.
   * @throws {InvalidArgumentError} when `n` or `k` is out of its range.
   */
  sample(n: number, k: number): Int32Array {
    checkCount('sample', 'n', n, 0, MAX_LENGTH);
    checkCount('sample', 'k', k, 0, n);
    const out = new Int32Array(k);
    // The first k steps of a Fisher-Yates shuffle of 0..n-1, of which only the displaced entries are stored.
    const displaced = new Map<number, number>();
    for (let i = 0; i < k; i++) {
      const j = i + Math.floor(this.uniform() * (n - i));
      out[i] = displaced.get(j) ?? j;
      displaced.set(j, displaced.get(i) ?? i);
    }
    return out;
  }

  /** @returns an integer from 1 to 2^31 - 1: a seed for generators that take 0 as "no seed" (tfjs does). */
  nonZeroSeed(): number {
    return 1 + Math.floor(this.uniform() * (2 ** 31 - 1));
  }

  /** @returns where this generator stands, as plain JSON; {@link Rng.fromState} goes on from there bit for bit. */
  state(): RngState {
    const words = this.#generator?.state();
    return {
      path: this.#path,
      words: words === undefined ? null : { c: words.c, s0: words.s0, s1: words.s1, s2: words.s2 },
    };
  }

  /**
   * @param state - what {@link Rng.state} gave, also after JSON.
   * @returns a generator that continues with the same numbers and has the same forks.
   * @throws {CheckpointError} when it is not such a state.
   */
  static fromState(state: RngState): Rng {
    if (!isRngState(state)) throw new CheckpointError(`Expected the state of an Rng, got ${describeValue(state)}`);
    const rng = Rng.#at(state.path);
    if (state.words !== null) rng.#generator = alea('', { state: { ...state.words } });
    return rng;
  }

  static #at(path: string): Rng {
    const rng = new Rng(0);
    rng.#path = path;
    return rng;
  }

  #started(): Generator {
    this.#generator ??= newGenerator(this.#path);
    return this.#generator;
  }
}

const MAX_LENGTH = 2 ** 31 - 1;

/** One part of a seed path with its length before it, so that no two different paths are the same text. */
function segment(label: string | number): string {
  const text = String(label);
  return `${text.length}:${text}`;
}

function checkCount(method: string, name: string, value: number, low: number, high: number): void {
  if (Number.isInteger(value) && value >= low && value <= high) return;
  const wanted = `an integer from ${low} to ${high}`;
  throw new InvalidArgumentError(`Rng.${method}: expected \`${name}\` to be ${wanted}, got ${describeValue(value)}`, {
    argument: name,
    wanted,
    got: value,
  });
}

function isRngState(value: unknown): value is RngState {
  if (typeof value !== 'object' || value === null) return false;
  const { path, words } = value as Partial<Record<keyof RngState, unknown>>;
  if (typeof path !== 'string' || words === undefined) return false;
  if (words === null) return true;
  if (typeof words !== 'object') return false;
  const { c, s0, s1, s2 } = words as Partial<Record<keyof RngWords, unknown>>;
  const inUnit = (word: unknown): boolean => typeof word === 'number' && word >= 0 && word < 1;
  return Number.isInteger(c) && inUnit(s0) && inUnit(s1) && inUnit(s2);
}
