/** The report's style sheet: one column on a telephone, two charts abreast on a desk; follows the reader's light or dark. */
export const REPORT_STYLE = `
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --panel: #ffffff; --ink: #16202c; --soft: #52606f; --line: #dde2e8; --zebra: #f8fafc;
  --accent: #0072b2; --track: #e7ebf0; --grid: #e9edf1;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f141a; --panel: #171e26; --ink: #e8edf3; --soft: #a3b0bf; --line: #2b3541; --zebra: #1b232c;
    --accent: #5ab4f0; --track: #2a3440; --grid: #26303a;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.55 var(--sans); -webkit-text-size-adjust: 100%; }
main, header.top, footer { max-width: 1240px; margin: 0 auto; padding: 0 24px; }
header.top { padding-top: 36px; }
h1 { margin: 0 0 6px; font-size: 28px; line-height: 1.2; letter-spacing: -0.015em; text-wrap: balance; overflow-wrap: anywhere; }
h2 { margin: 0 0 4px; font-size: 18px; letter-spacing: -0.01em; }
.lead { margin: 0 0 18px; color: var(--soft); max-width: 90ch; overflow-wrap: anywhere; }
.hint { margin: 0 0 14px; color: var(--soft); font-size: 13.5px; max-width: 130ch; }
section { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; padding: 20px 22px; margin: 18px 0; }
dl.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 1px; margin: 0; background: var(--line);
  border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
dl.facts div { background: var(--panel); padding: 10px 14px; min-width: 0; }
dl.facts dt { color: var(--soft); font-size: 12px; letter-spacing: 0.02em; }
dl.facts dd { margin: 1px 0 0; font-size: 14px; font-weight: 600; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
pre.command { margin: 14px 0 0; padding: 11px 14px; background: var(--panel); border: 1px solid var(--line); border-radius: 10px;
  font: 13px/1.5 var(--mono); white-space: pre-wrap; overflow-wrap: anywhere; }
pre.command::before { content: "$ "; color: var(--soft); user-select: none; }
.charts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 10px 28px; }
figure { margin: 0; min-width: 0; }
figcaption { font-weight: 600; font-size: 14px; margin-bottom: 4px; }
figcaption span { color: var(--soft); font-weight: 400; }
.plot { position: relative; min-height: 320px; }
.legend { display: flex; flex-wrap: wrap; gap: 6px 8px; margin: 0 0 14px; padding: 0; list-style: none; }
.legend button { display: inline-flex; align-items: center; gap: 8px; padding: 3px 11px 3px 9px; border: 1px solid var(--line);
  border-radius: 999px; background: none; color: inherit; font: inherit; font-size: 13px; cursor: pointer; }
.legend button:hover { border-color: var(--soft); }
.legend button[aria-pressed="false"] { color: var(--soft); text-decoration: line-through; }
.legend button[aria-pressed="false"] svg { opacity: 0.3; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.tip { position: absolute; z-index: 3; pointer-events: none; background: var(--panel); color: var(--ink); border: 1px solid var(--line);
  border-radius: 8px; box-shadow: 0 4px 16px rgb(0 0 0 / 18%); padding: 7px 10px; font-size: 12.5px; line-height: 1.5; white-space: nowrap; }
.tip b { display: block; font-weight: 600; }
.tip i { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 7px; }
.tip em { color: var(--soft); font-style: normal; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 8px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 600; font-size: 12.5px; vertical-align: bottom; border-bottom: 2px solid var(--line); }
tbody th { font-weight: 600; }
th.text, td.text { text-align: left; }
th:first-child, td:first-child { padding-left: 4px; }
tbody tr:nth-child(even) { background: var(--zebra); }
tbody tr.again th { font-weight: 400; color: var(--soft); }
td.interval { color: var(--soft); padding-left: 0; text-align: left; } th.interval { text-align: left; padding-left: 0; }
td.range { min-width: 118px; }
.episodes { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 520px), 1fr)); gap: 18px 28px; }
.episode svg, svg.episode { max-width: 100%; height: auto; display: block; }
svg.episode .bar { fill: var(--accent); opacity: 0.75; } svg.episode .bar:hover { opacity: 1; }
svg.episode .axis { stroke: var(--line); } svg.episode .temper { fill: none; stroke: var(--ink); stroke-width: 1.6; }
svg.episode .leave { stroke: var(--soft); stroke-dasharray: 4 4; } svg.episode .tick { fill: var(--soft); font: 11px var(--sans); }
figure.episode ol { margin: 8px 0 0; padding-left: 28px; font-size: 13px; } figure.episode li span { color: var(--soft); }
td.range svg { display: block; width: 108px; height: 14px; margin-left: auto; overflow: visible; }
td.range .track { stroke: var(--track); } td.range .whisker { stroke: var(--accent); } td.range .dot { fill: var(--accent); }
details { margin-top: 14px; } summary { cursor: pointer; color: var(--soft); font-size: 13.5px; }
details table { margin-top: 8px; }
ul.notes { margin: 8px 0 0; padding-left: 20px; max-width: 95ch; } ul.notes li { margin: 4px 0; overflow-wrap: anywhere; }
noscript p { margin: 0 0 12px; padding: 10px 14px; border: 1px solid var(--line); border-left: 4px solid var(--accent); border-radius: 6px; }
footer { color: var(--soft); font-size: 13px; padding-top: 6px; padding-bottom: 40px; }
.u-legend { display: none; }
@media (max-width: 820px) {
  .charts { grid-template-columns: minmax(0, 1fr); gap: 22px; }
  main, header.top, footer { padding-left: 14px; padding-right: 14px; }
  section { padding: 16px 16px; }
  header.top { padding-top: 22px; } h1 { font-size: 23px; }
  .plot { min-height: 260px; }
  tbody th:first-child, thead th:first-child { position: sticky; left: 0; background: var(--panel); z-index: 1; }
  tbody tr:nth-child(even) th:first-child { background: var(--zebra); }
}
@media print { body { background: none; } section { break-inside: avoid; } .legend button { border: 0; } }
`;
