import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CheckpointError, InvalidArgumentError } from '../../../src/foundation/errors.js';
import {
  decodeNamedArrays,
  encodeNamedArrays,
  type NamedArray,
  type NamedArrays,
} from '../../../src/foundation/named-arrays.js';

const array: fc.Arbitrary<NamedArray> = fc
  .tuple(
    fc.array(fc.nat(4), { maxLength: 3 }),
    fc.constantFrom(Float32Array, Float64Array, Int32Array, Uint8Array),
    fc.integer(),
  )
  .map(([shape, Type, seed]) => {
    const length = shape.reduce((size, axis) => size * axis, 1);
    const data = new Type(length);
    for (let i = 0; i < length; i++) data[i] = Math.imul(seed + i, 2654435761) / (Type.BYTES_PER_ELEMENT === 1 ? 1 : 7);
    return { shape, data };
  });
const name = fc.oneof(
  fc.string(),
  fc.constantFrom('actor/id', '__proto__', 'constructor', '10', '9', 'ä"\\\n', '\ud800'),
);
const arrays: fc.Arbitrary<NamedArrays> = fc
  .array(fc.tuple(name, array), { maxLength: 6 })
  .map((entries) => Object.assign(Object.create(null), Object.fromEntries(entries)) as NamedArrays);

/** A file with this header text and this many bytes of zeros after it. */
function file(header: string, dataBytes: number): Uint8Array {
  const text = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + text.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  return bytes;
}

function refusal(bytes: Uint8Array, options = {}): CheckpointError {
  try {
    decodeNamedArrays(bytes, 'theta.safetensors', options);
  } catch (error) {
    if (error instanceof CheckpointError) return error;
    throw error;
  }
  throw new Error('expected a refusal');
}

const same = (a: NamedArrays, b: NamedArrays): boolean => {
  const names = Object.keys(a).sort();
  return (
    JSON.stringify(names) === JSON.stringify(Object.keys(b).sort()) &&
    names.every((key) => {
      const [x, y] = [a[key] as NamedArray, b[key] as NamedArray];
      return (
        x.data.constructor === y.data.constructor &&
        String(x.shape) === String(y.shape) &&
        x.data.every((v, i) => Object.is(v, y.data[i]))
      );
    })
  );
};

describe('encodeNamedArrays and decodeNamedArrays', () => {
  it('give back names, shapes, types, bits and metadata, at any offset of a buffer', () => {
    fc.assert(
      fc.property(arrays, fc.dictionary(fc.string(), fc.string()), fc.nat(9), (given, metadata, offset) => {
        const bytes = encodeNamedArrays(given, metadata);
        const shifted = Buffer.alloc(bytes.length + offset);
        shifted.set(bytes, offset);
        const decoded = decodeNamedArrays(shifted.subarray(offset), 's');
        shifted.fill(255);
        expect(same(decoded.arrays, given)).toBe(true);
        expect(Object.entries(decoded.metadata).sort()).toEqual(Object.entries(metadata).sort());
        expect(Object.getPrototypeOf(decoded.arrays)).toBeNull();
      }),
      { seed: 7, numRuns: 300 },
    );
  });

  it('keep NaN, infinities and -0', () => {
    const data = Float64Array.of(Number.NaN, Number.POSITIVE_INFINITY, -0);
    const decoded = decodeNamedArrays(encodeNamedArrays({ x: { shape: [3], data } }), 's').arrays.x;
    expect([...(decoded?.data ?? [])]).toEqual([Number.NaN, Number.POSITIVE_INFINITY, -0]);
  });

  it('give the same bytes whatever the order of keys', () => {
    const a = { shape: [1], data: Float32Array.of(1) };
    const b = { shape: [1], data: Float64Array.of(2) };
    expect(encodeNamedArrays({ a, b }, { x: '1', y: '2' })).toEqual(encodeNamedArrays({ b, a }, { y: '2', x: '1' }));
  });

  it('write the format of safetensors', () => {
    const bytes = encodeNamedArrays(
      { w: { shape: [2, 1], data: Float32Array.of(1, -2) }, u: { shape: [], data: Uint8Array.of(5) } },
      { by: 'ialp' },
    );
    const header =
      '{"__metadata__":{"by":"ialp"},"w":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"u":{"dtype":"U8","shape":[],"data_offsets":[8,9]}}';
    const padded = header.padEnd(Math.ceil(header.length / 8) * 8, ' ');
    const text = new TextDecoder().decode(bytes.subarray(8, 8 + padded.length));
    expect(text).toBe(padded);
    // 1 and -2 as IEEE singles, little-endian; then the byte.
    expect([...bytes.subarray(8 + padded.length)]).toEqual([0, 0, 128, 63, 0, 0, 0, 192, 5]);
    expect([...bytes.subarray(0, 8)]).toEqual([padded.length, 0, 0, 0, 0, 0, 0, 0]);
  });

  it('refuse a truncated file at every length', () => {
    const bytes = encodeNamedArrays({
      w: { shape: [3], data: Float32Array.of(1, 2, 3) },
      b: { shape: [2], data: Uint8Array.of(1, 2) },
    });
    for (let length = 0; length < bytes.length; length++)
      expect(refusal(bytes.slice(0, length)).source).toBe('theta.safetensors');
    expect(refusal(Uint8Array.from([...bytes, 0])).message).toMatch(/1 bytes follow/);
  });

  it('after one changed byte of the header, refuse or give well-formed arrays of the same total size; never anything untyped', () => {
    fc.assert(
      fc.property(arrays, fc.nat(), fc.integer({ min: 1, max: 255 }), (given, at, flip) => {
        const bytes = encodeNamedArrays(given);
        const changed = bytes.slice();
        const headerEnd = 8 + new DataView(bytes.buffer).getUint32(0, true);
        const index = at % headerEnd;
        changed[index] = (changed[index] as number) ^ flip;
        try {
          const { arrays: read } = decodeNamedArrays(changed, 's');
          const size = Object.values(read).reduce((sum, { data }) => sum + data.byteLength, 0);
          for (const { shape, data } of Object.values(read)) expect(shape.reduce((a, b) => a * b, 1)).toBe(data.length);
          if (index >= 8) expect(size).toBe(bytes.length - headerEnd);
        } catch (error) {
          expect(error).toBeInstanceOf(CheckpointError);
        }
      }),
      { seed: 7, numRuns: 2000 },
    );
  });

  it('read random bytes without an untyped error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.jsonValue(), (noise, header) => {
        for (const bytes of [noise, file(JSON.stringify(header), 4), file(JSON.stringify({ a: header }), 4)]) {
          try {
            decodeNamedArrays(bytes, 's');
          } catch (error) {
            expect(error).toBeInstanceOf(CheckpointError);
          }
        }
      }),
      { seed: 7, numRuns: 1000 },
    );
  });

  const f32 = (begin: number, end: number, shape = `[${(end - begin) / 4}]`): string =>
    `{"dtype":"F32","shape":${shape},"data_offsets":[${begin},${end}]}`;
  const bad: readonly [string, Uint8Array, RegExp][] = [
    ['a header of 1 GB', Uint8Array.of(0, 0, 0, 64, 0, 0, 0, 0, 123), /claims 1073741824 bytes, at most 16 MiB/],
    ['a header of 2^63', Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 128, 123), /at most 16 MiB/],
    ['a header past the end', Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0, 123, 125), /torn/],
    ['no object', file('[]', 0), /does not begin/],
    ['space before the header', file(' {}', 0), /does not begin/],
    ['half an object', file('{"a":', 0), /damaged/],
    [
      'bytes that are not UTF-8',
      (() => {
        const f = file('{"aa":1}', 0);
        f[10] = 255;
        return f;
      })(),
      /not UTF-8/,
    ],
    ['an array twice', file(`{"a":${f32(0, 4)},"a":${f32(0, 4)}}`, 4), /the key "a" stands twice/],
    ['an array twice, once escaped', file(`{"a":${f32(0, 4)},"\\u0061":${f32(0, 4)}}`, 4), /the key "a" stands twice/],
    [
      'a field twice',
      file('{"a":{"dtype":"F32","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
      /"dtype" stands twice/,
    ],
    ['metadata twice', file('{"__metadata__":{},"__metadata__":{}}', 0), /stands twice/],
    ['deep nesting', file(`{"a":${'['.repeat(100_000)}`, 0), /nested deeper/],
    ['metadata that is not text', file('{"__metadata__":{"a":1}}', 0), /metadata "a"/],
    ['metadata that is a list', file('{"__metadata__":[]}', 0), /metadata is not an object/],
    ['an array that is none', file('{"a":5}', 0), /array "a": expected an object/],
    [
      'a half-precision array',
      file('{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}}', 2),
      /array "a": .*dtype.*"F16"/,
    ],
    [
      'an inherited dtype',
      file('{"a":{"dtype":"constructor","shape":[1],"data_offsets":[0,2]}}', 2),
      /array "a".*dtype/,
    ],
    ['an unknown field', file('{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0],"x":1}}', 0), /only dtype/],
    ['no shape', file('{"a":{"dtype":"F32","data_offsets":[0,0]}}', 0), /array "a": expected a shape/],
    ['a negative axis', file(`{"a":${f32(0, 4, '[-1]')}}`, 4), /array "a": expected a shape/],
    ['a fractional axis', file(`{"a":${f32(0, 4, '[0.5,2]')}}`, 4), /array "a": expected a shape/],
    ['an overflowing shape', file(`{"a":${f32(0, 4, '[4294967296,4294967296]')}}`, 4), /array "a": expected a shape/],
    ['rank 33', file(`{"a":${f32(0, 4, `[${Array(33).fill(1)}]`)}}`, 4), /at most 32/],
    ['offsets that do not fit the shape', file(`{"a":${f32(0, 8, '[1]')}}`, 8), /expected data_offsets of 4 bytes/],
    ['offsets backwards', file(`{"a":${f32(4, 0, '[1]')}}`, 8), /data_offsets/],
    ['negative offsets', file(`{"a":${f32(-4, 0, '[1]')}}`, 8), /data_offsets/],
    ['offsets past the end', file(`{"a":${f32(0, 8)}}`, 4), /torn: the arrays take 8 bytes, 4 are there/],
    ['overlap', file(`{"a":${f32(0, 8)},"b":${f32(4, 12)}}`, 12), /array "b" overlaps/],
    ['a gap', file(`{"a":${f32(0, 4)},"b":${f32(8, 12)}}`, 12), /array "b" leaves 4 bytes/],
    ['bytes after the arrays', file(`{"a":${f32(0, 4)}}`, 8), /4 bytes follow/],
    ['bytes and no arrays', file('{}', 8), /8 bytes follow/],
  ];
  for (const [what, bytes, message] of bad) {
    it(`refuses ${what}`, () => {
      const error = refusal(bytes);
      expect(error.message).toMatch(message);
      expect(error.message).toMatch(/^theta\.safetensors: /);
    });
  }

  it('refuses more than 100,000 arrays before it builds them', () => {
    const keys = Array.from({ length: 100_002 }, (_, i) => `"${i}":0`);
    expect(refusal(file(`{${keys.join(',')}}`, 0)).message).toMatch(/more than 100001 keys/);
  });

  it('takes hostile names as names', () => {
    const { arrays: read } = decodeNamedArrays(file(`{"__proto__":${f32(0, 4)},"constructor":${f32(4, 8)}}`, 8), 's');
    expect(Object.keys(read)).toEqual(['__proto__', 'constructor']);
    expect(({} as Readonly<Record<string, unknown>>).dtype).toBeUndefined();
    const { metadata } = decodeNamedArrays(file('{"__metadata__":{"__proto__":"x"}}', 0), 's');
    expect(Object.entries(metadata)).toEqual([['__proto__', 'x']]);
  });

  it('refuses NaN and infinity when asked to, naming array and element', () => {
    for (const value of [Number.NaN, Number.NEGATIVE_INFINITY]) {
      const bytes = encodeNamedArrays({
        ok: { shape: [1], data: Float32Array.of(1) },
        'actor/id': { shape: [3], data: Float32Array.of(0, 1, value) },
      });
      expect(decodeNamedArrays(bytes, 's').arrays['actor/id']?.data[2]).toBe(value);
      expect(refusal(bytes, { finite: true }).message).toMatch(/array "actor\/id" holds (NaN|-Infinity) at element 2/);
    }
  });

  it('refuses to write what could not be read', () => {
    const good = { shape: [2], data: Float32Array.of(1, 2) };
    const cases: readonly [NamedArrays, Record<string, string>?][] = [
      [{ a: { ...good, shape: [3] } }],
      [{ a: { ...good, shape: [-2] } }],
      [{ a: { ...good, shape: [Number.NaN] } }],
      [{ a: { ...good, shape: 2 as never } }],
      [{ a: { ...good, data: [1, 2] as never } }],
      [{ a: { ...good, data: new Int16Array(2) as never } }],
      [{ a: undefined as never }],
      [{ __metadata__: good }],
      [{ a: good }, { x: 1 as never }],
    ];
    for (const [given, metadata] of cases)
      expect(() => encodeNamedArrays(given, metadata)).toThrow(InvalidArgumentError);
  });
});
