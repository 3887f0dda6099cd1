import ts from 'typescript';

/**
 * The rules of the house, checked on source text alone: `files` maps a path below `src/` (`env/coat.ts`) to its text.
 * Pure, so that the tests can feed it houses that break each rule.
 */

/** Folder -> rank. A file imports lower ranks or its own folder: never sideways, never up. */
const RANKS: Readonly<Record<string, number>> = {
  foundation: 0,
  catalog: 1,
  compute: 1,
  oracle: 2,
  encoder: 2,
  env: 3,
  agent: 3,
  'openai-compatible': 3,
  'ai-sdk': 3,
  metrics: 4,
  train: 5,
  world: 5,
  experiment: 6,
  serve: 6,
  node: 7,
  'llama-cpp': 8,
  cli: 9,
};

/** Entry points, the only barrels, and the rank up to which each may import. */
const ENTRY_POINTS: Readonly<Record<string, number>> = {
  'index.ts': 6,
  'node/index.ts': 7,
  'testing/index.ts': 6,
  'openai-compatible/index.ts': 3,
  'ai-sdk/index.ts': 3,
  'llama-cpp/index.ts': 8,
};

/** `src/testing` stands beside the ranks: it may use everything that runs in a browser, and nothing uses it. */
const TESTING_REACHES = 6;
const NODE_FOLDERS = new Set(['node', 'llama-cpp', 'cli']);
const TENSOR_FOLDERS = new Set(['compute', 'encoder']);

/** Global names of Node that a browser lacks; a file that asks for one by `typeof` first may use it. */
const NODE_GLOBALS = new Set([
  'process',
  'Buffer',
  'require',
  '__dirname',
  '__filename',
  'setImmediate',
  'clearImmediate',
]);
/** tfjs calls that choose an engine, replace a kernel or write a gradient: only `compute/` makes them. */
const ENGINE_CALLS = new Set([
  'setBackend',
  'registerBackend',
  'removeBackend',
  'registerKernel',
  'unregisterKernel',
  'registerGradient',
  'unregisterGradient',
  'customGrad',
]);
/** tfjs sampling, which ignores seed 0 and differs between backends: nobody calls it. */
const TENSOR_SAMPLING = new Set([
  'multinomial',
  'randomNormal',
  'randomUniform',
  'randomStandardNormal',
  'randomGamma',
  'truncatedNormal',
]);

export type Rule =
  | 'rank'
  | 'testing'
  | 'barrel'
  | 'layout'
  | 'node'
  | 'tensor'
  | 'engine'
  | 'randomness'
  | 'dependency'
  | 'extension'
  | 'missing'
  | 'cycle';

export interface Violation {
  readonly rule: Rule;
  /** `src/env/coat.ts:3` */
  readonly place: string;
  /** Which edge or use broke which rule, and what would be allowed. */
  readonly message: string;
}

/** One violation as one line. */
export function describeViolation({ rule, place, message }: Violation): string {
  return `${place} [${rule}] ${message}`;
}

/**
 * Every broken rule in `files`.
 *
 * @param files - path below `src/` -> source text.
 * @param dependencies - package names that may be imported: dependencies and peers of package.json.
 */
export function checkArchitecture(files: ReadonlyMap<string, string>, dependencies: ReadonlySet<string>): Violation[] {
  const violations: Violation[] = [];
  const valueEdges = new Map<string, string[]>();
  for (const [path, text] of files) {
    const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
    const report = (rule: Rule, at: number, message: string): void => {
      const line = source.getLineAndCharacterOfPosition(at).line + 1;
      violations.push({ rule, place: `src/${path}:${line}`, message });
    };
    checkLayout(path, (message) => report('layout', 0, message));
    const targets: string[] = [];
    for (const edge of importsOf(source)) {
      if (edge.specifier === undefined) {
        if (!NODE_FOLDERS.has(folderOf(path)) && folderOf(path) !== 'compute')
          report('dependency', edge.at, 'import() of a computed name: only compute, node and cli may');
      } else if (edge.specifier.startsWith('.')) {
        const target = checkRelative(path, edge.specifier, files, (rule, message) => report(rule, edge.at, message));
        if (target !== undefined && edge.isValue) targets.push(target);
      } else {
        checkPackage(path, edge.specifier, dependencies, (rule, message) => report(rule, edge.at, message));
      }
    }
    valueEdges.set(path, targets);
    checkUses(path, source, report);
  }
  for (const cycle of cyclesOf(valueEdges)) {
    const message = `import cycle: ${cycle.map((path) => `src/${path}`).join(' -> ')} -> src/${cycle[0]}`;
    violations.push({ rule: 'cycle', place: `src/${cycle[0]}:1`, message });
  }
  return violations;
}

function folderOf(path: string): string {
  return path.includes('/') ? path.slice(0, path.indexOf('/')) : '';
}

function checkLayout(path: string, report: (message: string) => void): void {
  const folder = folderOf(path);
  const name = path.slice(path.lastIndexOf('/') + 1);
  if (folder === '' && path !== 'index.ts') report('only index.ts stands beside the folders');
  if (folder !== '' && folder !== 'testing' && RANKS[folder] === undefined)
    report(
      `folder ${folder}/ has no rank: add it to the table of design.md section 3 and of test/architecture-rules.ts`,
    );
  if (name === 'index.ts' && ENTRY_POINTS[path] === undefined)
    report('a barrel that is no entry point: import the file that has the concept');
  if (name === 'utils.ts' || name === 'types.ts' || name === 'helpers.ts')
    report(`${name} names no concept: one concept a file, its types beside it`);
  if (!/^[a-z0-9]+(-[a-z0-9]+)*(\.d)?\.ts$/.test(name)) report(`file name ${name} is not kebab-case`);
}

type Report = (rule: Rule, message: string) => void;

/** Checks one relative import; returns the file it names, where that file exists. */
function checkRelative(
  path: string,
  specifier: string,
  files: ReadonlyMap<string, string>,
  report: Report,
): string | undefined {
  const target = resolveRelative(path, specifier);
  const edge = `src/${path} -> ${target === undefined ? specifier : `src/${target}`}`;
  if (target === undefined) {
    report('dependency', `${edge}: leaves src/`);
    return undefined;
  }
  if (!specifier.endsWith('.js')) {
    report('extension', `${edge}: a relative import ends in .js`);
    return undefined;
  }
  if (!files.has(target)) {
    report('missing', `${edge}: no such file`);
    return undefined;
  }
  const from = folderOf(path);
  const to = folderOf(target);
  if (ENTRY_POINTS[target] !== undefined) report('barrel', `${edge}: import the file, not the entry point`);
  if (to === 'testing' && from !== 'testing') report('testing', `${edge}: nothing in src imports src/testing`);
  else if (from !== to) checkRank(path, from, to, edge, report);
  return target;
}

function checkRank(path: string, from: string, to: string, edge: string, report: Report): void {
  const toRank = RANKS[to];
  if (toRank === undefined) return; // the layout rule speaks of unknown folders
  const reach = from === 'testing' ? TESTING_REACHES : from === '' ? ENTRY_POINTS[path] : RANKS[from];
  if (reach === undefined) return;
  const isEntry = from === 'testing' || from === '';
  if (isEntry ? toRank <= reach : toRank < reach) return;
  const direction = !isEntry && toRank === reach ? 'sideways' : 'up';
  const own = isEntry ? `${from === '' ? path : from} may import ranks up to ${reach}` : `${from} has rank ${reach}`;
  report('rank', `${edge}: ${direction}: ${own}, ${to} has rank ${toRank}`);
}

function checkPackage(path: string, specifier: string, dependencies: ReadonlySet<string>, report: Report): void {
  const folder = folderOf(path);
  const edge = `src/${path} -> ${specifier}`;
  if (specifier.startsWith('node:')) {
    if (!NODE_FOLDERS.has(folder)) report('node', `${edge}: only src/node and src/cli import node: modules`);
    return;
  }
  const parts = specifier.split('/');
  const name = specifier.startsWith('@') ? parts.slice(0, 2).join('/') : (parts[0] as string);
  if (!dependencies.has(name))
    report('dependency', `${edge}: ${name} is neither a dependency nor a peer of package.json`);
  if (!name.startsWith('@tensorflow/') || folder === 'compute') return;
  if (!TENSOR_FOLDERS.has(folder)) report('tensor', `${edge}: only compute and encoder import tfjs`);
  else if (specifier !== '@tensorflow/tfjs') report('tensor', `${edge}: ${folder} may import @tensorflow/tfjs only`);
}

/** `env/coat.ts` + `../foundation/rng.js` -> `foundation/rng.ts`; undefined where it leaves `src/`. */
function resolveRelative(path: string, specifier: string): string | undefined {
  const segments = path.split('/').slice(0, -1);
  for (const part of specifier.split('/')) {
    if (part === '.') continue;
    if (part !== '..') segments.push(part);
    else if (segments.pop() === undefined) return undefined;
  }
  return segments.join('/').replace(/\.js$/, '.ts');
}

interface ImportEdge {
  /** Undefined where a dynamic import computes it. */
  readonly specifier: string | undefined;
  readonly at: number;
  /** False for `import type`, `export type` and `import('x').T`, which leave no trace in the output. */
  readonly isValue: boolean;
}

function importsOf(source: ts.SourceFile): ImportEdge[] {
  const edges: ImportEdge[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      const isType = node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword;
      edges.push({ specifier: literal(node.moduleSpecifier), at: node.getStart(), isValue: !isType });
    } else if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined) {
      edges.push({ specifier: literal(node.moduleSpecifier), at: node.getStart(), isValue: !node.isTypeOnly });
    } else if (ts.isImportTypeNode(node)) {
      const argument = ts.isLiteralTypeNode(node.argument) ? literal(node.argument.literal) : undefined;
      edges.push({ specifier: argument, at: node.getStart(), isValue: false });
    } else if (ts.isImportEqualsDeclaration(node) && ts.isExternalModuleReference(node.moduleReference)) {
      edges.push({ specifier: literal(node.moduleReference.expression), at: node.getStart(), isValue: true });
    } else if (ts.isCallExpression(node) && isImportOrRequire(node.expression)) {
      const argument = node.arguments[0];
      edges.push({ specifier: argument && literal(argument), at: node.getStart(), isValue: true });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  for (const { fileName, pos } of [...source.referencedFiles, ...source.typeReferenceDirectives])
    edges.push({ specifier: fileName, at: pos, isValue: false });
  return edges;
}

function literal(node: ts.Node): string | undefined {
  return ts.isStringLiteralLike(node) ? node.text : undefined;
}

function isImportOrRequire(callee: ts.Expression): boolean {
  return callee.kind === ts.SyntaxKind.ImportKeyword || (ts.isIdentifier(callee) && callee.text === 'require');
}

/** Uses that no import shows: `Math.random`, globals of Node, engine calls. */
function checkUses(
  path: string,
  source: ts.SourceFile,
  report: (rule: Rule, at: number, message: string) => void,
): void {
  const folder = folderOf(path);
  const declared = declaredNames(source);
  const checkMember = (name: string, at: number): void => {
    if (ENGINE_CALLS.has(name) && folder !== 'compute') report('engine', at, `${name}: only compute calls it`);
    if (TENSOR_SAMPLING.has(name))
      report('randomness', at, `tf.${name} cannot be seeded alike on all backends: draw from an Rng`);
  };
  const visit = (node: ts.Node): void => {
    const member = memberOf(node);
    if (member !== undefined) {
      checkMember(member.name, node.getStart());
      if (member.name === 'random' && /^(globalThis\.)?Math$/.test(member.of))
        report('randomness', node.getStart(), 'Math.random: draw from an Rng');
    }
    if (ts.isImportSpecifier(node)) checkMember((node.propertyName ?? node.name).text, node.getStart());
    if (ts.isVariableDeclaration(node) && ts.isObjectBindingPattern(node.name)) {
      for (const { name, propertyName } of node.name.elements) {
        const taken = (propertyName ?? name).getText();
        checkMember(taken, node.getStart());
        if (taken === 'random' && node.initializer?.getText() === 'Math')
          report('randomness', node.getStart(), 'Math.random: draw from an Rng');
      }
    }
    if (!NODE_FOLDERS.has(folder)) {
      if (ts.isStringLiteralLike(node) && node.text.startsWith('node:') && !isModuleSpecifier(node))
        report('node', node.getStart(), `the name '${node.text}': only src/node and src/cli use node: modules`);
      if (ts.isIdentifier(node) && NODE_GLOBALS.has(node.text) && !declared.has(node.text) && isFreeValue(node))
        report(
          'node',
          node.getStart(),
          `the global ${node.text}: a browser has none; ask typeof first, or move the code to src/node`,
        );
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
}

function memberOf(node: ts.Node): { of: string; name: string } | undefined {
  if (ts.isPropertyAccessExpression(node)) return { of: node.expression.getText(), name: node.name.text };
  if (!ts.isElementAccessExpression(node)) return undefined;
  const name = literal(node.argumentExpression);
  return name === undefined ? undefined : { of: node.expression.getText(), name };
}

function isModuleSpecifier(node: ts.Node): boolean {
  const { parent } = node;
  return (
    ts.isImportDeclaration(parent) ||
    ts.isExportDeclaration(parent) ||
    ts.isExternalModuleReference(parent) ||
    (ts.isLiteralTypeNode(parent) && ts.isImportTypeNode(parent.parent)) ||
    (ts.isCallExpression(parent) && isImportOrRequire(parent.expression))
  );
}

/** Names that a file declares, or asks for by `typeof`. */
function declaredNames(source: ts.SourceFile): Set<string> {
  const names = new Set<string>();
  const visit = (node: ts.Node): void => {
    const isBinding =
      ts.isVariableDeclaration(node) ||
      ts.isParameter(node) ||
      ts.isBindingElement(node) ||
      ts.isFunctionDeclaration(node) ||
      ts.isImportSpecifier(node) ||
      ts.isImportClause(node);
    if (ts.isTypeOfExpression(node) && ts.isIdentifier(node.expression)) names.add(node.expression.text);
    if (isBinding && node.name !== undefined && ts.isIdentifier(node.name)) names.add(node.name.text);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return names;
}

/** True for an identifier that reads a variable: not the name of a member or binding, not a type, not `typeof x`. */
function isFreeValue(node: ts.Identifier): boolean {
  const parent: ts.Node & { readonly name?: ts.Node; readonly propertyName?: ts.Node } = node.parent;
  if (ts.isShorthandPropertyAssignment(parent)) return true;
  if (parent.name === node || parent.propertyName === node) return false;
  return !ts.isTypeOfExpression(parent) && !ts.isTypeNode(parent) && !ts.isQualifiedName(parent);
}

/** One representative cycle for each strongly connected group of files (Tarjan). */
function cyclesOf(edges: ReadonlyMap<string, readonly string[]>): string[][] {
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const cycles: string[][] = [];
  const visit = (path: string): void => {
    index.set(path, index.size);
    low.set(path, index.get(path) as number);
    stack.push(path);
    for (const target of edges.get(path) ?? []) {
      if (!index.has(target)) visit(target);
      if (stack.includes(target)) low.set(path, Math.min(low.get(path) as number, low.get(target) as number));
    }
    if (low.get(path) !== index.get(path)) return;
    const group = stack.splice(stack.indexOf(path));
    if (group.length > 1 || (edges.get(path) ?? []).includes(path)) cycles.push(walkCycle(path, new Set(group), edges));
  };
  for (const path of edges.keys()) if (!index.has(path)) visit(path);
  return cycles;
}

/** Follows edges inside the group from `start` by breadth until they come back to it. */
function walkCycle(start: string, group: ReadonlySet<string>, edges: ReadonlyMap<string, readonly string[]>): string[] {
  const cameFrom = new Map<string, string>();
  const queue = [start];
  for (const path of queue) {
    for (const target of edges.get(path) ?? []) {
      if (target === start) {
        const cycle = [path];
        for (let at = path; at !== start; cycle.unshift(at)) at = cameFrom.get(at) as string;
        return cycle;
      }
      if (!group.has(target) || cameFrom.has(target)) continue;
      cameFrom.set(target, path);
      queue.push(target);
    }
  }
  return [start];
}
