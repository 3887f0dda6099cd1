import { spawn } from 'node:child_process';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import ts from 'typescript';

/**
 * The `ts` blocks of Markdown pages, as programs that are compiled and run.
 *
 * The words after `ts` on the fence are marks:
 * - none: a whole program;
 * - `continues`: goes on from the page's block before, as one program with it;
 * - `no-run`: compiled, never run (it needs a key, a file or a network);
 * - `program`: the README's program, which `.ci/run` also compiles and runs from the packed tarball.
 */
export interface Program {
  /** `README.md:57`, the line of the first block's fence. */
  readonly name: string;
  /** Each line of code stands at its line of the page, so that a compiler's message names the page's line. */
  readonly code: string;
  readonly marks: ReadonlySet<string>;
}

const MARKS = new Set(['continues', 'no-run', 'program']);
/** Fences that would hide code from the compiler. */
const REFUSED = new Set(['typescript', 'javascript', 'js', 'mts', 'mjs', 'tsx', 'jsx']);

const root = fileURLToPath(new URL('../..', import.meta.url));

/**
 * The programs of one page.
 *
 * @throws {Error} naming page and line at an unknown mark, a fence of JavaScript, a fence left open, or a `continues` with nothing before it.
 */
export function programsOf(markdown: string, page: string): Program[] {
  const programs: { name: string; lines: string[]; marks: Set<string> }[] = [];
  let fence: { end: string; indent: number; isCode: boolean; line: number } | undefined;
  for (const [index, line] of markdown.split(/\r?\n/).entries()) {
    const place = `${page}:${index + 1}`;
    if (fence !== undefined) {
      if (line.trim() === fence.end) fence = undefined;
      else if (fence.isCode) {
        const { lines } = programs.at(-1) as (typeof programs)[number];
        lines[index] = line.slice(Math.min(fence.indent, line.length - line.trimStart().length));
      }
      continue;
    }
    const open = /^(\s*)(`{3,}|~{3,})\s*(\S*)\s*(.*)$/.exec(line);
    if (open === null) continue;
    const [, indent = '', end = '', language = '', words = ''] = open;
    if (REFUSED.has(language))
      throw new Error(`${place}: write \`ts\` for \`${language}\`, so that the block is compiled`);
    fence = { end, indent: indent.length, isCode: language === 'ts', line: index + 1 };
    if (language !== 'ts') continue;
    const marks = words.split(/\s+/).filter((word) => word !== '');
    const unknown = marks.find((mark) => !MARKS.has(mark));
    if (unknown !== undefined)
      throw new Error(`${place}: unknown mark \`${unknown}\`; known: ${[...MARKS].join(', ')}`);
    const previous = programs.at(-1);
    if (!marks.includes('continues')) programs.push({ name: place, lines: [], marks: new Set(marks) });
    else if (previous === undefined)
      throw new Error(`${place}: \`continues\`, but no block of the page stands before it`);
    else for (const mark of marks) if (mark !== 'continues') previous.marks.add(mark);
  }
  if (fence !== undefined) throw new Error(`${page}:${fence.line}: this fence is never closed`);
  return programs.map(({ name, lines, marks }) => ({
    name,
    code: `${Array.from(lines, (line) => line ?? '').join('\n')}\n`,
    marks,
  }));
}

/** A `sh run` block: commands that a reader types, run as they stand. */
export interface ShellBlock {
  /** `docs/x.md:12`, the line of the fence. */
  readonly name: string;
  readonly commands: string;
  /** The data set without which it is left out. */
  readonly needs: string | undefined;
}

/**
 * The `sh run` blocks of one page, in order; plain `sh` blocks are for reading only. A word after `run` names the data set that the block needs.
 */
export function shellBlocksOf(markdown: string, page: string): ShellBlock[] {
  const blocks: ShellBlock[] = [];
  const lines = markdown.split(/\r?\n/);
  for (const [index, line] of lines.entries()) {
    const fence = /^```sh run(?: (\w+))?$/.exec(line);
    if (fence === null) continue;
    const end = lines.indexOf('```', index);
    blocks.push({ name: `${page}:${index + 1}`, commands: lines.slice(index + 1, end).join('\n'), needs: fence[1] });
  }
  return blocks;
}

/** A folder in which `npx ialp` is this checkout's `src/`, as if it were installed there. */
export async function layOutShell(folder: string): Promise<void> {
  const bin = join(folder, 'node_modules/.bin');
  await mkdir(bin, { recursive: true });
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
  const command = ['node', '--import', pathToFileURL(join(root, 'node_modules/tsx/dist/loader.mjs')).href];
  const script = `#!/bin/sh\nexec ${[...command, join(root, 'src/cli/main.ts')].map((word) => `'${word}'`).join(' ')} "$@"\n`;
  await writeFile(join(bin, 'ialp'), script, { mode: 0o755 });
}

/** Runs commands in bash, which stops at the first that fails. */
export function runShell(
  commands: string,
  timeoutMs: number,
  { cwd, env = {} }: Required<Pick<ProgramInput, 'cwd'>> & ProgramInput,
): Promise<Outcome> {
  return run('bash', ['-euo', 'pipefail', '-c', commands], timeoutMs, { cwd, env });
}

/** A folder of programs, laid out so that `ialp` means this checkout's `src/`. */
export interface Workshop {
  /** Program name -> its file. */
  readonly files: ReadonlyMap<string, string>;
  readonly tsconfig: string;
}

/** Writes each program into a folder of its own below `folder`, which exists and is empty. */
export async function layOut(programs: readonly Program[], folder: string): Promise<Workshop> {
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'), 'junction');
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
  const tsconfig = join(folder, 'tsconfig.json');
  const entry = (path: string): string[] => [join(root, 'src', path)];
  const paths = {
    ialp: entry('index.ts'),
    'ialp/node': entry('node/index.ts'),
    'ialp/testing': entry('testing/index.ts'),
    'ialp/openai-compatible': entry('openai-compatible/index.ts'),
    'ialp/ai-sdk': entry('ai-sdk/index.ts'),
    'ialp/llama-cpp': entry('llama-cpp/index.ts'),
  };
  const compilerOptions = { noUnusedLocals: false, noUnusedParameters: false, paths };
  await writeFile(
    tsconfig,
    JSON.stringify({
      extends: join(root, 'tsconfig.json'),
      compilerOptions,
      include: ['*/*.ts', join(root, 'src/**/*.d.ts')],
    }),
  );
  const files = new Map<string, string>();
  for (const { name, code } of programs) {
    const home = join(folder, name.replaceAll(/[^A-Za-z0-9.-]/g, '_'));
    await mkdir(home);
    const file = join(home, 'program.ts');
    await writeFile(file, `${code}export {};\n`);
    files.set(name, file);
  }
  return { files, tsconfig };
}

/** Compiles all programs as one; returns `page:line: message` for each error, in `src/` as in the pages. */
export function typeCheck({ files, tsconfig }: Workshop): string[] {
  const config = ts.getParsedCommandLineOfConfigFile(
    tsconfig,
    {},
    { ...ts.sys, onUnRecoverableConfigFileDiagnostic: () => {} },
  );
  if (config === undefined) throw new Error(`unreadable ${tsconfig}`);
  const pages = new Map(
    [...files].map(([name, file]) => [file.replaceAll('\\', '/'), name.slice(0, name.lastIndexOf(':'))]),
  );
  const program = ts.createProgram(config.fileNames, config.options);
  return [...config.errors, ...ts.getPreEmitDiagnostics(program)].map(({ file, start, messageText }) => {
    const message = ts.flattenDiagnosticMessageText(messageText, '\n');
    if (file === undefined) return message;
    const line = file.getLineAndCharacterOfPosition(start ?? 0).line + 1;
    return `${pages.get(file.fileName) ?? file.fileName.replace(root, '')}:${line}: ${message}`;
  });
}

/** What a program left behind. */
export interface Outcome {
  /** Exit status; null when it ran past its time and was stopped. */
  readonly status: number | null;
  /** stdout and stderr together. */
  readonly output: string;
}

/** What a program is given beside its file. */
export interface ProgramInput {
  /** Working directory. @default the program's folder */
  readonly cwd?: string;
  /** @default none */
  readonly args?: readonly string[];
  /** Environment variables beside this process's own. @default none */
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs one program through tsx. */
export function runProgram(
  file: string,
  tsconfig: string,
  timeoutMs: number,
  { cwd = dirname(file), args = [], env = {} }: ProgramInput = {},
): Promise<Outcome> {
  // tsx as a loader, not as a command: its command is a second process, which would outlive a kill.
  const loader = pathToFileURL(join(root, 'node_modules/tsx/dist/loader.mjs')).href;
  return run(process.execPath, ['--import', loader, file, ...args], timeoutMs, {
    cwd,
    env: { TSX_TSCONFIG_PATH: tsconfig, ...env },
  });
}

function run(
  command: string,
  args: readonly string[],
  timeoutMs: number,
  { cwd, env }: Required<Pick<ProgramInput, 'cwd' | 'env'>>,
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    });
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, output: Buffer.concat(chunks).toString('utf8') }));
  });
}
