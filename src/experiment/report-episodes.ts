import type { EpisodeTrace } from '../world/episode-trace.js';
import { escapeHtml, formatNumber } from './report-html.js';

const STEP = 26;
const HEIGHT = 132;
const TOP = 10;
const LEFT = 30;
const BASE = HEIGHT - 22;

/** How some episodes went, one picture each: bars of rewards, the line of temper, and the items in words. */
export function episodesSection(traces: readonly EpisodeTrace[]): string {
  if (traces.length === 0) return '';
  const most = Math.max(1, ...traces.flatMap(({ steps }) => steps.map(({ reward }) => reward)));
  const longest = Math.max(...traces.map(({ steps }) => steps.length));
  const hasTemper = traces.some(({ startTemper }) => startTemper !== null);
  const line = hasTemper ? ' The line is the user’s temper, the dashed level the one below which they leave.' : '';
  return `<section aria-labelledby="episodes-title">
<h2 id="episodes-title">How an episode goes</h2>
<p class="hint">One user’s visit by policy: a bar is what an item paid.${line}</p>
<div class="episodes">
${traces.map((trace) => episodeFigure(trace, most, longest)).join('\n')}
</div>
</section>`;
}

function episodeFigure(trace: EpisodeTrace, most: number, longest: number): string {
  const { policy, start, steps, end } = trace;
  const total = steps.reduce((sum, { reward }) => sum + reward, 0);
  const ending = end === 'left' ? 'left' : 'stayed to the cap';
  const caption = `${policy} <span>R ${formatNumber(total)} in ${steps.length} steps, ${ending}</span>`;
  const came = start.length === 0 ? '' : `<p class="hint">Came with: ${escapeHtml(start.join(' · '))}</p>`;
  const items = steps.map(({ text, reward, temper }) => {
    const mood = temper === null ? '' : `, temper ${formatNumber(temper, 1)}`;
    return `<li>${escapeHtml(text)} <span>${formatNumber(reward)}${mood}</span></li>`;
  });
  return `<figure class="episode"><figcaption>${caption}</figcaption>
${picture(trace, most, longest)}
<details><summary>The items</summary>${came}<ol>${items.join('')}</ol></details></figure>`;
}

function picture({ policy, startTemper, leaveBelow, steps }: EpisodeTrace, most: number, longest: number): string {
  const width = LEFT + longest * STEP + 30;
  const x = (step: number): number => LEFT + step * STEP;
  const y = (value: number, top: number): number => BASE - (value / top) * (BASE - TOP);
  const bars = steps.map(({ text, reward }, step) => {
    const height = Math.max(1, BASE - y(Math.max(0, reward), most));
    const title = `<title>${escapeHtml(`${step + 1}. ${text}: ${formatNumber(reward)}`)}</title>`;
    return `<rect class="bar" x="${x(step) + 4}" y="${(BASE - height).toFixed(1)}" width="${STEP - 8}" height="${height.toFixed(1)}">${title}</rect>`;
  });
  const numbers = steps.map(
    (_, step) =>
      `<text class="tick" x="${x(step) + STEP / 2}" y="${BASE + 14}" text-anchor="middle">${step + 1}</text>`,
  );
  const marks = [0, most].map(
    (value) =>
      `<text class="tick" x="${LEFT - 6}" y="${y(value, most) + 4}" text-anchor="end">${formatNumber(value, 1)}</text>`,
  );
  let temper = '';
  if (startTemper !== null && startTemper > 0) {
    const points = [startTemper, ...steps.map((step) => Math.max(0, step.temper ?? 0))];
    const path = points.map((value, step) => `${x(step)},${y(value, startTemper).toFixed(1)}`).join(' ');
    const level = leaveBelow === null ? 0 : y(leaveBelow, startTemper);
    temper = `<line class="leave" x1="${LEFT}" x2="${x(longest)}" y1="${level.toFixed(1)}" y2="${level.toFixed(1)}"/><polyline class="temper" points="${path}"/>`;
    marks.push(`<text class="tick" x="${x(longest) + 4}" y="${TOP + 4}">${formatNumber(startTemper, 0)}</text>`);
  }
  const said = steps.map(({ reward }) => formatNumber(reward, 1)).join(', ');
  return `<svg class="episode" viewBox="0 0 ${width} ${HEIGHT}" width="${width}" height="${HEIGHT}" role="img" aria-label="${escapeHtml(`Rewards of ${policy}: ${said}`)}"><line class="axis" x1="${LEFT}" x2="${x(longest)}" y1="${BASE}" y2="${BASE}"/>${bars.join('')}${temper}${numbers.join('')}${marks.join('')}</svg>`;
}
