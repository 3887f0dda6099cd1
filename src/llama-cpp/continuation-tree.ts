import type { Token } from 'node-llama-cpp';

/** One token of one or more paths of a {@link ContinuationTree}. */
export interface TreeNode {
  /** The token; of the root, the last one that all paths share. */
  readonly token: Token;
  /** The tokens that follow it on some path. */
  readonly children: Map<Token, TreeNode>;
  /** log p(token | all before it), natural; NaN until the engine was asked at the parent. 0 at the root. */
  logProb: number;
}

/** Nodes that are evaluated in one go: a path downwards that starts after `depth` tokens. */
export interface TreeRun {
  /** Tokens that must stand before the first node, the shared ones included. */
  readonly depth: number;
  /** At least one; each has children, for after a path's last token nothing is asked. */
  readonly nodes: readonly TreeNode[];
}

/**
 * Texts that follow one prefix, as a tree of tokens: whatever they share is evaluated once, and at each node the engine is asked
 * for the logits of all children together. The first tokens of all continuations are thus read at the prefix's last position.
 */
export class ContinuationTree {
  /** The tokens that all paths share; never empty. */
  readonly shared: readonly Token[];
  readonly #root: TreeNode;
  readonly #paths: readonly (readonly Token[])[];

  /**
   * @param prefix - tokens of the prefix alone.
   * @param wholes - tokens of the prefix with each continuation. A tokeniser may join the end of the prefix with what follows it:
   *   the tree then begins before the first such place.
   */
  constructor(prefix: readonly Token[], wholes: readonly (readonly Token[])[]) {
    const length = wholes.reduce((least, whole) => Math.min(least, commonLength(prefix, whole)), prefix.length);
    this.shared = prefix.slice(0, length);
    this.#root = { token: this.shared[length - 1] as Token, children: new Map(), logProb: 0 };
    this.#paths = [prefix, ...wholes].map((tokens) => tokens.slice(length));
    for (const path of this.#paths) {
      let node = this.#root;
      for (const token of path) {
        let child = node.children.get(token);
        if (child === undefined) {
          child = { token, children: new Map(), logProb: Number.NaN };
          node.children.set(token, child);
        }
        node = child;
      }
    }
  }

  /** Tokens of the longest path that is evaluated, the shared ones included. */
  get longest(): number {
    return this.#paths.reduce((most, path) => Math.max(most, this.shared.length + Math.max(0, path.length - 1)), 0);
  }

  /** What is to be evaluated, in an order in which each run follows tokens that the engine still holds. The first begins with the root. */
  *runs(): Generator<TreeRun> {
    const open: { node: TreeNode; depth: number }[] = [{ node: this.#root, depth: this.shared.length - 1 }];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const nodes: TreeNode[] = [];
      for (let node: TreeNode | undefined = next.node; node !== undefined; ) {
        const depth = next.depth + nodes.length;
        nodes.push(node);
        const inner: TreeNode[] = [...node.children.values()].filter((child) => child.children.size > 0);
        // The last sibling in is the first out, and the deepest are pushed last: what was just evaluated is left bottom up.
        for (const sibling of inner.slice(1).reverse()) open.push({ node: sibling, depth: depth + 1 });
        node = inner[0];
      }
      yield { depth: next.depth, nodes };
    }
  }

  /** log p(continuation | prefix) of each whole, in the order given, once every run was evaluated. */
  logLikelihoods(): number[] {
    const [prefix, ...wholes] = this.#paths.map((path) => this.#logProbOf(path));
    // Where the tokeniser joined the two, the end of the prefix counts in both and cancels.
    return wholes.map((whole) => whole - (prefix as number));
  }

  #logProbOf(path: readonly Token[]): number {
    let sum = 0;
    let node = this.#root;
    for (const token of path) {
      node = node.children.get(token) as TreeNode;
      sum += node.logProb;
    }
    return sum;
  }
}

/** How many tokens two lists share at their beginning. */
export function commonLength(a: readonly Token[], b: readonly Token[]): number {
  const end = Math.min(a.length, b.length);
  let length = 0;
  while (length < end && a[length] === b[length]) length++;
  return length;
}
