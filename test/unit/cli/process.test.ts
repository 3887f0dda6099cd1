import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from './run.js';

const MAIN = fileURLToPath(new URL('../../../src/cli/main.ts', import.meta.url));

/** `ialp` as a process of its own. */
function start(argv: readonly string[]) {
  const child = spawn(process.execPath, ['--import', 'tsx', MAIN, ...argv], { stdio: ['ignore', 'pipe', 'pipe'] });
  const written = { stdout: '', stderr: '' };
  child.stdout.on('data', (data) => {
    written.stdout += data;
  });
  child.stderr.on('data', (data) => {
    written.stderr += data;
  });
  // As a shell sees it: a process on its way out no longer handles signals, and may die of the second one.
  const ended = new Promise<number | null>((resolve) => {
    child.on('close', (code, signal) => resolve(code ?? (signal === null ? null : 128 + constants.signals[signal])));
  });
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition() && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 20));
  };
  return { child, written, ended, until };
}

describe('the process', () => {
  it('exits 0 by itself, and 2 for wrong usage', async () => {
    const [fine, wrong] = [start(['--version']), start(['dmeo'])];
    expect(await fine.ended).toBe(0);
    expect(await wrong.ended).toBe(2);
    expect(wrong.written.stderr).toContain('Did you mean demo?');
  });

  it('at Ctrl-C writes a checkpoint, says how to go on, and exits 130', async () => {
    const out = join(temporaryFolder(), 'out');
    const argv = ['adapt', '--world', 'synthetic', '--steps', '1000000', '--episodes', '8', '--out', out];
    const { child, written, ended, until } = start(argv);
    await until(() => written.stderr.includes('adapting'));
    child.kill('SIGINT');
    expect(await ended).toBe(130);
    expect(written.stderr).toContain('Stopping after a checkpoint');
    expect(written.stderr).toContain(`give the same command again:\n  ialp adapt --world synthetic --steps 1000000`);
    expect(existsSync(join(out, 'state', 'adapt', 'checkpoint'))).toBe(true);
  });

  it('at a second Ctrl-C is gone at once', async () => {
    const out = join(temporaryFolder(), 'out');
    const { child, written, ended, until } = start(['demo', '--out', out]);
    await until(() => written.stderr.includes('card'));
    child.kill('SIGINT');
    await until(() => written.stderr.includes('Stopping'));
    child.kill('SIGINT');
    expect(await ended).toBe(130);
  });
});
