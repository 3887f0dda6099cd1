import { describe, expect, it } from 'vitest';
import { type ReportData, renderReport } from '../../../src/experiment/report.js';
import { assets, cardRow, reportData, runRow } from './report-example.js';

const small = { uplotScript: 'var uPlot;', uplotStyle: '.uplot{}' };
const hostile = `</script></style><img src=x onerror="alert('1')"><!--<script>\u0000&amp;`;

/** What a browser would fetch: every address in an attribute, style or import. What scripts ask for, the browser test watches. */
function addresses(page: string): string[] {
  const html = page.replaceAll(/(<script\b[^>]*>).*?<\/script>/gis, '$1');
  const found = html.matchAll(
    /(?:\b(?:src|href|srcset|action|data|poster)\s*=\s*["']?|url\(\s*["']?|@import\s+["']?)([^"'\s>)]+)/gi,
  );
  return [...found].map((match) => match[1] as string);
}

describe('renderReport', () => {
  it('shows header, charts, both tables and notes', () => {
    const html = renderReport(reportData, small);
    for (const text of [
      'iALP on the synthetic world',
      'ialp demo --seed 1 --seeds 2',
      '1, 2',
      'wasm',
      'reference',
      '0.1.0',
      '2025-11-24',
      '1 min 41 s',
    ])
      expect(html).toContain(text);
    expect(html).toContain(
      '<td>20,000</td><td>1,234</td><td>2,000</td><td>8.75</td><td class="interval">[8.50, 9.00]</td>',
    );
    expect(html).toContain('<th scope="row" class="text">rotationTruth</th>');
    expect(html).toContain('The oracle reads only text.');
    expect(html).toMatch(
      /aria-label="Return against environment steps\. At the end: mixture 7\.00 \[6\.50, 7\.50\]; random 1\.00\."/,
    );
    expect(html).toContain('<noscript>');
  });

  it('asks nobody for anything', () => {
    const html = renderReport(reportData, assets);
    expect(addresses(html).filter((address) => !address.startsWith('data:'))).toEqual([]);
    expect(html).toContain(`content="default-src 'none';`);
    expect(
      addresses('<script src="https://cdn/x.js"></script><style>@import "//a"; b{background:url(http://c)}</style>'),
    ).toHaveLength(3);
  });

  it('escapes text wherever it may come from', () => {
    const curve = reportData.curves[0] as ReportData['curves'][number];
    const data: ReportData = {
      ...reportData,
      ...{
        title: hostile,
        summary: hostile,
        command: hostile,
        version: hostile,
        date: hostile,
        backend: hostile,
        kernels: hostile,
      },
      curves: [{ ...curve, method: hostile }],
      rows: [{ ...runRow, world: hostile, method: hostile as typeof runRow.method }],
      card: [{ ...cardRow, world: hostile, evaluation: hostile as 'FB' }],
      notes: [hostile],
    };
    const html = renderReport(data, small);
    const plain = renderReport({ ...reportData, curves: [curve], rows: [runRow] }, small);
    const tags = (text: string): string[] => [...text.matchAll(/<[a-z/!][^\s>]*/gi)].map((match) => match[0]);
    expect(tags(html)).toEqual(tags(plain));
    expect(html).not.toContain('\u0000');
    const curves = /<script type="application\/json" id="curves">(.*?)<\/script>/s.exec(html)?.[1] as string;
    expect(JSON.parse(curves).curves[0].label).toBe(hostile);
  });

  it('keeps a script that names its own end inside its element', () => {
    const html = renderReport(reportData, { ...small, uplotScript: 'var a = "</SCRIPT><b>";' });
    expect(html).toContain('var a = "\\x3c/SCRIPT><b>";');
  });

  it('leaves out what it was not given', () => {
    const html = renderReport(
      { ...reportData, curves: [], rows: [], card: undefined, notes: undefined, summary: undefined },
      small,
    );
    expect(html).not.toMatch(/<section|<script|<table/);
  });

  it('shows a dash where there is no number', () => {
    const html = renderReport(
      { ...reportData, rows: [{ ...runRow, return: Number.NaN, temperature: null, coverage: Number.NaN }] },
      small,
    );
    expect(html).not.toContain('NaN');
  });

  it('speaks of intervals only where there are some', () => {
    const points = reportData.curves.map(({ method, points }) => ({
      method,
      points: points.map((point) => ({ ...point, low: point.return, high: point.return })),
    }));
    expect(renderReport(reportData, small)).toContain('Bands are 95 % intervals');
    expect(renderReport({ ...reportData, curves: points }, small)).not.toContain('Bands are');
  });
});
