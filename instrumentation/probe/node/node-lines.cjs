// SPDX-License-Identifier: Apache-2.0
//
// Loaded into node by NODE_OPTIONS=--require when lines of scripts are asked for: tells the probe
// which line of JavaScript opened a descriptor. The probe cannot find out by itself: V8 keeps the
// positions of a function's code only once something asks for them.
//
// The functions of node that open descriptors are wrapped; what they return, throw and call back is
// as before. The probe is told by fs.existsSync() of a name that no file has (script_frames.cpp);
// where no probe answers nothing is wrapped.
//
//   told, once it is known by its number   fs.open, openSync, promises.open, streams of files,
//                                          sockets of net and dgram, pipes to child processes; what
//                                          a server accepts gets the line of its listen()
//   told before it is opened               fs.opendirSync
//   not told                               fs.opendir with a callback, fs.watch, fetch; what
//                                          readFileSync and its like close themselves
//
// Cost: 10 µs for each descriptor. A stack that is printed has a frame of this file where a wrapped
// function threw. Kept to the language of node 8: a newer word would end the program.
'use strict';

(() => {
  const fs = require('fs');
  const { existsSync } = fs;
  const TO_PROBE = '/\u0001loopscope\u0001';
  try {
    if (!existsSync(`${TO_PROBE}?`)) return;
  } catch (_) {
    return;
  }
  const { apply, getPrototypeOf } = Reflect;
  const { captureStackTrace } = Error;

  const LOOKED_AT = 8; // frames: each costs 0.5 µs
  const MOST_LOOKED_AT = 40; // if none of those is the program's own
  const KEPT = 6;
  const ALWAYS_KEPT = 2; // innermost ones, whoever's they are

  const structured = (_, sites) => sites;

  /** The call sites above `below`, innermost first. */
  function callSites(below, most) {
    const limit = Error.stackTraceLimit;
    const prepare = Error.prepareStackTrace;
    const holder = {};
    try {
      Error.stackTraceLimit = most;
      Error.prepareStackTrace = structured;
      captureStackTrace(holder, below);
      return holder.stack;
    } finally {
      Error.stackTraceLimit = limit;
      Error.prepareStackTrace = prepare;
    }
  }

  const cleaned = new Map(); // names of functions and files as they are told
  /** A name in one word of the probe's. */
  function clean(name) {
    let told = cleaned.get(name);
    if (told !== undefined) return told;
    told = name;
    if (name.startsWith('file://')) {
      try {
        told = decodeURIComponent(name.slice(7));
      } catch (_) {
        // As it is.
      }
    }
    told = told.replace(/[\t\n\0]/g, ' ');
    if (cleaned.size < 4096) cleaned.set(name, told);
    return told;
  }

  const ofLibrary = (file) => file.startsWith('node:') || file.includes('/node_modules/');

  function line({ site, name }) {
    const called = clean(site.getFunctionName() || '<anonymous>');
    return `\n${site.getLineNumber()}\t${site.isConstructor() ? 'new ' : ''}${called}\t${clean(name)}`;
  }

  /** Of `most` frames; null if none is the program's own. What `from` calls is its own business. */
  function ownLines(below, most, from) {
    const frames = [];
    let outermost = -1; // that is the program's own
    let own = 0; // beyond the innermost ones
    for (const site of callSites(below, most)) {
      const name = site.getFileName();
      if (!name) continue;
      if (name === from && frames.length === 0) return '';
      const library = ofLibrary(name);
      if (!library) {
        outermost = frames.length;
        if (outermost >= ALWAYS_KEPT) own += 1;
      }
      frames.push({ site, name, library });
      if (own === KEPT - ALWAYS_KEPT) break;
    }
    if (outermost < 0) return null;
    let others = KEPT - ALWAYS_KEPT - own;
    let text = '';
    for (let index = 0; index <= outermost; ++index) {
      if (index >= ALWAYS_KEPT && frames[index].library && others-- <= 0) continue;
      text += line(frames[index]);
    }
    return text;
  }

  /** The lines in the probe's words; '' if there is none of the program's own, or `from` called. */
  function linesAbove(below, from) {
    try {
      let lines = ownLines(below, LOOKED_AT, from);
      if (lines === null) lines = ownLines(below, MOST_LOOKED_AT, from);
      return lines === null ? '' : lines;
    } catch (_) {
      return ''; // Error is frozen, or not V8's any more
    }
  }

  function tell(text) {
    try {
      existsSync(TO_PROBE + text);
    } catch (_) {
      // Without the line, then.
    }
  }
  function tellOf(fd, lines) {
    if (lines !== '' && typeof fd === 'number' && fd >= 0) tell(fd + lines);
  }

  let scopes = 0;
  /** What `call` opens was opened by these lines. */
  function within(lines, call, self, args) {
    if (lines === '' || scopes > 0) return apply(call, self, args);
    scopes += 1;
    tell(`+${lines}`);
    try {
      return apply(call, self, args);
    } finally {
      scopes -= 1;
      tell('-');
    }
  }

  /**
   * Puts a function in the place of object[name] that looks the same from outside and calls
   * body(original, its this, its arguments, itself).
   */
  function wrap(object, name, body) {
    const property = object && Object.getOwnPropertyDescriptor(object, name);
    if (!property || !property.configurable) return;
    const original = property.get ? object[name] : property.value;
    if (typeof original !== 'function') return;
    // What `new` may be called with still may; what it may not, may not.
    const { wrapper } = Object.prototype.hasOwnProperty.call(original, 'prototype') ? {
      wrapper: function () {
        return body(original, this, arguments, wrapper);
      },
    } : {
      wrapper() {
        return body(original, this, arguments, wrapper);
      },
    };
    for (const key of Reflect.ownKeys(original)) {
      Object.defineProperty(wrapper, key, Object.getOwnPropertyDescriptor(original, key));
    }
    if (property.get) property.get = () => wrapper;
    else property.value = wrapper;
    Object.defineProperty(object, name, property);
  }

  // --- files ---

  // A stream opens its file in a later tick, when its script's lines have left the stack.
  const streams = new Map(); // path -> [lines of streams that will open it]
  const MOST_STREAMS = 4096;
  let waiting = 0;
  function expectStream(path, options, lines) {
    if (lines === '' || waiting >= MOST_STREAMS) return;
    if (options !== null && typeof options === 'object' &&
        ((options.fd !== undefined && options.fd !== null) || options.fs)) {
      return;
    }
    const key = String(path);
    const queue = streams.get(key);
    if (queue) queue.push(lines);
    else streams.set(key, [lines]);
    waiting += 1;
  }
  function streamLines(path) {
    if (waiting === 0) return '';
    const key = String(path);
    const queue = streams.get(key);
    if (!queue) return '';
    waiting -= 1;
    if (queue.length === 1) streams.delete(key);
    return queue.shift();
  }
  for (const name of ['createReadStream', 'createWriteStream']) {
    wrap(fs, name, (original, self, args, wrapper) => {
      const stream = apply(original, self, args);
      expectStream(args[0], args[1], linesAbove(wrapper));
      return stream;
    });
  }

  wrap(fs, 'openSync', (original, self, args, wrapper) => {
    const fd = apply(original, self, args);
    // readFileSync and the others of its module close what they open; require() calls it.
    tellOf(fd, linesAbove(wrapper, 'node:fs'));
    return fd;
  });
  wrap(fs, 'open', (original, self, args, wrapper) => {
    const at = args.length - 1;
    const done = args[at];
    if (typeof done === 'function') {
      const lines = linesAbove(wrapper) || streamLines(args[0]);
      args[at] = function opened(error, fd) {
        if (!error) tellOf(fd, lines);
        return apply(done, this, arguments);
      };
    }
    return apply(original, self, args);
  });
  wrap(fs.promises, 'open', (original, self, args, wrapper) => {
    const lines = linesAbove(wrapper);
    return apply(original, self, args).then((handle) => {
      tellOf(handle.fd, lines);
      return handle;
    });
  });
  wrap(fs, 'opendirSync', (original, self, args, wrapper) =>
    within(linesAbove(wrapper), original, self, args));

  // --- sockets: a handle has a descriptor from its first bind or connect on, mostly ticks later ---

  const opener = new WeakMap(); // socket, server or handle -> lines
  const watched = new WeakSet(); // prototypes of handles

  /** What an object keeps under a symbol of node's own. */
  function hidden(object, description) {
    for (const symbol of Object.getOwnPropertySymbols(object)) {
      if (symbol.description === description) return object[symbol];
    }
    return undefined;
  }
  const isObject = (value) => value !== null && typeof value === 'object';

  function linesOf(handle) {
    const lines = opener.get(handle);
    if (lines !== undefined) return lines;
    const owner = hidden(handle, 'owner_symbol');
    return (isObject(owner) && opener.get(owner)) || '';
  }
  function tellHandle(handle, lines) {
    if (isObject(handle)) tellOf(handle.fd, lines);
  }
  function watchHandle(handle, lines) {
    if (lines === '' || !isObject(handle)) return;
    opener.set(handle, lines);
    tellHandle(handle, lines);
    const methods = getPrototypeOf(handle);
    if (watched.has(methods)) return;
    watched.add(methods);
    for (const name of ['bind', 'bind6', 'connect', 'connect6']) {
      wrap(methods, name, (original, self, args) => {
        const before = self.fd;
        const result = apply(original, self, args);
        if (!(before >= 0)) tellHandle(self, linesOf(self));
        return result;
      });
    }
  }

  const net = require('net');
  wrap(net.Socket.prototype, 'connect', (original, self, args, wrapper) => {
    const lines = linesAbove(wrapper);
    if (lines !== '') opener.set(self, lines);
    const result = apply(original, self, args);
    watchHandle(self._handle, lines);
    return result;
  });
  wrap(net.Server.prototype, 'listen', (original, self, args, wrapper) => {
    const lines = linesAbove(wrapper);
    if (lines !== '') opener.set(self, lines);
    return apply(original, self, args);
  });
  wrap(net.Server.prototype, '_listen2', (original, self, args) => {
    const result = apply(original, self, args);
    const lines = opener.get(self) || '';
    const handle = self._handle;
    tellHandle(handle, lines);
    if (lines !== '' && isObject(handle) && typeof handle.onconnection === 'function') {
      const { onconnection } = handle;
      handle.onconnection = function accepted(error, client) {
        if (!error) tellHandle(client, lines);
        return apply(onconnection, this, arguments);
      };
    }
    return result;
  });

  wrap(require('dgram'), 'createSocket', (original, self, args, wrapper) => {
    const socket = apply(original, self, args);
    const lines = linesAbove(wrapper);
    const state = hidden(socket, 'state symbol');
    if (lines !== '' && isObject(state)) {
      opener.set(socket, lines);
      watchHandle(state.handle, lines);
    }
    return socket;
  });

  wrap(require('child_process').ChildProcess.prototype, 'spawn', (original, self, args, wrapper) => {
    const result = apply(original, self, args);
    const lines = linesAbove(wrapper);
    if (Array.isArray(self.stdio)) {
      for (const stream of self.stdio) if (isObject(stream)) tellHandle(stream._handle, lines);
    }
    if (isObject(self.channel)) tellHandle(hidden(self, 'kChannelHandle'), lines);
    return result;
  });

  const { syncBuiltinESMExports } = require('module');
  if (syncBuiltinESMExports) syncBuiltinESMExports();
})();
