#!/usr/bin/env node
import process from 'node:process';
import { runCli } from './run-cli.js';

const STOPS = { SIGINT: 130, SIGTERM: 143 } as const;

const controller = new AbortController();
let stopCode: number = STOPS.SIGINT;
for (const [name, code] of Object.entries(STOPS)) {
  process.on(name, () => {
    if (controller.signal.aborted) process.exit(code);
    stopCode = code;
    process.stderr.write('\nStopping after a checkpoint; once more stops at once.\n');
    controller.abort(new Error(`stopped by ${name}`));
  });
}
// A reader that has seen enough, such as `head`, is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});

const code = await runCli(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  signal: controller.signal,
  isVerbose: (process.env.DEBUG ?? '') !== '',
});
process.exitCode = code === STOPS.SIGINT ? stopCode : code;
