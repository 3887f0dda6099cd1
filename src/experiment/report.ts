import type { CardRow } from '../world/card.js';
import type { EpisodeTrace } from '../world/episode-trace.js';
import { episodesSection } from './report-episodes.js';
import {
  embedJson,
  embedScript,
  embedStyle,
  escapeHtml,
  formatCount,
  formatDuration,
  formatNumber,
  formatPercent,
  head,
  numberCell,
  table,
  textCell,
} from './report-html.js';
import { REPORT_SCRIPT } from './report-script.js';
import { REPORT_STYLE } from './report-style.js';
import type { RunRow } from './result-schema.js';

/** A method's return and length as it learned, for example at every evaluation. */
export interface CurvePoint {
  /** Environment steps of learning before this point. */
  readonly steps: number;
  /** Mean return of an episode, in reward units. */
  readonly return: number;
  /** Lower end of the 95 % interval of `return`; equal to `return` where there is one seed. */
  readonly low: number;
  /** Upper end of the 95 % interval of `return`. */
  readonly high: number;
  /** Mean length of an episode, in steps. */
  readonly length: number;
  /** Lower end of the 95 % interval of `length`. */
  readonly lengthLow: number;
  /** Upper end of the 95 % interval of `length`. */
  readonly lengthHigh: number;
}

/** One line of the charts. */
export interface ReportCurve {
  /** Name in the legend. */
  readonly method: string;
  /**
   * The points, by rising `steps`.
   * A single point at 0 steps is a method that does not learn: it is drawn dashed, as a level across the chart.
   */
  readonly points: readonly CurvePoint[];
}

/** What a report shows. */
export interface ReportData {
  /** Heading, for example `iALP on the synthetic world`. */
  readonly title: string;
  /** One sentence under the heading. */
  readonly summary?: string | undefined;
  /** The command line that made it. */
  readonly command: string;
  /** Version of the library. */
  readonly version: string;
  /** Every seed that went into the numbers. */
  readonly seeds: readonly number[];
  /** The tfjs backend that computed. */
  readonly backend: string;
  /** The kernels that made the updates. */
  readonly kernels: string;
  /** Share of the updates that ran fused, 0 to 1. */
  readonly fusedShare: number;
  /** Seconds from start to end. */
  readonly wallSeconds: number;
  /** When it was made, as it shall be read, for example an ISO date. */
  readonly date: string;
  /** Learning curves; none, and the charts are left out. */
  readonly curves: readonly ReportCurve[];
  /** The table of methods; empty, and it is left out. */
  readonly rows: readonly RunRow[];
  /** The world's card; empty or absent, and it is left out. */
  readonly card?: readonly CardRow[] | undefined;
  /** How some episodes on that world went; empty or absent, and they are left out. */
  readonly episodes?: readonly EpisodeTrace[] | undefined;
  /** Remarks at the end, one paragraph each. */
  readonly notes?: readonly string[] | undefined;
}

/** The text of the two files of the `uplot` package that a report holds inside itself. */
export interface ReportAssets {
  /** `uplot/dist/uPlot.iife.min.js` */
  readonly uplotScript: string;
  /** `uplot/dist/uPlot.min.css` */
  readonly uplotStyle: string;
}

/**
 * A report as one HTML file that needs nothing else: it opens from disk, off line, and asks no server for anything
 * (its content security policy forbids it). All text is escaped, so titles and notes may hold anything.
 *
 * @param data - what to show.
 * @param assets - uPlot's script and style, which the caller reads from its package.
 * @returns the file's text.
 */
export function renderReport(data: ReportData, assets: ReportAssets): string {
  const hasCurves = data.curves.length > 0;
  const scripts = hasCurves
    ? `<script type="application/json" id="curves">${embedJson(chartData(data.curves))}</script>
<script>${embedScript(assets.uplotScript)}</script>
<script>${embedScript(REPORT_SCRIPT)}</script>`
    : '';
  const card = data.card ?? [];
  const sections = [
    hasCurves ? curvesSection(data.curves) : '',
    data.rows.length > 0 ? runsSection(data.rows) : '',
    card.length > 0 ? cardSection(card) : '',
    episodesSection(data.episodes ?? []),
    notesSection(data.notes ?? []),
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="ialp ${escapeHtml(data.version)}">
<link rel="icon" href="data:,">
<title>${escapeHtml(data.title)}</title>
<style>${embedStyle(assets.uplotStyle)}</style>
<style>${embedStyle(REPORT_STYLE)}</style>
</head>
<body>
<header class="top">
<h1>${escapeHtml(data.title)}</h1>
${data.summary === undefined ? '' : `<p class="lead">${escapeHtml(data.summary)}</p>`}
${facts(data)}
<pre class="command" aria-label="Command that made this report">${escapeHtml(data.command)}</pre>
</header>
<main>
${sections.filter((section) => section !== '').join('\n')}
</main>
<footer>Made by ialp ${escapeHtml(data.version)}. This file holds everything it shows and can be read off line.</footer>
${scripts}
</body>
</html>
`;
}

function facts(data: ReportData): string {
  const fused = data.kernels === 'fused' ? ` (${formatPercent(data.fusedShare)} of updates)` : '';
  const entries: readonly (readonly [string, string])[] = [
    [data.seeds.length === 1 ? 'Seed' : `Seeds (${data.seeds.length})`, data.seeds.join(', ')],
    ['Backend', data.backend],
    // A card makes no updates.
    ...(data.rows.length > 0 ? ([['Kernels', `${data.kernels}${fused}`]] as const) : []),
    ['Wall time', formatDuration(data.wallSeconds)],
    ['Version', data.version],
    ['Date', data.date],
  ];
  const cells = entries.map(([term, value]) => `<div><dt>${escapeHtml(term)}</dt><dd>${escapeHtml(value)}</dd></div>`);
  return `<dl class="facts">${cells.join('')}</dl>`;
}

/** Okabe and Ito's hues, told apart with any colour vision, each darkened or lightened to 3:1 on its ground. */
const PALETTE: readonly { readonly light: string; readonly dark: string }[] = [
  { light: '#0072b2', dark: '#5ab4f0' },
  { light: '#d55e00', dark: '#ff8a4c' },
  { light: '#00845c', dark: '#3dc79b' },
  { light: '#b5508c', dark: '#e9a1cc' },
  { light: '#a07000', dark: '#f0c040' },
  { light: '#3f4a57', dark: '#dfe5ec' },
  { light: '#2f8fc4', dark: '#a7d8f7' },
  { light: '#7a4fbf', dark: '#b79cf2' },
];
const LEVEL_DASHES: readonly (readonly number[])[] = [
  [6, 4],
  [2, 3],
  [10, 4, 2, 4],
];

interface LineStyle {
  readonly light: string;
  readonly dark: string;
  readonly dash: readonly number[];
  readonly isLevel: boolean;
}

/** Colour by place; past the palette's end a dash tells a colour's second user from its first. */
function lineStyles(curves: readonly ReportCurve[]): LineStyle[] {
  let levels = 0;
  return curves.map(({ points }, index) => {
    const isLevel = points.length === 1 && points[0]?.steps === 0;
    const hue = PALETTE[index % PALETTE.length] as (typeof PALETTE)[number];
    const dash = isLevel
      ? (LEVEL_DASHES[levels++ % LEVEL_DASHES.length] as readonly number[])
      : index < PALETTE.length
        ? []
        : [12, 4];
    return { ...hue, dash, isLevel };
  });
}

function chartData(curves: readonly ReportCurve[]): unknown {
  const styles = lineStyles(curves);
  return {
    charts: [{ id: 'chart-return' }, { id: 'chart-length' }],
    curves: curves.map(({ method, points }, index) => ({
      label: method,
      ...styles[index],
      steps: points.map(({ steps }) => steps),
      values: [
        {
          mid: points.map((point) => point.return),
          low: points.map(({ low }) => low),
          high: points.map(({ high }) => high),
        },
        {
          mid: points.map(({ length }) => length),
          low: points.map(({ lengthLow }) => lengthLow),
          high: points.map(({ lengthHigh }) => lengthHigh),
        },
      ],
    })),
  };
}

function curvesSection(curves: readonly ReportCurve[]): string {
  const styles = lineStyles(curves);
  const buttons = curves.map(({ method }, index) => {
    const { light, dark, dash } = styles[index] as LineStyle;
    const line = (colour: string, scheme: string): string =>
      `<source media="(prefers-color-scheme: ${scheme})" srcset="${lineImage(colour, dash)}">`;
    const picture = `<picture>${line(dark, 'dark')}<img src="${lineImage(light, dash)}" width="26" height="10" alt=""></picture>`;
    return `<li><button type="button" aria-pressed="true">${picture}${escapeHtml(method)}</button></li>`;
  });
  const figure = (id: string, title: string, unit: string, value: (point: CurvePoint) => Estimate): string => {
    const ends = curves.map(({ method, points }) => {
      const last = points.at(-1);
      return last === undefined ? method : `${method} ${describeEstimate(value(last))}`;
    });
    const label = escapeHtml(`${title} against environment steps. At the end: ${ends.join('; ')}.`);
    return `<figure><figcaption>${title} <span>${unit}</span></figcaption><div class="plot" id="${id}" role="img" aria-label="${label}"></div></figure>`;
  };
  const hasBand = curves.some(({ points }) => points.some(({ low, high }) => low < high));
  const band = hasBand ? ' Bands are 95 % intervals.' : '';
  return `<section aria-labelledby="curves-title">
<h2 id="curves-title">Learning curves</h2>
<p class="hint">Against environment steps of learning.${band} Dashed levels are methods that do not learn. Choose a name to hide its line; drag to zoom, double-click to reset.</p>
<noscript><p>The charts are drawn by a script inside this file, and scripts are switched off. The same numbers stand in the tables below.</p></noscript>
<ul class="legend" aria-label="Methods shown">${buttons.join('')}</ul>
<div class="charts">
${figure('chart-return', 'Return', 'mean of an episode', (point) => ({ mid: point.return, low: point.low, high: point.high }))}
${figure('chart-length', 'Length', 'steps of an episode', (point) => ({ mid: point.length, low: point.lengthLow, high: point.lengthHigh }))}
</div>
<details><summary>The numbers behind the curves</summary>
${curvesTable(curves)}
</details>
</section>`;
}

function curvesTable(curves: readonly ReportCurve[]): string {
  const rows = curves.flatMap(({ method, points }) =>
    points.map((point, index) => ({
      isAgain: index > 0,
      cells: [
        textCell(method),
        numberCell(formatCount(point.steps)),
        numberCell(formatNumber(point.return)),
        intervalCell(point.low, point.high),
        numberCell(formatNumber(point.length)),
        intervalCell(point.lengthLow, point.lengthHigh),
      ],
    })),
  );
  const heads = [
    head('Method', 'text'),
    head('Env steps'),
    head('Return'),
    head('95 % interval', 'interval'),
    head('Length'),
    head('95 % interval', 'interval'),
  ];
  return table('Numbers behind the learning curves', heads, rows);
}

function runsSection(rows: readonly RunRow[]): string {
  const axis = rangeAxis(rows);
  const worlds = [...new Set(rows.map(({ world, split, reward }) => `${world}, split ${split}, ${reward} reward`))];
  const heads = [
    ...[
      head('Method', 'text'),
      head('Algorithm', 'text'),
      head('Mode', 'text'),
      head('Temp.'),
      head('Env steps'),
      head('Updates'),
    ],
    ...[head('Oracle calls'), head('Return'), head('95 % interval', 'interval'), head(axis.title), head('Length')],
    ...[head('Avg. reward'), head('Coverage')],
  ];
  const body = rows.map((row, index) => ({
    isAgain: rows[index - 1]?.method === row.method,
    cells: [
      textCell(row.method),
      textCell(row.algorithm === 'none' ? '–' : row.algorithm),
      textCell(row.mode),
      numberCell(row.temperature === null ? '–' : formatNumber(row.temperature)),
      numberCell(formatCount(row.steps)),
      numberCell(formatCount(row.updates)),
      numberCell(formatCount(row.oracleCalls)),
      numberCell(formatNumber(row.return)),
      intervalCell(row.returnLow, row.returnHigh),
      rangeCell(row, axis),
      numberCell(formatNumber(row.length)),
      numberCell(formatNumber(row.averageReward, 3)),
      numberCell(formatPercent(row.coverage)),
    ],
  }));
  return `<section aria-labelledby="runs-title">
<h2 id="runs-title">All methods</h2>
<p class="hint">${escapeHtml(worlds.join('; '))}. Each row after so many environment steps, gradient updates and oracle answers of learning.</p>
${table('All methods', heads, body)}
</section>`;
}

function cardSection(rows: readonly CardRow[]): string {
  const axis = rangeAxis(rows);
  const placeOf = ({ world, split, reward, window }: CardRow): string[] => [world, split, reward, window];
  // What is the same in all rows is said once, above them.
  const isOnePlace = new Set(rows.map((row) => placeOf(row).join())).size === 1;
  const [world, split, reward, window] = placeOf(rows[0] as CardRow) as [string, string, string, string];
  const place = isOnePlace
    ? `${world}, split ${split}, ${reward} reward${window === 'none' ? '' : `, ${window} window`}. `
    : '';
  const heads = [
    head('Policy', 'text'),
    ...(isOnePlace ? [] : ['World', 'Split', 'Reward', 'Window'].map((title) => head(title, 'text'))),
    ...[
      head('Evaluation', 'text'),
      head('Return'),
      head('95 % interval', 'interval'),
      head(axis.title),
      head('Length'),
      head('95 % interval', 'interval'),
    ],
    ...[head('Avg. reward'), head('95 % interval', 'interval'), head('Coverage')],
    ...[head('Diversity'), head('95 % interval', 'interval'), head('Novelty, bits'), head('95 % interval', 'interval')],
    head('Episodes'),
  ];
  const body = rows.map((row) => ({
    isAgain: false,
    cells: [
      textCell(row.policy),
      ...[...(isOnePlace ? [] : placeOf(row)), row.evaluation].map(textCell),
      numberCell(formatNumber(row.return)),
      intervalCell(row.returnLow, row.returnHigh),
      rangeCell(row, axis),
      numberCell(formatNumber(row.length)),
      intervalCell(row.lengthLow, row.lengthHigh),
      numberCell(formatNumber(row.averageReward, 3)),
      intervalCell(row.averageRewardLow, row.averageRewardHigh),
      numberCell(formatPercent(row.coverage)),
      numberCell(row.diversity === null ? '–' : formatNumber(row.diversity)),
      intervalCell(row.diversityLow ?? 0, row.diversityHigh ?? 0),
      numberCell(formatNumber(row.novelty, 1)),
      intervalCell(row.noveltyLow, row.noveltyHigh),
      numberCell(formatCount(row.episodes)),
    ],
  }));
  return `<section aria-labelledby="card-title">
<h2 id="card-title">World card</h2>
<p class="hint">${escapeHtml(place)}What the world itself allows: policies that need no training, from chance to those that are told the truth. Diversity is 1 − cosine of the texts of an episode’s items, by pairs; novelty how rarely the items shown were chosen.</p>
${table('World card', heads, body)}
</section>`;
}

function notesSection(notes: readonly string[]): string {
  if (notes.length === 0) return '';
  const items = notes.map((note) => `<li>${escapeHtml(note)}</li>`);
  return `<section aria-labelledby="notes-title"><h2 id="notes-title">Notes</h2><ul class="notes">${items.join('')}</ul></section>`;
}

interface Estimate {
  readonly mid: number;
  readonly low: number;
  readonly high: number;
}

function describeEstimate({ mid, low, high }: Estimate): string {
  return low < high ? `${formatNumber(mid)} [${formatNumber(low)}, ${formatNumber(high)}]` : formatNumber(mid);
}

function intervalCell(low: number, high: number): string {
  return low < high
    ? `<td class="interval">[${formatNumber(low)}, ${formatNumber(high)}]</td>`
    : '<td class="interval">–</td>';
}

interface RangeAxis {
  readonly low: number;
  readonly high: number;
  readonly title: string;
}

type WithReturn = Pick<RunRow, 'return' | 'returnLow' | 'returnHigh'>;

function rangeAxis(rows: readonly WithReturn[]): RangeAxis {
  const ends = rows.flatMap(({ returnLow, returnHigh }) => [returnLow, returnHigh]).filter(Number.isFinite);
  const low = Math.min(0, ...ends);
  const high = Math.max(low + 1e-9, ...ends);
  return { low, high, title: `${formatNumber(low)} to ${formatNumber(high)}` };
}

/** The return and its interval as dot and whisker; the numbers beside it say the same, so it is hidden from readers aloud. */
function rangeCell(row: WithReturn, { low, high }: RangeAxis): string {
  const at = (value: number): string => ((140 * (value - low)) / (high - low)).toFixed(1);
  if (![row.return, row.returnLow, row.returnHigh].every(Number.isFinite)) return '<td class="range"></td>';
  return `<td class="range"><svg viewBox="0 0 140 14" aria-hidden="true"><line class="track" x1="0" x2="140" y1="7" y2="7" stroke-width="2"/><line class="whisker" x1="${at(row.returnLow)}" x2="${at(row.returnHigh)}" y1="7" y2="7" stroke-width="4" stroke-linecap="round" stroke-opacity=".45"/><circle class="dot" cx="${at(row.return)}" cy="7" r="3.6"/></svg></td>`;
}

/** A legend's line as an image, so that a dash looks as it does on the chart. */
function lineImage(colour: string, dash: readonly number[]): string {
  const pattern = dash.length > 0 ? ` stroke-dasharray='${dash.join(' ')}'` : '';
  const svg = `<svg xmlns='http://www.w3.org/2000/svg' width='26' height='10'><line x1='1' x2='25' y1='5' y2='5' stroke='${colour}' stroke-width='3'${pattern}/></svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}
