import { readFileSync, writeFileSync } from 'node:fs';

// Adds to package-lock.json the optional packages of other platforms that it lacks. npm leaves them out where its registry
// does not serve them or node_modules already stood (npm/cli#4828), and `npm ci` then refuses the whole lock.
// Usage, after a change of dependencies: tsx .ci/complete-lock.ts && npm ci

interface LockedPackage {
  version?: string;
  cpu?: string[];
  dev?: boolean;
  libc?: string[];
  license?: string;
  optional?: boolean;
  os?: string[];
  engines?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

const PLATFORM =
  /(android|darwin|linux|freebsd|openharmony|win32|mac|win)-(arm64|x64|arm|ia32|ppc64|riscv64|s390x)(?:-(musl|gnu|msvc|eabi|gnueabihf|musleabihf|metal))?$/;
/** Names that packages use for what npm calls otherwise. */
const NPM_OS: Readonly<Record<string, string>> = { mac: 'darwin', win: 'win32' };

const file = new URL('../package-lock.json', import.meta.url);
const lock = JSON.parse(readFileSync(file, 'utf8')) as { packages: Record<string, LockedPackage> };
const packages = { ...lock.packages };
let added = 0;
for (const [path, parent] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
    const key = `node_modules/${name}`;
    const [, os, cpu, abi] = PLATFORM.exec(name) ?? [];
    if (packages[key] ?? packages[`${path}/${key}`] ?? (os === undefined || cpu === undefined || !/^\d/.test(version)))
      continue;
    const { dev, license, engines } = parent;
    packages[key] = {
      version,
      cpu: [cpu],
      ...(dev === undefined ? {} : { dev }),
      ...(os === 'linux' && abi !== undefined ? { libc: [abi.startsWith('musl') ? 'musl' : 'glibc'] } : {}),
      ...(license === undefined ? {} : { license }),
      optional: true,
      os: [NPM_OS[os] ?? os],
      ...(engines === undefined ? {} : { engines }),
    };
    added++;
  }
}
lock.packages = Object.fromEntries(Object.entries(packages).sort(([a], [b]) => a.localeCompare(b, 'en')));
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
console.log(`${added} packages of other platforms added to package-lock.json`);
