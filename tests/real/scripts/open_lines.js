// SPDX-License-Identifier: Apache-2.0
//
// Opens descriptors of many kinds, each at a line that says so: "opens KIND [xN] in FUNCTION" (script_frames_test.py).
'use strict';
const childProcess = require('child_process');
const dgram = require('dgram');
const fs = require('fs');
const net = require('net');

const kept = [];

function nested() {
  return [1].map(function inner() {
    return fs.openSync('/dev/null', 'r'); // opens device in inner
  })[0];
}

class Client {
  connect(port) {
    return net.connect(port, '127.0.0.1'); // opens tcp in connect
  }
}

function deep(levels) {
  if (levels > 0) return deep(levels - 1);
  return fs.openSync('/etc/passwd', 'r'); // opens file in deep
}

function callback(done) {
  fs.open('/dev/zero', 'r', (error, fd) => done(kept.push(fd))); // opens device in callback
}

async function promised() {
  await null;
  kept.push(await fs.promises.open('/etc/group', 'r')); // opens file in promised
}

function stream(done) {
  kept.push(fs.createReadStream('/etc/hosts', { autoClose: false }).on('ready', done)); // opens file in stream
}

function udp(done) {
  kept.push(dgram.createSocket('udp4').bind(0, '127.0.0.1', done)); // opens udp in udp
}

function spawn(done) {
  childProcess.spawn('/bin/true', { stdio: ['ignore', 'pipe', 'ignore'] }).on('close', done); // opens unix in spawn
}

function serve(done) {
  const server = net.createServer((connection) => {
    kept.push(connection);
    done();
  });
  server.listen(0, '127.0.0.1', () => kept.push(new Client().connect(server.address().port))); // opens tcp x2 in serve
}

function local(path, done) {
  const server = net.createServer((connection) => kept.push(connection));
  server.listen(path, () => { // opens unix x2 in local
    kept.push(net.connect(path, done)); // opens unix in <anonymous>
  });
}

function directory() {
  kept.push(fs.opendirSync('/etc')); // opens directory in directory
}

async function main() {
  kept.push(nested(), deep(60));
  directory();
  await new Promise(callback);
  await promised();
  await new Promise(stream);
  await new Promise(udp);
  await new Promise(spawn);
  await new Promise(serve);
  await new Promise((done) => local(process.argv[2], done));
  setTimeout(() => {
    console.log('DONE', kept.length);
    process.exit(0);
  }, 50);
}
main();
