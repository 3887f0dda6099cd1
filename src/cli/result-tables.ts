import { formatCount, formatNumber } from '../experiment/report-html.js';
import { MODES, type RunRow } from '../experiment/result-schema.js';
import type { OracleRow } from '../oracle/oracle-evaluation.js';
import type { CardRow } from '../world/card.js';
import { type TextColumn, textTable } from './text-table.js';

type Style = (text: string) => string;

const left = (title: string): TextColumn => ({ title, align: 'left' });
const right = (title: string): TextColumn => ({ title, align: 'right' });

/** A world's card, one line a policy. */
export function cardTable(rows: readonly CardRow[], style?: Style): string {
  const titles = ['return', '95 % interval', 'length', 'avg. reward', 'coverage', 'diversity', 'novelty', 'episodes'];
  const cells = rows.map((row) => [
    row.policy,
    formatNumber(row.return),
    interval(row),
    formatNumber(row.length),
    formatNumber(row.averageReward, 3),
    formatNumber(row.coverage),
    row.diversity === null ? '–' : formatNumber(row.diversity),
    formatNumber(row.novelty, 1),
    formatCount(row.episodes),
  ]);
  return textTable([left('policy'), ...titles.map(right)], cells, style);
}

/** An oracle's examination, one line for each who answered. */
export function oracleTable(rows: readonly OracleRow[], style?: Style): string {
  const titles = ['hit@1', '95 % interval', 'forced', 'gain on text', '95 % interval', 'None', 'None right', 'invalid'];
  const more = ['mass', 'RStd', 'flips', 'tokens', 's / answer'];
  const cells = rows.map((row) => [
    row.oracle,
    number(row.hitAt1),
    ends(row.hitAt1Low, row.hitAt1High),
    number(row.hitForced),
    number(row.gain),
    ends(row.gainLow, row.gainHigh),
    number(row.noneRate),
    number(row.noneHit),
    number(row.invalidRate),
    number(row.labelMass),
    number(row.recallSpread),
    number(row.flipRate),
    number(row.tokensPerAnswer, 0),
    number(row.secondsPerAnswer),
  ]);
  return textTable([left('who'), ...[...titles, ...more].map(right)], cells, style);
}

function number(value: number | null, digits = 2): string {
  return value === null ? '–' : formatNumber(value, digits);
}

function ends(low: number | null, high: number | null): string {
  return low === null || high === null ? '–' : `[${formatNumber(low, 2)}, ${formatNumber(high, 2)}]`;
}

/** A run's table, one line a method, steps and mode. */
export function runTable(rows: readonly RunRow[], style?: Style): string {
  const columns = ['steps', 'updates', 'calls', 'return', '95 % interval', 'length', 'avg.', 'cov.'].map(right);
  const cells = rows.map((row) => [
    row.method,
    row.mode,
    formatCount(row.steps),
    formatCount(row.updates),
    formatCount(row.oracleCalls),
    formatNumber(row.return),
    interval(row),
    formatNumber(row.length),
    formatNumber(row.averageReward),
    formatNumber(row.coverage),
  ]);
  return textTable([left('method'), left('mode'), ...columns], cells, style);
}

/**
 * All methods by step count: one line a method and mode, a column of returns for each step count, then interval, length and
 * coverage at the last of its step counts. A method that does not sample has one line for both modes.
 */
export function comparisonTable(rows: readonly RunRow[], style?: Style): string {
  const steps = [...new Set(rows.map((row) => row.steps))].sort((a, b) => a - b);
  const methods = [...new Set(rows.map(({ method }) => method))];
  const cells = methods.flatMap((method) => {
    const own = rows.filter((row) => row.method === method);
    const series = MODES.map((mode) => own.filter((row) => row.mode === mode));
    const [sampled, argmax] = series as [RunRow[], RunRow[]];
    const isSame = sampled.length === argmax.length && sampled.every((row, i) => row.return === argmax[i]?.return);
    const lines = isSame ? [sampled] : series.filter((line) => line.length > 0);
    return lines.map((line) => {
      const last = line.reduce((latest, row) => (row.steps > latest.steps ? row : latest));
      const at = (step: number): string => {
        const row = line.find((one) => one.steps === step);
        return row === undefined ? '' : formatNumber(row.return, 1);
      };
      const ends = [interval(last, 1), formatNumber(last.length, 1), formatNumber(last.coverage)];
      return [method, isSame ? 'both' : last.mode, ...steps.map(at), ...ends];
    });
  });
  const heads = [...steps.map(formatCount), 'interval', 'length', 'cov.'].map(right);
  return textTable([left('return at steps'), left('mode'), ...heads], cells, style);
}

function interval({ returnLow, returnHigh }: { returnLow: number; returnHigh: number }, digits = 2): string {
  if (returnLow === returnHigh) return '–';
  return `[${formatNumber(returnLow, digits)}, ${formatNumber(returnHigh, digits)}]`;
}
