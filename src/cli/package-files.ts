import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { z } from 'zod';
import type { ReportAssets } from '../experiment/report.js';

const require = createRequire(import.meta.url);

/** The version in this package's package.json, which lies two folders up in the sources and in the build alike. */
export function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return z.object({ version: z.string() }).parse(JSON.parse(text)).version;
}

/** uPlot's script and style, out of its package. */
export async function reportAssets(): Promise<ReportAssets> {
  const read = (file: string): Promise<string> => readFile(require.resolve(`uplot/dist/${file}`), 'utf8');
  const [uplotScript, uplotStyle] = await Promise.all([read('uPlot.iife.min.js'), read('uPlot.min.css')]);
  return { uplotScript, uplotStyle };
}
