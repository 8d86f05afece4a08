// SPDX-License-Identifier: Apache-2.0
//
// An HTTP server that knows nothing of loopscope. GET /keep opens a file that nobody closes.
import { openSync } from 'node:fs';
import http from 'node:http';

const server = http.createServer((request, response) => {
  if (request.url === '/keep') openSync(new URL(import.meta.url), 'r');
  response.end(`${process.pid}\n`);
});
server.listen(0, '127.0.0.1', () => console.log(`server http://127.0.0.1:${server.address().port}/`));
