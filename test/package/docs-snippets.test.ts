import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sharedData } from '../shared-data.js';
import {
  layOut,
  layOutShell,
  programsOf,
  runProgram,
  runShell,
  shellBlocksOf,
  typeCheck,
  type Workshop,
} from './snippets.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

async function pages(): Promise<string[]> {
  const docs = await readdir(join(root, 'docs'), { recursive: true });
  const written = docs.map((path) => `docs/${path.replaceAll('\\', '/')}`).filter((path) => path.endsWith('.md'));
  return ['README.md', ...written.filter((path) => !path.startsWith('docs/reference/')).sort()];
}

async function inFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'ialp-snippets-'));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const programs = (
  await Promise.all((await pages()).map(async (page) => programsOf(await readFile(join(root, page), 'utf8'), page)))
).flat();

describe('the snippets of README.md and docs/', () => {
  let folder: string;
  let workshop: Workshop;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'ialp-snippets-'));
    workshop = await layOut(programs, folder);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('hold one program of the README, which CI runs from the tarball', () => {
    const marked = programs.filter(({ marks }) => marks.has('program'));
    expect(marked.map(({ name }) => name)).toEqual([expect.stringMatching(/^README\.md:/)]);
  });

  it('compile against src/', { timeout: 300_000 }, () => {
    expect(typeCheck(workshop).join('\n')).toBe('');
  });

  for (const { name, marks } of programs) {
    if (marks.has('no-run')) continue;
    it(`${name} runs`, { timeout: 130_000 }, async () => {
      const { status, output } = await runProgram(workshop.files.get(name) as string, workshop.tsconfig, 300_000);
      expect(status, output).toBe(0);
    });
  }
});

describe('the commands of docs/', () => {
  // In order, in one folder: a command uses what the one before it made.
  it('of build-a-world.md run as they stand', { timeout: 240_000 }, () =>
    inFolder(async (folder) => {
      const page = 'docs/how-to/build-a-world.md';
      const blocks = shellBlocksOf(await readFile(join(root, page), 'utf8'), page);
      expect(blocks.map(({ needs }) => needs)).toEqual([undefined, undefined, 'movielens']);
      await layOutShell(folder);
      for (const { name, commands, needs } of blocks) {
        const data = needs === undefined ? undefined : sharedData(needs);
        if (needs !== undefined && data === undefined) continue;
        const env = data === undefined ? {} : { MOVIELENS: data };
        const { status, output } = await runShell(commands, 200_000, { cwd: folder, env });
        expect(status, `${name}\n${output}`).toBe(0);
      }
    }),
  );

  it('would fail at the first command that does', { timeout: 60_000 }, () =>
    inFolder(async (folder) => {
      await layOutShell(folder);
      const [block] = shellBlocksOf('```sh\nls\n```\n```sh run\nnpx ialp wrold\ntouch done\n```\n', 'a.md');
      expect(block).toMatchObject({ name: 'a.md:4', needs: undefined });
      const { status, output } = await runShell(block?.commands as string, 50_000, { cwd: folder });
      expect(status).toBe(2);
      expect(output).toContain('Did you mean world?');
      expect(await readdir(folder)).not.toContain('done');
    }),
  );
});

describe('programsOf', () => {
  it('keeps each line at its line of the page', () => {
    const [program, ...others] = programsOf(
      '# A\n\n```ts\nconst a = 1;\n```\ntext\n```ts continues no-run\na;\n```\n```sh\nls\n```\n',
      'a.md',
    );
    expect(others).toEqual([]);
    expect(program?.name).toBe('a.md:3');
    expect(program?.code.split('\n')).toEqual(['', '', '', 'const a = 1;', '', '', '', 'a;', '']);
    expect([...(program?.marks ?? [])]).toEqual(['no-run']);
  });

  it('takes the indent off a block in a list', () => {
    const [program] = programsOf('- item\n  ```ts\n  if (true) {\n    f();\n  }\n  ```\n', 'a.md');
    expect(program?.code.trim()).toBe('if (true) {\n  f();\n}');
  });

  it.each([
    ['an unknown mark', '```ts norun\n```', /^a\.md:1: unknown mark `norun`/],
    ['JavaScript', 'x\n```js\n```', /^a\.md:2: write `ts`/],
    ['a fence left open', '```ts\nconst a = 1;', /^a\.md:1: this fence is never closed/],
    ['nothing to continue', '```ts continues\n```', /^a\.md:1: `continues`/],
  ])('refuses %s', (_title, markdown, message) => {
    expect(() => programsOf(markdown, 'a.md')).toThrow(message);
  });
});

describe('the harness can fail', () => {
  it('at a type error, naming page and line', { timeout: 300_000 }, () =>
    inFolder(async (folder) => {
      const page =
        'text\n\n```ts\nconst a: number = 1;\nconst b: string = a;\n```\n```ts\nconst a = "another module";\n```\n';
      const errors = typeCheck(await layOut(programsOf(page, 'docs/fake.md'), folder));
      expect(errors).toEqual([
        expect.stringMatching(/^docs\/fake\.md:5: Type 'number' is not assignable to type 'string'/),
      ]);
    }),
  );

  it('at a throw, a wrong exit and a program that never ends', { timeout: 60_000 }, () =>
    inFolder(async (folder) => {
      const page = [
        '```ts\nimport { cwd } from "node:process";\nconsole.log(cwd(), await Promise.resolve("fine"));\n```',
        '```ts\nthrow new Error("broken " + "promise");\n```',
        '```ts\nsetInterval(() => {}, 1_000);\n```',
      ].join('\n');
      const { files, tsconfig } = await layOut(programsOf(page, 'docs/fake.md'), folder);
      const [fine, broken, endless] = await Promise.all(
        [...files.values()].map((file, index) => runProgram(file, tsconfig, index === 2 ? 3_000 : 30_000)),
      );
      expect(fine).toEqual({ status: 0, output: expect.stringContaining('fine') });
      expect(fine?.output).toContain('docs_fake.md');
      expect(broken).toEqual({ status: 1, output: expect.stringContaining('broken promise') });
      expect(endless?.status).toBeNull();
    }),
  );
});
