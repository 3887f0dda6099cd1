import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CheckpointError, InvalidArgumentError, InvalidDataError } from '../../../src/foundation/errors.js';
import { JsonlLog, parseJsonl } from '../../../src/foundation/jsonl.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
const records = [{ id: 'a', text: 'zwölf "Käse"\n€ 🎧' }, [1, 2.5, null], 'text', 42, { nested: { deep: [true] } }];
const whole = encode(records.map((record) => `${JSON.stringify(record)}\n`).join(''));

describe('parseJsonl', () => {
  it('reads what was written', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue()), (values) => {
        const text = values.map((value) => `${JSON.stringify(value)}\n`).join('');
        expect(parseJsonl(encode(text), 's')).toEqual({ records: plain(values), tornBytes: 0 });
      }),
      { seed: 7 },
    );
  });

  it('drops and reports a tail torn at any byte', () => {
    for (let length = 0; length <= whole.length; length++) {
      const bytes = whole.subarray(0, length);
      const lastNewline = bytes.lastIndexOf(10);
      const { records: read, tornBytes } = parseJsonl(bytes, 's');
      expect(tornBytes).toBe(length - (lastNewline + 1));
      expect(read).toEqual(records.slice(0, bytes.filter((byte) => byte === 10).length));
    }
  });

  it('drops a last line that is not JSON although it ends', () => {
    expect(parseJsonl(encode('1\n{"a":\n'), 's')).toEqual({ records: [1], tornBytes: 6 });
    expect(parseJsonl(Uint8Array.of(49, 10, 255, 10), 's')).toEqual({ records: [1], tornBytes: 2 });
  });

  it('names the line of damage that is not at the end', () => {
    for (const [text, line] of [
      ['{"a":1}\nx\n2\n', 2],
      ['\n\n{]\n1\n', 3],
      ['{\n3', 1],
    ] as const) {
      try {
        parseJsonl(encode(text), 'answers.jsonl');
        expect.unreachable();
      } catch (error) {
        expect(error).toBeInstanceOf(InvalidDataError);
        expect(error).toMatchObject({ code: 'INVALID_DATA', source: 'answers.jsonl', line });
        expect((error as Error).message).toMatch(new RegExp(`^answers\\.jsonl:${line}: `));
      }
    }
    expect(() => parseJsonl(Uint8Array.of(255, 10, 49, 10), 's')).toThrow(/not UTF-8/);
  });

  it('skips blank lines and takes CRLF', () => {
    expect(parseJsonl(encode('1\r\n\r\n \n2\n'), 's')).toEqual({ records: [1, 2], tornBytes: 0 });
  });
});

describe('JsonlLog', () => {
  it('repairs a tail torn at any byte, then appends after it', async () => {
    for (let length = 0; length <= whole.length; length++) {
      const storage = new MemoryStorage();
      await storage.put('log.jsonl', whole.subarray(0, length));
      const log = new JsonlLog(storage, 'log.jsonl');
      const opened = await log.open();
      await log.append({ after: length });
      const again = await new JsonlLog(storage, 'log.jsonl').open();
      expect(again).toEqual({ records: [...opened.records, { after: length }], tornBytes: 0 });
    }
  });

  it('repairs before the first append when it was not opened (without it the log would be lost)', async () => {
    const torn = whole.subarray(0, whole.length - 3);
    const storage = new MemoryStorage();
    await storage.put('log', torn);
    await new JsonlLog(storage, 'log').append('next');
    expect((await new JsonlLog(storage, 'log').open()).records).toEqual([...records.slice(0, -1), 'next']);
    // Negative control: a blind append joins the torn line with the next one.
    await storage.put('log', torn);
    await storage.append('log', encode('"next"\n"more"\n'));
    await expect(new JsonlLog(storage, 'log').open()).rejects.toBeInstanceOf(InvalidDataError);
  });

  it('keeps call order when appends overlap', async () => {
    const storage = new MemoryStorage();
    const log = new JsonlLog(storage, 'log');
    await Promise.all(Array.from({ length: 50 }, (_, i) => log.append(i)));
    expect((await log.open()).records).toEqual(Array.from({ length: 50 }, (_, i) => i));
  });

  it('takes a record as it is at the call', async () => {
    const log = new JsonlLog(new MemoryStorage(), 'log');
    const record = { value: 1 };
    const done = log.append(record);
    record.value = 2;
    await done;
    expect((await log.open()).records).toEqual([{ value: 1 }]);
  });

  it('stays usable after an append that failed half-way', async () => {
    class Full extends MemoryStorage {
      failing = false;
      override async append(key: string, bytes: Uint8Array): Promise<void> {
        if (!this.failing) return super.append(key, bytes);
        this.failing = false;
        await super.append(key, bytes.subarray(0, 3));
        throw new CheckpointError('disk full');
      }
    }
    const storage = new Full();
    const log = new JsonlLog(storage, 'log');
    await log.append({ n: 1 });
    storage.failing = true;
    await expect(log.append({ n: 2 })).rejects.toBeInstanceOf(CheckpointError);
    await log.append({ n: 3 });
    expect((await log.open()).records).toEqual([{ n: 1 }, { n: 3 }]);
  });

  it('refuses records that JSON would change', async () => {
    const log = new JsonlLog(new MemoryStorage(), 'log');
    for (const record of [undefined, Number.NaN, { a: [1, undefined] }, new Map(), { a: { b: 1n } }, () => 1]) {
      await expect(log.append(record)).rejects.toBeInstanceOf(InvalidArgumentError);
    }
    expect(await log.open()).toEqual({ records: [], tornBytes: 0 });
  });

  it('leaves a log alone that is damaged in the middle', async () => {
    const storage = new MemoryStorage();
    const bytes = encode('1\nx\n3\n4');
    await storage.put('log', bytes);
    await expect(new JsonlLog(storage, 'log').append(5)).rejects.toBeInstanceOf(InvalidDataError);
    expect(await storage.get('log')).toEqual(bytes);
  });
});
