/** The report's HTML by the piece: text made safe, numbers as people read them, tables and their cells. */

/** One row of a {@link table}. */
export interface TableRow {
  /** True where the row goes on with the method of the row above. */
  readonly isAgain: boolean;
  /** Cells as HTML; the first becomes the row's header. */
  readonly cells: readonly string[];
}

/** A table that scrolls sideways inside itself, reachable by keyboard. */
export function table(label: string, heads: readonly string[], rows: readonly TableRow[]): string {
  const body = rows.map(({ isAgain, cells: [first = '', ...rest] }) => {
    const header = first.replace(/^<td/, '<th scope="row"').replace(/td>$/, 'th>');
    return `<tr${isAgain ? ' class="again"' : ''}>${header}${rest.join('')}</tr>`;
  });
  return `<div class="scroll" role="region" aria-label="${escapeHtml(label)}" tabindex="0"><table>
<thead><tr>${heads.join('')}</tr></thead>
<tbody>
${body.join('\n')}
</tbody></table></div>`;
}

/** A column's header. */
export function head(text: string, kind?: 'text' | 'interval'): string {
  return `<th scope="col"${kind === undefined ? '' : ` class="${kind}"`}>${escapeHtml(text)}</th>`;
}

/** A cell of text, left-aligned. */
export function textCell(text: string): string {
  return `<td class="text">${escapeHtml(text)}</td>`;
}

/** A cell of digits, right-aligned. */
export function numberCell(text: string): string {
  return `<td>${escapeHtml(text)}</td>`;
}

/** Fixed digits, one only from 100 on, with a true minus sign; a dash where there is no number. */
export function formatNumber(value: number, digits = 2): string {
  if (!Number.isFinite(value)) return '–';
  const text = value.toFixed(Math.abs(value) >= 100 ? 1 : digits);
  return text.replace(/^-/, '−');
}

/** A whole number with its thousands apart. */
export function formatCount(value: number): string {
  return Number.isFinite(value) ? String(Math.round(value)).replaceAll(/\B(?=(\d{3})+$)/g, ',') : '–';
}

/** A share from 0 to 1 as per cent. */
export function formatPercent(value: number): string {
  return Number.isFinite(value) ? `${(100 * value).toFixed(1)} %` : '–';
}

/** Seconds as `41.2 s`, `3 min 20 s` or `2 h 5 min`. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '–';
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text for an element or a quoted attribute; control characters that HTML forbids are shown as the replacement character. */
export function escapeHtml(text: string): string {
  return Array.from(
    text.replaceAll(/[&<>"']/g, (character) => ESCAPES[character] as string),
    (character) => {
      const code = character.codePointAt(0) as number;
      const isForbidden = (code < 32 && code !== 9 && code !== 10 && code !== 13) || code === 127;
      return isForbidden ? '\ufffd' : character;
    },
  ).join('');
}

/** JSON inside a script element: no `<` is left that could end the element or open a comment. NaN becomes null. */
export function embedJson(value: unknown): string {
  return JSON.stringify(value).replaceAll('<', '\\u003c');
}

/** A script inside a script element: nothing in its strings can end the element. */
export function embedScript(script: string): string {
  return script.replaceAll(/<(?=\/script|!--)/gi, '\\x3c');
}

/** A style sheet inside a style element. */
export function embedStyle(style: string): string {
  return style.replaceAll(/<(?=\/style)/gi, '\\3c ');
}
