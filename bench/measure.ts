import { readFileSync } from 'node:fs';
import process from 'node:process';
import { type EngineMemory, engineMemory } from '../src/compute/engine-memory.js';

/** What a contestant's process prints, as one line of JSON. */
export interface CaseResult {
  /** Wall time of each measured call, milliseconds. */
  readonly ms: readonly number[];
  /** Losses of the updates before: equal maths gives equal losses. */
  readonly losses?: readonly number[];
  /** The items that `top10-*` gives for the first history. */
  readonly items?: readonly number[];
  /** Largest resident set of the process, MB. */
  readonly peakRssMb: number;
  /** How it ran; versions, threads, kernels. */
  readonly facts: Readonly<Record<string, unknown>>;
}

/** What the measured calls took, and left behind. */
export interface Measured {
  /** Wall time of each call, milliseconds. */
  readonly ms: number[];
  /** How much more of each the engines held after all calls than before: zero everywhere, or something leaks. */
  readonly leaked: Readonly<Record<string, number>>;
}

/**
 * Calls `work` with 0, 1, … and takes the time of each call; then all of it once more, to count what it leaves behind
 * when every buffer has its final size.
 *
 * @param calls - how often, >= 1.
 * @param work - what is measured.
 */
export function measure(calls: number, work: (call: number) => void): Measured {
  const ms = Array.from({ length: calls }, (_, call) => {
    const start = performance.now();
    work(call);
    return performance.now() - start;
  });
  const before = engineMemory();
  for (let call = 0; call < calls; call++) work(call);
  const after = engineMemory();
  const counts = Object.keys(before) as (keyof EngineMemory)[];
  return { ms, leaked: Object.fromEntries(counts.map((count) => [count, after[count] - before[count]])) };
}

/** Largest resident set of this process alone, MB: Linux's `maxRSS` would count its parent's as well. */
export function peakRssMb(): number {
  try {
    const kilobytes = /VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
    return Number(kilobytes) / 1024;
  } catch {
    return process.resourceUsage().maxRSS / 1024;
  }
}
