// SPDX-License-Identifier: Apache-2.0
//
// Returns from the middle of a directory walk; the Dir objects are alive until process.exit.
'use strict';
const fs = require('fs');

const walks = [];

function hasEntries(path, healthy) {
  const directory = fs.opendirSync(path); // LEAK
  walks.push(directory);
  const entry = directory.readSync();
  if (healthy) directory.closeSync();
  return entry !== null;
}

for (let i = 0; i < 2; i++) hasEntries(__dirname, process.argv.at(-1) === 'healthy');
process.exit(0);
