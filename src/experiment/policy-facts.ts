import { z } from 'zod';
import { CheckpointError } from '../foundation/errors.js';
import type { JsonValue } from '../foundation/json.js';
import type { Storage } from '../foundation/storage.js';
import { ALGORITHMS, METHODS, type Method, type RowAlgorithm } from './result-schema.js';

/** What a saved policy went through: its rows in later tables go on counting from there. */
export interface PolicyFacts {
  /** The method it is. */
  readonly method: Method;
  /** How it learned. */
  readonly algorithm: RowAlgorithm;
  /** Environment steps of learning. */
  readonly steps: number;
  /** Gradient updates. */
  readonly updates: number;
  /** Questions put to an oracle. */
  readonly oracleCalls: number;
}

/** What is known of a policy that came without facts. */
export const UNKNOWN_POLICY: PolicyFacts = { method: 'ialp', algorithm: 'none', steps: 0, updates: 0, oracleCalls: 0 };

const KEY = 'facts.json';
const count = z.int().min(0);
const schema = z.object({
  method: z.enum(METHODS),
  algorithm: z.enum(ALGORITHMS),
  steps: count,
  updates: count,
  oracleCalls: count,
});

/** Writes the facts beside the policy, under `facts.json`. */
export async function savePolicyFacts(storage: Storage, facts: PolicyFacts): Promise<void> {
  const { method, algorithm, steps, updates, oracleCalls } = facts;
  const record: JsonValue = { method, algorithm, steps, updates, oracleCalls };
  await storage.put(KEY, new TextEncoder().encode(`${JSON.stringify(record, null, 2)}\n`));
}

/**
 * Reads the facts beside a policy.
 *
 * @returns {@link UNKNOWN_POLICY} where there are none.
 * @throws {CheckpointError} when they are damaged.
 */
export async function loadPolicyFacts(storage: Storage): Promise<PolicyFacts> {
  const bytes = await storage.get(KEY);
  if (!bytes) return UNKNOWN_POLICY;
  try {
    return schema.parse(JSON.parse(new TextDecoder().decode(bytes)));
  } catch (cause) {
    throw new CheckpointError(`${KEY}: not the facts of a policy of this library`, { source: KEY, cause });
  }
}
