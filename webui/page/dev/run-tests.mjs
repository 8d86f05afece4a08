// Compiles test/*.test.ts and runs them with node's own runner. Node 18 cannot load TypeScript, hence the first step.
import { build } from 'esbuild';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const page = join(dirname(fileURLToPath(import.meta.url)), '..');
const tests = (await readdir(join(page, 'test'))).filter((name) => name.endsWith('.test.ts'));
// Inside the package (not $TMPDIR): a failing test's stack then points somewhere the reader can open.
const out = await mkdtemp(join(page, '.test-'));
let status = 1;
try {
  await build({
    absWorkingDir: page,
    entryPoints: tests.map((name) => join('test', name)),
    outdir: out,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    target: 'node18',
    format: 'esm',
    sourcemap: 'inline',
    logLevel: 'warning',
  });
  // Files by name: node 18 and 22 disagree on what `--test DIR` means.
  const files = tests.map((name) => join(out, name.replace(/\.ts$/, '.mjs')));
  status = spawnSync(process.execPath, ['--enable-source-maps', '--test', ...files], { stdio: 'inherit' }).status ?? 1;
} finally {
  await rm(out, { recursive: true, force: true });
}
process.exit(status);
