import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * The folder of a real data set under `../shared/data`, or undefined where it is absent; the reason is printed, so that a
 * skipped test is never silent. Data are not part of the project: their licences do not allow it.
 */
export function sharedData(name: string): string | undefined {
  const folder = fileURLToPath(new URL(`../../shared/data/${name}`, import.meta.url));
  if (existsSync(folder)) return folder;
  console.warn(`skipped: no data set at ../shared/data/${name}`);
  return undefined;
}
