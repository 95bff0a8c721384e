// Builds GraphiQL into app/web/static/graphiql; with --check only says whether that is up to date.
//
// Each text is stored as .gz: that is how it is sent. The manifest holds versions, and the SHA-256 of
// what a browser gets.
import { createHash } from 'node:crypto';
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const here = import.meta.dirname;
const target = join(here, '../../app/web/static/graphiql');
const LICENCES = /^(licen[cs]e|copying|notice|thirdpartynotices)(\.(md|txt))?$/i;
const BINARY = new Set(['.woff2', '.ttf']);
const WORKERS = {
  'editor.worker': 'monaco-editor/esm/vs/editor/editor.worker.js',
  'json.worker': 'monaco-editor/esm/vs/language/json/json.worker.js',
  'graphql.worker': 'monaco-graphql/esm/graphql.worker.js',
};

// For packages that name the licence and do not bring its text.
const mit = (holder) => `MIT License

Copyright (c) ${holder}

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.`;

const options = {
  absWorkingDir: here,
  outdir: target,
  write: false,
  bundle: true,
  minify: true,
  metafile: true,
  format: 'esm',
  target: 'es2022',
  define: { 'process.env.NODE_ENV': '"production"', 'process.env.USE_IMPORT': '"true"' },
  legalComments: 'none', // licences.txt has the whole texts
  logLevel: 'warning',
};

// GraphiQL's style sheets embed their fonts: 34 subsets that page.css replaces by 3 files, and the
// icons, which the policy wants as a file too.
const styles = {
  name: 'styles',
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]style\.css$/ }, async ({ path }) => {
      const text = await readFile(path, 'utf8');
      const contents = text
        .replace(/@font-face\s*\{[^}]*\}/g, (face) => (/family:\s*codicon/.test(face) ? face : ''))
        .replace(/url\(data:font\/ttf;base64,[^)]*\)/g, 'url(monaco-editor/esm/vs/base/browser/ui/codicons/codicon/codicon.ttf)');
      return { contents, loader: 'css', resolveDir: here };
    });
  },
};

const results = await Promise.all([
  build({
    ...options,
    entryPoints: { graphiql: 'src/main.js' },
    splitting: true, // the formatter is loaded when it is asked for
    chunkNames: '[name]-[hash]',
    assetNames: '[name]',
    // GraphiQL names the CommonJS forms, whose exports a bundle hides under `default`.
    alias: { 'prettier/parser-babel': 'prettier/plugins/babel', 'prettier/parser-graphql': 'prettier/plugins/graphql' },
    loader: { '.ttf': 'file', '.woff2': 'file' },
    plugins: [styles],
  }),
  build({ ...options, entryPoints: WORKERS }),
]);

const files = new Map(
  results
    .flatMap(({ outputFiles }) => outputFiles)
    .map(({ path, contents }) => [basename(path), Buffer.from(contents)])
    // The style sheets of chunks repeat parts of the one that the page loads; nothing loads them.
    .filter(([name]) => extname(name) !== '.css' || name === 'graphiql.css'),
);

// The packages that are really in it, each with its version and its licence files.
const folders = new Set(
  results
    .flatMap(({ metafile }) => Object.keys(metafile.inputs))
    .map((input) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1])
    .filter(Boolean),
);
const versions = [];
const licences = [];
for (const folder of [...folders].sort()) {
  const { name, version, license, author } = JSON.parse(await readFile(join(here, folder, 'package.json'), 'utf8'));
  versions.push(`${name} ${version}`);
  const texts = [];
  for (const file of (await readdir(join(here, folder))).sort()) {
    if (LICENCES.test(file)) texts.push((await readFile(join(here, folder, file), 'utf8')).trim());
  }
  if (texts.length === 0) {
    if (license !== 'MIT') throw new Error(`${name} has neither a licence file nor the MIT licence`);
    texts.push(mit(author?.name ?? author ?? `the contributors of ${name}`));
  }
  licences.push([`${name} ${version} (${license})`, ...texts].join('\n\n'));
}
files.set('licences.txt', Buffer.from(licences.join(`\n\n${'-'.repeat(80)}\n\n`) + '\n'));

const hashes = {};
for (const name of [...files.keys()].sort()) {
  hashes[name] = createHash('sha256').update(files.get(name)).digest('hex');
}
const manifest = JSON.stringify({ versions: versions.sort(), files: hashes }, null, 2) + '\n';

if (process.argv.includes('--check')) {
  if ((await readFile(join(target, 'manifest.json'), 'utf8')) !== manifest) {
    console.error(`${target} is not what these sources build: npm run build`);
    process.exit(1);
  }
} else {
  await rm(target, { recursive: true, force: true });
  await mkdir(target, { recursive: true });
  for (const [name, contents] of files) {
    if (BINARY.has(extname(name))) await writeFile(join(target, name), contents);
    else await writeFile(join(target, `${name}.gz`), gzipSync(contents, { level: 9 }));
  }
  await writeFile(join(target, 'manifest.json'), manifest);
}
for (const [name, contents] of files) console.log(String(contents.length).padStart(9), name);
