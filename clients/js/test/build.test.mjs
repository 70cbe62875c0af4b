// What is committed is what the source builds, and it is small.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { gzipSync } from 'node:zlib';
import { root } from './load.mjs';

const files = (dir) => readdirSync(dir, { recursive: true }).filter((name) => statSync(path.join(dir, name)).isFile()).sort();

test('dist is what src builds', () => {
  const fresh = mkdtempSync(path.join(tmpdir(), 'fanfare-'));
  try {
    execFileSync(process.execPath, [path.join(root, 'scripts/build.mjs'), fresh], { stdio: 'inherit' });
    assert.deepEqual(files(path.join(root, 'dist')), files(fresh));
    for (const name of files(fresh)) {
      assert.ok(readFileSync(path.join(fresh, name)).equals(readFileSync(path.join(root, 'dist', name))), `${name} differs: run npm run build`);
    }
  } finally {
    rmSync(fresh, { recursive: true });
  }
});

test('the core is below 12 KiB gzipped', () => {
  const size = gzipSync(readFileSync(path.join(root, 'dist/fanfare.js')), { level: 9 }).length;
  assert.ok(size < 12_288, `${size} bytes`);
});
