// Bundles the page: index.html, app.js, app.css and report.html (what a saved report is put together from), nothing else, so
// that the server needs to embed four files only.
//   node build.mjs [--out DIR] [--dev]
import { build } from 'esbuild';
import { createHash } from 'node:crypto';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const args = process.argv.slice(2);
let out = join(here, 'dist');
let dev = false;
for (let i = 0; i < args.length; i++) {
  if (args[i] === '--out' && args[i + 1]) out = resolve(args[++i]);
  else if (args[i] === '--dev') dev = true;
  else {
    console.error(`usage: node build.mjs [--out DIR] [--dev]   (not understood: ${args[i]})`);
    process.exit(2);
  }
}

// Their licence wants its notice in all copies, and in their files it is no comment that a bundler keeps.
async function notice(name) {
  const at = join(here, 'node_modules', name);
  const { version } = JSON.parse(await readFile(join(at, 'package.json'), 'utf8'));
  const text = (await readFile(join(at, 'LICENSE'), 'utf8')).replaceAll('\r', '').trim();
  return `${name} ${version}\n\n${text}`;
}
const notices = `/*! loopscope's page, Apache-2.0. It holds:\n\n${await notice('preact')}\n\n${await notice('uplot')}\n*/`;
if (notices.indexOf('*/') !== notices.length - 2) throw new Error('a notice ends the comment that it is in');

await mkdir(out, { recursive: true });
await build({
  absWorkingDir: here,
  entryPoints: { app: 'src/main.tsx' },
  outdir: out,
  bundle: true,
  format: 'iife', // a classic script: nothing of it becomes global, and `defer` keeps the order
  target: ['es2022', 'firefox115', 'chrome110', 'safari16'],
  jsx: 'automatic',
  jsxImportSource: 'preact',
  minify: !dev,
  sourcemap: dev ? 'inline' : false,
  legalComments: 'inline',
  banner: { js: notices, css: "/*! loopscope's page, Apache-2.0, with the stylesheet of uPlot, MIT: its notice is in app.js */" },
  charset: 'utf8',
  logLevel: 'warning',
});
await copyFile(join(here, 'src/index.html'), join(out, 'index.html'));

// A saved report has the bundle inline, and a policy that allows these very bytes and no other script or style. So they must
// come through an HTML parser as they are.
async function inlined(name, endTag) {
  const text = await readFile(join(out, name), 'utf8');
  const breaks = [endTag, '<!--', '\r', '\0'].find((part) => text.toLowerCase().includes(part));
  if (breaks !== undefined) throw new Error(`${name} cannot be put into a report: it holds ${JSON.stringify(breaks)}`);
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}
const hashes = { 'script-hash': await inlined('app.js', '</script'), 'style-hash': await inlined('app.css', '</style') };
const template = await readFile(join(here, 'src/report.html'), 'utf8');
await writeFile(join(out, 'report.html'), template.replace(/\{\{(script-hash|style-hash)\}\}/g, (_, name) => hashes[name]));

let total = 0;
for (const name of ['index.html', 'app.js', 'app.css', 'report.html']) {
  const bytes = gzipSync(await readFile(join(out, name)), { level: 9 }).length;
  total += bytes;
  console.log(`${name.padEnd(11)} ${(bytes / 1024).toFixed(1).padStart(6)} KiB gzipped`);
}
console.log(`${'total'.padEnd(11)} ${(total / 1024).toFixed(1).padStart(6)} KiB gzipped`);

// The page is compiled into every program that links the inspector, so its size is a promise, not a wish.
const limitKiB = 150;
if (!dev && total > limitKiB * 1024) {
  console.error(`the page is larger than ${limitKiB} KiB gzipped`);
  process.exit(1);
}
