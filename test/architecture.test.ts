import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { checkArchitecture, describeViolation, type Rule } from './architecture-rules.js';

const root = fileURLToPath(new URL('..', import.meta.url));

function readHouse(): Map<string, string> {
  const paths = readdirSync(`${root}src`, { recursive: true, encoding: 'utf8' }).map((path) =>
    path.replaceAll('\\', '/'),
  );
  // AssemblyScript is a language of its own, whose compiler knows its imports; what it makes imports nothing.
  const sources = paths.filter((path) => path.endsWith('.ts') && !path.startsWith('compute/fused/assembly/'));
  return new Map(sources.map((path) => [path, readFileSync(`${root}src/${path}`, 'utf8')]));
}

function readDependencies(): Set<string> {
  const manifest = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as Record<string, Record<string, string>>;
  return new Set(Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies }));
}

describe('architecture', () => {
  it('holds: imports go down the ranks, and the browser half knows nothing of Node', () => {
    const house = readHouse();
    expect(house.size).toBeGreaterThan(20);
    const violations = checkArchitecture(house, readDependencies());
    expect(violations.map(describeViolation).join('\n')).toBe('');
  });
});

/** A small house in order; each case below changes one file and must be found out. */
const house: Readonly<Record<string, string>> = {
  'index.ts': "export { Rng } from './foundation/rng.js';",
  'foundation/rng.ts': "import seedrandom from 'seedrandom';\nexport class Rng { next = seedrandom('1'); }",
  'catalog/catalog.ts': "import type { Rng } from '../foundation/rng.js';\nexport type Catalog = Rng;",
  'compute/backend.ts': "import * as tf from '@tensorflow/tfjs';\nexport const use = () => tf.setBackend('cpu');",
  'oracle/oracle.ts': "export { type Catalog } from '../catalog/catalog.js';",
  'encoder/mean.ts': "import * as tf from '@tensorflow/tfjs';\nexport const mean = (x: tf.Tensor) => tf.mean(x);",
  'env/env.ts': "import './leave-rule.js';",
  'env/leave-rule.ts': 'export const rule = 1;',
  'agent/actor.ts': 'export const actor = 1;',
  'train/loop.ts': 'export const loop = 1;',
  'world/card.ts': 'export const card = 1;',
  'node/index.ts': "export { files } from './files.js';",
  'node/files.ts': "import { open } from 'node:fs/promises';\nexport const files = [open, process, Buffer];",
  'cli/main.ts': "import { files } from '../node/files.js';\nconsole.log(files, process.argv);",
  'testing/index.ts': "export { contract } from './contract.js';",
  'testing/contract.ts': "import { rule } from '../env/leave-rule.js';\nexport const contract = rule;",
};

interface Case {
  readonly title: string;
  readonly change: Readonly<Record<string, string>>;
  readonly rule: Rule;
  readonly message: RegExp;
}

const cases: readonly Case[] = [
  {
    title: 'an import up the ranks',
    change: { 'catalog/catalog.ts': "\nimport { rule } from '../env/leave-rule.js';\nconsole.log(rule);" },
    rule: 'rank',
    message:
      /^src\/catalog\/catalog\.ts:2 .*src\/catalog\/catalog\.ts -> src\/env\/leave-rule\.ts: up: catalog has rank 1, env has rank 3$/,
  },
  {
    title: 'an import sideways, though only of a type',
    change: { 'agent/actor.ts': "import type { X } from '../env/env.js';" },
    rule: 'rank',
    message: /sideways: agent has rank 3, env has rank 3/,
  },
  {
    title: 'train and world side by side',
    change: { 'train/loop.ts': "export * from '../world/card.js';" },
    rule: 'rank',
    message: /sideways/,
  },
  {
    title: 'an inline type import up',
    change: { 'oracle/oracle.ts': "export type A = import('../agent/actor.js').A;" },
    rule: 'rank',
    message: /up/,
  },
  {
    title: 'a dynamic import up',
    change: { 'oracle/oracle.ts': "export const later = () => import('../node/files.js');" },
    rule: 'rank',
    message: /oracle has rank 2, node has rank 7/,
  },
  {
    title: 'the browser entry with a Node file',
    change: { 'index.ts': "export * from './node/files.js';" },
    rule: 'rank',
    message: /up to 6/,
  },
  {
    title: 'testing with a Node file',
    change: { 'testing/contract.ts': "import '../node/files.js';" },
    rule: 'rank',
    message: /up to 6/,
  },
  {
    title: 'src that needs testing',
    change: { 'cli/main.ts': "import '../testing/contract.js';" },
    rule: 'testing',
    message: /nothing in src/,
  },
  {
    title: 'the entry with testing',
    change: { 'index.ts': "export * from './testing/contract.js';" },
    rule: 'testing',
    message: /nothing in src/,
  },
  {
    title: 'use of an entry point',
    change: { 'cli/main.ts': "import '../node/index.js';" },
    rule: 'barrel',
    message: /import the file/,
  },
  { title: 'a barrel', change: { 'env/index.ts': "export * from './env.js';" }, rule: 'layout', message: /barrel/ },
  { title: 'a file with no folder', change: { 'main.ts': '' }, rule: 'layout', message: /only index\.ts/ },
  {
    title: 'a folder with no rank',
    change: { 'extras/thing.ts': '' },
    rule: 'layout',
    message: /extras\/ has no rank/,
  },
  { title: 'utils.ts', change: { 'env/utils.ts': '' }, rule: 'layout', message: /no concept/ },
  { title: 'camel case', change: { 'env/coatWorld.ts': '' }, rule: 'layout', message: /kebab-case/ },
  {
    title: 'node: below node',
    change: { 'env/env.ts': "import { open } from 'node:fs';" },
    rule: 'node',
    message: /src\/env\/env\.ts -> node:fs/,
  },
  {
    title: 'node: by dynamic import',
    change: { 'compute/backend.ts': "await import('node:os');" },
    rule: 'node',
    message: /-> node:os/,
  },
  {
    title: 'node: hidden in a name',
    change: { 'compute/backend.ts': "const m = 'node:os';\nawait import(m);" },
    rule: 'node',
    message: /'node:os'/,
  },
  {
    title: 'node: in testing',
    change: { 'testing/contract.ts': "import 'node:fs';" },
    rule: 'node',
    message: /node:fs/,
  },
  {
    title: 'a global of Node',
    change: { 'agent/actor.ts': 'export const actor = Buffer.from([1]);' },
    rule: 'node',
    message: /global Buffer/,
  },
  {
    title: 'process in a shorthand',
    change: { 'agent/actor.ts': 'export const a = { process };' },
    rule: 'node',
    message: /global process/,
  },
  {
    title: 'a built-in without node:',
    change: { 'node/files.ts': "import 'fs';" },
    rule: 'dependency',
    message: /fs is neither/,
  },
  {
    title: 'an undeclared package',
    change: { 'env/env.ts': "import _ from 'lodash';" },
    rule: 'dependency',
    message: /lodash is neither/,
  },
  {
    title: 'a computed import',
    change: { 'env/env.ts': "await import('a' + 1);" },
    rule: 'dependency',
    message: /computed name/,
  },
  {
    title: 'a way out of src',
    change: { 'env/env.ts': "import '../../package.json';" },
    rule: 'dependency',
    message: /leaves src/,
  },
  {
    title: 'an import of no file',
    change: { 'env/env.ts': "import './gone.js';" },
    rule: 'missing',
    message: /no such file/,
  },
  {
    title: 'an import without .js',
    change: { 'env/env.ts': "import './leave-rule';" },
    rule: 'extension',
    message: /ends in \.js/,
  },
  {
    title: 'tfjs in an agent',
    change: { 'agent/actor.ts': "import * as tf from '@tensorflow/tfjs';" },
    rule: 'tensor',
    message: /only compute and encoder/,
  },
  {
    title: 'tfjs as a type in an oracle',
    change: { 'oracle/oracle.ts': "import type { Tensor } from '@tensorflow/tfjs';" },
    rule: 'tensor',
    message: /only compute/,
  },
  {
    title: 'a back-end package in an encoder',
    change: { 'encoder/mean.ts': "await import('@tensorflow/tfjs-backend-wasm');" },
    rule: 'tensor',
    message: /may import @tensorflow\/tfjs only/,
  },
  {
    title: 'setBackend in an encoder',
    change: { 'encoder/mean.ts': "import * as tf from '@tensorflow/tfjs';\ntf.setBackend('cpu');" },
    rule: 'engine',
    message: /^src\/encoder\/mean\.ts:2 .*setBackend/,
  },
  {
    title: 'registerKernel by name',
    change: { 'encoder/mean.ts': "import { registerKernel as r } from '@tensorflow/tfjs';\nr({});" },
    rule: 'engine',
    message: /registerKernel/,
  },
  {
    title: 'a gradient by hand in brackets',
    change: { 'encoder/mean.ts': "tf['customGrad']();" },
    rule: 'engine',
    message: /customGrad/,
  },
  {
    title: 'Math.random',
    change: { 'node/files.ts': 'export const files = Math.random();' },
    rule: 'randomness',
    message: /Math\.random/,
  },
  {
    title: 'Math.random taken apart',
    change: { 'env/env.ts': 'const { random: draw } = Math;' },
    rule: 'randomness',
    message: /Math\.random/,
  },
  {
    title: 'Math.random in brackets',
    change: { 'env/env.ts': "globalThis.Math['random']();" },
    rule: 'randomness',
    message: /Math\.random/,
  },
  {
    title: 'tf sampling',
    change: { 'compute/backend.ts': 'tf.randomNormal([1]);' },
    rule: 'randomness',
    message: /tf\.randomNormal/,
  },
  {
    title: 'a cycle of values',
    change: { 'env/leave-rule.ts': "export { x } from './env.js';" },
    rule: 'cycle',
    message: /src\/env\/env\.ts -> src\/env\/leave-rule\.ts -> src\/env\/env\.ts/,
  },
];

describe('checkArchitecture', () => {
  const dependencies = new Set(['seedrandom', '@tensorflow/tfjs', '@tensorflow/tfjs-backend-wasm']);
  const check = (change: Readonly<Record<string, string>> = {}) =>
    checkArchitecture(new Map(Object.entries({ ...house, ...change })), dependencies);

  it('accepts a house in order', () => {
    expect(check()).toEqual([]);
  });

  it.each(cases)('finds $title', ({ change, rule, message }) => {
    const found = check(change);
    expect(found.map((violation) => violation.rule)).toEqual([rule]);
    expect(found.map(describeViolation).join('\n')).toMatch(message);
  });

  it.each([
    ['a question to typeof', "export const isNode = typeof process !== 'undefined';"],
    ['a global that typeof was asked for', "export const on = typeof process !== 'undefined' && process.version;"],
    ['globalThis', 'export const host = (globalThis as { process?: object }).process;'],
    ['a local name', 'export const f = (process: () => void) => process();'],
    ['a member name', 'export const o = { process: 1, Buffer() {} }; o.process;'],
    ['a comment or a text', "// Math.random, node:fs\nexport const s = 'no Math.random here; see node:fs';"],
    ['a cycle of types', "export type { X } from './env.js';\nexport const rule = 1;"],
  ])('lets pass %s', (_title, text) => {
    expect(check({ 'env/leave-rule.ts': text })).toEqual([]);
  });
});
