import { CheckpointError, InvalidArgumentError } from './errors.js';
import { describeValue } from './options.js';
import { checkUniqueKeys } from './unique-keys.js';

/** The element types that are stored: F32, F64, I32 and U8 of safetensors. */
export type NamedArrayData = Float32Array | Float64Array | Int32Array | Uint8Array;

/** A typed array with a shape. */
export interface NamedArray {
  /** Sizes of the axes, row-major; `[]` is a scalar. Their product is the length of `data`. */
  readonly shape: readonly number[];
  /** The elements. */
  readonly data: NamedArrayData;
}

/** Arrays by name. */
export type NamedArrays = Readonly<Record<string, NamedArray>>;

/** What {@link decodeNamedArrays} read. */
export interface DecodedArrays {
  /** The arrays, in memory of their own; an object without prototype, so that any name is harmless. */
  readonly arrays: NamedArrays;
  /** The file's free text, likewise. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** Settings of {@link decodeNamedArrays}. */
export interface DecodeOptions {
  /** Whether floats that are NaN or infinite are refused. @default false */
  readonly finite?: boolean | undefined;
}

type Dtype = 'F32' | 'F64' | 'I32' | 'U8';

interface Entry {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

const METADATA = '__metadata__';
const MAX_HEADER_BYTES = 16 * 1024 * 1024;
const MAX_ARRAYS = 100_000;
const MAX_RANK = 32;
/** The header ends at a multiple of this, and wider elements come first, so that every array lies aligned. */
const ALIGNMENT = 8;
const ELEMENT_BYTES: Readonly<Record<Dtype, number>> = { F32: 4, F64: 8, I32: 4, U8: 1 };

/**
 * Writes arrays as a safetensors file (which Python's `safetensors` reads): 8 bytes header length, a JSON header, then
 * the elements, little-endian. The same arrays and metadata give the same bytes, whatever the order of their keys.
 *
 * @param arrays - by name; any name but `__metadata__`.
 * @param metadata - free text, kept in the header. @default `{}`
 * @returns the file's bytes.
 * @throws {InvalidArgumentError} naming the array whose shape does not fit its data, or that cannot be stored.
 */
export function encodeNamedArrays(arrays: NamedArrays, metadata: Readonly<Record<string, string>> = {}): Uint8Array {
  const names = Object.keys(arrays);
  if (names.length > MAX_ARRAYS) throw refusal('arrays', `at most ${MAX_ARRAYS} arrays`, names.length);
  const entries = names.map((name) => entryOf(name, arrays[name] as NamedArray));
  entries.sort((a, b) => ELEMENT_BYTES[b.dtype] - ELEMENT_BYTES[a.dtype] || (a.name < b.name ? -1 : 1));
  // Assembled as text: an object would lose a `__proto__` and move names that look like numbers.
  const parts: string[] = [];
  const metadataKeys = Object.keys(metadata).sort();
  for (const key of metadataKeys) {
    if (typeof metadata[key] !== 'string') throw refusal(`metadata.${key}`, 'a string', metadata[key]);
  }
  if (metadataKeys.length > 0) {
    const pairs = metadataKeys.map((key) => `${JSON.stringify(key)}:${JSON.stringify(metadata[key])}`);
    parts.push(`"${METADATA}":{${pairs.join(',')}}`);
  }
  let offset = 0;
  for (const { name, dtype, shape, data } of entries) {
    const fields = { dtype, shape, data_offsets: [offset, offset + data.byteLength] };
    parts.push(`${JSON.stringify(name)}:${JSON.stringify(fields)}`);
    offset += data.byteLength;
  }
  const header = new TextEncoder().encode(`{${parts.join(',')}}`);
  const headerLength = Math.ceil(header.length / ALIGNMENT) * ALIGNMENT;
  if (headerLength > MAX_HEADER_BYTES) throw refusal('arrays', 'a header of at most 16 MiB', headerLength);
  const bytes = new Uint8Array(8 + headerLength + offset);
  new DataView(bytes.buffer).setUint32(0, headerLength, true);
  bytes.fill(32, 8, 8 + headerLength);
  bytes.set(header, 8);
  let at = 8 + headerLength;
  for (const { data } of entries) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return bytes;
}

function entryOf(name: string, array: NamedArray) {
  if (name === METADATA) throw refusal(name, `named otherwise: safetensors keeps "${METADATA}" for itself`, name);
  const dtype = dtypeOf(array?.data);
  if (dtype === undefined) {
    throw refusal(name, 'a Float32Array, Float64Array, Int32Array or Uint8Array with a shape', array?.data);
  }
  const { shape, data } = array;
  const size = Array.isArray(shape) ? sizeOf(shape) : undefined;
  if (size === undefined) throw refusal(name, `shaped by at most ${MAX_RANK} integers of at least 0`, shape);
  if (size !== data.length) throw refusal(name, `${size} elements long, as its shape [${shape.join(', ')}] says`, data);
  return { name, dtype, shape, data };
}

function dtypeOf(data: unknown): Dtype | undefined {
  if (data instanceof Float32Array) return 'F32';
  if (data instanceof Float64Array) return 'F64';
  if (data instanceof Int32Array) return 'I32';
  return data instanceof Uint8Array ? 'U8' : undefined;
}

function refusal(name: string, wanted: string, got: unknown): InvalidArgumentError {
  const text = `encodeNamedArrays: expected \`${name}\` to be ${wanted}, got ${describeValue(got)}`;
  return new InvalidArgumentError(text, { argument: name, wanted, got });
}

/** The product of a shape that may come from anywhere, or `undefined` when it is no shape. */
function sizeOf(shape: readonly unknown[]): number | undefined {
  if (shape.length > MAX_RANK) return undefined;
  let size = 1;
  for (const axis of shape) {
    if (!Number.isSafeInteger(axis) || (axis as number) < 0) return undefined;
    size *= axis as number;
  }
  return Number.isSafeInteger(size) ? size : undefined;
}

/**
 * Reads a safetensors file, strictly: the header is at most 16 MiB with at most 100,000 arrays and no key twice; the
 * arrays tile the rest of the file exactly; the element types are F32, F64, I32 or U8.
 *
 * @param bytes - the whole file, at any offset of its buffer; copied.
 * @param source - file or key, for messages.
 * @param options - see {@link DecodeOptions}.
 * @returns the arrays and the metadata.
 * @throws {CheckpointError} naming the source, and the array where one is at fault.
 */
export function decodeNamedArrays(bytes: Uint8Array, source: string, options: DecodeOptions = {}): DecodedArrays {
  const fail = (message: string, cause?: unknown): CheckpointError =>
    new CheckpointError(`${source}: ${message}`, { source, cause });
  const { header, dataStart } = readHeader(bytes, fail);
  const metadata: Record<string, string> = Object.create(null);
  const entries: Entry[] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name === METADATA) readMetadata(value, metadata, fail);
    else entries.push(readEntry(name, value, fail));
  }
  checkTiling(entries, bytes.length - dataStart, fail);
  const arrays: Record<string, NamedArray> = Object.create(null);
  for (const { name, dtype, shape, begin, end } of entries) {
    // Not `slice`: Node's Buffer would share its memory.
    const { buffer } = new Uint8Array(bytes.subarray(dataStart + begin, dataStart + end));
    const data = view(dtype, buffer);
    if (options.finite === true && (dtype === 'F32' || dtype === 'F64')) {
      const at = data.findIndex((element) => !Number.isFinite(element));
      if (at >= 0) throw fail(`array ${JSON.stringify(name)} holds ${data[at]} at element ${at}`);
    }
    arrays[name] = { shape, data };
  }
  return { arrays, metadata };
}

type Fail = (message: string, cause?: unknown) => CheckpointError;

function readHeader(bytes: Uint8Array, fail: Fail): { header: Readonly<Record<string, unknown>>; dataStart: number } {
  if (bytes.length < 8) throw fail(`not a safetensors file: ${bytes.length} bytes, at least 8 are needed`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerLength = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
  if (headerLength > MAX_HEADER_BYTES) throw fail(`the header claims ${headerLength} bytes, at most 16 MiB are read`);
  const dataStart = 8 + headerLength;
  if (dataStart > bytes.length) {
    throw fail(`torn: the header claims ${headerLength} bytes, ${bytes.length - 8} are there`);
  }
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.subarray(8, dataStart));
    if (!text.startsWith('{')) throw new SyntaxError('it does not begin with "{"');
    // The header is an object of objects of arrays of numbers. JSON.parse would keep the last of two equal keys.
    checkUniqueKeys(text, { maxDepth: 3, maxKeys: MAX_ARRAYS + 1 });
    return { header: JSON.parse(text) as Readonly<Record<string, unknown>>, dataStart };
  } catch (cause) {
    throw fail(`the header is damaged: ${cause instanceof SyntaxError ? cause.message : 'not UTF-8'}`, cause);
  }
}

function readMetadata(value: unknown, into: Record<string, string>, fail: Fail): void {
  if (!isRecord(value)) throw fail('the metadata is not an object');
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') throw fail(`metadata ${JSON.stringify(key)} is not text: ${describeValue(text)}`);
    into[key] = text;
  }
}

function readEntry(name: string, value: unknown, fail: Fail): Entry {
  const bad = (what: string, got: unknown): CheckpointError =>
    fail(`array ${JSON.stringify(name)}: ${what}, got ${describeValue(got)}`);
  if (!isRecord(value)) throw bad('expected an object', value);
  const unknown = Object.keys(value).find((key) => key !== 'dtype' && key !== 'shape' && key !== 'data_offsets');
  if (unknown !== undefined) throw bad('expected only dtype, shape and data_offsets', unknown);
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isDtype(dtype)) throw bad('expected dtype F32, F64, I32 or U8', dtype);
  const size = Array.isArray(shape) ? sizeOf(shape) : undefined;
  if (size === undefined) throw bad(`expected a shape of at most ${MAX_RANK} integers of at least 0`, shape);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every((at) => Number.isSafeInteger(at) && at >= 0)) {
    throw bad('expected data_offsets of two integers of at least 0', offsets);
  }
  const [begin, end] = offsets as [number, number];
  const wanted = size * ELEMENT_BYTES[dtype];
  if (end - begin !== wanted) throw bad(`expected data_offsets of ${wanted} bytes, as its shape says`, offsets);
  return { name, dtype, shape: shape as readonly number[], begin, end };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isDtype(value: unknown): value is Dtype {
  return typeof value === 'string' && Object.hasOwn(ELEMENT_BYTES, value);
}

function checkTiling(entries: readonly Entry[], length: number, fail: Fail): void {
  let at = 0;
  for (const { name, begin, end } of [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== at) {
      const what = begin < at ? 'overlaps the one before it' : `leaves ${begin - at} bytes unused before it`;
      throw fail(`array ${JSON.stringify(name)} ${what}: expected it to begin at ${at}, got ${begin}`);
    }
    at = end;
  }
  if (at > length) throw fail(`torn: the arrays take ${at} bytes, ${length} are there`);
  if (at < length) throw fail(`${length - at} bytes follow the last array`);
}

function view(dtype: Dtype, buffer: ArrayBuffer): NamedArrayData {
  switch (dtype) {
    case 'F32':
      return new Float32Array(buffer);
    case 'F64':
      return new Float64Array(buffer);
    case 'I32':
      return new Int32Array(buffer);
    case 'U8':
      return new Uint8Array(buffer);
  }
}
