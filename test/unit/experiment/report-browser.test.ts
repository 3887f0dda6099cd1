import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { renderReport } from '../../../src/experiment/report.js';
import { assets, reportData } from './report-example.js';

const executablePath = '/usr/bin/chromium';
const hasChromium = existsSync(executablePath);
if (!hasChromium) console.warn(`skipped: no ${executablePath}`);

describe.skipIf(!hasChromium)('a report in a browser', () => {
  let folder: string;
  let browser: Browser;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'ialp-report-'));
    browser = await chromium.launch({
      executablePath,
      args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
    });
  });
  afterAll(async () => {
    await browser?.close();
    await rm(folder, { recursive: true, force: true });
  });

  async function open(
    data: typeof reportData,
    options: { width: number; colorScheme: 'light' | 'dark'; javaScriptEnabled?: boolean },
  ) {
    const file = join(folder, 'report.html');
    await writeFile(file, renderReport(data, assets));
    const { width, ...rest } = options;
    const page = await browser.newPage({ viewport: { width, height: 900 }, ...rest });
    const troubles: string[] = [];
    page.on('console', (message) => troubles.push(message.text()));
    page.on('pageerror', (error) => troubles.push(String(error)));
    page.on('request', (request) => {
      if (!/^(data|file):/.test(request.url())) troubles.push(request.url());
    });
    await page.goto(pathToFileURL(file).href);
    return { page, troubles };
  }

  it.each([
    { width: 1280, colorScheme: 'light' },
    { width: 1280, colorScheme: 'dark' },
    { width: 360, colorScheme: 'light' },
  ] as const)(
    'draws both charts without a complaint at $width px, $colorScheme, and nothing sticks out',
    async (options) => {
      const { page, troubles } = await open(reportData, options);
      expect(await page.evaluate('document.documentElement.dataset.drawn')).toBe('2');
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(options.width);
      const inked = await page.evaluate(`[...document.querySelectorAll('canvas')].map((canvas) => {
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      return data.some((value, index) => index % 4 === 3 && value > 0);
    })`);
      expect(inked).toEqual([true, true]);
      expect(troubles).toEqual([]);
      await page.close();
    },
  );

  it('hides a method by keyboard, and says the values under the pointer', async () => {
    const { page, troubles } = await open(reportData, { width: 1280, colorScheme: 'light' });
    const plot = await page.locator('#chart-return .u-over').boundingBox();
    if (plot === null) throw new Error('no chart');
    await page.mouse.move(plot.x + plot.width / 2, plot.y + 40);
    await expect
      .poll(() => page.locator('#chart-return .tip').textContent())
      .toBe('10,000 stepsmixture  6.00 [5.50, 6.50]random  1.00');
    await page.locator('.legend button').first().focus();
    await page.keyboard.press('Enter');
    expect(await page.locator('.legend button').first().getAttribute('aria-pressed')).toBe('false');
    await page.mouse.move(plot.x + plot.width / 2 + 1, plot.y + 40);
    await expect.poll(() => page.locator('#chart-return .tip').textContent()).toBe('10,000 stepsrandom  1.00');
    expect(troubles).toEqual([]);
    await page.close();
  });

  it('runs nothing of a hostile title', async () => {
    const hostile =
      '</script><script>document.title = "taken"</script><img src=x onerror="document.title = \'taken\'">';
    const curves = reportData.curves.map((curve) => ({ ...curve, method: hostile }));
    const { page } = await open(
      { ...reportData, title: hostile, notes: [hostile], curves },
      { width: 1280, colorScheme: 'light' },
    );
    expect(await page.title()).toBe(hostile);
    expect(await page.locator('h1').textContent()).toBe(hostile);
    await page.close();
  });

  it('says so where scripts are off, and still shows the tables', async () => {
    const { page } = await open(reportData, { width: 1280, colorScheme: 'light', javaScriptEnabled: false });
    expect(await page.locator('noscript p').isVisible()).toBe(true);
    expect(await page.locator('noscript p').textContent()).toMatch(/scripts are switched off/);
    expect(await page.locator('table').count()).toBe(3);
    await page.close();
  });
});
