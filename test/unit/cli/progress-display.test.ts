import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ProgressDisplay } from '../../../src/cli/progress-display.js';

function captured(isTTY: boolean, columns = 60) {
  const texts: string[] = [];
  return { texts, output: { write: (text: string) => texts.push(text), isTTY, columns } };
}

describe('ProgressDisplay', () => {
  beforeEach(() => {
    vi.useFakeTimers({ now: 0 });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('in a pipe writes a line at a change of label and else every five seconds', () => {
    const { texts, output } = captured(false);
    const progress = new ProgressDisplay(output);
    for (let second = 0; second <= 12; second++) {
      vi.setSystemTime(1000 * second);
      progress.update({ label: second < 8 ? 'first' : 'second', done: second / 20, detail: `${second} steps` });
    }
    progress.clear();
    expect(texts).toEqual([
      '  0 %  first  0 steps\n',
      ' 25 %  first  5 steps  15 s left\n',
      ' 40 %  second  8 steps  12 s left\n',
    ]);
  });

  it('on a terminal redraws one line, never wider than the terminal, and takes it away', () => {
    const { texts, output } = captured(true);
    const progress = new ProgressDisplay(output);
    progress.update({ label: 'work', done: 0.5, detail: 'x'.repeat(200) });
    progress.update({ label: 'work', done: 1 });
    progress.clear();
    progress.clear();
    const redraw = '\r\u001b[K';
    expect(texts[0]).toBe(`${redraw}[############............]  50 %  work  xxxxxxxxxxxxxxxxxxx`);
    expect(texts[0]).toHaveLength(redraw.length + 59);
    expect(texts[1]).toBe(`${redraw}[########################] 100 %  work`);
    expect(texts.slice(2)).toEqual(['\r\u001b[K']);
  });

  it('estimates by the pace of this process alone', () => {
    const { texts, output } = captured(false);
    const progress = new ProgressDisplay(output);
    progress.update({ label: 'resumed', done: 0.8 });
    vi.setSystemTime(10_000);
    progress.update({ label: 'resumed', done: 0.9 });
    expect(texts.at(-1)).toBe(' 90 %  resumed  10 s left\n');
  });
});
