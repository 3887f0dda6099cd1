import fc from 'fast-check';
import type { Token } from 'node-llama-cpp';
import { describe, expect, it } from 'vitest';
import { ContinuationTree, type TreeNode } from '../../../src/llama-cpp/continuation-tree.js';

const tokens = (max: number) => fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: max }) as fc.Arbitrary<Token[]>;
const prefixes = tokens(5).map((tail): Token[] => [9 as Token, ...tail]);

describe('ContinuationTree', () => {
  it('gives each continuation what evaluating it alone gives', () =>
    fc.assert(
      fc.property(prefixes, fc.array(tokens(6), { minLength: 1, maxLength: 12 }), (prefix, continuations) => {
        const wholes = continuations.map((continuation) => [...prefix, ...continuation]);
        const tree = new ContinuationTree(prefix, wholes);
        evaluate(tree);
        const alone = wholes.map((whole) => logProbOf(whole, prefix.length));
        for (const [i, got] of tree.logLikelihoods().entries()) expect(got).toBeCloseTo(alone[i] as number, 9);
      }),
      { seed: 7 },
    ));

  it('evaluates whatever continuations share once, and never a last token', () =>
    fc.assert(
      fc.property(prefixes, fc.array(tokens(6), { minLength: 1, maxLength: 12 }), (prefix, continuations) => {
        const wholes = continuations.map((continuation) => [...prefix, ...continuation]);
        const inner = new Set(wholes.flatMap((whole) => whole.map((_, at) => whole.slice(0, at).join())));
        const needed = [...inner].filter((text) => text.split(',').length >= prefix.length && text !== '').length;
        const longer = wholes.some((whole) => whole.length > prefix.length);
        expect(evaluate(new ContinuationTree(prefix, wholes))).toBe(longer ? needed : 1);
      }),
      { seed: 7 },
    ));

  it('keeps within the longest path that it announces', () => {
    const tree = new ContinuationTree(ids(9, 1), [ids(9, 1, 2, 3, 0), ids(9, 1, 2)]);
    expect(tree.longest).toBe(4);
    expect([...tree.runs()].map(({ depth, nodes }) => depth + nodes.length)).toEqual([4]);
  });

  it('lets the end of the prefix cancel where a tokeniser joins it with what follows', () => {
    // The prefix ends in 1, which the first continuation turns into a 3.
    const tree = new ContinuationTree(ids(9, 0, 1), [ids(9, 0, 3, 2), ids(9, 0, 1, 2)]);
    evaluate(tree);
    expect(tree.shared).toEqual([9, 0]);
    const end = logProbOf(ids(9, 0, 1), 2);
    const [joined, plain] = tree.logLikelihoods();
    expect(joined).toBeCloseTo(logProbOf(ids(9, 0, 3, 2), 2) - end, 9);
    expect(plain).toBeCloseTo(logProbOf(ids(9, 0, 1, 2), 3), 9);
  });

  it('is wrong where the engine does not forget the last continuation (negative control)', () => {
    const wholes = [ids(9, 1, 2, 3, 0), ids(9, 1, 3, 2, 0)];
    const tree = new ContinuationTree(ids(9, 1), wholes);
    evaluate(tree, { forgets: false });
    expect(Math.abs((tree.logLikelihoods()[1] as number) - logProbOf(wholes[1] as Token[], 2))).toBeGreaterThan(0.01);
  });
});

function ids(...values: number[]): Token[] {
  return values as Token[];
}

/** A made-up model: the probability of a token depends on all before it. */
function logProbAfter(before: readonly number[], token: number): number {
  const hash = before.reduce((sum, value, at) => (sum * 31 + value * 7 + at) % 1009, 17);
  const weights = Array.from({ length: 10 }, (_, i) => 1 + ((hash * (i + 3)) % 11));
  return Math.log((weights[token] as number) / weights.reduce((sum, weight) => sum + weight, 0));
}

function logProbOf(whole: readonly number[], from: number): number {
  let sum = 0;
  for (let at = from; at < whole.length; at++) sum += logProbAfter(whole.slice(0, at), whole[at] as number);
  return sum;
}

/** Plays the engine: holds tokens, forgets back to each run's depth, reads the children. Returns how many tokens it evaluated. */
function evaluate(tree: ContinuationTree, { forgets = true } = {}): number {
  const held: number[] = tree.shared.slice(0, -1);
  let evaluated = 0;
  for (const { depth, nodes } of tree.runs()) {
    if (forgets) held.length = depth;
    for (const node of nodes as readonly TreeNode[]) {
      held.push(node.token);
      evaluated++;
      for (const child of node.children.values()) child.logProb = logProbAfter(held, child.token);
    }
  }
  return evaluated;
}
