// SPDX-License-Identifier: Apache-2.0
//
// Opens a file in each of the functions, and by each of the scripts, whose names it is told: observed-hostile.cjs FILE
'use strict';
const fs = require('fs');
const vm = require('vm');

const names = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
for (const name of names.functions) {
  const { [name]: opener } = { [name]: () => fs.openSync('/dev/null', 'r') };
  opener();
}
for (const filename of names.scripts) vm.runInThisContext(`(fs) => fs.openSync('/dev/null', 'r')`, { filename })(fs);
setInterval(() => {}, 50);
console.log('ready');
