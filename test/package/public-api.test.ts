import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as ialp from '../../src/index.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const NAMES = 'Env, StateEncoder, ActorCritic, MixturePolicy, PreferenceOracle, ReplayBuffer';
const USE = `
declare const env: Env; declare const encoder: StateEncoder; declare const oracle: PreferenceOracle;
declare const mixture: MixturePolicy; declare const buffer: ReplayBuffer;
const agent: ActorCritic = new ActorCritic({ catalog: env.catalog, encoder });
export const all = [env.step, oracle.prefer, mixture.alpha, buffer.size, agent.recommend()] as const;
`;

describe('the modular exports', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'ialp-api-'));
    await symlink(join(root, 'node_modules'), join(folder, 'node_modules'), 'junction');
    await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  async function errorsOf(importLine: string, options: ts.CompilerOptions): Promise<string[]> {
    const file = join(folder, 'program.ts');
    await writeFile(file, `${importLine}\n${USE}`);
    const program = ts.createProgram([file], {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      lib: ['lib.es2023.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts', 'lib.esnext.disposable.d.ts'],
      types: ['node'],
      typeRoots: [join(root, 'node_modules/@types')],
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      skipLibCheck: true,
      noEmit: true,
      paths: { ialp: [join(root, 'src/index.ts')] },
      ...options,
    });
    const source = program.getSourceFile(file);
    return ts
      .getPreEmitDiagnostics(program, source)
      .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
  }

  it.each([
    ['plainly, under default options', {}],
    ['plainly, under isolatedModules', { isolatedModules: true }],
  ])('type-check when imported %s', { timeout: 60_000 }, async (_how, options) => {
    expect(await errorsOf(`import { ${NAMES} } from 'ialp';`, options)).toEqual([]);
  });

  it('type-check with `type` at the interfaces, under verbatimModuleSyntax', { timeout: 60_000 }, async () => {
    const names = NAMES.replace(/Env|StateEncoder|PreferenceOracle/g, 'type $&');
    expect(await errorsOf(`import { ${names} } from 'ialp';`, { verbatimModuleSyntax: true })).toEqual([]);
  });

  it('fail the check where a name is not exported', { timeout: 60_000 }, async () => {
    const errors = await errorsOf(`import { ${NAMES}, Nothing } from 'ialp';`, {});
    expect(errors).toEqual([expect.stringContaining("no exported member 'Nothing'")]);
  });
});

describe('the public list', () => {
  it('has what a user composes with, and no internals', () => {
    const values = Object.keys(ialp);
    for (const name of [
      'ActorCritic',
      'MixturePolicy',
      'ReplayBuffer',
      'pretrain',
      'adapt',
      'evaluate',
      'sasRec',
      'useBackend',
    ]) {
      expect(values).toContain(name);
    }
    for (const name of [
      'checkOptions',
      'runLoop',
      'ReferenceKernels',
      'createKernels',
      'HistoryStreams',
      'TextIndex',
    ]) {
      expect(values).not.toContain(name);
    }
  });
});
