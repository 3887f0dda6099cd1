import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { runCli } from '../../../src/cli/run-cli.js';

/** What a command line did. */
export interface CliRun {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `ialp` in this process. */
export async function ialp(argv: readonly string[], { signal = new AbortController().signal } = {}): Promise<CliRun> {
  const written = { stdout: '', stderr: '' };
  const output = (name: 'stdout' | 'stderr') => ({
    write: (text: string) => {
      written[name] += text;
    },
  });
  const io = { stdout: output('stdout'), stderr: output('stderr'), signal, isVerbose: false };
  return { code: await runCli(argv, io), ...written };
}

/** A folder that goes with the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'ialp-cli-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** An abort as soon as something is true, asked whenever the event loop has a turn. */
export function abortWhen(condition: () => boolean): AbortSignal {
  const controller = new AbortController();
  const timer = setInterval(() => {
    if (!condition()) return;
    clearInterval(timer);
    controller.abort(new Error('stopped by the test'));
  }, 5);
  onTestFinished(() => clearInterval(timer));
  return controller.signal;
}
