import { z } from 'zod';
import { Catalog } from '../catalog/catalog.js';
import type { Storage } from '../foundation/storage.js';
import type { PreferenceOracle } from './preference-oracle.js';

/** A `Catalog`; its constructor is private, so `z.instanceof` does not take it. */
export const catalogSchema = z.custom<Catalog>((value) => value instanceof Catalog, 'expected a Catalog');

/** Anything with the methods of a `PreferenceOracle`. */
export const oracleSchema = z.custom<PreferenceOracle>(
  (value) => has(value, 'prefer') && typeof (value as PreferenceOracle).id === 'string',
  'expected a PreferenceOracle: an object with `id` and `prefer`',
);

/** Anything with the methods of a `Storage`. */
export const storageSchema = z.custom<Storage>(
  (value) => has(value, 'get') && has(value, 'put') && has(value, 'append'),
  'expected a Storage: an object with `get`, `put`, `append`, `list` and `delete`',
);

function has(value: unknown, method: string): boolean {
  return (
    typeof value === 'object' && value !== null && typeof (value as Record<string, unknown>)[method] === 'function'
  );
}
