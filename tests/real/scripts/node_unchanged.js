// SPDX-License-Identifier: Apache-2.0
//
// What a program could see of the functions that node-lines.cjs wraps. Prints the same with and without it; ends with an
// unhandled rejection.
'use strict';
const childProcess = require('child_process');
const fs = require('fs');
const net = require('net');
const { promisify } = require('util');

function shape(object, name) {
  const { writable, enumerable, configurable } = Object.getOwnPropertyDescriptor(object, name);
  const property = object[name];
  console.log(name, property.name, property.length, typeof property, writable, enumerable, configurable,
    Reflect.ownKeys(property).map(String).sort().join());
}
for (const name of ['open', 'openSync', 'opendirSync', 'watch', 'createReadStream', 'createWriteStream']) shape(fs, name);
shape(fs.promises, 'open');
shape(net.Socket.prototype, 'connect');
shape(net.Server.prototype, 'listen');
shape(childProcess.ChildProcess.prototype, 'spawn');

console.log(new fs.createReadStream('/dev/null').destroy().constructor.name);

function error(call) {
  try {
    call();
  } catch ({ name, message, code, path }) {
    console.log(name, message, code, path);
  }
}
error(() => fs.openSync('/nowhere/to/be/found'));
error(() => fs.openSync());
error(() => fs.open('/etc/passwd'));
error(() => fs.open('/etc/passwd', 'r', 'not a function'));
error(() => fs.opendirSync('/nowhere'));
console.log(fs.existsSync('/nowhere'), fs.existsSync('/'));

const prepare = () => 'prepared';
Error.prepareStackTrace = prepare;
Error.stackTraceLimit = 3;
fs.closeSync(fs.openSync('/dev/null'));
console.log(Error.prepareStackTrace === prepare, Error.stackTraceLimit, new Error('x').stack);
Error.prepareStackTrace = () => { throw new TypeError('not for you'); };
fs.closeSync(fs.openSync('/dev/null'));
Error.prepareStackTrace = undefined;

(async () => {
  const fd = await promisify(fs.open)('/dev/null', 'r');
  console.log(typeof fd);
  fs.closeSync(fd);
  await fs.promises.open('/nowhere/at/all').catch(({ code }) => console.log(code));
  for await (const part of fs.createReadStream('/proc/sys/kernel/ostype')) console.log(String(part).trim());
  Object.freeze(Error);
  fs.closeSync(fs.openSync('/dev/null'));
  process.on('exit', (status) => console.log('exit', status));
  fs.promises.open('/nobody/waits/for/it');
})();
