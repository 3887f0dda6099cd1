// @types/seedrandom declares the whole package only; this is the one generator that rng.ts imports, so that a browser
// bundle holds neither the other six nor their entropy pool.
declare module 'seedrandom/lib/alea.js' {
  import type seedrandom from 'seedrandom';

  const alea: typeof seedrandom.alea;
  export default alea;
}
