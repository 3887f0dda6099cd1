/**
 * What needs Node: storage in a folder, and readers of data sets and of your own files from disk.
 *
 * @module ialp/node
 */

export type { FileStorageOptions } from './file-storage.js';
export { FileStorage, fileStorage } from './file-storage.js';
export type { ReadInteractionsOptions, ReadItemNumbersOptions, ReadItemsOptions } from './read-data.js';
export {
  readAmazon,
  readCoat,
  readInteractions,
  readItemNumbers,
  readItems,
  readLastfm,
  readMovielens,
  readTracks,
} from './read-data.js';
