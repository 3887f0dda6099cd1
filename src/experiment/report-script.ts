/**
 * The report's own script: reads the curves from `#curves`, draws them with uPlot, and keeps legend, tooltip, size and
 * colours in step with the reader. Plain text, since it runs in the reader's browser and not in this program.
 *
 * `#curves` holds `{ charts: [{ id, unit }], curves: [{ label, light, dark, dash, isLevel, steps, values: [{ mid, low, high }] }] }`,
 * one entry of `values` for each chart, with null where a method was not measured.
 */
export const REPORT_SCRIPT = `
(() => {
  'use strict';
  const { charts, curves } = JSON.parse(document.getElementById('curves').textContent);
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const still = matchMedia('(prefers-reduced-motion: reduce)');
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (curve) => (dark.matches ? curve.dark : curve.light);
  const font = '12px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif';
  const thousands = (value) => (value >= 1000 ? value / 1000 + 'k' : String(value));
  const short = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(2));
  const shown = curves.map(() => true);
  const plots = [];

  const steps = [...new Set(curves.flatMap((curve) => curve.steps))].sort((a, b) => a - b);
  if (steps.length === 1) steps.push(steps[0] + 1);
  const place = new Map(steps.map((step, index) => [step, index]));
  /** One value a step of the common axis; a method that does not learn has the same at every step. */
  const spread = (curve, values) => {
    if (curve.isLevel) return steps.map(() => values[0]);
    const column = steps.map(() => null);
    curve.steps.forEach((step, index) => { column[place.get(step)] = values[index]; });
    return column;
  };

  const tooltip = (chart, chartIndex) => {
    const tip = document.createElement('div');
    tip.className = 'tip';
    tip.hidden = true;
    const write = (plot) => {
      const { idx, left, top } = plot.cursor;
      if (idx == null || left < 0) { tip.hidden = true; return; }
      const lines = curves
        .map((curve, index) => ({ curve, index, mid: plot.data[1 + 3 * index][idx], low: plot.data[2 + 3 * index][idx], high: plot.data[3 + 3 * index][idx] }))
        .filter(({ index, mid }) => shown[index] && mid != null)
        .sort((a, b) => b.mid - a.mid);
      if (lines.length === 0) { tip.hidden = true; return; }
      const head = document.createElement('b');
      head.textContent = steps[idx].toLocaleString('en-US') + ' steps';
      tip.replaceChildren(head, ...lines.map(({ curve, mid, low, high }) => {
        const line = document.createElement('div');
        const dot = document.createElement('i');
        dot.style.background = colour(curve);
        const range = document.createElement('em');
        if (low < high) range.textContent = ' [' + short(low) + ', ' + short(high) + ']';
        line.append(dot, curve.label + '  ' + short(mid), range);
        return line;
      }));
      tip.hidden = false;
      const { width, height } = plot.over.getBoundingClientRect();
      const x = left + 16 + tip.offsetWidth > width ? Math.max(0, left - 16 - tip.offsetWidth) : left + 16;
      tip.style.left = x + 'px';
      tip.style.top = Math.max(0, Math.min(top - tip.offsetHeight / 2, height - tip.offsetHeight)) + 'px';
    };
    return { hooks: { init: [(plot) => plot.over.append(tip)], setCursor: [write] } };
  };

  const axis = (extra) => ({
    font, stroke: () => css('--soft'), grid: { stroke: () => css('--grid'), width: 1 }, ticks: { show: false }, ...extra,
  });

  charts.forEach((chart, chartIndex) => {
    const host = document.getElementById(chart.id);
    const data = [steps];
    const series = [{}];
    const bands = [];
    curves.forEach((curve, index) => {
      const { mid, low, high } = curve.values[chartIndex];
      data.push(spread(curve, mid), spread(curve, low), spread(curve, high));
      const edge = { show: true, spanGaps: true, stroke: 'transparent', width: 0, points: { show: false } };
      const isPoint = !curve.isLevel && curve.steps.length === 1;
      series.push(
        {
          label: curve.label, spanGaps: true, width: curve.isLevel ? 1.5 : 2.25, stroke: () => colour(curve), dash: curve.dash,
          points: { show: !curve.isLevel && (isPoint || curve.steps.length <= 24), size: 5, width: 1.5, fill: () => colour(curve), stroke: () => colour(curve) },
        },
        { ...edge, label: curve.label + ' low' },
        { ...edge, label: curve.label + ' high' },
      );
      if (!curve.isLevel) bands.push({ series: [3 + 3 * index, 2 + 3 * index], fill: () => colour(curve) + (dark.matches ? '38' : '26') });
    });
    const size = () => ({ width: Math.max(240, Math.floor(host.clientWidth)), height: innerWidth <= 820 ? 260 : 320 });
    const plot = new uPlot({
      ...size(), series, bands,
      padding: [10, 14, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: 'steps' }, y: false, drag: { x: true, y: false }, points: { show: false } },
      scales: { x: { time: false }, y: { range: (_, min, max) => { const pad = Math.max(0.06 * (max - min), 1e-9); return [min >= 0 ? 0 : min - pad, max > 0 ? max + pad : pad]; } } },
      axes: [
        axis({ values: (_, splits) => splits.map(thousands), space: 56, size: 34 }),
        axis({ values: (_, splits) => splits.map((value) => String(+value.toFixed(6))), size: 46, space: 44 }),
      ],
      plugins: [tooltip(chart, chartIndex)],
    }, data, host);
    plots.push(plot);
    new ResizeObserver(() => { const next = size(); if (next.width !== plot.width || next.height !== plot.height) plot.setSize(next); }).observe(host);
  });

  dark.addEventListener('change', () => plots.forEach((plot) => plot.redraw(false, true)));
  const buttons = [...document.querySelectorAll('.legend button')];
  buttons.forEach((button, index) => {
    button.addEventListener('click', () => {
      shown[index] = !shown[index];
      button.setAttribute('aria-pressed', String(shown[index]));
      for (const plot of plots) plot.batch(() => { for (const part of [1, 2, 3]) plot.setSeries(3 * index + part, { show: shown[index] }); });
    });
    for (const [event, alpha] of still.matches ? [] : [['mouseenter', 0.15], ['mouseleave', 1]]) {
      button.addEventListener(event, () => {
        for (const plot of plots) {
          plot.series.forEach((series, at) => { if (at > 0 && at % 3 === 1) series.alpha = at === 3 * index + 1 ? 1 : alpha; });
          plot.redraw(false, false);
        }
      });
    }
  });
  document.documentElement.dataset.drawn = String(plots.length);
})();
`;
