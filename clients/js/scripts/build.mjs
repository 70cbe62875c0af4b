// Builds what is committed in dist/ (or in the folder that is named): a module and a script of each entry, and the types.
import { build } from 'esbuild';
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import path from 'node:path';

const root = path.resolve(fileURLToPath(import.meta.url), '../..');
const out = path.resolve(process.argv[2] ?? path.join(root, 'dist'));
const common = { bundle: true, minify: true, target: 'es2022', platform: 'browser', legalComments: 'none', absWorkingDir: root, logLevel: 'warning' };

await build({ ...common, entryPoints: ['src/index.ts'], format: 'esm', outfile: path.join(out, 'fanfare.js') });
await build({ ...common, entryPoints: ['src/index.ts'], format: 'iife', globalName: 'fanfare', outfile: path.join(out, 'fanfare.global.js') });
await build({ ...common, entryPoints: ['src/legacy/index.ts'], format: 'esm', outfile: path.join(out, 'legacy.js') });
await build({ ...common, entryPoints: ['src/legacy/global.ts'], format: 'iife', outfile: path.join(out, 'legacy.global.js') });
const tsc = path.join(root, 'node_modules/typescript/bin/tsc');
execFileSync(process.execPath, [tsc, '--declaration', '--emitDeclarationOnly', '--outDir', out], { cwd: root, stdio: 'inherit' });
