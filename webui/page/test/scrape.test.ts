import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLoopback, scrapeConfigs } from '../src/scrape';
import { fileName } from '../src/take';

const plain = { protocol: 'http:', host: '127.0.0.1:8080', path: '/' };

test('one process: its address, nothing else', () => {
  assert.deepEqual(scrapeConfigs(plain, false, false), [
    {
      title: 'This process',
      text: `scrape_configs:
  - job_name: loopscope
    static_configs:
      - targets: ["127.0.0.1:8080"]`,
    },
  ]);
});

test('a token is read from a file, both for the list and for the scrape', () => {
  const [each, one] = scrapeConfigs({ protocol: 'https:', host: 'host.example', path: '/scope/' }, true, true);
  assert.equal(
    each!.text,
    `scrape_configs:
  - job_name: loopscope
    scheme: https
    authorization:
      credentials_file: /etc/prometheus/loopscope.token
    http_sd_configs:
      - url: "https://host.example/scope/sd"
        authorization:
          credentials_file: /etc/prometheus/loopscope.token`,
  );
  assert.match(one!.text, /metrics_path: "\/scope\/metrics"\n/);
  assert.match(one!.text, /targets: \["host\.example:443"\]/);
});

test('who can reach it', () => {
  for (const host of ['127.0.0.1:8080', 'localhost', '[::1]:80', '127.1.2.3']) assert.equal(isLoopback(host), true, host);
  for (const host of ['10.0.0.1:80', 'localhost.example', 'example:127', '127.0.0.1.example']) assert.equal(isLoopback(host), false, host);
});

test('a file name is one, whatever the command is called', () => {
  const time = Date.UTC(2026, 2, 1, 12, 34, 56) / 1000;
  assert.equal(fileName({ command: 'nginx: worker', pid: 7 }, time, '.json'), 'loopscope-nginx_worker-7-2026-03-01T12-34-56Z.json');
  assert.equal(fileName({ command: '../../etc/passwd\u0000"', pid: 7 }, time, '.html'), 'loopscope-etc_passwd_-7-2026-03-01T12-34-56Z.html');
  assert.equal(fileName(null, time, '.json'), 'loopscope-2026-03-01T12-34-56Z.json');
});
