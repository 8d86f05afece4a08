// What Prometheus needs to scrape the server of this page. Pure.

export interface Place {
  /** Of the page: where its server is. */
  protocol: string;
  host: string;
  /** The directory that it is served from, with both slashes. */
  path: string;
}

export interface Scrape {
  title: string;
  text: string;
}

const tokenFile = '/etc/prometheus/loopscope.token';

/** A YAML string: JSON's are. */
const quoted = (text: string) => JSON.stringify(text);

export const isLoopback = (host: string): boolean => /^(localhost|127(\.\d+){3}|\[::1\])(:\d+)?$/i.test(host);

/** With its port, which a browser leaves out where it is the usual one. */
function target({ protocol, host }: Place): string {
  return /:\d+$/.test(host) ? host : `${host}:${protocol === 'https:' ? 443 : 80}`;
}

/** `several`: the server shows the recordings of a host, so it has a list of them at /sd. */
export function scrapeConfigs(place: Place, several: boolean, token: boolean): Scrape[] {
  const { protocol, host, path } = place;
  const scheme = protocol.replace(/:$/, '');
  const common = [...(scheme === 'http' ? [] : [`    scheme: ${scheme}`])];
  const authorization = (indent: string) => (token ? [`${indent}authorization:`, `${indent}  credentials_file: ${tokenFile}`] : []);
  const one = [
    'scrape_configs:',
    '  - job_name: loopscope',
    ...common,
    ...(path === '/' ? [] : [`    metrics_path: ${quoted(`${path}metrics`)}`]),
    ...authorization('    '),
    '    static_configs:',
    `      - targets: [${quoted(target(place))}]`,
  ];
  if (!several) return [{ title: 'This process', text: one.join('\n') }];
  const each = [
    'scrape_configs:',
    '  - job_name: loopscope',
    ...common,
    ...authorization('    '),
    '    http_sd_configs:',
    `      - url: ${quoted(`${protocol}//${host}${path}sd`)}`,
    ...authorization('        '),
  ];
  return [
    { title: 'Each process a target, as they come and go', text: each.join('\n') },
    { title: 'All processes in one scrape', text: one.join('\n') },
  ];
}
