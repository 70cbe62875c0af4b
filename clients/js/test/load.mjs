// Loads a module of src/, bundled on the way: Node runs no TypeScript.
import { build } from 'esbuild';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

export const root = path.resolve(fileURLToPath(import.meta.url), '../..');

export async function load(...names) {
  const exports = names.map((name) => `export * from './src/${name}.ts';`).join('\n');
  const { outputFiles } = await build({ stdin: { contents: exports, resolveDir: root, loader: 'ts' }, bundle: true, format: 'esm', write: false, platform: 'neutral' });
  const dir = mkdtempSync(path.join(tmpdir(), 'fanfare-'));
  try {
    const file = path.join(dir, 'bundle.mjs');
    writeFileSync(file, outputFiles[0].contents);
    return await import(pathToFileURL(file).href);
  } finally {
    rmSync(dir, { recursive: true });
  }
}
